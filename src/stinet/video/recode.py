"""Frames through an encoder and its decoder, in memory: what compression leaves of a film.

Frames are uint8 RGB, h w 3, and come back in their order, as many as went in. In between they are Y'CbCr 4:2:0, as in
nearly every file, with BT.601's matrix on both ways: its choice leaves no trace. Sides are made even, and at least
`LEAST_PX`, by repeating the last row and column; that is cropped off again. Encoder and decoder have one thread each,
so that equal frames give equal frames on one processor; another one may round otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from jaxtyping import UInt8

from stinet.errors import OutputError
from stinet.runtime import quiet_encoders
from stinet.video.encoder import steady_x264

__all__ = ["LEAST_PX", "Coding", "recoded"]

LEAST_PX = 64
"""Smallest side of a picture that every encoder takes."""

_BT601 = 5
_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_DECODERS = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}
"""Encoder -> its decoder, where that has another name."""

_STEADY = {
    "libx265": {"x265-params": "log-level=none:info=0:pools=none:frame-threads=1"},
    "libvpx-vp9": {"b": "0", "deadline": "good"},
}
"""What an encoder needs beside one thread to give the same bytes every time, and to be silent."""

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Coding:
    """An encoder by FFmpeg's name, and its options."""

    encoder: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join((self.encoder, *(f"{key}={value}" for key, value in self.options)))


def recoded(frames: Iterable[Pixels], coding: Coding) -> Iterator[Pixels]:
    """Encode frames of one size, and decode them: each comes out as soon as the encoder lets it go.

    Raises:
        OutputError: this build of FFmpeg has no such encoder.

    """
    trip: _RoundTrip | None = None
    for frame in frames:
        trip = trip or _RoundTrip((frame.shape[0], frame.shape[1]), coding)
        yield from trip(frame)
    if trip is not None:
        yield from trip(None)
        assert trip.sent == trip.received, f"{coding}: {trip.received} of {trip.sent} frames came back"


class _RoundTrip:
    """An open encoder and its decoder."""

    def __init__(self, size: tuple[int, int], coding: Coding) -> None:
        quiet_encoders()
        self.size, self.sent, self.received = size, 0, 0
        self.reformatter = VideoReformatter()
        self.range = ColorRange.JPEG if coding.encoder == "mjpeg" else ColorRange.MPEG
        self.padding = [(0, max(side + side % 2, LEAST_PX) - side) for side in size]
        height, width = (side + more for side, (_, more) in zip(size, self.padding, strict=True))
        try:
            encoder: Any = av.CodecContext.create(coding.encoder, "w")
        except UnknownCodecError as error:
            raise OutputError(
                f"this build of FFmpeg has no encoder {coding.encoder!r}; PyAV's own wheels have it (pip install av)"
            ) from error
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.color_range = self.range
        encoder.options = {"threads": "1", **_steady(coding.encoder), **dict(coding.options)}
        encoder.open()
        decoder: Any = av.CodecContext.create(_DECODERS.get(coding.encoder, coding.encoder), "r")
        decoder.thread_count = 1
        self.encoder, self.decoder = encoder, decoder

    def __call__(self, frame: Pixels | None) -> Iterator[Pixels]:
        """What the decoder shows when the encoder is given a frame; None: what they still held."""
        for packet in self.encoder.encode(None if frame is None else self._picture(frame)):
            yield from self._shown(packet)
        if frame is None:
            yield from self._shown(None)

    def _picture(self, frame: Pixels) -> VideoFrame:
        padded = np.pad(frame, (*self.padding, (0, 0)), mode="edge")
        picture = self._reformat(
            VideoFrame.from_ndarray(padded, format="rgb24"), "yuv420p", ColorRange.JPEG, self.range
        )
        picture.pts, picture.time_base = self.sent, Fraction(1, 25)
        self.sent += 1
        return picture

    def _shown(self, packet: Packet | None) -> Iterator[Pixels]:
        height, width = self.size
        for picture in self.decoder.decode(packet):
            self.received += 1
            rgb = self._reformat(picture, "rgb24", self.range, ColorRange.JPEG)
            yield np.ascontiguousarray(rgb.to_ndarray()[:height, :width])

    def _reformat(self, picture: VideoFrame, layout: str, own: ColorRange, wanted: ColorRange) -> VideoFrame:
        return self.reformatter.reformat(
            picture,
            format=layout,
            src_colorspace=_BT601,
            dst_colorspace=_BT601,
            src_color_range=own,
            dst_color_range=wanted,
            interpolation=_CONVERSION,
            threads=1,
        )


def _steady(encoder: str) -> dict[str, str]:
    if encoder == "libx264":
        return {"x264-params": ":".join(f"{key}={value}" for key, value in steady_x264().items())}
    return _STEADY.get(encoder, {})
