r"""Phase 1, ST-FI: features of frames that were never filmed (paper, section III-B).

For an in-between frame at fraction tau of the interval between source frames i and i + 1, Eq. (1) adapts the flows
between the source frames, with (t' - (t - 1)) / 2 = tau:

    O_{tau -> i}     = tau       O_{i+1 -> i}
    O_{tau -> i+1}   = (1 - tau) O_{i -> i+1}                                                               (1)

Mnet turns the two adapted flows into a motion representation M. Pnet takes M with both neighbours' features, for the
LR and the HR branch, through residual blocks that the branches share; their input is concatenated to their output.

Beyond the paper, as settings: `aligned` warps the neighbours' features by the adapted flows first; `refined` lets
Mnet see both warped frames and correct the flows and the blend of the two. The blend of the warped *frames* is the
estimate that `residual_base` starts from.

Flows are in LR pixels, (n 2 h w), channel 0 = dx (right), channel 1 = dy (down). What comes from the HR branch on its
native grid uses them enlarged, values included.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import (
    ResidualBlock,
    conv,
    downscale_conv,
    join_times,
    leaky,
    residual_blocks,
    take,
    upscale_conv,
)
from stinet.model.timeline import Timeline
from stinet.ops.warp import warp, warp_cubic

__all__ = ["Between", "Flows", "Interpolate", "Interpolated", "MotionNet", "Pnet", "enlarge_flow"]


class Flows(NamedTuple):
    """Flows between neighbouring source frames, LR pixels."""

    forward: Float[Tensor, "b intervals 2 h w"]
    """O_{i -> i+1}."""
    backward: Float[Tensor, "b intervals 2 h w"]
    """O_{i+1 -> i}."""


class Between(NamedTuple):
    """How the m in-between frames of every clip lie between their source frames, on the LR grid."""

    to_left: Float[Tensor, "bm 2 h w"]
    """Flow to the source frame before."""
    to_right: Float[Tensor, "bm 2 h w"]
    """Flow to the source frame after."""
    mismatch: Float[Tensor, "bm 3 h w"]
    """Absolute difference of both source frames, warped to the in-between frame's time."""


class Interpolated(NamedTuple):
    """What ST-FI gives, for all u output frames of every clip."""

    low: Float[Tensor, "bu c h w"] | None
    high: Float[Tensor, "bu c gh gw"] | None
    base: Float[Tensor, "bu 3 h w"]
    """Cheap LR estimate of every frame: the frame itself, or the blend of both warped neighbours."""
    to_previous: Float[Tensor, "bu 2 h w"] | None
    """Flow from every output frame to the one before it (zero for the first); None without flows."""
    to_following: Float[Tensor, "bu 2 h w"] | None
    between: Between | None
    """Of the in-between frames alone; None without flows, or when there are none."""


def enlarge_flow(flow: Float[Tensor, "n 2 h w"], scale: int) -> Float[Tensor, "n 2 sh sw"]:
    """Bring a flow to a grid that is `scale` times finer, bilinearly; its values are in the finer pixels then."""
    if scale == 1:
        return flow
    return scale * functional.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)


class MotionNet(nn.Module):
    """Mnet: two convolutions around residual blocks, on both adapted flows (and both warped frames when refining)."""

    def __init__(self, *, channels: int, inner: int, blocks: int, refined: bool) -> None:
        super().__init__()
        self.refined = refined
        self.entry = conv(10 if refined else 4, inner)
        self.blocks = residual_blocks(inner, blocks)
        self.exit = conv(inner, channels)
        # two flow corrections and the blend's logit; zero at the start: Eq. (1) and a blend by time
        self.correction = conv(channels, 5, gain=0.0) if refined else None

    def forward(
        self, to_left: Float[Tensor, "n 2 h w"], to_right: Float[Tensor, "n 2 h w"], frames: Float[Tensor, "n 6 h w"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 5 h w"] | None]:
        """M, and the correction (dx, dy to the left; dx, dy to the right; logit of the right share) or None."""
        seen = torch.cat([to_left, to_right, frames] if self.refined else [to_left, to_right], dim=1)
        motion = leaky(self.exit(self.blocks(leaky(self.entry(_packed(seen))))))
        return motion, None if self.correction is None else self.correction(motion).float()


class Pnet(nn.Module):
    """The two interpolation branches, joined by shared residual blocks with a concatenating skip around them.

    `grid` is where the shared blocks work: "native" (each branch on its own grid), "low" or "high" (both on one).
    `up` is the factor from the LR branch's grid to the HR branch's; 1 when HR is folded: then the grids are one.
    """

    def __init__(
        self,
        *,
        channels: int,
        inputs: int,
        shared: int,
        own: int,
        is_shared: bool,
        grid: Literal["native", "low", "high"],
        up: int,
        branches: tuple[str, ...],
    ) -> None:
        super().__init__()
        if up == 1 or len(branches) == 1:
            grid = "native"  # one grid, or one branch that has nobody to meet on another
        self.up = up
        shape = {"channels": channels, "inputs": inputs, "own": own}
        self.low = _Branch(**shape, change=up if grid == "high" else 1, enlarges=True) if "low" in branches else None
        self.high = _Branch(**shape, change=up if grid == "low" else 1, enlarges=False) if "high" in branches else None
        self.shared = residual_blocks(channels, shared)
        both = self.low is not None and self.high is not None
        self.high_blocks = residual_blocks(channels, shared) if both and not is_shared else None

    def forward(
        self, motion: Tensor | None, low: tuple[Tensor, Tensor] | None, high: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Features of in-between frames from M and the (left, right) neighbours of either branch."""
        made_low = made_high = None
        if self.low is not None and low is not None:
            made_low = self.low(motion, low, self.shared)
        if self.high is not None and high is not None:
            if motion is not None and self.up > 1:
                motion = functional.interpolate(motion, scale_factor=self.up, mode="bilinear", align_corners=False)
            made_high = self.high(motion, high, self.shared if self.high_blocks is None else self.high_blocks)
        return made_low, made_high


class _Branch(nn.Module):
    """Entry, own blocks, [shared blocks], concatenation, own blocks, exit; entry and exit may change the grid."""

    def __init__(self, *, channels: int, inputs: int, own: int, change: int, enlarges: bool) -> None:
        super().__init__()
        there, back = (upscale_conv, downscale_conv) if enlarges else (downscale_conv, upscale_conv)
        self.entry = conv(inputs, channels) if change == 1 else there(inputs, channels, change)
        self.before = residual_blocks(channels, own)
        self.after = nn.Sequential(conv(2 * channels, channels), nn.LeakyReLU(0.1), *_own(channels, own))
        self.exit = conv(channels, channels, gain=0.5) if change == 1 else back(channels, channels, change)

    def forward(self, motion: Tensor | None, pair: tuple[Tensor, Tensor], shared: nn.Module) -> Tensor:
        parts = list(pair) if motion is None else [motion, *pair]
        entered = self.before(leaky(self.entry(torch.cat([part.to(parts[0].dtype) for part in parts], dim=1))))
        return self.exit(self.after(torch.cat([entered, shared(entered)], dim=1)))


class Interpolate(nn.Module):
    """ST-FI: from t frames' features to u frames' features, in order of time."""

    def __init__(
        self,
        *,
        channels: int,
        flow: Literal["adapted", "raw", "none"],
        motion_channels: int,
        motion_blocks: int,
        refined: bool,
        aligned: bool,
        up: int,
        pnet: Pnet,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.aligned = aligned
        self.up = up
        self.motion = (
            None
            if flow == "none"
            else MotionNet(channels=channels, inner=motion_channels, blocks=motion_blocks, refined=refined)
        )
        self.pnet = pnet

    def forward(
        self,
        frames: Float[Tensor, "bt 3 h w"],
        low: Float[Tensor, "bt c h w"] | None,
        high: Float[Tensor, "bt c gh gw"] | None,
        flows: Flows | None,
        line: Timeline,
    ) -> Interpolated:
        """All u frames of every clip, in order of time; `flows` are those between neighbouring source frames."""
        batch = frames.shape[0] // line.sources
        left = [interval for interval, _ in line.between]
        right = [interval + 1 for interval, _ in line.between]
        if not left:
            ends = None if flows is None or self.flow == "none" else _neighbour_flows(line, flows, None, None)
            return Interpolated(low, high, frames, *(ends or (None, None)), between=None)
        frame_pair = take(frames, batch, left), take(frames, batch, right)
        low_pair = None if low is None else (take(low, batch, left), take(low, batch, right))
        high_pair = None if high is None else (take(high, batch, left), take(high, batch, right))
        tau = torch.tensor([at for _, at in line.between], device=frames.device).repeat(batch).view(-1, 1, 1, 1)
        if self.motion is None or flows is None:
            blend = (1 - tau) * frame_pair[0] + tau * frame_pair[1]
            made = self.pnet(None, low_pair, high_pair)
            return self._joined(frames, low, high, made, blend, None, None, line, batch)

        adapt = (tau, 1 - tau) if self.flow == "adapted" else (1.0, 1.0)
        to_left = flows.backward[:, left].flatten(0, 1) * adapt[0]
        to_right = flows.forward[:, left].flatten(0, 1) * adapt[1]
        warped = [warp_cubic(frame_pair[0], to_left), warp_cubic(frame_pair[1], to_right)]
        motion, correction = self.motion(to_left, to_right, torch.cat(warped, dim=1))
        share = tau
        if correction is not None:
            to_left, to_right = to_left + correction[:, :2], to_right + correction[:, 2:4]
            warped = [warp_cubic(frame_pair[0], to_left), warp_cubic(frame_pair[1], to_right)]
            share = torch.sigmoid(torch.logit(tau) + correction[:, 4:])
        blend = (1 - share) * warped[0] + share * warped[1]
        if self.aligned:
            low_pair = _warp_pair(low_pair, to_left, to_right, 1)
            high_pair = _warp_pair(high_pair, to_left, to_right, self.up)
        made = self.pnet(motion, low_pair, high_pair)
        if self.aligned:
            made = (_plus_blend(made[0], low_pair, share, 1), _plus_blend(made[1], high_pair, share, self.up))
        ends = _neighbour_flows(line, flows, to_left, to_right)
        between = Between(to_left, to_right, (warped[0] - warped[1]).abs())
        return self._joined(frames, low, high, made, blend, ends, between, line, batch)

    def _joined(
        self,
        frames: Tensor,
        low: Tensor | None,
        high: Tensor | None,
        made: tuple[Tensor | None, Tensor | None],
        blend: Tensor,
        ends: tuple[Tensor, Tensor] | None,
        between: Between | None,
        line: Timeline,
        batch: int,
    ) -> Interpolated:
        """Put the made frames between the given ones."""
        return Interpolated(
            None if low is None or made[0] is None else join_times(low, made[0].to(low.dtype), batch, line.order),
            None if high is None or made[1] is None else join_times(high, made[1].to(high.dtype), batch, line.order),
            join_times(frames, blend, batch, line.order),
            *(ends or (None, None)),
            between=between,
        )


def _neighbour_flows(
    line: Timeline, flows: Flows, to_left: Tensor | None, to_right: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Flow from every output frame to the one before and after it: Eq. (1), refined flows where there are some."""
    batch = flows.forward.shape[0]
    if to_left is not None and to_right is not None:
        to_left, to_right = (f.unflatten(0, (batch, len(line.between))) for f in (to_left, to_right))
    still = flows.forward.new_zeros(batch, 2, *flows.forward.shape[-2:])
    back: list[Tensor] = []
    ahead: list[Tensor] = []
    last = len(line.order) - 1
    for index, place in enumerate(line.order):
        interval, tau = line.position(index)
        before = line.position(max(index - 1, 0))[1]
        after = line.position(min(index + 1, last))[1] or 1.0
        if place < line.sources:  # a source frame: Eq. (1) holds exactly at its own pixels
            back.append(still if index == 0 else (1 - before) * flows.backward[:, interval - 1])
            ahead.append(still if index == last else after * flows.forward[:, interval])
        else:
            assert to_left is not None
            assert to_right is not None
            made = place - line.sources
            back.append(to_left[:, made] * ((tau - before) / tau))
            ahead.append(to_right[:, made] * ((after - tau) / (1 - tau)))
    return torch.stack(back, dim=1).flatten(0, 1), torch.stack(ahead, dim=1).flatten(0, 1)


def _warp_pair(
    pair: tuple[Tensor, Tensor] | None, to_left: Tensor, to_right: Tensor, up: int
) -> tuple[Tensor, Tensor] | None:
    if pair is None:
        return None
    return warp(pair[0], enlarge_flow(to_left, up)), warp(pair[1], enlarge_flow(to_right, up))


def _plus_blend(made: Tensor | None, pair: tuple[Tensor, Tensor] | None, share: Tensor, up: int) -> Tensor | None:
    """Pnet then only adds to the blend of the aligned neighbours."""
    if made is None or pair is None:
        return made
    if share.shape[-2:] != (1, 1) and up > 1:
        share = functional.interpolate(share, scale_factor=up, mode="bilinear", align_corners=False)
    return made + torch.lerp(pair[0], pair[1], share.to(pair[0].dtype))


def _own(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


def _packed(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
