"""Low resolution as people have it: what a lens, a sensor, a resizing program and an encoder leave of sharp frames.

    low = C( round( R( D_s(K * x) ) + n ) )                                                                     (1)

with K a Gaussian blur, D_s the reduction by the scale, R a detour over fewer pixels, n noise that is new in every
frame, and C one round through a video encoder, or two. A network that has only seen D_s sharpens the rest as if it were
detail.

A `Degradation` says which; `drawn` draws one as they are found (phones, DVDs, old AVIs, downloads: mostly mild, seldom
terrible), and `STRENGTHS` names a few fixed ones to measure by. All frames of one call share it. The result is decided
by the frames, the degradation and the seed (by the processor too, where its encoder's arithmetic is another one).

Frames are uint8 RGB, h w 3; sigmas are in pixels of low resolution, levels of noise in [0, 1].
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional

from stinet.data.clip import Frame
from stinet.ops.resample import crop_to_multiple, downsample, quantize, resize
from stinet.video.recode import Coding, recoded

__all__ = ["REVISION", "STRENGTHS", "Degradation", "degrade", "drawn", "seed_of"]

REVISION = 1
"""Counts up when what `drawn` and `degrade` give changes: caches made by another one are not used."""

CLEAN = 0.17
"""Share of runs that are only reduced, so that clean films stay good."""

Random = np.random.Generator
Reduction = Literal["bicubic", "area", "bilinear"]

_REDUCTIONS: tuple[Reduction, ...] = ("bicubic", "area", "bilinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """What is done to the frames of one run. The defaults are the papers' low resolution."""

    blur: tuple[float, float] = (0.0, 0.0)
    """Sigma of a Gaussian across rows and along them, in low-resolution pixels."""
    reduction: Reduction = "bicubic"
    """MATLAB's bicubic; the mean of the pixels that become one; or a triangle twice as wide."""
    detour: float = 1.0
    """The small frames are brought to this share of their sides, and back."""
    noise: float = 0.0
    """Standard deviation, at middle grey."""
    shot: bool = False
    """The noise grows with the root of the level, as counted light does; else it is the same everywhere."""
    grey: bool = False
    """The noise is the same in all colours."""
    codings: tuple[Coding, ...] = ()
    """Encoders that the frames went through, one after the other."""

    def __str__(self) -> str:
        kind = f"{'grey ' if self.grey else ''}{'shot ' if self.shot else ''}noise"
        parts = [
            f"blur {self.blur[0]:g} {self.blur[1]:g} px" if any(self.blur) else "",
            self.reduction,
            f"detour over {self.detour:.0%}" if self.detour != 1 else "",
            f"{kind} {255 * self.noise:.1f}" if self.noise else "",
            *map(str, self.codings),
        ]
        return ", ".join(filter(None, parts))


def _x264(crf: int, preset: str = "medium", **options: object) -> Coding:
    return _coding("libx264", crf=crf, preset=preset, **options)


def _coding(encoder: str, **options: object) -> Coding:
    return Coding(encoder, tuple((key, str(value)) for key, value in options.items()))


def _quantised(encoder: str, quantiser: int, **options: object) -> Coding:
    """Of constant quality, whatever its bit rate."""
    return _coding(encoder, qmin=quantiser, qmax=quantiser, **options)


STRENGTHS: Mapping[str, Degradation] = {
    "light": Degradation(codings=(_x264(20),)),
    "moderate": Degradation(blur=(0.3, 0.3), noise=2 / 255, shot=True, codings=(_x264(24),)),
    "strong": Degradation(
        blur=(0.4, 0.4), detour=0.75, noise=4 / 255, codings=(_quantised("mpeg4", 4, bf=0), _x264(26, "veryfast"))
    ),
}
"""A good download; a phone in the evening; an old AVI that was uploaded again."""


def seed_of(name: str, first: int = 0) -> tuple[int, int]:
    """The seed of the run of clip `name` that begins at frame `first`."""
    return (zlib.crc32(name.encode()), first)


def drawn(random: Random) -> Degradation:
    """A degradation as they are found."""
    if random.random() < CLEAN:
        return Degradation()
    blur = (0.0, 0.0)
    if random.random() < 0.6:
        across, along = (float(sigma) for sigma in random.uniform(0.1, 0.55, 2))
        blur = (across, along) if random.random() < 0.3 else (across, across)
    return Degradation(
        blur=blur,
        reduction=_REDUCTIONS[int(random.choice(3, p=[0.6, 0.2, 0.2]))],
        detour=float(random.uniform(0.5, 1)) if random.random() < 0.2 else 1.0,
        noise=float(random.random() ** 2 * 10 / 255) if random.random() < 0.6 else 0.0,
        shot=bool(random.random() < 0.6),
        grey=bool(random.random() < 0.4),
        codings=tuple(_drawn_coding(random) for _ in range(random.choice(3, p=[0.08, 0.77, 0.15]))),
    )


def _drawn_coding(random: Random) -> Coding:
    names = ["libx264", "mpeg4", "mpeg2video", "mjpeg", "libx265", "libvpx-vp9"]
    encoder = str(random.choice(names, p=[0.54, 0.13, 0.11, 0.08, 0.07, 0.07]))
    group, reordered = int(random.choice([6, 12, 15, 50, 250])), int(random.choice([0, 2]))
    crf = round(random.triangular(18, 24, 34))
    quantiser = round(random.triangular(2, 3, 8))
    if encoder == "libx264":
        preset = str(random.choice(["ultrafast", "veryfast", "fast", "medium"]))
        return _x264(crf, preset, g=group, bf=reordered)
    if encoder == "libx265":
        return _coding("libx265", crf=crf, preset="ultrafast", g=group)
    if encoder == "libvpx-vp9":
        return _coding("libvpx-vp9", crf=crf + 8, g=group, **{"cpu-used": 5})
    if encoder == "mjpeg":
        return _quantised("mjpeg", quantiser)
    return _quantised(encoder, quantiser, g=min(group, 15) if encoder == "mpeg2video" else group, bf=reordered)


def degrade(frames: Iterable[Frame], how: Degradation, scale: int, seed: tuple[int, ...]) -> Iterator[Frame]:
    """Make the low resolution of consecutive sharp frames, Eq. (1), one after the other.

    Sides are cropped to a multiple of `scale` first. The default degradation gives `clip.low_frame` exactly.
    """
    random = np.random.default_rng(seed)
    small = (_small(frame, how, scale, random) for frame in frames)
    for coding in how.codings:
        small = recoded(small, coding)
    yield from small


def _small(
    frame: UInt8[np.ndarray, "sh sw 3"], how: Degradation, scale: int, random: Random
) -> UInt8[np.ndarray, "h w 3"]:
    """A sharp frame up to its rounding in Eq. (1)."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].double() / 255
    image = _reduced(_blurred(crop_to_multiple(image, scale), how.blur, scale), how.reduction, scale)
    if how.detour != 1:
        size = (image.shape[-2], image.shape[-1])
        fewer = (max(round(size[0] * how.detour), 1), max(round(size[1] * how.detour), 1))
        image = resize(resize(image, fewer), size)
    if how.noise:
        image = image + _noise(image, how, random)
    return (quantize(image)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _blurred(
    image: Float64[Tensor, "1 3 sh sw"], sigmas: tuple[float, float], scale: int
) -> Float64[Tensor, "1 3 sh sw"]:
    """Gaussians over rows and columns, cut off at three sigmas; outside the frame its edge goes on."""
    for dim, sigma in zip((2, 3), sigmas, strict=True):
        reach = int(np.ceil(3 * sigma * scale))
        if not reach:
            continue
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / (sigma * scale)) ** 2)
        shape, margin = ([1, 1, -1, 1], [0, 0, reach, reach]) if dim == 2 else ([1, 1, 1, -1], [reach, reach, 0, 0])
        kernel = (taps / taps.sum()).view(shape).expand(3, 1, -1, -1)
        image = functional.conv2d(functional.pad(image, margin, mode="replicate"), kernel, groups=3)
    return image


def _reduced(image: Float64[Tensor, "1 3 sh sw"], how: Reduction, scale: int) -> Float64[Tensor, "1 3 h w"]:
    if how == "bicubic":
        return downsample(image, scale)
    if how == "area":
        return functional.avg_pool2d(image, scale)
    size = (image.shape[-2] // scale, image.shape[-1] // scale)
    return functional.interpolate(image, size, mode="bilinear", antialias=True)


def _noise(image: Float64[Tensor, "1 3 h w"], how: Degradation, random: Random) -> Float64[Tensor, "1 _ h w"]:
    shape = (1, 1 if how.grey else 3, *image.shape[-2:])
    noise = how.noise * torch.from_numpy(random.standard_normal(shape))
    return noise * (2 * image.clamp(0, 1)).sqrt() if how.shot else noise
