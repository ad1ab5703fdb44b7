"""Small films that tests make themselves, and three-line clip functions that stand in for a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from stinet.config import Tile


@dataclass
class Repeat:
    """Repeats pixels and blends neighbours: a whole clip function in a few lines."""

    scale: int = 4
    reach: int = 1
    clips: list[int] = field(default_factory=list)
    prepared: int = 0

    def prepare(self, frame: Tensor) -> Tensor:
        self.prepared += 1
        return frame

    def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
        assert len(times) == len(states) - 1
        self.clips.append(len(states))

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        frames = in_order(states, times)
        if tile is not None:
            frames = frames[..., tile.top : tile.bottom, tile.left : tile.right]
        return frames.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def in_order(states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> Tensor:
    """Given frames and blended in-between ones."""
    frames = []
    for i, state in enumerate(states):
        frames.append(state)
        frames += [torch.lerp(state, states[i + 1], t) for t in (times[i] if i < len(times) else ())]
    return torch.stack(frames)


def pictures(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """A bright square that moves over a smooth ground; every frame differs from every other."""
    down, across = np.mgrid[0:height, 0:width]
    made = []
    for k in range(count):
        rgb = np.stack([across * 2 % 256, down * 3 % 256, (across + down) % 256], axis=2).astype(np.uint8) // 2
        left = k * 3 % max(width - 8, 1)
        rgb[height // 4 : height // 2, left : left + 8] = (250, 200 - k % 100, 40)
        made.append(rgb)
    return made


def film(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    time_base: Fraction | None = None,
    sound_s: float = 0,
    sound: str = "aac",
    sound_start_s: float = 0,
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    mirror: bool = False,
    prepare: Any = None,
) -> Path:
    """Encode frames, with a tone if `sound_s` is not 0; `prepare` may change the video stream before the first."""
    tick = time_base or 1 / rate
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=rate, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = tick
        if rotation or mirror:
            stream.set_display_rotation(rotation, hflip=mirror)
        if prepare is not None:
            prepare(stream)
        audio: Any = out.add_stream(sound, rate=16_000, layout="mono") if sound_s else None
        for k, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = round((k / rate if times is None else times[k]) / tick)
            picture.time_base = tick
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        if audio is not None:
            out.mux(tone(audio, sound_s, sound_start_s))
    return path


def tone(stream: Any, seconds: float, start_s: float) -> list[Any]:
    """Packets of a 440 Hz tone."""
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(16_000 * seconds)) / 16_000) * 32767).astype(np.int16)
    packets = []
    for begin in range(0, len(wave), 1024):
        part = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="s16", layout="mono")
        part.sample_rate, part.pts, part.time_base = 16_000, begin + round(start_s * 16_000), Fraction(1, 16_000)
        packets += stream.encode(part)
    return packets + stream.encode(None)


def packets(path: Path, kind: str = "audio") -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every packet of the first stream of a kind."""
    with av.open(str(path)) as file:
        stream = next(s for s in file.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in file.demux(stream) if p.size and p.pts is not None]


def without_rate(source: Path, target: Path) -> Path:
    """A copy of a Matroska film that states neither rate nor durations, as browsers and screen recorders write it."""
    with av.open(str(source)) as stated, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(stated.streams.video[0])
        for packet in stated.demux(stated.streams.video[0]):
            if packet.size:
                packet.duration, packet.stream = 0, stream
                out.mux(packet)
    return target
