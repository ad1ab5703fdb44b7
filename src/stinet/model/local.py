"""Phase 2, ST-LR: every frame is refined by its two neighbours (paper, section III-C).

For frame t and its neighbour t - 1 (and likewise t + 1), in both branches: two convolutions on (L_t, L_{t-1}) give
motion offsets s^L, the same on H gives s^H; Inet lets the two exchange what they know; a deformable convolution uses
them to align the neighbour to t; convolutions fuse (aligned before, t, aligned after). The first (last) frame is its
own neighbour.

The first of the two convolutions acts on a concatenation, so it is computed as a sum: of the frame as a centre and of
another as a neighbour. With `guided` flows the neighbour's half is warped by the flow, the
deformable sampling starts at the flow, and the learned offset is added to it: a zero offset then reads the warped
neighbour.

Grids: H is aligned on its native grid, or strided down to L's grid, aligned there and enlarged again (`down`).
Offsets are in pixels of the grid they are used on; what crosses from one grid to the other is resampled and its
values scaled.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import conv, downscale_conv, leaky, put, residual_blocks, take, upscale_conv
from stinet.model.interpolate import enlarge_flow
from stinet.ops.deform_conv import bound_offsets, deform_conv
from stinet.ops.warp import warp

__all__ = ["Align", "Fusion", "Local", "MotionOffsets", "OffsetExchange"]

Side = Literal["previous", "following"]
SIDES: tuple[Side, Side] = ("previous", "following")


class MotionOffsets(nn.Module):
    """Two convolutions on (centre, neighbour) for either side: motion offsets s."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.centre = nn.ModuleDict({side: conv(channels, width, gain=0.7) for side in SIDES})
        self.neighbour = nn.ModuleDict({side: conv(channels, width, gain=0.7) for side in SIDES})
        self.second = nn.ModuleDict({side: conv(width, width) for side in SIDES})

    def forward(
        self, x: Tensor, neighbour: Tensor, side: Side, flow: Float[Tensor, "n 2 h w"] | None
    ) -> Float[Tensor, "n s h w"]:
        """Offsets s from every frame of `x` to its neighbour on one side; `flow` leads there."""
        beside = self.neighbour[side](neighbour)
        if flow is not None:
            beside = warp(beside, flow)
        return self.second[side](leaky(self.centre[side](x) + beside))


class OffsetExchange(nn.Module):
    """Inet: one convolution on (s^L, s^H) jointly, then one each on (s, joint). `up` leads from L's grid to H's."""

    def __init__(self, width: int, up: int) -> None:
        super().__init__()
        self.up = up
        self.joint = conv(2 * width, width)
        self.low = conv(2 * width, width)
        self.high = conv(2 * width, width)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Refined (s^L, s^H) of one direction, each on its own grid."""
        joint = leaky(self.joint(torch.cat([low, _to_low(high, self.up)], dim=1)))
        return (
            self.low(torch.cat([low, joint], dim=1)),
            self.high(torch.cat([high, _to_high(joint, self.up)], dim=1)),
        )


class Align(nn.Module):
    """Modulated deformable convolution of the neighbour, steered by motion offsets s.

    The convolution from s to offsets and masks starts from zero: half a plain convolution (of the warped neighbour
    when there is a flow).
    """

    def __init__(self, *, channels: int, width: int, kernel: int, groups: int, max_offset_px: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.groups = groups
        self.max_offset_px = max_offset_px
        self.offsets = conv(width, 3 * groups * kernel * kernel, gain=0.0)
        self.weight = conv(channels, channels, kernel)

    def forward(
        self, neighbour: Tensor, s: Float[Tensor, "n s h w"], flow: Float[Tensor, "n 2 h w"] | None
    ) -> Float[Tensor, "n c h w"]:
        """The neighbour as seen from the centre frame."""
        raw = self.offsets(s)
        split = 2 * self.groups * self.kernel * self.kernel
        return deform_conv(
            neighbour,
            bound_offsets(raw[:, :split].float(), self.max_offset_px),
            raw[:, split:].float(),
            self.weight.weight,
            self.weight.bias,
            groups=self.groups,
            base_flow=flow,
        )


class Fusion(nn.Module):
    """Fuse (aligned before, centre, aligned after) and add to the centre: four 1x1, or a 3x3 and residual blocks."""

    def __init__(self, channels: int, kind: Literal["pointwise", "residual"], blocks: int) -> None:
        super().__init__()
        if kind == "pointwise":
            layers: list[nn.Module] = []
            for _ in range(3):
                layers += [conv(3 * channels, 3 * channels, 1), nn.LeakyReLU(0.1)]
            self.body = nn.Sequential(*layers, conv(3 * channels, channels, 1, gain=0.1))
            self.blocks = nn.Identity()
        else:
            self.body = conv(3 * channels, channels, gain=0.3)
            self.blocks = residual_blocks(channels, blocks)

    def forward(self, previous: Tensor, centre: Tensor, following: Tensor) -> Tensor:
        """Refine the centre frame by its two aligned neighbours; same shape."""
        fused = self.body(torch.cat([previous, centre.to(previous.dtype), following], dim=1))
        return self.blocks(fused + centre)


class _BranchWeights(nn.Module):
    """Everything that one branch needs; both branches may use one instance."""

    def __init__(
        self, *, channels: int, width: int, kernel: int, groups: int, max_offset_px: float,
        fusion: Literal["pointwise", "residual"], blocks: int, finds_offsets: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.offsets = MotionOffsets(channels, width) if finds_offsets else None
        shape = {"channels": channels, "width": width, "kernel": kernel, "groups": groups}
        self.align = nn.ModuleDict({side: Align(**shape, max_offset_px=max_offset_px) for side in SIDES})
        self.fusion = Fusion(channels, fusion, blocks)


class Local(nn.Module):
    """One ST-LR module on all frames of a clip."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        kernel: int,
        groups: int,
        max_offset_px: float,
        fusion: Literal["pointwise", "residual"],
        blocks: int,
        is_shared: bool,
        offsets_from: Literal["both", "low", "high"],
        exchanges: bool,
        guided: bool,
        up: int,
        down: int,
        branches: tuple[str, ...],
    ) -> None:
        """`up`: factor from L's grid to the grid where H is aligned; `down`: factor that H is strided down by first."""
        super().__init__()

        self.guided = guided
        self.up = up
        self.branches = branches
        self.sources = tuple(name for name in branches if offsets_from in ("both", name))
        both = len(branches) == 2

        def weights(*, finds_offsets: bool = True) -> _BranchWeights:
            return _BranchWeights(
                channels=channels, width=width, kernel=kernel, groups=groups, max_offset_px=max_offset_px,
                fusion=fusion, blocks=blocks, finds_offsets=finds_offsets,
            )  # fmt: skip

        self.weights = nn.ModuleDict(
            {"shared": weights()}
            if is_shared or not both
            else {name: weights(finds_offsets=name in self.sources) for name in branches}
        )
        self.exchange = (
            nn.ModuleDict({side: OffsetExchange(width, up) for side in SIDES})
            if both and len(self.sources) == 2 and exchanges
            else None
        )
        strides = "high" in branches and down > 1
        self.stride_down = downscale_conv(channels, channels, down) if strides else None
        self.stride_up = nn.ModuleDict({s: upscale_conv(channels, channels, down) for s in SIDES}) if strides else None

    def forward(
        self,
        low: Float[Tensor, "bu c h w"] | None,
        high: Float[Tensor, "bu c gh gw"] | None,
        flows: dict[Side, Tensor] | None,
        index: dict[Side, list[int]],
        centres: Sequence[int] | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """`flows[side]` and `index[side]` lead from every frame to its neighbour on that side.

        `centres` are the places of the frames to refine, all unless given; the others stay as they are.
        """
        given = {name: x for name, x in (("low", low), ("high", high)) if x is not None}
        at = dict(given)  # features on the grid where they are aligned
        if self.stride_down is not None and high is not None:
            at["high"] = leaky(self.stride_down(high))
        count = len(index["previous"])
        batch = next(iter(given.values())).shape[0] // count
        centres = list(range(count)) if centres is None else list(centres)
        own = {name: take(x, batch, centres) for name, x in given.items()}
        own_at = {name: own[name] if x is given[name] else take(x, batch, centres) for name, x in at.items()}
        aligned: dict[str, dict[Side, Tensor]] = {name: {} for name in given}
        for side in SIDES:
            flow = take(flows[side], batch, centres) if self.guided and flows is not None else None
            grid_flow = {n: None if flow is None else enlarge_flow(flow, self.up if n == "high" else 1) for n in given}
            beside = {name: take(x, batch, [index[side][place] for place in centres]) for name, x in at.items()}
            offsets = self._offsets(own_at, beside, side, grid_flow)
            for name, neighbour in beside.items():
                moved = self._of(name).align[side](neighbour, offsets[name], grid_flow[name])  # pyright: ignore
                if name == "high" and self.stride_up is not None:
                    moved = self.stride_up[side](leaky(moved))
                aligned[name][side] = moved
        fused = {
            name: put(
                given[name], self._of(name).fusion(aligned[name]["previous"], x, aligned[name]["following"]), centres
            )
            for name, x in own.items()
        }
        return fused.get("low"), fused.get("high")

    def _of(self, branch: str) -> _BranchWeights:
        key = branch if branch in self.weights else "shared"
        found = self.weights[key]
        assert isinstance(found, _BranchWeights)
        return found

    def _offsets(
        self, at: dict[str, Tensor], beside: dict[str, Tensor], side: Side, flow: dict[str, Tensor | None]
    ) -> dict[str, Tensor]:
        """Motion offsets for every branch, exchanged by Inet, or one set for both."""
        found: dict[str, Tensor] = {}
        for name in self.sources:
            finder = self._of(name).offsets
            assert finder is not None
            found[name] = finder(at[name], beside[name], side, flow[name])
        if self.exchange is not None:
            found["low"], found["high"] = self.exchange[side](found["low"], found["high"])
        if "low" in at and "low" not in found:
            found["low"] = _to_low(found["high"], self.up)
        if "high" in at and "high" not in found:
            found["high"] = _to_high(found["low"], self.up)
        return found


def _to_low(s: Tensor, up: int) -> Tensor:
    """Offsets of H's grid on L's grid: averaged over areas, values in L's pixels."""
    return s if up == 1 else functional.avg_pool2d(s, up) / up


def _to_high(s: Tensor, up: int) -> Tensor:
    """Offsets of L's grid on H's grid: bilinear, values in H's pixels."""
    return s if up == 1 else up * functional.interpolate(s, scale_factor=up, mode="bilinear", align_corners=False)
