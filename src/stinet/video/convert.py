"""Stored pictures become upright RGB: 8 bit as 0..255, more as 0..65535, both full range; alpha beside it.

Eight bit goes through swscale. Deeper Y'CbCr is brought by swscale to 4:4:4 of its own depth n (luma untouched, only
chroma is interpolated), and from there by the definition, in float32: with s = 2^(n-8) and L, C the ranges

    Y = (y - 16 s) / (219 s),   Cb, Cr = (c - 128 s) / (224 s)                          limited                    (1)
    Y = y / (2^n - 1),          Cb, Cr = (c - 128 s) / (2^n - 1)                        full                       (2)
    R = Y + 2 (1 - kr) Cr,  B = Y + 2 (1 - kb) Cb,  G = (Y - kr R - kb B) / (1 - kr - kb)                          (3)

and R, G, B clipped to 0..1 times 65535. (swscale's own way there puts white at 65283 or 65472 of 65535.) `code_planes`
goes the other way: (3), (1) and (2) solved for y and c, and rounded to the nearest code.

A display matrix is applied to the pixels here, once; nobody after this file turns anything.
"""

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from jaxtyping import Float32, UInt8, UInt16

from stinet.video.frame import Colour, Light, Mastering, Notes, VideoInfo

__all__ = [
    "LUMA_WEIGHTS",
    "SWSCALE_MATRIX",
    "Converter",
    "bits_of",
    "code_planes",
    "colour_of",
    "has_alpha",
    "is_grey",
    "is_rgb",
    "name_of_matrix",
    "reduce",
    "turn_of",
    "widen",
]

SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""H.273 matrix -> swscale's number for it."""

LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""H.273 matrix -> kr, kb of Eq. (3). 10 (constant luminance) is taken as 9, which it nearly is."""

_BT709, _BT601, _UNSAID, _RGB = 1, 6, 2, 0

_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_BROADCAST = frozenset({"av1", "h264", "hevc", "libdav1d", "mpeg2video", "mpeg4", "prores", "vp8", "vp9"})
"""Decoders whose grey, when no range is said, is limited as their colour is."""

_BAND_PIXELS = 1 << 15
"""Pixels that are converted at once: few enough for the processor's cache."""

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Opacity = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]


class Converter:
    """Stored pictures to upright RGB of one size and depth."""

    def __init__(self, info: VideoInfo, notes: Notes, *, deep: bool = True) -> None:
        self.info, self.notes = info, notes
        self.is_deep = deep and info.bit_depth > 8
        self.reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> tuple[Pixels, Opacity | None]:
        """RGB, and the opacity where not all is opaque."""
        turned = abs(self.info.rotation) % 180 == 90
        size = (self.info.height, self.info.width) if turned else (self.info.width, self.info.height)
        if (picture.width, picture.height) != size:
            self.notes.count(f"frames of another size scaled to {self.info.width}x{self.info.height}")
        rgb, alpha = self._deep(picture, size) if bits_of(picture.format) > 8 else self._shallow(picture, size)
        if self.is_deep and rgb.dtype == np.uint8:
            rgb, alpha = widen(rgb), None if alpha is None else widen(alpha)
        elif not self.is_deep and rgb.dtype == np.uint16:
            rgb, alpha = reduce(rgb), None if alpha is None else reduce(alpha)
        if alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
            alpha = None
        return _upright(rgb, self.info), None if alpha is None else _upright(alpha, self.info)

    def _reformat(self, picture: VideoFrame, size: tuple[int, int], layout: str, *, is_full: bool) -> VideoFrame:
        """By swscale; Y'CbCr keeps its range, RGB becomes full."""
        matrix = SWSCALE_MATRIX.get(self.info.colour.matrix, 5)
        own = ColorRange.JPEG if is_full else ColorRange.MPEG
        return self.reformatter.reformat(
            picture,
            width=size[0],
            height=size[1],
            format=layout,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=own,
            dst_color_range=ColorRange.JPEG if is_rgb(VideoFormat(layout)) else own,
            interpolation=_CONVERSION,
            threads=1,
        )

    def _shallow(self, picture: VideoFrame, size: tuple[int, int]) -> tuple[Pixels, Opacity | None]:
        transparent = has_alpha(picture.format)
        is_full = self.info.colour.is_full_range
        made = self._reformat(picture, size, "rgba" if transparent else "rgb24", is_full=is_full).to_ndarray()
        rgb = np.ascontiguousarray(made[..., :3])
        if is_grey(picture.format) and picture.format.bits_per_pixel >= 8 and not is_full:
            rgb = _LIMITED_GREY[rgb.astype(np.uint8)]  # swscale takes every grey for full range
        return rgb, np.ascontiguousarray(made[..., 3]) if transparent else None

    def _deep(self, picture: VideoFrame, size: tuple[int, int]) -> tuple[Pixels, Opacity | None]:
        """Eq. (1) to (3) on planes of the picture's own depth."""
        layout, bits = picture.format, bits_of(picture.format)
        transparent = has_alpha(layout)
        is_full = self.info.colour.is_full_range
        if _is_float(layout):
            kind = "gbrapf32le" if transparent else "gbrpf32le"
            planes = [
                np.clip(plane, 0, 1) for plane in _planes(self._reformat(picture, size, kind, is_full=True), "<f4")
            ]
            rgb, opacity = [planes[k] for k in (2, 0, 1)], planes[3] if transparent else None
        elif is_rgb(layout) and (bits == 16 or layout.name.startswith("xyz")):
            made = self._reformat(picture, size, "rgba64le" if transparent else "rgb48le", is_full=True)
            packed = _planes(made, "<u2", 4 if transparent else 3)[0]
            return np.ascontiguousarray(packed[..., :3]), np.ascontiguousarray(packed[..., 3]) if transparent else None
        elif is_rgb(layout):
            kind = f"gbrap{bits}le" if transparent else f"gbrp{bits}le"
            planes = [
                p / np.float32(2**bits - 1) for p in _planes(self._reformat(picture, size, kind, is_full=True), "<u2")
            ]
            rgb, opacity = [planes[k] for k in (2, 0, 1)], planes[3] if transparent else None
        elif is_grey(layout):
            made = self._reformat(picture, size, "ya16le" if transparent else f"gray{bits}le", is_full=True)
            stored = _planes(made, "<u2", 2 if transparent else 1)[0]
            grey = _level(stored[..., 0], bits, is_full=is_full)
            rgb, opacity = [grey] * 3, stored[..., 1] / np.float32(65535) if transparent else None
        else:
            kind = f"yuv{'a' if transparent else ''}444p{bits}le"
            planes = _planes(self._reformat(picture, size, kind, is_full=is_full), "<u2")
            rgb = _matrixed(planes, bits, self.info.colour)
            opacity = planes[3] / np.float32(2**bits - 1) if transparent else None
        made = np.empty((*rgb[0].shape, 3), np.uint16)
        for k, channel in enumerate(rgb):
            made[..., k] = _quantized(channel)
        return made, None if opacity is None else _quantized(opacity)


def _matrixed(planes: list[np.ndarray], bits: int, colour: Colour) -> list[Float32[np.ndarray, "h w"]]:
    """Eq. (3)."""
    red_weight, blue_weight = LUMA_WEIGHTS.get(colour.matrix, LUMA_WEIGHTS[_BT601])
    middle = 128 << (bits - 8)
    reach = np.float32(2**bits - 1 if colour.is_full_range else 224 << (bits - 8))
    luma = _level(planes[0], bits, is_full=colour.is_full_range)
    blue, red = ((plane.astype(np.float32) - middle) / reach for plane in planes[1:3])
    red = luma + np.float32(2 * (1 - red_weight)) * red
    blue = luma + np.float32(2 * (1 - blue_weight)) * blue
    green = (luma - np.float32(red_weight) * red - np.float32(blue_weight) * blue) / np.float32(
        1 - red_weight - blue_weight
    )
    return [red, green, blue]


def code_planes(
    rgb: Pixels, planes: Sequence[UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]], bits: int, colour: Colour
) -> None:
    """Fill Y', Cb, Cr (or Y' alone) with the `bits`-bit codes of `rgb`: Eq. (3), then (1) or (2), backwards."""
    height, width, _ = rgb.shape
    factors, offsets = _codes_of_rgb(bits, colour, np.iinfo(rgb.dtype).max)
    most = np.float32(2**bits - 1)
    band = max(_BAND_PIXELS // width, 1)
    for top in range(0, height, band):
        rows = slice(top, top + band)
        channels = [rgb[rows, :, k].astype(np.float32) for k in range(3)]
        for plane, factor, offset in zip(planes, factors, offsets, strict=False):
            code = channels[0] * factor[0]
            code += channels[1] * factor[1]
            code += channels[2] * factor[2]
            code += offset
            plane[rows] = np.minimum(code, most, out=code)  # full range: Cb and Cr of 1/2 have no code of their own


def _codes_of_rgb(bits: int, colour: Colour, top: int) -> tuple[Float32[np.ndarray, "3 3"], Float32[np.ndarray, "3"]]:
    """Factors of R, G, B in 0..top for Y', Cb, Cr, and what is added: the code is the whole part of the sum."""
    red, blue = LUMA_WEIGHTS.get(colour.matrix, LUMA_WEIGHTS[_BT709])
    luma = np.array([red, 1 - red - blue, blue])
    channel = np.eye(3)
    factors = np.stack([luma, (channel[2] - luma) / (2 * (1 - blue)), (channel[0] - luma) / (2 * (1 - red))])
    step, full = 1 << (bits - 8), 2**bits - 1
    reach = np.array([full, full, full] if colour.is_full_range else [219 * step, 224 * step, 224 * step])
    offset = np.array([0 if colour.is_full_range else 16 * step, 128 * step, 128 * step]) + 0.5
    return (factors * reach[:, None] / top).astype(np.float32), offset.astype(np.float32)


def _level(luma: np.ndarray, bits: int, *, is_full: bool) -> Float32[np.ndarray, "h w"]:
    """Y of Eq. (1) or (2)."""
    if is_full:
        return luma / np.float32(2**bits - 1)
    return (luma.astype(np.float32) - (16 << (bits - 8))) / np.float32(219 << (bits - 8))


def _quantized(level: Float32[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    return (np.clip(level, 0, 1) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)


def _planes(picture: VideoFrame, kind: str, channels: int = 1) -> list[np.ndarray]:
    """Rows of every plane without their padding; h w, or h w c where one plane holds `channels` side by side."""
    found = []
    for plane in picture.planes:
        rows = np.frombuffer(plane, kind).reshape(plane.height, -1)  # pyright: ignore
        rows = rows[:, : plane.width * channels]
        found.append(rows if channels == 1 and not is_grey(picture.format) else rows.reshape(len(rows), -1, channels))
    return found


def widen(shallow: UInt8[np.ndarray, "..."]) -> UInt16[np.ndarray, "..."]:
    """Eight bit to the same level of sixteen."""
    return shallow.astype(np.uint16) * np.uint16(257)


def reduce(deep: UInt16[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Sixteen bit to the nearest of eight."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


_LIMITED_GREY = np.clip(np.floor((np.arange(256) - 16) * 255 / 219 + 0.5), 0, 255).astype(np.uint8)


def _upright(pixels: np.ndarray, info: VideoInfo) -> np.ndarray:
    """Turn counter-clockwise, then mirror left and right."""
    pixels = np.rot90(pixels, info.rotation // 90 % 4)
    return np.ascontiguousarray(pixels[:, ::-1] if info.is_mirrored else pixels)


def turn_of(picture: VideoFrame) -> tuple[int, bool]:
    """Rotation (degrees counter-clockwise, a multiple of 90) and mirroring that the display matrix asks for.

    The matrix (16.16 fixed point, row vectors) sends x, y to x' = a x + c y, y' = b x + d y, y down.
    """
    side = _side_data(picture, SideDataType.DISPLAYMATRIX)
    if side is None:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", side[:20])
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, c = -a, -c  # mirror last: what is left is the turn before it
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d >= 0 else 180), is_mirrored
    return (270 if b - c >= 0 else 90), is_mirrored


def colour_of(stream: Any, first: VideoFrame) -> Colour:
    """How the stream's pictures become R'G'B'; where it names no matrix that is known here, what players take."""
    context = stream.codec_context
    matrix = first.colorspace if first.colorspace != _UNSAID else context.colorspace
    needs_none = is_rgb(first.format) or is_grey(first.format)
    is_guessed = matrix not in SWSCALE_MATRIX and not needs_none
    unknown = matrix if is_guessed and matrix not in (_RGB, _UNSAID) else None
    if is_guessed or (is_grey(first.format) and matrix not in SWSCALE_MATRIX):
        matrix = _BT709 if first.height >= 720 else _BT601
    return Colour(
        matrix=_RGB if is_rgb(first.format) else matrix,
        primaries=first.color_primaries,
        transfer=first.color_trc,
        is_full_range=_is_full_range(context, first),
        is_guessed=is_guessed,
        unknown_matrix=unknown,
        mastering=_mastering(first),
        light=_light(first),
    )


def _is_full_range(context: Any, first: VideoFrame) -> bool:
    if is_rgb(first.format) or first.format.name.startswith("yuvj"):
        return True
    said = first.color_range or context.color_range
    if said == ColorRange.UNSPECIFIED and is_grey(first.format):
        return context.name not in _BROADCAST
    return said == ColorRange.JPEG


def name_of_matrix(matrix: int) -> str:
    """As people call it."""
    return _NAMES.get(matrix, f"number {matrix}")


_NAMES = {
    1: "BT.709",
    4: "FCC",
    5: "BT.601",
    6: "BT.601",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020",
    10: "BT.2020",
    14: "ICtCp",
}


def _mastering(picture: VideoFrame) -> Mastering | None:
    """Of FFmpeg's AVMasteringDisplayMetadata: ten rationals (r g b white as x y; least, most light), two flags."""
    side = _side_data(picture, SideDataType.MASTERING_DISPLAY_METADATA)
    if side is None or len(side) < 88:
        return None
    numbers = struct.unpack("=22i", side[:88])
    if not numbers[20] or not numbers[21] or 0 in numbers[1:20:2]:
        return None
    value = [Fraction(numbers[k], numbers[k + 1]) for k in range(0, 20, 2)]
    return Mastering(
        red=(value[0], value[1]),
        green=(value[2], value[3]),
        blue=(value[4], value[5]),
        white=(value[6], value[7]),
        darkest=value[8],
        brightest=value[9],
    )


def _light(picture: VideoFrame) -> Light | None:
    side = _side_data(picture, SideDataType.CONTENT_LIGHT_LEVEL)
    if side is None or len(side) < 8:
        return None
    content, average = struct.unpack("=2I", side[:8])
    return Light(max_content=content, max_average=average)


def _side_data(picture: VideoFrame, kind: SideDataType) -> bytes | None:
    side: Any = picture.side_data.get(kind)  # pyright: ignore
    return None if side is None else bytes(side)


def bits_of(layout: VideoFormat) -> int:
    """Bits of the deepest channel."""
    return max((component.bits for component in layout.components), default=8)


def has_alpha(layout: VideoFormat) -> bool:
    """Whether pictures of this format can be transparent in places."""
    return layout.has_palette or any(component.is_alpha for component in layout.components)


def is_rgb(layout: VideoFormat) -> bool:
    """Whether the stored numbers are R'G'B' themselves."""
    return layout.is_rgb or layout.has_palette or layout.name.startswith(("gbr", "xyz"))


def is_grey(layout: VideoFormat) -> bool:
    """Whether pictures of this format have no colour."""
    return layout.name.startswith(("gray", "ya8", "ya16", "mono"))


def _is_float(layout: VideoFormat) -> bool:
    return "f32" in layout.name or "f16" in layout.name
