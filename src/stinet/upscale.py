"""One video (or folder of images, or image) made bigger and smoother: the driver, top to bottom.

    read, find cuts -> clips by windows and tiles -> encode
        thread             this thread               thread

Everything that can be refused is refused before the first frame is computed. The clip function is handed in: this
file knows no model. In memory: one window of the clip and two short queues, whatever the length.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stinet import runtime
from stinet.config import ClipFunction, UpscaleConfig
from stinet.errors import InputError, OutputError, UsageError
from stinet.infer.clips import OutputRule, Result, upscale_frames
from stinet.infer.tiles import BYTES_PER_PIXEL, Tiler
from stinet.infer.workers import Sink, in_background
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.images import (
    IMAGE_SUFFIXES,
    ImagesWriter,
    find_images,
    holds_only_frames,
    input_errors,
    is_image,
    probe_images,
    read_images,
)
from stinet.video.read import probe, read_frames
from stinet.video.scenes import mark_cuts
from stinet.video.write import VIDEO_SUFFIXES, OutputLock, Writer

__all__ = ["Progress", "Summary", "default_output", "output_size", "upscale_video"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    frames_in: int
    frames_out: int
    frames_expected: int | None
    """Output frames that the file's declaration promises; None: it promises nothing."""
    seconds: float
    """Since the first frame was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did."""

    output: Path
    frames_in: int
    frames_out: int
    held: int
    """Output frames that show the last source frame again."""
    size: tuple[int, int]
    """Width, height."""
    rate: Fraction | None
    """Nominal frames per second; None: images."""
    seconds: float
    notes: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Output frames made per second of work."""
        return self.frames_out / max(self.seconds, 1e-9)

    def line(self) -> str:
        """The run in one line."""
        rate = "" if self.rate is None else f" at {_rate_text(self.rate)} fps"
        held = f" ({self.held} held)" if self.held else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"{self.output}: {self.frames_in} frames in, {self.frames_out} out{held}, "
            f"{self.size[0]}x{self.size[1]}{rate}, "
            f"{self.seconds:.1f} s, {self.fps:.1f} frames/s{notes}"
        )


def upscale_video(
    input: str | Path,  # noqa: A002
    output: str | Path | None = None,
    *,
    fn: ClipFunction,
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Upscale a video file, a folder of images or one image with `fn`, and write it whole or not at all.

    `output` defaults to a name beside the input. `progress` is called after every output frame.

    Raises:
        UsageError: `fps` or `size` that cannot be understood.
        InputError: an input that is missing, no video, or not decodable.
        OutputError: an output that exists, is the input, is being written by another run, or cannot be written.
        DeviceError: memory that does not suffice even for the smallest tile.

    """
    source, notes, result = Path(input), Notes(), Result()
    info = _probe(source, notes)
    rule = OutputRule() if info.container == "image" else OutputRule.parse(config.fps)
    size = output_size(config.size, (info.width, info.height), fn.scale)
    target = default_output(info, config, rule) if output is None else Path(output)
    _refuse(source, target, config)
    if _device_kind(fn) == "cpu":
        runtime.use_fastest_threads()
    start = time.perf_counter()
    writer = _writer(target, info, rule, size, config, notes)  # refuses before the lock makes a folder
    with ExitStack() as stack:
        stack.enter_context(OutputLock(target))
        stack.enter_context(writer)
        sink = stack.enter_context(Sink(writer.write, depth=2))
        wanted = _first_seconds(_frames(info, notes), config.read.seconds)
        frames = upscale_frames(
            fn,
            stack.enter_context(closing(in_background(mark_cuts(wanted), depth=4))),
            rule,
            tiler=_tiler(fn, config, notes),
            period=info.period,
            tick=info.time_base,
            window=config.window,
            size=(size[1], size[0]),
            result=result,
        )
        expected = _expected_frames(info, rule, config.read.seconds)
        for frame in frames:
            sink.put(frame)
            if progress is not None:
                progress(Progress(result.frames_in, result.frames_out, expected, time.perf_counter() - start))
        if not result.frames_in:
            raise InputError(f"{source}: no frame in the part that was asked for ({config.read.seconds} s)")
    if result.cuts:
        notes.say("1 cut" if result.cuts == 1 else f"{result.cuts:,} cuts")
    return Summary(
        output=target,
        frames_in=result.frames_in,
        frames_out=result.frames_out,
        held=result.held,
        size=size,
        rate=rule.output_rate(1 / info.period) if isinstance(writer, Writer) else None,
        seconds=time.perf_counter() - start,
        notes=notes.lines,
    )


def output_size(wanted: str, source: tuple[int, int], scale: int) -> tuple[int, int]:
    """Width and height of the output for a source of that width and height.

    `x4`, `x2`, `x1.5`: that many times both sides. `1080p`: that height. `1920x1080`: the largest picture of the
    source's shape inside. The last two give even numbers.

    Raises:
        UsageError: another word, or a size of nothing.

    """
    said = wanted.strip().lower()
    width, height = source
    try:
        if said.startswith("x"):
            factor = Fraction(said[1:])
            size = (round(width * factor), round(height * factor))
        elif said.endswith("p"):
            size = _even_fit(source, Fraction(int(said[:-1]), height))
        else:
            box = tuple(int(part) for part in said.split("x"))
            size = _even_fit(source, min(Fraction(box[0], width), Fraction(box[1], height)))
    except (ValueError, IndexError, ZeroDivisionError):
        raise UsageError(
            f"size {wanted!r} is not understood: give x4, x2, a height (1080p) or a box (1920x1080)"
        ) from None
    if min(size) < 1 or max(size) > 65_536:
        raise UsageError(f"size {wanted!r} makes {size[0]}x{size[1]} of {width}x{height} (the network makes x{scale})")
    return size


def default_output(info: VideoInfo, config: UpscaleConfig, rule: OutputRule) -> Path:
    """`holiday_stinet_x4_60fps.mp4` beside `holiday.mp4`; a folder for a folder, a PNG for an image."""
    path = info.path.resolve() if info.path.name in ("", ".", "..") else info.path
    label = f"_stinet_{config.size.strip().lower()}"
    if info.container == "image":
        return path.with_name(f"{path.stem}{label}.png")
    if info.container == "images":
        return path.with_name(f"{path.name}{label}")
    rate = _rate_text(rule.output_rate(1 / info.period))
    suffix = path.suffix if path.suffix.lower() in VIDEO_SUFFIXES else ".mp4"
    return path.with_name(f"{path.stem}{label}_{rate}fps{suffix}")


def _probe(path: Path, notes: Notes) -> VideoInfo:
    with input_errors(path):
        is_folder = path.is_dir()
    if is_folder:
        return probe_images(path)
    if is_image(path):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            notes.say("an image, whatever its name says")
        return probe_images(path)
    info = probe(path)
    if info.colour.hdr:
        raise InputError(
            f"{path}: high dynamic range ({info.colour.hdr}) cannot be kept in 8 bit output; make an SDR version first"
        )
    return info


def _frames(info: VideoInfo, notes: Notes) -> Iterator[Frame]:
    if info.container in ("image", "images"):
        return read_images(info.path, notes=notes)
    return read_frames(info.path, notes=notes, info=info)


def _first_seconds(frames: Iterator[Frame], seconds: Fraction | None) -> Iterator[Frame]:
    """Frames that begin before `seconds`."""
    for frame in frames:
        if seconds is not None and frame.time >= seconds:
            return
        yield frame


def _writer(
    path: Path, info: VideoInfo, rule: OutputRule, size: tuple[int, int], config: UpscaleConfig, notes: Notes
) -> Writer | ImagesWriter:
    if not path.suffix or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImagesWriter(path)
    return Writer(
        path,
        size=size,
        time_base=rule.time_base(info.time_base, info.first),
        rate=rule.output_rate(1 / info.period),
        source=info,
        encode=config.encode,
        seconds=config.read.seconds,
        notes=notes,
    )


def _tiler(fn: ClipFunction, config: UpscaleConfig, notes: Notes) -> Tiler:
    return Tiler(
        config.tile,
        notes,
        budget_bytes=runtime.memory_available_bytes(_device_kind(fn)),
        bytes_per_pixel=getattr(fn, "bytes_per_pixel", BYTES_PER_PIXEL),
    )


def _device_kind(fn: ClipFunction) -> str:
    """cpu, cuda or mps; a function that does not say works on the CPU."""
    return getattr(getattr(fn, "device", None), "type", "cpu")


def _refuse(source: Path, target: Path, config: UpscaleConfig) -> None:
    """Outputs that would destroy something."""
    if target.exists() or target.is_symlink():
        if target.exists() and (target.samefile(source) or _holds_input(target, source)):
            raise OutputError(f"{target}: is the input itself (or holds it, or is a link to it); choose another output")
        if not config.overwrite:
            raise OutputError(f"{target}: exists already; overwrite it with -y, or choose another output")
        if target.is_dir() and not holds_only_frames(target):
            raise OutputError(
                f"{target}: a folder that holds more than frames written here (00000001.png and so on) is never "
                "replaced; choose another output"
            )


def _holds_input(target: Path, source: Path) -> bool:
    """Whether the target is one of the files that are read, or a folder around one, links followed or not."""
    place = target.resolve()
    files = [source, *(find_images(source) if source.is_dir() else ())]
    places = {place for file in files for place in (file.resolve(), file.parent.resolve() / file.name)}
    return any(place == one or place in one.parents for one in places)


def _expected_frames(info: VideoInfo, rule: OutputRule, seconds: Fraction | None) -> int | None:
    if info.container == "image":
        return 1
    length = info.duration if seconds is None or info.duration is None else min(seconds, info.duration)
    return None if length is None else max(round(length * rule.output_rate(1 / info.period)), 1)


def _even_fit(source: tuple[int, int], factor: Fraction) -> tuple[int, int]:
    """The source times `factor`, each side to the nearest even number."""
    if factor <= 0:
        raise ValueError
    return max(2 * round(source[0] * factor / 2), 2), max(2 * round(source[1] * factor / 2), 2)


def _rate_text(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
