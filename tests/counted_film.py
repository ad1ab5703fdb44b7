"""A film whose every frame says when it is shown, and a check that nothing of it was lost or moved.

The frame number stands in the upper quarter as 16 blocks, black or white: its Gray code, most significant bit first. Of
two neighbours' codes exactly one block differs, so a cross-fade of frames n and n + 1 shows n with that block grey, and
how grey it is says where between them the frame stands: the counter is read back as a fraction of a frame. Below
stand the milliseconds in digits, for people, and a bar that sweeps. Every second begins with a beep of 20 ms in two
tracks, 1 kHz in FLAC and 2 kHz in AAC. There are a subtitle and a chapter for every part.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

__all__ = ["Found", "counted_film", "examine", "read_counter", "run_measured"]

BITS = 16
SOUND_RATE = 48_000
DARK, BRIGHT = 40, 216
DARK_LUMA = 16 + DARK * 219 / 255
BRIGHT_LUMA = 16 + BRIGHT * 219 / 255


def counted_film(
    path: Path, seconds: int, *, rate: int = 25, width: int = 320, height: int = 180, parts: int = 4
) -> Path:
    """Write the film, second by second."""
    glyphs = _digits(height // 5)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        sounds: list[tuple[Any, int]] = []
        for codec, language, pitch in (("flac", "eng", 1000), ("aac", "deu", 2000)):
            track: Any = out.add_stream(codec, rate=SOUND_RATE, layout="mono")
            track.metadata["language"] = language
            sounds.append((track, pitch))
        words: Any = out.add_mux_stream("subrip")
        words.metadata["language"], words.time_base = "fra", Fraction(1, 1000)
        edges = [seconds * 1000 * k // parts for k in range(parts + 1)]
        out.set_chapters([
            {"id": k + 1, "start": edges[k], "end": edges[k + 1], "time_base": Fraction(1, 1000),
             "metadata": {"title": f"part {k + 1}"}} for k in range(parts)
        ])  # fmt: skip
        out.start_encoding()
        for second in range(seconds):
            for begin in edges[:-1]:
                if begin // 1000 == second:
                    _subtitle(out, words, begin)
            for number in range(second * rate, (second + 1) * rate):
                picture = av.VideoFrame.from_ndarray(_picture(number, rate, width, height, glyphs), format="gray")
                shown = picture.reformat(format="yuv420p")
                shown.pts, shown.time_base = number, Fraction(1, rate)
                out.mux(stream.encode(shown))
            for track, pitch in sounds:
                _beep(out, track, pitch, second)
        out.mux(stream.encode(None))
        for track, _ in sounds:
            out.mux(track.encode(None))
    return path


def _picture(number: int, rate: int, width: int, height: int, glyphs: Sequence[np.ndarray]) -> np.ndarray:
    gray = np.full((height, width), 96, np.uint8)
    code, side = number ^ (number >> 1), width // BITS
    for bit in range(BITS):
        shade = BRIGHT if code >> (BITS - 1 - bit) & 1 else DARK
        gray[: height // 4, bit * side : (bit + 1) * side] = shade
    left = number * 5 % (width - width // 20)
    gray[height // 3 :, left : left + width // 20] = 200
    text = np.concatenate([glyphs[int(digit)] for digit in f"{number * 1000 // rate:07d}"], axis=1)[:, : width - 4]
    top = height - text.shape[0] - 2
    gray[top : top + text.shape[0], 2 : 2 + text.shape[1]] = text
    return gray


def _digits(height: int) -> list[np.ndarray]:
    made = []
    for digit in "0123456789":
        small = Image.new("L", (7, 11), 0)
        ImageDraw.Draw(small).text((1, 0), digit, fill=255)
        made.append(np.asarray(small.resize((max(height * 7 // 11, 1), max(height, 1)))))
    return made


def _subtitle(out: Any, track: Any, begin_ms: int) -> None:
    packet = av.Packet(f"at {begin_ms} ms".encode())
    packet.pts = packet.dts = begin_ms
    packet.duration, packet.time_base, packet.stream = 500, Fraction(1, 1000), track
    out.mux(packet)


def _beep(out: Any, track: Any, pitch: int, second: int) -> None:
    wave = np.zeros(SOUND_RATE, np.int16)
    length = SOUND_RATE // 50
    wave[:length] = (20_000 * np.cos(2 * np.pi * pitch * np.arange(length) / SOUND_RATE)).astype(np.int16)
    for begin in range(0, SOUND_RATE, 960):
        part = av.AudioFrame.from_ndarray(wave[None, begin : begin + 960], format="s16", layout="mono")
        part.sample_rate, part.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
        part.pts = second * SOUND_RATE + begin
        out.mux(track.encode(part))


def read_counter(luma: np.ndarray) -> float:
    """The frame number, with its fraction, of one picture of any size (h w)."""
    height, width = luma.shape
    side = width / BITS
    rows = luma[height // 16 : height // 4 - height // 16]
    means = [rows[:, round((b + 0.3) * side) : round((b + 0.7) * side)].mean() for b in range(BITS)]
    share = np.clip((np.asarray(means) - DARK_LUMA) / (BRIGHT_LUMA - DARK_LUMA), 0, 1)
    code = "".join("1" if s > 0.5 else "0" for s in share)
    unsure = int(np.argmin(np.abs(share - 0.5)))
    if min(share[unsure], 1 - share[unsure]) < 0.04:
        return float(_number(code))
    without, with_it = (_number(code[:unsure] + bit + code[unsure + 1 :]) for bit in "01")
    return float(without + (with_it - without) * share[unsure])


def _number(gray_code: str) -> int:
    code = value = int(gray_code, 2)
    while code := code >> 1:
        value ^= code
    return value


@dataclass(frozen=True)
class Found:
    """What a file holds."""

    frames: int
    size: tuple[int, int]
    times: tuple[Fraction, ...]
    counters: tuple[float, ...]
    beeps: tuple[tuple[float, ...], ...]
    """Onsets in seconds, for every track."""
    sound: tuple[bytes, ...]
    """Hash of every track's packets."""
    sound_times: tuple[tuple[float, ...], ...]
    """When they are heard."""
    languages: tuple[str, ...]
    subtitles: tuple[tuple[Fraction, str], ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]


def examine(path: Path) -> Found:
    """Read all of it by PyAV alone."""
    times, counters, size = [], [], (0, 0)
    with av.open(str(path)) as file:
        shown: Iterator[Any] = file.decode(video=0)
        for picture in shown:
            times.append(picture.pts * picture.time_base)
            size = (picture.width, picture.height)
            counters.append(read_counter(_luma(picture)))
    with av.open(str(path)) as file:
        tracks = [s.index for s in file.streams.audio]
        languages = tuple(s.metadata.get("language", "") for s in file.streams if s.type in ("audio", "subtitle"))
        chapters = tuple(
            (
                Fraction(c["start"] * (c["time_base"] or 0)),
                Fraction(c["end"] * (c["time_base"] or 0)),
                c["metadata"]["title"],
            )
            for c in file.chapters()
        )
    beeps, sound, heard = zip(*(_listen(path, index) for index in tracks), strict=True)
    return Found(
        len(times), size, tuple(times), tuple(counters), beeps, sound, heard, languages, _subtitles(path), chapters
    )


def _luma(picture: Any) -> np.ndarray:
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: picture.height, : picture.width]


def _listen(path: Path, index: int) -> tuple[tuple[float, ...], bytes, tuple[float, ...]]:
    """Onsets of beeps, a hash of the packets, and their times."""
    import hashlib

    onsets, heard, digest, last = [], [], hashlib.sha256(), -1.0
    with av.open(str(path)) as file:
        track: Any = file.streams[index]
        for packet in file.demux(track):
            if packet.size:
                digest.update(bytes(packet))
                heard.append(float(packet.pts * packet.time_base))
            for frame in packet.decode():
                samples = np.abs(frame.to_ndarray().reshape(-1).astype(float))
                samples /= 1.0 if frame.format.name.startswith("flt") else 32768.0
                for place in np.flatnonzero(samples > 0.15)[:1]:
                    at = float(frame.pts * frame.time_base + Fraction(int(place), frame.sample_rate))
                    if at - last > 0.5:
                        onsets.append(at)
                        last = at
    return tuple(onsets), digest.digest(), tuple(heard)


def _subtitles(path: Path) -> tuple[tuple[Fraction, str], ...]:
    with av.open(str(path)) as file:
        tracks = file.streams.subtitles
        if not tracks:
            return ()
        shown: Iterator[Any] = file.demux(tracks[0])
        return tuple((p.pts * p.time_base, bytes(p).decode()) for p in shown if p.size)


def run_measured(words: Sequence[object], limit_s: float = 3600) -> tuple[int, int, str]:
    """Run a program; gives its exit code, its largest resident memory in bytes, and what it printed."""
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=write, stderr=write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024, said
