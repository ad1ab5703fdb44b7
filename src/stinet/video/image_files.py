"""Frames written as pictures: PNG files in a folder, or one frame as one image file.

PNG and TIFF keep 16 bit and alpha; the others get 8 bit, and JPEG and BMP nothing transparent. Written folders and
images appear whole or not at all. A folder that is replaced held nothing but frames that were written here: photographs
are never taken for an old output.
"""

import re
import shutil
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from PIL import Image

from stinet.errors import OutputError
from stinet.video.convert import reduce
from stinet.video.disk import disk_errors
from stinet.video.frame import Frame

__all__ = ["IMAGE_SUFFIXES", "ImagesWriter", "holds_only_frames", "write_image"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Kinds of pictures that are written."""

_FRAME = re.compile(r"[0-9]{8,}\.png")
"""Names of the frames that `ImagesWriter` writes."""

_DEEP = {
    ".png": ("png", ("rgb48be", "rgba64be"), {}),
    ".tif": ("tiff", ("rgb48le", "rgba64le"), {"compression_algo": "deflate"}),
    ".tiff": ("tiff", ("rgb48le", "rgba64le"), {"compression_algo": "deflate"}),
}

_OPAQUE = frozenset({".jpg", ".jpeg", ".bmp"})


def holds_only_frames(folder: Path) -> bool:
    """Whether everything in the folder is named as `ImagesWriter` names its frames."""
    return all(_FRAME.fullmatch(path.name) and path.is_file() for path in folder.iterdir())


def write_image(target: Path, frame: Frame, suffix: str) -> None:
    """Write one frame as the kind of picture that `suffix` names, whatever the target's own name."""
    rgb, alpha = frame.rgb, None if suffix in _OPAQUE else frame.alpha
    if rgb.dtype == np.uint16 and suffix in _DEEP:
        target.write_bytes(_deep_file(rgb, alpha, suffix))
        return
    if rgb.dtype == np.uint16:
        rgb, alpha = reduce(rgb), None if alpha is None else reduce(alpha)
    kind = Image.registered_extensions()[suffix]
    quality: dict[str, Any] = {"JPEG": {"quality": 95}, "PNG": {"compress_level": 3}}.get(kind, {})
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    Image.fromarray(pixels).save(target, format=kind, **quality)


def _deep_file(rgb: np.ndarray, alpha: np.ndarray | None, suffix: str) -> bytes:
    """Bytes of a 16-bit picture; Pillow knows none with colour."""
    codec, formats, options = _DEEP[suffix]
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    picture = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels), format="rgb48le" if alpha is None else "rgba64le"
    ).reformat(format=formats[alpha is not None])
    picture.pts = 0
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
    encoder.time_base, encoder.options = Fraction(1, 25), options
    return b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))


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
        with disk_errors(self.path):
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
        with disk_errors(self.path):
            write_image(target, frame, self.path.suffix.lower() if self.is_single else ".png")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self.frames:
            self._discard()
            return
        self._check_place()
        with disk_errors(self.path):
            if self.path.is_dir():
                shutil.rmtree(self.path)
            self.part.replace(self.path)

    def _check_place(self) -> None:
        """Nothing is in the place that must not be replaced."""
        with disk_errors(self.path):
            if self.path.is_dir() and (self.is_single or not holds_only_frames(self.path)):
                raise OutputError(
                    f"{self.path}: a folder that holds more than frames written here (00000001.png and so on) is never "
                    "replaced; choose another output"
                )

    def _discard(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self.part) if self.part.is_dir() else self.part.unlink()
