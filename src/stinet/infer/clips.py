"""A long video through a clip function: which output frames are due when, and windows of source frames that yield them.

Output times. Source frame i stands at s_i; what is due in the interval [s_i, s_i+1) follows from the rule alone:

    keep     s_i
    xK       s_i + j (s_i+1 - s_i) / K,   j = 0..K-1
    rate R   every s_0 + k / R in the interval; one within a millisecond tick of s_i is s_i's frame

After the last source frame nothing can be interpolated: it is held. Under xK a constant-rate film of N frames gives K
N frames, the last source frame held K-1 times more; a variable-rate film gives K (N-1) + 1, the last lasting a full
source period. Under a rate, frames are held up to the end. Either way the duration is kept.

Cuts. Where a source frame begins a scene nothing is made between it and the one before: what is due there shows the
nearer of the two again, the earlier one in a tie. Number and times of the output frames stay as they are.

Windows. A window makes the frames of `core` intervals and sees `reach` more source frames on either side, with the
in-between frames there too, so that a frame near a seam has the context that it would have in the whole film. What is
done per source frame (`prepare`) is done once. No window reaches over a cut: the clip function sees every scene as a
film of its own. In memory: the states of one window, and its output frames.

This file knows the clip function only as the protocol of `config.py`.
"""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import ClipFunction
from stinet.errors import ModelError, UsageError
from stinet.infer.tiles import Tiler
from stinet.ops.resample import resize
from stinet.runtime import release_memory
from stinet.video.frame import Frame

__all__ = ["CORE", "OutputRule", "Result", "upscale_frames"]

CORE = 8
"""Source intervals of a window when nobody says: more repeat less context and relate more frames, for more memory."""

_ROUGH = Fraction(1, 500)
"""A coarser tick than this is the frame period itself: its times are exact."""

_MOST_BETWEEN = 32
"""In-between frames made at once: windows are so short that theirs fit; a long gap at a high rate is made in parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule:
    """When output frames are due: a multiple of the source's rate, or a rate, or (multiple 1) the source frames."""

    multiple: int = 1
    rate: Fraction | None = None

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

    def due(
        self, start: Fraction, end: Fraction, begin: Fraction, tick: Fraction = Fraction(0)
    ) -> list[tuple[Fraction, Fraction]]:
        """(output time, fraction of the interval) in [start, end); fraction 0 is the given frame.

        A rate's times are counted from `begin`, the first that no earlier interval had; one within `tick` of a given
        frame counts as that frame's.
        """
        if self.rate is None:
            return [
                (start + (end - start) * j / self.multiple, Fraction(j, self.multiple)) for j in range(self.multiple)
            ]
        near = min(tick, (end - start) / 8) if tick <= _ROUGH else Fraction(0)
        found = []
        for k in itertools.count():
            time = begin + k / self.rate
            if time >= end - near:
                return found
            found.append((time, Fraction(0) if time - start <= near else (time - start) / (end - start)))
        raise AssertionError  # the count has no end


_NTSC = {"23.976": Fraction(24000, 1001), "23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001),
         "59.94": Fraction(60000, 1001), "119.88": Fraction(120000, 1001)}  # fmt: skip
"""What people write for rates that have no short decimal."""


@dataclass(slots=True, kw_only=True)
class Result:
    """Counts that grow while frames are drawn."""

    frames_in: int = 0
    frames_out: int = 0
    held: int = 0
    cuts: int = 0
    is_constant_rate: bool = True


_Due = Sequence[tuple[Fraction | None, Fraction]]
"""(output time or None for context only, fraction of the interval; 0 is the given frame), rising."""


@dataclass(slots=True)
class _Source:
    """A source frame in a window, and what is due from it to the next one."""

    time: Fraction
    size: tuple[int, int]
    state: Any
    due: _Due = field(default_factory=list)


def upscale_frames(
    fn: ClipFunction,
    frames: Iterable[Frame],
    rule: OutputRule,
    *,
    tiler: Tiler,
    period: Fraction,
    tick: Fraction = Fraction(1, 1000),
    window: int = 0,
    size: tuple[int, int] | None = None,
    result: Result | None = None,
) -> Iterator[Frame]:
    """Output frames in the order of their exact times; the last one knows its duration.

    `period` is the nominal source period in seconds, `tick` the precision of source times, `window` the source frames
    of one clip with its context (0: `CORE` and the reach), `size` the (height, width) of the output where it is not
    the function's own.
    """
    result = Result() if result is None else result
    film = _Film(rule, period, tick, result)
    waiting: Frame | None = None
    for frame in _windows(fn, frames, film, tiler, window, size):
        if waiting is not None:
            yield waiting
        waiting = frame
        result.frames_out += 1
    if waiting is not None:
        yield dataclasses.replace(waiting, duration=max(film.end - waiting.time, tick))


class _Film:
    """What is due of a film whose source frames become known one by one."""

    def __init__(self, rule: OutputRule, period: Fraction, tick: Fraction, result: Result) -> None:
        self.rule, self.period, self.tick, self.result = rule, period, tick, result
        self.next = self.end = Fraction(0)  # the first output time of a rate that is not yet given out

    def begin(self, frame: Frame, before: _Source | None) -> _Due:
        """A source frame is known: what is due from the one before it, and is the rate still constant.

        Returns what is due of the new frame before its own time: something only after a cut.
        """
        self.result.frames_in += 1
        self.end = frame.time + (frame.duration or self.period)
        if before is None:
            self.next = frame.time
            return []
        step = frame.time - before.time
        off = abs(step - max(round(step / self.period), 1) * self.period)
        if off > min(max(self.tick, Fraction(1, 1000)), self.period / 8):
            self.result.is_constant_rate = False
        due = self._due(before.time, frame.time)
        if not frame.begins_scene:
            before.due = [*before.due, *due]
            return []
        self.result.cuts += 1
        before.due = [*before.due, *((time, Fraction(0)) for time, f in due if f <= Fraction(1, 2))]
        return [(time, Fraction(0)) for time, f in due if f > Fraction(1, 2)]

    def finish(self, last: _Source) -> list[Fraction]:
        """No more source frames: the last one is due once, and again at the times that are returned."""
        due = self._due(last.time, self.end)
        if self.rule.rate is None and not self.result.is_constant_rate:
            due = due[:1]
        last.due = [*last.due, *((time, Fraction(0)) for time, _ in due[:1])]
        self.result.held += sum(fraction > 0 for _, fraction in due)
        return [time for time, _ in due[1:]]

    def _due(self, start: Fraction, end: Fraction) -> list[tuple[Fraction, Fraction]]:
        """What is due in an interval, each output time in one interval only."""
        due = self.rule.due(start, end, self.next, self.tick)
        if due and self.rule.rate is not None:
            self.next = due[-1][0] + 1 / self.rule.rate
        return due


def _windows(
    fn: ClipFunction, frames: Iterable[Frame], film: _Film, tiler: Tiler, window: int, size: tuple[int, int] | None
) -> Iterator[Frame]:
    """Frames of one window after the other, then the held ones."""
    reach, right = fn.reach, max(fn.reach, 1)
    core = max(window - 2 * reach, 1) if window else CORE
    core = min(core, _core_at_once(film.rule, film.period, reach + right - 1))
    held: deque[_Source] = deque()
    first = 0  # place in `held` of the first source frame whose outputs are still due
    for frame in frames:
        early = film.begin(frame, held[-1] if held else None)
        if frame.begins_scene:
            yield from _rest(fn, held, first, core, tiler, size)
            held.clear()
            first = 0
        held.append(_prepared(fn, frame, early))
        if not window:
            per_interval = film.rule.frames_per_interval(film.period)
            core = min(core, _affordable_core(held[-1].size, fn.scale, per_interval, tiler.budget_bytes))
        if len(held) >= first + core + right:
            yield from _window(fn, held, first, first + core, tiler, size)
            first += core
            while first > reach:
                held.popleft()
                first -= 1
    if not held:
        return
    again = film.finish(held[-1])
    made: Frame | None = None
    for made in _rest(fn, held, first, core, tiler, size):
        yield made
    if made is not None:
        yield from (dataclasses.replace(made, time=time) for time in again)


def _rest(
    fn: ClipFunction, held: Sequence[_Source], first: int, core: int, tiler: Tiler, size: tuple[int, int] | None
) -> Iterator[Frame]:
    """Windows up to the last source frame of a scene."""
    for start in range(first, len(held), core):
        yield from _window(fn, held, start, min(start + core, len(held)), tiler, size)


def _core_at_once(rule: OutputRule, period: Fraction, context: int) -> int:
    """Source intervals of a window that has all its in-between frames, those of `context` intervals too, in one run."""
    if rule.rate is None:
        intervals = _MOST_BETWEEN // (rule.multiple - 1) if rule.multiple > 1 else _MOST_BETWEEN + context
    else:
        intervals = int((_MOST_BETWEEN - 1) / (rule.rate * period))  # n intervals have at most n rate period + 1 frames
    return max(intervals - context, 1)


def _affordable_core(size: tuple[int, int], scale: int, per_interval: int, budget_bytes: int) -> int:
    """Source intervals whose output frames, in float32, take a quarter of the memory."""
    bytes_per_interval = 12 * size[0] * size[1] * scale**2 * max(per_interval, 2)
    return max(int(budget_bytes / 4 / bytes_per_interval), 1)


def _prepared(fn: ClipFunction, frame: Frame, due: _Due) -> _Source:
    """Do what is done once per source frame."""
    top = np.iinfo(frame.rgb.dtype).max
    image = torch.from_numpy(frame.rgb.astype(np.float32) / top).permute(2, 0, 1).contiguous()
    with torch.inference_mode():
        state = fn.prepare(image)
    return _Source(frame.time, (image.shape[1], image.shape[2]), state, due)


def _window(
    fn: ClipFunction, held: Sequence[_Source], first: int, last: int, tiler: Tiler, size: tuple[int, int] | None
) -> Iterator[Frame]:
    """Frames due from source frames `first`..`last` - 1 of `held`; the rest of it is context."""
    offset = max(first - fn.reach, 0)
    clip = list(held)[offset : last + max(fn.reach, 1)]
    for wanted in _parts(clip, first - offset, last - offset):
        for time, rgb in _run(fn, clip, wanted, tiler, size):
            yield Frame(rgb=rgb, time=time)
    release_memory()


def _parts(clip: list[_Source], first: int, last: int) -> Iterator[list[_Due]]:
    """What is made per interval of the clip; in several parts where it would be too many frames at once.

    An interval outside first..last-1 is context: its in-between frames are made, but have no time, so nobody gets them.
    """
    due = [source.due for source in clip]
    if sum(fraction > 0 for one in due for _, fraction in one) <= _MOST_BETWEEN:
        yield [one if first <= i < last else [(None, f) for _, f in one] for i, one in enumerate(due)]
        return
    for i in range(first, last):
        for begin in range(0, len(due[i]), _MOST_BETWEEN):
            yield [due[i][begin : begin + _MOST_BETWEEN] if j == i else [] for j in range(len(clip))]


def _run(
    fn: ClipFunction,
    clip: list[_Source],
    wanted: list[_Due],
    tiler: Tiler,
    size: tuple[int, int] | None,
) -> Iterator[tuple[Fraction, np.ndarray]]:
    """One call of the clip function: (time, picture) of every wanted frame."""
    states = [source.state for source in clip]
    times = [tuple(float(f) for _, f in due if f > 0) for due in wanted[:-1]]
    stamps: dict[int, list[Fraction]] = {}  # when the function's output frames are shown: several times beside a cut
    place = 0  # of the interval's given frame in the function's output
    for due in wanted:
        between = 0
        for time, fraction in due:
            between += fraction > 0
            if time is not None:
                stamps.setdefault(place + between, []).append(time)
        place += 1 + between
    if not stamps:
        return
    with torch.inference_mode():
        nodes = fn.context(states, times)
        frames = tiler.run(
            lambda tile: fn.run(states, times, nodes, tile),
            clip[0].size,
            scale=fn.scale,
            sources=max(len(clip), math.ceil((len(clip) + sum(map(len, times))) / 2)),  # measured at 2 out for 1 in
            keep=list(stamps),
        )
        for shown, frame in zip(stamps.values(), frames, strict=True):
            picture = _picture(frame, size)
            yield from ((time, picture) for time in shown)


def _picture(frame: Float[Tensor, "3 h w"], size: tuple[int, int] | None) -> np.ndarray:
    """Round to 8 bit, at `size` if it is another: h w 3."""
    if not torch.isfinite(frame).all():
        raise ModelError("the model gave a frame with NaN or Inf; run it in float32 or with other weights")
    if size is not None and size != (frame.shape[-2], frame.shape[-1]):
        frame = resize(frame[None], size)[0]
    return frame.clamp(0, 1).mul(255).add_(0.5).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The largest fraction of which both are whole multiples."""
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)
