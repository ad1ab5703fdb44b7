"""Small networks of the paper's and of the compact kind, every published variant of them, and their mirror images."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stinet.config import PRESETS, ModelConfig
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet

SMALL: dict[str, Any] = {
    "channels": 8,
    "motion_channels": 4,
    "motion_blocks": 1,
    "deform_groups": 2,
    "offset_channels": 6,
    "graph_channels": 12,
}
PAPER = replace(PRESETS["stinet"], **SMALL, feature_stages=2, shared_blocks=2)
COMPACT = replace(
    PRESETS["stinet-s"], **SMALL, low_blocks=1, high_blocks=1, shared_blocks=1, branch_blocks=0, fusion_blocks=1
)
KINDS = {"paper": PAPER, "compact": COMPACT}

STEPS_BEYOND = ("aligned", "flow_guided", "flow_refined", "residual_base", "composed")

NO_FLOW: dict[str, Any] = {"flow": "none", **dict.fromkeys(STEPS_BEYOND, False)}

PUBLISHED: dict[str, dict[str, Any]] = {
    "complete": {},
    "I without HR": {"branches": "low"},
    "I without LR": {"branches": "high"},
    "I without ST-LR": {"local_modules": 0},
    "I without ST-GR": {"relate": "none"},
    "III without optical flows": NO_FLOW,
    "III without flow adaption": {"flow": "raw"},
    "IV ST-FI without share": {"blocks_shared": False},
    "IV ST-LR without Inet": {"offset_interaction": False},
    "IV ST-LR without s^H": {"offsets_from": "low"},
    "IV ST-LR without s^L": {"offsets_from": "high"},
    "IV ST-GR without E^F": {"edge_frame": False},
    "IV ST-GR without E^P": {"edge_pixel": False},
    "IV ST-GR without E^T": {"edge_time": False},
    "IV ST-GR -> BDCL": {"relate": "lstm"},
}
"""Every row of the paper's Tables I, III and IV that is a matter of the network."""

BEYOND: dict[str, dict[str, Any]] = {
    "scale 2": {"scale": 2},
    "weights per branch": {"branch_shared": False},
    "weights per branch, without s^H": {"branch_shared": False, "offsets_from": "low"},
    "weights per branch, without s^L": {"branch_shared": False, "offsets_from": "high"},
    "two ST-LR modules": {"local_modules": 2},
    "three branch blocks": {"branch_blocks": 3},
    "kernel 3, four groups": {"deform_kernel": 3, "deform_groups": 4},
    "kernel 1, one group": {"deform_kernel": 1, "deform_groups": 1},
    "pointwise fusion, PixelShuffle": {"fusion": "pointwise", "upsampler": "shuffle"},
    "residual fusion, direct": {"fusion": "residual", "upsampler": "direct"},
    "no step beyond": dict.fromkeys(STEPS_BEYOND, False),
    "every step beyond": dict.fromkeys(STEPS_BEYOND, True),
    "not composed": {"composed": False},
    "not aligned": {"aligned": False},
}
"""Settings that the paper does not vary, on either kind of network."""

NATIVE: dict[str, dict[str, Any]] = {
    "H aligned natively": {"align_at": "native"},
    "H aligned natively, without s^H": {"align_at": "native", "offsets_from": "low"},
    "H aligned natively, without s^L": {"align_at": "native", "offsets_from": "high"},
    "blocks shared at low": {"shared_at": "low"},
    "blocks shared natively": {"shared_at": "native"},
    "compact S-SR on the HR grid": {"features": "compact"},
    "all guided, H aligned natively": {"align_at": "native", **dict.fromkeys(STEPS_BEYOND, True)},
}
"""Settings that need H on its own grid."""

VARIANTS: dict[str, ModelConfig] = {
    **{f"{kind}: {name}": replace(KINDS[kind], **edit) for kind in KINDS for name, edit in PUBLISHED.items()},
    **{f"{kind}: {name}": replace(KINDS[kind], **edit) for kind in KINDS for name, edit in BEYOND.items()},
    **{f"paper: {name}": replace(PAPER, **edit) for name, edit in NATIVE.items()},
}


def build(config: ModelConfig, seed: int = 0, *, awake: bool = True) -> STINet:
    """Build a network; `awake` gives what starts from zero (offsets, corrections, biases) random values."""
    torch.manual_seed(seed)
    net = STINet(config)
    return wake(net) if awake else net


def wake(net: nn.Module) -> Any:
    """Randomise every parameter that is all zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return net


def clip(frames: int = 3, size: tuple[int, int] = (10, 12), batch: int = 1, seed: int = 0) -> Tensor:
    """Random frames (b t 3 h w) in [0, 1]."""
    return torch.rand(batch, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def some_flows(frames: int = 3, size: tuple[int, int] = (10, 12), batch: int = 1, seed: int = 1) -> Flows:
    """Random flows of about a pixel."""
    generator = torch.Generator().manual_seed(seed)
    ahead, back = torch.randn(2, batch, frames - 1, 2, *size, generator=generator)
    return Flows(ahead, back)


def reversed_flows(flows: Flows) -> Flows:
    """The flows of the clip in reverse."""
    return Flows(flows.backward.flip(1), flows.forward.flip(1))


def mirrored(net: STINet) -> STINet:
    """The network whose notion of before and after is swapped: weights of a direction, and input halves."""
    net = copy.deepcopy(net)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    swap = {"previous": "following", "following": "previous"}
    out = {".".join(swap.get(part, part) for part in name.split(".")): value for name, value in weights.items()}
    for name, value in out.items():
        if name == "interpolate.motion.entry.weight":
            out[name] = _permuted(value, 1, [2, 3, 0, 1] + ([7, 8, 9, 4, 5, 6] if value.shape[1] == 10 else []))
        elif name.startswith("interpolate.motion.correction"):
            turned = _permuted(value, 0, [2, 3, 0, 1, 4]).clone()
            turned[4] *= -1
            out[name] = turned
        elif name in ("interpolate.pnet.low.entry.weight", "interpolate.pnet.high.entry.weight"):
            entry = net.get_submodule(name.removesuffix(".weight"))
            out[name] = _ends_swapped(value, 0 if isinstance(entry, nn.ConvTranspose2d) else 1, net.config.channels)
        elif name.endswith(("fusion.body.weight", "fusion.body.0.weight")):
            out[name] = _ends_swapped(value, 1, net.config.channels, thirds=True)
        elif name.startswith("compose."):
            third = value.shape[0] // 3  # the network's frame, left, right
            out[name] = torch.cat([value[:third], value[2 * third :], value[third : 2 * third]])
        elif name in ("relate.low.fuse.weight", "relate.high.fuse.weight"):
            out[name] = value.roll(net.config.channels, 1)
    net.load_state_dict(out)
    return net


def _permuted(value: Tensor, axis: int, order: list[int]) -> Tensor:
    return value.index_select(axis, torch.tensor(order))


def _ends_swapped(value: Tensor, axis: int, channels: int, *, thirds: bool = False) -> Tensor:
    """Swap the last two blocks of channels, or the first and the last of three."""
    parts = list(value.split(channels, axis))
    parts = [parts[2], parts[1], parts[0]] if thirds else [*parts[:-2], parts[-1], parts[-2]]
    return torch.cat(parts, axis)
