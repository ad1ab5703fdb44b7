"""Presentation times that rise, made of time stamps that may be missing, go backward or jump.

One picture is looked ahead, so that a single wild stamp is told from a clock that was set back. All times are Fractions
of a second from our 0; the same stamps always give the same times. This file knows no codec.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

from stinet.video.frame import Notes, VideoInfo

__all__ = ["timed"]

_FAR = 10
"""So many periods between frames are a jump."""

_AWAY_S = 10
"""Seconds forward that a clock which may start again does not leap."""

_CLOSED = "jumps of the file's clock, closed"

_RAW = frozenset({"av1", "h264", "hevc", "ivf", "m4v", "mpegvideo", "obu", "vvc"})
"""Containers that need not hold time stamps: their lack is a fact, not damage."""

_RESETS = frozenset({"mpeg", "mpegts", "flv", "ogg"})
"""Containers whose clock may start again in the middle."""

Thing = TypeVar("Thing")


def timed(
    things: Iterable[tuple[Thing, Fraction | None]], info: VideoInfo, notes: Notes
) -> Iterator[tuple[Thing, Fraction, bool]]:
    """Things with their stamps (file time, or none) as things with our time, and whether each is the last."""
    clock = _Clock(info, notes)
    waiting: tuple[Thing, Fraction | None] | None = None
    for following in things:
        if waiting is not None:
            yield waiting[0], clock.time_of(waiting[1], following[1]), False
        waiting = following
    if waiting is not None:
        yield waiting[0], clock.time_of(waiting[1], None), True


class _Clock:
    """The time of each stamp, in turn."""

    def __init__(self, info: VideoInfo, notes: Notes) -> None:
        self.info, self.notes = info, notes
        self.last: Fraction | None = None
        self.shift = -info.origin
        self.is_raw = info.container in _RAW
        self.can_reset = bool(_RESETS & set(info.container.split(",")))
        self.latest = 2 * info.duration + 10 if info.duration and not self.can_reset else None

    def time_of(self, stamp: Fraction | None, following: Fraction | None) -> Fraction:
        """Seconds from our 0; `following` is the stamp of the next frame."""
        time = self._time_of(stamp, following)
        self.last = time
        return time

    def _time_of(self, stamp: Fraction | None, following: Fraction | None) -> Fraction:
        if stamp is None:
            if not self.is_raw:
                self.notes.count("frames without a time stamp, timed by the rate")
            return self._expected(following)
        time = stamp + self.shift
        if self.latest is not None and time > self.latest:
            self.notes.count("frames with a time stamp beyond the film, timed by the rate")
            return self._expected(following)
        if self.last is None:
            return max(time, Fraction(0))
        far = _FAR * self.info.period
        if time <= self.last:
            if self.can_reset and time < self.last - far and self._goes_on(stamp, following):
                self.notes.count(_CLOSED)
                expected = self._expected(None)
                self.shift = expected - stamp
                return expected
            self.notes.count("frames with a backward time stamp, timed by the rate")
            return self._expected(following)
        if self.can_reset and time > self.last + _AWAY_S and self._goes_on(stamp, following):
            self.notes.count(_CLOSED)
            expected = self._expected(None)
            self.shift = expected - stamp
            return expected
        is_wild = following is not None and time > self.last + far and self.last < following + self.shift < time
        if is_wild:
            self.notes.count("frames with a wild time stamp, timed by the rate")
            return self._expected(following)
        return time

    def _goes_on(self, stamp: Fraction, following: Fraction | None) -> bool:
        """Whether the next frame follows closely: the clock has moved, not one stamp."""
        return following is not None and 0 < following - stamp <= _FAR * self.info.period

    def _expected(self, following: Fraction | None) -> Fraction:
        """One period after the last frame, and before the next one where that leaves a place."""
        if self.last is None:
            return max(self.info.first, Fraction(0))
        tick = self.info.time_base
        time = self.last + max(round(self.info.period / tick), 1) * tick
        if following is not None:
            before = following + self.shift - tick
            if self.last < before < time:
                return before
        return time
