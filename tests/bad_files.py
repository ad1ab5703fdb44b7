"""Makers of the difficult files that people really have. Every maker is deterministic and makes a file of a few kB.

Films come from `films.film`; here they are cut off, patched in their bytes, or written with what that one cannot write:
many streams, other codecs, odd stamps, HDR. What a file holds is stated by the maker, so that a test need not ask the
reader that it checks. `truth` is the other witness: frames and times by PyAV alone, one packet after the other.
"""

import io
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.filter import Graph
from av.stream import Disposition
from av.video.frame import VideoFrame
from PIL import Image

from films import film, pictures, tone

H264 = ("libx264", "yuv420p", {"crf": "6", "preset": "ultrafast", "x264-params": "keyint=8:scenecut=0"})
CODECS = {
    "mp4": (H264, "aac"),
    "mkv": (("libx264", "yuv420p", {**H264[2], "bf": "2", "preset": "veryfast"}), "libopus"),
    "mov": (("prores_ks", "yuv422p10le", {}), "pcm_s16le"),
    "webm": (("libvpx-vp9", "yuv420p", {"crf": "10", "b": "0", "cpu-used": "8", "deadline": "realtime"}), "libopus"),
    "avi": (("mpeg4", "yuv420p", {"qscale": "2", "g": "8"}), "pcm_s16le"),
    "ts": (("mpeg2video", "yuv420p", {"qscale": "2", "g": "8"}), "mp2"),
}
"""Container -> its video encoder with pixel format and options, its audio encoder."""

MASTERING = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400:hdr10=1:"
)
PQ = "repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:log-level=none"


@dataclass(frozen=True)
class Shown:
    """What a player that gives up on nothing shows of a file."""

    times: tuple[Fraction | None, ...]
    frames: tuple[np.ndarray, ...]
    errors: int


def truth(path: Path, stream: int = 0, form: str = "rgb24") -> Shown:
    """Decode by PyAV alone: every packet, errors passed over, the decoder emptied."""
    times, frames, errors = [], [], 0
    with av.open(f"file:{path.absolute()}", metadata_errors="replace") as file:
        track = file.streams.video[stream]
        for packet in file.demux(track):
            try:
                shown = packet.decode()
            except EndOfFile:
                break
            except (FFmpegError, ValueError):
                errors += 1
                continue
            for picture in shown:
                assert isinstance(picture, VideoFrame)
                times.append(None if picture.pts is None else picture.pts * Fraction(picture.time_base or 1))
                frames.append(picture.to_ndarray(format=form))
    return Shown(tuple(times), tuple(frames), errors)


def ordinary(path: Path, count: int = 24, width: int = 64, height: int = 48, rate: int = 24) -> Path:
    """An ordinary film with sound, in the codecs of its container (mp4, mkv, mov, webm, avi, ts)."""
    (codec, pix_fmt, options), sound = CODECS[path.suffix[1:]]
    sample_rate = 48_000 if "opus" in sound else 16_000
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        audio: Any = out.add_stream(sound, rate=sample_rate, layout="mono")
        for rgb in pictures(count, width, height):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
        out.mux(_tone(audio, sample_rate, count / rate))
    return path


def _tone(audio: Any, rate: int, seconds: float) -> list[Any]:
    """Packets of a 440 Hz tone at any rate, in whichever sample format the encoder has."""
    wave = (9000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.int16)
    resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=rate)
    made = []
    size = audio.codec_context.frame_size or 1024
    for begin in range(0, len(wave), size):
        part = av.AudioFrame.from_ndarray(wave[None, begin : begin + size], format="s16", layout="mono")
        part.sample_rate, part.pts, part.time_base = rate, begin, Fraction(1, rate)
        for ready in resampler.resample(part):
            made += audio.encode(ready)
    return made + audio.encode(None)


# what a file must not be: rows 1, 2, 4, 26


def html(path: Path) -> Path:
    """A page that a download gave in place of the film."""
    path.write_text("<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n")
    return path


def text(path: Path) -> Path:
    path.write_text("dear diary, today I made a film\n" * 20)
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def noise(path: Path, size: int = 20_000) -> Path:
    path.write_bytes(np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8).tobytes())
    return path


def jpeg(path: Path) -> Path:
    Image.fromarray(pictures(1)[0]).save(path, format="JPEG", quality=95)
    return path


def playlist(path: Path, entry: Path) -> Path:
    """A playlist of one other film."""
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nfile://{entry.resolve()}\n#EXT-X-ENDLIST\n")
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        out.mux(tone(out.add_stream("aac", rate=16_000, layout="mono"), 0.5, 0))
    return path


def film_without_frames(path: Path) -> Path:
    """A sound track beside a video track that holds no packet."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        out.start_encoding()
        out.mux(tone(audio, 0.5, 0))
    return path


def encrypted(path: Path) -> Path:
    """A film whose sample entry says that its packets are encrypted (Common Encryption, scheme cenc)."""
    data = film(path, pictures(6)).read_bytes()
    entry, place = b"avc1", data.find(b"stsd")
    path.write_bytes(patched(data, data.find(entry, place), b"encv"))
    return path


# cut off and damaged: rows 2, 3, 21, 22


def cut(path: Path, share: float) -> Path:
    """Throw away everything after `share` of the bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def without_index(path: Path) -> Path:
    """An MP4 whose recorder was switched off: all pictures, no moov."""
    data = film(path, pictures(10)).read_bytes()
    place = data.rfind(b"moov") - 4
    assert place > data.find(b"mdat"), "the index was expected at the end"
    path.write_bytes(data[:place])
    return path


def fast_start(path: Path, count: int = 40) -> Path:
    """An MP4 whose index stands before the pictures, key frames every 8."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream: Any = out.add_stream("libx264", rate=20, options=H264[2])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for rgb in pictures(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    return path


def with_corrupt_packets(path: Path, spoiled: Sequence[int], count: int = 30, rate: int = 25) -> Path:
    """Intra-only pictures of which those of the given numbers hold nothing that can be decoded."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=rate, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        number = 0
        for rgb in [*pictures(count), None]:
            picture = None if rgb is None else av.VideoFrame.from_ndarray(rgb, format="rgb24")
            for packet in stream.encode(picture):
                made = packet
                if number in spoiled:
                    made = av.Packet(b"\x00" * packet.size)
                    made.pts, made.dts, made.time_base, made.stream = packet.pts, packet.dts, packet.time_base, stream
                    made.is_keyframe, made.duration = True, packet.duration
                out.mux(made)
                number += 1
    return path


def with_frame_count(path: Path, count: int, said: int) -> Path:
    """An AVI whose headers say `said` frames and that holds `count`."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for rgb in pictures(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    data = patched(data, data.find(b"avih") + 8 + 16, struct.pack("<I", said))  # dwTotalFrames
    data = patched(data, data.find(b"strh") + 8 + 32, struct.pack("<I", said))  # dwLength
    path.write_bytes(data)
    return path


def patched(data: bytes, place: int, by: bytes) -> bytes:
    """`data` with other bytes at `place`."""
    assert 0 <= place <= len(data) - len(by)
    return data[:place] + by + data[place + len(by) :]


# times: rows 8, 9, 10, 20


def raw_h264(path: Path, sizes: Sequence[tuple[int, int]] = ((64, 48),), count: int = 10) -> Path:
    """H.264 without a container, hence without times; `count` pictures of each size after one another."""
    path.write_bytes(b"".join(_annex_b(pictures(count, *size)) for size in sizes))
    return path


def _annex_b(frames: Sequence[np.ndarray]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="h264") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for rgb in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def with_stamps(path: Path, stamps_ms: Sequence[int]) -> Path:
    """A Matroska film of intra-only pictures with exactly these stamps, backward and equal ones included."""
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream: Any = out.add_stream("mjpeg", rate=25, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        made = []
        for rgb in pictures(len(stamps_ms)):
            made += stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
        for number, (packet, stamp) in enumerate(zip(made + stream.encode(None), stamps_ms, strict=True)):
            packet.time_base, packet.pts = Fraction(1, 1000), stamp
            packet.dts = number - 10_000  # Matroska keeps none, and FFmpeg wants rising ones below pts
            out.mux(packet)
    return path


# shape and colour: rows 11, 12, 13, 14, 15, 16


def turned_by_header(path: Path, degrees: int, count: int = 4) -> Path:
    """A phone's film: the track header's matrix asks players to turn it clockwise by 90, 180 or 270 degrees."""
    data = film(path, pictures(count)).read_bytes()
    one = 0x10000
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    place = data.find(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, reserved to volume
    path.write_bytes(patched(data, place, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)))
    return path


def hdr10(path: Path, count: int = 4, transfer: str = "smpte2084") -> Path:
    """10-bit HEVC with BT.2020 primaries, the PQ (or HLG) curve, mastering display and light level."""
    with av.open(str(path), "w") as out:
        options = {"preset": "ultrafast", "x265-params": MASTERING + PQ.replace("smpte2084", transfer), "crf": "8"}
        stream: Any = out.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc = 9, {"smpte2084": 16, "arib-std-b67": 18}[transfer]
        context.colorspace, context.color_range = 9, 1
        for k in range(count):
            picture = VideoFrame(64, 48, "yuv420p10le")
            for plane, (low, high) in zip(picture.planes, ((64, 940), (300, 700), (300, 700)), strict=True):
                ramp = np.linspace(low, high, plane.width).round().astype("<u2")
                rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
                rows[:, : plane.width] = np.roll(ramp, k * plane.width // 16)
                plane.update(rows.tobytes())
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def deep(path: Path, bits: int = 10, count: int = 3) -> Path:
    """FFV1 in 10 or 12 bit 4:4:4 with a ramp whose steps 8 bit cannot hold."""
    form = {10: "yuv444p10le", 12: "yuv444p12le"}[bits]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        for k in range(count):
            picture = VideoFrame(64, 48, form)
            middle = 1 << (bits - 1)
            for index, plane in enumerate(picture.planes):
                rows = np.full((48, plane.line_size // 2), middle, "<u2")
                if index == 0:
                    rows[:, :64] = middle + np.arange(64) + 2 * k
                plane.update(rows.tobytes())
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def interlaced(path: Path, count: int = 6) -> Path:
    """MPEG-2 whose pictures are flagged as two fields, the top one first."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        shots = pictures(2 * count)
        for k in range(count):
            woven = shots[2 * k].copy()
            woven[1::2] = shots[2 * k + 1][1::2]
            picture = av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(_as_fields(picture)))
        out.mux(stream.encode(None))
    return path


def _as_fields(picture: VideoFrame) -> VideoFrame:
    """The picture flagged as interlaced, by FFmpeg's setfield."""
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25)
    )
    field, sink = graph.add("setfield", "mode=tff"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    graph.push(picture)
    made = graph.pull()
    assert isinstance(made, VideoFrame)
    return made


def animated(path: Path, delays_ms: Sequence[int]) -> Path:
    """A GIF or an APNG with these delays, hundredths of a second each."""
    frames = [Image.fromarray(rgb).quantize(32) if path.suffix == ".gif" else Image.fromarray(rgb)
              for rgb in pictures(len(delays_ms))]  # fmt: skip
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(delays_ms), loop=0, disposal=1)
    return path


# many streams: rows 17, 18, 19

SRT = ((0, 300, "one"), (400, 300, "two, <i>leaning</i>"))
CHAPTERS = ((0, 500, "Opening"), (500, 1000, "The end"))


def rich(path: Path, count: int = 25) -> Path:
    """A film with two sound tracks, a subtitle track, chapters, tags and, in Matroska, a font and a cover."""
    with av.open(str(path), "w") as out:
        out.metadata.update({"title": "Ferien", "artist": "Anna"})
        stream: Any = out.add_stream("libx264", rate=25, options=H264[2])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sounds: list[Any] = []
        for language in ("eng", "deu"):
            sounds.append(out.add_stream("aac", rate=16_000, layout="mono"))
            sounds[-1].metadata["language"] = language
        words: Any = out.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
        words.metadata["language"], words.time_base = "fra", Fraction(1, 1000)
        if path.suffix == ".mkv":
            out.add_attachment("hand.ttf", "application/x-truetype-font", b"\0\1\0\0 a font, perhaps")
        out.set_chapters(
            [
                {"id": k, "start": begin, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": name}}
                for k, (begin, end, name) in enumerate(CHAPTERS)
            ]
        )  # pyright: ignore[reportArgumentType]
        out.start_encoding()
        for begin, length, line in SRT:
            data = line.encode()
            packet = av.Packet(data if path.suffix == ".mkv" else struct.pack(">H", len(data)) + data)
            packet.pts = packet.dts = begin
            packet.duration, packet.time_base, packet.stream = length, Fraction(1, 1000), words
            out.mux(packet)
        for rgb in pictures(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
        for sound in sounds:
            out.mux(tone(sound, count / 25, 0))
    return path


def two_films_and_a_cover(path: Path) -> Path:
    """An MP4 with a cover picture first, then a film of 64x48 and one of 32x24."""
    picture = io.BytesIO()
    Image.fromarray(pictures(1, 40, 40)[0]).save(picture, format="JPEG")
    with av.open(str(path), "w") as out:
        cover: Any = out.add_mux_stream("mjpeg", width=40, height=40)
        cover.disposition = Disposition.attached_pic
        films: list[Any] = []
        for size in ((64, 48), (32, 24)):
            films.append(out.add_stream("libx264", rate=25, options=H264[2]))
            (films[-1].width, films[-1].height), films[-1].pix_fmt = size, "yuv420p"
        out.start_encoding()
        packet = av.Packet(picture.getvalue())
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), cover, True
        out.mux(packet)
        for stream in films:
            for rgb in pictures(6, stream.width, stream.height):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            out.mux(stream.encode(None))
    return path


# how things move: row 23


def on_twos(count: int = 24, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Drawn at 12 pictures a second and shown at 24: a square that steps 4 px every other frame."""
    drawn = [moving_square(2 * k, width, height) for k in range((count + 1) // 2)]
    return [picture for picture in drawn for _ in range(2)][:count]


GROUND = 20


def moving_square(step: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A bright square 2 px further to the right with every step, on a dark ramp."""
    rgb = np.full((height, width, 3), GROUND, np.uint8)
    rgb[..., 2] += np.arange(width, dtype=np.uint8)[None] // 2
    left = 2 * step
    rgb[height // 3 : height // 3 + 12, left : left + 12] = (240, 220, 60)
    return rgb


def position(rgb: np.ndarray) -> float:
    """Centre of the bright square, in pixels: the mean column by how much brighter than the ground it is."""
    weight = (rgb[..., 0].astype(float) - GROUND).sum(0)
    return float((weight * np.arange(len(weight))).sum() / weight.sum())


def steps(values: Sequence[Any]) -> list[Any]:
    """Differences of neighbours."""
    return [b - a for a, b in pairwise(values)]


# names: row 24

NAMES = (
    "with space.mp4",
    'quote\'s "double".mp4',
    "100%25 %d %s.mp4",
    "hash#1?q=2&x.mp4",
    "col:on.mp4",
    "-y.mp4",
    "-",
    "line\nbreak.mp4",
    "pipe:x.mp4",
    "concat:x.mp4",
    "http:x.mp4",
    "$(touch pwned);`touch pwned`.mp4",
    "[0-9]*{a,b}.mp4",
    "frame%04d.mp4",
    "Ünïcödé 🎬 日本.mp4",
    "a\\b.mp4",
    "@list.mp4",
    "..mp4",
)
"""Names that some program takes for an option, a protocol, a pattern or a command ("-" alone is the pipe)."""


def names_of_one_line(message: str) -> bool:
    """Whether a message is one line of print and holds no traceback."""
    return "\n" not in message.strip() and not re.search(r"Traceback|File \"", message)
