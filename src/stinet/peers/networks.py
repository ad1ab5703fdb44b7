"""Rival networks by name: built, saved, loaded, and made of the authors' files.

A weights file of ours is one .safetensors with `rival` (the name) and `settings` in its header. The authors' files are
pickles; only `convert_official` reads them, with the unpickler that runs no code, and takes them if names and shapes
are those of the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stinet.checkpoint import Converted, check_fit, foreign_weights, load_tensors, read_header, save_tensors
from stinet.config import from_mapping, to_mapping
from stinet.errors import CheckpointError, ConfigError
from stinet.peers.edvr import Edvr, EdvrConfig
from stinet.peers.official import (
    Translation,
    from_edvr,
    from_rcan,
    from_rstt,
    from_sepconv,
    from_tmnet,
    from_videoinr,
    from_zooming,
)
from stinet.peers.parts import RivalNet
from stinet.peers.published import PUBLISHED
from stinet.peers.rcan import Rcan, RcanConfig
from stinet.peers.rstt import Rstt, RsttConfig
from stinet.peers.sepconv import SepConv, SepConvConfig
from stinet.peers.tmnet import Tmnet, TmnetConfig
from stinet.peers.videoinr import VideoInr, VideoInrConfig
from stinet.peers.zooming import ZoomingConfig, ZoomingSlowMo

__all__ = ["RIVALS", "Rival", "build", "convert_official", "is_rival", "load_rival", "save_rival"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """How a network is built, and how its authors call its weights."""

    make: Callable[[Any], RivalNet]
    config: Any
    translate: Translation


RIVALS: Mapping[str, Rival] = {
    "zooming-slow-mo": Rival(make=ZoomingSlowMo, config=ZoomingConfig(), translate=from_zooming),
    "tmnet": Rival(make=Tmnet, config=TmnetConfig(), translate=from_tmnet),
    "rstt-s": Rival(make=Rstt, config=RsttConfig(depth=4), translate=from_rstt),
    "rstt-m": Rival(make=Rstt, config=RsttConfig(depth=6), translate=from_rstt),
    "rstt-l": Rival(make=Rstt, config=RsttConfig(depth=8), translate=from_rstt),
    "videoinr": Rival(make=VideoInr, config=VideoInrConfig(), translate=from_videoinr),
    "sepconv": Rival(make=SepConv, config=SepConvConfig(), translate=from_sepconv),
    "rcan": Rival(make=Rcan, config=RcanConfig(), translate=from_rcan),
    "edvr-l": Rival(make=Edvr, config=EdvrConfig(), translate=from_edvr),
    "edvr-l7": Rival(make=Edvr, config=EdvrConfig(frames=7), translate=from_edvr),
}
"""Every name of `PUBLISHED`."""


def build(name: str, config: Any = None) -> RivalNet:
    """The untrained network; `config` instead of the authors' sizes."""
    rival = RIVALS[name]
    return rival.make(rival.config if config is None else config)


def save_rival(path: Path, name: str, net: RivalNet, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `weights` with the network's name and settings."""
    save_tensors(path, weights, {"rival": name, "settings": to_mapping(net.config), "about": dict(about)})


def is_rival(path: Path) -> bool:
    """Whether a weights file holds one of these networks.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.

    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    return "rival" in read_header(path)


def load_rival(path: Path) -> tuple[str, RivalNet]:
    """Name and network of a weights file, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or its weights do not fit its settings.

    """
    tensors, header = load_tensors(path)
    name, settings = str(header.get("rival")), header.get("settings")
    if name not in RIVALS or not isinstance(settings, dict):
        raise CheckpointError(f"{path}: holds none of {', '.join(RIVALS)}")
    try:
        config = from_mapping(type(RIVALS[name].config), settings, str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: made by another version ({error})") from error
    with torch.device("meta"):
        expected = build(name, config).state_dict()
    check_fit(path, tensors, expected)
    net = build(name, config)
    net.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return name, net.eval()


def convert_official(foreign: Path, target: Path, name: str) -> Converted:
    """Make a weights file of the authors' one.

    A file of TMNet that was trained without temporal modulation may lack it: then the network is one without.

    Raises:
        CheckpointError: the file is missing, damaged, holds code or no weights, or its weights are not the network's.

    """
    if not foreign.is_file():
        raise CheckpointError(f"{foreign}: no such file; {PUBLISHED[name].where()}")
    rival = RIVALS[name]
    theirs = foreign_weights(foreign)
    weights = {ours: tensor for key, tensor in theirs.items() if (ours := rival.translate(key)) is not None}
    config = rival.config
    if name == "tmnet" and not any(".modulators." in key for key in weights):
        config = replace(config, modulated=False)
    with torch.device("meta"):
        expected = build(name, config).state_dict()
    check_fit(foreign, weights, expected)
    floats = {key: weights[key].to(expected[key].dtype) for key in expected}
    with torch.device("meta"):
        save_rival(target, name, build(name, config), floats, {"converted_from": foreign.name})
    return Converted(tensors=len(floats), weights=sum(tensor.numel() for tensor in floats.values()))
