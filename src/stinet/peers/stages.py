"""Two stages, one after the other, as a clip function: any interpolator with any enlarger, in either order.

    interpolate first    frames between the small ones are made, then every frame is enlarged: cheap
    enlarge first        frames are enlarged, then those between them are made at full size: some scale^2 times the
                         work of the interpolator, and usually better (Vid4: 0.2 to 0.6 dB)

An **interpolator** makes what is between two neighbours, an **enlarger** most often knows one frame at a time. Neither
knows of the other, of tiles or of clips. An output frame needs its two neighbours alone, so a window has no other
context (`reach` 0), unless the enlarger looks at the frames around one. Everything between frames is made of whole
frames, in `context`; a tile is the crop of what the whole gives. Given frames are the enlarger's own, untouched by the
interpolator.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile

__all__ = ["EnlargeFirst", "Enlarger", "InterpolateFirst", "Interpolator", "by_halving"]

_FINEST = 16
"""Parts of an interval that halving reaches."""

Part = TypeVar("Part")

Frame = Float[Tensor, "3 h w"]
Frames = Float[Tensor, "u 3 h w"]
Large = Float[Tensor, "u 3 sh sw"]
Times = Sequence[Sequence[float]]
Between = Sequence[Sequence[Frame]]
"""Of every interval, the frames that were made in it."""


@runtime_checkable
class Interpolator(Protocol):
    """Makes frames between two neighbours, of any size."""

    @property
    def identity(self) -> str:
        """Name, and hash of its weights if it has some."""
        ...

    def prepare(self, frame: Any) -> Any:
        """What is done once per frame: (3, h, w) in [0, 1] gives an opaque state."""
        ...

    def between(self, before: Any, after: Any, taus: Sequence[float]) -> Sequence[Any]:
        """The frames at `taus`, strictly in (0, 1), between two states: each (3, h, w) in [0, 1]."""
        ...


@runtime_checkable
class Enlarger(Protocol):
    """Makes frames larger, each on its own or with the help of those around it."""

    @property
    def identity(self) -> str:
        """Name, and hash of its weights if it has some."""
        ...

    scale: int
    """Output pixels per source pixel and side."""

    halo_px: int
    """Source pixels beyond an output pixel's own that it depends on."""

    reach: int
    """Frames before and after one that it depends on."""

    def __call__(self, frames: Any) -> Any:
        """Enlarge float32 frames (u, 3, h, w) in [0, 1] to (u, 3, scale * h, scale * w) in [0, 1]."""
        ...


class _Held(NamedTuple):
    """A frame as the interpolator sees it, and what that prepared of it."""

    frame: Frame
    state: Any


@dataclass
class _TwoStages:
    """What both orders share."""

    interpolator: Interpolator
    enlarger: Enlarger
    scale: int = field(init=False)
    reach: int = field(init=False)
    """What the enlarger sees around a frame: where frames are made in between, fewer source frames would do."""

    def __post_init__(self) -> None:
        """Scale and reach are the enlarger's."""
        self.scale, self.reach = self.enlarger.scale, self.enlarger.reach

    def context(self, states: Sequence[_Held], times: Times) -> Between:
        """The frames of every interval, whole, at the size that the interpolator works at."""
        pairs = itertools.pairwise(states)
        return [
            self.interpolator.between(a.state, b.state, taus) if taus else ()
            for (a, b), taus in zip(pairs, times, strict=False)
        ]


@dataclass
class InterpolateFirst(_TwoStages):
    """Frames are made between the small ones, then all are enlarged."""

    @property
    def identity(self) -> str:
        """Both stages', in order."""
        return f"{self.interpolator.identity}+{self.enlarger.identity} x{self.scale}"

    def prepare(self, frame: Frame) -> _Held:
        """Prepare the small frame."""
        return _Held(frame, self.interpolator.prepare(frame))

    def run(self, states: Sequence[_Held], times: Times, nodes: Between, tile: Tile | None = None) -> Large:
        """Enlarge the clip, or a tile of it with the pixels around it that it needs."""
        del times
        frames = _in_order(states, nodes)
        if tile is None:
            return self.enlarger(frames)
        s, halo = self.scale, self.enlarger.halo_px
        top, left = max(tile.top - halo, 0), max(tile.left - halo, 0)
        large = self.enlarger(frames[..., top : tile.bottom + halo, left : tile.right + halo])
        down, right = (tile.top - top) * s, (tile.left - left) * s
        return large[..., down : down + tile.height * s, right : right + tile.width * s]


@dataclass
class EnlargeFirst(_TwoStages):
    """Frames are enlarged, then those between them are made at full size."""

    @property
    def identity(self) -> str:
        """Both stages', in order."""
        return f"{self.enlarger.identity}+{self.interpolator.identity} x{self.scale}"

    def prepare(self, frame: Frame) -> _Held:
        """Enlarge the frame, then prepare it."""
        large = self.enlarger(frame[None])[0]
        return _Held(large, self.interpolator.prepare(large))

    def run(self, states: Sequence[_Held], times: Times, nodes: Between, tile: Tile | None = None) -> Large:
        """The large frames in order, or a crop of them."""
        del times
        whole = _in_order(states, nodes)
        if tile is None:
            return whole
        s = self.scale
        return whole[..., tile.top * s : tile.bottom * s, tile.left * s : tile.right * s]


def by_halving(before: Part, after: Part, taus: Sequence[float], middle: Callable[[Part, Part], Part]) -> list[Part]:
    """What stands at the sixteenths of an interval nearest to `taus`, by the middles of ever shorter spans around them.

    What is nearest to an end is that end.
    """
    made = {0: before, _FINEST: after}

    def at(place: int) -> Part:
        low, high = 0, _FINEST
        while place not in (low, high):
            between = (low + high) // 2
            if between not in made:
                made[between] = middle(made[low], made[high])
            low, high = (between, high) if place >= between else (low, between)
        return made[place]

    return [at(round(tau * _FINEST)) for tau in taus]


def _in_order(states: Sequence[_Held], nodes: Between) -> Frames:
    """Every frame in order of time."""
    ordered = [states[0].frame]
    for made, state in zip(nodes, states[1:], strict=True):
        ordered += [*made, state.frame]
    return torch.stack(ordered)
