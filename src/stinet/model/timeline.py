"""Which frames come out, where they stand in time, and who is whose neighbour.

A clip has t source frames. Interval i lies between source frames i and i + 1 and holds any number of in-between
frames at fractions 0 < tau < 1 of it. The output is every frame in order of time, u = t + the number of in-between
frames. Time is counted so that neighbouring source frames stand 2 apart (t - 1 and t + 1 in the paper), unless time
stamps are given: then their median spacing becomes 2.

Plain numbers only: no tensor, no weight.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stinet.config import Times
from stinet.errors import UsageError

__all__ = ["Timeline"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of one clip on the axis of time."""

    sources: int
    """t, the number of source frames."""

    between: tuple[tuple[int, float], ...]
    """Every in-between frame as (interval, tau), in order of time."""

    order: tuple[int, ...]
    """For every output frame its index into [source frames, in-between frames]."""

    stamps: tuple[float, ...]
    """Time of every output frame; source frames stand 2 apart (in the median)."""

    @classmethod
    def of(cls, sources: int, times: Times = (0.5,), stamps: Sequence[float] | None = None) -> "Timeline":
        """Lay out a clip of `sources` frames; `times` holds for every interval, or has one tuple per interval.

        Raises:
            UsageError: a time outside (0, 1), times that do not rise, or the wrong number of tuples or stamps.

        """
        per_interval = _per_interval(sources, times)
        at = [2.0 * index for index in range(sources)] if stamps is None else _scaled(stamps, sources)
        between: list[tuple[int, float]] = []
        order: list[int] = []
        when: list[float] = []
        for index in range(sources):
            order.append(index)
            when.append(at[index])
            for tau in per_interval[index] if index < sources - 1 else ():
                order.append(sources + len(between))
                between.append((index, tau))
                when.append(at[index] + tau * (at[index + 1] - at[index]))
        return cls(sources, tuple(between), tuple(order), tuple(when))

    @property
    def previous(self) -> list[int]:
        """For every output frame the one before it; the first is its own (paper, section III-C)."""
        return [max(index - 1, 0) for index in range(len(self.order))]

    @property
    def following(self) -> list[int]:
        """For every output frame the one after it; the last is its own."""
        return [min(index + 1, len(self.order) - 1) for index in range(len(self.order))]

    @property
    def given(self) -> list[int]:
        """Where the source frames stand in the output."""
        return [index for index, place in enumerate(self.order) if place < self.sources]

    def position(self, index: int) -> tuple[int, float]:
        """Interval and fraction of output frame `index`; a source frame i is (i, 0)."""
        place = self.order[index]
        return (place, 0.0) if place < self.sources else self.between[place - self.sources]


def _per_interval(sources: int, times: Times) -> list[tuple[float, ...]]:
    if sources < 1:
        raise UsageError("a clip needs at least one source frame")
    try:
        nested = [tuple(float(tau) for tau in item) for item in times if isinstance(item, Sequence)]
        rows = nested or [tuple(float(tau) for tau in times)] * (sources - 1)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError) as error:
        raise UsageError(f"times {times} are no numbers") from error
    if nested and len(nested) != len(times):
        raise UsageError(f"times {times} mix numbers and tuples: give one tuple, or one tuple per interval")
    if nested and len(nested) != sources - 1:
        raise UsageError(f"{len(nested)} tuples of times for {sources} source frames: {sources - 1} are due")
    for row in rows:
        if any(not 0 < tau < 1 for tau in row) or list(row) != sorted(set(row)):
            raise UsageError(f"times {row} must rise and lie strictly between 0 and 1")
    return rows


def _scaled(stamps: Sequence[float], sources: int) -> list[float]:
    if len(stamps) != sources:
        raise UsageError(f"{len(stamps)} time stamps for {sources} source frames")
    gaps = [after - before for before, after in pairwise(stamps)]
    if any(gap <= 0 for gap in gaps):
        raise UsageError("time stamps of source frames must rise")
    unit = 2 / statistics.median(gaps) if gaps else 1.0
    return [(stamp - stamps[0]) * unit for stamp in stamps]
