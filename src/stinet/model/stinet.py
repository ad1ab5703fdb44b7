"""The network: the four phases of Fig. 2, wired from a `ModelConfig`.

    frames (b t 3 h w)
      phase 1   S-SR         L, H of every given frame             features.py
                ST-FI        L, H of every in-between frame        interpolate.py
      phase 2   ST-LR        refined by both neighbours            local.py
      phase 3   ST-GR        refined over the whole clip           relate.py (or lstm.py)
      phase 4                V = V^L + V^H                         reconstruct.py
      beyond the paper       V of in-between frames, composed      compose.py

Inside a forward pass batch and time are one axis, (b t) c h w, in channels_last order. Frames are RGB in [0, 1],
flows in LR pixels (dx, dy). This is the only file of the folder that reads the settings.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.config import ModelConfig, Times
from stinet.model.compose import Compose
from stinet.model.features import Compact, Dbpn
from stinet.model.interpolate import Flows, Interpolate, Interpolated, Pnet
from stinet.model.local import Local
from stinet.model.lstm import ConvLstm
from stinet.model.reconstruct import DraftHeads, Reconstruct
from stinet.model.relate import Relate
from stinet.model.timeline import Timeline
from stinet.ops.farneback import expand
from stinet.ops.flow import FlowMethod, flow_between

__all__ = ["Draft", "Features", "Output", "STINet", "clip_flows"]


class Features(NamedTuple):
    """L and H of every given frame, (b t) c h w; None for a branch that is not there."""

    low: Tensor | None
    high: Tensor | None


class Draft(NamedTuple):
    """What the phase-1 heads make of ST-FI's features."""

    low: Float[Tensor, "b u 3 h w"] | None
    high: Float[Tensor, "b u 3 sh sw"] | None


class Output(NamedTuple):
    """Frames of a clip in order of time, not clamped."""

    draft: Draft
    final: Float[Tensor, "b u 3 sh sw"]


class STINet(nn.Module):
    """Space-time super-resolution of a clip of any length, at any times, of any frame size."""

    def __init__(self, config: ModelConfig = ModelConfig()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.config = c = config
        branches = ("low", "high") if c.branches == "both" else (c.branches,)
        native = c.high == "native"
        up = c.scale if native else 1
        align_down = c.scale if native and c.align_at == "low" else 1
        self.features_net = _features(c, branches, up)
        self.interpolate = Interpolate(
            channels=c.channels,
            flow=c.flow,
            motion_channels=c.motion_channels,
            motion_blocks=c.motion_blocks,
            refined=c.flow_refined,
            aligned=c.aligned,
            up=up,
            pnet=Pnet(
                channels=c.channels,
                inputs=c.channels * (2 if c.flow == "none" else 3),
                shared=c.shared_blocks,
                own=c.branch_blocks,
                is_shared=c.blocks_shared,
                grid=c.shared_at,
                up=up,
                branches=branches,
            ),
        )
        self.local = nn.ModuleList(_local(c, branches, up // align_down, align_down) for _ in range(c.local_modules))
        self.relate = _relate(c, branches)
        fold = 1 if native else c.scale
        self.draft_heads = DraftHeads(channels=c.channels, scale=c.scale, fold=fold, branches=branches)
        self.reconstruct = Reconstruct(
            channels=c.channels,
            scale=c.scale,
            upsampler=c.upsampler,
            fold=fold,
            branches=branches,
            gain=c.residual_gain if c.residual_base else 1.0,
        )
        self.compose = Compose(channels=c.channels, scale=c.scale, fold=_fold(c)) if c.composed else None
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    @property
    def reach(self) -> int:
        """Source frames needed beyond the two that an output frame lies between, or beside one that was given.

        One for every ST-LR module, and one at least.
        """
        # a module reaches one output frame further, and that is a source frame where nothing stands in between
        return max(1, self.config.local_modules)

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        times: Times = (0.5,),
        flows: Flows | None = None,
        stamps: Sequence[float] | None = None,
    ) -> Output:
        """All given frames and the ones at `times`, in order, at `scale` times the size: u = t + sum of the times.

        `flows` come from outside when `frames` is a crop (they are computed on whole frames), else from the
        method of `flow_by`. `stamps` are the source frames' real times when they are not even.
        """
        line = Timeline.of(frames.shape[1], times, stamps)
        flows = clip_flows(frames, self.config.flow_by) if flows is None and self.config.flow != "none" else flows
        features = self.features(frames.flatten(0, 1))
        made, refined = self.refine(frames, features, flows, line)
        draft = self.draft_heads(made.low, made.high, made.base if self.config.residual_base else None)
        final = self._frames(made, refined, line)
        clip = (frames.shape[0], len(line.order))
        return Output(
            Draft(*(None if part is None else part.unflatten(0, clip) for part in draft)), final.unflatten(0, clip)
        )

    def features(self, frames: Float[Tensor, "n 3 h w"]) -> Features:
        """Phase 1, S-SR: what is done once for every source frame."""
        return Features(*self.features_net(frames.contiguous(memory_format=torch.channels_last)))

    def restore(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        features: Features,
        flows: Flows | None,
        line: Timeline,
    ) -> Float[Tensor, "b u 3 sh sw"]:
        """Everything after S-SR without the draft heads: what inference needs."""
        made, refined = self.refine(frames, features, flows, line)
        final = self._frames(made, refined, line)
        return final.unflatten(0, (frames.shape[0], len(line.order)))

    def refine(
        self, frames: Float[Tensor, "b t 3 h w"], features: Features, flows: Flows | None, line: Timeline
    ) -> tuple[Interpolated, Features]:
        """ST-FI, then ST-LR and ST-GR: the features of phase 1 and the refined ones, (b u) c h w."""
        made = self.interpolate(frames.flatten(0, 1), features.low, features.high, flows, line)
        low, high = made.low, made.high
        neighbours = {"previous": line.previous, "following": line.following}
        moves = None
        if made.to_previous is not None and made.to_following is not None:
            moves = {"previous": made.to_previous, "following": made.to_following}
        refined = line.given if self.config.local_frames == "given" else None
        for module in self.local:
            low, high = module(low, high, moves, neighbours, refined)
        if isinstance(self.relate, Relate):
            low, high = self.relate(low, high, line.stamps)
        elif isinstance(self.relate, nn.ModuleDict):
            low = None if low is None else self.relate["low"](low, len(line.order))
            high = None if high is None else self.relate["high"](high, len(line.order))
        return made, Features(low, high)

    def _frames(self, made: Interpolated, refined: Features, line: Timeline) -> Float[Tensor, "bu 3 sh sw"]:
        """Phase 4, and what is composed of it."""
        final = self.reconstruct(refined.low, refined.high, made.base if self.config.residual_base else None)
        seen = refined.low if refined.high is None else refined.high
        if self.compose is None or made.between is None or seen is None:
            return final
        return self.compose(final, seen, made.between, line)


def clip_flows(frames: Float[Tensor, "b t 3 h w"], by: FlowMethod) -> Flows:
    """Flows between neighbouring frames, both ways; each frame is expanded once, no gradient is kept."""
    batch, count, _, height, width = frames.shape
    if count == 1:
        none = frames.new_zeros(batch, 0, 2, height, width)
        return Flows(none, none)
    with torch.no_grad():
        expansions = [expand(frames[:, index]) for index in range(count)]
        pairs = list(pairwise(expansions))
        ahead = torch.stack([flow_between(first, second, by) for first, second in pairs], dim=1)
        back = torch.stack([flow_between(second, first, by) for first, second in pairs], dim=1)
    return Flows(ahead, back)


def _features(c: ModelConfig, branches: tuple[str, ...], up: int) -> nn.Module:
    has = {"has_low": "low" in branches, "has_high": "high" in branches}
    if c.features == "dbpn":
        return Dbpn(channels=c.channels, stages=c.feature_stages, scale=c.scale, **has)
    return Compact(channels=c.channels, low_blocks=c.low_blocks, high_blocks=c.high_blocks, up=up, **has)


def _fold(c: ModelConfig) -> int:
    """Factor from the grid of the features that Compose looks at to the HR grid."""
    return 1 if c.high == "native" and c.branches != "low" else c.scale


def _local(c: ModelConfig, branches: tuple[str, ...], up: int, down: int) -> Local:
    return Local(
        channels=c.channels,
        width=c.offset_channels,
        kernel=c.deform_kernel,
        groups=c.deform_groups,
        max_offset_px=c.max_offset_px,
        fusion=c.fusion,
        blocks=c.fusion_blocks,
        is_shared=c.branch_shared,
        offsets_from=c.offsets_from,
        exchanges=c.offset_interaction,
        guided=c.flow_guided,
        up=up,
        down=down,
        branches=branches,
    )


def _relate(c: ModelConfig, branches: tuple[str, ...]) -> nn.Module | None:
    if c.relate == "none":
        return None
    if c.relate == "lstm":
        shape = {"channels": c.channels, "kernel": c.deform_kernel, "groups": c.deform_groups}
        bound = {"max_offset_px": c.max_offset_px, "is_residual": True}
        return nn.ModuleDict({name: ConvLstm(**shape, **bound) for name in branches})
    return Relate(
        channels=c.channels,
        inner=c.graph_channels,
        layers=c.graph_layers,
        modulation=c.modulation,
        edge_frame=c.edge_frame,
        edge_pixel=c.edge_pixel,
        edge_pixel_step=c.edge_pixel_step,
        edge_time=c.edge_time,
    )
