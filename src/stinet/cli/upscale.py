"""`stinet upscale`: options become one `UpscaleConfig`, every input an outcome, and outcomes lines or JSON."""

import os
import shlex
import sys
import time as clock
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stinet.cli.interrupt import Interrupt
from stinet.cli.options import (
    Device,
    Engine,
    Model,
    Precision,
    byte_count,
    chosen,
    duration,
    key_value,
    pixel_count,
    positive,
    time,
)
from stinet.cli.printing import columns, complain, must_be_writable, say, say_json, tell
from stinet.cli.progress import upscaling
from stinet.errors import UsageError
from stinet.weights import DEFAULT

if TYPE_CHECKING:
    from stinet.batch import Outcome, Task
    from stinet.upscale import Progress

__all__ = ["upscale"]


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="videos, images, folders, 'patterns*', frame_%04d.png, @list.txt, -"),
    ],
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help="file, folder/, or -; default: beside the input")
    ] = None,
    fps: Annotated[str, typer.Option(metavar="x2|60|60000/1001|keep", help="frame rate of the result")] = "x2",
    size: Annotated[str, typer.Option(metavar="x4|x2|1080p|1920x1080", help="a box is fitted into")] = "x4",
    model: Model = DEFAULT,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="replace an existing output")] = False,
    skip: Annotated[bool, typer.Option("-n", "--skip", help="leave an existing output, and exit with 0")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and write nothing")] = False,
    sample: Annotated[
        Fraction | None, typer.Option(parser=duration, metavar="5s", help="only that much, from the middle of the film")
    ] = None,
    start: Annotated[Fraction | None, typer.Option(parser=time, metavar="1:30", help="begin there")] = None,
    seconds: Annotated[Fraction | None, typer.Option(parser=duration, metavar="S", help="only so many seconds")] = None,
    cfr: Annotated[bool, typer.Option("--cfr", help="make a variable frame rate constant")] = False,
    slow_motion: Annotated[
        Fraction | None,
        typer.Option(parser=positive, metavar="N", help="play N times longer; the rate is the result's"),
    ] = None,
    slow_audio: Annotated[
        str, typer.Option(parser=chosen("stretch", "drop"), metavar="stretch|drop", help="sound in slow motion")
    ] = "stretch",
    scene_cut: Annotated[
        str, typer.Option(metavar="auto|off|N", help="where no frame is made between two; N: how much must change")
    ] = "auto",
    dedup: Annotated[
        str, typer.Option(parser=chosen("auto", "off"), metavar="auto|off", help="move through repeated frames")
    ] = "auto",
    stream: Annotated[int | None, typer.Option(metavar="N", min=0, help="the video stream of that number")] = None,
    deinterlace: Annotated[
        str, typer.Option(parser=chosen("off", "auto"), metavar="off|auto", help="auto: where frames say interlaced")
    ] = "off",
    rate: Annotated[
        Fraction | None, typer.Option(parser=positive, metavar="FPS", help="frame rate of images, which have none")
    ] = None,
    codec: Annotated[
        str, typer.Option(metavar="h264|hevc|av1|prores|ffv1|vp9", help="or FFmpeg's name of an encoder")
    ] = "auto",
    hardware: Annotated[bool, typer.Option("--hardware", help="encode on the graphics card if that works")] = False,
    crf: Annotated[int | None, typer.Option(metavar="0-63", help="quality: lower is better and larger")] = None,
    preset: Annotated[str | None, typer.Option(metavar="WORD", help="effort of the encoder")] = None,
    pix_fmt: Annotated[str | None, typer.Option(metavar="FORMAT", help="FFmpeg's pixel format: yuv420p10le")] = None,
    encoder_options: Annotated[
        list[str] | None, typer.Option("-e", metavar="KEY=VALUE", help="an option of the encoder, repeatable")
    ] = None,
    values: Annotated[
        str,
        typer.Option(
            "--range",
            parser=chosen("source", "limited", "full"),
            metavar="source|limited|full",
            help="range of the stored values",
        ),
    ] = "source",
    tile: Annotated[int, typer.Option(metavar="PX", min=0, help="tile side in source pixels; 0 chooses")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="throw away what an interrupted run has left")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 5 when there are warnings")] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="afterwards draw three moments, bicubic beside the result")
    ] = None,
    progress: Annotated[
        str, typer.Option(parser=chosen("auto", "none", "json"), metavar="auto|none|json", help="on stderr")
    ] = "auto",
    log_format: Annotated[
        str, typer.Option(parser=chosen("text", "json"), metavar="text|json", help="of the report on stdout")
    ] = "text",
    max_pixels: Annotated[
        int | None, typer.Option(parser=pixel_count, metavar="WxH", help="refuse larger source pictures")
    ] = None,
    max_seconds: Annotated[
        Fraction | None, typer.Option(parser=duration, metavar="S", help="refuse longer films")
    ] = None,
    max_memory: Annotated[
        int | None, typer.Option(parser=byte_count, metavar="4G", help="take no more memory for a clip")
    ] = None,
) -> None:
    """Upscale videos: larger and smoother, everything else in the file kept.

    The same command goes on where an interrupted run stopped. Several inputs are done one after the other; one that
    fails stops no other.
    """
    from stinet.batch import Task, expand
    from stinet.config import EncodeConfig, ReadConfig, TileConfig, UpscaleConfig

    config = UpscaleConfig(
        fps=fps,
        cfr=cfr,
        slow_motion=slow_motion or Fraction(1),
        slow_audio=slow_audio,  # pyright: ignore[reportArgumentType] (checked by the option)
        size=size,
        scene_cut=scene_cut,
        dedup=dedup,  # pyright: ignore[reportArgumentType]
        overwrite=overwrite,
        restart=restart,
        max_memory_bytes=max_memory,
        read=ReadConfig(
            stream=stream,
            deinterlace=deinterlace,  # pyright: ignore[reportArgumentType]
            rate=rate,
            start=start,
            seconds=seconds,
            max_pixels=max_pixels,
            max_seconds=max_seconds,
        ),
        tile=TileConfig(size_px=tile),
        encode=EncodeConfig(
            codec=codec,
            hardware=hardware,
            crf=crf,
            preset=preset,
            pix_fmt=pix_fmt,
            options=tuple(key_value(text) for text in encoder_options or ()),
            range=values,  # pyright: ignore[reportArgumentType]
        ),
    )
    task = Task(
        output=None if output is None else Path(output),
        is_folder=output is not None and output.endswith(("/", os.sep)),
        model=model,
        device=device,
        engine=engine,
        precision=precision,
        config=config,
        sample=sample,
        skips_existing=skip,
        is_strict=strict,
        is_rehearsal=dry_run,
    )
    telling = _Telling(
        progress=progress,
        is_json=log_format == "json",
        preview=preview,
        is_piped=output == "-",
        can_resume=output != "-" and not (output or "").lower().endswith(".y4m"),
    )
    code = _run(expand(inputs), task, telling)
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Telling:
    """How a run is told."""

    progress: str
    is_json: bool
    preview: Path | None
    is_piped: bool
    """stdout is the film: what would be printed there goes to stderr."""
    can_resume: bool = True
    """An interrupted run can go on later; a stream that was written cannot."""

    def say(self, text: str) -> None:
        """A line of the report."""
        (tell if self.is_piped else say)(text)


def _run(items: list[Any], task: "Task", telling: _Telling) -> int:
    """Run every item, tell what became of each, and give the exit code."""
    from stinet.batch import exit_code, run_batch

    is_alone = len(items) == 1
    if telling.preview is not None:
        _check_preview(telling.preview, telling, is_alone=is_alone)
    outcomes: list[Outcome] = []
    started = clock.monotonic()
    with Interrupt() as stop:
        try:
            for outcome in run_batch(items, task, watch=_watch(telling, stop), stop=stop):
                outcomes.append(outcome)
                _tell_outcome(outcome, telling, is_alone=is_alone)
        finally:
            if not is_alone and not telling.is_json and outcomes:
                telling.say(_table(outcomes, len(items), clock.monotonic() - started))
    if is_alone and outcomes[0].error is not None and not telling.is_json:
        raise outcomes[0].error
    if telling.preview is not None and outcomes[0].summary is not None:
        _draw_preview(telling, outcomes[0], task)
    return exit_code(outcomes)


def _watch(telling: _Telling, stop: Interrupt) -> Callable[[Path], Any]:
    @contextmanager
    def watch(source: Path) -> Iterator[Callable[["Progress"], None]]:
        with upscaling(telling.progress, source.name) as hear:

            def heard(now: "Progress") -> None:
                stop.can_finish = telling.can_resume
                hear(now)

            try:
                yield heard
            finally:
                stop.can_finish = False

    return watch


def _tell_outcome(outcome: "Outcome", telling: _Telling, *, is_alone: bool) -> None:
    if outcome.code == 1 and outcome.error is not None:  # our own bug, which must not look like the user's
        tell("".join(traceback.format_exception(outcome.error)).rstrip())
    if telling.is_json:
        command = {"command": _command()} if outcome.summary is not None else {}
        (_tell_json if telling.is_piped else say_json)({**outcome.to_json(), **command})
    if outcome.state == "failed" and (telling.is_json or not is_alone):
        complain(outcome.says)
    if telling.is_json or outcome.state == "failed":
        return
    if outcome.plan is not None:
        telling.say("\n".join(outcome.plan.lines()))
    elif outcome.summary is not None and is_alone:
        telling.say("\n".join([*outcome.summary.report(), f"  command  {_command()}"]))
    else:
        telling.say(outcome.says)


def _command() -> str:
    """The command as it can be given again."""
    return shlex.join(["stinet", *sys.argv[1:]])


def _tell_json(value: Any) -> None:
    """A value as one line of JSON on stderr."""
    import json

    tell(json.dumps(value, default=str))


def _table(outcomes: list["Outcome"], count: int, spent_s: float) -> str:
    """A row for every input, and how many of them went well."""
    rows = [("file", "result", "frames", "seconds", "")]
    for outcome in outcomes:
        made = outcome.summary
        frames, seconds = (f"{made.frames_out:,}", f"{made.seconds:.1f}") if made is not None else ("", "")
        rows.append((str(outcome.source), _result(outcome), frames, seconds, _remark(outcome)))
    good = sum(outcome.state != "failed" for outcome in outcomes)
    left = f", {count - len(outcomes)} not begun" if len(outcomes) < count else ""
    return f"\n{columns(rows)}\n{good} of {count} without an error{left}, {spent_s:.1f} s"


def _result(outcome: "Outcome") -> str:
    if outcome.state == "failed":
        return f"error {outcome.code}"
    return outcome.state if outcome.output is None or outcome.state == "skipped" else str(outcome.output)


def _remark(outcome: "Outcome") -> str:
    if outcome.state in ("failed", "skipped"):
        return outcome.says.removeprefix(f"{outcome.source}: ")
    warnings = () if outcome.summary is None else outcome.summary.warnings
    return "; ".join(warnings)


def _check_preview(picture: Path, telling: _Telling, *, is_alone: bool) -> None:
    if not is_alone:
        raise UsageError("--preview draws one film: give one input")
    if telling.is_piped:
        raise UsageError("--preview needs a result that can be read again: give -o FILE instead of -o -")
    if picture.suffix.lower() != ".png":
        raise UsageError(f"--preview {picture}: name a .png file")
    must_be_writable(picture)


def _draw_preview(telling: _Telling, outcome: "Outcome", task: "Task") -> None:
    from stinet.batch import sample_of
    from stinet.preview import draw_preview

    assert telling.preview is not None
    assert outcome.output is not None
    config = sample_of(outcome.source, task)
    draw_preview(outcome.source, outcome.output, telling.preview, config=config, label=task.model)
    if not telling.is_json:
        telling.say(f"  preview  {telling.preview}")
