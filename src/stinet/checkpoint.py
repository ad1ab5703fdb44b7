"""One .safetensors file is a model: weights, and in its header the `ModelConfig` and where it comes from.

The state of a training run is a second file of the same format: weights, averaged weights, Adam's moments and the
step. A file appears whole or not at all.

No pickle is ever read, but by an explicit `convert`: it reads a PyTorch file with an unpickler that makes tensors and
plain containers and nothing else, and takes it only if names and shapes are those of the network that it is meant for.
"""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stinet.config import ModelConfig, from_mapping, to_mapping
from stinet.errors import CheckpointError, ConfigError
from stinet.model.stinet import STINet

__all__ = [
    "Converted",
    "as_half",
    "check_fit",
    "convert",
    "foreign_weights",
    "load_model",
    "load_tensors",
    "read_header",
    "save_model",
    "save_tensors",
]


_WRAPPERS = ("params_ema", "ema", "params", "state_dict", "model", "model_state_dict", "net", "weights")
"""Names under which training programs put the weights, the better ones first."""

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What parallel training, compilation and wrapping classes put before every name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a foreign file held."""

    tensors: int
    weights: int


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
        expected = _shapes(config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: made by another version ({error})") from error
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes beyond what torch can count
        raise CheckpointError(f"{path}: its settings make no network ({error})") from error
    if odd := _odd_names(tensors, expected):
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
        raise CheckpointError(f"{path}: {_kind(path) or f'no safetensors file, or damaged ({error})'}") from error


def convert(foreign: Path, target: Path, config: ModelConfig) -> Converted:
    """Make a weights file of a state dict that `torch.save` wrote, for the network of `config`.

    The dict may lie inside a training program's dict, and its names may have the prefixes of wrapping classes. Weights
    become float32. Nothing in the file is run: torch's restricted unpickler knows tensors and plain containers only.

    Raises:
        CheckpointError: the file is missing, damaged, holds code or no weights, or its weights do not fit `config`.

    """
    weights = foreign_weights(foreign)
    expected = _shapes(config)
    check_fit(foreign, weights, expected)
    net = STINet(config)
    floats = {name: weights[name].to(expected[name].dtype) for name in expected}
    save_model(target, net, floats, {"converted_from": foreign.name})
    return Converted(tensors=len(floats), weights=sum(tensor.numel() for tensor in floats.values()))


def foreign_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, without wrapping dicts and prefixes; nothing in the file is run.

    Raises:
        CheckpointError: the file is missing, damaged, or holds code or no weights.

    """
    return _without_prefixes(_state_dict(path, _unpickled(path)))


def check_fit(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of a network, by their names and shapes, or that are no numbers.

    Raises:
        CheckpointError: with how many do not fit, and the first.

    """
    if odd := _odd_names(weights, expected):
        raise CheckpointError(
            f"{path}: {len(odd)} of {len(weights)} weights do not fit a network of {len(expected)}: "
            f"{_difference(odd[0], weights, expected)}; is it for other settings?"
        )
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path}: {len(bad)} weights hold NaN or infinity, the first is {bad[0]}")


def read_header(path: Path) -> dict[str, Any]:
    """Only the header: settings and origin of a weights file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _header(path, file.metadata())
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {_kind(path) or f'no safetensors file, or damaged ({error})'}") from error


def _shapes(config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a network by name, without numbers: no memory is taken for a file before it fits."""
    with torch.device("meta"), _Undrawn():
        return STINet(config).state_dict()


class _Undrawn(TorchFunctionMode):
    """Draws no random numbers: what has no numbers needs none, and torch would load its compiler to draw them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leave the tensor of a draw as it is, and do everything else."""
        del types
        return args[0] if func in _DRAWS else func(*args, **(kwargs or {}))


_DRAWS = frozenset({Tensor.normal_, Tensor.uniform_})


def _unpickled(path: Path) -> Any:
    """What is in a PyTorch file, by the unpickler that runs no code."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    kind = _kind(path)
    if kind is None or "pickled" not in kind:
        raise CheckpointError(f"{path}: {kind or 'is no file of torch.save, or is damaged'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "weights_only" in reason.lower() or "global" in reason.lower():
            raise CheckpointError(
                f"{path}: holds more than weights (Python objects that would run code); it was not loaded. "
                "save only the state dict: torch.save(net.state_dict(), FILE)"
            ) from error
        raise CheckpointError(f"{path}: damaged: the pickle in it cannot be read") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: {path.stat().st_size:,} bytes, damaged or cut off ({_first_line(error)})"
        ) from error


def _state_dict(path: Path, value: Any) -> dict[str, Tensor]:
    """The weights, wherever a training program has put them."""
    inner = value
    for _ in range(3):
        if not isinstance(inner, Mapping):
            break
        if inner and all(isinstance(part, Tensor) for part in inner.values()):
            return {str(name): tensor.detach() for name, tensor in inner.items()}
        inner = next((inner[name] for name in _WRAPPERS if isinstance(inner.get(name), Mapping)), None)
    held = f"a dict of {', '.join(map(str, list(value)[:5]))}" if isinstance(value, Mapping) else type(value).__name__
    raise CheckpointError(f"{path}: holds no state dict (names and tensors) but {held}")


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names without what wrapping classes put before every one of them."""
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _odd_names(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has; else those of another shape."""
    return sorted(set(expected) ^ set(weights)) or sorted(
        name for name, tensor in weights.items() if tensor.shape != expected[name].shape
    )


def _difference(name: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    if name not in weights:
        return f"{name} is missing"
    if name not in expected:
        return f"{name} is unknown"
    return f"{name} is {tuple(weights[name].shape)}, not {tuple(expected[name].shape)}"


def _kind(path: Path) -> str | None:
    """What a file is that is no weights file of ours, told by its first bytes; None: unknown."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    start = head.lstrip()[:64].lower()
    if not head:
        return "is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a weights file; the download went wrong"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; fetch them with git lfs pull"
    if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        return "is pickled (.pth), and pickles are not read; make a .safetensors file of it with stinet convert"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


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
