"""How one stream of a file comes into another: copied, encoded anew, or attached.

Times: our 0 is `Span.zero` of the file, so that the offset between sound and picture stays. Copied sound is moved by
whole packets; where the file ticks coarser than samples (Matroska), packets that follow each other without a gap keep
doing so. Sound that is encoded anew is first made gapless: what is missing between packets becomes silence of that
length. In slow motion it goes through FFmpeg's atempo, which keeps its pitch (an event comes up to 35 ms times the
stretch early), and the times of text are multiplied.

This file knows no file of its own: it is given streams, packets and an open container.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from av.codec import Codec
from av.container import OutputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet

from stinet.video.frame import Notes, VideoInfo

__all__ = ["MAC_LANGUAGES", "Span", "StreamPlan", "Track", "stream_tags", "tags_of", "track_of"]

_NAMES = {"libopus": "Opus", "aac": "AAC", "mov_text": "mov_text", "webvtt": "WebVTT", "subrip": "SubRip"}

MAC_LANGUAGES = {"fre": "fra", "deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "swe": "sve"}
"""ISO 639-2 -> the word for the same language that QuickTime files know."""

_TECHNICAL = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "rotate", "timecode"),
    *("number_of_frames", "number_of_bytes", "bps"),
}
"""Tags that describe the file that was, not the film."""

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
        tags["language"] = MAC_LANGUAGES.get(language, language)
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
        self.written: Any = None  # where the next sample goes, in 1/rate from our 0
        self.is_fresh = True  # the graph has given nothing yet
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
            cut.append(f"end={float(self.span.seconds):.6f}")
        if cut:
            nodes.append(graph.add("atrim", ":".join(cut)))
        nodes += [graph.add("atempo", f"{tempo:.9f}") for tempo in _tempos(self.span.stretch)]
        form = f"sample_fmts={self.format}:sample_rates={self.rate}:channel_layouts={self.layout}"
        nodes += [graph.add("aformat", form), graph.add("abuffersink")]
        graph.link_nodes(*nodes).configure()
        self.is_fresh = True
        return graph

    def _pull(self, graph: Graph) -> None:
        while True:
            try:
                part: Any = graph.pull()
            except (BlockingIOError, EndOfFile):
                return
            if self.is_fresh:  # atempo moves no first time: that is done here
                place = round(part.pts * part.time_base * self.span.stretch * self.rate)
                self.written = place if self.written is None else max(place, self.written)
                self.is_fresh = False
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
    while not Fraction(1, 2) <= tempo <= 2:
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
        tick: Any = packet.time_base
        begin = packet.pts * tick
        found = self.source.codec_context.decode2(packet)
        if found is None or not len(found):
            return
        length = (packet.duration or 0) * tick or Fraction(found.end_display_time, 1000)
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
