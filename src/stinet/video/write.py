"""Frames to a video file at exact times, with everything else of the source beside them.

Promises
- The file appears whole or not at all: it grows as `.NAME.part` beside its place and is moved there at the end.
- Frame times are whole ticks of `time_base`, so that nothing is rounded (Matroska itself stores milliseconds; that is
  noted).
- The matrix and range that the source was read with are used and tagged, so that colours do not shift.
- Audio is copied packet by packet; audio that the container refuses becomes AAC. Other streams are kept where the
  container takes them, and each one dropped is named. Nothing of this ever ends the job.
- Packets of other streams are written up to the time of the video: memory does not grow with the length.

First form: 8 bit, 4:2:0; a picture with an odd side becomes 4:4:4, which is noted.
"""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from stinet.config import EncodeConfig
from stinet.errors import OutputError, StinetError
from stinet.video.frame import Colour, Frame, Notes, VideoInfo
from stinet.video.read import SWSCALE_MATRIX, open_file

__all__ = ["VIDEO_SUFFIXES", "OutputLock", "Writer"]

VIDEO_SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffix -> FFmpeg's container."""

_LIMITS_PX = {"libx264": 16_384, "libx265": 65_536}
"""Longest side that an encoder takes."""

_MAX_TICKS = 1 << 24
"""Finest time base that every container takes."""

_CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class Writer:
    """One video file being written; a context manager, and leaving it with an error leaves nothing behind.

    `size` is width, height; `time_base` the tick of which every frame time is a multiple; `source` the file whose
    other streams, metadata, colour and pixel shape are kept; `seconds` cuts its other streams.

    Raises:
        OutputError: an unknown suffix, a size beyond the encoder's limit, or a file that cannot be written.

    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        source: VideoInfo | None = None,
        encode: EncodeConfig = EncodeConfig(),  # noqa: B008
        seconds: Fraction | None = None,
        notes: Notes | None = None,
    ) -> None:
        self.path, self.size, self.rate, self.source, self.encode = path, size, rate, source, encode
        self.codec = {"auto": "libx264", "h264": "libx264"}.get(encode.codec, encode.codec)
        self.notes = Notes() if notes is None else notes
        self.part = path.with_name(f".{path.name}.part")
        self.time_base = time_base
        self.seconds = seconds
        self.frames = 0
        self.colour = _target_colour(source)
        self._durations: dict[int, int] = {}
        self._last: int | None = None
        self._check()

    def _check(self) -> None:
        if self.path.suffix.lower() not in VIDEO_SUFFIXES:
            raise OutputError(
                f"{self.path}: unknown suffix {self.path.suffix!r}; known are {', '.join(VIDEO_SUFFIXES)}, "
                "or a name without suffix for a folder of PNG images"
            )
        if self.codec not in av.codecs_available:
            raise OutputError(f"{self.path}: this build of FFmpeg has no encoder {self.codec!r}")
        limit = _LIMITS_PX.get(self.codec)
        if limit and max(self.size) > limit:
            raise OutputError(
                f"{self.path}: {self.size[0]}x{self.size[1]} is beyond the {limit} px of {self.codec}; "
                "choose a smaller size"
            )
        if self.time_base.denominator > _MAX_TICKS or self.time_base.numerator > _MAX_TICKS:
            self.notes.say(f"times rounded to 1/90000 s (the source ticks in {self.time_base} s)")
            self.time_base = Fraction(1, 90_000)

    def __enter__(self) -> "Writer":
        with ExitStack() as stack:
            stack.callback(self._discard)
            with _disk_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._others = stack.enter_context(_Others(self.source, self.seconds, self.notes))
            self._open()
            stack.callback(self._container.close)
            self._reformatter = VideoReformatter()
            self._cleanup = stack.pop_all()
        return self

    def _open(self) -> None:
        """Open with all streams; a container that refuses them gets fewer, named ones."""
        for attempt in _ATTEMPTS:
            with _disk_errors(self.path):
                self._container = av.open(
                    f"file:{self.part.resolve()}",
                    "w",
                    format=VIDEO_SUFFIXES[self.path.suffix.lower()],
                    container_options={"movflags": "+faststart"} if self.path.suffix.lower() != ".mkv" else {},
                )
            try:
                self._stream = self._add_video()
                self._others.add_to(self._container, attempt)
                self._container.start_encoding()
            except (FFmpegError, ValueError) as error:
                with suppress(FFmpegError):
                    self._container.close()
                self._discard()
                if attempt is _ATTEMPTS[-1]:
                    raise OutputError(f"{self.path}: cannot be encoded ({error})") from error
                continue
            self._others.note()
            return

    def _add_video(self) -> Any:
        options = {
            "crf": str(17 if self.encode.crf is None else self.encode.crf),
            "preset": self.encode.preset or "medium",
        }
        stream: Any = self._container.add_stream(self.codec, rate=self.rate, options=options)
        context = stream.codec_context
        stream.width, stream.height = self.size
        is_odd = self.size[0] % 2 or self.size[1] % 2
        stream.pix_fmt = "yuv444p" if is_odd else "yuv420p"
        if is_odd:
            self.notes.say(f"{self.size[0]}x{self.size[1]} has an odd side: colour kept at full size (4:4:4)")
        stream.time_base = context.time_base = self.time_base
        context.colorspace, context.color_primaries, context.color_trc = (
            self.colour.matrix,
            self.colour.primaries,
            self.colour.transfer,
        )
        context.color_range = ColorRange.JPEG if self.colour.is_full_range else ColorRange.MPEG
        if self.source is not None:
            context.sample_aspect_ratio = self.source.sample_aspect
            self._container.metadata.update(self._others.metadata)
        if self.path.suffix.lower() == ".mkv" and (1000 * self.time_base).denominator != 1:
            self.notes.say("times rounded to milliseconds (Matroska)")
        return stream

    def write(self, frame: Frame) -> None:
        """Encode one frame; times must rise.

        Raises:
            OutputError: the disk or the encoder refuses it.

        """
        if (frame.rgb.shape[1], frame.rgb.shape[0]) != self.size:
            raise AssertionError(f"frame of {frame.rgb.shape}, writer of {self.size}")
        pts = round(frame.time / self.time_base)
        assert self._last is None or pts > self._last, f"time {frame.time} does not rise"
        if self._last is not None:
            self._durations[self._last] = pts - self._last
        if frame.duration is not None:
            self._durations[pts] = max(round(frame.duration / self.time_base), 1)
        self._last = pts
        picture = self._picture(frame)
        picture.pts, picture.time_base = pts, self.time_base
        with _disk_errors(self.path):
            self._mux(self._stream.encode(picture))
            self._others.mux_until(frame.time)
        self.frames += 1

    def _picture(self, frame: Frame) -> VideoFrame:
        picture = self._reformatter.reformat(
            VideoFrame.from_ndarray(frame.rgb, format="rgb24"),
            format=self._stream.pix_fmt,
            src_colorspace=SWSCALE_MATRIX[self.colour.matrix],
            dst_colorspace=SWSCALE_MATRIX[self.colour.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if self.colour.is_full_range else ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        picture.colorspace, picture.color_primaries, picture.color_trc = (
            self.colour.matrix,
            self.colour.primaries,
            self.colour.transfer,
        )
        return picture

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration is not None and packet.time_base == self.time_base:
                packet.duration = duration
            self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._cleanup:
            if kind is not None or not self.frames:
                return
            with _disk_errors(self.path):
                self._mux(self._stream.encode(None))
                self._others.finish()
                self._container.close()
                self.part.replace(self.path)

    def _discard(self) -> None:
        with suppress(OSError):
            self.part.unlink()


_ATTEMPTS = ("all", "audio", "aac", "none")
"""What is asked of a container, one after the other until it agrees.

Every stream, copied audio, AAC audio, video alone.
"""


class _Others:
    """The source's other streams on their way into the output."""

    def __init__(self, source: VideoInfo | None, seconds: Fraction | None, notes: Notes) -> None:
        self.source, self.seconds, self.notes = source, seconds, notes
        self.metadata: dict[str, str] = {}
        self._input: InputContainer | None = None
        self._tracks: dict[int, _Track] = {}
        self._dropped: list[str] = []
        self._held: Packet | None = None
        self._passed: set[int] = set()  # tracks that have reached `seconds`

    def __enter__(self) -> "_Others":
        if self.source is not None and self.source.streams:
            self._input = open_file(self.source.path)
            self.metadata = {k: v for k, v in self._input.metadata.items() if k.lower() not in _CONTAINER_KEYS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._input is not None:
            self._input.close()

    def add_to(self, output: OutputContainer, attempt: str) -> None:
        """Add the streams that `attempt` allows and the container takes."""
        self._tracks, self._dropped = {}, []
        self._output = output
        if self._input is None or self.source is None:
            return
        with suppress(Exception):
            if self.seconds is None and (chapters := self._input.chapters()):
                output.set_chapters(chapters)
        for stream, info in zip(self._input.streams, self.source.streams, strict=True):
            if info.kind == "video":
                continue
            track = self._track(output, stream, info.kind, attempt)
            if track is None:
                self._dropped.append(str(info))
            else:
                self._tracks[stream.index] = track
        self._packets = self._demux()

    def _track(self, output: OutputContainer, stream: Any, kind: str, attempt: str) -> "_Track | None":
        if attempt == "none" or kind not in ("audio", "subtitle") or (kind == "subtitle" and attempt != "all"):
            return None
        if attempt != "aac" or kind != "audio":
            with suppress(ValueError, FFmpegError):
                added: Any = output.add_stream_from_template(stream)
                added.metadata.update(stream.metadata)
                added.disposition = stream.disposition
                return _Copied(added, f"{kind} copied")
        if kind != "audio":
            return None
        with suppress(ValueError, FFmpegError):
            return _Encoded(output, stream)
        return None

    def note(self) -> None:
        """Say what became of every stream."""
        for track in self._tracks.values():
            self.notes.say(track.said)
        for name in self._dropped:
            self.notes.say(f"{name} dropped")

    def _demux(self) -> Iterator[Packet]:
        assert self._input is not None
        wanted = [stream for stream in self._input.streams if stream.index in self._tracks]
        if not wanted:
            return
        try:
            yield from (packet for packet in self._input.demux(*wanted) if packet.size)
        except (FFmpegError, OSError):
            self.notes.say("audio ends where the file breaks off")

    def mux_until(self, time: Fraction | None) -> None:
        """Write packets that begin before `time` (None: all)."""
        if not self._tracks or self.source is None:
            return
        while (packet := self._held or next(self._packets, None)) is not None:
            self._held = None
            stamp = packet.dts if packet.dts is not None else packet.pts
            begin = Fraction(0) if stamp is None else stamp * packet.time_base - self.source.origin
            if self.seconds is not None and begin >= self.seconds:
                self._passed.add(packet.stream_index)
                if len(self._passed) == len(self._tracks):
                    self._packets = iter(())  # the rest of the file is not read
                    return
                continue  # other streams may still have earlier ones
            if time is not None and begin > time:
                self._held = packet
                return
            track = self._tracks[packet.stream_index]
            try:
                track.mux(self._output, packet, self.source.origin)
            except (InvalidDataError, ValueError):
                self.notes.count("damaged audio packets dropped")

    def finish(self) -> None:
        """Write what is left and empty the encoders."""
        self.mux_until(None)
        for track in self._tracks.values():
            track.finish(self._output)


_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
"""Channels -> their usual places, for sound that is encoded anew."""


class _Track:
    """One stream of the output that is no video."""

    said: str

    def mux(self, output: OutputContainer, packet: Packet, origin: Fraction) -> None:
        """Write one packet of the source."""
        raise NotImplementedError

    def finish(self, output: OutputContainer) -> None:
        """Write what was held back."""


class _Copied(_Track):
    """Packets as they are, moved in time by the origin."""

    def __init__(self, stream: Any, said: str) -> None:
        self.stream, self.said = stream, said

    def mux(self, output: OutputContainer, packet: Packet, origin: Fraction) -> None:
        shift = round(origin / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = self.stream
        output.mux_one(packet)


class _Encoded(_Track):
    """Audio decoded and encoded again as AAC."""

    def __init__(self, output: OutputContainer, stream: Any) -> None:
        count = stream.layout.nb_channels
        layout = _LAYOUTS.get(count, "stereo")
        self.stream: Any = output.add_stream("aac", rate=stream.rate, layout=layout, format="fltp")
        self.stream.bit_rate = 96_000 * max(count, 1)
        self.stream.metadata.update(stream.metadata)
        self.resampler = AudioResampler(format="fltp", layout=layout, rate=stream.rate, frame_size=1024)
        self.said = f"audio {stream.codec_context.name} encoded as AAC"

    def mux(self, output: OutputContainer, packet: Packet, origin: Fraction) -> None:
        for frame in packet.decode():
            if frame.pts is not None:
                frame.pts -= round(origin / frame.time_base)  # pyright: ignore
            for part in self.resampler.resample(frame):  # pyright: ignore
                output.mux(self.stream.encode(part))

    def finish(self, output: OutputContainer) -> None:
        for part in self.resampler.resample(None):
            output.mux(self.stream.encode(part))
        output.mux(self.stream.encode(None))


class OutputLock:
    """Holds an output for one run while it lives; the operating system lets go of it when the run dies.

    Raises:
        OutputError: another run holds it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.with_name(f".{path.name}.lock")
        self._handle: IO[bytes] | None = None

    def __enter__(self) -> "OutputLock":
        with _disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self.file.open("ab")
        if not _lock(self._handle):
            self._handle.close()
            raise OutputError(f"{self.path}: another run is writing it; wait for it or choose another name")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handle is not None
        with suppress(OSError):
            self.file.unlink()
        self._handle.close()


def _lock(handle: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


class _disk_errors:  # noqa: N801
    """What the disk or FFmpeg refuses, as an OutputError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FFmpegError | OSError) and not isinstance(error, StinetError):
            raise OutputError(
                f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error})"
            ) from error


def _target_colour(source: VideoInfo | None) -> Colour:
    """The source's own matrix, range and tags; BT.709 for RGB sources."""
    if source is None or source.colour.matrix not in SWSCALE_MATRIX:
        return Colour(matrix=1, primaries=1, transfer=1 if source is None else 13)
    return source.colour
