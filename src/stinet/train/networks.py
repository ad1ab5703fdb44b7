"""Which network a run trains: a preset of ours with overrides, or a published one in its place (Table VI's host).

Both are called with (frames, times, flows), give an `Output` and know their settings as `config`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stinet.checkpoint import save_model
from stinet.config import TrainConfig, from_mapping
from stinet.model.stinet import STINet
from stinet.peers.networks import RIVALS, save_rival
from stinet.peers.networks import build as build_rival

__all__ = ["build", "save", "settings_of"]


def build(config: TrainConfig) -> nn.Module:
    """The untrained network of a run.

    Raises:
        ConfigError: the overrides contradict each other, or are none of its settings.

    """
    if not config.rival:
        return STINet(config.model_config)
    known = RIVALS[config.rival].config
    return build_rival(config.rival, from_mapping(type(known), {**asdict(known), **config.overrides}, "overrides"))


def settings_of(net: nn.Module) -> dict[str, Any]:
    """What a network is, as plain values."""
    return asdict(net.config)  # pyright: ignore[reportArgumentType] (a module's attribute)


def save(
    path: Path, config: TrainConfig, net: nn.Module, weights: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Write `weights` as a file that `load_model` or `load_rival` reads."""
    if config.rival:
        save_rival(path, config.rival, net, weights, about)  # pyright: ignore[reportArgumentType] (made by build)
    else:
        assert isinstance(net, STINet)
        save_model(path, net, weights, about)
