"""A rival network as a clip function: it takes whole clips, so nothing is done once a frame or once a clip.

Half precision is autocast, as for our own network. A tile is cut out before the network sees it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile
from stinet.model.clip import ModuleClip
from stinet.peers.parts import RivalClipNet

__all__ = ["RivalClip"]

BYTES_PER_PIXEL = 25_000
"""Memory of a clip per source pixel and frame; of 4 frames Zooming Slow-Mo took 13,300, TMNet 17,000, RSTT 24,000."""


class RivalClip(ModuleClip):
    """A network of `peers` that fulfils `config.Movable`."""

    net: RivalClipNet

    def __init__(self, net: RivalClipNet, device: torch.device, dtype: torch.dtype, name: str) -> None:
        """`dtype` float32 computes as is, bfloat16 or float16 under autocast; `name` is the first word of identity."""
        super().__init__(net, device, dtype, name, net.scale)
        self.bytes_per_pixel: int = BYTES_PER_PIXEL

    def at(self, *, precision: str, device: str) -> "RivalClip":
        """The same network in another precision or on another device, where it is a copy; this one stays as it is.

        Raises:
            DeviceError: no such precision.

        """
        return self._moved(precision, device)

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
        with self._precision():
            final = self.net(frames.unsqueeze(0), rows).final[0].float()
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)
