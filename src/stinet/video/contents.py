"""Every stream and chapter of a file, as it describes them: for people who want to know what they have.

Times are seconds of the file's own clock; nothing is decoded.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.stream import Disposition

from stinet.video.container import open_file

__all__ = ["Chapter", "Track", "chapters_in", "tracks_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream."""

    index: int
    kind: str
    """video, audio, subtitle, data or attachment."""
    codec: str
    language: str
    title: str
    dispositions: tuple[str, ...]
    """default, forced, attached_pic and the like."""
    start: Fraction | None
    duration: Fraction | None
    detail: str
    """Size, or sample rate and channels."""

    def __str__(self) -> str:
        times = "" if self.start is None else f", from {float(self.start):.3f} s"
        times += "" if self.duration is None else f", {float(self.duration):.3f} s long"
        words = " ".join(part for part in (self.kind, self.codec, self.language, self.detail) if part)
        flags = f" [{', '.join(self.dispositions)}]" if self.dispositions else ""
        return f"{words}{times}{flags}" + (f' "{self.title}"' if self.title else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One chapter."""

    start: Fraction
    end: Fraction
    title: str


def tracks_in(path: Path) -> tuple[Track, ...]:
    """Every stream of a file.

    Raises:
        InputError: it cannot be opened.

    """
    with open_file(path) as container:
        return tuple(_track(stream) for stream in container.streams)


def chapters_in(path: Path) -> tuple[Chapter, ...]:
    """Every chapter of a file, in its order.

    Raises:
        InputError: it cannot be opened.

    """
    with open_file(path) as container:
        return tuple(
            Chapter(
                start=chapter["start"] * (chapter["time_base"] or Fraction(0)),
                end=chapter["end"] * (chapter["time_base"] or Fraction(0)),
                title=chapter["metadata"].get("title", ""),
            )
            for chapter in container.chapters()
        )


def _track(stream: Any) -> Track:
    context = getattr(stream, "codec_context", None)
    tick = stream.time_base or Fraction(0)
    return Track(
        index=stream.index,
        kind=stream.type,
        codec=context.name if context is not None else "",
        language=stream.metadata.get("language", ""),
        title=stream.metadata.get("title", stream.metadata.get("filename", "")),
        dispositions=tuple(flag.name or "" for flag in Disposition if flag in stream.disposition and flag.value),
        start=None if stream.start_time is None else stream.start_time * tick,
        duration=None if not stream.duration else stream.duration * tick,
        detail=_detail(stream.type, context),
    )


def _detail(kind: str, context: Any) -> str:
    if kind == "video":
        return f"{context.width}x{context.height}"
    if kind == "audio":
        return f"{context.sample_rate} Hz {context.layout.name}"
    return ""
