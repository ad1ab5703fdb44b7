"""A video file, an image or a folder of images: one way to ask what it is, one way to read it.

Images are told by their first bytes, whatever their name says. This file decodes nothing itself.
"""

from collections.abc import Iterator
from pathlib import Path

from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.images import is_image, probe_images, read_images
from stinet.video.read import probe, read_frames

__all__ = ["probe_source", "read_source"]


def probe_source(path: Path) -> VideoInfo:
    """What the source is; `container` is "image" or "images" for pictures.

    Raises:
        InputError: missing, or neither video nor image.
        DecodeError: a video of which no frame can be decoded.

    """
    return probe_images(path) if path.is_dir() or is_image(path) else probe(path)


def read_source(path: Path, *, notes: Notes | None = None) -> Iterator[Frame]:
    """Every frame of the source, upright, in order.

    Raises:
        InputError, DecodeError: as `probe_source`, or images of different sizes.

    """
    return read_images(path, notes=notes) if path.is_dir() or is_image(path) else read_frames(path, notes=notes)
