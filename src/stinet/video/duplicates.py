r"""Pictures that a source shows more than once: animation on twos, pulldown, a film that stands still.

A run of one picture becomes one frame that knows when it was shown again (`repeats`), so that motion goes on between
pictures that differ. A short run (animation on twos, threes, fours) moves at once; a longer one is a still and moves
only after its last repeat (`still_until`).

Two pictures are compared by blocks, so that a ball or a mouth counts as much as a moving camera; d_16 is the mean
absolute difference of the most changed 16 px block and d the mean of the picture, both in grey levels of 255. A later
picture repeats the first of its run if

    d_8 <= 1 and d <= 0.03                                                     nothing that anyone sees        (1)
    d_16 <= 10, d <= 0.8, (s_16 / d_16) (s / d) >= 9, both quotients >= 1.5    less than motion around it      (2)

where s is the step of motion around it: the largest difference between neighbours among the last three pairs that were
no repeat, and among the next three pairs, whichever is less. It is not taken across a cut; where one side is cut off,
the product must be 40. Compression changes a repeated picture by up to d_16 = 9 (x264, crf 28), as much as slow motion
does, but slow motion is as slow before and after. Grain and sensor noise change every pair alike, and so fail (2).

Where repeats come at a regular beat (24 pictures a second shown 30 or 60 times: 2 1 1 1 or 3 2), they are pulldown:
the pictures of a beat are spread evenly over it. The first keeps its time, no other is moved by a whole period, and a
beat lasts as long as before. It must have been steady for the 10 source frames to come, or for one more beat when it
was steady before.

In memory: two frames; up to four where two pictures look alike, up to fifteen where repeats are seen.
This file knows pixels and times, no codec and no model.
"""

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from jaxtyping import Float64, UInt8, UInt16

from stinet.video.frame import Frame

__all__ = ["Difference", "difference_between", "merge_duplicates"]

_BLOCK_PX = 8
_BANDS = 4
"""One band of blocks in so many is compared first."""
_PLAINLY = 2.0
"""Mean difference of those bands that needs no closer look."""

_UNSEEN_BLOCK, _UNSEEN_MEAN = 1.0, 0.03
_ALIKE_BLOCK, _ALIKE_MEAN = 10.0, 0.8
_LEAST_BLOCK, _LEAST_MEAN = 0.3, 0.02
"""A difference below is as good as this: rounding."""
_STILLER, _STILLER_EACH = 9.0, 1.5
_STILLER_ONE_SIDED = 40.0
"""Where only what came before, or only what comes after, can be compared."""
_NEIGHBOURS = 3

_MOVING = 4
"""Pictures of a run that still counts as motion."""
_MOVING_S = Fraction(1, 6)
"""The same as time, from 48 pictures a second on: animation that was made for 24 has longer runs there."""
_LONGEST = 120
"""Pictures of one frame at most; a longer still goes on as another frame."""

_BEATS = ((2, 1), (2, 1, 1), (2, 1, 1, 1), (2, 1, 1, 1, 1), (3, 2), (2, 2, 1), (2, 1, 2))
"""Lengths of the runs of a beat: 2 of 3, 3 of 4, 4 of 5 (24 in 30), 5 of 6, 2 of 5 (24 in 60), 3 of 5."""
_STEADY = 10
"""Source frames over which a beat must hold before it is believed."""

Picture = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two pictures are apart, in grey levels of 255."""

    small_block: float
    """Mean absolute difference of the most changed block of 8 x 8 pixels, in its most changed channel."""
    block: float
    """The same for blocks of 16 x 16 pixels."""
    mean: float

    @property
    def is_unseen(self) -> bool:
        """Rounding and skipped blocks, no more."""
        return self.small_block <= _UNSEEN_BLOCK and self.mean <= _UNSEEN_MEAN

    @property
    def may_be_compression(self) -> bool:
        """Small enough for a repeated picture that was coded twice; so is slow motion."""
        return self.block <= _ALIKE_BLOCK and self.mean <= _ALIKE_MEAN


def difference_between(before: Frame, after: Frame) -> Difference:
    """Compare two frames of one size, opacity included; those of different sizes are as far apart as can be.

    Pictures that are plainly different are compared in a quarter of their rows.
    """
    if before.rgb.shape != after.rgb.shape or before.rgb.dtype != after.rgb.dtype:
        return Difference(255.0, 255.0, 255.0)
    found = _difference(before.rgb, after.rgb)
    if before.alpha is None and after.alpha is None:
        return found
    opaque = np.full(before.rgb.shape[:2], np.iinfo(before.rgb.dtype).max, before.rgb.dtype)
    alphas = [opaque if frame.alpha is None else frame.alpha for frame in (before, after)]
    other = _difference(alphas[0][..., None], alphas[1][..., None])
    return Difference(
        max(found.small_block, other.small_block), max(found.block, other.block), max(found.mean, other.mean)
    )


def merge_duplicates(frames: Iterable[Frame], period: Fraction) -> Iterator[Frame]:
    """Yield one frame for every run of near-identical ones; `period` is the nominal spacing in seconds.

    A frame that is not repeated passes as the same object, unless a beat moves it. A frame that begins a scene starts
    a run of its own. Every source frame is either yielded or one of the `repeats` of the frame before.
    """
    queue = _Queue(_runs(frames))
    going: tuple[int, ...] | None = None
    while queue.fill(1):
        going = _beat(queue, going, period)
        if going is None:
            yield _frame(queue.runs.popleft(), period)
            continue
        queue.fill(len(going) + 1)
        first = queue.runs[0].frame.time
        after = queue.runs[len(going)].frame.time if len(queue.runs) > len(going) else None
        step = ((queue.runs[len(going) - 1].times[-1] + period if after is None else after) - first) / len(going)
        for number in range(len(going)):
            frame = _frame(queue.runs.popleft(), period)
            duration = None if frame.duration is None else step
            yield dataclasses.replace(frame, time=first + number * step, shown=frame.time, duration=duration)


@dataclass(slots=True)
class _Run:
    """The first frame of a run of pictures that are the same."""

    frame: Frame
    is_rest: bool
    """The run before was full and showed this picture too."""
    repeats: list[Fraction] = field(default_factory=list)
    end: Fraction | None = None
    """Where the last picture ends; None: until the next frame."""

    @classmethod
    def of(cls, frame: Frame, *, is_rest: bool = False) -> "_Run":
        return cls(frame, is_rest, end=None if frame.duration is None else frame.time + frame.duration)

    def add(self, frame: Frame) -> None:
        self.repeats.append(frame.time)
        self.end = None if frame.duration is None else frame.time + frame.duration

    @property
    def times(self) -> list[Fraction]:
        return [self.frame.time, *self.repeats]

    def __len__(self) -> int:
        return len(self.repeats) + 1

    def moves_at_once(self, period: Fraction) -> bool:
        pictures = max(_MOVING, int(_MOVING_S / period)) if 48 * period <= 1 else _MOVING
        span = self.times[-1] - self.frame.time
        return not self.is_rest and len(self) <= pictures and span <= (pictures - Fraction(1, 2)) * period


def _frame(run: _Run, period: Fraction) -> Frame:
    if not run.repeats:
        return run.frame
    return dataclasses.replace(
        run.frame,
        repeats=tuple(run.repeats),
        duration=None if run.end is None else run.end - run.frame.time,
        still_until=None if run.moves_at_once(period) else run.repeats[-1],
    )


def _runs(frames: Iterable[Frame]) -> Iterator[_Run]:
    ahead = _Ahead(frames)
    run: _Run | None = None
    past: deque[Difference] = deque(maxlen=_NEIGHBOURS)
    while (one := ahead.pop()) is not None:
        frame, step = one
        if step is None:
            past.clear()
        if run is not None and step is not None and _repeats(run, frame, step, past, ahead):
            if len(run) < _LONGEST:
                run.add(frame)
            else:
                yield run
                run = _Run.of(frame, is_rest=True)
        else:
            if run is not None:
                yield run
            run = _Run.of(frame)
            if step is not None:
                past.append(step)
    if run is not None:
        yield run


def _repeats(run: _Run, frame: Frame, step: Difference, past: Sequence[Difference], ahead: "_Ahead") -> bool:
    """Whether a frame shows the picture of the run; `step` is its difference to the frame before."""
    if not step.may_be_compression:
        return False
    change = difference_between(run.frame, frame) if run.repeats else step
    if change.is_unseen or not change.may_be_compression:
        return change.is_unseen
    sides = [side for side in (past, ahead.steps(_NEIGHBOURS)) if side]
    if not sides:
        return False
    by_block = min(max(one.block for one in side) for side in sides) / max(change.block, _LEAST_BLOCK)
    by_mean = min(max(one.mean for one in side) for side in sides) / max(change.mean, _LEAST_MEAN)
    wanted = _STILLER if len(sides) == 2 else _STILLER_ONE_SIDED
    return by_block * by_mean >= wanted and min(by_block, by_mean) >= _STILLER_EACH


class _Ahead:
    """A stream of frames, each with its difference to the one before (None: nothing to compare), to look ahead in."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.frames = iter(frames)
        self.waiting: deque[tuple[Frame, Difference | None]] = deque()
        self.last: Frame | None = None

    def pop(self) -> tuple[Frame, Difference | None] | None:
        self._fill(1)
        return self.waiting.popleft() if self.waiting else None

    def steps(self, count: int) -> list[Difference]:
        """Differences between the frame popped last and those after it, up to a cut."""
        found: list[Difference] = []
        for number in range(count):
            self._fill(number + 1)
            step = self.waiting[number][1] if number < len(self.waiting) else None
            if step is None:
                break
            found.append(step)
        return found

    def _fill(self, count: int) -> None:
        while len(self.waiting) < count and (frame := next(self.frames, None)) is not None:
            alone = self.last is None or frame.begins_scene or self.last.rgb.shape != frame.rgb.shape
            self.waiting.append((frame, None if alone or self.last is None else difference_between(self.last, frame)))
            self.last = frame


class _Queue:
    """Whole runs, as many as are looked at."""

    def __init__(self, runs: Iterator[_Run]) -> None:
        self.source = runs
        self.runs: deque[_Run] = deque()

    def fill(self, count: int) -> bool:
        """Hold `count` runs; False where the film has no more."""
        while len(self.runs) < count and (run := next(self.source, None)) is not None:
            self.runs.append(run)
        return len(self.runs) >= count

    def lengths(self, pictures: int) -> tuple[int, ...]:
        """Lengths of the next runs that hold so many pictures, or of those before one that fits no beat."""
        found: list[int] = []
        while sum(found) < pictures and self.fill(len(found) + 1):
            found.append(len(self.runs[len(found)]))
            if found[-1] > 3 or found[-5:] == [1] * 5 or found[0] == 1:
                break
        return tuple(found)


def _beat(queue: _Queue, going: tuple[int, ...] | None, period: Fraction) -> tuple[int, ...] | None:
    """Lengths of the runs of a beat that starts at the head of the queue."""
    if queue.runs[0].is_rest or len(queue.runs[0]) == 1:
        return None
    lengths = queue.lengths(_STEADY + 2)
    for beat in _BEATS:
        times = 1 if beat == going else -(-_STEADY // sum(beat))
        wanted = beat * times
        if lengths[: len(wanted)] == wanted and _is_even(list(queue.runs)[: len(wanted)], period):
            return beat
    return None


def _is_even(runs: Sequence[_Run], period: Fraction) -> bool:
    """Whether the pictures come one period after the other, give or take the rounding of a coarse time base."""
    times = [time for run in runs for time in run.times]
    return all(abs(b - a - period) * 4 <= period for a, b in itertools.pairwise(times))


def _difference(before: Picture, after: Picture) -> Difference:
    """Compare a part of the blocks, and all of them unless that shows a plain difference."""
    rows = before.shape[0]
    band = 2 * _BLOCK_PX
    if rows >= 4 * _BANDS * band:
        places = np.arange(rows // (band * _BANDS))[:, None] * band * _BANDS + np.arange(band)
        found = _by_blocks(before[places.ravel()], after[places.ravel()])
        if found.mean > _PLAINLY:
            return found
    return _by_blocks(before, after)


def _by_blocks(before: Picture, after: Picture) -> Difference:
    apart = np.maximum(before, after) - np.minimum(before, after)
    scale = 255 / np.iinfo(before.dtype).max
    height, width = apart.shape[:2]
    sums = np.add.reduceat(apart, np.arange(0, height, _BLOCK_PX), axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, np.arange(0, width, _BLOCK_PX), axis=1, dtype=np.int64)
    small = sums / _areas(height, width, _BLOCK_PX)
    pairs = (np.arange(0, side, 2) for side in sums.shape[:2])
    for axis, places in enumerate(pairs):
        sums = np.add.reduceat(sums, places, axis=axis)
    large = sums / _areas(height, width, 2 * _BLOCK_PX)
    return Difference(float(small.max()) * scale, float(large.max()) * scale, float(apart.mean()) * scale)


def _areas(height: int, width: int, side: int) -> Float64[np.ndarray, "rows columns 1"]:
    """Pixels of each block; those at the lower and right edge may be smaller."""
    tall, wide = (np.minimum(side, length - np.arange(0, length, side)) for length in (height, width))
    return (tall[:, None] * wide)[..., None].astype(np.float64)
