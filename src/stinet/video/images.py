"""Pictures as a film: a folder of images in the natural order of their names, a numbered pattern, or a single image.

Pictures have no times of their own: frame k stands at k / rate. Orientation tags (EXIF) are applied once, like a
video's display matrix. What has more than 8 bits is decoded by FFmpeg and stays 16 bit (Pillow would cut it to 8);
OpenEXR's linear light goes through the sRGB curve and ends at 1.0, which is said.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec import CodecContext
from av.error import FFmpegError
from av.video.frame import VideoFrame
from PIL import Image, ImageOps

from stinet.errors import InputError
from stinet.video.convert import Converter, bits_of, has_alpha, reduce
from stinet.video.frame import Colour, Frame, Notes, VideoInfo
from stinet.video.image_files import IMAGE_SUFFIXES

__all__ = [
    "READABLE_SUFFIXES",
    "find_images",
    "input_errors",
    "is_image",
    "is_pattern",
    "natural_order",
    "probe_images",
    "read_images",
]

READABLE_SUFFIXES = IMAGE_SUFFIXES | {".exr"}
"""Kinds of pictures that are looked for in a folder."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EXR = b"\x76\x2f\x31\x01"
_MAGIC = (_PNG, b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", _EXR)

_RATE = Fraction(25)
"""Frames per second of a folder when nobody says."""

_COLOUR = Colour(matrix=0, primaries=1, transfer=13, is_full_range=True)

_BITS_PER_SAMPLE, _ORIENTATION = 258, 0x0112
"""Tags of TIFF and EXIF."""

_TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
"""EXIF orientation -> quarter turns counter-clockwise, then mirrored left and right."""


@contextmanager
def input_errors(path: Path) -> Iterator[None]:
    """What the disk refuses to give, as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def is_image(path: Path) -> bool:
    """Whether the file is a still image by its first bytes, whatever its name says.

    Raises:
        InputError: the file cannot be read.

    """
    with input_errors(path):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(1 << 16)
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return (head.startswith(_MAGIC) or is_webp) and not (head.startswith(_PNG) and _is_animated_png(head))


def _is_animated_png(head: bytes) -> bool:
    """Whether an acTL chunk stands before the first picture."""
    place = len(_PNG)
    while place + 8 <= len(head):
        size, name = int.from_bytes(head[place : place + 4], "big"), head[place + 4 : place + 8]
        if name in (b"acTL", b"IDAT"):
            return name == b"acTL"
        place += size + 12
    return False


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort 2.png before 10.png: the key of a name."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]


_PATTERN = re.compile(r"%(0?)([1-9]?)d")


def is_pattern(path: Path) -> bool:
    """Whether the path is no file, but names numbered ones: frame%04d.png, or frame%d.png."""
    return len(_PATTERN.findall(path.name)) == 1 and not path.exists()


def find_images(path: Path) -> list[Path]:
    """Image files of a folder or of a numbered pattern, 2.png before 10.png.

    Raises:
        InputError: there is none, or the folder cannot be read.

    """
    if is_pattern(path):
        return _numbered(path)
    with input_errors(path):
        found = [file for file in path.iterdir() if file.suffix.lower() in READABLE_SUFFIXES and file.name[0] != "."]
    if not found:
        raise InputError(f"{path}: no images in this folder; known are {', '.join(sorted(READABLE_SUFFIXES))}")
    return sorted(found, key=natural_order)


def _numbered(path: Path) -> list[Path]:
    mark = _PATTERN.search(path.name)
    assert mark is not None
    before, after = path.name[: mark.start()], path.name[mark.end() :]
    digits = f"[0-9]{{{mark[2]},}}" if mark[1] and mark[2] else "[0-9]+"
    wanted = re.compile(re.escape(before) + digits + re.escape(after))
    with input_errors(path.parent):
        found = [file for file in path.parent.iterdir() if wanted.fullmatch(file.name)]
    if not found:
        raise InputError(f"{path}: no such file, and no files that are numbered so")
    return sorted(found, key=natural_order)


def _files_of(path: Path) -> list[Path]:
    return find_images(path) if path.is_dir() or is_pattern(path) else [path]


def probe_images(path: Path, rate: Fraction = _RATE, *, max_pixels: int | None = None) -> VideoInfo:
    """What a folder of images, a numbered pattern, or one image, is as a video.

    Raises:
        InputError: no images, a first one that cannot be read, or one of more pixels than allowed.

    """
    files = _files_of(path)
    first = _load(files[0], Notes(), max_pixels)
    height, width = first.pixels.shape[:2]
    is_many = path.is_dir() or is_pattern(path)
    return VideoInfo(
        path=path,
        container="images" if is_many else "image",
        codec=first.kind,
        width=width,
        height=height,
        rate=rate,
        duration=len(files) / rate,
        frames_declared=len(files),
        time_base=1 / rate,
        pixel_format=("rgba" if first.has_alpha else "rgb24") if first.bits == 8 else "rgb48le",
        bit_depth=first.bits,
        has_alpha=first.has_alpha,
        colour=_COLOUR,
    )


def read_images(
    path: Path, *, rate: Fraction = _RATE, notes: Notes | None = None, deep: bool = True
) -> Iterator[Frame]:
    """Frames of a folder of images, of a numbered pattern, or of one image.

    The first one decides the depth: uint16 where it has more than 8 bits and `deep` allows it.

    Raises:
        InputError: an image that cannot be read, or the first one of another size than the others.

    """
    notes = Notes() if notes is None else notes
    files = _files_of(path)
    shape: tuple[int, ...] | None = None
    kind: type = np.uint8
    for number, file in enumerate(files):
        image = _load(file, notes, None)
        if shape is None:
            shape, kind = image.pixels.shape[:2], np.uint16 if deep and image.bits > 8 else np.uint8
            if image.bits > 8 and not deep:
                notes.warn("16 bit images read as 8 bit")
        if image.pixels.shape[:2] != shape:
            raise InputError(
                f"{file}: {image.pixels.shape[1]}x{image.pixels.shape[0]}, but {files[0].name} is "
                f"{shape[1]}x{shape[0]}; a folder needs images of one size"
            )
        if image.bits > 8 and deep and kind is np.uint8:
            notes.warn(f"16 bit images read as 8 bit, as {files[0].name} is")
        pixels = _as_kind(image.pixels, kind)
        alpha = pixels[..., 3] if image.has_alpha and pixels[..., 3].min() < np.iinfo(kind).max else None
        yield Frame(
            rgb=np.ascontiguousarray(pixels[..., :3]),
            alpha=None if alpha is None else np.ascontiguousarray(alpha),
            time=number / rate,
        )


def _as_kind(pixels: np.ndarray, kind: type) -> np.ndarray:
    if pixels.dtype == kind:
        return pixels
    return reduce(pixels) if kind is np.uint8 else pixels.astype(np.uint16) * np.uint16(257)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded image."""

    pixels: np.ndarray
    """h w 3, or h w 4 with alpha; uint8 or uint16."""
    kind: str
    bits: int

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] == 4


def _load(path: Path, notes: Notes, max_pixels: int | None) -> _Picture:
    """An image, upright."""
    with input_errors(path), path.open("rb") as file:
        head = file.read(32)
    try:
        if head.startswith(_EXR):
            notes.warn("linear light (OpenEXR) taken through the sRGB curve, and cut off at 1.0")
            return _by_ffmpeg(path, "exr", {"apply_trc": "iec61966_2_1"}, (0, False), max_pixels)
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            _check_pixels(path, *image.size, max_pixels)
            held = getattr(image, "n_frames", 1)
            if held > 1:
                notes.warn(f"{path.name} holds {held} pictures, the first is used")
            kind = (image.format or "image").lower()
            turn = _TURNS.get(int(image.getexif().get(_ORIENTATION, 1)), (0, False))
            if _stored_bits(image, head) > 8:
                return _by_ffmpeg(path, kind, {}, turn, max_pixels)
            image.load()
            has_glass = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
            return _Picture(np.array(ImageOps.exif_transpose(image).convert("RGBA" if has_glass else "RGB")), kind, 8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, FFmpegError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def _check_pixels(path: Path, width: int, height: int, max_pixels: int | None) -> None:
    if max_pixels is not None and width * height > max_pixels:
        raise InputError(
            f"{path}: {width}x{height} is {width * height:,} pixels, allowed are {max_pixels:,}; raise the limit"
        )


def _stored_bits(image: Image.Image, head: bytes) -> int:
    if head.startswith(_PNG):
        return head[24]
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        bits = tags.get(_BITS_PER_SAMPLE, 8)
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _by_ffmpeg(
    path: Path, kind: str, options: dict[str, str], turn: tuple[int, bool], max_pixels: int | None
) -> _Picture:
    """A deep image; its numbers as they stand."""
    decoder = CodecContext.create(kind, "r")
    decoder.options = options
    pictures = [*decoder.decode(av.Packet(path.read_bytes())), *decoder.decode(None)]  # pyright: ignore
    if not pictures:
        raise ValueError("no picture in it")
    picture: VideoFrame = pictures[0]
    _check_pixels(path, picture.width, picture.height, max_pixels)
    info = VideoInfo(
        path=path, container="image", codec=kind, width=picture.width, height=picture.height, rate=None, duration=None,
        frames_declared=1, time_base=_RATE, bit_depth=max(bits_of(picture.format), 16), colour=_COLOUR,
    )  # fmt: skip
    rgb, alpha = Converter(info, Notes())(picture)
    if alpha is None and has_alpha(picture.format):
        alpha = np.full(rgb.shape[:2], np.iinfo(rgb.dtype).max, rgb.dtype)
    pixels = np.rot90(rgb if alpha is None else np.dstack([rgb, alpha]), turn[0])
    return _Picture(np.ascontiguousarray(pixels[:, ::-1] if turn[1] else pixels), kind, 16)
