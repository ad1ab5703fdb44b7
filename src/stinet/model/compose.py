r"""Beyond the paper, after phase 4: in-between frames composed of three estimates at full size.

The network restores an in-between frame from features that were warped on the LR grid, where detail of the HR grid
cannot move by less than a pixel without a blur. The frames next to it are restored already, detail and all, so they
are warped as well, on the HR grid, and every pixel takes what can be trusted most:

    V_tau <- w_0 V_tau + w_1 J(V_i, O_{tau -> i}) + w_2 J(V_{i+1}, O_{tau -> i+1}),     (w_0, w_1, w_2) =
    softmax(a(H_tau) + b(|J(X_i, .) - J(X_{i+1}, .)|) + (0, log(1 - tau), log tau))

J warps by the cubic kernel, X are the LR frames, V the restored ones, O the flows of Eq. (1) enlarged to the HR grid; a
and b are convolutions that start from zero: half the network's frame and half a blend by time. H is L where there is
no H. Where the two warped LR frames disagree, something is covered or the flow is wrong.

Frames are RGB in [0, 1] where the network is right, flows LR pixels, channel 0 = dx.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.model.blocks import conv
from stinet.model.interpolate import Between, enlarge_flow
from stinet.model.reconstruct import unfold
from stinet.model.timeline import Timeline
from stinet.ops.warp import warp_cubic

__all__ = ["Compose"]


class Compose(nn.Module):
    """Blend every in-between frame with both restored neighbours."""

    def __init__(self, *, channels: int, scale: int, fold: int) -> None:
        """`fold` is the factor between the grid of the features and the HR grid."""
        super().__init__()
        self.scale = scale
        self.fold = fold
        self.trust = conv(channels, 3 * fold**2, gain=0.0)
        self.mismatch = conv(3, 3 * fold**2, gain=0.0)

    def forward(
        self,
        frames: Float[Tensor, "bu 3 sh sw"],
        features: Float[Tensor, "bu c gh gw"],
        between: Between,
        line: Timeline,
    ) -> Float[Tensor, "bu 3 sh sw"]:
        """All frames of every clip in order of time; those in between are written over, in place."""
        clips = frames.unflatten(0, (-1, len(line.order)))
        made, left, right = (self._places(line, which, frames.device) for which in ("made", "left", "right"))
        seen = features.unflatten(0, clips.shape[:2]).index_select(1, made).flatten(0, 1)
        weights = self._weights(seen.contiguous(memory_format=torch.channels_last), between, line)
        total = weights[:, :1] * clips.index_select(1, made).flatten(0, 1)
        for place, flow, weight in (
            (left, between.to_left, weights[:, 1:2]),
            (right, between.to_right, weights[:, 2:]),
        ):
            moved = warp_cubic(clips.index_select(1, place).flatten(0, 1), enlarge_flow(flow, self.scale))
            total = torch.addcmul(total, weight, moved)
        return clips.index_copy_(1, made, total.unflatten(0, (clips.shape[0], -1))).flatten(0, 1)

    def _weights(self, features: Tensor, between: Between, line: Timeline) -> Float[Tensor, "bm 3 sh sw"]:
        """What each of the three estimates counts at every pixel; sums to one."""
        evidence = between.mismatch.contiguous(memory_format=torch.channels_last)
        if self.fold == 1:
            evidence = nn.functional.interpolate(evidence, features.shape[-2:], mode="bilinear", align_corners=False)
        logits = (self.trust(features) + self.mismatch(evidence)).float()
        by_time = torch.tensor(
            [(0.0, math.log(1 - tau), math.log(tau)) for _, tau in line.between], device=logits.device
        ).repeat(logits.shape[0] // len(line.between), 1)
        logits = logits.unflatten(1, (3, -1)) + by_time[:, :, None, None, None]
        return unfold(logits.softmax(dim=1).flatten(1, 2), self.fold)

    @staticmethod
    def _places(line: Timeline, which: str, device: torch.device) -> Tensor:
        """Among the output frames: the in-between ones, or the source frame left or right of each."""
        index = [place for place in range(len(line.order)) if line.order[place] >= line.sources]
        if which != "made":
            side = 0 if which == "left" else 1
            index = [line.order.index(interval + side) for interval, _ in line.between]
        return torch.tensor(index, dtype=torch.long, device=device)
