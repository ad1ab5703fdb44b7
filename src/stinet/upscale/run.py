"""One video (or folder of images, or image) made bigger and smoother: the driver, top to bottom.

    plan -> read, cuts, duplicates, slow motion -> windows -> segments -> journal -> joined with all else, moved
                        thread                   this thread   thread

Everything that can be refused is refused before the first frame is computed. The clip function is handed in: this
file knows no model. In memory: one window of the clip and two queues of as many frames, whatever the length.

A run that goes on decodes its source again, draws the same windows and leaves out those whose segments are done: a
film is decoded hundreds of times faster than it is computed, and nothing has to be guessed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from stinet import runtime
from stinet.config import PIPE, ClipFunction, UpscaleConfig
from stinet.errors import InputError, Interrupted, StinetError
from stinet.infer.clips import Window, windows
from stinet.infer.journal import Journal, NoJournal
from stinet.infer.ladder import Runner
from stinet.infer.times import Result
from stinet.infer.workers import Sink, in_background
from stinet.upscale.outputs import Output, Part, output_of
from stinet.upscale.plan import Plan, device_kind, plan_upscale
from stinet.upscale.report import Progress, Summary
from stinet.video.duplicates import merge_duplicates
from stinet.video.encoder import EncoderChoice
from stinet.video.frame import Frame, Notes
from stinet.video.lock import OutputLock
from stinet.video.scenes import mark_cuts

__all__ = ["upscale_video"]

_SPARE = 2
"""Frames that either queue holds beyond those of a window. The network takes and gives a window at once: with shorter
queues it would wait for the decoder before every window, and for the encoder after it."""

_MOST_QUEUED = 32
"""Frames of a window that wait for the encoder: a window of many is made in parts."""

_FIRST_CORE = 1
"""Source frames whose outputs the first window makes: it shows something soon, and costs a few frames of context."""


def upscale_video(
    input: str | Path,  # noqa: A002
    output: str | Path | None = None,
    *,
    fn: ClipFunction,
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Summary:
    """Upscale a video file, a folder of images or one image with `fn`, and write it whole or not at all.

    `output` defaults to a name beside the input; `-` is standard input or output. `progress` is called after every
    output frame. `stop` is asked after every segment; when it says yes, the run ends and can be gone on with. An
    interrupted run with the same input, output, settings and model goes on where it was.

    Raises:
        UsageError: settings that cannot be understood, or that differ from those of the run to go on with.
        InputError: an input that is missing, no video, or not decodable.
        OutputError: an output that exists, is the input, is being written by another run, or cannot be written.
        DeviceError: memory that does not suffice even for the smallest tile.
        Interrupted: `stop` said so, or Ctrl-C; the message says how to go on.

    """
    start = time.perf_counter()
    notes = Notes()
    plan = plan_upscale(input, output, fn=fn, config=config, notes=notes)
    with ExitStack() as stack:
        if plan.target != PIPE:
            stack.enter_context(OutputLock(plan.target))
        journal = plan.journal()
        if journal.is_complete:
            assert isinstance(journal, Journal)
            journal.discard()
            return Summary.from_json(journal.summary)
        if lost := journal.forget_damaged():
            notes.warn(f"segments of the interrupted run that were missing or damaged, made again: {lost:,}")
        run = _Run(plan, journal, fn, notes, start)
        try:
            run.make(progress, stop)
            return run.finish()
        except BaseException as error:
            told = run.ended(error)
            if told is error:  # an error that is its own cause would send whoever follows the causes in circles
                raise
            raise told from error


@dataclass(frozen=True, slots=True)
class _EndOfSegment:
    """Stands in the queue of frames behind the last one of a segment."""

    state: Mapping[str, Any]
    """Of the runner, as it was then."""


class _Run:
    """One run, from its first window to the file in its place."""

    def __init__(self, plan: Plan, journal: Journal | NoJournal, fn: ClipFunction, notes: Notes, start: float) -> None:
        self.plan, self.journal, self.notes, self.start = plan, journal, notes, start
        self.result = Result()
        self.resumed = len(journal.finished)
        chosen = journal.choices
        wanted = None if chosen is None else chosen["threads"]
        threads = runtime.set_threads(wanted) if device_kind(fn) == "cpu" else 0
        state = journal.finished[-1]["runner"] if journal.finished else None if chosen is None else chosen["runner"]
        self.runner = Runner(fn, plan.config.tile, notes, budget_bytes=plan.memory_free_bytes, state=state)
        encoder = plan.encoder
        if chosen is None:
            self._choose()
            made_with = {"threads": threads, "runner": self.runner.state}
            journal.begin(made_with | {"encoder": None if encoder is None else encoder.to_json()})
        elif encoder is not None:
            encoder = EncoderChoice.from_json(chosen["encoder"])
        self.output: Output = output_of(plan, journal, encoder)

    def _choose(self) -> None:
        plan = self.plan
        shape = (plan.info.height, plan.info.width)
        self.runner.choose(shape, per_interval=self.per_interval, window=plan.config.window)

    @property
    def per_interval(self) -> int:
        """Output frames of a source interval, about."""
        return self.plan.rule.frames_per_interval(self.plan.period)

    def make(self, progress: Callable[[Progress], None] | None, stop: Callable[[], bool] | None) -> None:
        """Make every segment that is not done."""
        number, sources = 0, 0
        recorder = _Recorder(self.output, self.journal)
        with ExitStack() as stack:
            ahead = self.runner.core + _SPARE
            frames = stack.enter_context(closing(in_background(_source_frames(self.plan, self.notes), ahead)))
            stack.callback(recorder.discard)
            behind = min(self.runner.core * self.per_interval, _MOST_QUEUED) + _SPARE
            sink = stack.enter_context(Sink(recorder, depth=behind))
            for window in self._windows(frames):
                if number >= self.resumed:
                    self._make(window, sink, progress)
                sources += window.sources
                if sources >= self.plan.segment:
                    number, sources = number + 1, 0
                    if number > self.resumed:
                        sink.put(_EndOfSegment(self.runner.state))
                        if stop is not None and stop():
                            break
            else:
                if sources and number >= self.resumed:
                    sink.put(_EndOfSegment(self.runner.state))
                return
        raise Interrupted

    def _windows(self, frames: Iterator[Frame]) -> Iterator[Window]:
        plan = self.plan
        width, height = plan.size
        return windows(
            self.runner,
            frames,
            plan.rule,
            period=plan.period,
            tick=plan.tick,
            is_constant_rate=plan.info.is_constant_rate,
            core=self.runner.core,
            first_core=_FIRST_CORE,
            size=(height, width),
            result=self.result,
        )

    def _make(self, window: Window, sink: Sink, progress: Callable[[Progress], None] | None) -> None:
        done = self.result.frames_out - len(window.times)
        expected, resumed = self.plan.frames_expected, sum(record["frames"] for record in self.before)
        for frame in window.frames():
            sink.put(frame)
            done += 1
            if progress is not None:
                seconds = time.perf_counter() - self.start
                progress(Progress(self.result.frames_in, done, expected, seconds, resumed))

    @property
    def before(self) -> list[dict[str, Any]]:
        """Records of the segments that an earlier run made."""
        return self.journal.finished[: self.resumed]

    def finish(self) -> Summary:
        """Join what was made and move it into its place."""
        if not self.result.frames_in:
            read = self.plan.config.read
            asked = f"{float(read.seconds):g} s" if read.seconds is not None else "all of it"
            asked += f" from {float(read.start):g} s on" if read.start else ""
            raise InputError(f"{self.plan.info.path}: no frame in the part that was asked for ({asked})")
        if self.result.cuts:
            self.notes.say("1 cut" if self.result.cuts == 1 else f"{self.result.cuts:,} cuts")
        made, longer_ms = self.output.finish(self.result.end, self.notes)
        summary = self._summary(longer_ms)
        if made is not None and isinstance(self.journal, Journal):
            self.journal.announce(made, summary.to_json())
            self.output.place(made)
            self.journal.discard()
        return summary

    def _summary(self, longer_ms: float | None) -> Summary:
        plan, result = self.plan, self.result
        return Summary(
            source=plan.info.path,
            output=plan.target,
            frames_in=result.frames_in,
            frames_out=result.frames_out,
            held=result.held,
            size=plan.size,
            rate=plan.rate,
            seconds=time.perf_counter() - self.start,
            notes=self.notes.lines,
            warnings=self.notes.warnings,
            repaired=self.notes.total,
            av_difference_ms=longer_ms,
            peak_memory_bytes=runtime.peak_memory_bytes(),
            model=plan.model,
            resumed_segments=self.resumed,
        )

    def ended(self, error: BaseException) -> BaseException:
        """What to raise for an error: with how to go on, where something is done; else nothing is left behind."""
        done = len(self.journal.finished)
        self.output.discard()
        if not isinstance(self.journal, Journal) or not done or self.plan.source.is_pipe:
            self.journal.discard()
            return error
        kept = "1 segment is done" if done == 1 else f"{done:,} segments are done"
        hint = f"{self.plan.target}: {kept}; the same command goes on from there (--restart throws it away)"
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(hint)
        if isinstance(error, StinetError):
            return type(error)(f"{error}; {kept}, and the same command goes on when that is mended")
        return error


class _Recorder:
    """Writes frames into segments, and finished segments into the journal; runs in the thread of the encoder."""

    def __init__(self, output: Output, journal: Journal | NoJournal) -> None:
        self.output, self.journal = output, journal
        self.part: Part | None = None
        self.frames = 0
        self.before = sum(record["frames"] for record in journal.finished)

    def __call__(self, item: Frame | _EndOfSegment) -> None:
        """Take the next frame, or the end of a segment."""
        if isinstance(item, Frame):
            if self.part is None:
                self.part = self.output.part(len(self.journal.finished), self.before)
            self.part.write(item)
            self.frames += 1
            return
        record, files = ({}, ()) if self.part is None else self.part.close()
        self.part = None
        self.journal.finish({**record, "frames": self.frames, "runner": item.state}, files)
        self.before, self.frames = self.before + self.frames, 0

    def discard(self) -> None:
        """Remove a segment that was not finished."""
        if self.part is not None:
            self.part.discard()


def _source_frames(plan: Plan, notes: Notes) -> Iterator[Frame]:
    """What goes into the windows; nothing here may differ from one run to the next."""
    frames = mark_cuts(plan.source.frames(notes), plan.config.scene_cut)
    if plan.config.dedup == "auto" and plan.info.container not in ("image", "images"):
        frames = merge_duplicates(frames, plan.info.period)
    return iter(frames) if plan.stretch == 1 else _slowed(frames, plan.stretch)


def _slowed(frames: Iterator[Frame], factor: Fraction) -> Iterator[Frame]:
    """The same pictures, shown `factor` times longer."""
    for frame in frames:
        yield replace(
            frame,
            time=frame.time * factor,
            duration=None if frame.duration is None else frame.duration * factor,
            repeats=tuple(time * factor for time in frame.repeats),
            still_until=None if frame.still_until is None else frame.still_until * factor,
            shown=None if frame.shown is None else frame.shown * factor,
        )
