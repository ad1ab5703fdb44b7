"""Films of odd kinds for tests of the reader: exact planes of any format, interlaced, telecined, HDR."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

RATE = Fraction(25)
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def picture_of(planes: Sequence[np.ndarray], width: int, height: int, layout: str, k: int = 0) -> VideoFrame:
    """A frame of these planes, as they are."""
    picture = VideoFrame(width, height, layout)
    for plane, stored in zip(picture.planes, planes, strict=True):
        kind = stored.dtype
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : stored.shape[1]] = stored
        plane.update(rows.tobytes())
    picture.pts, picture.time_base = k, 1 / RATE
    return picture


def planes_of(picture: VideoFrame, kind: str = "<u2") -> list[np.ndarray]:
    """Planes of a frame without their padding."""
    return [np.frombuffer(bytes(p), kind).reshape(p.height, -1)[:, : p.width] for p in picture.planes]


def reel(
    path: Path,
    frames: Sequence[VideoFrame],
    codec: str = "ffv1",
    *,
    options: Mapping[str, str] | None = None,
    colour: tuple[int, int, int, int] | None = None,
    container: Mapping[str, str] | None = None,
) -> Path:
    """Encode frames as they are; `colour` is matrix, primaries, transfer, range (1 limited, 2 full)."""
    with av.open(str(path), "w", options=dict(container or {})) as out:
        stream: Any = out.add_stream(codec, rate=RATE, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        stream.codec_context.time_base = 1 / RATE
        if colour:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = colour
        for frame in frames:
            if colour:
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = colour
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def as_fields(frames: Sequence[VideoFrame]) -> list[VideoFrame]:
    """Frames that say they are interlaced, top field first."""
    graph = Graph()
    first = frames[0]
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=first.time_base or 1 / RATE
    )
    mark, sink = graph.add("setfield", "mode=tff"), graph.add("buffersink")
    source.link_to(mark)
    mark.link_to(sink)
    graph.configure()
    marked = []
    for frame in frames:
        graph.vpush(frame)
        marked.append(graph.vpull())
    return marked


def with_pulldown(path: Path) -> Path:
    """Set repeat_first_field in every other picture of an MPEG-2 stream, as film on a DVD has it."""
    data = bytearray(path.read_bytes())
    place = pictures = 0
    while (place := data.find(b"\x00\x00\x01\xb5", place)) >= 0:
        place += 4
        if data[place] >> 4 == 1:  # sequence extension: not progressive_sequence
            data[place + 1] &= ~8
        if data[place] >> 4 == 8:  # picture coding extension: progressive_frame, repeat_first_field
            data[place + 4] |= 0x80
            data[place + 3] |= 2 * (pictures % 2 == 0)
            pictures += 1
    path.write_bytes(data)
    return path


def as_rgb(planes: list[np.ndarray], bits: int, matrix: int, *, is_full: bool) -> np.ndarray:
    """H.273, in float64."""
    red_weight, blue_weight = WEIGHTS[matrix]
    y, cb, cr = (plane.astype(np.float64) for plane in planes[:3])
    step, top = 2 ** (bits - 8), 2**bits - 1
    luma = y / top if is_full else (y - 16 * step) / (219 * step)
    cb, cr = ((c - 128 * step) / (top if is_full else 224 * step) for c in (cb, cr))
    red, blue = luma + 2 * (1 - red_weight) * cr, luma + 2 * (1 - blue_weight) * cb
    return np.stack([red, (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight), blue], -1)


def as_planes(rgb: np.ndarray, bits: int, matrix: int, *, is_full: bool) -> np.ndarray:
    """And back; 3 h w."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = np.moveaxis(rgb.astype(np.float64) / 65535, -1, 0)
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    cb, cr = (blue - luma) / (2 * (1 - blue_weight)), (red - luma) / (2 * (1 - red_weight))
    step, top = 2 ** (bits - 8), 2**bits - 1
    if is_full:
        return np.stack([luma * top, cb * top + 128 * step, cr * top + 128 * step])
    return np.stack([luma * 219 * step + 16 * step, cb * 224 * step + 128 * step, cr * 224 * step + 128 * step])
