"""Whether a chosen encoder works here, found out by encoding three frames and by listening to what FFmpeg logs.

A large picture is tried as two strips, one of its width and one of its height: opening VP9 at 16K would take 7 GB.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import av
import av.logging
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.frame import VideoFrame

from stinet.runtime import ordinary_priority
from stinet.video.encoder import EncoderChoice, hardware_accelerator, prepare_encoder

__all__ = ["Verdict", "encode_some", "try_encoder"]

_TRIAL_PIXELS = 1 << 20
"""Larger pictures are tried as two strips."""

_STRIP_PX = 256
"""Some cards take nothing smaller than 145."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial went."""

    error: str | None = None
    unknown: tuple[str, ...] = ()
    """Options that nobody took."""


def try_encoder(choice: EncoderChoice) -> Verdict:
    """Encode three frames of the size, or of its two strips when it is large."""
    width, height = choice.size
    sizes = [choice.size]
    if width * height > _TRIAL_PIXELS:
        sizes = [(width, min(height, _STRIP_PX)), (min(width, _STRIP_PX), height)]
    for size in sizes:
        verdict = encode_some(replace(choice, size=size))
        if verdict != Verdict():
            return verdict
    return Verdict()


def encode_some(choice: EncoderChoice) -> Verdict:
    """Encode three frames of zeros of the size of the choice."""
    with ordinary_priority(), _complaints() as complaints:
        try:
            context: Any = av.CodecContext.create(choice.encoder, "w", hwaccel=hardware_accelerator(choice.encoder))
            prepare_encoder(context, choice)
            context.options = dict(choice.options)
            context.open()
            unknown = tuple(context.options)
            made = 0
            for number in range(3):
                picture = VideoFrame(*choice.size, choice.pix_fmt)
                for plane in picture.planes:
                    plane.update(bytes(plane.buffer_size))
                picture.pts, picture.time_base = (
                    number * max(round(1 / choice.rate / choice.time_base), 1),
                    choice.time_base,
                )
                made += len(context.encode(picture))
            made += len(context.encode(None))
        except (FFmpegError, UnknownCodecError, OSError, ValueError) as error:
            return Verdict(error=_cause(error))
    refused = [text for text in complaints if text.startswith(("Unknown option", "Error parsing option", "Bad value"))]
    if refused:
        return Verdict(error=refused[0].rstrip("."))
    return Verdict(unknown=unknown) if made == 3 or unknown else Verdict(error=f"{made} of 3 frames came back")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Warnings and errors that FFmpeg logs meanwhile."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    found: list[str] = []
    try:
        with av.logging.Capture() as lines:
            yield found
            found += [text.strip() for _, _, text in lines]
    finally:
        av.logging.set_level(level)


def _cause(error: Exception) -> str:
    """The last thing that FFmpeg complained of, in one line."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
