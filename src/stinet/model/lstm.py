r"""Bidirectional deformable ConvLSTM over the frames of one branch (Zooming Slow-Mo, Xiang et al. 2020, section 3.2).

Going either way, hidden state h and cell state c are brought to the next frame before a ConvLSTM takes it:

    h', c' = align_h(F_t, h_{t-1}), align_c(F_t, c_{t-1})
    i, f, o, g = conv([F_t, h']);   c_t = sigma(f) c' + sigma(i) tanh(g);   h_t = sigma(o) tanh(c_t)

Each align is a `PairAlign` over a pyramid, with weights of its own. Both directions share all weights; their hidden
states are fused by a 1x1 convolution. It is what ST-GR replaces: Table IV of the paper has it back (ST-GR -> BDCL), and
Table VI takes it out of TMNet.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.model.blocks import conv
from stinet.model.pyramid import PairAlign, Pyramid

__all__ = ["ConvLstm"]


class _StateAlign(nn.Module):
    """A recurrent state brought to a frame."""

    def __init__(self, channels: int, *, kernel: int, groups: int, max_offset_px: float | None) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels)
        self.pair = PairAlign.of(channels, kernel=kernel, groups=groups, max_offset_px=max_offset_px)

    def forward(self, frame: list[Tensor], state: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """`frame` comes as the levels of this alignment's own pyramid."""
        return self.pair(frame, self.pyramid(state))


class ConvLstm(nn.Module):
    """BDCL; `is_residual` adds the clip to what the two directions make of it (the papers' networks do not)."""

    def __init__(
        self, *, channels: int, kernel: int, groups: int, max_offset_px: float | None, is_residual: bool
    ) -> None:
        super().__init__()
        self.is_residual = is_residual
        deform = {"kernel": kernel, "groups": groups, "max_offset_px": max_offset_px}
        self.hidden = _StateAlign(channels, **deform)
        self.cell = _StateAlign(channels, **deform)
        self.gates = conv(2 * channels, 4 * channels)
        self.fuse = conv(2 * channels, channels, 1, gain=0.5 if is_residual else 1.0)

    def forward(self, x: Float[Tensor, "bu c h w"], frames: int) -> Float[Tensor, "bu c h w"]:
        """Refine clips of `frames` frames in both directions; same shape."""
        clip = _both_ways(x, frames)
        hidden_levels, cell_levels = (
            [_both_ways(level, frames) for level in align.pyramid(x)] for align in (self.hidden, self.cell)
        )
        hidden = cell = torch.zeros_like(clip[:, 0])
        seen = []
        for index in range(frames):
            moved = self.hidden([level[:, index] for level in hidden_levels], hidden)
            kept = self.cell([level[:, index] for level in cell_levels], cell)
            joined = torch.cat([clip[:, index], moved.to(clip.dtype)], dim=1)
            write, forget, show, new = self.gates(joined).chunk(4, dim=1)
            cell = forget.sigmoid() * kept + write.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
            seen.append(hidden)
        ahead, back = torch.stack(seen, dim=1).chunk(2)
        both = torch.cat([ahead, back.flip(1)], dim=2).flatten(0, 1)
        out = self.fuse(both.contiguous(memory_format=torch.channels_last))
        return x + out if self.is_residual else out


def _both_ways(x: Float[Tensor, "bu c h w"], frames: int) -> Float[Tensor, "b2 u c h w"]:
    """Clips forwards, and below them the same clips backwards: both directions are one batch."""
    clip = x.unflatten(0, (-1, frames))
    return torch.cat([clip, clip.flip(1)])
