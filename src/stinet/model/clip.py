"""The network as a clip function: what is done once a frame, once a clip, and once a tile.

`prepare` keeps a frame's features (when they live on the LR grid; HR-grid features of a whole frame would fill the
memory and are made tile by tile instead) and what flows need of it; `context` makes flows of whole frames, each pair
once however many windows it is in; `run` does the rest for one tile. ST-GR then pools over the tile, which costs less
than 0.02 dB (docs/memory.md).

Half precision is autocast: the weights stay float32, so that functions of other precision share one network.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile, to_mapping
from stinet.errors import DeviceError
from stinet.model.interpolate import Flows
from stinet.model.stinet import Features, STINet
from stinet.model.timeline import Timeline
from stinet.ops.farneback import expand
from stinet.ops.flow import flow_between
from stinet.ops.opencv import share_opencv

__all__ = ["FrameState", "ModuleClip", "NetworkClip"]


@dataclass(slots=True, eq=False)
class FrameState:
    """What is known of one source frame."""

    frame: Float[Tensor, "1 3 h w"]
    features: Features | None
    expansion: Any
    following: "tuple[FrameState, Tensor, Tensor] | None" = field(default=None, repr=False)
    """The frame after it, with the flows there and back; freed with the state."""


_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ModuleClip:
    """What every network that fulfils `config.Movable` has in common: where, how exactly, and which one it is."""

    engine = "torch"

    def __init__(self, net: Any, device: torch.device, dtype: torch.dtype, name: str, scale: int) -> None:
        """`dtype` float32 computes as is, bfloat16 or float16 under autocast; `name` is the first word of identity.

        `net` has `config` (what is hashed with the weights) and `reach`.
        """
        self.net = net.to(device).eval()
        self.name = name
        self._device = device
        self.dtype = dtype
        self.scale = scale
        self.reach: int = net.reach
        self._hash: str | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def precision(self) -> str:
        """float32, bfloat16 or float16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def identity(self) -> str:
        """Name and the first 12 digits of a SHA-256 over settings and weights."""
        if self._hash is None:
            self._hash = _hash(self.net)
        return f"{self.name} {self._hash[:12]}"

    def _moved(self, precision: str, device: str) -> Any:
        """What `at` gives, of this very kind."""
        if precision not in _PRECISIONS:
            raise DeviceError(f"precision {precision!r} is unknown: choose from {', '.join(_PRECISIONS)}")
        place = torch.device(device)
        net = self.net if place == self.device else copy.deepcopy(self.net)
        kind: Any = type(self)
        moved = kind(net, place, _PRECISIONS[precision], self.name)
        moved._hash = self._hash
        return moved

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


class NetworkClip(ModuleClip):
    """A trained network that fulfils `config.Movable`."""

    net: STINet

    def __init__(self, net: STINet, device: torch.device, dtype: torch.dtype, name: str = "network") -> None:
        """`dtype` float32 computes as is, bfloat16 or float16 under autocast; `name` is the first word of identity."""
        super().__init__(net, device, dtype, name, net.config.scale)
        # measured: a clip at 32 channels, two frames out for one in, peaks at 5,400 bytes per source pixel and frame
        grid = net.config.scale**2 if net.config.high == "native" else 1
        share = 1 if dtype == torch.float32 else 0.6  # of what float32 takes; docs/memory.md
        self.bytes_per_pixel: int = int(4 * net.config.channels * 44 * grid * share)
        self._keeps_features = net.config.high == "folded"

    def at(self, *, precision: str, device: str) -> "NetworkClip":
        """The same network in another precision or on another device, where it is a copy; this one stays as it is.

        Raises:
            DeviceError: no such precision.

        """
        return self._moved(precision, device)

    @torch.no_grad()
    def prepare(self, frame: Float[Tensor, "3 h w"]) -> FrameState:
        """Features of one source frame, and what flows need of it, in [0, 1]."""
        image = frame.to(self.device, torch.float32).unsqueeze(0)
        if self.device.type == "cpu":
            share_opencv(torch.get_num_threads())
        with self._precision():
            features = self.net.features(image) if self._keeps_features else None
        return FrameState(image, features, None if self.net.config.flow == "none" else expand(image))

    @torch.no_grad()
    def context(self, states: Sequence[FrameState], times: Sequence[Sequence[float]]) -> Flows | None:  # noqa: ARG002
        """Flows between neighbouring whole frames, both ways."""
        if self.net.config.flow == "none":
            return None
        if len(states) == 1:
            none = states[0].frame.new_zeros(1, 0, 2, *states[0].frame.shape[-2:])
            return Flows(none, none)
        pairs = [self.flows(first, second) for first, second in pairwise(states)]
        return Flows(*(torch.stack(side, dim=1) for side in zip(*pairs, strict=True)))

    @torch.no_grad()
    def run(
        self,
        states: Sequence[FrameState],
        times: Sequence[Sequence[float]],
        nodes: Flows | None,
        tile: Tile | None = None,
    ) -> Float[Tensor, "u 3 sh sw"]:
        """The clip's frames in order of time, whole or one tile of them, in [0, 1]."""
        area = (slice(None), slice(None)) if tile is None else _area(tile)
        frames = torch.cat([state.frame[..., area[0], area[1]] for state in states])
        flows = None if nodes is None else Flows(*(flow[..., area[0], area[1]] for flow in nodes))
        line = Timeline.of(len(states), [tuple(row) for row in times] if len(states) > 1 else ())
        with self._precision():
            features = self._features(states, frames, area)
            final = self.net.restore(frames.unsqueeze(0), features, flows, line)
        final = final[0].float()
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)

    def _features(self, states: Sequence[FrameState], frames: Tensor, area: tuple[slice, slice]) -> Features:
        kept = [state.features for state in states if state.features is not None]
        if not kept:
            return self.net.features(frames)
        return Features(
            *(
                None if parts[0] is None else _packed(torch.cat([part[..., area[0], area[1]] for part in parts]))
                for parts in zip(*kept, strict=True)
            )
        )

    @torch.no_grad()
    def flows(self, first: FrameState, second: FrameState) -> tuple[Tensor, Tensor]:
        """From a frame to the one after it and back, (1 2 h w), as they are kept with the first one's state."""
        if first.following is None or first.following[0] is not second:
            by = self.net.config.flow_by
            ahead = flow_between(first.expansion, second.expansion, by)
            first.following = (second, ahead, flow_between(second.expansion, first.expansion, by))
        return first.following[1], first.following[2]


def _area(tile: Tile) -> tuple[slice, slice]:
    return slice(tile.top, tile.bottom), slice(tile.left, tile.right)


def _packed(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _hash(net: Any) -> str:
    digest = hashlib.sha256(json.dumps(to_mapping(net.config), sort_keys=True).encode())
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
