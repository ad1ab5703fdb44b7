"""Every setting of the package as a frozen dataclass, and the protocol that every clip model fulfils.

What a model *is* (`ModelConfig`, stored inside a checkpoint) never mixes with how a run is *fed* (`TrainConfig`,
`TileConfig`, `UpscaleConfig`, `EncodeConfig`). One declaration holds a setting's type, help and default; a
contradiction is refused in `__post_init__` with the numbers in the message.

This file knows no tensor operation and no file format but YAML.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

from stinet.errors import ConfigError

__all__ = [
    "PIPE",
    "PRESETS",
    "ClipFunction",
    "EncodeConfig",
    "EvaluateConfig",
    "LossConfig",
    "ModelConfig",
    "Movable",
    "ReadConfig",
    "Selective",
    "Stage",
    "Tile",
    "TileConfig",
    "Times",
    "TrainConfig",
    "UpscaleConfig",
    "from_mapping",
    "read_yaml",
    "to_mapping",
]

PIPE = Path("-")
"""In the place of a path: standard input or output."""

Times = Sequence[float] | Sequence[Sequence[float]]
"""Times strictly inside (0, 1): one tuple for every interval, or one tuple per interval."""


def _check_choices(settings: Any) -> None:
    """Refuse a value that is none of its Literal's, with the nearest one that is."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = [str(choice) for choice in get_args(kind)]
            near = difflib.get_close_matches(str(value), choices, n=1)
            did_you_mean = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"{name} {value!r}: {did_you_mean}choose from {', '.join(choices)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A rectangle of a source frame, in source pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows, in source pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns, in source pixels."""
        return self.right - self.left


@runtime_checkable
class ClipFunction(Protocol):
    """What upscales a clip: our network, its compiled engines and every peer look like this.

    For a clip of t source frames and k_i times in interval i, `run` gives u = t + sum(k_i) frames in order: frame 0,
    interval 0's in-between frames, frame 1, ... Tensors are float32 on the CPU or on the function's own device, RGB
    in [0, 1].
    """

    scale: int
    """Output pixels per source pixel and side."""

    reach: int
    """Source frames of context on either side that an output frame needs."""

    def prepare(self, frame: Any) -> Any:
        """What is done once per source frame: `frame` is a float tensor (3, h, w) in [0, 1]; gives an opaque state."""
        ...

    def context(self, states: Sequence[Any], times: Sequence[Sequence[float]]) -> Any:
        """What needs whole frames of a clip (flows, pooled features), opaque; `times[i]` belongs to interval i."""
        ...

    def run(self, states: Sequence[Any], times: Sequence[Sequence[float]], nodes: Any, tile: Tile | None = None) -> Any:
        """Upscale the clip, or only `tile` of it: float tensor (u, 3, scale * h, scale * w) in [0, 1]."""
        ...


@runtime_checkable
class Selective(ClipFunction, Protocol):
    """A clip function that spares what is only needed for frames that nobody wants: those of a window's context."""

    working_bytes_per_pixel: int
    """Memory of a clip beside `bytes_per_pixel`, per source pixel, however many frames the clip has."""

    def prepare_all(self, frames: Sequence[Any]) -> list[Any]:
        """What `prepare` gives, of every frame."""
        ...

    def run_some(
        self, wanted: Sequence[int], states: Sequence[Any], times: Sequence[Sequence[float]], nodes: Any,
        tile: Tile | None = None,
    ) -> Any:  # fmt: skip
        """Those of the frames that `run` gives, at these places, the same bit for bit."""
        ...

    def each(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What a function makes of the first of everything given, of the second, and so on: as many at once as fit."""
        ...


@runtime_checkable
class Movable(ClipFunction, Protocol):
    """A clip function that can be had in another precision or on another device.

    When memory runs out, or half precision gives no numbers, a run goes on with `at(...)`. States are made anew.
    """

    identity: str
    """Name and hash of its weights. Two functions of one identity, device and precision agree bit for bit."""

    precision: str
    """float32, bfloat16 or float16."""

    bytes_per_pixel: int
    """Memory of a clip, per source pixel and source frame."""

    @property
    def device(self) -> Any:
        """A `torch.device`."""
        ...

    def at(self, *, precision: str, device: str) -> "Movable":
        """The same function there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TileConfig:
    """How a frame is cut so that one tile fits in memory. Never changes what a model is."""

    size_px: Annotated[
        int, "side of a square tile in source pixels, halo included; 0 chooses from the memory at hand"
    ] = 0
    halo_px: Annotated[int, "context on each side that is computed, then faded out, in source pixels"] = 16

    def __post_init__(self) -> None:
        """Refuse a tile without an interior."""
        if self.halo_px < 0 or self.size_px < 0:
            raise ConfigError(f"tile size {self.size_px} px and halo {self.halo_px} px must not be negative")
        if self.size_px and self.size_px <= 2 * self.halo_px:
            raise ConfigError(
                f"a {self.size_px} px tile has no interior left after a {self.halo_px} px halo on both sides"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeConfig:
    """How the result is written."""

    codec: Annotated[
        str, "h264, hevc, av1, prores, ffv1 or vp9; FFmpeg's name of one encoder (h264_nvenc); auto: by the container"
    ] = "auto"
    hardware: Annotated[bool, "use an encoder of the graphics card where one of the codec works"] = False
    crf: Annotated[int | None, "constant rate factor of the encoder, 0 (best) to 63; None: its visually lossless"] = (
        None
    )
    preset: Annotated[str | None, "the encoder's word or number for its effort; None: a sensible one"] = None
    pix_fmt: Annotated[str | None, "FFmpeg's pixel format; None: the source's depth, 4:2:0 where it can be"] = None
    options: Annotated[tuple[tuple[str, str], ...], "further options of the encoder: (key, value)"] = ()
    range: Annotated[Literal["source", "limited", "full"], "of the stored values"] = "source"

    def __post_init__(self) -> None:
        """Refuse a quality outside every encoder's range."""
        _check_choices(self)
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ConfigError(f"crf {self.crf} is outside 0..63")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig:
    """What is taken from the source, and what is too much."""

    stream: Annotated[int | None, "index of the video stream in the file; None: the first that is no cover"] = None
    deinterlace: Annotated[Literal["off", "auto"], "auto: by FFmpeg's bwdif where the frames say interlaced"] = "off"
    rate: Annotated[Fraction | None, "frames per second of images, which have none; None: 25"] = None
    start: Annotated[Fraction | None, "begin here, in seconds of the film"] = None
    seconds: Annotated[Fraction | None, "stop after this much film (None: all of it)"] = None
    max_pixels: Annotated[int | None, "refuse a larger source picture"] = None
    max_seconds: Annotated[Fraction | None, "refuse a longer film"] = None

    def __post_init__(self) -> None:
        """Refuse lengths and rates of nothing."""
        _check_choices(self)
        for name in ("rate", "seconds", "max_pixels", "max_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} {value} must be above 0")
        if self.start is not None and self.start < 0:
            raise ConfigError(f"start {self.start} s lies before the film")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleConfig:
    """What one call of `upscale_video` wants."""

    fps: Annotated[str, "x2, x3, ... (multiples), a rate (60, 60000/1001), or keep"] = "x2"
    cfr: Annotated[bool, "give a film of variable rate a constant one"] = False
    slow_motion: Annotated[Fraction, "the result plays this many times longer; fps is that of the result"] = Fraction(1)
    slow_audio: Annotated[Literal["stretch", "drop"], "what becomes of sound in slow motion; its pitch stays"] = (
        "stretch"
    )
    size: Annotated[str, "x4, x2, a height (1080p) or a box (1920x1080) that the picture fits into"] = "x4"
    scene_cut: Annotated[str, "auto, off, or how much must change (0 to 1.5; auto is 0.64)"] = "auto"
    dedup: Annotated[Literal["auto", "off"], "auto: move through repeated frames (animation on twos, pulldown)"] = (
        "auto"
    )
    window: Annotated[int, "source frames in one clip, context included; 0 chooses"] = 0
    segment: Annotated[int, "source frames of a segment, the unit that a resume does not repeat; 0 chooses"] = 0
    overwrite: Annotated[bool, "replace an existing output"] = False
    restart: Annotated[bool, "throw away what an interrupted run has left"] = False
    max_memory_bytes: Annotated[int | None, "take no more memory than this for a clip; None: what is free"] = None
    read: ReadConfig = ReadConfig()
    tile: TileConfig = TileConfig()
    encode: EncodeConfig = EncodeConfig()

    def __post_init__(self) -> None:
        """Refuse a stretch of nothing."""
        _check_choices(self)
        if not Fraction(1, 16) <= self.slow_motion <= 64:
            raise ConfigError(f"slow motion {self.slow_motion} is outside 1/16..64")
        if self.window < 0 or self.segment < 0:
            raise ConfigError(f"window {self.window} and segment {self.segment} must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """How clips are shown to a model, and what is measured."""

    between: Annotated[Literal[1, 3, 5], "frames between two given ones"] = 1
    window: Annotated[Literal[7, 3], "output frames of a window, where one frame is in between"] = 7
    variant: Annotated[
        Literal["all", "160", "first"], "every frame counts, or no tails, or only the first window of a clip"
    ] = "all"
    degradation: Annotated[
        Literal["bicubic", "light", "moderate", "strong"], "what the given frames have gone through, as a film"
    ] = "bicubic"
    measures: Annotated[tuple[str, ...], "psnr, ssim (both always), rgb, motion, flicker, lpips"] = (
        "psnr",
        "ssim",
        "motion",
        "flicker",
    )
    lpips_net: Annotated[Path | None, "AlexNet's state dict as torchvision publishes it"] = None
    lpips_heads: Annotated[Path | None, "LPIPS's linear heads for it, v0.1"] = None
    forwards: Annotated[int, "forwards of the papers' fps; 0 does not take it"] = 0
    seed: Annotated[int, "of random numbers, should a model draw any"] = 0

    def __post_init__(self) -> None:
        """Refuse what no protocol has, and half of LPIPS."""
        _check_choices(self)
        if self.between > 1 and self.window != 7:
            raise ConfigError(
                f"with {self.between} in between a window has {self.between + 2} frames: leave window out"
            )
        if unknown := set(self.measures) - {"psnr", "ssim", "rgb", "motion", "flicker", "lpips"}:
            raise ConfigError(
                f"{min(unknown)!r} cannot be measured: choose from psnr, ssim, rgb, motion, flicker, lpips"
            )
        if (self.lpips_net is None) != (self.lpips_heads is None):
            raise ConfigError("LPIPS needs both its files: AlexNet's weights and the linear heads")
        if self.forwards < 0:
            raise ConfigError(f"{self.forwards} forwards cannot be timed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a network is, stored in its checkpoint. The defaults are the paper's network; every ablation is a value."""

    channels: Annotated[int, "feature channels of either branch"] = 64
    scale: Annotated[Literal[2, 4], "output pixels per source pixel and side"] = 4
    branches: Annotated[Literal["both", "low", "high"], "Table I: without HR is low, without LR is high"] = "both"
    high: Annotated[
        Literal["native", "folded"], "HR features on the HR grid, or folded into the channels of the LR grid"
    ] = "native"
    # phase 1: S-SR
    features: Annotated[Literal["dbpn", "compact"], "S-SR network that makes L and H of a frame"] = "dbpn"
    feature_stages: Annotated[int, "dbpn: up-projections (one more than down-projections)"] = 5
    low_blocks: Annotated[int, "compact: residual blocks before L"] = 3
    high_blocks: Annotated[int, "compact: residual blocks between L and H"] = 3
    # phase 1: ST-FI
    flow: Annotated[
        Literal["adapted", "raw", "none"], "Table III: Eq. (1); without flow adaption; without optical flows"
    ] = "adapted"
    flow_by: Annotated[
        Literal["farneback", "dis"], "where flows come from; beyond the paper: dis, dense inverse search"
    ] = "farneback"
    motion_channels: Annotated[int, "inner channels of Mnet"] = 32
    motion_blocks: Annotated[int, "residual blocks of Mnet"] = 2
    shared_blocks: Annotated[int, "residual blocks that join the branches of Pnet"] = 5
    blocks_shared: Annotated[bool, "Table IV: ST-FI w/o share is false"] = True
    branch_blocks: Annotated[int, "residual blocks of each branch's own before and after the shared ones"] = 1
    shared_at: Annotated[
        Literal["native", "low", "high"], "grid of the shared blocks: each branch's own, or both on one"
    ] = "high"
    aligned: Annotated[bool, "beyond the paper: warp both neighbours' features by the adapted flows"] = False
    flow_refined: Annotated[bool, "beyond the paper: Mnet sees the warped frames and corrects flows and blend"] = False
    # phase 2: ST-LR
    local_modules: Annotated[int, "ST-LR modules one after the other; Table I: without ST-LR is 0"] = 1
    local_frames: Annotated[
        Literal["all", "given"], "frames that ST-LR refines; beyond the paper: given, in-between ones are left to ST-FI"
    ] = "all"
    branch_shared: Annotated[bool, "ST-LR weights shared between L and H (as released)"] = True
    deform_kernel: Annotated[int, "side of the deformable kernel"] = 3
    deform_groups: Annotated[int, "offset groups of the deformable kernel"] = 8
    offsets_from: Annotated[Literal["both", "low", "high"], "Table IV: w/o s^H is low, w/o s^L is high"] = "both"
    offset_channels: Annotated[int, "channels of the motion offsets s^L and s^H"] = 64
    offset_interaction: Annotated[bool, "Table IV: ST-LR w/o Inet is false"] = True
    align_at: Annotated[Literal["native", "low"], "grid on which H is aligned"] = "low"
    flow_guided: Annotated[bool, "beyond the paper: offsets start at the adapted flow to the neighbour"] = False
    max_offset_px: Annotated[float, "bound of a learned offset, in pixels of the grid it is used on"] = 16.0
    fusion: Annotated[Literal["pointwise", "residual"], "four 1x1 convolutions, or 3x3 and residual blocks"] = (
        "pointwise"
    )
    fusion_blocks: Annotated[int, "residual blocks of the residual fusion"] = 2
    # phase 3: ST-GR
    relate: Annotated[Literal["graph", "lstm", "none"], "ST-GR; ST-GR -> BDCL (Table IV); without ST-GR (Table I)"] = (
        "graph"
    )
    edge_frame: Annotated[bool, "Table IV: ST-GR w/o E^F is false"] = True
    edge_pixel: Annotated[bool, "Table IV: ST-GR w/o E^P is false"] = True
    edge_pixel_step: Annotated[int, "E^P looks at every n-th pixel of every n-th row; 1: at all, as the paper"] = 1
    edge_time: Annotated[bool, "Table IV: ST-GR w/o E^T is false"] = True
    graph_layers: Annotated[int, "GraphSAGE layers"] = 4
    graph_channels: Annotated[int, "inner channels of GraphSAGE"] = 256
    modulation: Annotated[float, "scale of f * g in f + modulation * f * g"] = 0.1
    # phase 4: reconstruction
    upsampler: Annotated[
        Literal["shuffle", "direct"],
        "V^L by PixelShuffle layers and a 1x1 convolution, or by one 3x3 to all its pixels",
    ] = "shuffle"
    residual_base: Annotated[
        bool, "beyond the paper: predict what is missing from a bicubic estimate; with flow none, of a plain blend"
    ] = False
    residual_gain: Annotated[float, "constant on what a residual base is corrected by"] = 0.05
    composed: Annotated[
        bool, "beyond the paper: in-between frames also take from both restored neighbours, warped at full size"
    ] = False

    @property
    def led_by_flow(self) -> tuple[str, ...]:
        """The settings beyond the paper that are on and need a flow."""
        names = ("aligned", "flow_guided", "flow_refined", "composed")
        return tuple(name for name in names if getattr(self, name))

    def __post_init__(self) -> None:
        """Refuse a network that cannot be built."""
        _check_choices(self)
        counts = {
            name: getattr(self, name)
            for name in (
                "low_blocks", "high_blocks", "motion_blocks", "shared_blocks", "branch_blocks", "local_modules",
                "fusion_blocks",
            )
        }  # fmt: skip
        sizes = {
            name: getattr(self, name)
            for name in (
                "channels", "feature_stages", "motion_channels", "deform_kernel", "deform_groups", "offset_channels",
                "graph_layers", "graph_channels",
            )
        }  # fmt: skip
        low = [f"{name} {value}" for name, value in counts.items() if value < 0]
        low += [f"{name} {value}" for name, value in sizes.items() if value < 1]
        if low:
            raise ConfigError(f"too small: {', '.join(low)}")
        problems = [
            (self.channels % self.deform_groups != 0,
             f"{self.channels} channels cannot be divided into {self.deform_groups} offset groups"),
            (self.deform_kernel % 2 == 0, f"deformable kernel {self.deform_kernel} is even: it has no centre"),
            (self.flow_refined and not (self.aligned or self.flow_guided or self.residual_base),
             "flow_refined corrects flows that nothing uses: set aligned, flow_guided or residual_base"),
            (self.flow == "none" and self.led_by_flow,
             f"flow none leaves nothing to align by: set {', '.join(self.led_by_flow)} to false"),
            (self.branches != "both" and self.offsets_from not in ("both", self.branches),
             f"offsets from {self.offsets_from} need a branch that branches={self.branches} removed"),
            (self.high == "folded" and (self.features == "dbpn"),
             "dbpn makes HR features on the HR grid: high=folded needs features=compact"),
            (self.relate == "graph" and not (self.edge_frame or self.edge_pixel or self.edge_time),
             "a graph without any of E^F, E^P and E^T has no edge weights: use relate=none"),
            (self.edge_pixel_step < 1, f"edge_pixel_step {self.edge_pixel_step} must be 1 or more"),
            (self.residual_gain <= 0, f"residual gain {self.residual_gain} must be positive"),
            (self.max_offset_px <= 0, f"offset bound {self.max_offset_px} px must be positive"),
        ]  # fmt: skip
        for is_wrong, message in problems:
            if is_wrong:
                raise ConfigError(message)


COMPACT = ModelConfig(
    channels=32,
    high="folded",
    features="compact",
    flow_by="dis",
    low_blocks=6,
    high_blocks=6,
    motion_channels=16,
    motion_blocks=1,
    shared_blocks=2,
    branch_blocks=0,
    local_frames="given",
    shared_at="native",
    aligned=True,
    deform_kernel=1,
    offset_channels=16,
    flow_guided=True,
    fusion="residual",
    edge_pixel_step=4,
    graph_channels=64,
    upsampler="direct",
    residual_base=True,
    composed=True,
)

PRESETS: Mapping[str, ModelConfig] = {
    "stinet": ModelConfig(),
    "stinet-m": dataclasses.replace(
        COMPACT, channels=64, low_blocks=4, high_blocks=4, shared_blocks=3, fusion_blocks=4, graph_channels=256
    ),
    "stinet-s": COMPACT,
    "stinet-xs": dataclasses.replace(
        COMPACT,
        channels=16,
        low_blocks=2,
        high_blocks=2,
        motion_channels=8,
        shared_blocks=1,
        offset_channels=8,
        fusion_blocks=1,
    ),
}
"""The model family by name, smallest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What is minimised (paper, Eq. 4): a weighted sum of means over pixels. The rows of Table V are settings."""

    kind: Annotated[Literal["charbonnier", "l2"], "distance of two frames; the paper's is l2"] = "charbonnier"
    draft_low: Annotated[float, "weight of the phase-1 LR head against F^gt"] = 0.1
    draft_high: Annotated[float, "weight of the phase-1 HR head against V^gt"] = 0.1
    perceptual: Annotated[float, "lambda_1: weight of the distance of VGG-19 features; needs vgg"] = 0.0
    vgg: Annotated[str, "file with torchvision's published weights of VGG-19"] = ""
    motion: Annotated[float, "lambda_2: weight of motion consistency; 0 leaves it out"] = 0.0
    motion_absolute: Annotated[
        Literal["l2", "l1", "none"], "Eq. (2); Table V: l_abs-L1 is l1, without l_abs is none"
    ] = "l2"
    motion_relative: Annotated[
        Literal["weak", "strong", "none"], "Eq. (3); Table V: l_rel-SC is strong, without l_rel is none"
    ] = "weak"
    motion_pairs: Annotated[Literal["all", "adjacent"], "pairs of Eq. (2); Table V: l_abs-AJ is adjacent"] = "all"
    motion_sampling: Annotated[
        Literal["all", "sampled"], "every pair and triple, or one triple and one more pair a clip, unbiased"
    ] = "all"
    motion_every: Annotated[int, "the motion terms are added on every k-th step, k times as heavy"] = 1
    motion_limit: Annotated[
        float, "longest gradient of l_abs + l_rel at a pixel, times the number of pixels; 0: as long as it is"
    ] = 100.0

    def __post_init__(self) -> None:
        """Refuse negative weights, and terms that cannot be computed."""
        _check_choices(self)
        named = ("draft_low", "draft_high", "perceptual", "motion", "motion_limit")
        weights = {name: getattr(self, name) for name in named}
        if min(weights.values()) < 0:
            raise ConfigError(f"loss weights and limits must not be negative: {weights}")
        if self.motion_every < 1:
            raise ConfigError(f"motion_every {self.motion_every} must be at least 1")
        if self.motion and self.motion_absolute == "none" and self.motion_relative == "none":
            raise ConfigError("motion consistency without l_abs and without l_rel is nothing: set motion to 0")
        if self.perceptual and not self.vgg:
            raise ConfigError(
                f"perceptual {self.perceptual} needs torchvision's VGG-19 weights (vgg19-dcbb9e9d.pth): name the file"
                " with loss.vgg=FILE, or set loss.perceptual to 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a training run: its settings, and the step of the run at which it begins."""

    number: int
    """From 0."""

    first: int
    """Step of the run that is step 0 of this stage."""

    config: "TrainConfig"
    """The recipe's settings with this stage's own in their place; `steps` is the length of the stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run, as a recipe states it."""

    model: Annotated[str, "preset that is trained"] = "stinet-s"
    rival: Annotated[Literal["", "tmnet"], "published network that is trained in the preset's place (Table VI)"] = ""
    overrides: Annotated[Mapping[str, Any], "fields that differ from the preset's ModelConfig, or the rival's"] = (
        dataclasses.field(default_factory=dict)
    )
    data: Annotated[str, "folder of the training data; empty: the bundled clip"] = ""
    layout: Annotated[
        Literal["auto", "corpus", "vimeo90k", "adobe240", "reds", "folder"], "how the data is laid out; auto looks"
    ] = "auto"
    degradation: Annotated[
        Literal["bicubic", "real"],
        "how low resolution is made: bicubic, or as people have it: blur, noise, resizing and video compression too",
    ] = "bicubic"
    out: Annotated[str, "folder for state, log and curve"] = "runs/stinet-s"
    start: Annotated[str, "weights or state file to start from; empty: from nothing"] = ""
    steps: Annotated[int, "optimiser steps in all; with stages: their sum, not set here"] = 10_000
    stages: Annotated[
        Sequence[Mapping[str, Any]], "settings that replace the recipe's one stage after the other; each has steps"
    ] = ()
    batch: Annotated[int, "crops of a step, over all processes and accumulated parts"] = 8
    accumulate: Annotated[int, "parts into which a step's crops are divided to save memory"] = 1
    crop_px: Annotated[int, "side of a crop in LR pixels"] = 32
    candidates: Annotated[int, "places drawn for every crop; the most detailed is taken (1: any place)"] = 1
    symmetries: Annotated[
        Literal["all", "paper"], "all 16; or the paper's: mirrored, turned by 180 degrees, played backward"
    ] = "all"
    frames: Annotated[int, "source frames of a clip (2 * frames - 1 come out); 1 trains single frames"] = 4
    times: Annotated[
        Literal["middle", "random"],
        "place of the frame between two given ones: halfway; or given frames 2 or more apart, and any frame between",
    ] = "middle"
    rate: Annotated[float, "peak learning rate of Adam"] = 1e-3
    beta2: Annotated[float, "Adam's decay of squared gradients"] = 0.99
    warmup_steps: Annotated[int, "steps of linear warm-up"] = 100
    schedule: Annotated[
        Literal["cosine", "late", "stairs"],
        "decay over the whole run; constant with a decay at the end; or divided by stair_factor every stair_steps",
    ] = "cosine"
    decay_steps: Annotated[int, "late: steps of the final cosine decay"] = 2_000
    stair_steps: Annotated[int, "stairs: steps between two falls"] = 100_000
    stair_factor: Annotated[float, "stairs: the rate is divided by it at every fall"] = 4.0
    clip_norm: Annotated[float, "gradients longer than this are shortened"] = 1.0
    spike: Annotated[float, "a step whose loss is this many times the running median is skipped"] = 20.0
    ema_decay: Annotated[float, "decay of the averaged weights per step"] = 0.999
    rounded: Annotated[bool, "convolutions compute as in 8 bits (--precision int8), by ranges found at the start"] = (
        False
    )
    loss: LossConfig = LossConfig()
    seed: int = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], "where the network is trained"] = "auto"
    precision: Annotated[Literal["auto", "bf16", "fp16", "fp32"], "autocast; auto probes the device"] = "auto"
    compile: Annotated[Literal["auto", "on", "off"], "torch.compile; auto does it on a GPU, but for random times"] = (
        "auto"
    )
    log_every: Annotated[int, "steps between log lines"] = 20
    save_every: Annotated[int, "steps between saved states"] = 200
    validate_every: Annotated[int, "steps between validations"] = 1_000
    term_gradients_every: Annotated[int, "steps between looks at each term's gradient, in a log row; 0: never"] = 0
    tensorboard: Annotated[bool, "write event files too"] = True
    threads: Annotated[int, "CPU threads; 0 takes the fastest number"] = 0
    workers: Annotated[int, "processes that read data; 0 reads in a thread"] = 0
    cache: Annotated[str, "folder for decoded data"] = "cache"

    def __post_init__(self) -> None:
        """Refuse a run that cannot go."""
        _check_choices(self)
        if self.model not in PRESETS:
            raise ConfigError(f"model {self.model!r} is no preset: choose from {', '.join(PRESETS)}")
        counts = ("steps", "batch", "accumulate", "candidates", "frames", "log_every", "save_every", "validate_every")
        low = [f"{name} {getattr(self, name)}" for name in (*counts, "stair_steps") if getattr(self, name) < 1]
        if low:
            raise ConfigError(f"must be at least 1: {', '.join(low)}")
        if self.batch % self.accumulate:
            raise ConfigError(f"{self.batch} crops cannot be divided into {self.accumulate} equal parts")
        if min(self.rate, self.clip_norm) <= 0 or not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"rate {self.rate} and clip_norm {self.clip_norm} must be positive, ema_decay {self.ema_decay} below 1"
            )
        if min(self.stair_factor, self.spike) <= 1 or not 0 < self.beta2 < 1:
            raise ConfigError(
                f"stair_factor {self.stair_factor} and spike {self.spike} must be above 1, beta2 {self.beta2} in (0, 1)"
            )
        least_zero = ("warmup_steps", "decay_steps", "term_gradients_every", "workers", "threads")
        negative = [f"{name} {getattr(self, name)}" for name in least_zero if getattr(self, name) < 0]
        problems = [
            (bool(negative), f"must not be negative: {', '.join(negative)}"),
            (bool(self.rival) and bool(self.start), f"{self.rival} is trained from nothing: leave start out"),
            (bool(self.rival) and self.rounded, f"{self.rival} has no int8: leave rounded out"),
            (self.crop_px < 8, f"a crop of {self.crop_px} px is too small to learn from: use at least 8"),
            (self.layout != "auto" and not self.data,
             f"layout {self.layout} needs its folder: name it with data=FOLDER"),
            (bool(self.stages) and self.steps != _default(type(self), "steps"),
             f"steps {self.steps} beside stages, which have their own: set stages.0.steps and so on"),
            (self.frames == 1 and self.loss.motion > 0,
             "a single frame has no motion: set loss.motion to 0 where frames is 1"),
        ]  # fmt: skip
        for is_wrong, message in problems:
            if is_wrong:
                raise ConfigError(message)
        for number in range(len(self.stages)):
            self._stage_config(number)

    @property
    def model_config(self) -> ModelConfig:
        """The preset with this run's overrides; of a rival the preset alone, whose scale it has."""
        if self.rival:
            return PRESETS[self.model]
        merged = {**dataclasses.asdict(PRESETS[self.model]), **self.overrides}
        return from_mapping(ModelConfig, merged, "overrides")

    @property
    def total_steps(self) -> int:
        """Steps of the run: of all stages, or `steps`."""
        return sum(int(stage["steps"]) for stage in self.stages) if self.stages else self.steps

    def stage(self, step: int) -> Stage:
        """The stage that step `step` (from 0) of the run belongs to; behind the last step, the last stage."""
        first = 0
        for number in range(len(self.stages)):
            config = self._stage_config(number)
            if step < first + config.steps or number == len(self.stages) - 1:
                return Stage(number=number, first=first, config=config)
            first += config.steps
        return Stage(number=0, first=0, config=self)

    def _stage_config(self, number: int) -> "TrainConfig":
        values = dict(self.stages[number])
        where = f"stages[{number}]"
        if "steps" not in values:
            raise ConfigError(f"{where}: says no steps")
        fixed = sorted(set(values) & RUN_SETTINGS)
        if fixed:
            raise ConfigError(f"{where}: {', '.join(fixed)} belong to the whole run: set them once, above the stages")
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(values.get("loss"), Mapping):
            values["loss"] = {**dataclasses.asdict(self.loss), **values["loss"]}
        checked = from_mapping(TrainConfig, values, where)
        own |= {name: getattr(checked, name) for name in values}
        return TrainConfig(**{**own, "stages": ()})


RUN_SETTINGS = frozenset(
    {
        "cache", "compile", "data", "degradation", "device", "layout", "model", "out", "overrides", "precision",
        "rival", "seed", "stages", "start", "tensorboard", "threads", "workers",
    }
)  # fmt: skip
"""Settings of `TrainConfig` that no stage may change."""


def _default(kind: type, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(kind) if field.name == name)


Settings = TypeVar("Settings")


def from_mapping(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Build a settings dataclass from plain values; `where` names their source in the message.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a value of another type, or a contradiction.

    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown setting {key!r}; {hint}")
        default = known[key].default
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            checked[key] = from_mapping(type(default), value, f"{where}.{key}")
        else:
            checked[key] = _as_type_of(default, value, f"{where}.{key}")
    return kind(**checked)


def to_mapping(settings: Any) -> dict[str, Any]:
    """Plain values of a settings dataclass, as YAML and a checkpoint's header hold them."""
    return dataclasses.asdict(settings)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: no such file, no YAML, or no mapping in it.

    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values


def _as_type_of(default: Any, value: Any, where: str) -> Any:
    """Take `value` if it is of the default's type; an int passes for a float, nothing else is converted."""
    if default is None or default is dataclasses.MISSING:
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and isinstance(default, float):
        try:
            return float(value)  # YAML reads 1e-3 (no dot) as a string
        except ValueError:
            pass
    if isinstance(value, list) and isinstance(default, tuple):
        return tuple(value)
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, type(default)):
        raise ConfigError(f"{where}: expected {type(default).__name__}, found {value!r}")
    return value
