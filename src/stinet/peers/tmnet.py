r"""TMNet (Xu et al., "Temporal Modulation Network for Controllable Space-Time Video Super-Resolution", 2021).

    F_t        features of every given frame
    F_{t'}     PCD alignment both ways, its guides modulated by t' (temporal modulation block)     section 3.2
    + LFC      every frame compared with both neighbours (locally-temporal feature comparison)     section 3.3
    BDCL       bidirectional deformable ConvLSTM (globally-temporal feature fusion)                section 3.3
    V          residual blocks, the features before LFC added, two PixelShuffles                   section 3.4

At t' = 1/2 modulation gives nothing: t' goes in as 2 t' - 1, and no layer that it passes has a bias.

Beyond its paper, TMNet is the host of Table VI of STINet's. Each row is a setting:

    TMNet w/ HR       `high`: H is made of L as `features.Compact` does, interpolated, compared and related by modules
                      of its own like L's, and its frames are added to L's
    TMNet w/ ST-GR    `relate="graph"`: `model.relate.Relate` in the place of BDCL
    TMNet w/ MCL      none of this network's: `LossConfig.motion`

For a short training there is `residual_base`, as in `ModelConfig`: the network then corrects an estimate that costs
nothing, given frames and the blends between them, enlarged by bicubic.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.errors import ConfigError
from stinet.model.blocks import SLOPE, conv, join_times, leaky, take
from stinet.model.lstm import ConvLstm
from stinet.model.pyramid import LEVELS, Deform, PairAlign, Pyramid, PyramidAlign
from stinet.model.reconstruct import unfold
from stinet.model.relate import Relate
from stinet.model.timeline import Timeline
from stinet.ops.resample import upsample
from stinet.peers.parts import SCALE, Enlarge, Extract, RivalClipNet, blocks, enlarged, pairs_of

__all__ = ["Branch", "Compare", "High", "Modulate", "Tmnet", "TmnetConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TmnetConfig:
    """Sizes of the network and rows of Table VI; the defaults are the authors'."""

    channels: Annotated[int, "feature channels"] = 64
    groups: Annotated[int, "offset groups of every deformable convolution"] = 8
    front_blocks: Annotated[int, "residual blocks before alignment"] = 5
    back_blocks: Annotated[int, "residual blocks before enlargement"] = 40
    modulated: Annotated[bool, "with temporal modulation; without, only the frame in the middle"] = True
    high: Annotated[
        Literal["none", "native", "folded"],
        "Table VI, w/ HR: HR features on the HR grid, or folded into the channels of the LR grid",
    ] = "none"
    high_blocks: Annotated[int, "residual blocks of H, as many before its alignment as after"] = 5
    relate: Annotated[Literal["lstm", "graph"], "BDCL; Table VI, w/ ST-GR is graph"] = "lstm"
    graph_layers: Annotated[int, "GraphSAGE layers of ST-GR"] = 4
    graph_channels: Annotated[int, "inner channels of GraphSAGE"] = 256
    modulation: Annotated[float, "scale of f * g in f + modulation * f * g of ST-GR"] = 0.1
    residual_base: Annotated[bool, "beyond TMNet's paper: corrects given frames and their blends, enlarged"] = False
    residual_gain: Annotated[float, "constant on the correction"] = 0.05

    def __post_init__(self) -> None:
        """Refuse a network that cannot be built."""
        sizes = ("channels", "groups", "graph_layers", "graph_channels")
        low = [f"{name} {getattr(self, name)}" for name in sizes if getattr(self, name) < 1]
        counts = ("front_blocks", "back_blocks", "high_blocks")
        low += [f"{name} {getattr(self, name)}" for name in counts if getattr(self, name) < 0]
        if low:
            raise ConfigError(f"too small: {', '.join(low)}")
        if self.channels % self.groups:
            raise ConfigError(f"{self.channels} channels cannot be divided into {self.groups} offset groups")
        if self.high not in ("none", "native", "folded") or self.relate not in ("lstm", "graph"):
            raise ConfigError(
                f"high {self.high!r} and relate {self.relate!r}: choose from none, native, folded and from lstm, graph"
            )


class Modulate(nn.Module):
    """Temporal modulation block: a vector of the time on two convolutions of a feature (section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (1, channels, channels, channels)
        self.time = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)

    def forward(self, x: Float[Tensor, "n c h w"], time: Float[Tensor, "n 1 1 1"]) -> Float[Tensor, "n c h w"]:
        """What is added to the guide that is made of `x`, for a time from -1 to 1."""
        vector = time
        for layer in self.time:
            vector = functional.leaky_relu(layer(vector), SLOPE)
        return leaky(self.second(leaky(self.first(x)))) * vector


class _Moved(nn.Module):
    """A neighbour brought to a frame by one deformable convolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.joint = conv(2 * channels, channels)
        self.guide = conv(channels, channels)
        self.deform = Deform(channels, kernel=3, groups=groups, max_offset_px=None)

    def forward(self, neighbour: Float[Tensor, "n c h w"], frame: Float[Tensor, "n c h w"]) -> Tensor:
        guide = self.guide(leaky(self.joint(torch.cat([neighbour, frame], dim=1))))
        return leaky(self.deform(neighbour, guide))


class Compare(nn.Module):
    """Locally-temporal feature comparison: both neighbours brought to a frame, and four 1x1 convolutions (3.3)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.previous = _Moved(channels, groups)
        self.following = _Moved(channels, groups)
        self.fuse = nn.ModuleList(
            [*(conv(3 * channels, 3 * channels, 1) for _ in range(3)), conv(3 * channels, channels, 1)]
        )

    def forward(self, x: Float[Tensor, "bu c h w"], line: Timeline) -> Float[Tensor, "bu c h w"]:
        """What is added to every frame; the first and the last are their own neighbours."""
        batch = x.shape[0] // len(line.order)
        before = self.previous(take(x, batch, line.previous), x)
        after = self.following(take(x, batch, line.following), x)
        out = torch.cat([before, x, after], dim=1)
        for layer in self.fuse[:-1]:
            out = leaky(layer(out))
        return self.fuse[-1](out)


class Branch(nn.Module):
    """From features of given frames to features of all frames, compared with their neighbours."""

    def __init__(self, channels: int, groups: int, *, modulated: bool) -> None:
        super().__init__()
        ways = [
            PyramidAlign(
                channels=channels,
                groups=groups,
                modulators=[Modulate(channels) for _ in range(LEVELS)] if modulated else (),
            )
            for _ in range(2)
        ]
        self.pyramid = Pyramid(channels)
        self.pair = PairAlign(channels=channels, ahead=ways[0], back=ways[1])
        self.compare = Compare(channels, groups)

    def forward(self, given: Float[Tensor, "bt c h w"], line: Timeline) -> tuple[Tensor, Tensor]:
        """All frames' features, (b u) c h w, and the same with the comparison added."""
        batch = given.shape[0] // line.sources
        clip = given
        if line.between:
            pairs = pairs_of(self.pyramid(given), batch, line)
            tau = torch.tensor([at for _, at in line.between], device=given.device, dtype=given.dtype)
            time = (2 * tau - 1).repeat(batch).view(-1, 1, 1, 1)
            clip = join_times(given, self.pair(*pairs, time), batch, line.order)
        return clip, clip + self.compare(clip, line)


class High(nn.Module):
    """H of every given frame, made of L; and what its refined features add to the frames (Table VI, w/ HR)."""

    def __init__(self, channels: int, count: int, *, is_native: bool) -> None:
        super().__init__()
        self.up = SCALE if is_native else 1
        self.lift = conv(channels, channels * self.up**2)
        self.before = blocks(channels, count)
        self.after = blocks(channels, count)
        self.head = conv(channels, 3, 1, gain=0.1) if is_native else conv(channels, 3 * SCALE**2, gain=0.1)

    def features(self, low: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c gh gw"]:
        """H from L, on H's grid."""
        return self.before(leaky(functional.pixel_shuffle(self.lift(low), self.up) if self.up > 1 else self.lift(low)))

    def frames(self, high: Float[Tensor, "n c gh gw"]) -> Float[Tensor, "n 3 sh sw"]:
        """V^H, to be added to V^L."""
        return unfold(self.head(self.after(high)), SCALE // self.up)


class Tmnet(RivalClipNet):
    """A clip of any length at 4 times the size, with frames at any times in its intervals."""

    title: str = "TMNet without modulation"
    reach: int = 2

    def __init__(self, config: TmnetConfig = TmnetConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.extract = Extract(c.channels, c.front_blocks)
        self.low = Branch(c.channels, c.groups, modulated=c.modulated)
        self.high = self.high_frames = None
        if c.high != "none":
            self.high = Branch(c.channels, c.groups, modulated=c.modulated)
            self.high_frames = High(c.channels, c.high_blocks, is_native=c.high == "native")
        self.relate = _graph(c) if c.relate == "graph" else _lstms(c)
        self.trunk = blocks(c.channels, c.back_blocks)
        self.enlarge = Enlarge(c.channels)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    @property
    def any_time(self) -> bool:
        """With modulation."""
        return self.config.modulated

    def made(self, frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "b u 3 sh sw"]:
        """The frames at the line's times; its stamps go to ST-GR."""
        given = self.extract(frames.flatten(0, 1))
        clip, low = self.low(given, line)
        high = None
        if self.high is not None and self.high_frames is not None:
            _, high = self.high(self.high_frames.features(given), line)
        low, high = self._related(low, high, line)
        made = enlarged(self.enlarge, self.trunk(low) + clip)
        if self.high_frames is not None and high is not None:
            made = made + enlarged(self.high_frames.frames, high)
        if self.config.residual_base:
            made = self.config.residual_gain * made + upsample(_blends(frames, line), SCALE)
        return made.unflatten(0, (frames.shape[0], -1))

    def _related(self, low: Tensor, high: Tensor | None, line: Timeline) -> tuple[Tensor, Tensor | None]:
        """Over the whole clip: ST-GR joins both branches, each ConvLSTM sees its own."""
        if isinstance(self.relate, Relate):
            related, high = self.relate(low, high, line.stamps)
            assert related is not None
            return related, high
        count = len(line.order)
        return self.relate["low"](low, count), None if high is None else self.relate["high"](high, count)


def _blends(frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "bu 3 h w"]:
    """Given frames, and between them the mean of both by nearness."""
    places = [line.position(index) for index in range(len(line.order))]
    before = frames[:, [at for at, _ in places]]
    after = frames[:, [min(at + 1, line.sources - 1) for at, _ in places]]
    tau = frames.new_tensor([tau for _, tau in places]).view(-1, 1, 1, 1)
    return torch.lerp(before, after, tau).flatten(0, 1)


def _graph(c: TmnetConfig) -> Relate:
    return Relate(
        channels=c.channels,
        inner=c.graph_channels,
        layers=c.graph_layers,
        modulation=c.modulation,
        edge_frame=True,
        edge_pixel=True,
        edge_time=True,
    )


def _lstms(c: TmnetConfig) -> nn.ModuleDict:
    branches = ("low",) if c.high == "none" else ("low", "high")
    return nn.ModuleDict(
        {
            name: ConvLstm(channels=c.channels, kernel=3, groups=c.groups, max_offset_px=None, is_residual=False)
            for name in branches
        }
    )
