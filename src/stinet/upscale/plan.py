"""What a run will do, known before its first frame: sizes, times, encoder, streams, memory, disk.

Everything that can be refused is refused here, and nothing is written.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from stinet import runtime
from stinet.config import PIPE, ClipFunction, Movable, UpscaleConfig, to_mapping
from stinet.errors import OutputError, UsageError
from stinet.infer.journal import Journal, NoJournal
from stinet.infer.ladder import Runner
from stinet.infer.times import OutputRule
from stinet.upscale.report import bytes_text, rate_text
from stinet.video.codecs import choose_encoder
from stinet.video.encoder import EncoderChoice
from stinet.video.frame import Notes, VideoInfo
from stinet.video.image_files import IMAGE_SUFFIXES, holds_only_frames
from stinet.video.images import find_images
from stinet.video.lock import OutputLock
from stinet.video.scenes import mark_cuts
from stinet.video.source import Source, fingerprint, open_source
from stinet.video.streams import best_suffix, plan_streams
from stinet.video.tracks import StreamPlan

__all__ = [
    "Plan",
    "default_output",
    "described",
    "device_kind",
    "engine_of",
    "identity_of",
    "output_size",
    "plan_upscale",
]

_BITS_PER_PIXEL = {"h264": 0.15, "hevc": 0.1, "av1": 0.06, "vp9": 0.08, "prores": 3.5, "ffv1": 9.0, "images": 12.0}
"""Of an output frame at the default quality, for the estimate of disk space."""

_SEGMENT_PIXELS = 64 * 480 * 270
"""Source pixels of a segment: a minute or some of work on a CPU."""

_SEGMENT_FRAMES = (24, 256)
"""Source frames of a segment, least and most. Every segment begins with a key frame: H.264 of a 480x270 clip is 12 %
larger with segments of 16 source frames, and 2 % with 64."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")
"""What makes the name of a file, and not one such as `frames of 2026.05` or `frames_stinet_x1.5`."""

Kind = Literal["video", "images", "image", "pipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run, decided."""

    source: Source
    target: Path
    kind: Kind
    config: UpscaleConfig
    rule: OutputRule
    """When output frames are due, on the time line of the result."""
    size: tuple[int, int]
    """Width, height of the result."""
    encoder: EncoderChoice | None
    """None: images or a pipe."""
    streams: tuple[StreamPlan, ...]
    frames_expected: int | None
    """Output frames that the file's declaration promises; None: it promises nothing."""
    model: str
    """Name and hash of what makes the frames, its engine and precision."""
    key: Mapping[str, Any]
    """What an interrupted run must have in common with this one."""
    memory_bytes: int
    """Estimate for one clip."""
    memory_free_bytes: int
    tile_px: int | None
    """Side of a tile, in source pixels; None: whole frames."""
    disk_bytes: int | None
    """Estimate of the result; at the end it lies there twice for a moment. None: the length is not known."""
    disk_free_bytes: int | None
    seconds: float | None = None
    """Estimate of the work, where it was asked for."""

    @property
    def info(self) -> VideoInfo:
        """The source."""
        return self.source.info

    @property
    def stretch(self) -> Fraction:
        """How many times longer the result plays."""
        return self.config.slow_motion

    @property
    def period(self) -> Fraction:
        """Seconds between source frames, on the time line of the result."""
        return self.info.period * self.stretch

    @property
    def tick(self) -> Fraction:
        """Precision of the source's times, on the time line of the result."""
        return self.info.time_base * self.stretch

    @property
    def rate(self) -> Fraction | None:
        """Nominal frames per second of the result; None: images."""
        return self.rule.output_rate(1 / self.period) if self.kind in ("video", "pipe") else None

    @property
    def segment(self) -> int:
        """Source frames of a segment."""
        if self.config.segment:
            return self.config.segment
        least, most = _SEGMENT_FRAMES
        return min(max(_SEGMENT_PIXELS // (self.info.width * self.info.height), least), most)

    def journal(self) -> Journal | NoJournal:
        """The journal of this output, as it lies there.

        Raises:
            UsageError: an interrupted run was of another source, with other settings or another model.
            OutputError: what lies there is no journal.

        """
        if self.kind in ("image", "pipe"):
            return NoJournal()
        return Journal(self.target, self.key, is_fresh=self.config.restart or self.source.is_pipe)

    def lines(self) -> list[str]:
        """The plan, a line for every fact."""
        info = self.info
        about = f"about {self.frames_expected:,} frames" if self.frames_expected else "as many frames as there are"
        rate = "" if self.rate is None else f" at {rate_text(self.rate)} frames/s"
        rows = [
            ("source", f"{info.width}x{info.height}, {info.codec}, {_length(info)}"),
            ("result", f"{self.target}: {self.size[0]}x{self.size[1]}{rate}, {about}"),
            ("model", self.model),
        ]
        if self.encoder is not None:
            options = " ".join(f"{key}={value}" for key, value in self.encoder.options)
            rows.append(("encoder", f"{self.encoder.encoder} {self.encoder.pix_fmt} {options}"))
        rows += [("stream", str(stream)) for stream in self.streams]
        tiles = "whole frames" if self.tile_px is None else f"tiles of {self.tile_px} px"
        rows.append(
            ("memory", f"about {bytes_text(self.memory_bytes)} of {bytes_text(self.memory_free_bytes)}, {tiles}")
        )
        if self.disk_bytes is not None and self.disk_free_bytes is not None:
            free = bytes_text(self.disk_free_bytes)
            rows.append(("disk", f"about {bytes_text(self.disk_bytes)} of {free}; twice that until the end"))
        if self.seconds is not None:
            rows.append(("time", f"about {_duration(self.seconds)}"))
        if done := len(self.journal().finished):
            rows.append(("resume", f"{done:,} segments are done already"))
        return [str(info.path), *(f"  {name:<8} {text}" for name, text in rows)]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "source": str(self.info.path),
            "target": str(self.target),
            "kind": self.kind,
            "size": list(self.size),
            "rate": None if self.rate is None else str(self.rate),
            "frames_expected": self.frames_expected,
            "model": self.model,
            "encoder": None if self.encoder is None else self.encoder.to_json(),
            "streams": [str(stream) for stream in self.streams],
            "memory_bytes": self.memory_bytes,
            "memory_free_bytes": self.memory_free_bytes,
            "tile_px": self.tile_px,
            "disk_bytes": self.disk_bytes,
            "disk_free_bytes": self.disk_free_bytes,
            "seconds": self.seconds,
            "segments_done": len(self.journal().finished),
        }


def plan_upscale(
    input: str | Path,  # noqa: A002
    output: str | Path | None = None,
    *,
    fn: ClipFunction,
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008
    notes: Notes | None = None,
) -> Plan:
    """Decide everything about a run and refuse what cannot be done; nothing is written.

    `input` and `output` are paths, `-` for standard input and output. Without `output` the result lies beside the
    input.

    Raises:
        UsageError: settings that cannot be understood, or do not fit the source.
        InputError: an input that is missing, no video, not decodable, or larger than allowed.
        OutputError: an output that exists, is the input, is too large for its codec or its disk, or has no encoder.

    """
    notes = Notes() if notes is None else notes
    rule = OutputRule.parse(config.fps)
    mark_cuts((), config.scene_cut)  # refuses what it does not understand
    source = open_source(Path(input), config.read, notes)
    info = source.info
    rule = _rule(rule, info, config)
    size = output_size(config.size, (info.width, info.height), fn.scale)
    target = _target(info, output, config, rule)
    if not source.is_pipe and target != PIPE:
        _refuse_places(info.path, target)
    kind = _kind(info, target)
    encoder = None
    if kind in ("video", "pipe"):
        encoder = choose_encoder(
            config.encode,
            target,
            size=size,
            rate=rule.output_rate(1 / (info.period * config.slow_motion)),
            time_base=rule.time_base(info.time_base * config.slow_motion, info.first * config.slow_motion),
            info=None if info.container in ("image", "images") else info,
            notes=notes,
        )
    expected = _expected_frames(info, rule, config)
    free = runtime.memory_available_bytes(device_kind(fn))
    budget = min(free, config.max_memory_bytes or free)
    tile, memory = _memory(Runner(fn, config.tile, Notes(), budget_bytes=budget), info, rule, config)
    plan = Plan(
        source=source,
        target=target,
        kind=kind,
        config=config,
        rule=rule,
        size=size,
        encoder=encoder,
        streams=_streams(source, encoder, config),
        frames_expected=expected,
        model=described(fn),
        key=_key(source, config, fn, size),
        memory_bytes=memory,
        memory_free_bytes=budget,
        tile_px=tile,
        disk_bytes=_disk(size, expected, "images" if encoder is None else encoder.family),
        disk_free_bytes=None if kind == "pipe" else _free_disk(target),
    )
    _refuse_output(plan)
    _refuse_small_disk(plan, notes)
    return plan


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


def default_output(info: VideoInfo, config: UpscaleConfig, rule: OutputRule | None = None) -> Path:
    """`holiday_stinet_x4_60fps.mp4` beside `holiday.mp4`; a folder for a folder, a PNG for an image.

    Raises:
        UsageError: a frame rate that cannot be understood.

    """
    rule = _rule(OutputRule.parse(config.fps), info, config) if rule is None else rule
    path = info.path.resolve() if info.path.name in ("", ".", "..") else info.path
    slow = "" if config.slow_motion == 1 else f"_slow{rate_text(config.slow_motion)}"
    label = f"_stinet_{config.size.strip().lower()}{slow}"
    if info.container == "image":
        return path.with_name(f"{path.stem}{label}.png")
    if info.container == "images":
        return path.with_name(f"{path.name}{label}")
    rate = rate_text(rule.output_rate(1 / (info.period * config.slow_motion)))
    return path.with_name(f"{path.stem}{label}_{rate}fps{best_suffix(info)}")


def identity_of(fn: ClipFunction) -> str:
    """Name and hash of a clip function; of one that does not say, its kind and scale."""
    kind = type(fn)
    return getattr(fn, "identity", None) or f"{kind.__module__}.{kind.__qualname__} x{fn.scale}"


def engine_of(fn: ClipFunction) -> str | None:
    """What computes a network; None: it does not say, or is none."""
    return getattr(fn, "engine", None)


def described(fn: ClipFunction) -> str:
    """Name, hash, engine and precision of a clip function, for people."""
    identity, engine = identity_of(fn), engine_of(fn)
    with_what = [word for word in (engine, fn.precision if isinstance(fn, Movable) else None) if word]
    named = [word for word in with_what if word not in identity.split()]
    return f"{identity}, {' '.join(named)}" if named else identity


def device_kind(fn: ClipFunction) -> str:
    """cpu, cuda or mps; a function that does not say works on the CPU."""
    return getattr(getattr(fn, "device", None), "type", "cpu")


def _rule(rule: OutputRule, info: VideoInfo, config: UpscaleConfig) -> OutputRule:
    """When frames are due on the time line of the result."""
    if info.container == "image":
        return OutputRule()
    if config.slow_motion != 1:
        rule = rule.slowed(config.slow_motion, info.period)
    return rule.as_rate(info.period * config.slow_motion) if config.cfr else rule


def _target(info: VideoInfo, output: str | Path | None, config: UpscaleConfig, rule: OutputRule) -> Path:
    if output is not None:
        return Path(output)
    if info.path == PIPE:
        raise UsageError("a film from standard input has no name to put the result beside: name one with -o")
    return default_output(info, config, rule)


def _kind(info: VideoInfo, target: Path) -> Kind:
    if target == PIPE or target.suffix.lower() == ".y4m":
        return "pipe"
    if target.suffix.lower() in IMAGE_SUFFIXES:
        if info.container != "image":
            raise OutputError(f"{target}: one image cannot hold a film; name a video, or a folder for its frames")
        return "image"
    return "video" if _SUFFIX.fullmatch(target.suffix) else "images"


def _refuse_places(source: Path, target: Path) -> None:
    """Outputs that would destroy the input, and places where nothing can be."""
    if target.is_symlink() or target.exists():
        if target.exists() and (target.samefile(source) or _holds_input(target, source)):
            raise OutputError(f"{target}: is the input itself (or holds it, or is a link to it); choose another output")
        if target.is_dir() and not holds_only_frames(target):
            raise OutputError(
                f"{target}: a folder that holds more than frames written here (00000001.png and so on) is never "
                "replaced; choose another output"
            )
    for folder in target.parents:
        if folder.exists():
            if not folder.is_dir():
                raise OutputError(f"{target}: {folder} is a file, not a folder; choose another output")
            if not runtime.may_write(folder):
                raise OutputError(f"{target}: the folder {folder} cannot be written to; choose another output")
            return


def _refuse_output(plan: Plan) -> None:
    """An output that is there already, unless it was announced by the journal, or is to be overwritten."""
    target = plan.target
    if plan.kind == "pipe" and target == PIPE:
        return
    lock = OutputLock(target)
    if lock.is_taken:  # said before its journal is compared with this run's settings
        raise lock.refusal
    if plan.journal().is_complete:
        return
    if (target.exists() or target.is_symlink()) and not plan.config.overwrite:
        raise OutputError(f"{target}: exists already; overwrite it with -y, or choose another output")
    if target.exists() and target.is_dir() != (plan.kind == "images"):
        there, made = ("folder", "file") if target.is_dir() else ("file", "folder of images")
        raise OutputError(f"{target}: is a {there}, and the result a {made}; choose another output")


def _refuse_small_disk(plan: Plan, notes: Notes) -> None:
    """A disk on which the result has no place."""
    if plan.disk_bytes is None or plan.disk_free_bytes is None:
        return
    need, free = bytes_text(2 * plan.disk_bytes), bytes_text(plan.disk_free_bytes)
    if 2 * plan.disk_bytes > 4 * plan.disk_free_bytes:
        raise OutputError(
            f"{plan.target}: needs about {need} while it is made, and {free} are free; choose another disk, a smaller "
            "size or a smaller codec"
        )
    if 2 * plan.disk_bytes > plan.disk_free_bytes:
        notes.warn(f"the disk may become full: about {need} are needed while the result is made, {free} are free")


def _holds_input(target: Path, source: Path) -> bool:
    """Whether the target is one of the files that are read, or a folder around one, links followed or not."""
    place = target.resolve()
    files = [source, *(find_images(source) if source.is_dir() else ())]
    places = {place for file in files for place in (file.resolve(), file.parent.resolve() / file.name)}
    return any(place == one or place in one.parents for one in places)


def _streams(source: Source, encoder: EncoderChoice | None, config: UpscaleConfig) -> tuple[StreamPlan, ...]:
    if encoder is None or encoder.family == "y4m" or source.is_pipe or not source.info.streams:
        return ()
    return plan_streams(
        source.info,
        encoder.container,
        stretch=config.slow_motion,
        slow_audio=config.slow_audio,
        start=config.read.start,
        seconds=config.read.seconds,
        picture=config.read.stream,
    )


def _key(source: Source, config: UpscaleConfig, fn: ClipFunction, size: tuple[int, int]) -> dict[str, Any]:
    read = replace(config.read, max_pixels=None, max_seconds=None)
    settings = to_mapping(replace(config, overwrite=False, restart=False, max_memory_bytes=None, read=read))
    content = "" if source.is_pipe else fingerprint(source.info.path)
    # that of the call, not of the ladder's rung: what a run fell back to is among the choices, and is read back
    precision = fn.precision if isinstance(fn, Movable) else None
    model = {"identity": identity_of(fn), "engine": engine_of(fn), "precision": precision}
    return {"source": {"content": content}, "model": model, "size": list(size), "settings": settings}


def _memory(runner: Runner, info: VideoInfo, rule: OutputRule, config: UpscaleConfig) -> tuple[int | None, int]:
    """Side of a tile (None: whole frames) and bytes of a clip."""
    shape = (info.height, info.width)
    per_interval = rule.frames_per_interval(info.period * config.slow_motion)
    runner.choose(shape, per_interval=per_interval, window=config.window)
    bytes_of_clip = runner.clip_bytes(shape, per_interval=per_interval)
    return (None if runner.tile_px >= max(shape) else runner.tile_px), bytes_of_clip


def _disk(size: tuple[int, int], frames: int | None, family: str) -> int | None:
    return None if frames is None else int(size[0] * size[1] * frames * _BITS_PER_PIXEL.get(family, 0.2) / 8)


def _free_disk(target: Path) -> int | None:
    for folder in target.absolute().parents:
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _expected_frames(info: VideoInfo, rule: OutputRule, config: UpscaleConfig) -> int | None:
    if info.container == "image":
        return 1
    lengths = [config.read.seconds, None if info.duration is None else info.duration - (config.read.start or 0)]
    length = min((one for one in lengths if one is not None), default=None)
    if length is None:
        return None
    rate = rule.output_rate(1 / (info.period * config.slow_motion))
    return max(round(length * config.slow_motion * rate), 1)


def _even_fit(source: tuple[int, int], factor: Fraction) -> tuple[int, int]:
    """The source times `factor`, each side to the nearest even number."""
    if factor <= 0:
        raise ValueError
    return max(2 * round(source[0] * factor / 2), 2), max(2 * round(source[1] * factor / 2), 2)


def _length(info: VideoInfo) -> str:
    rate = f"{rate_text(info.rate)} frames/s" if info.rate else "rate not said"
    length = f"{float(info.duration):.3f} s" if info.duration is not None else "length not said"
    return f"{length}, {rate}{'' if info.is_constant_rate else ' (variable)'}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
