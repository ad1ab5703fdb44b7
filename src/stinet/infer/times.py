"""When output frames are due, as exact Fractions: the rule, and a film whose source frames become known one by one.

Source frame i stands at s_i; what is due in the interval [s_i, s_i+1) follows from the rule alone:

    keep     s_i
    xK       s_i + j (s_i+1 - s_i) / K,   j = 0..K-1
    rate R   every s_0 + k / R in the interval; one within a tick of s_i shows s_i's frame, its time stays

Each output time belongs to one interval, so none is given twice and none is left out, however long the film.

Repeated pictures. xK makes K frames of every tick at which the source showed a picture, whether it was a new one or
not: a source frame has the ticks `Frame.repeats` too, and its first one stays where it was when its time is moved
(`Frame.shown`; pulldown). What is shown at s moves only after `Frame.still_until`: it is the fraction
(s - m) / (s_i+1 - m) of the way, m being that time or, without it, s_i.

Gaps. In a film of constant rate (declared so, and steady up to there) an interval of n periods has lost n - 1 frames.
They are put back, so that it yields n K frames; a gap above half a second is no motion that could be guessed, and is
treated like a cut.

Cuts. Where a source frame begins a scene nothing is made between it and the one before: what is due there shows the
nearer of the two again, the earlier one in a tie. Number and times of the output frames stay as they are.

The end. After the last source frame nothing can be interpolated: it is held. Under xK a constant-rate film of N frames
gives K N frames; a variable-rate film gives K (N-1) + 1, the last lasting a full source period. Under a rate, frames
are held up to the end. Either way the duration is kept.

This file knows neither pixels nor clip functions.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from stinet.errors import UsageError
from stinet.video.frame import Frame, Notes

__all__ = ["Due", "Film", "OutputRule", "Result", "Step"]

Due = Sequence[tuple[Fraction, Fraction]]
"""(output time, fraction of the way to the next source frame; 0 is the given frame), rising."""

_ROUGH = Fraction(1, 500)
"""A coarser tick than this is the frame period itself: its times are exact."""

_ROUNDED = Fraction(1, 1000)
"""Containers that round times do it to a millisecond or better."""

_GUESSED_S = Fraction(1, 2)
"""The longest gap of a damaged film that is filled with motion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule:
    """When output frames are due: a multiple of the source's rate, or a rate, or (multiple 1) the source frames."""

    multiple: int = 1
    rate: Fraction | None = None
    stretch: Fraction = Fraction(1)
    """How much longer than its source the film is whose times are given: slow motion."""

    @classmethod
    def parse(cls, text: str) -> "OutputRule":
        """Read `keep`, `x2`, `60`, `60000/1001` or `59.94` (which is 60000/1001).

        Raises:
            UsageError: something else.

        """
        said = text.strip().lower()
        if said == "keep":
            return cls()
        if said.startswith("x") and said[1:].isdigit() and 1 <= int(said[1:]) <= 64:
            return cls(multiple=int(said[1:]))
        try:
            rate = _NTSC.get(said) or Fraction(said)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            raise UsageError(f"fps {text!r} is not understood: give x2, a rate such as 60 or 60000/1001, or keep")
        return cls(rate=rate)

    def slowed(self, factor: Fraction, period: Fraction) -> "OutputRule":
        """The same rate for a film that plays `factor` times longer; `period` is that of the source as it was.

        Its rule is for stretched times: a multiple where the stretch allows one, else a rate.
        """
        multiple = self.multiple * factor
        if self.rate is None and multiple.denominator == 1:
            return OutputRule(multiple=int(multiple), stretch=factor)
        return OutputRule(rate=self.output_rate(1 / period), stretch=factor)

    def as_rate(self, period: Fraction) -> "OutputRule":
        """The constant rate that this rule has on average, for a source of that nominal period."""
        return OutputRule(rate=self.output_rate(1 / period), stretch=self.stretch)

    def output_rate(self, source: Fraction) -> Fraction:
        """Nominal frames per second of the output."""
        return self.rate or source * self.multiple

    def frames_per_interval(self, period: Fraction) -> int:
        """Output frames of a source interval that is a period long, the given one counted."""
        return self.multiple if self.rate is None else math.ceil(self.rate * period)

    def time_base(self, source: Fraction, first: Fraction) -> Fraction:
        """The coarsest tick of which all output times are multiples, when source times are multiples of `source`."""
        if self.rate is None:
            return source / self.multiple
        return _common(1 / self.rate, first) if first else 1 / self.rate

    def times(self, ticks: Sequence[Fraction], begin: Fraction, until: Fraction) -> list[Fraction]:
        """Output times from the first to before the last of `ticks`, which rise; a rate's from `begin` to `until`."""
        if self.rate is None:
            return [a + (b - a) * j / self.multiple for a, b in pairwise(ticks) for j in range(self.multiple)]
        count = max(math.ceil((until - begin) * self.rate), 0)
        return [begin + k / self.rate for k in range(count)]


_NTSC = {"23.976": Fraction(24000, 1001), "23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001),
         "59.94": Fraction(60000, 1001), "119.88": Fraction(120000, 1001)}  # fmt: skip
"""What people write for rates that have no short decimal."""


@dataclass(slots=True, kw_only=True)
class Result:
    """Counts that grow while windows are drawn, whether they are computed or not."""

    frames_in: int = 0
    frames_out: int = 0
    held: int = 0
    """Output frames that show the last source frame again, beyond the time at which it was shown last."""
    cuts: int = 0
    gaps: int = 0
    """Source frames that are missing and were replaced."""
    is_constant_rate: bool = True
    end: Fraction = Fraction(0)
    """When the last source frame ends."""


class Step(NamedTuple):
    """What is known once a source frame is."""

    before: Due
    """Due of the frame before it."""
    early: Due
    """Due of this frame before its own time: something only after a cut."""
    is_apart: bool
    """Nothing is made between the two: a cut or a long gap."""


class Film:
    """What is due of a film whose source frames become known one by one."""

    def __init__(
        self,
        rule: OutputRule,
        result: Result,
        notes: Notes,
        *,
        period: Fraction,
        tick: Fraction,
        is_constant_rate: bool = False,
    ) -> None:
        """`period` is the nominal source period, `tick` the precision of source times.

        Missing frames are put back where `is_constant_rate` is declared, until a time contradicts it.
        """
        self.rule, self.result, self.notes = rule, result, notes
        self.period, self.tick, self.is_constant_rate = period, tick, is_constant_rate
        self._next = Fraction(0)  # the first output time of a rate that is not yet given out
        self._last: tuple[Fraction, Fraction | None] | None = None  # time and still_until of the frame before
        self._tick = Fraction(0)  # when the source showed something last
        self._pending: list[Fraction] = []  # output times at or after the last frame's

    def advance(self, frame: Frame) -> Step:
        """Take the next source frame."""
        self.result.frames_in += 1 + len(frame.repeats)
        shown = frame.time if frame.shown is None else frame.shown
        step = Step((), (), is_apart=False)
        if self._last is None:
            self._next = self._tick = frame.time
            self._pending = self._times([shown, *frame.repeats], frame.time)
        else:
            step = self._between(*self._last, frame, shown)
        self._tick = frame.repeats[-1] if frame.repeats else shown
        declared = frame.time + (frame.duration or 0)
        self.result.end = declared if declared > self._tick else self._tick + self._last_period
        self._last = (frame.time, frame.still_until)
        return step

    def finish(self) -> Due:
        """No more source frames: when the last one is due."""
        end = self.result.end
        times = [*self._pending, *self._times([self._tick, end], end - self._near(end - self._tick))]
        if self.rule.rate is None and not self.result.is_constant_rate:
            times = [time for time in times if time <= self._tick]
        near = self._near(end - self._tick)
        self.result.held += sum(time - self._tick > near for time in times)
        return [(time, Fraction(0)) for time in times]

    def _between(self, last: Fraction, still_until: Fraction | None, frame: Frame, shown: Fraction) -> Step:
        """From the frame before, at `last`, to this one, whose first tick was at `shown`."""
        step = shown - self._tick
        is_apart = frame.begins_scene
        ticks = [self._tick, shown, *frame.repeats]
        for a, b in pairwise(ticks):
            if self._off(b - a) > self._tolerance:
                self.result.is_constant_rate = False
        missing = self._missing(step)
        if missing:
            self.result.gaps += missing
            self.notes.count("frames missing in the source, replaced", missing)
            is_apart |= step > _GUESSED_S * self.rule.stretch
            places = (round(step * k / (missing + 1) / self.tick) for k in range(1, missing + 1))
            ticks[1:1] = [self._tick + place * self.tick for place in places]
        self.result.cuts += frame.begins_scene
        near = self._near(frame.time - last)
        times = [*self._pending, *self._times(ticks, frame.time - near)]
        ours = bisect_left(times, frame.time)
        self._pending = times[ours:]
        moves = last if still_until is None else still_until
        away, still = frame.time - moves, Fraction(0)
        due = [(time, (time - moves) / away if time > moves + near else still) for time in times[:ours]]
        if not is_apart:
            return Step(due, (), is_apart=False)
        half = Fraction(1, 2)
        return Step(
            [(time, Fraction(0)) for time, f in due if f <= half],
            [(time, Fraction(0)) for time, f in due if f > half],
            is_apart=True,
        )

    def _times(self, ticks: Sequence[Fraction], until: Fraction) -> list[Fraction]:
        """What the rule gives, each output time once."""
        times = self.rule.times(ticks, self._next, until)
        if times and self.rule.rate is not None:
            self._next = times[-1] + 1 / self.rule.rate
        return times

    def _near(self, interval: Fraction) -> Fraction:
        """How far from a given frame an output frame of a rate shows it: what the source's tick has blurred."""
        if self.rule.rate is None or self.tick > _ROUGH:
            return Fraction(0)
        return min(self.tick, interval / 8)

    def _missing(self, step: Fraction) -> int:
        """Frames that an interval has lost."""
        is_steady = self.is_constant_rate and self.result.is_constant_rate  # as declared, and as seen so far
        if not is_steady or self._off(step) > self._tolerance:
            return 0
        return max(round(step / self.period), 1) - 1

    def _off(self, step: Fraction) -> Fraction:
        """How far an interval is from a whole number of periods."""
        return abs(step - max(round(step / self.period), 1) * self.period)

    @property
    def _last_period(self) -> Fraction:
        """How long a last frame is that does not say: a period, on the ticks of the source where output times are."""
        if self.rule.rate is not None or not self.tick:
            return self.period
        return max(round(self.period / self.tick), 1) * self.tick

    @property
    def _tolerance(self) -> Fraction:
        return min(max(self.tick, _ROUNDED), self.period / 8)


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The largest fraction of which both are whole multiples."""
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)
