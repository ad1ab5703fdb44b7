"""Flips, turns and time reversal of a training clip, flows included.

A flow points somewhere, so whatever moves the picture must turn its arrows too:

    mirrored left to right     dx -> -dx
    mirrored top to bottom     dy -> -dy
    transposed                 dx <-> dy
    played backward            frames in reverse; O_{i -> i+1} becomes the reversed O_{i+1 -> i}

A turn by 90 degrees is a transposition and a mirroring, so three bits give all eight symmetries of the square.
Arrays are numpy, frames t h w 3, flows intervals 2 h w with channel 0 = dx, channel 1 = dy.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float16, UInt8

__all__ = ["Clip", "augmented", "backward_in_time", "mirrored", "transposed", "upside_down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One crop of a video: u sharp frames, their LR, and flows between the source frames (every other one)."""

    high: UInt8[np.ndarray, "u sh sw 3"]
    low: UInt8[np.ndarray, "u h w 3"]
    """LR of all u frames: the even ones are the input, all of them the phase-1 target F^gt."""
    forward: Float16[np.ndarray, "intervals 2 h w"]
    """O_{i -> i+1} between source frames, LR pixels."""
    backward: Float16[np.ndarray, "intervals 2 h w"]
    """O_{i+1 -> i}."""


def mirrored(clip: Clip) -> Clip:
    """Left becomes right."""
    return Clip(
        high=clip.high[:, :, ::-1],
        low=clip.low[:, :, ::-1],
        forward=_signed(clip.forward[..., ::-1], dx=-1, dy=1),
        backward=_signed(clip.backward[..., ::-1], dx=-1, dy=1),
    )


def upside_down(clip: Clip) -> Clip:
    """Top becomes bottom."""
    return Clip(
        high=clip.high[:, ::-1],
        low=clip.low[:, ::-1],
        forward=_signed(clip.forward[..., ::-1, :], dx=1, dy=-1),
        backward=_signed(clip.backward[..., ::-1, :], dx=1, dy=-1),
    )


def transposed(clip: Clip) -> Clip:
    """Rows become columns."""
    return Clip(
        high=clip.high.swapaxes(1, 2),
        low=clip.low.swapaxes(1, 2),
        forward=clip.forward[:, ::-1].swapaxes(2, 3),
        backward=clip.backward[:, ::-1].swapaxes(2, 3),
    )


def backward_in_time(clip: Clip) -> Clip:
    """The last frame comes first; the flows change their roles."""
    return replace(
        clip, high=clip.high[::-1], low=clip.low[::-1], forward=clip.backward[::-1], backward=clip.forward[::-1]
    )


def augmented(clip: Clip, random: np.random.Generator) -> Clip:
    """One of the sixteen symmetries, each equally likely."""
    for change in (mirrored, upside_down, transposed, backward_in_time):
        if random.random() < 0.5:
            clip = change(clip)
    return clip


def _signed(flow: np.ndarray, *, dx: int, dy: int) -> np.ndarray:
    return flow * np.array([dx, dy], dtype=flow.dtype)[None, :, None, None]
