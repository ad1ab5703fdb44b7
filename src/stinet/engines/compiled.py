"""What every engine does that computes the graphs of graph.py: clips in, numpy in between, frames out.

S-SR of a frame and everything after it are two graphs; flows stay as they are in PyTorch. An engine only says how a
graph is computed (`_infer`): by its pattern, which is the number of source frames and of in-between frames of every
interval.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile
from stinet.engines.graph import times_of
from stinet.model.clip import FrameState, NetworkClip
from stinet.model.compose import compose
from stinet.model.interpolate import Flows
from stinet.model.stinet import Features, STINet
from stinet.model.timeline import Timeline
from stinet.ops.farneback import expand

__all__ = ["KEPT_GRAPHS", "GraphClip"]

KEPT_GRAPHS = 6
"""Windows of a film differ at its ends and at cuts, and rates that do not divide make two or three kinds more."""

_LEAST_PX = 2
"""The mirrored border of the bicubic estimate is as wide; a thinner picture is PyTorch's."""


class GraphClip:
    """A network that fulfils `config.ClipFunction`, computed on the CPU by something else than PyTorch."""

    net: STINet
    scale: int
    _torch: NetworkClip
    """The same network in PyTorch: for flows, and for what is too thin."""

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return self._torch.device

    @torch.no_grad()
    def prepare(self, frame: Float[Tensor, "3 h w"]) -> FrameState:
        """Features and polynomial expansion of one source frame in [0, 1]."""
        image = frame.to("cpu", torch.float32).unsqueeze(0).contiguous()
        maps = [torch.empty(1, self.net.config.channels, *image.shape[-2:]) for _ in range(2)]
        self._infer((), {"frames": image.numpy()}, maps)
        return FrameState(image, Features(*maps), expand(image))

    def context(self, states: Sequence[FrameState], times: Sequence[Sequence[float]]) -> Flows | None:
        """Flows between neighbouring whole frames, both ways."""
        return self._torch.context(states, times)

    @torch.no_grad()
    def run(
        self,
        states: Sequence[FrameState],
        times: Sequence[Sequence[float]],
        nodes: Flows | None,
        tile: Tile | None = None,
    ) -> Float[Tensor, "u 3 sh sw"]:
        """The clip's frames in order of time, whole or one tile of them, in [0, 1]."""
        if min(states[0].frame.shape[-2:] if tile is None else (tile.height, tile.width)) < _LEAST_PX:
            return self._torch.run(states, times, nodes, tile)
        rows, columns = (slice(None),) * 2 if tile is None else (
            slice(tile.top, tile.bottom), slice(tile.left, tile.right),
        )  # fmt: skip

        def cut(x: Tensor) -> Float[np.ndarray, "..."]:
            return x[..., rows, columns].contiguous().numpy()

        line = Timeline.of(len(states), [tuple(row) for row in times] if len(states) > 1 else ())
        maps = {name: [getattr(state.features, name) for state in states] for name in ("low", "high")}
        maps["frames"] = [state.frame for state in states]
        given = {name: np.concatenate([cut(part) for part in parts]) for name, parts in maps.items()}
        if len(states) > 1:
            assert nodes is not None
            given |= {"ahead": cut(nodes.forward[0].flip(1)), "back": cut(nodes.backward[0].flip(1))}
        height, width = given["frames"].shape[-2:]
        outputs = self._outputs(line, height, width)
        self._infer(
            _pattern(line),
            {**given, **_grids(height, width, self.net.config.edge_pixel_step), **times_of(line)},
            outputs,
            line,
        )
        rows, *composing = outputs
        final = rows.view(len(line.order), self.scale * height, self.scale * width, 3).permute(0, 3, 1, 2)
        if composing:
            shares, to_left, to_right = composing
            final = compose(final, shares, to_left, to_right, line)
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)

    def _outputs(self, line: Timeline, height: int, width: int) -> list[Tensor]:
        """Memory for what the graph of a clip gives: see `restore_graph`."""
        scale, made = self.scale, len(line.between)
        rows = torch.empty(len(line.order), height, scale, width, 3 * scale)
        if self.net.compose is None or not made:
            return [rows]
        shares = torch.empty(made, 3, scale * height, scale * width)
        return [rows, shares, *(torch.empty(made, 2, height, width) for _ in range(2))]

    def _infer(
        self, pattern: tuple[int, ...], given: dict[str, Any], out: Sequence[Tensor], line: Timeline | None = None
    ) -> None:
        """Fill `out` by the graph of that pattern: () is S-SR's."""
        raise NotImplementedError


def _pattern(line: Timeline) -> tuple[int, ...]:
    """Source frames, and in-between frames of every interval."""
    counts = [0] * (line.sources - 1)
    for interval, _ in line.between:
        counts[interval] += 1
    return (line.sources, *counts)


@lru_cache(maxsize=8)
def _grids(height: int, width: int, step: int) -> dict[str, Float[np.ndarray, "..."]]:
    """The inputs that only the size decides, and every how-manieth pixel E^P looks at."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return {
        "lowest": np.stack([-y, -x])[None],
        "highest": np.stack([height - 1 - y, width - 1 - x])[None],
        "places": np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1])[None],
        "unit": np.array([2 / width, 2 / height], np.float32).reshape(1, 2, 1, 1),
        "per_pixel": np.array(1 / (len(range(0, height, step)) * len(range(0, width, step))), np.float32),
    }
