"""EDVR (Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", 2019).

Every frame is made larger with the help of those around it: they are brought to it by PCD alignment (section 3.2),
weighed by how like it they are and fused, the result weighed pixel by pixel (TSA, section 3.3), then residual blocks,
two PixelShuffles and a bilinear enlargement of the frame itself. Around the ends of a clip frames come back in the
opposite order.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.errors import ConfigError
from stinet.model.blocks import conv, leaky
from stinet.model.pyramid import Deform, Pyramid, PyramidAlign
from stinet.peers.parts import SCALE, Enlarge, Extract, RivalNet, blocks, enlarged

__all__ = ["Edvr", "EdvrConfig", "Fuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdvrConfig:
    """Sizes of the network; the defaults are the authors' large one for x4."""

    channels: Annotated[int, "feature channels"] = 128
    groups: Annotated[int, "offset groups of every deformable convolution"] = 8
    front_blocks: Annotated[int, "residual blocks before alignment"] = 5
    back_blocks: Annotated[int, "residual blocks before enlargement"] = 40
    frames: Annotated[int, "frames that one is made of: 5 as trained on REDS, 7 on Vimeo-90K"] = 5

    def __post_init__(self) -> None:
        """Refuse a window without a middle."""
        if self.frames % 2 == 0 or self.frames < 1:
            raise ConfigError(f"a window of {self.frames} frames has no middle: use an odd number")


class Edvr(RivalNet):
    """Every frame of a clip at 4 times the size."""

    def __init__(self, config: EdvrConfig = EdvrConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.reach = c.frames // 2
        deform = {"kernel": 3, "groups": c.groups, "max_offset_px": None}
        self.extract = Extract(c.channels, c.front_blocks)
        self.pyramid = Pyramid(c.channels)
        self.align = PyramidAlign(channels=c.channels, **deform)
        self.cascade = nn.ModuleDict({"joint": conv(2 * c.channels, c.channels), "guide": conv(c.channels, c.channels)})
        self.deform = Deform(c.channels, **deform)
        self.fuse = Fuse(c.channels, c.frames)
        self.trunk = blocks(c.channels, c.back_blocks)
        self.enlarge = Enlarge(c.channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    def forward(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t 3 sh sw"]:
        """Enlarge the frames of one clip in [0, 1]; not clamped."""
        levels = self.pyramid(self.extract(frames))
        count = frames.shape[0]
        made = []
        for index in range(count):
            fixed = [level[index : index + 1] for level in levels]
            around = [_mirrored(place, count) for place in range(index - self.reach, index + self.reach + 1)]
            aligned = torch.cat([self._aligned([level[i : i + 1] for level in levels], fixed) for i in around])
            made.append(enlarged(self.enlarge, self.trunk(self.fuse(aligned.unsqueeze(0)))))
        base = functional.interpolate(frames, scale_factor=SCALE, mode="bilinear", align_corners=False)
        return torch.cat(made) + base

    def _aligned(self, moving: list[Tensor], fixed: list[Tensor]) -> Float[Tensor, "n c h w"]:
        """A neighbour brought to a frame: over the pyramid, then once more at full size."""
        found = self.align(moving, fixed)
        guide = leaky(self.cascade["joint"](torch.cat([found, fixed[0]], dim=1)))
        return leaky(self.deform(found, leaky(self.cascade["guide"](guide))))


class Fuse(nn.Module):
    """Temporal and spatial attention: one feature of all aligned ones (TSA, section 3.3)."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.middle = frames // 2
        self.of_middle = conv(channels, channels)
        self.of_each = conv(channels, channels)
        self.fuse = conv(frames * channels, channels, 1)
        self.attend = conv(frames * channels, channels, 1)
        self.pooled = conv(2 * channels, channels, 1)
        self.halved = nn.ModuleList([conv(channels, channels), conv(channels, channels, 1)])
        self.quartered = nn.ModuleList(
            [conv(channels, channels, 1), conv(2 * channels, channels), conv(channels, channels)]
        )
        self.weigh = conv(channels, channels)
        self.add = nn.ModuleList(conv(channels, channels, 1) for _ in range(2))

    def forward(self, aligned: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n c h w"]:
        """Fuse frames that are aligned to the middle one."""
        each = self.of_each(aligned.flatten(0, 1)).unflatten(0, aligned.shape[:2])
        likeness = (each * self.of_middle(aligned[:, self.middle]).unsqueeze(1)).sum(dim=2, keepdim=True).sigmoid()
        seen = (aligned * likeness).flatten(1, 2)
        fused = leaky(self.fuse(seen))
        half = leaky(self.pooled(_pooled(leaky(self.attend(seen)))))
        quarter = leaky(self.quartered[1](_pooled(leaky(self.quartered[0](half)))))
        quarter = _grown(leaky(self.quartered[2](quarter)), half)
        half = leaky(self.halved[1](leaky(self.halved[0](half)) + quarter))
        weights = self.weigh(_grown(half, fused))
        return 2 * fused * weights.sigmoid() + self.add[1](leaky(self.add[0](weights)))


def _pooled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ hh hw"]:
    """Largest and mean values at half the size."""
    return torch.cat([functional.max_pool2d(x, 3, 2, 1), functional.avg_pool2d(x, 3, 2, 1)], dim=1)


def _grown(x: Float[Tensor, "n c hh hw"], like: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    return functional.interpolate(x, size=(like.shape[-2], like.shape[-1]), mode="bilinear", align_corners=False)


def _mirrored(place: int, count: int) -> int:
    """A frame of a clip of `count`; beyond its ends frames come back."""
    period = max(2 * (count - 1), 1)
    place %= period
    return place if place < count else period - place
