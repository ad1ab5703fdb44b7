"""Flips, turns and time reversal of a training crop, flows included.

A flow points somewhere, so whatever moves the picture must turn its arrows too:

    mirrored left to right     dx -> -dx
    mirrored top to bottom     dy -> -dy
    transposed                 dx <-> dy
    played backward            frames in reverse; O_{i -> i+1} becomes the reversed O_{i+1 -> i}

A turn by 90 degrees is a transposition and a mirroring, so three bits give all eight symmetries of the square, and the
fourth plays them backward. The paper's augmentation (mirrored left to right, turned by 180 degrees, reversed in time)
is the half of them without transposition: both mirrorings together are the turn.

Nothing is copied but by the flips themselves; works on any device.
"""

from typing import NamedTuple

from jaxtyping import Float16, UInt8
from torch import Tensor

__all__ = ["Crop", "Symmetry", "turned"]


class Crop(NamedTuple):
    """A crop of u frames of a video: sharp, LR, and flows between the source frames (every other one)."""

    high: UInt8[Tensor, "u 3 sh sw"]
    low: UInt8[Tensor, "u 3 h w"]
    """LR of all u frames: the even ones are the input, all of them the phase-1 target F^gt."""
    forward: Float16[Tensor, "intervals 2 h w"]
    """O_{i -> i+1} between source frames, LR pixels; channel 0 = dx (right), 1 = dy (down)."""
    backward: Float16[Tensor, "intervals 2 h w"]
    """O_{i+1 -> i}."""


class Symmetry(NamedTuple):
    """What is done to a crop, in this order."""

    is_mirrored: bool
    """Left becomes right."""
    is_upside_down: bool
    """Top becomes bottom."""
    is_transposed: bool
    """Rows become columns."""
    is_backward: bool
    """The last frame comes first."""

    @classmethod
    def of(cls, number: int) -> "Symmetry":
        """One of sixteen, by number from 0; the first eight are the paper's."""
        return cls(bool(number & 1), bool(number & 2), bool(number & 8), bool(number & 4))


def turned(crop: Crop, symmetry: Symmetry) -> Crop:
    """Apply a symmetry to frames and flows alike; flows still point where the picture moves."""
    high, low, forward, backward = crop
    if symmetry.is_backward:
        forward, backward = backward, forward
    along = [axis for axis, is_flipped in ((-1, symmetry.is_mirrored), (-2, symmetry.is_upside_down)) if is_flipped]
    axes = ([0] if symmetry.is_backward else []) + along
    if axes:
        high, low, forward, backward = (part.flip(axes) for part in (high, low, forward, backward))
    if along:
        sign = forward.new_tensor([-1 if symmetry.is_mirrored else 1, -1 if symmetry.is_upside_down else 1])
        forward, backward = (flow * sign[:, None, None] for flow in (forward, backward))
    if symmetry.is_transposed:
        high, low = (frames.transpose(-2, -1) for frames in (high, low))
        forward, backward = (flow.transpose(-2, -1).flip(-3) for flow in (forward, backward))
    return Crop(high, low, forward, backward)
