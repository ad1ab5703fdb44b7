"""Everything in a file that is not its picture: what becomes of each stream, said before the run and done after it.

Promises
- A stream is copied packet by packet where the container takes it, converted where it does not (sound to AAC or Opus,
  text subtitles to those of the container), and otherwise dropped by name, with the container that would keep it.
- None of this is guessed: every stream's first packets are written into a container in memory and the result is read
  back; tags, languages and dispositions that do not come back are named too.

How a stream is copied or converted stands in `tracks`. This file knows no picture and no codec of pictures.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition

from stinet.video.codecs import CONTAINERS
from stinet.video.container import open_file
from stinet.video.frame import Notes, StreamInfo, VideoInfo
from stinet.video.tracks import MAC_LANGUAGES, Span, StreamPlan, stream_tags, tags_of, track_of

__all__ = ["FORMATS", "best_suffix", "chapters_of", "format_of", "heads_of", "plan_streams"]

FORMATS = {suffix: kind.name for suffix, kind in CONTAINERS.items() if suffix != ".y4m"}
"""Suffix -> FFmpeg's container, of those that hold more than a picture."""

_SUFFIXES = {"matroska": ".mkv", "mov": ".mov", "mp4": ".mp4"}
"""Containers that are asked, in this order, whether they keep what another one drops."""

_SOUND = {"webm": "libopus"}
"""Container -> encoder of sound that it refuses as it is; AAC elsewhere."""


_TEXT = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "subrip"}
"""Container -> its text subtitles."""

_TEXT_CODECS = {
    *("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "subviewer", "subviewer1", "microdvd"),
    *("sami", "realtext", "stl", "mpl2", "vplayer", "jacosub", "pjs"),
}


_HEAD_PACKETS, _HEAD_BYTES = 4_000, 16 << 20
"""How much of a file is read, at most, for the first packets of every stream."""


def format_of(container: str) -> str:
    """FFmpeg's name of a container that is given by it or by a suffix."""
    return FORMATS.get(container.lower(), container)


def best_suffix(info: VideoInfo) -> str:
    """The source's own suffix where it can be written, else .mkv where .mp4 would lose a stream, else .mp4."""
    own = info.path.suffix.lower()
    if own in FORMATS:
        return own
    return ".mkv" if any(plan.action == "drop" for plan in plan_streams(info, "mp4")) else ".mp4"


def plan_streams(
    info: VideoInfo,
    container: str,
    *,
    stretch: Fraction | int = 1,
    slow_audio: Literal["stretch", "drop"] = "stretch",
    start: Fraction | None = None,
    seconds: Fraction | None = None,
    picture: int | None = None,
) -> tuple[StreamPlan, ...]:
    """What becomes of every stream but the picture, of chapters and of tags; writes no file.

    `container` is a suffix or FFmpeg's name; `picture` the index of the video stream that is upscaled (None: the first
    that is no cover).
    """
    if not info.streams or not info.path.is_file():
        return ()
    name, span = format_of(container), Span.of(info, start, seconds, Fraction(stretch))
    if picture is None:
        picture = next((s.index for s in info.streams if s.kind == "video"), -1)
    with open_file(info.path) as source:
        others = [(s, i) for s, i in zip(source.streams, info.streams, strict=False) if i.index != picture]
        heads = heads_of(source, [stream for stream, _ in others])
        ask = _Asking(name, span, slow_audio, heads, has_chapters=bool(source.chapters()))
        plans = [ask.plan(stream, stream_info) for stream, stream_info in others]
        return tuple(_checked(plans, source, name, span, heads))


def heads_of(source: InputContainer, streams: Sequence[Any]) -> dict[int, list[Packet]]:
    """The first packets of every stream, as far as they come early."""
    heads: dict[int, list[Packet]] = {stream.index: [] for stream in streams}
    wanted = [stream for stream in streams if stream.type != "attachment"]
    if not wanted:
        return heads
    count = size = 0
    with suppress(FFmpegError, OSError, ValueError):
        for packet in source.demux(*wanted):
            if packet.size and len(heads[packet.stream_index]) < 3:
                heads[packet.stream_index].append(packet)
            count, size = count + 1, size + packet.size
            is_full = all(heads[stream.index] for stream in wanted)
            if is_full or count >= _HEAD_PACKETS or size >= _HEAD_BYTES:
                break
    return heads


class _Asking:
    """Tries out streams in containers."""

    def __init__(
        self, name: str, span: Span, slow_audio: str, heads: dict[int, list[Packet]], *, has_chapters: bool
    ) -> None:
        self.name, self.span, self.slow_audio, self.heads = name, span, slow_audio, heads
        self.has_chapters = has_chapters

    def plan(self, stream: Any, info: StreamInfo) -> StreamPlan:
        """What becomes of a stream."""
        label = f"attachment {stream.name or stream.index}" if info.kind == "attachment" else str(info)
        drop = StreamPlan(index=stream.index, label=label, action="drop")
        copy = replace(drop, action="copy", to=info.codec)
        if info.kind == "video":
            return replace(drop, why="only one picture is upscaled; --stream picks another")
        if info.kind == "data" and self.has_chapters and _tag(stream) == "text":
            return replace(drop, label="chapter track", action="convert", to="chapters")
        is_slowed = self.span.stretch != 1
        if info.kind == "audio" and is_slowed:
            if self.slow_audio == "drop":
                return replace(drop, why="left out in slow motion as asked")
            slow = replace(drop, action="convert", to=self._sound, why="stretched, its pitch kept")
            return self._first([slow], stream) or self._drop(drop, stream)
        if info.kind == "data" and is_slowed:
            return replace(drop, why="its times mean nothing in slow motion")
        plans = [copy]
        if info.kind == "audio" and stream.codec_context is not None:  # None: of a codec that FFmpeg does not know
            plans.append(replace(drop, action="convert", to=self._sound))
        if info.kind == "subtitle" and info.codec in _TEXT_CODECS:
            plans.append(replace(drop, action="convert", to=_TEXT.get(self.name, "")))
        plan = self._first(plans, stream) or self._drop(drop, stream)
        is_other_sound = plan.action == "convert" and info.kind == "audio"
        return replace(plan, why=self._refusal(copy, stream)) if is_other_sound else plan

    @property
    def _sound(self) -> str:
        return _SOUND.get(self.name, "aac")

    def _first(self, plans: Iterable[StreamPlan], stream: Any) -> StreamPlan | None:
        """The first of several ways that the container agrees to."""
        return next((plan for plan in plans if _is_taken(self.name, plan, stream, self.heads[stream.index])), None)

    def _drop(self, drop: StreamPlan, stream: Any) -> StreamPlan:
        return replace(drop, why=self._refusal(replace(drop, action="copy"), stream))

    def _refusal(self, copy: StreamPlan, stream: Any) -> str:
        """Why a stream is not copied, and which container would."""
        others = (suffix for name, suffix in _SUFFIXES.items() if name != self.name)
        head = self.heads[stream.index]
        keeper = next((suffix for suffix in others if _is_taken(format_of(suffix), copy, stream, head)), None)
        return f"{_called(self.name)} does not take it; " + (f"{keeper} does" if keeper else "no container here does")


def _is_taken(name: str, plan: StreamPlan, stream: Any, head: Sequence[Packet]) -> bool:
    """Whether a container takes a stream in this way: its first packets are written into one in memory."""
    file, is_silent_loss = io.BytesIO(), plan.label.split()[0] in ("attachment", "cover")
    try:
        with av.open(file, "w", format=name) as output:
            beside: Any = None
            if is_silent_loss:  # an attachment alone is no film
                beside = output.add_stream(_SOUND.get(name, "aac"), rate=48_000, layout="mono")
            track = track_of(plan, stream, Span(), Notes())
            track.add_to(output, head)
            output.start_encoding()
            for packet in head:
                track.mux(_copy(packet))
            track.finish()
            if not is_silent_loss:
                return True
            output.mux(beside.encode(_silence()) + beside.encode(None))
        file.seek(0)
        with av.open(file) as back:
            return len(back.streams) == 2
    except (FFmpegError, ValueError, TypeError, LookupError):
        return False


def _silence() -> Any:
    frame: Any = av.AudioFrame(format="flt", layout="mono", samples=960)
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    return frame


def _copy(packet: Packet) -> Packet:
    """A packet of its own: muxing changes the times of the one it is given."""
    twin = Packet(bytes(packet))
    twin.time_base, twin.stream = packet.time_base, packet.stream
    twin.pts, twin.dts, twin.duration, twin.is_keyframe = packet.pts, packet.dts, packet.duration, packet.is_keyframe
    return twin


def _checked(
    plans: list[StreamPlan], source: InputContainer, name: str, span: Span, heads: dict[int, list[Packet]]
) -> Iterator[StreamPlan]:
    """The plans, with chapters and tags, after a look at what a container with all of it gives back."""
    chapters, tags = chapters_of(source, span), tags_of(source.metadata)
    kept = [plan for plan in plans if plan.action != "drop" and plan.to != "chapters"]
    file, order = io.BytesIO(), [plan for plan in kept if not _is_attached(plan, name)]
    try:
        with av.open(file, "w", format=name, container_options={"fflags": "+bitexact"}) as output:
            tracks = [track_of(plan, source.streams[plan.index], Span(), Notes()) for plan in kept]
            for plan, track in zip(kept, tracks, strict=True):
                track.add_to(output, heads[plan.index])
            output.metadata.update(tags)
            output.set_chapters(chapters)
            output.start_encoding()
            for plan, track in zip(kept, tracks, strict=True):
                for packet in heads[plan.index]:
                    track.mux(_copy(packet))
            for track in tracks:
                track.finish()
        file.seek(0)
        with av.open(file) as back:
            tags_back = {key.lower() for key in back.metadata}
            losses = _losses([source.streams[plan.index] for plan in order], list(back.streams))
            chapters_back = len(back.chapters())
    except (FFmpegError, ValueError, LookupError):  # nothing to write, or too little of it to be read
        tags_back, losses, chapters_back = {key.lower() for key in tags}, {}, len(chapters)
    for plan in plans:
        loss = losses.get(plan.index, "")
        yield replace(plan, why="; ".join(part for part in (plan.why, loss) if part))
    if chapters:
        label = f"{len(chapters)} chapter{'s' if len(chapters) > 1 else ''}"
        if chapters_back:
            yield StreamPlan(index=-1, label=label, action="copy", to="chapters")
        else:
            yield StreamPlan(index=-1, label=label, action="drop", why=f"{_called(name)} has none; .mkv has")
    if lost := sorted(key for key in tags if key.lower() not in tags_back):
        why = f"{_called(name)} has no place for them; .mkv has"
        yield StreamPlan(index=-1, label=f"tags {', '.join(lost)}", action="drop", why=why)


def _losses(before: Sequence[Any], after: Sequence[Any]) -> dict[int, str]:
    """Index of a stream -> what of its language, title and marks does not come back."""
    said: dict[int, str] = {}
    for kind in ("audio", "subtitle"):
        pairs = zip((s for s in before if s.type == kind), (s for s in after if s.type == kind), strict=False)
        for old, new in pairs:
            wanted, given = _described(old.metadata), _described(new.metadata)
            names = [f"{key} {wanted[key]!r}" for key in ("language", "title") if wanted.get(key) != given.get(key)]
            gone = old.disposition & ~new.disposition
            marks = [f"mark {flag.name!r}" for flag in Disposition if flag & gone and flag.name]
            if names + marks:
                said[old.index] = f"without its {', '.join(names + marks)}"
    return said


def _described(metadata: dict[str, str]) -> dict[str, str]:
    """Language and title under one name each."""
    tags = stream_tags(metadata)
    language = tags.get("language", "und")
    found = {"language": MAC_LANGUAGES.get(language, language), "title": tags.get("title", "")}
    return {key: value for key, value in found.items() if value not in ("und", "")}


def chapters_of(source: InputContainer, span: Span) -> list[Any]:
    """A file's chapters at their places in the result, those outside it left out."""
    kept = []
    for chapter in source.chapters():
        tick = chapter["time_base"] or Fraction(1, 1000)
        if place := span.cut(chapter["start"] * tick, chapter["end"] * tick):
            begin, end = (max(round(time * 1_000_000), 0) for time in place)
            if end > begin or chapter["end"] == chapter["start"]:
                kept.append({**chapter, "start": begin, "end": end, "time_base": Fraction(1, 1_000_000)})
    return kept


def _is_attached(plan: StreamPlan, name: str) -> bool:
    return name == "matroska" and plan.label.split()[0] in ("attachment", "cover")


def _tag(stream: Any) -> str:
    with suppress(AttributeError, ValueError, UnicodeDecodeError):
        return str(stream.codec_tag).strip("\0 ")
    return ""


def _called(name: str) -> str:
    return {"mp4": "MP4", "mov": "MOV", "matroska": "Matroska", "webm": "WebM"}.get(name, name)
