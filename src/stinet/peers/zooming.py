"""Zooming Slow-Mo (Xiang et al., "Fast and Accurate One-Stage Space-Time Video Super-Resolution", 2020).

    F_t      = features of every given frame                                      section 3.1
    F_{t+1}  = PCD alignment both ways between F_t and F_{t+2}, fused             section 3.1
    h        = bidirectional deformable ConvLSTM over all frames                  section 3.2
    V        = residual blocks and two PixelShuffles                              section 3.3

The frame between two is always the one in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Times
from stinet.model.blocks import join_times, take
from stinet.model.interpolate import Flows
from stinet.model.lstm import ConvLstm
from stinet.model.pyramid import PairAlign, Pyramid
from stinet.model.stinet import Draft, Output
from stinet.model.timeline import Timeline
from stinet.peers.parts import Enlarge, Extract, RivalNet, blocks, enlarged, refuse_other_times

__all__ = ["ZoomingConfig", "ZoomingSlowMo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoomingConfig:
    """Sizes of the network; the defaults are the authors'."""

    channels: Annotated[int, "feature channels"] = 64
    groups: Annotated[int, "offset groups of every deformable convolution"] = 8
    front_blocks: Annotated[int, "residual blocks before alignment"] = 5
    back_blocks: Annotated[int, "residual blocks before enlargement"] = 40


class ZoomingSlowMo(RivalNet):
    """A clip of any length at 4 times the size, with one frame more in every interval, or none."""

    reach: int = 2

    def __init__(self, config: ZoomingConfig = ZoomingConfig()) -> None:
        super().__init__()
        self.config = c = config
        deform = {"kernel": 3, "groups": c.groups, "max_offset_px": None}
        self.extract = Extract(c.channels, c.front_blocks)
        self.pyramid = Pyramid(c.channels)
        self.pair = PairAlign.of(c.channels, **deform)
        self.lstm = ConvLstm(channels=c.channels, **deform, is_residual=False)
        self.trunk = blocks(c.channels, c.back_blocks)
        self.enlarge = Enlarge(c.channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        times: Times = (0.5,),
        flows: Flows | None = None,
        stamps: Sequence[float] | None = None,
    ) -> Output:
        """All frames in order of time; an interval's times are (0.5,) or none. Flows and stamps play no part.

        Raises:
            UsageError: another time than 0.5.

        """
        del flows
        batch, sources = frames.shape[:2]
        line = Timeline.of(sources, times, stamps)
        refuse_other_times(line, "Zooming Slow-Mo")
        given = self.extract(frames.flatten(0, 1))
        levels = self.pyramid(given)
        left = [interval for interval, _ in line.between]
        pairs = [[take(level, batch, [i + after for i in left]) for level in levels] for after in (0, 1)]
        clip = join_times(given, self.pair(*pairs), batch, line.order) if left else given
        made = enlarged(self.enlarge, self.trunk(self.lstm(clip, len(line.order))))
        return Output(Draft(None, None), made.unflatten(0, (batch, -1)))
