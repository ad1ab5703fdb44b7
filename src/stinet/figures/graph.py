"""What ST-GR sees of a clip: similarity of its nodes, the edge attributes E^F, E^P, E^T, and the weights made of them.

Nodes are the frames' L features, then their H features, each in order of time. A weight is shown as a multiple of an
even share: 1 is what a node would get if all neighbours of a row counted alike.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stinet.catalogue import network
from stinet.errors import ModelError
from stinet.figures.films import as_levels, chosen_clips, name_of, small_frames
from stinet.model.relate import Edges, Relate, adjacency
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.report.maps import Matrix, draw_matrices

__all__ = ["Graph", "draw_graph", "graph_of", "summary"]


class Graph(NamedTuple):
    """ST-GR's graph over one clip, and the frames that came out."""

    edges: Edges
    """Attributes of all pairs, also of those that are not joined; batch axis taken off."""
    joined: Bool[Tensor, "n n"]
    shares: Float[Tensor, "n n"]
    """Weights times the number of a node's neighbours."""
    factors: Float[Tensor, "n c"]
    """1 + m g: what every channel of a node's feature is multiplied by."""
    stamps: tuple[float, ...]
    frames: Float[Tensor, "u 3 sh sw"]


def graph_of(net: STINet, frames: Float[Tensor, "t 3 h w"]) -> Graph:
    """The graph when `net` sees these source frames, one frame in between.

    Raises:
        ModelError: a network without ST-GR.

    """
    relate = net.relate
    if not isinstance(relate, Relate):
        raise ModelError(f"this network has no graph: its relate is {net.config.relate!r}")
    seen: dict[str, Tensor] = {}
    maps: list[Tensor] = []

    def features(_: object, given: tuple[Tensor | None, Tensor | None, object]) -> None:
        maps.extend(x for x in given[:2] if x is not None)

    def nodes(_: object, given: tuple[Tensor, Tensor], made: Tensor) -> None:
        seen.update(weights=given[1].expand(1, -1, -1), modulators=made)

    hooks = [relate.register_forward_pre_hook(features), relate.graph.register_forward_hook(nodes)]
    line = Timeline.of(len(frames))
    try:
        with torch.no_grad():
            final = net(frames[None]).final[0].clamp(0, 1)
            grid = (maps[0].shape[-2], maps[0].shape[-1])
            edges = relate.edges([relate.look(x, 1, grid) for x in maps], line.stamps)
    finally:
        for hook in hooks:
            hook.remove()
    joined = adjacency(len(line.stamps), len(maps))
    return Graph(
        edges=Edges(*(None if part is None else part.reshape(part.shape[-2:]).cpu() for part in edges)),
        joined=joined,
        shares=seen["weights"][0].cpu() * joined.sum(dim=-1, keepdim=True),
        factors=1 + relate.modulation * seen["modulators"][0].cpu(),
        stamps=line.stamps,
        frames=final.cpu(),
    )


def draw_graph(source: Path, model: str, count: int, path: Path) -> str:
    """Draw the graph over the first `count` frames of a clip, every other one given; gives its summary.

    Raises:
        StinetError: what the catalogue says of the model, or the reader of the clip; a network without ST-GR.

    """
    net = network(model)
    clip = chosen_clips([source])[0]
    graph = graph_of(net, small_frames(clip, count, net.config.scale))
    titles = ("E^F: cosine of two nodes", "E^P: mean cosine of two frames' pixels", "E^T: closeness in time")
    maps = [
        Matrix(title=title, values=part.numpy())
        for title, part in zip(titles, graph.edges, strict=True)
        if part is not None
    ]
    maps.append(
        Matrix(
            title="weight of an edge into the row's node (1: an even share)",
            values=graph.shares.numpy(),
            shown=graph.joined.numpy(),
        )
    )
    levels = ("L", "H") if net.config.branches == "both" else (net.config.branches[0].upper(),)
    shown = [as_levels(frame) for frame in graph.frames]
    draw_matrices(maps, levels, shown, path, f"ST-GR of {name_of(model)} on {clip.name}; even frames are given")
    return summary(graph)


def summary(graph: Graph) -> str:
    """The ranges in one line."""
    apart = graph.joined
    words = [
        f"E^{letter} {part[apart].min():.3f} to {part[apart].max():.3f}"
        for letter, part in zip("FPT", graph.edges, strict=True)
        if part is not None
    ]
    words.append(f"weights {graph.shares[apart].min():.2f} to {graph.shares[apart].max():.2f} even shares")
    words.append(f"factors {graph.factors.min():.3f} to {graph.factors.max():.3f}")
    return "; ".join(words)
