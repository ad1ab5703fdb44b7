"""`stinet tune`: which model, engine, precision and number of threads suit a film, found out on a second of it.

    1  a second from the middle of the film is read
    2  every candidate makes a small part of it: it is warm then, and its speed is roughly known
    3  all candidates make the same larger part, in turn, round by round, as long as there is time
    4  every model makes one crop for the comparison sheet

all of it within the budget, sooner if nine rounds are done: candidates whose turn does not come are named, and the
part is as large as the time allows. A pixel costs the same in a part as in the whole picture, so frames per second of
the whole follow, with the context that a film's windows repeat. Decoding and encoding go on beside the network and
are not in it.

`best` is the model with the best measured quality, `fast` the fastest candidate, `balanced` the best model that takes
at most twice the time of the fastest, or that keeps up with playing.
"""

import contextlib
import inspect
import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet import face, runtime
from stinet.bench.rounds import median
from stinet.bench.sheet import as_tensor, crop_of, draw_sheet, made_by
from stinet.bench.subjects import Subject, build, engines, finish, has_ranges, on_threads, shipped
from stinet.catalogue import TRAININGS, weights_file
from stinet.checkpoint import read_header
from stinet.config import ClipFunction, ReadConfig, TileConfig
from stinet.errors import InputError, StinetError
from stinet.infer.calls import run_whole
from stinet.infer.ladder import Runner, context_factor
from stinet.upscale.report import bytes_text
from stinet.video.frame import Notes, VideoInfo
from stinet.video.source import open_source

__all__ = ["Tried", "Tuned", "tune"]

_MOST_FRAMES = 30
_SOURCES = 4
"""Source frames of the clip that is timed."""

_TIMES = ((0.5,),) * (_SOURCES - 1)
_MOST_ROUNDS = 9
_SMALL_PX, _LEAST_PX, _MOST_PX = 48, 32, 480 * 270
"""Side of the first small part; side of the least one and area of the largest one that is timed."""

_READING, _WARMING, _TIMING = 0.15, 0.55, 0.8
"""Shares of the budget by which reading, the first small parts and timing are over; the rest is the sheet's."""

_SHEET_PX = (48, 128)
"""Least and largest width of the crop on the sheet, in source pixels."""

_TWICE = 2.0

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(slots=True, kw_only=True)
class Tried:
    """A candidate and what was found out."""

    subject: Subject
    frames_per_s: float | None = None
    """Output frames of the whole picture; None: not tried."""
    film_s: float | None = None
    """For the whole film; None: its length is not known, or not tried."""
    memory_bytes: int = 0
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a film asks for."""

    source: Path
    tried: tuple[Tried, ...]
    sheet: Path | None
    device: str = "auto"
    """As it was asked for: a run must be told of it, too."""
    choices: dict[str, Tried] = field(default_factory=dict)
    """fast, balanced, best."""

    def rows(self) -> list[tuple[str, ...]]:
        """A table: the head, then the candidates, the fastest first."""
        head = ("model", "engine", "precision", "threads", "frames/s", "the whole film", "memory", "")
        known = sorted(self.tried, key=lambda one: -(one.frames_per_s or 0))
        return [head, *(self._row(one) for one in known)]

    def lines(self) -> list[str]:
        """The ready commands, and where the sheet is."""
        said = [f"{name:<9} {self.command(one.subject)}" for name, one in self.choices.items()]
        return said + ([] if self.sheet is None else [f"picture   {self.sheet}"])

    def command(self, subject: Subject) -> str:
        """What to type for this candidate."""
        words = ["stinet", "upscale", str(self.source), "-m", subject.model]
        words += ["--engine", subject.engine] if len(_engines()) > 1 else []
        # on openvino the numbers decide, and auto may be others; elsewhere auto is what was tried
        words += ["--precision", subject.precision] if subject.engine == "openvino" else []
        words += ["--device", self.device] if self.device != "auto" else []
        line = shlex.join(words)
        is_own_choice = subject.device != "cpu" or subject.threads == runtime.probe_threads()
        return line if is_own_choice else f"OMP_NUM_THREADS={subject.threads} {line}"

    def _row(self, one: Tried) -> tuple[str, ...]:
        marks = ", ".join(name for name, choice in self.choices.items() if choice is one)
        subject = one.subject
        return (
            subject.model,
            subject.engine,
            subject.precision if one.frames_per_s else "",
            str(subject.threads) if subject.device == "cpu" else "",
            f"{one.frames_per_s:.2f}" if one.frames_per_s else "",
            _duration(one.film_s),
            bytes_text(one.memory_bytes) if one.memory_bytes else "",
            one.why_not or marks,
        )


def tune(
    source: Path,
    sheet: Path | None,
    *,
    budget_s: float = 20.0,
    device: str = "auto",
    models: Sequence[str] = (),
    make: Callable[[Subject], ClipFunction] = build,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Tuned:
    """Try models (none named: the shipped ones) on a second of `source`, and draw `sheet`.

    Raises:
        InputError: the film cannot be read, or has less than two frames.
        OutputError: the sheet cannot be written.
        StinetError: no candidate works; the first one's reason.

    """
    begin = clock()

    def until(share: float) -> float:
        """Seconds left before a share of the budget is used up."""
        return budget_s * share - (clock() - begin)

    place = runtime.device(device)
    film = open_source(source)
    pictures = _second(source, film.info, lambda: until(_READING) > 0)
    base_bytes = runtime.peak_memory_bytes()
    trials = [_Trial(subject, make, clock) for subject in _candidates(models or shipped(), str(place))]
    last_s = 0.0
    for number, trial in enumerate(trials):
        started = clock()
        trial.warm(pictures, has_time=until(_WARMING) > last_s)
        last_s = clock() - started if number else 0.0  # the first one also loads what all of them need
        progress(number + 1, 2 * len(trials))
    works = [trial for trial in trials if trial.fn is not None]
    if not works:
        raise next((trial.error for trial in trials if trial.error), StinetError("no model could be tried"))
    part = _part(pictures, works, until(_TIMING))
    for number in range(_MOST_ROUNDS):
        if not _round(works, part, lambda: until(_TIMING)):
            break
        progress(len(trials) + (number + 1) * len(trials) // _MOST_ROUNDS, 2 * len(trials))
    tried = [trial.result(film.info, base_bytes) for trial in trials]
    choices = _choices(tried, film.info)
    if sheet is not None:
        _draw(sheet, pictures, works, until(1.0))
    progress(2 * len(trials), 2 * len(trials))
    return Tuned(source=source, tried=tuple(tried), sheet=sheet, device=device, choices=choices)


class _Trial:
    """One candidate at work."""

    def __init__(self, subject: Subject, make: Callable[[Subject], ClipFunction], clock: Callable[[], float]) -> None:
        self.subject, self._make, self._clock = subject, make, clock
        self.fn: ClipFunction | None = None
        self.error: StinetError | None = None
        self.seconds_per_px: list[float] = []
        """Per source pixel and output frame, of every round."""
        self.rough = math.inf

    def warm(self, pictures: Sequence[Picture], *, has_time: bool) -> None:
        """Build it and make a small part, twice."""
        if not has_time:
            return
        small = _centre(pictures, _SMALL_PX, _SMALL_PX)
        try:
            with on_threads(self.subject.threads):
                fn = self._make(self.subject)
                self._made(fn, small)
                self.rough = self._made(fn, small)
        except StinetError as error:
            self.error = error
            return
        self.fn = fn
        precision = getattr(fn, "precision", self.subject.precision)
        self.subject = replace(self.subject, precision=precision)

    def time(self, part: Sequence[Float[Tensor, "3 h w"]]) -> None:
        """Make the part once more."""
        assert self.fn is not None
        with on_threads(self.subject.threads):
            self.seconds_per_px.append(self._made(self.fn, part))

    def expected_s(self, part: Sequence[Float[Tensor, "3 h w"]]) -> float:
        """What the part will take, by the last time or by the small part."""
        per_px = self.seconds_per_px[-1] if self.seconds_per_px else self.rough
        return per_px * (2 * len(part) - 1) * part[0].shape[-2] * part[0].shape[-1]

    def result(self, info: VideoInfo, base_bytes: int) -> Tried:
        """What is known in the end: by the rounds, or else roughly by the small part."""
        if self.fn is None:
            why = str(self.error) if self.error else "not tried: out of time"
            return Tried(subject=self.subject, why_not=why)
        per_px = median(self.seconds_per_px) if self.seconds_per_px else self.rough
        context = context_factor(self.fn)
        rate = 1 / (per_px * info.width * info.height * context)
        frames = _frames_out(info)
        return Tried(
            subject=self.subject,
            frames_per_s=rate,
            film_s=None if frames is None else frames / rate,
            memory_bytes=base_bytes + _clip_bytes(self.fn, info),
            why_not="" if self.seconds_per_px else "roughly: out of time",
        )

    def _made(self, fn: ClipFunction, part: Sequence[Float[Tensor, "3 h w"]]) -> float:
        """Seconds per source pixel and output frame."""
        times = _TIMES[: len(part) - 1]
        begin = self._clock()
        with torch.inference_mode():
            made = run_whole(fn, part, times)
            finish(made.device.type)
        spent = self._clock() - begin
        return spent / (made.shape[0] * part[0].shape[-2] * part[0].shape[-1])


def _second(source: Path, info: VideoInfo, has_time: Callable[[], bool]) -> list[Picture]:
    """Frames of a second from the middle of a film, as many as there is time for, but four."""
    middle = max((info.duration or Fraction(1)) / 2 - Fraction(1, 2), Fraction(0))
    for start in (middle, Fraction(0)):  # a length that is declared wrongly leads behind the end
        config = ReadConfig(start=start or None, seconds=Fraction(1))
        pictures: list[Picture] = []
        with contextlib.suppress(InputError) if start else contextlib.nullcontext():
            for frame in open_source(source, config).frames(Notes(), deep=False):
                pictures.append(frame.rgb)
                if len(pictures) >= _MOST_FRAMES or (len(pictures) >= _SOURCES and not has_time()):
                    break
        if len(pictures) >= 2:
            return pictures
    raise InputError(f"{source}: has less than two frames, nothing can be tried on it")


def _candidates(models: Sequence[str], device: str) -> Iterator[Subject]:
    """What can be tried, the likeliest first: all cores, then fewer; OpenVINO in 8 bits, then in others."""
    cores = runtime.cores()
    counts = sorted({cores, max(cores // 2, 1), 1}, reverse=True) if device == "cpu" else [cores]
    names = _engines() if device == "cpu" else ("torch",)
    ways = [(engine, "auto") for engine in names]
    if "openvino" in names:
        half = "bfloat16" if runtime.has_bfloat16("cpu") else "float32"
        rest = [way for way in ways if way[0] != "openvino"]
        ways = [("openvino", "int8"), ("openvino", half), *rest]
    for threads in counts:
        for engine, precision in ways:
            for model in models:
                if precision != "int8" or has_ranges(model):
                    yield Subject(model=model, engine=engine, precision=precision, threads=threads, device=device)


def _engines() -> tuple[str, ...]:
    """Those that are here, and that `upscale` can be told to use."""
    can_be_told = "engine" in inspect.signature(face.upscale_video).parameters
    return engines() if can_be_told else ("torch",)


def _part(
    pictures: Sequence[Picture], works: Sequence[_Trial], left_s: float
) -> list[Float[Tensor, "3 part_h part_w"]]:
    """The largest part of the picture of which two rounds fit into the time that is left."""
    height, width = pictures[0].shape[:2]
    frames = 2 * min(len(pictures), _SOURCES) - 1
    area = max(left_s, 0.0) / (2 * frames * sum(trial.rough for trial in works) or 1.0)
    factor = min(math.sqrt(min(area, _MOST_PX) / (height * width)), 1.0)
    return _centre(pictures, max(round(height * factor), _LEAST_PX), max(round(width * factor), _LEAST_PX))


def _centre(pictures: Sequence[Picture], height: int, width: int) -> list[Float[Tensor, "3 part_h part_w"]]:
    """The middle of consecutive frames from the middle of the second."""
    start = max((len(pictures) - _SOURCES) // 2, 0)
    tall, wide = min(height, pictures[0].shape[0]), min(width, pictures[0].shape[1])
    top, left = (pictures[0].shape[0] - tall) // 2, (pictures[0].shape[1] - wide) // 2
    return [as_tensor(rgb[top : top + tall, left : left + wide]) for rgb in pictures[start : start + _SOURCES]]


def _round(works: Sequence[_Trial], part: Sequence[Float[Tensor, "3 h w"]], left_s: Callable[[], float]) -> bool:
    """Let every candidate make the part once, if it can do so in the time that is left; False: none can."""
    can = False
    for trial in works:
        if left_s() > trial.expected_s(part):
            trial.time(part)
            can = True
    return can


def _choices(tried: Sequence[Tried], info: VideoInfo) -> dict[str, Tried]:
    """fast, balanced and best."""
    best_of: dict[str, Tried] = {}
    for one in tried:
        known = best_of.get(one.subject.model)
        if one.frames_per_s and (known is None or one.frames_per_s > (known.frames_per_s or 0)):
            best_of[one.subject.model] = one
    by_quality = sorted(best_of.values(), key=lambda one: _quality(one.subject.model), reverse=True)
    fast = max(by_quality, key=lambda one: one.frames_per_s or 0)
    playing = math.inf if info.rate is None else 2 * float(info.rate)
    least = min((fast.frames_per_s or 0) / _TWICE, playing)
    balanced = next(one for one in by_quality if (one.frames_per_s or 0) >= least)
    return {"fast": fast, "balanced": balanced, "best": by_quality[0]}


def _quality(model: str) -> tuple[float, int]:
    """To sort by: PSNR on Vid4 as the weights file says, then the size of the family."""
    rank = -list(TRAININGS).index(model) if model in TRAININGS else -len(TRAININGS)
    try:
        about = read_header(weights_file(model)).get("about", {})
    except StinetError:
        about = {}
    return float(about.get("vid4", {}).get("psnr_db", 0.0)), rank


def _draw(sheet: Path, pictures: Sequence[Picture], works: Sequence[_Trial], left_s: float) -> None:
    """Every model by its fastest candidate, on a crop as wide as the time allows."""
    chosen: dict[str, _Trial] = {}
    for trial in sorted(works, key=lambda trial: trial.rough):
        chosen.setdefault(trial.subject.model, trial)
    models = list(dict.fromkeys(trial.subject.model for trial in works))
    per_px = sum(chosen[model].rough for model in models) * (2 * _SOURCES - 1)
    # half of the time: what was quick on its own may not be on a machine that others use
    affordable = math.sqrt(max(left_s, 0.0) / 2 / (per_px or 1.0) * 16 / 9) - 32
    crop = crop_of(pictures, round(min(max(affordable, _SHEET_PX[0]), _SHEET_PX[1])))
    made = {}
    scale = 4
    for model in models:
        trial = chosen[model]
        assert trial.fn is not None
        scale = trial.fn.scale
        with on_threads(trial.subject.threads):
            made[model] = made_by(trial.fn, crop)
    draw_sheet(crop, made, sheet, scale)


def _clip_bytes(fn: ClipFunction, info: VideoInfo) -> int:
    kind = torch.device(getattr(fn, "device", "cpu")).type
    budget = runtime.memory_available_bytes(kind) // 2
    return Runner(fn, TileConfig(), Notes(), budget_bytes=budget).clip_bytes((info.height, info.width))


def _frames_out(info: VideoInfo) -> float | None:
    """Twice as many as the film has, which `upscale` makes unless told otherwise."""
    if info.frames_declared:
        return 2 * info.frames_declared
    return None if info.duration is None or info.rate is None else 2 * float(info.duration * info.rate)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
