"""A clip: frames under a name. And the one place where truth and the papers' low resolution are made of stored frames.

What is on disk is what a camera gave; a training pair is made of it in one step each,

    sharp = round(resize(stored, 1 / reduced)),   low = round(resize(stored, 1 / (reduced * scale)))          (1)

with `ops.resample` (MATLAB's antialiased bicubic) in float64, clamped and rounded to 8 bit once, after the stored frame
was cropped to a multiple of `reduced * scale`. `reduced` is 1 almost everywhere (sharp frames are the stored ones);
Adobe240's truth is half the stored size.

Frames are uint8 RGB. A clip reads nothing before `read` is called and keeps nothing after; what can be known from file
names and headers (number of frames, size) is told without decoding.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from stinet.errors import InputError
from stinet.ops.resample import crop_to_multiple, downsample, quantize
from stinet.video.image_files import IMAGE_SUFFIXES
from stinet.video.images import natural_order

__all__ = [
    "VIDEO_SUFFIXES",
    "Clip",
    "Frame",
    "image_clip",
    "image_size",
    "images_in",
    "low_frame",
    "read_image",
    "sharp_frame",
    "video_clip",
]

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob"}
    | {".webm", ".wmv", ".y4m"}
)

Frame = UInt8[np.ndarray, "h w 3"]

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames under a name, to train on or to measure."""

    name: str
    read: Callable[[], Iterable[Frame]]
    """Stored frames in order."""
    group: str = ""
    """Part of a benchmark: fast, medium, slow, adobe240, reds, or none."""
    files: tuple[Path, ...] = ()
    """Image files of its frames, in order; empty where they are in a video or in memory."""
    video: Path | None = None
    """The file that its frames are in."""
    reduced: int = 1
    """Stored pixels per sharp pixel and side."""

    @property
    def frames(self) -> int | None:
        """How many, where that is known without decoding."""
        return len(self.files) or None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first stored frame, from its header where it has one.

        Raises:
            InputError: there is no frame, or it cannot be read.

        """
        if self.files:
            return image_size(self.files[0])
        if self.video is not None:
            from stinet.video.read import probe

            info = probe(self.video)
            return info.height, info.width
        first = next(iter(self.read()), None)
        if first is None:
            raise InputError(f"{self.name}: no frames in it")
        return first.shape[0], first.shape[1]


def sharp_frame(stored: Frame, scale: int, reduced: int = 1) -> UInt8[Tensor, "3 sh sw"]:
    """The truth that a network of this scale is to give, Eq. (1)."""
    frame = crop_to_multiple(_channels_first(stored), scale * reduced)
    return frame if reduced == 1 else _shrunk(frame, reduced)


def low_frame(stored: Frame, scale: int, reduced: int = 1) -> UInt8[Tensor, "3 lh lw"]:
    """What a network of this scale is given, Eq. (1)."""
    return _shrunk(_channels_first(stored), scale * reduced)


def image_clip(name: str, files: Sequence[Path], *, group: str = "", reduced: int = 1) -> Clip:
    """A clip of image files, in the order given."""
    return Clip(name, partial(_read_images, tuple(files)), group, tuple(files), None, reduced)


def video_clip(name: str, video: Path, *, group: str = "", reduced: int = 1) -> Clip:
    """A clip of all frames of a video file."""
    return Clip(name, partial(_read_video, video), group, (), video, reduced)


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder, 2.png before 10.png; none is no error.

    Raises:
        InputError: the folder cannot be read.

    """
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return sorted(found, key=natural_order)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width that an image's header declares; the pixels are not decoded.

    Raises:
        InputError: missing, or no image.

    """
    from PIL import Image

    try:
        with path.open("rb") as file:
            head = file.read(24)
        if head.startswith(_PNG) and len(head) == 24:
            width, height = struct.unpack(">II", head[16:])
            return height, width
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def read_image(path: Path) -> Frame:
    """Pixels of an 8-bit image as RGB.

    Raises:
        InputError: it cannot be read, or has more than 8 bits.

    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise InputError(f"{path}: {image.mode} pixels are not measured; convert it to 8-bit RGB")
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def _read_images(files: Sequence[Path]) -> Iterator[Frame]:
    size: tuple[int, ...] | None = None
    for path in files:
        image = read_image(path)
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise InputError(
                f"{path}: {image.shape[1]}x{image.shape[0]}, but the images before it are {size[1]}x{size[0]}"
            )
        yield image


def _read_video(path: Path) -> Iterator[Frame]:
    from stinet.video.read import read_frames

    for frame in read_frames(path, deep=False):
        yield frame.rgb


def _channels_first(stored: Frame) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(stored)).permute(2, 0, 1)


def _shrunk(frame: UInt8[Tensor, "3 h w"], factor: int) -> UInt8[Tensor, "3 _ _"]:
    exact: Float64[Tensor, "1 3 _ _"] = quantize(downsample(frame[None].double() / 255, factor))
    return (exact[0] * 255).round().to(torch.uint8)
