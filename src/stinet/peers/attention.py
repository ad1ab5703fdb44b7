r"""Attention in windows over all frames of a clip: what RSTT is built of (Geng et al. 2022, section 3.2).

A frame is cut into windows of 4x4 pixels; the pixels of one window in all frames attend to each other, or to those of
another clip. Every second block shifts the windows by half their size, round the frame's edge; pixels that only the
shift brings together do not see each other:

    softmax(q k^T / sqrt(d) + B) v,      B one number a head for every difference of (frame, row, column)

Clips are (b t h w c). Frames whose sides are no multiples of a window get zeros, which are seen, as in the authors'
code. B's table is for the number of frames that a network is made for; a shorter clip uses a part of it.
"""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["WINDOW", "CrossBlock", "SelfBlock", "WindowAttention"]

WINDOW = 4
"""Side of a window in pixels."""

HIDDEN = -100.0
"""What is added to the score of a pixel that must not be seen."""


class WindowAttention(nn.Module):
    """Multi-head attention of `frames` query frames (every `step`-th of them has keys) within one window."""

    def __init__(self, channels: int, heads: int, *, frames: int, step: int) -> None:
        super().__init__()
        self.heads = heads
        self.frames = frames
        self.step = step
        span = 2 * WINDOW - 1
        self.bias = nn.Parameter(torch.empty((2 * frames - 1) * span * span, heads))
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.bias, std=0.02)

    def forward(
        self,
        queries: Float[Tensor, "b windows n c"],
        keys: Float[Tensor, "b windows m c"],
        hidden: Float[Tensor, "windows 1 n m"] | None,
    ) -> Float[Tensor, "b windows n c"]:
        """New values of the queries; `hidden` is added to the scores."""
        q = self.query(queries).unflatten(-1, (self.heads, -1)).transpose(2, 3)
        k, v = self.key_value(keys).unflatten(-1, (2, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        pixels = WINDOW * WINDOW
        index = _differences(q.shape[3] // pixels, k.shape[3] // pixels, self.step, self.frames).to(self.bias.device)
        scores = self.bias[index].permute(2, 0, 1).unsqueeze(0).to(q.dtype)
        scores = scores if hidden is None else scores + hidden.to(q.dtype)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=scores)
        return self.out(seen.transpose(2, 3).flatten(3))


class SelfBlock(nn.Module):
    """Encoder's block: a clip attends to itself, then two layers a pixel."""

    def __init__(self, channels: int, heads: int, *, frames: int, ratio: float, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.before_attention = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, frames=frames, step=1)
        self.before_layers = nn.LayerNorm(channels)
        self.layers = _layers(channels, ratio)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        """Refine a clip; same shape."""
        normed = self.before_attention(x)
        x = x + _attend(self.attention, normed, normed, self.shift)
        return x + self.layers(self.before_layers(x))


class CrossBlock(nn.Module):
    """Decoder's block: a clip of 2t - 1 frames attends to itself, then to the encoder's of t frames."""

    def __init__(self, channels: int, heads: int, *, frames: int, ratio: float, shift: int) -> None:
        """`frames` are those of the larger clip."""
        super().__init__()
        self.shift = shift
        self.before_self = nn.LayerNorm(channels)
        self.self_attention = WindowAttention(channels, heads, frames=frames, step=1)
        self.before_cross = nn.LayerNorm(channels)
        self.of_keys = nn.LayerNorm(channels)
        self.cross_attention = WindowAttention(channels, heads, frames=frames, step=2)
        self.before_layers = nn.LayerNorm(channels)
        self.layers = _layers(channels, ratio)

    def forward(self, x: Float[Tensor, "b u h w c"], keys: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b u h w c"]:
        """Refine the larger clip; same shape."""
        normed = self.before_self(x)
        x = x + _attend(self.self_attention, normed, normed, self.shift)
        x = x + _attend(self.cross_attention, self.before_cross(x), self.of_keys(keys), self.shift)
        return x + self.layers(self.before_layers(x))


def _layers(channels: int, ratio: float) -> nn.Sequential:
    inner = int(channels * ratio)
    return nn.Sequential(nn.Linear(channels, inner), nn.GELU(), nn.Linear(inner, channels))


def _attend(net: WindowAttention, x: Tensor, keys: Tensor, shift: int) -> Float[Tensor, "b u h w c"]:
    """What attention makes of `x`, in windows shifted by `shift` pixels along every side longer than a window."""
    height, width = x.shape[2:4]
    shifts = [shift if side > WINDOW else 0 for side in (height, width)]
    padded = [-(-side // WINDOW) * WINDOW for side in (height, width)]
    queries = _windows(x, shifts)
    pairs = queries if keys is x else _windows(keys, shifts)
    hidden = None
    if any(shifts):
        # frames differ in nothing here: the table for one frame against one, repeated
        alone = _hidden(padded[0], padded[1], shifts[0], shifts[1]).to(x.device)
        hidden = alone.repeat(1, x.shape[1], keys.shape[1]).unsqueeze(1)
    made = net(queries, pairs, hidden)
    rows, columns = padded[0] // WINDOW, padded[1] // WINDOW
    clip = made.unflatten(1, (rows, columns)).unflatten(3, (-1, WINDOW, WINDOW))  # b rows columns t y x c
    whole = clip.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
    return torch.roll(whole, shifts, dims=(2, 3))[:, :, :height, :width]


def _windows(x: Float[Tensor, "b t h w c"], shifts: list[int]) -> Float[Tensor, "b windows n c"]:
    """The clip cut into windows, each with its pixels of all frames."""
    height, width = x.shape[2:4]
    x = functional.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    x = torch.roll(x, [-shift for shift in shifts], dims=(2, 3))
    cut = x.unflatten(3, (-1, WINDOW)).unflatten(2, (-1, WINDOW))  # b t rows y columns x c
    return cut.permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(1, 2)


@lru_cache(maxsize=16)
def _differences(queries: int, keys: int, step: int, frames: int) -> Int[Tensor, "n m"]:
    """For every pair of pixels of a window the row of B's table; key frame j stands at frame `step` * j."""
    side = torch.arange(WINDOW)
    at = torch.cartesian_prod(torch.arange(queries), side, side)
    to = torch.cartesian_prod(torch.arange(keys) * step, side, side)
    apart = at[:, None] - to[None] + torch.tensor([frames - 1, WINDOW - 1, WINDOW - 1])
    span = 2 * WINDOW - 1
    return (apart * torch.tensor([span * span, span, 1])).sum(dim=-1)


@lru_cache(maxsize=16)
def _hidden(height: int, width: int, down: int, right: int) -> Float[Tensor, "windows n n"]:
    """What is added to the scores between the pixels of one frame's shifted windows."""
    area = 3 * _parts(height, down)[:, None] + _parts(width, right)[None]
    cut = area.unflatten(1, (-1, WINDOW)).unflatten(0, (-1, WINDOW))  # rows y columns x
    pixels = cut.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return (pixels[:, :, None] != pixels[:, None]).float() * HIDDEN


def _parts(side: int, shift: int) -> Int[Tensor, "n"]:
    """Which part of a shifted side a pixel is of: before the last window, in it, or brought round the edge."""
    at = torch.arange(side)
    if shift == 0:
        return torch.zeros_like(at)
    return (at >= side - WINDOW).long() + (at >= side - shift).long()
