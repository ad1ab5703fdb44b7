r"""Alignment over a pyramid with deformable convolutions: PCD of EDVR (Wang et al. 2019, section 3.2).

A feature is halved twice. From the coarsest level to the finest, both features give a guide, the guide gives offsets
and masks, and one feature is read there; what the coarser level found is enlarged and joined to both:

    g_l = act(conv(act(conv([act(conv([moving_l, fixed_l])), 2 up(g_{l+1})]))))
    a_l = conv([DCN(moving_l, offsets and masks of g_l), up(a_{l+1})])

Zooming Slow-Mo (Xiang et al. 2020) goes both ways between two features and fuses the two results: `PairAlign` so makes
the feature between two frames, and brings a recurrent state to a frame. TMNet (Xu et al. 2021) adds to every guide what
a `modulator` makes of it for a time.

Levels are (n c h w), (n c ceil(h/2) ceil(w/2)) and (n c ceil(h/4) ceil(w/4)). Sizes need not be multiples of 4: a
coarser level is enlarged to the finer one's size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import conv, leaky
from stinet.ops.deform_conv import bound_offsets, deform_conv

__all__ = ["LEVELS", "Deform", "PairAlign", "Pyramid", "PyramidAlign"]

LEVELS = 3


class Pyramid(nn.Module):
    """A feature and what is left of it after one and two halvings, two convolutions each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.halve = nn.ModuleList(conv(channels, channels, stride=2) for _ in range(LEVELS - 1))
        self.smooth = nn.ModuleList(conv(channels, channels) for _ in range(LEVELS - 1))

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The levels, finest first; the finest is `x` itself."""
        levels = [x]
        for halve, smooth in zip(self.halve, self.smooth, strict=True):
            levels.append(leaky(smooth(leaky(halve(levels[-1])))))
        return levels


class Deform(nn.Module):
    """Modulated deformable convolution whose offsets and masks come from another feature, the guide."""

    def __init__(self, channels: int, *, kernel: int, groups: int, max_offset_px: float | None) -> None:
        """Offsets start at zero; `max_offset_px` bounds them, None lets them go anywhere, as the papers do."""
        super().__init__()
        self.groups = groups
        self.max_offset_px = max_offset_px
        self.split = 2 * groups * kernel * kernel
        self.weights = conv(channels, channels, kernel)
        self.offsets = conv(channels, 3 * groups * kernel * kernel, gain=0.0)

    def forward(self, x: Float[Tensor, "n c h w"], guide: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Read `x` where `guide` says; same shape."""
        raw = self.offsets(guide).float()
        offset = raw[:, : self.split]
        if self.max_offset_px is not None:
            offset = bound_offsets(offset, self.max_offset_px)
        w = self.weights
        return deform_conv(x, offset, raw[:, self.split :], w.weight, w.bias, groups=self.groups)


class PyramidAlign(nn.Module):
    """One pyramid brought to another; gives the finest level."""

    def __init__(
        self,
        *,
        channels: int,
        kernel: int = 3,
        groups: int = 8,
        max_offset_px: float | None = None,
        modulators: Sequence[nn.Module] = (),
    ) -> None:
        """`modulators`, one a level and finest first, are called with (guide's source, time)."""
        super().__init__()
        deform = {"kernel": kernel, "groups": groups, "max_offset_px": max_offset_px}
        self.difference = nn.ModuleList(conv(2 * channels, channels) for _ in range(LEVELS))
        self.coarser = nn.ModuleList(conv(2 * channels, channels) for _ in range(LEVELS - 1))
        self.guide = nn.ModuleList(conv(channels, channels) for _ in range(LEVELS))
        self.deform = nn.ModuleList(Deform(channels, **deform) for _ in range(LEVELS))
        self.merge = nn.ModuleList(conv(2 * channels, channels) for _ in range(LEVELS - 1))
        self.modulators = nn.ModuleList(modulators)

    def forward(
        self, moving: Sequence[Tensor], fixed: Sequence[Tensor], time: Float[Tensor, "n 1 1 1"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """`moving` as it would be where `fixed` is; `time` goes to the modulators, None leaves them out."""
        guide = aligned = None
        for level in reversed(range(LEVELS)):
            source = leaky(self.difference[level](torch.cat([moving[level], fixed[level]], dim=1)))
            if guide is not None:
                source = leaky(self.coarser[level](torch.cat([source, 2 * _enlarged(guide, source)], dim=1)))
            guide = leaky(self.guide[level](source))
            if len(self.modulators) and time is not None:
                guide = guide + self.modulators[level](source, time)
            moved = self.deform[level](moving[level], guide)
            if aligned is not None:
                moved = self.merge[level](torch.cat([moved, _enlarged(aligned, moved)], dim=1))
            aligned = leaky(moved) if level else moved
        assert aligned is not None
        return aligned


class PairAlign(nn.Module):
    """Two features brought to each other, each way by weights of its own, and fused by a 1x1 convolution."""

    def __init__(self, *, channels: int, ahead: PyramidAlign, back: PyramidAlign) -> None:
        super().__init__()
        self.ahead = ahead
        self.back = back
        self.fuse = conv(2 * channels, channels, 1)

    @classmethod
    def of(cls, channels: int, *, kernel: int, groups: int, max_offset_px: float | None) -> "PairAlign":
        """Two plain alignments, without modulators."""
        deform = {"kernel": kernel, "groups": groups, "max_offset_px": max_offset_px}
        ways = [PyramidAlign(channels=channels, **deform) for _ in range(2)]
        return cls(channels=channels, ahead=ways[0], back=ways[1])

    def forward(
        self, first: Sequence[Tensor], second: Sequence[Tensor], time: Float[Tensor, "n 1 1 1"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """What stands between two pyramids; `time` is -1 at the first and 1 at the second, negated the other way."""
        ahead = self.ahead(first, second, time)
        back = self.back(second, first, None if time is None else -time)
        return self.fuse(torch.cat([ahead, back], dim=1))


def _enlarged(x: Float[Tensor, "n c _ _"], like: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    size = (like.shape[-2], like.shape[-1])
    return functional.interpolate(x.to(like.dtype), size=size, mode="bilinear", align_corners=False)
