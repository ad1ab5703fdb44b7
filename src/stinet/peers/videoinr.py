"""VideoINR (Chen et al., "VideoINR: Learning Video Implicit Neural Representation for Continuous STVSR", CVPR 2022).

    F_0, F_1 = features of the two frames around a time t; F_m between them: Zooming Slow-Mo's, up to its trunk
    F        = [F_0, F_m, F_1],  I = [I_0, I_1]
    G(x, t)  = siren([F, I at the source pixel of x, x within it, t])              spatial representation
    M(x, t)  = siren([G(x, t), F(x), I(x), t]), a flow to either side              temporal representation
    V(x, t)  = siren([G, F and I at x + M_0, at x + M_1, t])                       section 3.3

x is a place of the large grid. An interval is made from its own two frames; a given frame is time 0 of the interval
that it begins, the last one time 1 of the last. The authors' code decodes in two ways that differ in how I is enlarged;
this is the one of training. Their network carries Zooming Slow-Mo's exit without using it, and their 11.31 M count it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import take
from stinet.model.timeline import Timeline
from stinet.peers.parts import SCALE, Enlarge
from stinet.peers.zooming import ZoomingConfig, ZoomingFront

__all__ = ["VideoInr", "VideoInrConfig"]

OMEGA = 30.0
"""Frequency of every sine (SIREN, Sitzmann et al. 2020, section 3.2)."""

STRIP_ROWS = 16
"""Source rows that are decoded at once: 525 maps of full size would take 0.9 GB at 720x576."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInrConfig(ZoomingConfig):
    """Sizes of the network; the defaults are the authors'."""

    hidden: Annotated[int, "width of the first layers of a representation"] = 64
    wide: Annotated[int, "width of its last layers"] = 256


class _Siren(nn.Module):
    """Layers with sines between them, along the last axis."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        for index, (layer, inputs) in enumerate(zip(self.layers, widths, strict=False)):
            bound = (6 / inputs) ** 0.5 / OMEGA if index else 1 / inputs
            nn.init.uniform_(layer.weight, -bound, bound)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """The last layer has no sine."""
        for layer in self.layers[:-1]:
            x = torch.sin(OMEGA * layer(x))
        return self.layers[-1](x)


class VideoInr(ZoomingFront):
    """A clip of any length at 4 times the size, with frames at any times."""

    title: str = "VideoINR"
    reach: int = 1

    def __init__(self, config: VideoInrConfig = VideoInrConfig()) -> None:
        super().__init__(c := config)
        around, narrow = 3 * c.channels + 6, (c.hidden, c.hidden, c.wide)
        self.feature = _Siren((around + 3, *narrow, c.channels))
        self.flow = _Siren((around + c.channels + 1, *narrow, 4))
        self.color = _Siren((2 * (around + c.channels) + 1, *narrow, c.wide, 3))
        self.unused = Enlarge(c.channels).requires_grad_(requires_grad=False)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    @property
    def any_time(self) -> bool:
        """Yes."""
        return True

    def made(self, frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "b u 3 sh sw"]:
        """Stamps play no part."""
        batch, last = frames.shape[0], max(line.sources - 2, 0)
        sides = [list(range(last + 1)), [min(i + 1, line.sources - 1) for i in range(last + 1)]]
        images = frames.flatten(0, 1)
        levels = self.pyramid(self.extract(images))
        first, second = ([take(level, batch, side) for level in levels] for side in sides)
        clip = torch.stack([first[0], self.pair(first, second).to(first[0].dtype), second[0]], dim=1)
        clip = self.trunk(self.lstm(clip.flatten(0, 1).contiguous(memory_format=torch.channels_last), 3))
        features = clip.unflatten(0, (batch, -1, 3)).flatten(2, 3)
        colors = torch.cat([take(images, batch, side) for side in sides], dim=1).unflatten(0, (batch, -1))
        made = []
        for index in range(len(line.order)):
            interval, time = line.position(index)
            if interval > last:
                interval, time = last, 1.0
            made.append(self._decoded(features[:, interval].float(), colors[:, interval].float(), time))
        return torch.stack(made, dim=1)

    def _decoded(
        self, features: Float[Tensor, "b c h w"], colors: Float[Tensor, "b 6 h w"], time: float
    ) -> Float[Tensor, "b 3 sh sw"]:
        """One frame in float32: 30 times a value rounded to 8 bits is no phase."""
        with nullcontext() if features.is_meta else torch.autocast(features.device.type, enabled=False):
            known = torch.cat([features, colors], dim=1)
            strips = [slice(row, row + STRIP_ROWS) for row in range(0, known.shape[-2], STRIP_ROWS)]
            fine = torch.cat([self._fine(known[..., rows, :], time) for rows in strips], dim=2)
            places, grid = _centers(fine), _corners(fine)
            made = []
            for rows in (slice(SCALE * strip.start, SCALE * strip.stop) for strip in strips):
                here = [_last(fine[..., rows, :]), _sampled(known, places[:, rows])]
                flow = self.flow(_timed(here, time)) / _half_spans(fine)
                read = [(grid[:, rows] + part).clamp(-1 + 1e-6, 1 - 1e-6) for part in flow.split(2, dim=-1)]
                made.append(self.color(_timed(self._around(fine, known, read), time)).movedim(-1, 1))
        return torch.cat(made, dim=2)

    def _fine(self, known: Float[Tensor, "b c h w"], time: float) -> Float[Tensor, "b d sh sw"]:
        """The spatial representation: what is known of a pixel, read at 4 x 4 places within it."""
        large = known.repeat_interleave(SCALE, dim=-2).repeat_interleave(SCALE, dim=-1)
        steps = (torch.arange(SCALE, device=known.device) * 2 + 1.0) / SCALE - 1
        down, across = steps.repeat(known.shape[-2])[:, None], steps.repeat(known.shape[-1])[None]
        within = torch.stack(torch.broadcast_tensors(down, across), dim=-1).expand(known.shape[0], -1, -1, -1)
        return self.feature(_timed([_last(large), within], time)).movedim(-1, 1)

    def _around(self, fine: Tensor, known: Tensor, read: Sequence[Tensor]) -> list[Tensor]:
        """Both sides' fine features, then features, then colours, as the authors order them."""
        channels = 3 * self.config.channels
        both = [_sampled(known, places) for places in read]
        return [
            *(_sampled(fine, places) for places in read),
            *(side[..., :channels] for side in both),
            *(side[..., channels:] for side in both),
        ]


def _last(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w c"]:
    return x.movedim(1, -1)


def _timed(parts: Sequence[Tensor], time: float) -> Float[Tensor, "b h w c"]:
    return torch.cat([*parts, torch.full_like(parts[0][..., :1], time)], dim=-1)


def _sampled(x: Float[Tensor, "b c _ _"], places: Float[Tensor, "_ h w 2"]) -> Float[Tensor, "b h w c"]:
    """Outside the frame are zeros, in the half pixel at its borders too, as in the authors' code."""
    grid = places.expand(x.shape[0], -1, -1, -1)
    return _last(functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False))


def _centers(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 h w 2"]:
    """Where pixels lie if -1 and 1 are the outer edges of the frame."""
    down, across = ((torch.arange(n, device=like.device) * 2 + 1.0) / n - 1 for n in like.shape[-2:])
    return torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None]


def _corners(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 h w 2"]:
    """Where they lie if -1 and 1 are the outer pixels: where the authors' flows start from."""
    down, across = (torch.linspace(-1, 1, n, device=like.device) for n in like.shape[-2:])
    return torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None]


def _half_spans(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "4"]:
    height, width = like.shape[-2:]
    return torch.tensor([(width - 1) / 2, (height - 1) / 2] * 2, device=like.device)
