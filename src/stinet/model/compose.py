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
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.model.blocks import conv
from stinet.model.interpolate import Between
from stinet.model.reconstruct import unfold
from stinet.model.timeline import Timeline
from stinet.ops.pictures import blend, enlarge, goes_to_opencv, interleaved, warp_picture

__all__ = ["FULL_WEIGHT", "Compose", "compose", "compose_frame"]

FULL_WEIGHT = 2.0**10
"""What the weights of a blend add up to, or more: OpenCV adds 1e-5 to the sum that it divides by."""


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
        """All frames of every clip in order of time; `frames` may be written over."""
        clips = frames.unflatten(0, (-1, len(line.order)))
        made = torch.tensor(_places(line).made, dtype=torch.long, device=frames.device)
        seen = features.unflatten(0, clips.shape[:2]).index_select(1, made).flatten(0, 1)
        shares = self.shares(seen.contiguous(memory_format=torch.channels_last), between, line)
        return compose(frames, shares, between.to_left, between.to_right, line)

    def shares(
        self, features: Float[Tensor, "bm c gh gw"], between: Between, line: Timeline
    ) -> Float[Tensor, "bm 3 sh sw"]:
        """What each of the three estimates counts at every pixel of the in-between frames; sums to one."""
        evidence = between.mismatch.contiguous(memory_format=torch.channels_last)
        if self.fold == 1:
            evidence = nn.functional.interpolate(evidence, features.shape[-2:], mode="bilinear", align_corners=False)
        logits = (self.trust(features) + self.mismatch(evidence)).float()
        by_time = torch.tensor(
            [(0.0, math.log(1 - tau), math.log(tau)) for _, tau in line.between], device=logits.device
        ).repeat(logits.shape[0] // len(line.between), 1)
        logits = logits.unflatten(1, (3, -1)) + by_time[:, :, None, None, None]
        return unfold(logits.softmax(dim=1).flatten(1, 2), self.fold)


def compose(
    frames: Float[Tensor, "bu 3 sh sw"],
    shares: Float[Tensor, "bm 3 sh sw"],
    to_left: Float[Tensor, "bm 2 h w"],
    to_right: Float[Tensor, "bm 2 h w"],
    line: Timeline,
) -> Float[Tensor, "bu 3 sh sw"]:
    """Frames of every clip, those in between blended as `shares` asks for.

    All at once where gradients or a GPU want it, else one after the other: a frame then stays in the CPU's cache, and
    the result is channels_last.
    """
    places = _places(line)
    clips = frames.unflatten(0, (-1, len(line.order)))
    scale = frames.shape[-2] // to_left.shape[-2]
    parts = [x.unflatten(0, (len(clips), -1)) for x in (shares, to_left, to_right)]
    if not goes_to_opencv(frames, *parts):
        given = [clips[:, side].flatten(0, 1) for side in (places.left, places.right)]
        own = clips[:, places.made].flatten(0, 1)
        total = _blended(own, given, [to_left, to_right], shares.split(1, dim=1), scale)
        made = torch.tensor(places.made, device=frames.device)
        return clips.index_copy_(1, made, total.unflatten(0, (len(clips), -1))).flatten(0, 1)
    frames = interleaved(frames)
    for clip, *of_clip in zip(frames.unflatten(0, (len(clips), -1)), *parts, strict=True):
        for made, left, right, share, *flows in zip(*places, *(x.split(1) for x in of_clip), strict=True):
            compose_frame(
                clip[made, None], [clip[left, None], clip[right, None]], flows, (FULL_WEIGHT * share).split(1, dim=1)
            )
    return frames


def compose_frame(
    own: Float[Tensor, "1 3 sh sw"],
    given: Sequence[Tensor],
    flows: Sequence[Float[Tensor, "1 2 h w"]],
    weights: Sequence[Float[Tensor, "1 1 sh sw"]],
) -> None:
    """Blend an in-between frame, in place, with the source frames before and after it, with the flows there."""
    made = _blended(own, given, flows, weights, own.shape[-2] // flows[0].shape[-2])
    if made.data_ptr() != own.data_ptr():
        own.copy_(made)


def _blended(
    own: Tensor, given: Sequence[Tensor], flows: Sequence[Tensor], weights: Sequence[Tensor], scale: int
) -> Float[Tensor, "n 3 sh sw"]:
    moved = [warp_picture(picture, enlarge(scale * flow, scale)) for picture, flow in zip(given, flows, strict=True)]
    return blend((own, *moved), weights)


class _Places(NamedTuple):
    """Among the output frames: those in between, and of each the source frames before and after."""

    made: list[int]
    left: list[int]
    right: list[int]


def _places(line: Timeline) -> _Places:
    made = [index for index, place in enumerate(line.order) if place >= line.sources]
    left, right = ([line.order.index(interval + side) for interval, _ in line.between] for side in (0, 1))
    return _Places(made, left, right)
