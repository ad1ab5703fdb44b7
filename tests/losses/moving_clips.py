"""Clips whose motion is known."""

import math

import torch
from torch import Tensor


def sliding(frames: int, side: int, step: float = 1.0, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """One gray-free texture of 40 plane waves, moving by (step, step / 2) px a frame: 1 u 3 side side in [0, 1]."""
    random = torch.Generator().manual_seed(7)
    waves = torch.randn(40, 6, generator=random, dtype=torch.float64) * torch.tensor([0.35, 0.35, 1, 1, 1, 1])
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, side, side)), indexing="ij")
    clip = torch.full((frames, 3, side, side), 0.5, dtype=torch.float64)
    for fx, fy, phase, *colour in waves.tolist():
        wave = torch.cos(fx * (x - step * t) + fy * (y - step * t / 2) + 2 * math.pi * phase)
        clip += 0.03 * wave[:, None] * torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
    return clip.clamp(0, 1).to(dtype)[None]
