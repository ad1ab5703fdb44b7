"""What is computed once of every clip: sharp frames, LR frames, and flows between every frame and the next but one.

Frames come one after the other, so a film of any length needs the memory of three. Where low resolution is made as
people have it (`degrade.py`), a run needs to be whole: it is degraded in one way, and has `LONGEST_DEGRADED` frames at
most. Short clips of image files may be prepared by several processes ahead of time; what comes out, and its order, is
the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from stinet.data.clip import Clip, Frame, low_frame, sharp_frame
from stinet.data.degrade import degrade, drawn, seed_of
from stinet.errors import InputError
from stinet.ops.farneback import Expansion, expand
from stinet.ops.flow import FlowMethod, flow_between

__all__ = ["Piece", "Preparation", "is_on_disk", "pieces", "pieces_ahead"]

LONGEST_AHEAD = 200
"""Frames of a clip that may wait in memory."""


LONGEST_DEGRADED = 30
"""Frames of a run that are degraded in one way; the next ones begin another run. So few wait in memory."""


class Preparation(NamedTuple):
    """What a clip is prepared by."""

    scale: int
    flow_by: FlowMethod
    degradation: Literal["bicubic", "real"] = "bicubic"


class Piece(NamedTuple):
    """One frame of a clip and what belongs to it."""

    size: tuple[int, int]
    """Height and width of the sharp frame."""
    begins_run: bool
    high: UInt8[np.ndarray, "sh sw 3"] | None
    """None where the image file on disk is the sharp frame."""
    low: UInt8[np.ndarray, "h w 3"]
    flows: Float16[np.ndarray, "2 2 h w"] | None
    """From the last but one frame of the run to this one, and back; None for its first two."""


def is_on_disk(clip: Clip) -> bool:
    """Whether the sharp frames of a clip are image files as they are."""
    return bool(clip.files) and clip.reduced == 1


def pieces(clip: Clip, runs: str | int, by: Preparation) -> Iterator[Piece]:
    """Prepare a clip frame by frame; a run is the "whole" clip, one of its "scenes", or so many frames.

    Raises:
        InputError: a frame cannot be read, or has another size than those before.

    """
    before: deque[Expansion] = deque(maxlen=3)
    for sharp, low, begins_run in (_degraded if by.degradation == "real" else _reduced)(clip, runs, by.scale):
        if begins_run:
            before.clear()
        before.append(expand(low[None].float() / 255))
        flows = _flows(before[0], before[2], by.flow_by) if len(before) == 3 else None
        high = None if is_on_disk(clip) else sharp.permute(1, 2, 0).numpy()
        yield Piece((sharp.shape[1], sharp.shape[2]), begins_run, high, low.permute(1, 2, 0).numpy(), flows)


def pieces_ahead(clips: Sequence[Clip], runs: str | int, by: Preparation, workers: int) -> Iterator[Iterable[Piece]]:
    """Pieces of one clip after the other; short ones of image files are prepared by `workers` processes ahead."""
    if workers < 1 or not any(map(_may_wait, clips)):
        yield from (pieces(clip, runs, by) for clip in clips)
        return
    # not forked: the process may have threads, and a device
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting: deque[tuple[Clip, Future[list[Piece]] | None]] = deque()
        rest = iter(clips)
        try:
            while True:
                while len(waiting) < 2 * workers and (clip := next(rest, None)) is not None:
                    made = pool.submit(_all, clip, runs, by) if _may_wait(clip) else None
                    waiting.append((clip, made))
                if not waiting:
                    return
                clip, future = waiting.popleft()
                yield pieces(clip, runs, by) if future is None else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _may_wait(clip: Clip) -> bool:
    return is_on_disk(clip) and len(clip.files) <= LONGEST_AHEAD


def _all(clip: Clip, runs: str | int, by: Preparation) -> list[Piece]:
    return list(pieces(clip, runs, by))


class _Pair(NamedTuple):
    sharp: UInt8[Tensor, "3 sh sw"]
    low: UInt8[Tensor, "3 h w"]
    begins_run: bool


def _reduced(clip: Clip, runs: str | int, scale: int) -> Iterator[_Pair]:
    for frame, begins_run in _cut(clip, runs):
        yield _Pair(sharp_frame(frame, scale, clip.reduced), low_frame(frame, scale, clip.reduced), begins_run)


def _degraded(clip: Clip, runs: str | int, scale: int) -> Iterator[_Pair]:
    """Run after run, each degraded as its place in the clip decides."""
    waiting: list[UInt8[Tensor, "3 sh sw"]] = []
    done = 0
    for frame, begins_run in _cut(clip, runs):
        if waiting and (begins_run or len(waiting) == LONGEST_DEGRADED):
            yield from _degraded_run(waiting, scale, seed_of(clip.name, done))
            done += len(waiting)
            waiting = []
        waiting.append(sharp_frame(frame, scale, clip.reduced))
    yield from _degraded_run(waiting, scale, seed_of(clip.name, done))


def _degraded_run(frames: Sequence[UInt8[Tensor, "3 sh sw"]], scale: int, seed: tuple[int, int]) -> Iterator[_Pair]:
    how = drawn(np.random.default_rng((*seed, 0)))
    small = degrade((frame.permute(1, 2, 0).numpy() for frame in frames), how, scale, (*seed, 1))
    for number, (sharp, low) in enumerate(zip(frames, small, strict=True)):
        yield _Pair(sharp, torch.from_numpy(low).permute(2, 0, 1), number == 0)


def _cut(clip: Clip, runs: str | int) -> Iterator[tuple[Frame, bool]]:
    """Frames of a clip, all of one size, and whether each begins a run."""
    size: tuple[int, ...] | None = None
    for frame, begins_run in _marked(clip, runs):
        own = frame.shape[:2]
        size = size or own
        if own != size:
            raise InputError(f"{clip.name}: its frames change from {size[1]}x{size[0]} to {own[1]}x{own[0]}")
        yield frame, begins_run


def _marked(clip: Clip, runs: str | int) -> Iterator[tuple[Frame, bool]]:
    if runs == "scenes":
        from stinet.video.frame import Frame as Shown
        from stinet.video.scenes import mark_cuts

        shown = (Shown(rgb=frame, time=Fraction(number)) for number, frame in enumerate(clip.read()))
        for number, frame in enumerate(mark_cuts(shown)):
            yield frame.rgb, number == 0 or frame.begins_scene
        return
    for number, frame in enumerate(clip.read()):
        yield frame, number % runs == 0 if isinstance(runs, int) else number == 0


@torch.no_grad()
def _flows(first: Expansion, second: Expansion, by: FlowMethod) -> Float16[np.ndarray, "2 2 h w"]:
    flows = torch.cat([flow_between(first, second, by), flow_between(second, first, by)])
    return flows.to(torch.float16).numpy()
