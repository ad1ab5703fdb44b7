r"""Phase 3, ST-GR: a graph over all frames of both resolutions (paper, section III-D).

Every frame gives a node for L and one for H: the mean of its feature over the picture. A node is joined to its twin
(the same frame at the other resolution) and to every other node of its own resolution. An edge has three attributes:

    E^F = cos(node_1, node_2)                         frame-level similarity
    E^P = mean over pixels of cos(f_1(x), f_2(x))     pixel-level similarity (H is averaged down to L's grid)
    E^T = 1 - sigmoid(|t_1 - t_2|)                    temporal closeness, source frames 2 apart

Its weight is the mean of (1 + E^F)/2, (1 + E^P)/2 and E^T, the ones that are kept; cosines are mapped to [0, 1]
because a row of raw ones can sum to zero or less. Rows are divided by their sum + 1e-6. Four GraphSAGE layers, W1 x +
W2 (weighted mean of the neighbours), turn nodes into modulators g, and every feature becomes f + m * f * g.

Table IV compares with a recurrent network in its place: `lstm.py`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import quieten

__all__ = ["Edges", "GraphSage", "Relate", "Seen", "adjacency", "edge_weights"]


class Seen(NamedTuple):
    """What the graph sees of the features of some frames at one resolution: all that must be kept of a frame for it."""

    nodes: Float[Tensor, "b u c"]
    """The mean over the picture."""
    units: Float[Tensor, "b u p"] | None
    """Features of length one at the pixels that E^P looks at; None without E^P."""


class Edges(NamedTuple):
    """Edge attributes between all pairs of nodes; None where one is left out. Nodes: u of L, then u of H."""

    frame: Float[Tensor, "b n n"] | None
    pixel: Float[Tensor, "b n n"] | None
    time: Float[Tensor, "n n"] | None


def adjacency(frames: int, levels: int) -> Bool[Tensor, "n n"]:
    """Twins, and all pairs of one resolution; no node is joined to itself."""
    nodes = torch.arange(frames * levels)
    same_level = nodes[:, None] // frames == nodes[None] // frames
    twins = nodes[:, None] % frames == nodes[None] % frames
    return (same_level | twins) & ~torch.eye(frames * levels, dtype=torch.bool)


def edge_weights(edges: Edges, joined: Bool[Tensor, "n n"]) -> Float[Tensor, "b n n"] | Float[Tensor, "n n"]:
    """Mean of the kept attributes, cosines as (1 + cos)/2; zero where nodes are not joined; rows sum to one."""
    kept = [(1 + part) / 2 for part in (edges.frame, edges.pixel) if part is not None]
    if edges.time is not None:
        kept.append(edges.time)
    weight = torch.stack(torch.broadcast_tensors(*kept)).mean(dim=0) * joined
    return weight / (weight.sum(dim=-1, keepdim=True) + 1e-6)


class GraphSage(nn.Module):
    """Layers of W1 x + W2 (weighted mean of the neighbours), leaky ReLU between them."""

    def __init__(self, channels: int, inner: int, layers: int) -> None:
        super().__init__()
        widths = [channels, *[inner] * (layers - 1), channels]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.others = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        for layer in (*self.own, *self.others):
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            with torch.no_grad():
                layer.weight.mul_(0.7)  # two terms are added: together they keep the variance
        # g multiplies features: near zero at the start, or it feeds back and training can blow up
        quieten(self.own[-1])
        quieten(self.others[-1])

    def forward(self, nodes: Float[Tensor, "b n c"], weights: Tensor) -> Float[Tensor, "b n c"]:
        """Modulators of all nodes; `weights` (n n or b n n) has rows that sum to one."""
        for depth, (own, others) in enumerate(zip(self.own, self.others, strict=True)):
            nodes = own(nodes) + others(weights @ nodes)
            if depth < len(self.own) - 1:
                nodes = functional.leaky_relu(nodes, 0.1)
        return nodes


class Relate(nn.Module):
    """ST-GR on all frames of a clip."""

    def __init__(
        self,
        *,
        channels: int,
        inner: int,
        layers: int,
        modulation: float,
        edge_frame: bool,
        edge_pixel: bool,
        edge_time: bool,
        edge_pixel_step: int = 1,
    ) -> None:
        """E^P looks at every `edge_pixel_step`-th pixel of every such row: a mean that takes no pass over all maps."""
        super().__init__()
        self.modulation = modulation
        self.edge_frame = edge_frame
        self.edge_pixel = edge_pixel
        self.edge_pixel_step = edge_pixel_step
        self.edge_time = edge_time
        self.graph = GraphSage(channels, inner, layers)

    def forward(
        self, low: Float[Tensor, "bu c h w"] | None, high: Float[Tensor, "bu c gh gw"] | None, stamps: Sequence[float]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Every feature modulated by its node; `stamps` are the times of the u frames, source frames 2 apart."""
        maps = [x for x in (low, high) if x is not None]
        batch = maps[0].shape[0] // len(stamps)
        grid = (maps[0].shape[-2], maps[0].shape[-1])
        factors = self.factors([self.look(x, batch, grid) for x in maps], stamps)
        out = [x * g.flatten(0, 1)[:, :, None, None].to(x.dtype) for x, g in zip(maps, factors, strict=True)]
        by_level = iter(out)
        return (None if low is None else next(by_level)), (None if high is None else next(by_level))

    def look(self, x: Float[Tensor, "bu c gh gw"], batch: int, grid: tuple[int, int]) -> Seen:
        """What the graph sees of features of one resolution; E^P on the grid of (h, w) that all share."""
        # small sums over many pixels: bfloat16 would lose them
        with torch.autocast(x.device.type, enabled=False):
            units = _units(x, batch, grid, self.edge_pixel_step) if self.edge_pixel else None
            return Seen(_nodes(x, batch), units)

    def factors(self, levels: Sequence[Seen], stamps: Sequence[float]) -> tuple[Float[Tensor, "b u c"], ...]:
        """What the features of every resolution are multiplied by, 1 + m g."""
        with torch.autocast(levels[0].nodes.device.type, enabled=False):
            nodes = torch.cat([level.nodes for level in levels], dim=1)
            weights = edge_weights(self.edges(levels, stamps), adjacency(len(stamps), len(levels)).to(nodes.device))
            return (1 + self.modulation * self.graph(nodes, weights)).split(len(stamps), dim=1)

    def edges(self, levels: Sequence[Seen], stamps: Sequence[float]) -> Edges:
        """Attributes between all pairs of nodes; those that are left out are None."""
        frame = pixel = time = None
        nodes = torch.cat([level.nodes for level in levels], dim=1)
        if self.edge_frame:
            unit = functional.normalize(nodes, dim=-1, eps=1e-6)
            frame = unit @ unit.mT
        if self.edge_pixel:
            pixel = _pixel_similarity([level.units for level in levels if level.units is not None], nodes.shape[-1])
        if self.edge_time:
            at = torch.tensor(stamps, device=nodes.device).repeat(len(levels))
            time = 1 - torch.sigmoid((at[:, None] - at[None]).abs())
        return Edges(frame, pixel, time)


def _nodes(x: Float[Tensor, "bu c h w"], batch: int) -> Float[Tensor, "b u c"]:
    return x.mean(dim=(2, 3), dtype=torch.float32).unflatten(0, (batch, -1))


def _units(x: Float[Tensor, "bu c gh gw"], batch: int, grid: tuple[int, int], step: int) -> Float[Tensor, "b u p"]:
    """Features of length one at every pixel that E^P looks at."""
    small = x if (x.shape[-2], x.shape[-1]) == grid else functional.adaptive_avg_pool2d(x, grid)
    some = small[:, :, ::step, ::step].contiguous()
    norm = some.float().square().sum(dim=1, keepdim=True).clamp_min(1e-12).sqrt()  # a fifth of vector_norm's time
    return (some / norm.to(some.dtype)).flatten(1).unflatten(0, (batch, -1))


def _pixel_similarity(levels: Sequence[Tensor], channels: int) -> Float[Tensor, "b n n"]:
    """Mean over pixels of the cosine between all pairs of maps, as one product of unit vectors."""
    unit = torch.cat(list(levels), dim=1)
    # a plain product a clip: the batched one copies its operands first
    return torch.stack([row @ row.T for row in unit]).float() / (unit.shape[-1] // channels)
