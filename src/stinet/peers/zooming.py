"""Zooming Slow-Mo (Xiang et al., "Fast and Accurate One-Stage Space-Time Video Super-Resolution", 2020).

    F_t      = features of every given frame                                      section 3.1
    F_{t+1}  = PCD alignment both ways between F_t and F_{t+2}, fused             section 3.1
    h        = bidirectional deformable ConvLSTM over all frames                  section 3.2
    V        = residual blocks and two PixelShuffles                              section 3.3

The frame between two is always the one in the middle.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.model.blocks import join_times
from stinet.model.lstm import ConvLstm
from stinet.model.pyramid import PairAlign, Pyramid
from stinet.model.timeline import Timeline
from stinet.peers.parts import Enlarge, Extract, RivalClipNet, blocks, enlarged, pairs_of

__all__ = ["ZoomingConfig", "ZoomingFront", "ZoomingSlowMo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoomingConfig:
    """Sizes of the network; the defaults are the authors'."""

    channels: Annotated[int, "feature channels"] = 64
    groups: Annotated[int, "offset groups of every deformable convolution"] = 8
    front_blocks: Annotated[int, "residual blocks before alignment"] = 5
    back_blocks: Annotated[int, "residual blocks behind it"] = 40


class ZoomingFront(RivalClipNet):
    """Its parts up to the trunk, which VideoINR took over."""

    def __init__(self, config: ZoomingConfig) -> None:
        super().__init__()
        self.config = c = config
        deform = {"kernel": 3, "groups": c.groups, "max_offset_px": None}
        self.extract = Extract(c.channels, c.front_blocks)
        self.pyramid = Pyramid(c.channels)
        self.pair = PairAlign.of(c.channels, **deform)
        self.lstm = ConvLstm(channels=c.channels, **deform, is_residual=False)
        self.trunk = blocks(c.channels, c.back_blocks)


class ZoomingSlowMo(ZoomingFront):
    """A clip of any length at 4 times the size, with one frame more in every interval, or none."""

    title: str = "Zooming Slow-Mo"
    reach: int = 2

    def __init__(self, config: ZoomingConfig = ZoomingConfig()) -> None:
        super().__init__(config)
        self.enlarge = Enlarge(config.channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    def made(self, frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "b u 3 sh sw"]:
        """An interval's times are (0.5,) or none; stamps play no part."""
        batch = frames.shape[0]
        clip = self.extract(frames.flatten(0, 1))
        if line.between:
            clip = join_times(clip, self.pair(*pairs_of(self.pyramid(clip), batch, line)), batch, line.order)
        made = enlarged(self.enlarge, self.trunk(self.lstm(clip, len(line.order))))
        return made.unflatten(0, (batch, -1))
