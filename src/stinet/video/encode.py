"""Frames to coded pictures: segments that can be joined without decoding, or a y4m stream for another program.

A segment file is Matroska, since that takes every codec that is written here. Matroska stores milliseconds, therefore
frame n of a segment is stamped n ms, and the true times stand in `Segment.times`; joining puts them back. The encoder
itself is given the true times, by which it divides its bits.

Promises
- A segment begins with a key frame and refers to nothing before it. Equal frames and an equal choice give equal bytes
  (software encoders).
- As many packets as frames, or an error: nothing is swallowed.
- The file grows as `NAME.part`, reaches the disk, and only then gets its name.

Opaque frames of 8 bit become Y'CbCr of 8 bit by swscale. In every other case (deeper frames, deeper codes, grey,
alpha) they are brought to 4:4:4 codes by the definition, since swscale takes 65283 of 65535 for white, every grey for
full range, and adds 1 to alpha; it then only reduces the colour planes to 4:2:2 or 4:2:0.

y4m has a rate instead of times: frames are written in their order, and that they are evenly spaced is the caller's
promise.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from jaxtyping import UInt8, UInt16

from stinet.config import PIPE
from stinet.errors import OutputError
from stinet.runtime import ordinary_priority, quiet_encoders
from stinet.video.codecs import Y4M_COLOURS
from stinet.video.convert import SWSCALE_MATRIX, code_planes, is_grey, is_rgb, reduce, widen
from stinet.video.disk import disk_errors, sync_folder
from stinet.video.encoder import EncoderChoice, hardware_accelerator, prepare_encoder
from stinet.video.frame import Frame

__all__ = ["PipeWriter", "Segment", "SegmentWriter", "Writable"]

_STAMP = Fraction(1, 1000)
"""Matroska's tick."""

_MOST_REORDER = 64
"""Decoding stamps lie this many places before the packet's own: more than any encoder reorders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished run of coded frames: a Matroska file in which frame n of the segment is stamped n ms."""

    path: Path
    frames: int
    times: tuple[Fraction, ...]
    """When each frame is shown, in seconds of the result: whole ticks of the choice's time base, rising."""
    bytes: int
    """Of the file."""
    reorder: int
    """How many places at most a packet is stored later than it is shown: 0 without B-frames."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, the file by its name alone, since the folder may be moved."""
        return {
            "name": self.path.name,
            "frames": self.frames,
            "times": _in_steps(self.times),
            "bytes": self.bytes,
            "reorder": self.reorder,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], folder: Path) -> "Segment":
        """The segment that `to_json` was of, in `folder`."""
        return cls(
            path=folder / plain["name"],
            frames=plain["frames"],
            times=_from_steps(plain["times"]),
            bytes=plain["bytes"],
            reorder=plain["reorder"],
        )


def _coding_errors(path: Path) -> AbstractContextManager[None]:
    """What the disk, FFmpeg or PyAV refuses, as an OutputError."""
    return disk_errors(path, FFmpegError, ValueError)


def _in_steps(times: Sequence[Fraction]) -> list[list[Any]]:
    """Rising times as even runs, short whatever the length of a film: [first, step, how many]."""
    runs: list[list[Any]] = []
    for time, following in zip(times, (*times[1:], None), strict=True):
        step = Fraction(0) if following is None else following - time
        if runs and (runs[-1][1] == step or following is None):
            runs[-1][2] += 1
        else:
            runs.append([time, step, 1])
    return [[str(first), str(step), count] for first, step, count in runs]


def _from_steps(runs: Sequence[Sequence[Any]]) -> tuple[Fraction, ...]:
    return tuple(Fraction(first) + k * Fraction(step) for first, step, count in runs for k in range(count))


class SegmentWriter:
    """One segment being written; as a context manager it leaves nothing behind after an error.

    Raises:
        OutputError: the folder cannot be written, or the encoder cannot be opened.

    """

    def __init__(self, path: Path, choice: EncoderChoice) -> None:
        self.path, self.choice = path, choice
        self.part = path.with_name(f"{path.name}.part")
        self.segment: Segment | None = None
        self._times: list[Fraction] = []
        self._numbers: dict[int, int] = {}  # stamp that the encoder was given -> number of the frame
        self._packets = self._reorder = 0
        self._picture = _Pictures(choice)
        quiet_encoders()
        with _coding_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("wb")
        try:
            with _coding_errors(path):
                self._open()
        except BaseException:
            self.discard()
            raise

    def _open(self) -> None:
        self._container = av.open(
            self._file,
            "w",
            format="matroska",
            options={"fflags": "bitexact", "avoid_negative_ts": "disabled"},
        )
        choice = self.choice
        self._stream: Any = self._container.add_stream(
            choice.encoder,
            rate=choice.rate,
            options=dict(choice.options),
            hwaccel=hardware_accelerator(choice.encoder),
        )
        prepare_encoder(self._stream.codec_context, choice)
        self._stream.time_base = choice.time_base
        with ordinary_priority():
            self._container.start_encoding()

    def write(self, frame: Frame) -> None:
        """Encode one frame; its time is rounded to the tick of the choice, and must be above that of the one before.

        Raises:
            OutputError: the disk or the encoder refuses it.

        """
        assert self.segment is None, f"{self.path}: already closed"
        pts = round(frame.time / self.choice.time_base)
        time = pts * self.choice.time_base
        assert not self._times or time > self._times[-1], f"time {frame.time} does not rise"
        picture = self._picture(frame)
        picture.pts, picture.time_base = pts, self.choice.time_base
        self._numbers[pts] = len(self._times)
        self._times.append(time)
        with _coding_errors(self.path):
            self._mux(self._stream.encode(picture))

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            number = None if packet.pts is None else self._numbers.pop(packet.pts, None)
            if number is None or (not self._packets and not packet.is_keyframe):
                raise OutputError(f"{self.path}: {self.choice.encoder} gave a picture that cannot be placed")
            self._reorder = max(self._reorder, self._packets - number)
            packet.time_base = _STAMP
            packet.pts, packet.dts, packet.duration = number, self._packets - _MOST_REORDER, 1
            self._packets += 1
            self._container.mux_one(packet)

    def close(self) -> Segment:
        """Empty the encoder, bring the file to the disk and give it its name.

        Raises:
            OutputError: the disk refuses it, or the encoder did not give a packet for every frame.

        """
        if self.segment is not None:
            return self.segment
        assert self._times, f"{self.path}: a segment without frames"
        try:
            with _coding_errors(self.path):
                self._mux(self._stream.encode(None))
                if self._packets != len(self._times):
                    given = f"{self._packets} pictures for {len(self._times)} frames"
                    raise OutputError(f"{self.path}: {self.choice.encoder} gave {given}")
                self._container.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                size = self._file.tell()
                self._file.close()
                self.part.replace(self.path)
                sync_folder(self.path.parent)
        except BaseException:
            self.discard()
            raise
        self.segment = Segment(
            path=self.path,
            frames=len(self._times),
            times=tuple(self._times),
            bytes=size,
            reorder=self._reorder,
        )
        return self.segment

    def discard(self) -> None:
        """Stop and remove what was written."""
        if self.segment is not None:
            return
        with suppress(Exception):  # the error that led here is the one to tell
            self._container.close()
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.part.unlink()

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()


@runtime_checkable
class Writable(Protocol):
    """A binary stream that can be written: `sys.stdout.buffer`, an open file, a buffer in memory."""

    def write(self, data: Any, /) -> int:
        """Take bytes and say how many."""
        ...

    def flush(self) -> None:
        """Pass on what is held back."""
        ...


class PipeWriter:
    """Frames as y4m (YUV4MPEG2) into a binary stream, such as standard output. A reader that goes away ends it quietly.

    `choice` is that of `choose_encoder` for `-` or a .y4m file. y4m holds the rate, the size, the pixel shape, the
    depth and the range, but neither times nor a colour matrix.
    """

    def __init__(self, stream: Writable, choice: EncoderChoice, name: Path = PIPE) -> None:
        """`name` is what errors call it."""
        self.choice, self.name = choice, name
        self.frames = 0
        self.is_broken = False
        """The reader has closed its end: nothing more is written."""
        self._stream = stream
        self._picture = _Pictures(choice)

    def write(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            OutputError: the stream refuses it for another reason than a reader that went away.

        """
        if self.is_broken:
            return
        picture = self._picture(frame)
        head = self._header() if not self.frames else b""
        self._send(b"".join((head, b"FRAME\n", *_stored(picture))))
        self.frames += 1

    def close(self) -> None:
        """Bring everything on its way; the stream itself stays open."""
        if not self.is_broken:
            self._send(b"")

    def _send(self, data: bytes) -> None:
        try:
            with _coding_errors(self.name):
                rest = memoryview(data)
                while rest:
                    rest = rest[self._stream.write(rest) :]  # a pipe without a buffer takes what fits
                if not data:
                    self._stream.flush()
        except OutputError as error:
            if not isinstance(error.__cause__, BrokenPipeError):
                raise
            self.is_broken = True

    def _header(self) -> bytes:
        choice = self.choice
        aspect, rate = choice.sample_aspect, choice.rate
        colour = Y4M_COLOURS[choice.pix_fmt]
        signs = [
            "YUV4MPEG2", f"W{choice.size[0]}", f"H{choice.size[1]}", f"F{rate.numerator}:{rate.denominator}", "Ip",
            f"A{aspect.numerator}:{aspect.denominator}", f"C{colour}", f"XYSCSS={colour.upper()}",
            f"XCOLORRANGE={'FULL' if choice.colour.is_full_range else 'LIMITED'}",
        ]  # fmt: skip
        return " ".join(signs).encode() + b"\n"


def _stored(picture: VideoFrame) -> Iterator[bytes]:
    """Planes without the padding at the ends of their rows."""
    sample_bytes = 2 if picture.format.components[0].bits > 8 else 1
    for plane in picture.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
        yield rows[: plane.height, : plane.width * sample_bytes].tobytes()


class _Pictures:
    """RGB frames to stored pictures, by the matrix and range of the choice."""

    def __init__(self, choice: EncoderChoice) -> None:
        self.choice = choice
        self.layout = VideoFormat(choice.pix_fmt)
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> VideoFrame:
        choice, colour = self.choice, self.choice.colour
        if (frame.rgb.shape[1], frame.rgb.shape[0]) != choice.size:
            raise AssertionError(f"frame of {frame.rgb.shape}, writer of {choice.size}")
        matrix = SWSCALE_MATRIX.get(colour.matrix, SWSCALE_MATRIX[1])
        stored_range = ColorRange.JPEG if colour.is_full_range else ColorRange.MPEG
        is_plain = frame.rgb.dtype == np.uint8 and choice.bits == 8
        packs = is_rgb(self.layout) or (is_plain and not is_grey(self.layout) and not choice.keeps_alpha)
        picture = self.reformatter.reformat(
            _packed(frame, choice) if packs else _coded(frame, choice, self.layout),
            format=choice.pix_fmt,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG if packs else stored_range,
            dst_color_range=stored_range,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        picture.colorspace, picture.color_primaries, picture.color_trc = (
            colour.matrix,
            colour.primaries,
            colour.transfer,
        )
        picture.color_range = stored_range
        return picture


def _packed(frame: Frame, choice: EncoderChoice) -> VideoFrame:
    """The frame as FFmpeg's RGB or RGBA: 8 bit for 8 bit, otherwise 16."""
    rgb, alpha = frame.rgb, _opacity(frame) if choice.keeps_alpha else None
    is_deep = choice.bits > 8
    if is_deep != (rgb.dtype == np.uint16):  # swscale would shift where it must scale
        fit = widen if is_deep else reduce
        rgb, alpha = fit(rgb), None if alpha is None else fit(alpha)
    if alpha is None:
        # no copy: swscale reads it where it lies, and an encoder that wants RGB copies what it keeps
        return VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb48le" if is_deep else "rgb24")
    rgba = np.concatenate((rgb, alpha[..., None]), axis=2)
    return VideoFrame.from_ndarray(rgba, format="rgba64le" if is_deep else "rgba")


def _opacity(frame: Frame) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    if frame.alpha is not None:
        return frame.alpha
    return np.full(frame.rgb.shape[:2], np.iinfo(frame.rgb.dtype).max, frame.rgb.dtype)


def _coded(frame: Frame, choice: EncoderChoice, layout: VideoFormat) -> VideoFrame:
    """The frame as grey or 4:4:4 codes of the choice's depth."""
    height, width, _ = frame.rgb.shape
    bits, has_glass = choice.bits, choice.keeps_alpha
    is_pair = is_grey(layout) and has_glass  # grey and opacity side by side
    kind = "ya" if is_pair else "gray" if is_grey(layout) else "yuva444p" if has_glass else "yuv444p"
    ending = f"{bits}le" if bits > 8 else "8" if is_pair else ""
    picture = VideoFrame(width, height, f"{kind}{ending}")
    planes = [
        np.frombuffer(plane, "<u2" if bits > 8 else np.uint8).reshape(height, -1)  # pyright: ignore
        for plane in picture.planes
    ]
    if is_pair:
        planes = [planes[0][:, 0::2], planes[0][:, 1::2]]
    planes = [plane[:, :width] for plane in planes]
    code_planes(frame.rgb, planes[:-1] if has_glass else planes, bits, choice.colour)
    if has_glass:
        scale = np.float32((2**bits - 1) / np.iinfo(frame.rgb.dtype).max)
        planes[-1][:] = _opacity(frame) * scale + np.float32(0.5)
    return picture
