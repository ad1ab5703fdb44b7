"""RSTT (Geng et al., "RSTT: Real-time Spatial Temporal Transformer for Space-Time Video Super-Resolution", 2022).

    E_0..E_3   encoders on 4 frames, each at half the size of the one before                       section 3.2
    Q          queries of 7 frames: the last encoder's frames, and means of neighbours between     section 3.3
    D_0..D_3   decoders on 7 frames that also attend to the encoder of their size                  section 3.3
    V          two PixelShuffles, plus the trilinear enlargement of the given frames               section 3.4

The tables of the attention's biases are for 4 frames to 7. A shorter clip uses a part of them; a longer one is shown
in windows of 4 given frames that share one frame, as the papers' protocol does, and a shared frame is the earlier
window's.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import conv
from stinet.model.timeline import Timeline
from stinet.peers.attention import WINDOW, CrossBlock, SelfBlock
from stinet.peers.parts import SCALE, Enlarge, RivalClipNet, enlarged

__all__ = ["Rstt", "RsttConfig"]

GIVEN = 4
"""Frames that the network is made for."""

HEADS = (2, 4, 8, 16)
"""Heads of the encoders, finest first; the decoders mirror them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RsttConfig:
    """Sizes of the network; depths 4, 6 and 8 are the authors' S, M and L."""

    channels: Annotated[int, "feature channels"] = 96
    depth: Annotated[int, "blocks of every encoder and decoder"] = 4
    ratio: Annotated[float, "inner channels of the layers after attention, over channels"] = 2.0


class Rstt(RivalClipNet):
    """A clip of any length at 4 times the size, with one frame more in every interval, or none."""

    title: str = "RSTT"

    def __init__(self, config: RsttConfig = RsttConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.entry = conv(3, c.channels)
        self.encoders = nn.ModuleList(_stage(SelfBlock, c, heads, GIVEN) for heads in HEADS)
        # the last one is never used; the authors' files have it
        self.shrink = nn.ModuleList(nn.Conv2d(c.channels, c.channels, 4, stride=2, padding=1) for _ in HEADS)
        self.decoders = nn.ModuleList(_stage(CrossBlock, c, heads, 2 * GIVEN - 1) for heads in HEADS[::-1])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(c.channels, c.channels, 2, stride=2) for _ in HEADS[1:])
        self.enlarge = Enlarge(c.channels)
        self.apply(_initialise)

    def made(self, frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "b u 3 sh sw"]:
        """An interval's times are (0.5,) or none; stamps play no part."""
        sources = line.sources
        parts = [self._window(frames[:, :GIVEN])]
        for first in range(GIVEN - 1, sources - 1, GIVEN - 1):
            start = max(min(first, sources - GIVEN), 0)
            parts.append(self._window(frames[:, start : first + GIVEN])[:, 2 * (first - start) + 1 :])
        made = torch.cat(parts, dim=1)
        due = [round(2 * line.position(index)[0] + 2 * line.position(index)[1]) for index in range(len(line.order))]
        return made[:, due]

    def _window(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b u 3 sh sw"]:
        """All 2t - 1 frames of at most 4 given ones."""
        batch, count, _, height, width = frames.shape
        size = (2 * count - 1, SCALE * height, SCALE * width)
        base = functional.interpolate(frames.transpose(1, 2), size=size, mode="trilinear", align_corners=False)
        x = functional.leaky_relu(self.entry(frames.flatten(0, 1)), 0.01)
        smallest = 2 ** (len(HEADS) - 1)
        x = functional.pad(x, (0, -width % smallest, 0, -height % smallest))
        x = x.unflatten(0, (batch, count)).permute(0, 1, 3, 4, 2)
        seen = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(x if level == 0 else _by_frame(self.shrink[level - 1], x))
            seen.append(x)
        y = _with_means(x)
        for level, decoder in enumerate(self.decoders):
            y = y if level == 0 else _by_frame(self.grow[level - 1], y)
            assert isinstance(decoder, nn.Sequential)
            for block in decoder:
                y = block(y, seen[-1 - level])
        y = y[:, :, :height, :width].permute(0, 1, 4, 2, 3).flatten(0, 1)
        made = enlarged(self.enlarge, y.contiguous(memory_format=torch.channels_last))
        return made.unflatten(0, (batch, -1)) + base.transpose(1, 2)


def _stage(kind: type[SelfBlock] | type[CrossBlock], c: RsttConfig, heads: int, frames: int) -> nn.Sequential:
    shifts = [WINDOW // 2 * (index % 2) for index in range(c.depth)]
    return nn.Sequential(*(kind(c.channels, heads, frames=frames, ratio=c.ratio, shift=shift) for shift in shifts))


def _by_frame(net: nn.Module, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h2 w2 c"]:
    """A convolution on every frame of a clip."""
    made = net(x.flatten(0, 1).permute(0, 3, 1, 2))
    return made.permute(0, 2, 3, 1).unflatten(0, (x.shape[0], -1))


def _with_means(x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b u h w c"]:
    """Every frame, and between two of them their mean: t frames become 2t - 1."""
    pairs = torch.stack([x[:, :-1], (x[:, :-1] + x[:, 1:]) / 2], dim=2).flatten(1, 2)
    return torch.cat([pairs, x[:, -1:]], dim=1)


def _initialise(module: nn.Module) -> None:
    """Small weights for every matrix, as vision transformers start (the authors' code)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
