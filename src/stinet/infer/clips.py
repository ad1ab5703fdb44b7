"""A long video through a clip function: windows of source frames that yield the output frames that are due.

A window makes the frames of `core` intervals and sees `reach` more source frames on either side, with the in-between
frames there too, so that a frame near a seam has the context that it would have in the whole film. What is done per
source frame (`prepare`) is done once, and only when a window needs it: a window that is left out costs nothing but its
decoding. No window reaches over a cut: the clip function sees every scene as a film of its own.

Windows depend on the frames, the rule and the core alone, never on what was computed, so a second walk through the
same film draws the same ones. In memory: the source frames of the windows that the caller holds, what is prepared of
one window, and its output frames.

When output frames are due is the matter of `times.py`, in which memory they are made that of `ladder.py`.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from stinet.infer.calls import each
from stinet.infer.ladder import Picture, Runner
from stinet.infer.times import Due, Film, OutputRule, Result
from stinet.ops.pictures import rounded
from stinet.ops.resample import resize
from stinet.video.frame import Frame

__all__ = ["Window", "upscale_frames", "windows"]

_MOST_BETWEEN = 32
"""In-between frames made at once: windows are so short that theirs fit; a long gap at a high rate is made in parts."""

_Alpha = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
_Pixels = UInt8[np.ndarray, "oh ow c"] | UInt16[np.ndarray, "oh ow c"]

_Wanted = Sequence[tuple[Fraction | None, Fraction]]
"""(output time or None for context only, fraction of the interval; 0 is the given frame), rising."""


@dataclass(slots=True, eq=False)
class _Source:
    """A source frame in a window, and what is due from it to the next one."""

    number: int
    picture: Picture
    alpha: _Alpha | None
    due: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    _mask: Picture | None = None

    @classmethod
    def of(cls, number: int, frame: Frame, due: Sequence[tuple[Fraction, Fraction]]) -> "_Source":
        """The source frame of that number; opacity that hides nothing is none."""
        alpha = frame.alpha
        if alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
            alpha = None
        return cls(number, Picture(frame.rgb), alpha, list(due))

    @property
    def mask(self) -> Picture:
        """The opacity as a grey picture."""
        if self._mask is None:
            pixels = self.picture.pixels
            alpha = self.alpha if self.alpha is not None else np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max)
            self._mask = Picture(np.broadcast_to(alpha.astype(pixels.dtype)[..., None], pixels.shape))
        return self._mask


class _Cut(NamedTuple):
    """What a window is cut out of the film as."""

    clip: tuple[_Source, ...]
    first: int
    """Place in the clip of the first source frame whose outputs the window makes."""
    last: int
    """Behind the last."""


class Window:
    """Some source frames in their context, and the output frames that they yield once `frames` is called."""

    def __init__(
        self, runner: Runner, cut: _Cut, size: tuple[int, int] | None, held: int, *, is_urgent: bool = False
    ) -> None:
        """Held are so many of its output frames; an urgent one shows its first before it makes the others."""
        own = cut.clip[cut.first : cut.last]
        self.first: int = own[0].number
        """Number of its first source frame, in the film."""
        self.sources: int = len(own)
        """Source frames whose outputs it makes."""
        self.times: tuple[Fraction, ...] = tuple(time for source in own for time, _ in source.due)
        """Of its output frames, rising."""
        self.held: int = held
        """Of them show the film's last source frame again."""
        self._runner, self._size = runner, size
        self._is_urgent = is_urgent
        self._cut: _Cut | None = cut
        # the frame that is the last one's neighbour may become due of more once it is known: not of this window's
        self._due = [list(source.due) for source in cut.clip]

    def frames(self) -> Iterator[Frame]:
        """Make the output frames, once.

        Raises:
            DeviceError: memory does not suffice.
            ModelError: a frame has NaN or Inf.

        """
        cut, self._cut = self._cut, None
        if cut is None:
            raise RuntimeError(f"the window from source frame {self.first} on has been made already")
        has_alpha = any(source.alpha is not None for source in cut.clip)
        is_split = self._is_urgent and self._runner.finishes_singly(cut.clip[0].picture.size)
        for part in _parts(self._due, cut.first, cut.last):
            for wanted in _first_and_rest(part) if is_split else [part]:
                yield from self._part(cut.clip, wanted, has_alpha=has_alpha)
        self._runner.tidy()

    def _part(self, clip: Sequence[_Source], wanted: list[_Wanted], *, has_alpha: bool) -> Iterator[Frame]:
        """One call of the clip function, and one more for the opacity."""
        times = [tuple(float(f) for _, f in due if f > 0) for due in wanted[:-1]]
        shown = _stamps(wanted)
        if not shown:
            return
        first = {place: stamps[0] for place, stamps in shown.items()}
        depth = clip[0].picture.pixels.dtype
        made = self._runner.run([source.picture for source in clip], times, first)
        masks = self._runner.run([source.mask for source in clip], times, first) if has_alpha else None
        pictures = each(self._runner.fn, lambda frame: _picture(frame, self._size, depth), list(made))
        for k, (rgb, stamps) in enumerate(zip(pictures, shown.values(), strict=True)):
            alpha = None if masks is None else _picture(masks[k].mean(0, keepdim=True), self._size, depth)[..., 0]
            for time in stamps:
                yield Frame(rgb=rgb, alpha=alpha, time=time)


def windows(
    runner: Runner,
    frames: Iterable[Frame],
    rule: OutputRule,
    *,
    period: Fraction,
    tick: Fraction = Fraction(1, 1000),
    is_constant_rate: bool = False,
    core: int = 0,
    first_core: int = 0,
    size: tuple[int, int] | None = None,
    result: Result | None = None,
) -> Iterator[Window]:
    """The windows of a film, in order; each may be made or left out.

    `period` is the nominal source period in seconds, `tick` the precision of source times, `is_constant_rate` as the
    container declares it, `core` the source frames whose outputs a window makes (0: the runner chooses), `first_core`
    those of the film's first window (0: as many; fewer show something sooner, with no more context behind them than
    they need), `size` the (height, width) of the output where it is not the function's own. `result` counts what is
    drawn.
    """
    result = Result() if result is None else result
    film = Film(rule, result, runner.notes, period=period, tick=tick, is_constant_rate=is_constant_rate)
    for cut, held in _cuts(frames, film, runner, core, first_core):
        window = Window(runner, cut, size, held, is_urgent=bool(first_core) and not result.frames_out)
        result.frames_out += len(window.times)
        yield window


def upscale_frames(
    runner: Runner,
    frames: Iterable[Frame],
    rule: OutputRule,
    *,
    period: Fraction,
    tick: Fraction = Fraction(1, 1000),
    is_constant_rate: bool = False,
    window: int = 0,
    size: tuple[int, int] | None = None,
    result: Result | None = None,
) -> Iterator[Frame]:
    """Output frames in the order of their exact times; the last one knows its duration.

    `window` is the source frames of one clip with its context (0: the runner chooses); the rest is as in `windows`.
    """
    result = Result() if result is None else result
    drawn = windows(
        runner,
        frames,
        rule,
        period=period,
        tick=tick,
        is_constant_rate=is_constant_rate,
        core=max(window - runner.reach - runner.ahead, 1) if window else 0,
        size=size,
        result=result,
    )
    waiting: Frame | None = None
    for one in drawn:
        for frame in one.frames():
            if waiting is not None:
                yield waiting
            waiting = frame
    if waiting is not None:
        yield dataclasses.replace(waiting, duration=max(result.end - waiting.time, tick))


def _cuts(
    frames: Iterable[Frame], film: Film, runner: Runner, core: int, first_core: int
) -> Iterator[tuple[_Cut, int]]:
    """Clips of the film, and how many frames the last one holds."""
    reach, ahead = runner.reach, runner.ahead
    soon = max(reach, 1) if first_core else ahead  # context behind the first window
    held: deque[_Source] = deque()
    first = 0  # place in `held` of the first source frame whose outputs are still due
    now = core  # source frames of the next window
    for number, frame in enumerate(frames):
        if number == 0:
            height, width = frame.rgb.shape[:2]
            core = core or runner.choose((height, width), per_interval=film.rule.frames_per_interval(film.period))
            core = min(core, _core_at_once(film.rule, film.period, reach + ahead - 1))
            now = min(first_core or core, core)
        step = film.advance(frame)
        if held:
            held[-1].due += step.before
        if step.is_apart:
            yield from ((cut, 0) for cut in _rest(held, first, core, runner))
            held.clear()
            first, now, soon = 0, core, ahead
        held.append(_Source.of(number, frame, step.early))
        if len(held) >= first + now + soon:
            yield _cut(held, first, first + now, runner), 0
            first, now, soon = first + now, core, ahead
            while first > reach:
                held.popleft()
                first -= 1
    if not held:
        return
    before = film.result.held
    held[-1].due += film.finish()
    *all_but_one, last = _rest(held, first, core, runner)
    yield from ((cut, 0) for cut in all_but_one)
    yield last, film.result.held - before


def _rest(held: Sequence[_Source], first: int, core: int, runner: Runner) -> list[_Cut]:
    """Windows up to the last source frame of a scene."""
    return [_cut(held, start, min(start + core, len(held)), runner) for start in range(first, len(held), core)]


def _cut(held: Sequence[_Source], first: int, last: int, runner: Runner) -> _Cut:
    """The window of source frames `first`..`last` - 1 of `held`; the rest of it is context."""
    offset = max(first - runner.reach, 0)
    return _Cut(tuple(held)[offset : last + runner.ahead], first - offset, last - offset)


def _core_at_once(rule: OutputRule, period: Fraction, context: int) -> int:
    """Source intervals of a window that has all its in-between frames, those of `context` intervals too, in one run."""
    if rule.rate is None:
        intervals = _MOST_BETWEEN // (rule.multiple - 1) if rule.multiple > 1 else _MOST_BETWEEN + context
    else:
        intervals = int((_MOST_BETWEEN - 1) / (rule.rate * period))  # n intervals have at most n rate period + 1 frames
    return max(intervals - context, 1)


def _parts(due: Sequence[Due], first: int, last: int) -> Iterator[list[_Wanted]]:
    """What is made per interval of the clip; in several parts where it would be too many frames at once.

    An interval outside first..last-1 is context: its in-between frames are made, but have no time, so nobody gets them.
    """
    if sum(fraction > 0 for one in due for _, fraction in one) <= _MOST_BETWEEN:
        yield [one if first <= i < last else [(None, f) for _, f in one if f > 0] for i, one in enumerate(due)]
        return
    for i in range(first, last):
        given = [one for one in due[i] if one[1] == 0]
        moving = [one for one in due[i] if one[1] > 0]
        for begin in range(0, max(len(moving), 1), _MOST_BETWEEN):
            part = [*(given if begin == 0 else ()), *moving[begin : begin + _MOST_BETWEEN]]
            yield [part if j == i else [] for j in range(len(due))]


def _first_and_rest(part: Sequence[_Wanted]) -> list[list[_Wanted]]:
    """The same frames once for the first time that one of them has, and once for all others."""
    first = min((time for due in part for time, _ in due if time is not None), default=None)
    return [
        [[(time if (time == first) is is_first else None, f) for time, f in due] for due in part]
        for is_first in (True, False)
    ]


def _stamps(wanted: Sequence[_Wanted]) -> dict[int, list[Fraction]]:
    """When each of the function's output frames is shown, by its place: several times where a picture stands."""
    stamps: dict[int, list[Fraction]] = {}
    place = 0  # of the interval's given frame in the function's output
    for due in wanted:
        between = 0
        for time, fraction in due:
            between += fraction > 0
            if time is not None:
                stamps.setdefault(place + between, []).append(time)
        place += 1 + between
    return stamps


def _picture(frame: Float[Tensor, "c h w"], size: tuple[int, int] | None, depth: np.dtype) -> _Pixels:
    """Round to the depth of the source, at `size` if it is another: h w c."""
    if size is not None and size != (frame.shape[-2], frame.shape[-1]):
        frame = resize(frame[None], size)[0]
    return rounded(frame, depth)
