"""A rival network as a clip function: it takes whole clips, so nothing is done once a frame or once a clip.

Half precision is autocast, as for our own network. A tile is cut out before the network sees it.
"""

import copy
import hashlib
import json
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile, to_mapping
from stinet.errors import DeviceError
from stinet.peers.parts import RivalNet

__all__ = ["RivalClip"]

BYTES_PER_PIXEL = 25_000
"""Memory of a clip per source pixel and frame; of 4 frames Zooming Slow-Mo took 13,300, TMNet 17,000, RSTT 24,000."""

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RivalClip:
    """A network of `peers` that fulfils `config.Movable`."""

    def __init__(self, net: RivalNet, device: torch.device, dtype: torch.dtype, name: str) -> None:
        """`dtype` float32 computes as is, bfloat16 or float16 under autocast; `name` is the first word of identity."""
        self.net = net.to(device).eval()
        self.name = name
        self.dtype = dtype
        self._device = device
        self.scale: int = net.scale
        self.reach: int = net.reach
        self.bytes_per_pixel: int = BYTES_PER_PIXEL
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
            digest = hashlib.sha256(json.dumps(to_mapping(self.net.config), sort_keys=True).encode())
            for name, tensor in sorted(self.net.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self._hash = digest.hexdigest()
        return f"{self.name} {self._hash[:12]}"

    def at(self, *, precision: str, device: str) -> "RivalClip":
        """The same network in another precision or on another device, where it is a copy; this one stays as it is.

        Raises:
            DeviceError: no such precision.

        """
        if precision not in _PRECISIONS:
            raise DeviceError(f"precision {precision!r} is unknown: choose from {', '.join(_PRECISIONS)}")
        place = torch.device(device)
        net = self.net if place == self.device else copy.deepcopy(self.net)
        moved = RivalClip(net, place, _PRECISIONS[precision], self.name)
        moved._hash = self._hash
        return moved

    def prepare(self, frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        """The frame itself, where the network is."""
        return frame.to(self.device, torch.float32)

    def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
        """Nothing to know."""

    @torch.no_grad()
    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Float[Tensor, "u 3 sh sw"]:
        """The clip's frames in order of time, whole or one tile of them, in [0, 1].

        Raises:
            UsageError: times that the network cannot make.

        """
        del nodes
        frames = torch.stack(list(states))
        if tile is not None:
            frames = frames[..., tile.top : tile.bottom, tile.left : tile.right]
        rows = [tuple(row) for row in times] if len(states) > 1 else ()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            final = self.net(frames.unsqueeze(0), rows).final[0].float()
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)
