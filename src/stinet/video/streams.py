"""Everything in a file that is not its picture: what becomes of each stream, said before the run and done after it.

Promises
- A stream is copied packet by packet where the container takes it, converted where it does not (sound to AAC or Opus,
  text subtitles to those of the container), and otherwise dropped by name, with the container that would keep it.
- None of this is guessed: every stream's first packets are written into a container in memory and the result is read
  back; tags, languages and dispositions that do not come back are named too.
- Times: our 0 is `Span.zero` of the file, so that the offset between sound and picture stays. Copied sound is moved by
  whole samples; where the file ticks coarser than samples (Matroska), packets that follow each other without a gap keep
  doing so. In slow motion sound goes through FFmpeg's atempo, which keeps its pitch, and times of text are multiplied.

Sound that is encoded anew is first made gapless: what is missing between packets becomes silence of that length.
This file knows no picture and no codec of pictures.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import av
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition

from stinet.video.codecs import CONTAINERS
from stinet.video.frame import Notes, StreamInfo, VideoInfo
from stinet.video.read import open_file

__all__ = [
    "FORMATS",
    "Span",
    "StreamPlan",
    "Track",
    "best_suffix",
    "chapters_of",
    "format_of",
    "heads_of",
    "plan_streams",
    "stream_tags",
    "tags_of",
    "track_of",
]

FORMATS = {suffix: kind.name for suffix, kind in CONTAINERS.items() if suffix != ".y4m"}
"""Suffix -> FFmpeg's container, of those that hold more than a picture."""

_SUFFIXES = {"matroska": ".mkv", "mov": ".mov", "mp4": ".mp4"}
"""Containers that are asked, in this order, whether they keep what another one drops."""

_SOUND = {"webm": "libopus"}
"""Container -> encoder of sound that it refuses as it is; AAC elsewhere."""

_NAMES = {"libopus": "Opus", "aac": "AAC", "mov_text": "mov_text", "webvtt": "WebVTT", "subrip": "SubRip"}

_TEXT = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "subrip"}
"""Container -> its text subtitles."""

_TEXT_CODECS = {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "subviewer", "microdvd", "sami", "realtext",
                "stl", "mpl2", "vplayer", "jacosub", "pjs", "eia_608"}  # fmt: skip

_MAC_LANGUAGES = {"fre": "fra", "deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "swe": "sve"}
"""ISO 639-2 -> the word for the same language that QuickTime files know."""

_TECHNICAL = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "rotate", "timecode",
              "number_of_frames", "number_of_bytes", "bps"}  # fmt: skip
"""Tags that describe the file that was, not the film."""

_HEAD_PACKETS, _HEAD_BYTES = 4_000, 16 << 20
"""How much of a file is read, at most, for the first packets of every stream."""

_GAP_S = Fraction(1, 200)
"""A longer hole in decoded sound becomes silence."""

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Channels -> their usual places, for sound that is encoded anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What becomes of one stream, or of the chapters or tags of a file (index -1)."""

    index: int
    label: str
    """Kind, codec and language: "audio aac eng"."""
    action: Literal["copy", "convert", "drop"]
    to: str = ""
    """Codec in the result; empty: none."""
    why: str = ""

    def __str__(self) -> str:
        done = {"copy": "copied", "convert": f"encoded as {_NAMES.get(self.to, self.to)}", "drop": "dropped"}
        return f"{self.label} {done[self.action]}" + (f" ({self.why})" if self.why else "")

    def note(self, notes: Notes) -> None:
        """A drop is a warning, all else a fact."""
        (notes.warn if self.action == "drop" else notes.say)(str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The part of a file that is kept, and where it comes to lie: t -> (t - zero) * stretch."""

    zero: Fraction = Fraction(0)
    """Time of the file that becomes 0."""
    is_cut_before: bool = False
    """What lies before `zero` is left out."""
    seconds: Fraction | None = None
    """What lies this long after `zero`, in time of the file, is left out."""
    stretch: Fraction = Fraction(1)

    @classmethod
    def of(cls, info: VideoInfo, start: Fraction | None, seconds: Fraction | None, stretch: Fraction) -> "Span":
        """Of a film read from `start` for `seconds`, both in our time."""
        return cls(
            zero=info.origin + (start or 0), is_cut_before=bool(start), seconds=seconds, stretch=Fraction(stretch)
        )

    def cut(self, begin: Fraction, end: Fraction) -> tuple[Fraction, Fraction] | None:
        """The part of begin..end, in time of the file, that is kept, in time of the result; None: nothing of it."""
        begin, end = begin - self.zero, end - self.zero
        if self.is_cut_before:
            if end <= 0 and begin < 0:
                return None
            begin = max(begin, Fraction(0))
        if self.seconds is not None:
            end = min(end, self.seconds)
            if begin >= self.seconds:
                return None
        return (begin * self.stretch, end * self.stretch) if begin <= end else None

    def is_over(self, time: Fraction) -> bool:
        """Nothing that begins at this time of the file is kept."""
        return self.seconds is not None and time - self.zero >= self.seconds


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
            if packet.size and len(heads[packet.stream_index]) < 3:  # noqa: PLR2004
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
        if info.kind == "audio":
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
            if is_silent_loss:  # an attachment alone is no film
                beside: Any = output.add_stream(_SOUND.get(name, "aac"), rate=48_000, layout="mono")
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
            return len(back.streams) == 2  # noqa: PLR2004
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
    found = {"language": _MAC_LANGUAGES.get(language, language), "title": tags.get("title", "")}
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


def tags_of(metadata: dict[str, str]) -> dict[str, str]:
    """Tags that still hold for another file of the same film."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in _TECHNICAL and not key.lower().startswith("_statistics")
    }


def stream_tags(metadata: dict[str, str], container: str = "") -> dict[str, str]:
    """Tags of one stream: its title under one name, no handler that only says what kind it is."""
    tags = tags_of(metadata)
    if tags.get("handler_name", "").rstrip("\0").endswith("Handler") or container in ("matroska", "webm"):
        tags.pop("handler_name", None)
    if "title" not in tags and (name := tags.pop("name", "")):
        tags["title"] = name
    if container == "mov" and (language := tags.get("language")):
        tags["language"] = _MAC_LANGUAGES.get(language, language)
    return tags


def track_of(plan: StreamPlan, stream: Any, span: Span, notes: Notes) -> "Track":
    """What brings a stream into the result as planned."""
    kind = plan.label.split()[0]
    if kind in ("attachment", "cover"):
        return _Attached(stream, span, notes)
    if plan.action == "copy":
        return _Copied(stream, span, notes, is_sound=kind == "audio")
    if kind == "audio":
        return _Encoded(stream, span, notes, plan.to)
    if kind == "subtitle" and plan.to:
        return _Text(stream, span, notes, plan.to)
    raise ValueError(f"no way to make {plan.to or 'anything'} of {plan.label}")


class Track:
    """One stream on its way into the result."""

    target: Any
    output: OutputContainer
    end: Fraction | None = None
    """Where its sound ends, in time of the result; None: no sound, or none yet."""

    def __init__(self, source: Any, span: Span, notes: Notes) -> None:
        self.source, self.span, self.notes = source, span, notes

    def add_to(self, output: OutputContainer, head: Sequence[Packet] = ()) -> None:
        """Add the stream before the header is written; `head` are its first packets, which only a cover needs.

        Raises:
            ValueError: the container does not take it.

        """
        raise NotImplementedError

    def mux(self, packet: Packet) -> None:
        """Write one packet of the source."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what was held back."""

    def _describe(self) -> None:
        self.target.metadata.update(stream_tags(self.source.metadata, self.output.format.name))
        self.target.disposition = self.source.disposition

    def _reach(self, end: Fraction) -> None:
        self.end = end if self.end is None else max(self.end, end)


class _Attached(Track):
    """A file within the file: fonts, and covers, which Matroska attaches and MP4 stores as a picture."""

    def add_to(self, output: OutputContainer, head: Sequence[Packet] = ()) -> None:
        self.output, self.target = output, None
        if output.format.name == "webm":
            raise ValueError("WebM takes no attachments")
        if output.format.name != "matroska":
            self.target = output.add_stream_from_template(self.source, opaque=True)
            self._describe()
            return
        tags = self.source.metadata
        if self.source.type == "attachment":
            name, mime, data = self.source.name, self.source.mimetype, self.source.data
        elif head:
            kind = self.source.codec_context.name.replace("mjpeg", "jpeg")
            name, mime, data = f"cover.{kind.replace('jpeg', 'jpg')}", f"image/{kind}", bytes(head[0])
        else:
            raise ValueError("a cover without a picture")
        made = output.add_attachment(
            tags.get("filename") or name or "attachment",
            tags.get("mimetype") or mime or "application/octet-stream",
            data,
        )
        made.metadata.update({key: value for key, value in tags_of(tags).items() if key not in made.metadata})

    def mux(self, packet: Packet) -> None:
        if self.target is not None:
            packet.stream, packet.pts, packet.dts = self.target, 0, 0
            self.output.mux_one(packet)


def _is_attached(plan: StreamPlan, name: str) -> bool:
    return name == "matroska" and plan.label.split()[0] in ("attachment", "cover")


class _Copied(Track):
    """Packets as they are, moved in time."""

    def __init__(self, source: Any, span: Span, notes: Notes, *, is_sound: bool) -> None:
        super().__init__(source, span, notes)
        self.is_sound = is_sound
        context = source.codec_context
        samples = getattr(context, "frame_size", 0) or 0
        self.step = Fraction(samples, context.sample_rate) if is_sound and samples and context.sample_rate else None
        self.expected: Fraction | None = None
        self.last: int | None = None

    def add_to(self, output: OutputContainer, head: Sequence[Packet] = ()) -> None:  # noqa: ARG002
        self.output = output
        self.target = output.add_stream_from_template(self.source, opaque=True)
        self._describe()

    def mux(self, packet: Packet) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        tick = packet.time_base
        begin = stamp * tick if stamp is not None else self.expected
        if begin is None:
            self.notes.count(f"{self.source.type} packets without a time dropped")
            return
        if self.step and self.expected is not None and abs(begin - self.expected) <= tick:
            begin = self.expected
        length = (packet.duration or 0) * tick
        if self.step and abs(length - self.step) <= tick:
            length = self.step
        self.expected = begin + length
        place = self.span.cut(begin, begin + length)
        if place is None:
            return
        if self.is_sound:  # a packet of sound is whole or not there
            place = (begin - self.span.zero, begin - self.span.zero + length)
            self._reach(place[1])
        self._write(packet, *place)

    def _write(self, packet: Packet, begin: Fraction, end: Fraction) -> None:
        tick = self.target.time_base
        stamp = round(begin / tick)
        if self.last is not None and stamp <= self.last and self.source.type != "subtitle":
            if self.last - stamp > 1:
                self.notes.count(f"{self.source.type} packets with a backward time, put after the one before")
            stamp = self.last + 1
        if packet.is_corrupt:
            self.notes.count(f"damaged {self.source.type} packets copied as they are")
        packet.stream, packet.time_base = self.target, tick
        packet.pts = packet.dts = self.last = stamp
        packet.duration = max(round(end / tick) - stamp, 0)
        self.output.mux_one(packet)


class _Encoded(Track):
    """Sound decoded, made gapless, cut, stretched, and encoded again."""

    def __init__(self, source: Any, span: Span, notes: Notes, encoder: str) -> None:
        super().__init__(source, span, notes)
        self.encoder = encoder
        self.graph: Graph | None = None
        self.shape: Any = None
        self.written = 0  # samples' place after the last one, in 1/rate from our 0
        self.is_begun = False
        self.expected: Fraction | None = None

    def add_to(self, output: OutputContainer, head: Sequence[Packet] = ()) -> None:  # noqa: ARG002
        self.output = output
        codec, context = Codec(self.encoder, "w"), self.source.codec_context
        rates = list(codec.audio_rates or [])
        self.rate = context.sample_rate if not rates or context.sample_rate in rates else 48_000
        count = context.layout.nb_channels
        self.layout = _LAYOUTS.get(count, "stereo")
        self.format = "fltp" if self.encoder == "aac" else "flt"
        self.target = output.add_stream(self.encoder, rate=self.rate, layout=self.layout, format=self.format)
        self.target.bit_rate = 96_000 * max(count, 1)
        self.target.time_base = self.target.codec_context.time_base = Fraction(1, self.rate)
        self._describe()

    def mux(self, packet: Packet) -> None:
        try:
            frames = packet.decode()
        except EndOfFile:
            return
        except (FFmpegError, ValueError):
            self.notes.count("damaged audio packets replaced by silence")
            return
        for frame in frames:
            self._push(frame)

    def _push(self, frame: Any) -> None:
        rate = frame.sample_rate
        begin = self.expected
        if frame.pts is not None and frame.time_base:
            begin = frame.pts * frame.time_base
        begin = self.span.zero if begin is None else begin
        self.expected = begin + Fraction(frame.samples, rate)
        shape = (frame.format.name, frame.layout.name, rate)
        if shape != self.shape:
            self._drain()
            self.graph, self.shape = self._make_graph(*shape), shape
        frame.pts, frame.time_base = round((begin - self.span.zero) * rate), Fraction(1, rate)
        assert self.graph is not None
        self.graph.push(frame)
        self._pull(self.graph)

    def _make_graph(self, form: str, layout: str, rate: int) -> Graph:
        graph = Graph()
        nodes: list[Any] = [
            graph.add_abuffer(sample_rate=rate, format=form, layout=layout, time_base=Fraction(1, rate)),
            graph.add("aresample", f"async=1:min_hard_comp={float(_GAP_S)}"),
        ]
        cut = ["start=0"] if self.span.is_cut_before else []
        if self.span.seconds is not None:
            cut.append(
                f"end_sample={round(self.span.seconds * rate)}" if not cut else f"end={float(self.span.seconds)}"
            )
        if cut:
            nodes.append(graph.add("atrim", ":".join(cut)))
        nodes += [graph.add("atempo", f"{tempo:.9f}") for tempo in _tempos(self.span.stretch)]
        form = f"sample_fmts={self.format}:sample_rates={self.rate}:channel_layouts={self.layout}"
        nodes += [graph.add("aformat", form), graph.add("abuffersink")]
        graph.link_nodes(*nodes).configure()
        self.begin: Fraction | None = None
        return graph

    def _pull(self, graph: Graph) -> None:
        while True:
            try:
                part: Any = graph.pull()
            except (BlockingIOError, EndOfFile):
                return
            if self.begin is None:  # atempo moves no first time: that is done here
                self.begin = part.pts * part.time_base * self.span.stretch
                self.written = (
                    max(round(self.begin * self.rate), self.written) if self.is_begun else round(self.begin * self.rate)
                )
                self.is_begun = True
            part.pts, part.time_base = self.written, Fraction(1, self.rate)
            self.written += part.samples
            self._reach(Fraction(self.written, self.rate))
            self.output.mux(self.target.encode(part))

    def _drain(self) -> None:
        if self.graph is not None:
            self.graph.push(None)
            self._pull(self.graph)
            self.graph = None

    def finish(self) -> None:
        with suppress(FFmpegError, ValueError):
            for frame in self.source.decode(None):
                self._push(frame)
        self._drain()
        self.output.mux(self.target.encode(None))


def _tempos(stretch: Fraction) -> list[float]:
    """Factors of 1 / stretch that atempo takes without skipping: each within 1/2..2."""
    tempo, steps = 1 / stretch, []
    while not Fraction(1, 2) <= tempo <= 2:  # noqa: PLR2004
        step = Fraction(2) if tempo > 1 else Fraction(1, 2)
        steps.append(float(step))
        tempo /= step
    return [*steps, float(tempo)] if tempo != 1 else steps


class _Text(Track):
    """Text subtitles in another form."""

    def __init__(self, source: Any, span: Span, notes: Notes, encoder: str) -> None:
        super().__init__(source, span, notes)
        self.encoder = encoder
        self.last = -1

    def add_to(self, output: OutputContainer, head: Sequence[Packet] = ()) -> None:  # noqa: ARG002
        self.output = output
        context = self.source.codec_context
        if not context.is_open:
            context.open()
        self.target = output.add_stream(self.encoder)
        self.target.codec_context.subtitle_header = context.subtitle_header
        self.target.time_base = self.target.codec_context.time_base = Fraction(1, 1000)
        self._describe()

    def mux(self, packet: Packet) -> None:
        if packet.pts is None:
            return
        begin = packet.pts * packet.time_base
        found = self.source.codec_context.decode2(packet)
        if found is None or not len(found):
            return
        length = (packet.duration or 0) * packet.time_base or Fraction(found.end_display_time, 1000)
        place = self.span.cut(begin, begin + length)
        if place is None:
            return
        made = self.target.codec_context.encode_subtitle(found)
        tick = self.target.time_base
        stamp, end = (round(time / tick) for time in place)
        if stamp < self.last:
            self.notes.count("subtitles out of order dropped")
            return
        made.stream, made.time_base = self.target, tick
        made.pts = made.dts = self.last = stamp
        made.duration = max(end - stamp, 1)
        self.output.mux_one(made)


def _tag(stream: Any) -> str:
    with suppress(AttributeError, ValueError, UnicodeDecodeError):
        return str(stream.codec_tag).strip("\0 ")
    return ""


def _called(name: str) -> str:
    return {"mp4": "MP4", "mov": "MOV", "matroska": "Matroska", "webm": "WebM"}.get(name, name)
