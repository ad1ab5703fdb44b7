"""Pictures as a video: a folder of images in the natural order of their names, or a single image, read and written.

A folder has no times of its own: frame k stands at k / rate. Orientation tags (EXIF) are applied once, like a video's
display matrix. Written folders and images appear whole or not at all. A folder that is replaced held nothing but frames
that were written here: photographs are never taken for an old output.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from stinet.errors import InputError, OutputError
from stinet.video.frame import Colour, Frame, Notes, VideoInfo

__all__ = [
    "IMAGE_SUFFIXES",
    "ImagesWriter",
    "find_images",
    "holds_only_frames",
    "input_errors",
    "is_image",
    "natural_order",
    "probe_images",
    "read_images",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")

_ANIMATED = (b"acTL",)

_FRAME = re.compile(r"[0-9]{8,}\.png")
"""Names of the frames that `ImagesWriter` writes."""

_RATE = Fraction(25)
"""Frames per second of a folder when nobody says."""


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
            head = file.read(64)
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return (head.startswith(_MAGIC) or is_webp) and not any(mark in head for mark in _ANIMATED)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort 2.png before 10.png: the key of a name."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]


def find_images(folder: Path) -> list[Path]:
    """Image files of a folder, 2.png before 10.png.

    Raises:
        InputError: the folder holds none, or cannot be read.

    """
    with input_errors(folder):
        found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not found:
        raise InputError(f"{folder}: no images in this folder; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found, key=natural_order)


def holds_only_frames(folder: Path) -> bool:
    """Whether everything in the folder is named as `ImagesWriter` names its frames."""
    return all(_FRAME.fullmatch(path.name) and path.is_file() for path in folder.iterdir())


def probe_images(path: Path, rate: Fraction = _RATE) -> VideoInfo:
    """What a folder of images, or one image, is as a video.

    Raises:
        InputError: no images, or a first one that cannot be read.

    """
    files = find_images(path) if path.is_dir() else [path]
    height, width = _load(files[0], Notes()).shape[:2]
    return VideoInfo(
        path=path,
        container="images" if path.is_dir() else "image",
        codec=files[0].suffix.lower().lstrip("."),
        width=width,
        height=height,
        rate=rate,
        duration=len(files) / rate,
        frames_declared=len(files),
        time_base=1 / rate,
        colour=Colour(matrix=0, primaries=1, transfer=13, is_full_range=True),
    )


def read_images(path: Path, *, rate: Fraction = _RATE, notes: Notes | None = None) -> Iterator[Frame]:
    """Frames of a folder of images, or of one image.

    Raises:
        InputError: an image that cannot be read, or the first one of another size than the others.

    """
    notes = Notes() if notes is None else notes
    files = find_images(path) if path.is_dir() else [path]
    shape: tuple[int, ...] | None = None
    for number, file in enumerate(files):
        rgb = _load(file, notes)
        shape = rgb.shape if shape is None else shape
        if rgb.shape != shape:
            raise InputError(
                f"{file}: {rgb.shape[1]}x{rgb.shape[0]}, but {files[0].name} is {shape[1]}x{shape[0]}; "
                "a folder needs images of one size"
            )
        yield Frame(rgb=rgb, time=number / rate)


class ImagesWriter:
    """Frames as PNG files in a folder, or one frame as one image file.

    Used as a context manager; leaving it with an error leaves nothing behind.

    Raises:
        OutputError: a folder is in the place that holds more than such frames, or is in the place of an image.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_single = path.suffix.lower() in IMAGE_SUFFIXES
        self.part = path.with_name(f".{path.name}.part")
        self.frames = 0

    def __enter__(self) -> "ImagesWriter":
        self._discard()
        self._check_place()
        with _as_output_error(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.is_single:
                self.part.mkdir()
        return self

    def write(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            OutputError: the disk refuses it, or a second frame for a single image.

        """
        self.frames += 1
        if self.is_single and self.frames > 1:
            raise OutputError(f"{self.path}: one image cannot hold more than one frame; name a folder")
        target = self.part if self.is_single else self.part / f"{self.frames:08d}.png"
        kind = Image.registered_extensions()[self.path.suffix.lower()] if self.is_single else "PNG"
        quality: dict[str, Any] = {"JPEG": {"quality": 95}, "PNG": {"compress_level": 3}}.get(kind, {})
        with _as_output_error(self.path):
            Image.fromarray(frame.rgb).save(target, format=kind, **quality)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self.frames:
            self._discard()
            return
        self._check_place()
        with _as_output_error(self.path):
            if self.path.is_dir():
                shutil.rmtree(self.path)
            self.part.replace(self.path)

    def _check_place(self) -> None:
        """Nothing is in the place that must not be replaced."""
        with _as_output_error(self.path):
            if self.path.is_dir() and (self.is_single or not holds_only_frames(self.path)):
                raise OutputError(
                    f"{self.path}: a folder that holds more than frames written here (00000001.png and so on) is never "
                    "replaced; choose another output"
                )

    def _discard(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self.part) if self.part.is_dir() else self.part.unlink()


class _as_output_error:  # noqa: N801
    """Errors of the disk as ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error


def _load(path: Path, notes: Notes) -> np.ndarray:
    """RGB of an image, upright; h w 3, uint8."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I") or image.mode == "F":
                notes.say("16 bit images read as 8 bit")
                deep = np.asarray(ImageOps.exif_transpose(image), dtype=np.float64)
                grey = np.clip(np.floor(deep / 257 + 0.5), 0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                notes.say("alpha dropped")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error
