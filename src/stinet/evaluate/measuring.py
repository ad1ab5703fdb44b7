"""Show clips to clip functions as a protocol says, and measure what comes out.

Truth and low resolution are made as for training (`data.clip`: in one step each, in float64, rounded to 8 bit once).
Under a degradation low resolution is a film as its owner has it: every step-th frame of a clip, from the first and from
each of the next ones, is degraded as a video of its own (`data.degrade`), and a window is given frames of one of them.
The seed is the clip's name and that first frame, so all models see the same pixels, today and tomorrow.

What a model yields is clamped and rounded to 8 bit before it is measured. Seconds are the model's alone: prepare,
context and run, every window from nothing.

What headers tell of all clips is looked at before the first is measured. If one fails later, the figures of those
before it are handed on: hours of work are not lost to one damaged file.

One clip is in memory at a time. All models see a window before the next one is cut, so what only the truth is needed
for (its luma, its flow) is done once, and a machine that slows down slows all of them. Figures of pairs (motion
error, flicker) are of neighbours in the order in which frames count, across windows too, so a seam is measured.

Knows no model by name: it gets clip functions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from stinet.config import ClipFunction
from stinet.data.benchmarks import Window
from stinet.data.clip import Clip, low_frame, sharp_frame
from stinet.data.collection import header, refuse
from stinet.data.degrade import degrade, seed_of
from stinet.errors import InputError, ModelError, UsageError
from stinet.evaluate.protocol import Protocol
from stinet.evaluate.scores import FrameScore, ModelReport, Report
from stinet.evaluate.speed import forward, parameter_count, precision_of
from stinet.metrics.fidelity import levels, luma, psnr, rgb_psnr, rgb_ssim, ssim
from stinet.metrics.lpips import SMALLEST_SIDE_PX, Lpips
from stinet.metrics.motion import flicker, flow_expansion, motion, motion_error
from stinet.ops.farneback import Expansion

__all__ = ["MEASURES", "Measures", "Shown", "benchmark"]

MEASURES = ("psnr", "ssim", "rgb", "motion", "flicker", "lpips")
"""What can be asked for; PSNR and SSIM on Y are always measured."""

_KEYS = {"rgb": ("rgb_psnr_db", "rgb_ssim"), "motion": ("motion_px",), "flicker": ("flicker",), "lpips": ("lpips",)}


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured besides PSNR and SSIM on Y."""

    names: tuple[str, ...] = ()
    """Some of MEASURES."""

    lpips: Lpips | None = None
    """Needed for "lpips", which is else reported as not measured."""

    def __post_init__(self) -> None:
        """Refuse a name that is none."""
        for name in self.names:
            if name not in MEASURES:
                raise UsageError(f"{name!r} cannot be measured: choose from {', '.join(MEASURES)}")

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the figures, in order."""
        return tuple(key for name in _KEYS if name in self.names for key in _KEYS[name])

    @property
    def missing(self) -> dict[str, str]:
        """What cannot be measured, and what it takes."""
        if "lpips" in self.names and self.lpips is None:
            return {"lpips": "not measured: name the files by --lpips-net and --lpips-heads"}
        return {}


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame that was just measured, for who wants to look at it."""

    clip: str
    model: str
    windows: Sequence[Window]
    """All of the clip."""

    score: FrameScore
    made: Float[Tensor, "3 sh sw"]
    truth: Float[Tensor, "3 sh sw"]
    low: Float[Tensor, "3 h w"]
    """The same moment at low resolution, whether the model was given it or not."""


def benchmark(
    clips: Iterable[Clip],
    functions: Mapping[str, ClipFunction],
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
    progress: Callable[[str, str, float], None] | None = None,
    *,
    measures: Measures = Measures(),
    watch: Callable[[Shown], None] | None = None,
    rescue: Callable[[Report], None] | None = None,
) -> Report:
    """Measure every clip function on every clip.

    `progress` hears of (clip, model, share of this clip done), `watch` of every frame that counts; `rescue` gets the
    report of the clips before one that failed, ahead of the error.

    Raises:
        InputError: a clip that cannot be read, without frames, with too few for the protocol or too small to measure;
            or no clip.
        ModelError: a model yields frames of another number or size, or values that are not finite.

    """
    clips = list(clips)
    _check(clips, {function.scale for function in functions.values()}, protocol)
    reports = {
        name: ModelReport(
            name,
            function.scale,
            protocol,
            measures.keys,
            parameters=parameter_count(function),
            precision=precision_of(function),
            not_measured=measures.missing,
        )
        for name, function in functions.items()
    }
    run = _Run(functions, reports, protocol, measures, progress or (lambda *_: None), watch or (lambda _: None))
    whole: list[str] = []
    try:
        for clip in clips:
            run.measure(clip)
            whole.append(clip.name)
    except BaseException as error:  # an interrupt, too
        if whole and rescue is not None:
            for model in reports.values():
                model.keep(whole)
            why = str(error) or type(error).__name__
            rescue(Report(reports, incomplete=f"{len(whole)} of {len(clips)} clips, then: {why}"))
        raise
    if not all(model.clips for model in reports.values()):
        raise InputError("no clips to measure on")
    return Report(reports)


def _check(clips: Iterable[Clip], scales: Iterable[int], protocol: Protocol) -> None:
    """Refuse what can be known to fail without decoding; clips in memory are looked at when they are measured."""
    problems: list[str] = []
    for clip in clips:
        if not clip.files and clip.video is None:
            continue
        try:
            size, frame_count = header(clip)
            for scale in scales:
                _check_size(clip.name, size, scale, clip.reduced)
            if frame_count is not None:
                protocol.check_length(clip, frame_count)
        except InputError as error:
            problems.append(str(error))
    refuse(problems)


def _check_size(name: str, stored: Sequence[int], scale: int, reduced: int) -> None:
    height, width = (side // (scale * reduced) * scale for side in stored)
    if min(height, width) < max(11, scale):
        raise InputError(f"{name}: {width}x{height} frames are too small to measure; 11x11 is the least")


@dataclass(frozen=True)
class _Run:
    """Models, and what is done with every clip."""

    functions: Mapping[str, ClipFunction]
    reports: Mapping[str, ModelReport]
    protocol: Protocol
    measures: Measures
    progress: Callable[[str, str, float], None]
    watch: Callable[[Shown], None]

    def measure(self, clip: Clip) -> None:
        """Read a clip, show it to every model window by window, and let go of it."""
        scales = {one.scale for one in self.functions.values()}
        truths = {scale: _Truth(clip, scale, self.protocol) for scale in scales}
        frame_count = 0
        for stored in clip.read():
            frame_count += 1
            for truth in truths.values():
                truth.add(stored)
        if not frame_count:
            raise InputError(f"{clip.name}: no frames in it")
        cut = self.protocol.cut(clip, frame_count)
        for model in self.reports.values():
            model.open(clip.name, clip.group)
        films = {name: _Film(truths[model.scale], model, self.measures) for name, model in self.reports.items()}
        for done, window in enumerate(cut, 1):
            for name, film in films.items():
                for made, score in film.measure(self.functions[name], window):
                    self.reports[name].clips[clip.name].append(score)
                    self.watch(film.shown(cut, made, score))
                self.progress(clip.name, name, done / len(cut))
            for truth in truths.values():
                truth.forget(window.start + window.size - 1)


class _View:
    """A frame and what measures need of it, each done when it is first asked for."""

    def __init__(self, rgb: Float[Tensor, "3 sh sw"]) -> None:
        self.rgb = rgb

    @cached_property
    def levels(self) -> Float64[Tensor, "3 sh sw"]:
        return levels(self.rgb)

    @cached_property
    def luma(self) -> Float64[Tensor, "sh sw"]:
        return luma(self.rgb)

    @cached_property
    def expansion(self) -> Expansion:
        return flow_expansion(self.rgb)


class _Truth:
    """One clip at one scale: the truth, low resolution and true flows, made when they are first asked for.

    Where the truth is smaller than what is stored, both are made as the clip is read, and the stored frame is let go.
    """

    def __init__(self, clip: Clip, scale: int, protocol: Protocol) -> None:
        self.name, self.scale, self.reduced, self.protocol = clip.name, scale, clip.reduced, protocol
        self._films: dict[int, list[UInt8[np.ndarray, "h w 3"]]] = {}
        self._stored: list[UInt8[np.ndarray, "sh sw 3"]] = []
        self._made: list[tuple[Tensor, ...]] = []
        self._low: dict[int, Tensor] = {}
        self._views: dict[int, _View] = {}
        self._flows: dict[int, Tensor] = {}

    def add(self, stored: UInt8[np.ndarray, "_ _ 3"]) -> None:
        """Take the next frame of the clip."""
        _check_size(self.name, stored.shape[:2], self.scale, self.reduced)
        if self.reduced == 1:
            self._stored.append(stored)
        else:
            self._made.append(
                (sharp_frame(stored, self.scale, self.reduced), low_frame(stored, self.scale, self.reduced))
            )

    def view(self, index: int) -> _View:
        """Frame `index` in [0, 1], cropped to a multiple of the scale."""
        if index not in self._views:
            self._views[index] = _View(self._sharp(index).double() / 255)
        return self._views[index]

    def low(self, index: int) -> Float[Tensor, "3 h w"]:
        """Frame `index` at low resolution."""
        if index not in self._low:
            self._low[index] = (self._small(index).double() / 255).float()
        return self._low[index]

    def flow(self, index: int) -> Float[Tensor, "2 sh sw"]:
        """Flow from the frame before `index` to it."""
        if index not in self._flows:
            self._flows[index] = motion(self.view(index - 1).expansion, self.view(index).expansion)
        return self._flows[index]

    def _sharp(self, index: int) -> UInt8[Tensor, "3 sh sw"]:
        return self._made[index][0] if self._made else sharp_frame(self._stored[index], self.scale)

    def _small(self, index: int) -> UInt8[Tensor, "3 h w"]:
        how, step = self.protocol.damage, self.protocol.step
        if how is None:
            return self._made[index][1] if self._made else low_frame(self._stored[index], self.scale)
        first = index % step
        if first not in self._films:
            frames = range(first, len(self._made or self._stored), step)
            sharp = (self._sharp(frame).permute(1, 2, 0).numpy() for frame in frames)
            self._films[first] = list(degrade(sharp, how, self.scale, seed_of(self.name, first)))
        return torch.from_numpy(self._films[first][index // step]).permute(2, 0, 1)

    def forget(self, before: int) -> None:
        """Let go of what is known of frames before `before`."""
        for kept in (self._low, self._views, self._flows):
            for index in [index for index in kept if index < before]:
                del kept[index]


class _Film:
    """The frames that one model makes of one clip: measured as they come, the last one kept for pairs."""

    def __init__(self, truth: _Truth, report: ModelReport, measures: Measures) -> None:
        self.truth, self.report, self.measures = truth, report, measures
        self._last: tuple[_View, FrameScore] | None = None

    def measure(self, function: ClipFunction, window: Window) -> Iterable[tuple[Tensor, FrameScore]]:
        """Show a window and measure its frames that count."""
        low = [self.truth.low(window.start + place) for place in window.given]
        output, seconds = forward(function, low, window.times)
        self.report.seconds += seconds
        self.report.output_frames += window.size
        output = output.float().cpu()
        expected = (window.size, 3, *(self.truth.scale * side for side in low[0].shape[-2:]))
        if tuple(output.shape) != expected:
            raise ModelError(f"{self.report.name}: {tuple(output.shape)} came out where {expected} is due")
        for place in window.counted:
            index = window.start + place
            if not output[place].isfinite().all():
                raise ModelError(f"{self.report.name}: frame {index} of {self.truth.name} is not finite")
            yield output[place], self._score(index, _View(output[place]), is_given=place in window.given)

    def shown(self, cut: Sequence[Window], made: Tensor, score: FrameScore) -> Shown:
        """A frame with its truth."""
        truth = self.truth.view(score.index).rgb
        return Shown(self.truth.name, self.report.name, cut, score, made, truth, self.truth.low(score.index))

    def _score(self, index: int, made: _View, *, is_given: bool) -> FrameScore:
        truth = self.truth.view(index)
        extras = {**self._of_frame(made, truth), **self._of_pair(index, made)}
        score = FrameScore(
            index,
            is_given,
            psnr(made.luma, truth.luma).item(),
            ssim(made.luma, truth.luma).item(),
            extras,
            is_given and self._last is not None and self._last[1].is_given,
        )
        self._last = (made, score)
        return score

    def _of_frame(self, made: _View, truth: _View) -> dict[str, float]:
        """What else there is to say of a frame alone."""
        found: dict[str, float] = {}
        if "rgb" in self.measures.names:
            found["rgb_psnr_db"] = rgb_psnr(made.levels, truth.levels).item()
            found["rgb_ssim"] = rgb_ssim(made.levels, truth.levels).item()
        if "lpips" in self.measures.names and self.measures.lpips is not None:
            if min(truth.rgb.shape[-2:]) < SMALLEST_SIDE_PX:
                raise InputError(f"{self.truth.name}: LPIPS needs sides of {SMALLEST_SIDE_PX} px or more")
            with torch.no_grad():
                found["lpips"] = self.measures.lpips(made.rgb[None], truth.rgb[None]).item()
        return found

    def _of_pair(self, index: int, made: _View) -> dict[str, float]:
        """What there is to say of a frame and the one before it; the first frame of a clip has none."""
        if self._last is None or self._last[1].index != index - 1:
            return {}
        before, found = self._last[0], {}
        if "motion" in self.measures.names:
            flow = motion(before.expansion, made.expansion)
            found["motion_px"] = motion_error(flow, self.truth.flow(index)).item()
        if "flicker" in self.measures.names:
            truths = (self.truth.view(index - 1).luma, self.truth.view(index).luma)
            found["flicker"] = flicker((before.luma, made.luma), truths).item()
        return found
