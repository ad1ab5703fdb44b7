"""Films with everything beside the picture, coded segments, and beeps that are found again by decoding."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

from films import pictures  # pyright: ignore[reportMissingImports]
from stinet.video.codecs import EncoderChoice
from stinet.video.encode import Segment
from stinet.video.frame import Colour

RATE = 48_000
STEADY = {"preset": "medium", "x264-params": "open-gop=0:cpu-independent=1", "threads": "1"}
"""Without cpu-independent x264 gives now and then other bytes for equal pictures."""
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A track of silence with short beeps."""

    codec: str = "aac"
    beeps_s: Sequence[float] = (0.25, 0.75)
    start_s: float = 0
    seconds: float = 1
    language: str = "eng"
    title: str = ""
    disposition: int = 0
    rate: int = RATE
    layout: str = "mono"
    pitch_hz: float = 1000


@dataclass(frozen=True, kw_only=True)
class Text:
    """A track of text subtitles: (begin, end, words) in seconds."""

    codec: str = "subrip"
    lines: Sequence[tuple[float, float, str]] = ((0.1, 0.5, "hello"), (0.6, 0.9, "goodbye"))
    language: str = "eng"
    title: str = ""
    disposition: int = 0


def opened(path: Path) -> Any:
    """A file to look into."""
    return av.open(str(path))


def whole_film(  # noqa: C901 - one part after the other
    path: Path,
    *,
    frames: int = 25,
    rate: Fraction = Fraction(25),
    first_s: Fraction = Fraction(0),
    sounds: Sequence[Sound] = (),
    texts: Sequence[Text] = (),
    chapters: Sequence[tuple[float, float, str]] = (),
    fonts: Sequence[str] = (),
    has_cover: bool = False,
    tags: dict[str, str] | None = None,
    films: int = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of tiny pictures with all that; packets interleaved by time."""
    with av.open(str(path), "w", container_options=options or {}) as out:
        out.metadata.update(tags or {})
        videos: list[Any] = [
            out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"}) for _ in range(films)
        ]
        for video in videos:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            video.time_base = video.codec_context.time_base = Fraction(1, 90_000)
        packets: list[tuple[float, Any]] = []
        streams = []
        for sound in sounds:
            stream: Any = out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
            _mark(stream, sound)
            streams.append(stream)
        subtitles = []
        for text in texts:
            stream = out.add_stream(text.codec)
            stream.codec_context.subtitle_header = ASS_HEADER
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            _mark(stream, text)
            subtitles.append(stream)
        picture_of_cover = cover()
        cover_stream: Any = None
        if has_cover and path.suffix == ".mkv":
            out.add_attachment("cover.jpg", "image/jpeg", picture_of_cover)
        elif has_cover:
            with av.open(io.BytesIO(picture_of_cover)) as file:
                cover_stream = out.add_stream_from_template(file.streams.video[0], opaque=True)
            cover_stream.disposition = Disposition.attached_pic
        for name in fonts:
            out.add_attachment(name, "font/ttf", name.encode() * 100)
        out.set_chapters([
            {"id": k + 1, "start": round(a * 1000), "end": round(b * 1000), "time_base": Fraction(1, 1000),
             "metadata": {"title": title}}
            for k, (a, b, title) in enumerate(chapters)
        ])  # fmt: skip
        out.start_encoding()
        for video in videos:
            packets += _pictures(video, frames, rate, first_s)
        for sound, stream in zip(sounds, streams, strict=True):
            packets += _sound(stream, sound)
        for text, stream in zip(texts, subtitles, strict=True):
            packets += _text(stream, text)
        if cover_stream is not None:
            packet = av.Packet(picture_of_cover)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = cover_stream, 0, 0, True
            packets.append((-1, packet))
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            out.mux(packet)
    return path


def _mark(stream: Any, of: Sound | Text) -> None:
    stream.metadata["language"] = of.language
    if of.title:
        stream.metadata["title"] = of.title
    stream.disposition = of.disposition


def _pictures(video: Any, frames: int, rate: Fraction, first_s: Fraction) -> list[tuple[float, Any]]:
    made = []
    for k, rgb in enumerate(pictures(frames)):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = round((first_s + k / rate) * 90_000), Fraction(1, 90_000)
        made += video.encode(frame)
    made += video.encode(None)
    return [(float(packet.dts * packet.time_base), packet) for packet in made]


def _sound(stream: Any, sound: Sound) -> list[tuple[float, Any]]:
    wave = np.zeros(round(sound.seconds * sound.rate), np.float32)
    tone = 0.8 * np.sin(2 * np.pi * sound.pitch_hz * np.arange(round(0.05 * sound.rate)) / sound.rate)
    for begin in sound.beeps_s:
        place = round((begin - sound.start_s) * sound.rate)
        wave[place : place + len(tone)] = tone[: max(len(wave) - place, 0)]
    made, channels = [], stream.layout.nb_channels
    size = stream.frame_size or 1024
    form = stream.format.name
    for begin in range(0, len(wave), size):
        part = wave[begin : begin + size]
        whole = np.tile(part, (channels, 1)) if form.endswith("p") or channels == 1 else np.repeat(part, channels)[None]
        kind = {"flt": np.float32, "s16": np.int16, "s32": np.int32, "u8": np.uint8}[form.rstrip("p")]
        if kind in (np.int16, np.int32):
            whole = whole * np.iinfo(kind).max
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(whole.astype(kind)),  # pyright: ignore[reportArgumentType]
            form,
            stream.layout.name,
        )
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = begin + round(sound.start_s * sound.rate)
        made += stream.encode(frame)
    made += stream.encode(None)
    return [(float(packet.pts * packet.time_base), packet) for packet in made]


def _text(stream: Any, text: Text) -> list[tuple[float, Any]]:
    made = []
    for number, (begin, end, words) in enumerate(text.lines):
        line = f"{number},0,Default,,0,0,0,,{words}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(line, 0, round((end - begin) * 1000)))
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(begin * 1000)
        packet.duration = round((end - begin) * 1000)
        made.append((begin, packet))
    return made


def cover() -> bytes:
    """A small JPEG file."""
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(pictures(1)[0]).save(file, "JPEG")
    return file.getvalue()


def beeps(path: Path, track: int = 0) -> list[Fraction]:
    """Times, by the file's own clock, at which the sound of a track begins after silence."""
    loud: list[Fraction] = []
    with opened(path) as file:
        for frame in file.decode(file.streams.audio[track]):
            wave = np.abs(_mono(frame))
            loud += [
                frame.pts * frame.time_base + Fraction(int(k), frame.sample_rate) for k in np.nonzero(wave > 0.2)[0]
            ]
    return [time for k, time in enumerate(loud) if k == 0 or time - loud[k - 1] > Fraction(1, 50)]


def _mono(frame: Any) -> np.ndarray:
    wave = frame.to_ndarray()
    full = 1.0 if wave.dtype.kind == "f" else float(np.iinfo(wave.dtype).max)
    if not frame.format.is_planar:
        wave = wave.reshape(-1, frame.layout.nb_channels).T
    return wave[0] / full


def pitch_hz(path: Path, begin_s: float, end_s: float) -> float:
    """Frequency of the strongest tone between two times of the first track."""
    wave, rate = [], 1
    with opened(path) as file:
        for frame in file.decode(file.streams.audio[0]):
            rate = frame.sample_rate
            if begin_s <= frame.time < end_s:
                wave.append(_mono(frame))
    whole = np.concatenate(wave)
    spectrum = np.abs(np.fft.rfft(whole * np.hanning(len(whole))))
    return float(np.argmax(spectrum) * rate / len(whole))


def shown(path: Path) -> list[tuple[Fraction, int]]:
    """Time, by the file's own clock, and checksum of every picture."""
    with opened(path) as file:
        return [
            (frame.pts * frame.time_base, hash(frame.to_ndarray().tobytes()))
            for frame in file.decode(file.streams.video[0])
        ]


def choice_of(
    container: str = "mp4",
    *,
    rate: Fraction = Fraction(25),
    time_base: Fraction | None = None,
    encoder: str = "libx264",
    options: dict[str, str] | None = None,
    sample_aspect: Fraction = Fraction(1),
    pix_fmt: str = "yuv420p",
) -> EncoderChoice:
    """An encoder of tiny pictures."""
    return EncoderChoice(
        encoder=encoder,
        family={"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}[encoder],
        pix_fmt=pix_fmt,
        bits=10 if pix_fmt.endswith("10le") else 8,
        keeps_alpha=False,
        options=tuple(
            (options or {"preset": "medium", "x264-params": "open-gop=0:cpu-independent=1", "threads": "1"}).items()
        ),
        container=container,
        colour=Colour(matrix=1, primaries=1, transfer=1),
        size=(64, 48),
        rate=rate,
        time_base=time_base or 1 / rate,
        sample_aspect=sample_aspect,
    )


def segments_of(
    folder: Path, times: Sequence[Fraction], choice: EncoderChoice, *, size: int = 10
) -> tuple[list[Segment], list[int]]:
    """Coded segments of `size` frames each, and the checksum of every picture as it decodes from them."""
    folder.mkdir(parents=True, exist_ok=True)
    made, sums = [], []
    for number, begin in enumerate(range(0, len(times), size)):
        part = tuple(times[begin : begin + size])
        path = folder / f"{number:06}.mkv"
        reorder = _segment(path, part, choice, pictures(len(times))[begin : begin + size])
        made.append(Segment(path=path, frames=len(part), times=part, bytes=path.stat().st_size, reorder=reorder))
        sums += [checksum for _, checksum in shown(path)]
    return made, sums


def _segment(path: Path, times: Sequence[Fraction], choice: EncoderChoice, frames: Sequence[np.ndarray]) -> int:
    number: dict[int, int] = {}
    packets: list[Any] = []
    with av.open(str(path), "w", format="matroska", container_options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(choice.encoder, rate=choice.rate, options=dict(choice.options))
        stream.width, stream.height, stream.pix_fmt = *choice.size, choice.pix_fmt
        context = stream.codec_context
        stream.time_base = context.time_base = choice.time_base
        context.sample_aspect_ratio = choice.sample_aspect
        context.colorspace, context.color_primaries = choice.colour.matrix, choice.colour.primaries
        context.color_trc = choice.colour.transfer
        for k, (time, rgb) in enumerate(zip(times, frames, strict=True)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=choice.pix_fmt)
            frame.pts, frame.time_base = round(time / choice.time_base), choice.time_base
            number[frame.pts] = k
            packets += stream.encode(frame)
        packets += stream.encode(None)
        shown_at = [number[packet.pts] for packet in packets]
        reorder = max(place - k for place, k in enumerate(shown_at))
        for place, packet in enumerate(packets):
            packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), shown_at[place], place - reorder
            packet.duration = 1
            out.mux(packet)
    return reorder
