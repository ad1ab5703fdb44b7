"""Coded segments and everything else of the source, joined into the file that the user asked for.

    dts of packet n = n-th smallest time, shifted back by the reorder depth r: sorted_times[n - r]

Promises
- The file appears whole or not at all: it grows as `.NAME.part` beside its place, is flushed to the disk and moved
  there. Whatever happens, segments stay untouched.
- Frame n of the film is shown at exactly its time, until the next one or `end`. In MP4 and MOV the track ticks in the
  choice's time base and the movie in ticks that hold those of picture and sound alike, so that no edit list rounds;
  Matroska and WebM store milliseconds.
- Segments begin with a key frame and refer to nothing outside themselves, so that the order in which the film is shown
  is that of the segments one after the other; the first r decode times lie before its first frame.
- Another stream never ends the job: what cannot be written of it is counted, and it ends where the source breaks off.
- The same segments and the same source make the same bytes. Memory does not grow with the length: other streams are
  written up to the time of the picture.

This file decodes no picture.
"""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Discard

from stinet.errors import OutputError
from stinet.video.codecs import EncoderChoice
from stinet.video.container import open_file
from stinet.video.disk import disk_errors
from stinet.video.encode import Segment
from stinet.video.frame import Notes, VideoInfo
from stinet.video.streams import chapters_of, heads_of
from stinet.video.tracks import Span, StreamPlan, Track, stream_tags, tags_of, track_of

__all__ = ["Muxed", "mux"]

_ROUNDED_S = Fraction(1, 200)
"""Frames closer than this stand unevenly when their times are rounded to milliseconds."""

_MAX_MOVIE_TICKS = 10_000_000
"""Ticks per second of a movie that every player takes."""

_BEFORE_S = 30
"""How far before a start subtitles are looked for that are still shown there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Muxed:
    """What became of a finished file."""

    av_difference_ms: float | None
    """End of the picture minus end of the longest sound; None: no sound."""
    bytes: int


def mux(
    target: Path,
    segments: Sequence[Segment],
    choice: EncoderChoice,
    *,
    info: VideoInfo | None,
    plan: Sequence[StreamPlan] = (),
    end: Fraction,
    stretch: Fraction | int = 1,
    start: Fraction | None = None,
    seconds: Fraction | None = None,
    notes: Notes,
) -> Muxed:
    """Write `target`: the segments in order until `end`, and of the source `info` what `plan` keeps.

    `stretch`, `start` and `seconds` are those that the plan was made with.

    Raises:
        OutputError: nothing to write, segments that do not belong together, or a disk that refuses it.

    """
    if not any(segment.frames for segment in segments):
        raise OutputError(f"{target}: no frame to write; the source gave none")
    part = target.with_name(f".{target.name}.part")
    span = Span() if info is None else Span.of(info, start, seconds, Fraction(stretch))
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        stack.enter_context(disk_errors(target, FFmpegError))
        target.parent.mkdir(parents=True, exist_ok=True)
        film = _Film(target, _filled(segments), choice, end, notes)
        others = stack.enter_context(_Others(info, plan, span, notes))
        ended = _write(part, film, others)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
        part.replace(target)
    return Muxed(av_difference_ms=None if ended is None else float(1000 * (end - ended)), bytes=size)


def _write(part: Path, film: "_Film", others: "_Others") -> Fraction | None:
    """Write the whole file; gives where its sound ends."""
    with ExitStack() as stack:
        output, stream = _open(part, film, others)
        stack.callback(output.close)  # after an error too; the file is removed then
        for packet, time in film.packets(stream):
            others.mux_until(time)
            output.mux_one(packet)
        others.finish()
        stack.pop_all()
        output.close()
    return others.end


def _open(part: Path, film: "_Film", others: "_Others") -> tuple[OutputContainer, Any]:
    """A file with its header written, with as many of the planned streams as it takes."""
    choice = film.choice
    for kinds in (None, ("audio",), ()):
        options = {"fflags": "+bitexact", **_options(choice, others.rates())}
        output = av.open(f"file:{part.resolve()}", "w", format=choice.container, container_options=options)
        try:
            stream = film.add_to(output)
            others.add_to(output, stream, kinds)
            output.start_encoding()
        except (FFmpegError, ValueError) as error:
            with suppress(FFmpegError, ValueError):
                output.close()
            if kinds == () or _is_of_the_disk(error):
                raise
            continue
        others.note(kinds)
        return output, stream
    raise AssertionError("the last attempt raises or returns")


def _options(choice: EncoderChoice, rates: Sequence[int]) -> dict[str, str]:
    """What MP4 and MOV need so that no time is rounded."""
    if choice.container not in ("mp4", "mov"):
        return {}
    ticks = choice.time_base.denominator
    movie = math.lcm(ticks, *rates)
    return {
        "movflags": "+faststart",
        "video_track_timescale": str(ticks),
        "movie_timescale": str(movie if movie <= _MAX_MOVIE_TICKS else ticks),
    }


def _filled(segments: Sequence[Segment]) -> Sequence[Segment]:
    """Segments that have frames; the same sequence, which may make them when asked, where all have."""
    return segments if all(segment.frames for segment in segments) else [s for s in segments if s.frames]


class _Film:
    """The picture: segments one after the other."""

    def __init__(
        self, target: Path, segments: Sequence[Segment], choice: EncoderChoice, end: Fraction, notes: Notes
    ) -> None:
        self.target, self.segments, self.choice, self.end, self.notes = target, segments, choice, end, notes
        self.reorder = max(segment.reorder for segment in segments)

    def add_to(self, output: OutputContainer) -> Any:
        """Add the stream as the first segment describes it."""
        with self._opened(self.segments[0]) as file:
            stream: Any = output.add_stream_from_template(file.streams.video[0], opaque=True)
            self.extradata = file.streams.video[0].codec_context.extradata
        stream.time_base = self.choice.time_base
        context = stream.codec_context
        context.framerate = self.choice.rate
        context.sample_aspect_ratio = self.choice.sample_aspect
        if self.choice.family == "hevc" and self.choice.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"
        if self.choice.keeps_alpha and self.choice.family == "vp9":
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _opened(self, segment: Segment) -> InputContainer:
        try:
            return av.open(f"file:{segment.path.resolve()}", options={"protocol_whitelist": "file"})
        except (FFmpegError, OSError) as error:
            raise OutputError(
                f"{segment.path}: a finished segment is missing or damaged ({error}); run again with --restart"
            ) from error

    def packets(self, stream: Any) -> Iterator[tuple[Packet, Fraction]]:
        """Every packet with its final times, and when it is decoded, in seconds."""
        tick = Fraction(stream.time_base)
        shortest = self._shortest(tick)
        first = self.segments[0].times[0]
        before = [first - shortest * (self.reorder - k) for k in range(self.reorder)]
        lead = round(first / tick) - round((before or [first])[0] / tick)
        held: Any = None
        time = first
        for number, segment in enumerate(self.segments):
            follower = self.segments[number + 1].times[0] if number + 1 < len(self.segments) else self._end(segment)
            decoded = [*before, *segment.times]
            shown = [round(time / tick) for time in (*segment.times, follower)]
            for place, packet in enumerate(self._stored(segment)):
                if held is not None:
                    yield held, time
                frame, time, held = round(packet.pts * packet.time_base * 1000), decoded[place], packet
                packet.stream, packet.time_base = stream, tick
                packet.pts, packet.dts = shown[frame], round(time / tick)
                packet.duration = shown[frame + 1] - shown[frame]
                if packet.dts > packet.pts:
                    raise self._damaged(segment, "frames out of order")
            before = decoded[len(decoded) - self.reorder :]
        assert held is not None
        yield self._last(held, lead, round(self._end(self.segments[-1]) / tick)), time

    def _last(self, packet: Any, lead: int, end: int) -> Packet:
        """The last packet, so that decoding takes as long as showing: players add up decode times for a length."""
        packet.dts = max(packet.dts, packet.pts - lead)
        packet.duration = end - lead - packet.dts
        return packet

    def _end(self, last: Segment) -> Fraction:
        return self.end if self.end > last.times[-1] else last.times[-1] + 1 / self.choice.rate

    def _stored(self, segment: Segment) -> Iterator[Any]:
        """The packets of a segment: as many as it has frames, each a frame of it."""
        with self._opened(segment) as file:
            video = file.streams.video[0]
            if video.codec_context.extradata != self.extradata:
                raise self._damaged(segment, "encoded with other settings than the first segment")
            count = 0
            for packet in file.demux(video):
                if not packet.size:
                    continue
                if packet.pts is None or not 0 <= packet.pts * packet.time_base * 1000 < segment.frames:
                    raise self._damaged(segment, "a packet of no frame")
                count += 1
                yield packet
        if count != segment.frames:
            raise self._damaged(segment, f"it holds {count:,} of {segment.frames:,} frames")

    def _damaged(self, segment: Segment, what: str) -> OutputError:
        return OutputError(f"{segment.path}: {what}; run again with --restart")

    def _shortest(self, tick: Fraction) -> Fraction:
        """The shortest interval between two frames; says when times cannot be stored exactly."""
        last, shortest, is_rounded = None, 1 / self.choice.rate, False
        for segment in self.segments:
            for time in segment.times:
                is_rounded |= (time / tick).denominator != 1
                shortest = shortest if last is None else min(shortest, time - last)
                last = time
        if is_rounded and shortest < _ROUNDED_S:
            said = f"frames {float(1000 * shortest):.1f} ms apart rounded to milliseconds; .mp4 keeps their times"
            self.notes.warn(said)
        elif is_rounded:
            self.notes.say("times rounded to milliseconds (Matroska)")
        return max(shortest, tick)


class _Others:
    """The source's other streams on their way into the result."""

    def __init__(self, info: VideoInfo | None, plan: Sequence[StreamPlan], span: Span, notes: Notes) -> None:
        self.info, self.plan, self.span, self.notes = info, plan, span, notes
        self.source: InputContainer | None = None
        self.tracks: dict[int, Track] = {}
        self.heads: dict[int, list[Packet]] = {}
        self._held: Any = None
        self._passed: set[int] = set()

    def __enter__(self) -> "_Others":
        if self.info is not None and self.info.streams and self.info.path.is_file():
            self.source = open_file(self.info.path)
            if covers := [p.index for p in self.plan if p.label.startswith("cover") and p.action != "drop"]:
                with open_file(self.info.path) as again:
                    self.heads = heads_of(again, [again.streams[index] for index in covers])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.source is not None:
            self.source.close()

    @property
    def end(self) -> Fraction | None:
        """Where the longest sound ends."""
        return max((track.end for track in self.tracks.values() if track.end is not None), default=None)

    def rates(self) -> list[int]:
        """Samples per second of every sound."""
        if self.source is None:
            return []
        contexts = [s.codec_context for s in self.source.streams.audio if s.codec_context is not None]
        return sorted({context.sample_rate for context in contexts if context.sample_rate})

    def add_to(self, output: OutputContainer, picture: Any, kinds: tuple[str, ...] | None) -> None:
        """Add tags, chapters and the streams of `kinds` (None: all)."""
        self.tracks = {}
        if self.source is None or self.info is None:
            return
        output.metadata.update(tags_of(self.source.metadata))
        planned = {plan.index for plan in self.plan}
        if film := next((s for s in self.source.streams.video if s.index not in planned), None):
            picture.metadata.update(stream_tags(film.metadata, output.format.name))
            picture.disposition = film.disposition
        if kinds is None:
            output.set_chapters(chapters_of(self.source, self.span))
        for plan in self.plan:
            if plan.index < 0 or plan.action == "drop" or plan.to == "chapters":
                continue
            if kinds is None or plan.label.split()[0] in kinds:
                track = track_of(plan, self.source.streams[plan.index], self.span, self.notes)
                track.add_to(output, self.heads.get(plan.index, ()))
                self.tracks[plan.index] = track
        self._packets = self._demux()

    def note(self, kinds: tuple[str, ...] | None) -> None:
        """Say what became of every stream."""
        for plan in self.plan:
            if kinds is not None and plan.action != "drop" and plan.index not in self.tracks:
                self.notes.warn(f"{plan.label} dropped (the container does not take it beside the others)")
            else:
                plan.note(self.notes)

    def _demux(self) -> Iterator[Packet]:
        assert self.source is not None
        wanted = [stream for stream in self.source.streams if stream.index in self.tracks]
        wanted = [stream for stream in wanted if stream.type != "attachment"]
        if not wanted:
            return
        try:
            if self.span.is_cut_before and (begin := self.span.zero - _BEFORE_S) > 0:
                self.source.seek(int(begin * av.time_base))
            for stream in self.source.streams:
                if stream not in wanted:
                    stream.discard = Discard.all
            yield from (packet for packet in self.source.demux(*wanted) if packet.size)
        except (FFmpegError, OSError):
            self.notes.warn("sound and other streams end where the file breaks off")

    def mux_until(self, time: Fraction | None) -> None:
        """Write packets that begin before `time` of the result (None: all)."""
        if not self.tracks:
            return
        while (packet := self._held or next(self._packets, None)) is not None:
            self._held = None
            stamp = packet.dts if packet.dts is not None else packet.pts
            begin = self.span.zero if stamp is None else stamp * packet.time_base
            if self.span.is_over(begin):
                self._passed.add(packet.stream_index)
                if len(self._passed) == len(self.tracks):
                    self._packets = iter(())  # the rest of the file is not read
                    return
                continue  # other streams may still have earlier ones
            if time is not None and (begin - self.span.zero) * self.span.stretch > time:
                self._held = packet
                return
            with self._its_own_errors(packet.stream.type):
                self.tracks[packet.stream_index].mux(packet)

    def finish(self) -> None:
        """Write what is left and empty the encoders."""
        self.mux_until(None)
        for track in self.tracks.values():
            with self._its_own_errors("last"):
                track.finish()

    def _its_own_errors(self, kind: str) -> "_Counted":
        return _Counted(self.notes, f"damaged {kind} packets dropped")


class _Counted:
    """An error of a stream is counted; one of the disk goes on."""

    def __init__(self, notes: Notes, what: str) -> None:
        self.notes, self.what = notes, what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, InvalidDataError | ValueError) and not _is_of_the_disk(error):
            self.notes.count(self.what)
            return True
        return False


def _is_of_the_disk(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
    return getattr(error, "errno", None) in full
