"""Networks that are one of two stages, from their weights files: SepConv interpolates, RCAN and EDVR enlarge.

A peer's name may have such files in it: `sepconv.safetensors+rcan.safetensors`, `flow+edvr.safetensors`. EDVR makes a
frame of those around it, so it goes second, after the interpolator, where it sees every frame of the clip. What a pair
costs does not depend on weights: `sepconv+rcan` is one of networks as they begin.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import ClipFunction
from stinet.errors import ModelError
from stinet.peers.edvr import Edvr
from stinet.peers.networks import build, load_rival
from stinet.peers.pairs import ENLARGERS, INTERPOLATORS
from stinet.peers.parts import SCALE, RivalNet
from stinet.peers.published import PUBLISHED
from stinet.peers.stages import EnlargeFirst, Enlarger, InterpolateFirst, Interpolator, by_halving

__all__ = ["Halving", "NetEnlarger", "names_files", "names_networks", "pair_of_files", "untrained_pair"]


class Halving:
    """SepConv as an interpolator: the middle, and the middles of those, to the nearest sixteenth of the interval."""

    def __init__(self, net: RivalNet, name: str) -> None:
        self.net = net.eval()
        self.identity = f"{name} {_hash(net)}"

    def prepare(self, frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 3 h w"]:
        """Nothing to do."""
        return frame[None]

    @torch.no_grad()
    def between(
        self, before: Float[Tensor, "1 3 h w"], after: Float[Tensor, "1 3 h w"], taus: Sequence[float]
    ) -> list[Float[Tensor, "3 h w"]]:
        """The frames at the sixteenths nearest to `taus`; one that is nearest to a neighbour is that neighbour."""
        made = by_halving(before, after, taus, lambda first, second: self.net(first, second).clamp_(0, 1))
        return [frame[0] for frame in made]


class NetEnlarger:
    """RCAN or EDVR as an enlarger."""

    scale: int = SCALE
    halo_px: int = 16
    """Less than all they see, and RCAN takes means of the whole picture: a tile is near the crop of the whole."""

    def __init__(self, net: RivalNet, name: str) -> None:
        self.net = net.eval()
        self.reach = net.reach
        self.identity = f"{name} {_hash(net)}"

    @torch.no_grad()
    def __call__(self, frames: Float[Tensor, "u 3 h w"]) -> Float[Tensor, "u 3 sh sw"]:
        """Enlarge the frames of a clip in [0, 1]."""
        made = self.net(frames) if isinstance(self.net, Edvr) else torch.cat([self.net(x) for x in frames.split(1)])
        return made.clamp_(0, 1)


def names_files(name: str) -> bool:
    """Whether a name is one of two stages of which one at least is a weights file."""
    return name.count("+") == 1 and any(part.endswith(".safetensors") for part in name.split("+"))


def names_networks(name: str) -> bool:
    """Whether a name is one of two stages of which one at least is such a network, by its own name."""
    return name.count("+") == 1 and any(part in _NETWORKS for part in name.split("+"))


def pair_of_files(name: str, scale: int) -> ClipFunction:
    """The clip function of `A+B`, where A, B or both are weights files.

    Raises:
        ModelError: two stages of one kind, an unknown stage, EDVR first, or another scale than asked for.
        CheckpointError: a file that holds no such network.

    """
    return _pair(name, [_stage(part, scale) for part in name.split("+")])


def untrained_pair(name: str) -> ClipFunction:
    """The clip function of `A+B`, where A, B or both are names of these networks, which begin anew.

    Raises:
        ModelError: two stages of one kind, an unknown stage, or EDVR first.

    """
    parts = name.split("+")
    return _pair(name, [_of_network(p, build(p), SCALE) if p in _NETWORKS else _stage(p, SCALE) for p in parts])


_NETWORKS = tuple(name for name, known in PUBLISHED.items() if known.kind != "clip")


def _pair(name: str, stages: Sequence[Interpolator | Enlarger]) -> ClipFunction:
    first, second = stages
    if isinstance(first, Interpolator) and isinstance(second, Enlarger):
        return InterpolateFirst(interpolator=first, enlarger=second)
    if not isinstance(first, Enlarger) or not isinstance(second, Interpolator):
        raise ModelError(f"{name}: one stage must make frames in between, the other make them larger")
    if isinstance(first, NetEnlarger) and isinstance(first.net, Edvr):
        raise ModelError(f"{name}: EDVR makes a frame of those around it; name it second")
    return EnlargeFirst(interpolator=second, enlarger=first)


def _stage(part: str, scale: int) -> Interpolator | Enlarger:
    if part in INTERPOLATORS:
        return INTERPOLATORS[part].make()
    if part in ENLARGERS:
        return ENLARGERS[part].make(scale)
    if not part.endswith(".safetensors"):
        known = ", ".join((*INTERPOLATORS, *ENLARGERS))
        raise ModelError(
            f"unknown stage {part!r}: choose from {known}, or a .safetensors file of sepconv, rcan or edvr"
        )
    name, net = load_rival(Path(part))
    if PUBLISHED[name].kind == "clip":
        raise ModelError(f"{part}: {name} does both stages in one; name it alone")
    return _of_network(name, net, scale)


def _of_network(name: str, net: RivalNet, scale: int) -> Interpolator | Enlarger:
    if PUBLISHED[name].kind == "interpolator":
        return Halving(net, name)
    if scale != SCALE:
        raise ModelError(f"{name} enlarges by {SCALE}, not by {scale}")
    return NetEnlarger(net, name)


def _hash(net: RivalNet) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
