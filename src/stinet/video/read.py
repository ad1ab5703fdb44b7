"""The only decoder of films: a video stream as upright RGB frames with exact times, drained to its last frame.

Promises
- Times come from the presentation time stamps as Fractions, moved so that the earliest of video and audio starts in
  [0, one tick); the offset between them stays. Missing or backward stamps are regenerated from the nominal rate and
  counted.
- Corrupt packets are skipped and counted; the frames around them keep their times, so that a gap has its true length.
  The declared number of frames and duration end no loop.
- Y'CbCr becomes RGB by the file's own matrix and range; where it names no matrix, BT.601 below 720 lines and BT.709
  from there on, as players do, and the guess is noted.
- The same file read twice gives the same frames, times and notes: slices are decoded by threads, frames are not, since
  several frames in flight are lost with the one that fails.

Interlaced frames are taken as they are, or go through FFmpeg's bwdif, one frame for one frame.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm
from pathlib import Path
from typing import Any, TypeVar

import av
from av.codec import CodecContext
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import BlockingIOError as NotYet
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stinet.config import ReadConfig
from stinet.errors import DecodeError, InputError
from stinet.video.clock import timed
from stinet.video.container import film_stream, is_encrypted, open_file, stream_info
from stinet.video.convert import (
    Converter,
    bits_of,
    colour_of,
    has_alpha,
    name_of_matrix,
    turn_of,
)
from stinet.video.frame import Frame, Notes, VideoInfo

__all__ = [
    "check_limits",
    "frames_of",
    "note_facts",
    "origin_of",
    "part_time_base",
    "probe",
    "probe_opened",
    "read_frames",
    "within",
]

_BY_DELAY = {"gif", "apng"}
"""Formats that state a delay for every picture, and no rate."""

_NO_RATE = 400
"""A rate above this that is the clock's own is none: FFmpeg gives the tick where it found no rate."""

_STEPS_SEEN = 250
"""Steps between pictures of which a film without a rate gets its nominal one."""

_ERRORS_IN_A_ROW = 200
"""Packets in a row that fail before a file counts as undecodable from there on."""

_FINEST = 1_000_000_000
"""Ticks per second that a time base may have at most."""

CORRUPT = "corrupt packets skipped"
REPAIRED = "damaged frames repaired by the decoder"

Thing = TypeVar("Thing")


def probe(path: Path, config: ReadConfig | None = None) -> VideoInfo:
    """What the file says of its video. Decodes one frame, because rotation and colour may stand only there.

    Raises:
        InputError: missing, empty, a folder, text, a playlist, encrypted, without its index, without a video stream, or
            beyond the limits of `config`.
        DecodeError: a video stream of which no frame can be decoded.

    """
    config = config or ReadConfig()
    with open_file(path) as container:
        return probe_opened(container, path, config)[0]


def probe_opened(
    container: InputContainer, path: Path, config: ReadConfig
) -> tuple[VideoInfo, VideoFrame, Iterator[VideoFrame]]:
    """What an opened file is, its first picture, and the ones that follow it.

    Raises:
        InputError, DecodeError: as `probe`.

    """
    track = _Track(container, path, config)
    stream, pictures = track.stream, track.pictures(Notes())
    first = next(pictures, None)
    if first is None:
        if path.is_file() and is_encrypted(path):
            raise InputError(f"{path}: the video is encrypted (DRM); only unprotected files can be read")
        raise DecodeError(f"{path}: its {stream.codec_context.name} video stream holds no frame that can be decoded")
    info = _describe(path, container, stream, first)
    if info.rate is not None and _is_tick(info.rate, info):
        info = replace(info, rate=_usual_rate(path, config), is_constant_rate=False)
    check_limits(info, config)
    return info, first, pictures


def read_frames(
    path: Path,
    *,
    notes: Notes | None = None,
    info: VideoInfo | None = None,
    config: ReadConfig | None = None,
    deep: bool = True,
) -> Iterator[Frame]:
    """Every frame of the video, upright, in the order in which they are shown. `info` is the file's `probe`, if known.

    Frames are uint8, or uint16 (65535 is 1.0) where the file has more than 8 bits and `deep` allows it.

    Raises:
        InputError: as `probe`, or a film that turns out longer than `config` allows.
        DecodeError: a video of which nothing can be decoded, or nothing any more.

    """
    notes = Notes() if notes is None else notes
    config = config or ReadConfig()
    info = probe(path, config) if info is None else info
    note_facts(info, config, notes, deep=deep)
    entry = _entry(path, info, config)
    with open_file(path) as container:
        track = _Track(container, path, config)
        if entry is not None:
            container.seek(entry, stream=track.stream)
        yield from frames_of(track.pictures(notes), info, config, notes, deep=deep)


def frames_of(
    pictures: Iterable[VideoFrame], info: VideoInfo, config: ReadConfig, notes: Notes, *, deep: bool = True
) -> Iterator[Frame]:
    """Decoded pictures as frames: timed, cut to what `config` asks for, deinterlaced, converted."""
    to_rgb = Converter(info, notes, deep=deep)
    watch = _Watch(info, notes, is_mended=config.deinterlace == "auto")
    shown = watch.see(pictures)
    if config.deinterlace == "auto":
        shown = _deinterlaced(shown, notes)
    stamped = ((picture, _stamp(picture)) for picture in shown)
    end = info.first
    is_whole = True
    for picture, time, is_last in within(timed(stamped, info, notes), config, info):
        is_whole = is_last
        length = _length(picture) if is_last else None
        end = time + (length or info.period)
        rgb, alpha = to_rgb(picture)
        yield Frame(rgb=rgb, alpha=alpha, time=time - (config.start or 0), duration=length)
    if is_whole:
        watch.close(end)


def within(
    timed_things: Iterable[tuple[Thing, Fraction, bool]], config: ReadConfig, info: VideoInfo
) -> Iterator[tuple[Thing, Fraction, bool]]:
    """What lies between `config.start` and `config.seconds` after it; times stay those of the film.

    Raises:
        InputError: the film is longer than `config.max_seconds`, or ends before `config.start`.

    """
    start = config.start or Fraction(0)
    is_any, last = False, Fraction(0)
    for thing, time, is_last in timed_things:
        last = time
        if config.max_seconds is not None and min(time, _end(config) or time) >= config.max_seconds + start:
            raise InputError(
                f"{info.path}: longer than the {float(config.max_seconds):g} s allowed; raise the limit or take a part"
            )
        if config.seconds is not None and time >= start + config.seconds:
            break
        if time >= start:
            is_any = True
            yield thing, time, is_last
    if not is_any and start:
        raise InputError(f"{info.path}: nothing at {float(start):g} s; the last frame read is at {float(last):.3f} s")


def _end(config: ReadConfig) -> Fraction | None:
    return None if config.seconds is None else (config.start or Fraction(0)) + config.seconds


def check_limits(info: VideoInfo, config: ReadConfig) -> None:
    """Refuse what is larger or longer than allowed.

    Raises:
        InputError: with both numbers.

    """
    _check_pixels(info.path, info.width, info.height, config)
    if config.max_seconds is not None and info.duration is not None:
        wanted = max(info.duration - (config.start or 0), Fraction(0))
        wanted = wanted if config.seconds is None else min(wanted, config.seconds)
        if wanted > config.max_seconds:
            raise InputError(
                f"{info.path}: {float(wanted):.1f} s of film, allowed are {float(config.max_seconds):g} s; "
                "raise the limit or take a part"
            )


def _check_pixels(path: Path, width: int, height: int, config: ReadConfig) -> None:
    if config.max_pixels is not None and width * height > config.max_pixels:
        raise InputError(
            f"{path}: {width}x{height} is {width * height:,} pixels, allowed are {config.max_pixels:,}; raise the limit"
        )


def origin_of(container: InputContainer, stream: VideoStream, first: Fraction | None = None) -> Fraction:
    """The file time that becomes our 0: the earliest start of video and audio, rounded down to the video's ticks.

    Video starts with its `first` frame, where that is known: what a header says of it may be a guess.
    """
    starts = [_start_of(s) for s in (stream, *container.streams.audio)]
    starts[0] = starts[0] if first is None else first
    tick = stream.time_base or Fraction(1, 1000)
    return Fraction(min((start for start in starts if start is not None), default=Fraction(0)) // tick * tick)


def _start_of(stream: Any) -> Fraction | None:
    return None if stream.start_time is None or stream.time_base is None else stream.start_time * stream.time_base


def _stamp(picture: VideoFrame) -> Fraction | None:
    if picture.pts is None or picture.time_base is None:
        return None
    return Fraction(picture.pts * picture.time_base)


def _length(picture: VideoFrame) -> Fraction | None:
    return Fraction(picture.duration * picture.time_base) if picture.duration > 0 and picture.time_base else None


def _entry(path: Path, info: VideoInfo, config: ReadConfig) -> int | None:
    """The stamp to seek to for `config.start`; None where the file cannot be entered there exactly."""
    if not config.start:
        return None
    with open_file(path) as container:
        track = _Track(container, path, config)
        wanted = config.start + info.origin
        entry = int(wanted // info.time_base)
        try:
            container.seek(entry, stream=track.stream)
            first = next(track.pictures(Notes()), None)
        except (FFmpegError, OSError, DecodeError):
            return None
        stamp = None if first is None or first.is_corrupt or not first.key_frame else _stamp(first)
    return entry if stamp is not None and stamp <= wanted else None


class _Watch:
    """What the pictures tell of damage, fields and pulldown."""

    def __init__(self, info: VideoInfo, notes: Notes, *, is_mended: bool) -> None:
        self.info, self.notes, self.is_mended = info, notes, is_mended
        self.repeated = self.pictures = 0

    def see(self, pictures: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The pictures, looked at."""
        before: Fraction | None = None
        for picture in pictures:
            self.pictures += 1
            if picture.is_corrupt:
                self.notes.count(REPAIRED)
            if picture.interlaced_frame and not self.info.is_interlaced and not self.is_mended:
                self.notes.warn("interlaced in places: fields taken as frames; --deinterlace auto makes whole ones")
            length = _length(picture)
            # three fields beside two: repeat_first_field is set
            if self.info.codec in _FIELD_CODED and length and before and abs(length / before - _PULLDOWN) < _NEARLY:
                self.repeated += 1
            before = length
            yield picture

    def close(self, end: Fraction) -> None:
        """Say what only the whole film tells."""
        if self.repeated > self.pictures // 8:
            self.notes.warn(_TELECINED)
        declared = self.info.duration
        span = end - self.info.first
        if declared and span < declared - max(3 * self.info.period, declared / 100):
            self.notes.warn(f"decoded {float(span / declared):.0%} of the declared duration")


_FIELD_CODED = frozenset({"mpeg2video", "vc1", "wmv3"})
"""Decoders whose pictures last as many fields as their flags say."""

_PULLDOWN, _NEARLY = Fraction(3, 2), Fraction(1, 50)

_TELECINED = "telecined (fields are repeated by flag): each film frame is read once, at its own time"


def _deinterlaced(pictures: Iterable[VideoFrame], notes: Notes) -> Iterator[VideoFrame]:
    """Pictures through FFmpeg's bwdif, which touches those that say interlaced; as many come out as go in."""
    chain: _Bwdif | None = None
    for picture in pictures:
        if picture.interlaced_frame:
            notes.say("interlaced: deinterlaced by bwdif, one frame of each")
        if chain is not None and chain.shape != (picture.width, picture.height, picture.format.name):
            yield from chain.push(None)
            chain = None
        chain = chain or _Bwdif(picture)
        yield from chain.push(picture)
    if chain is not None:
        yield from chain.push(None)


class _Bwdif:
    """FFmpeg's deinterlacer for pictures of one size and format."""

    def __init__(self, first: VideoFrame) -> None:
        self.shape = (first.width, first.height, first.format.name)
        self.graph = Graph()
        source = self.graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base or Fraction(1, 1000)
        )
        bwdif = self.graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = self.graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self.graph.configure()

    def push(self, picture: VideoFrame | None) -> Iterator[VideoFrame]:
        """What comes out when a picture goes in; None: the rest."""
        self.graph.vpush(picture)
        while True:
            try:
                yield self.graph.vpull()
            except (NotYet, EndOfFile):
                return


class _Track:
    """The video stream of an open file, and what decodes it."""

    def __init__(self, container: InputContainer, path: Path, config: ReadConfig) -> None:
        self.container, self.path = container, path
        self.stream = film_stream(container, path, config.stream)
        context = self.stream.codec_context
        _check_pixels(path, context.width or 0, context.height or 0, config)
        self.decoder: Any = context
        with_alpha = _ALPHA_DECODERS.get(context.name) if self.stream.metadata.get("alpha_mode") == "1" else None
        if with_alpha in av.codecs_available:
            self.decoder = CodecContext.create(with_alpha, "r")
            self.decoder.extradata = context.extradata
        if config.max_pixels is not None:
            self.decoder.options = {"max_pixels": str(config.max_pixels)}
        self.decoder.thread_type = ThreadType.SLICE

    def pictures(self, notes: Notes) -> Iterator[VideoFrame]:
        """Decode packet by packet, pass over broken ones, then empty the decoder."""
        failed = left_out = 0
        for packet in self._packets(notes):
            left_out += packet is not None and packet.is_discard
            try:
                pictures = self.decoder.decode(packet)
            except EndOfFile:
                break
            except (FFmpegError, OSError, ValueError) as error:
                failed += 1
                notes.count(CORRUPT)
                if failed == _ERRORS_IN_A_ROW:
                    raise DecodeError(
                        f"{self.path}: {failed} packets in a row could not be decoded ({error})"
                    ) from error
                continue
            failed = failed if not pictures else 0
            for picture in pictures:
                if picture.time_base is None:  # those that the decoder still held at the end
                    picture.time_base = self.stream.time_base
                yield picture
        if left_out:
            notes.say(f"{left_out:,} stored frames lie outside the file's edit list and are not shown")

    def _packets(self, notes: Notes) -> Iterator[Packet | None]:
        """Packets, and None, which empties the decoder. A read error ends the file, and the decoder is emptied too."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except (FFmpegError, OSError) as error:
            notes.warn(f"the file breaks off ({getattr(error, 'strerror', None) or error})")
        yield None


_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these pass over the alpha that WebM has beside the picture."""


def _is_tick(rate: Fraction, info: VideoInfo) -> bool:
    """Whether a rate is only that of the clock: films of browsers and screen recorders, and GIFs, state none."""
    return rate * info.time_base > Fraction(1, 2) and (rate > _NO_RATE or info.container in _BY_DELAY)


def _usual_rate(path: Path, config: ReadConfig) -> Fraction | None:
    """One over the usual step between the first pictures; None: a stream, which is read once, or a single picture."""
    if not path.is_file():
        return None
    stamps: list[Fraction] = []
    with open_file(path) as container, suppress(FFmpegError, OSError):
        for packet in container.demux(film_stream(container, path, config.stream)):
            if packet.size and packet.pts is not None:
                stamps.append(packet.pts * packet.time_base)
            if len(stamps) > _STEPS_SEEN:
                break
    steps = sorted(b - a for a, b in pairwise(sorted(stamps)) if b > a)
    return 1 / steps[len(steps) // 2] if steps else None


def _describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    rotation, is_mirrored = turn_of(first)
    turned = rotation % 180 == 90
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    rate = stream.guessed_rate or stream.average_rate
    nominal, average = stream.base_rate, stream.average_rate
    tick = Fraction(stream.time_base or Fraction(1, 90000))
    stamp = _stamp(first)
    origin = origin_of(container, stream, stamp)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        rate=Fraction(rate) if rate else None,
        duration=_declared_duration(container, stream),
        frames_declared=stream.frames or None,
        time_base=tick,
        origin=origin,
        first=stamp - origin if stamp is not None else Fraction(0),
        is_constant_rate=container.format.name not in _BY_DELAY
        and (not nominal or not average or abs(nominal / average - 1) < Fraction(1, 1000)),
        rotation=rotation,
        is_mirrored=is_mirrored,
        sample_aspect=(1 / aspect if turned else aspect) if aspect > 0 else Fraction(1),
        pixel_format=first.format.name,
        bit_depth=bits_of(first.format),
        has_alpha=has_alpha(first.format),
        is_interlaced=first.interlaced_frame,
        colour=colour_of(stream, first),
        streams=tuple(stream_info(s) for s in container.streams),
    )


def _declared_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Of the stream, from its header or its Matroska tag; else of the file."""
    if stream.duration is not None and stream.time_base is not None:
        return Fraction(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")
    parts = tag.split(":")
    if len(parts) == 3:
        try:
            hours, minutes, seconds = (Fraction(part) for part in parts)
        except ValueError:
            pass
        else:
            # Matroska's tag is the end of the last frame, counted from the file's 0
            start = (stream.start_time or 0) * (stream.time_base or Fraction(0))
            return max(3600 * hours + 60 * minutes + seconds - start, Fraction(0)) or None
    return Fraction(container.duration, 1_000_000) if container.duration else None


def note_facts(info: VideoInfo, config: ReadConfig, notes: Notes, *, deep: bool = True) -> None:
    """State what the file says of itself and what the user may miss."""
    if info.bit_depth > 8 and not deep:
        notes.warn(f"{info.bit_depth} bit read as 8 bit")
    if info.is_interlaced and config.deinterlace == "off":
        notes.warn("interlaced: fields taken as frames; --deinterlace auto makes whole ones")
    if info.colour.is_guessed:
        named, taken = info.colour.unknown_matrix, name_of_matrix(info.colour.matrix)
        if named is None:  # many good films name none, and players take the same
            notes.say(f"colour matrix not said, taken as {taken}")
        else:
            notes.warn(f"colour matrix {name_of_matrix(named)} is not known here, taken as {taken}")
    if info.origin:
        notes.say(f"the file's clock starts at {float(info.origin):.3f} s, moved to 0")
    if info.first:
        notes.say(f"the picture starts {float(info.first):.3f} s after the sound, kept so")
    films = [s for s in info.streams if s.kind == "video"]
    if len(films) > 1:
        which = "first" if config.stream is None else f"stream {config.stream}"
        notes.say(f"{which} of {len(films)} video streams used")


def part_time_base(info: VideoInfo, config: ReadConfig) -> Fraction:
    """A time base of which the times of a part, counted from its start, are whole multiples."""
    if not config.start:
        return info.time_base
    tick, start = info.time_base, config.start
    below = lcm(tick.denominator, start.denominator)
    common = gcd(tick.numerator * below // tick.denominator, start.numerator * below // start.denominator)
    found = Fraction(common, below)
    return found if found.denominator <= _FINEST else tick
