"""The only decoder: a video file as upright RGB frames with exact times, drained to its last frame.

Promises
- A path is a plain local file, whatever its name looks like: it is opened as `file:<absolute path>` with the file
  protocol only.
- The file's display matrix is applied to the pixels here, once; nobody after this file turns anything.
- Times come from the presentation time stamps as Fractions, moved so that the earliest of video and audio starts in
  [0, one tick); the offset between them stays. Missing or backward stamps are regenerated from the nominal rate and
  counted.
- Corrupt packets are skipped and counted. The declared number of frames and duration end no loop.
- Y'CbCr becomes RGB by the file's own matrix and range; where it names no matrix, BT.601 below 720 lines and BT.709
  from there on, as players do, and the guess is noted.

First form: 10 and 12 bit are read as 8 bit, alpha is dropped, interlaced fields are taken as frames; each is noted.
"""

import contextlib
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from stinet.errors import DecodeError, InputError
from stinet.video.frame import Colour, Frame, Notes, StreamInfo, VideoInfo

__all__ = ["SWSCALE_MATRIX", "open_file", "origin_of", "probe", "read_frames"]

SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""H.273 matrix -> swscale's number for it."""

_BT709, _BT601, _UNSAID, _RGB = 1, 6, 2, 0

_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_HEAD_BYTES = 4_096
"""What is looked at to tell text from media."""

_ERRORS_IN_A_ROW = 200
"""Packets in a row that fail before a file counts as undecodable from there on."""

_TRUNCATED = Fraction(9, 10)
"""Less of the declared duration than this is said."""


def probe(path: Path) -> VideoInfo:
    """What the file says of its video. Decodes one frame, because rotation and colour may stand only there.

    Raises:
        InputError: missing, empty, a folder, text, a playlist, encrypted, without its index, or without a video stream.
        DecodeError: a video stream of which no frame can be decoded.

    """
    with open_file(path) as container:
        stream = _video_stream(container, path)
        first = next(_decode(container, stream, Notes()), None)
        if first is None:
            raise DecodeError(
                f"{path}: its {stream.codec_context.name} video stream holds no frame that can be decoded"
            )
        return _describe(path, container, stream, first)


def read_frames(path: Path, *, notes: Notes | None = None, info: VideoInfo | None = None) -> Iterator[Frame]:
    """Every frame of the video, upright, in the order in which they are shown. `info` is the file's `probe`, if known.

    Raises:
        InputError: as `probe`.
        DecodeError: a video of which nothing can be decoded, or nothing any more.

    """
    notes = Notes() if notes is None else notes
    info = probe(path) if info is None else info
    _note_losses(info, notes)
    with open_file(path) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        clock = _Clock(info, notes)
        to_rgb = _Converter(info, notes)
        end = Fraction(0)
        for picture in _decode(container, stream, notes):
            if picture.is_corrupt:
                notes.count("damaged frames repaired by the decoder")
            time = clock.time_of(picture)
            end = time + info.period
            yield Frame(rgb=to_rgb(picture), time=time)
    if info.duration and end < _TRUNCATED * info.duration:
        notes.say(f"decoded {float(end / info.duration):.0%} of the declared duration")


def open_file(path: Path) -> InputContainer:
    """Open a local file for reading; used for frames here and for packets by the writer.

    Raises:
        InputError: says what the file is when it is no media file.

    """
    _refuse_what_is_no_video(path)
    try:
        return av.open(f"file:{path.resolve()}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(path, error)}") from error


def origin_of(container: InputContainer, stream: VideoStream) -> Fraction:
    """The file time that becomes our 0: the earliest start of video and audio, rounded down to the video's ticks."""
    starts = [
        s.start_time * s.time_base
        for s in (stream, *container.streams.audio)
        if s.start_time is not None and s.time_base is not None
    ]
    tick = stream.time_base or Fraction(1, 1000)
    return Fraction(min(starts, default=Fraction(0)) // tick * tick)


class _Clock:
    """Presentation times that rise.

    Taken from the stamps where they do, regenerated from the rate where they do not.
    """

    def __init__(self, info: VideoInfo, notes: Notes) -> None:
        self.info, self.notes = info, notes
        self.last: Fraction | None = None
        self.shift = -info.origin

    def time_of(self, picture: VideoFrame) -> Fraction:
        """Seconds from our 0."""
        expected = Fraction(0) if self.last is None else self.last + self._ticks(self.info.period)
        if picture.pts is None or picture.time_base is None:
            if self.info.path.suffix.lower() not in _RAW_SUFFIXES:
                self.notes.count("frames without a time stamp, timed by the rate")
            time = expected
        else:
            time = picture.pts * picture.time_base + self.shift
        if self.last is not None and time <= self.last:
            self.notes.count("frames with a backward time stamp, timed by the rate")
            time = expected
        self.last = time
        return time

    def _ticks(self, seconds: Fraction) -> Fraction:
        return max(round(seconds / self.info.time_base), 1) * self.info.time_base


_RAW_SUFFIXES = {".h264", ".264", ".h265", ".265", ".hevc", ".m4v", ".ivf", ".obu"}


class _Converter:
    """Stored pictures to upright RGB of one size."""

    def __init__(self, info: VideoInfo, notes: Notes) -> None:
        self.info, self.notes = info, notes
        self.reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> np.ndarray:
        turned = abs(self.info.rotation) % 180 == 90
        width, height = (self.info.height, self.info.width) if turned else (self.info.width, self.info.height)
        if (picture.width, picture.height) != (width, height):
            self.notes.count(f"frames of another size scaled to {self.info.width}x{self.info.height}")
        colour = self.info.colour
        rgb = self.reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=SWSCALE_MATRIX.get(colour.matrix, 5),
            dst_colorspace=SWSCALE_MATRIX.get(colour.matrix, 5),
            src_color_range=ColorRange.JPEG if colour.is_full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_CONVERSION,
            threads=1,
        )
        return _upright(rgb.to_ndarray(), self.info)


def _upright(rgb: np.ndarray, info: VideoInfo) -> np.ndarray:
    """Turn counter-clockwise, then mirror left and right."""
    rgb = np.rot90(rgb, info.rotation // 90 % 4)
    return np.ascontiguousarray(rgb[:, ::-1] if info.is_mirrored else rgb)


def _turn(picture: VideoFrame) -> tuple[int, bool]:
    """Rotation (degrees counter-clockwise, a multiple of 90) and mirroring that the display matrix asks for.

    The matrix (16.16 fixed point, row vectors) sends x, y to x' = a x + c y, y' = b x + d y, y down.
    """
    side: Any = picture.side_data.get(SideDataType.DISPLAYMATRIX)  # pyright: ignore
    if side is None:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", bytes(side)[:20])
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, c = -a, -c  # mirror last: what is left is the turn before it
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d >= 0 else 180), is_mirrored
    return (270 if b - c >= 0 else 90), is_mirrored


def _decode(container: InputContainer, stream: VideoStream, notes: Notes) -> Iterator[VideoFrame]:
    """Decode packet by packet, pass over broken ones, then empty the decoder."""
    failed = 0
    for packet in _packets(container, stream, notes):
        try:
            pictures = packet.decode()
        except EndOfFile:
            return
        except (FFmpegError, OSError, ValueError) as error:
            failed += 1
            notes.count("corrupt packets skipped")
            if failed == _ERRORS_IN_A_ROW:
                raise DecodeError(
                    f"{container.name.removeprefix('file:')}: {failed} packets in a row could not be decoded ({error})"
                ) from error
            continue
        failed = failed if not pictures else 0
        yield from (picture for picture in pictures if isinstance(picture, VideoFrame))


def _packets(container: InputContainer, stream: VideoStream, notes: Notes) -> Iterator[Any]:
    """Packets of the stream and the empty one that flushes.

    A read error ends the file, and the decoder is still flushed.
    """
    try:
        yield from container.demux(stream)
    except (FFmpegError, OSError) as error:
        notes.say(f"the file breaks off ({getattr(error, 'strerror', None) or error})")
        yield _Flush(stream)


class _Flush:
    """The empty packet."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream

    def decode(self) -> list[VideoFrame]:
        return self.stream.decode(None)


def _describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    rotation, is_mirrored = _turn(first)
    turned = rotation % 180 == 90
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    rate = stream.guessed_rate or stream.average_rate
    nominal, average = stream.base_rate, stream.average_rate
    tick = stream.time_base or Fraction(1, 90000)
    length = stream.duration * tick if stream.duration is not None else None
    if length is None and container.duration is not None:
        length = Fraction(container.duration, 1_000_000)
    components = first.format.components
    origin = origin_of(container, stream)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        rate=Fraction(rate) if rate else None,
        duration=length,
        frames_declared=stream.frames or None,
        time_base=Fraction(tick),
        origin=origin,
        first=max(first.pts * tick - origin, Fraction(0)) if first.pts is not None else Fraction(0),
        is_constant_rate=not nominal or not average or abs(nominal / average - 1) < Fraction(1, 1000),
        rotation=rotation,
        is_mirrored=is_mirrored,
        sample_aspect=(1 / aspect if turned else aspect) if aspect > 0 else Fraction(1),
        pixel_format=first.format.name,
        bit_depth=max((component.bits for component in components), default=8),
        has_alpha=any(component.is_alpha for component in components) or first.format.name == "pal8",
        is_interlaced=first.interlaced_frame,
        colour=_colour(stream, first),
        streams=tuple(_stream_info(s) for s in container.streams),
    )


def _colour(stream: VideoStream, first: VideoFrame) -> Colour:
    context = stream.codec_context
    matrix = first.colorspace if first.colorspace != _UNSAID else context.colorspace
    is_rgb = first.format.is_rgb or first.format.name.startswith(("gbr", "pal8"))
    is_guessed = matrix not in SWSCALE_MATRIX and not is_rgb
    if is_guessed:
        matrix = _BT709 if first.height >= 720 else _BT601
    return Colour(
        matrix=_RGB if is_rgb else matrix,
        primaries=first.color_primaries,
        transfer=first.color_trc,
        is_full_range=is_rgb or first.color_range == ColorRange.JPEG or first.format.name.startswith("yuvj"),
        is_guessed=is_guessed,
    )


def _stream_info(stream: Any) -> StreamInfo:
    is_cover = stream.type == "video" and _is_cover(stream)
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    return StreamInfo(
        index=stream.index,
        kind="cover" if is_cover else stream.type,
        codec=codec,
        language=(stream.metadata.get("language") or "").replace("und", ""),
    )


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is no cover picture."""
    films = [s for s in container.streams.video if not _is_cover(s)]
    if not films:
        found = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise InputError(f"{path}: no video stream; it has: {found}")
    if films[0].codec_context is None:
        raise InputError(f"{path}: this build of FFmpeg has no decoder for its video")
    with contextlib.suppress(AttributeError, ValueError, TypeError):
        if films[0].codec_tag in ("encv", "drmi"):
            raise InputError(f"{path}: the video is encrypted (DRM); only unprotected files can be read")
    return films[0]


def _note_losses(info: VideoInfo, notes: Notes) -> None:
    if info.bit_depth > 8:
        notes.say(f"{info.bit_depth} bit read as 8 bit")
    if info.has_alpha:
        notes.say("alpha dropped")
    if info.is_interlaced:
        notes.say("interlaced: fields taken as frames")
    if info.colour.is_guessed:
        notes.say(f"colour matrix not said, taken as {'BT.709' if info.colour.matrix == _BT709 else 'BT.601'}")
    films = [s for s in info.streams if s.kind == "video"]
    if len(films) > 1:
        notes.say(f"first of {len(films)} video streams used")


def _refuse_what_is_no_video(path: Path) -> None:
    """Errors that need no decoder: they come at once, and no playlist is ever followed."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a video file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path}: the file is empty")
    if what := _text_kind(head):
        raise InputError(f"{path}: {what}, not a video")


def _text_kind(head: bytes) -> str | None:
    """What a file that begins so is, if it is text."""
    if head.startswith((b"YUV4MPEG2", b"GIF8")):
        return None
    is_cut = len(head) == _HEAD_BYTES
    try:
        text = head[:-3].decode("utf-8", errors="ignore") if is_cut else head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    is_binary = any(ord(sign) < 32 and sign not in "\t\n\r\f\x1b" for sign in text)
    if is_binary or len(text.encode()) < 0.98 * len(head):
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "an HTML page (a download that failed?)"
    if start.startswith(("#extm3u", "ffconcat", "[playlist]", "<?xml", "<smil", "<asx")):
        return "a playlist or manifest"
    return "a text file"


def _reason(path: Path, error: Exception) -> str:
    """Why a file that is no text cannot be opened."""
    boxes = _mp4_boxes(path)
    if b"ftyp" in boxes and b"moov" not in boxes:
        return "its index (moov) is missing: the file is not complete; copy or record it again"
    if isinstance(error, InvalidDataError):
        return "no media file that FFmpeg knows, or damaged at its start"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error})"


def _mp4_boxes(path: Path) -> list[bytes]:
    """Names of the top-level boxes, as far as they can be followed."""
    names: list[bytes] = []
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size_of_file and len(names) < 64:
            file.seek(place)
            size, name = struct.unpack(">I4s", file.read(8))
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            names.append(name)
            if size < 8:
                break
            place += size
    return names
