"""A film, a picture, pictures in a folder or a pipe: one way to ask what it is, one way to read it.

Pictures are told by their first bytes, whatever their name says. This file decodes nothing itself.
"""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from stinet.config import PIPE, ReadConfig
from stinet.errors import InputError
from stinet.video.container import Readable
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.images import find_images, input_errors, is_image, is_pattern, probe_images, read_images
from stinet.video.pipe import Piped
from stinet.video.read import check_limits, part_time_base, probe, read_frames, within

__all__ = ["Source", "fingerprint", "open_source", "probe_source", "read_source"]

_PART_BYTES = 1 << 20
"""Of the head, the middle and the tail of a file, as much makes its fingerprint."""

_RATE = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that holds a film."""

    info: VideoInfo
    """Of the whole film, whatever part is read; its time base also suits times counted from `config.start`."""
    config: ReadConfig
    is_pipe: bool = False
    """It can be read once, and not again by a resume."""
    _piped: Piped | None = field(default=None, repr=False)

    def frames(self, notes: Notes, *, deep: bool = True) -> Iterator[Frame]:
        """Every frame, upright, in order; times are counted from `config.start`.

        Raises:
            InputError, DecodeError: a file that breaks, or that is longer than allowed.

        """
        if self._piped is not None:
            return self._piped.frames(notes, deep=deep)
        if _is_pictures(self.info.path):
            return _part_of_pictures(self.info, self.config, notes, deep=deep)
        return read_frames(self.info.path, notes=notes, info=self.info, config=self.config, deep=deep)


def open_source(
    path: Path, config: ReadConfig | None = None, notes: Notes | None = None, *, stdin: Readable | None = None
) -> Source:
    """What `path` is; "-" is standard input.

    Raises:
        InputError: missing, neither film nor picture, or beyond the limits of `config`.
        DecodeError: a film of which no frame can be decoded.

    """
    config = config or ReadConfig()
    if path == PIPE:
        piped = Piped(sys.stdin.buffer if stdin is None else stdin, config)
        return Source(info=piped.info, config=config, is_pipe=True, _piped=piped)
    if _is_pictures(path):
        info = probe_images(path, config.rate or _RATE, max_pixels=config.max_pixels)
        if notes is not None and path.is_file() and path.suffix.lower().lstrip(".") not in _names_of(info.codec):
            notes.say(f"{path.name} is a {info.codec.upper()} picture, whatever its name says")
        check_limits(info, config)
    else:
        info = probe(path, config)
    return Source(info=replace(info, time_base=part_time_base(info, config)), config=config)


def probe_source(path: Path) -> VideoInfo:
    """What the source is; `container` is "image" or "images" for pictures.

    Raises:
        InputError: missing, or neither video nor image.
        DecodeError: a video of which no frame can be decoded.

    """
    return probe_images(path) if _is_pictures(path) else probe(path)


def read_source(path: Path, *, notes: Notes | None = None, deep: bool = True) -> Iterator[Frame]:
    """Every frame of the source, upright, in order.

    Raises:
        InputError, DecodeError: as `probe_source`, or images of different sizes.

    """
    if _is_pictures(path):
        return read_images(path, notes=notes, deep=deep)
    return read_frames(path, notes=notes, deep=deep)


def fingerprint(path: Path) -> str:
    """What tells a source from another: its size, and the SHA-256 of its head, middle and tail (1 MiB each).

    Of a folder: the names and sizes of its pictures, and what is in the first and the last.

    Raises:
        InputError: it cannot be read, or is a pipe, which cannot be read twice.

    """
    if path == PIPE:
        raise InputError("standard input: has no fingerprint, since it cannot be read twice")
    digest = hashlib.sha256()
    if path.is_file():
        _add_file(digest, path)
        return digest.hexdigest()
    files = find_images(path)
    with input_errors(path):
        listed = "\n".join(f"{file.name}\0{file.stat().st_size}" for file in files)
    digest.update(listed.encode("utf-8", "surrogateescape"))
    for file in (files[0], files[-1]):
        _add_file(digest, file)
    return digest.hexdigest()


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    with input_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        digest.update(str(size).encode())
        for place in (0, max((size - _PART_BYTES) // 2, 0), max(size - _PART_BYTES, 0)):
            file.seek(place)
            digest.update(file.read(_PART_BYTES))


def _is_pictures(path: Path) -> bool:
    with input_errors(path):
        is_folder = path.is_dir()
    return is_folder or is_image(path) or is_pattern(path)


def _names_of(codec: str) -> tuple[str, ...]:
    return {"jpeg": ("jpg", "jpeg"), "tiff": ("tif", "tiff")}.get(codec, (codec,))


def _part_of_pictures(info: VideoInfo, config: ReadConfig, notes: Notes, *, deep: bool) -> Iterator[Frame]:
    pictures = read_images(info.path, rate=info.rate or _RATE, notes=notes, deep=deep)
    numbered = ((frame, frame.time, False) for frame in pictures)
    for frame, time, _ in within(numbered, config, info):
        yield replace(frame, time=time - (config.start or 0)) if config.start else frame
