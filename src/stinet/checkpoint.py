"""One .safetensors file is a model: weights, and in its header the `ModelConfig` and where it comes from.

The state of a training run is a second file of the same format: weights, averaged weights, Adam's moments and the
step. No pickle is ever read. A file appears whole or not at all.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stinet.config import ModelConfig, from_mapping, to_mapping
from stinet.errors import CheckpointError, ConfigError
from stinet.model.stinet import STINet

__all__ = ["as_half", "load_model", "load_tensors", "read_header", "save_model", "save_tensors"]


def save_model(path: Path, net: STINet, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `weights` with the network's settings; `about` is free text for the model card's short form."""
    header = {"model": to_mapping(net.config), "about": dict(about)}
    save_tensors(path, weights, header)


def load_model(path: Path) -> STINet:
    """The network of a weights file, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, or its weights do not fit its settings.

    """
    tensors, header = load_tensors(path)
    settings = header.get("model")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: its header has no model settings; was it written by stinet?")
    # before there was a gain of the residual base, nothing scaled down what corrects it
    before_gain = {"residual_gain": 1.0} if settings.get("residual_base") is True else {}
    try:
        config = from_mapping(ModelConfig, {**before_gain, **settings}, str(path))
        with torch.device("meta"):  # shapes alone: whatever a file asks for, no memory is taken before it fits
            expected = STINet(config).state_dict()
    except ConfigError as error:
        raise CheckpointError(f"{path}: made by another version ({error})") from error
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes beyond what torch can count
        raise CheckpointError(f"{path}: its settings make no network ({error})") from error
    odd = sorted(set(expected) ^ set(tensors)) or sorted(
        name for name, tensor in tensors.items() if tensor.shape != expected[name].shape
    )
    if odd:
        raise CheckpointError(f"{path}: {len(odd)} weights do not fit its settings, the first is {odd[0]}")
    net = STINet(config)
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return net.eval()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header; the file appears whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        part,
        metadata={"stinet": json.dumps(header)},
    )
    part.chmod(0o644)  # safetensors makes it readable to its owner alone
    with part.open("rb") as written:
        os.fsync(written.fileno())  # a name that is on the disk before its bytes would be a damaged file
    part.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that `save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind; nothing in it is ever run.

    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata())
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no safetensors file, or damaged ({error}); pickled .pth files are not read"
        ) from error


def read_header(path: Path) -> dict[str, Any]:
    """Only the header: settings and origin of a weights file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _header(path, file.metadata())
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or damaged ({error})") from error


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    header = json.loads((metadata or {}).get("stinet", "{}"))
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is no mapping of settings; was it written by stinet?")
    return header


def as_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Half-size copies for the long shelf: bfloat16 keeps float32's range, which squared gradients need."""
    return {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
