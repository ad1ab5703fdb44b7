"""What numbers the inputs of convolutions have: what must be known before they are computed in 8 bits.

An input of 8 bits holds 256 levels, evenly from a lowest to a highest number. Channels differ by a hundred times in
what they hold, so every channel is divided by a scale of its own first, and the weights that read it are multiplied by
it. Both happen before a run: the division in the rounding itself, the product in the weights.

The ranges of a weights file lie beside it: `stinet-s.safetensors` and `stinet-s.int8.json`, with a hash of the weights
that they were found for, since they fit no others. engines/calibrate.py finds them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from stinet.errors import CheckpointError

__all__ = ["Range", "Ranges", "as_plain", "from_plain", "joint_range", "ranges_file", "read_ranges", "write_ranges"]

_DIGITS = 5
"""Of every number in a file."""


class Range(NamedTuple):
    """Numbers that an input holds, channel by channel: from low to high, times the channel's scale."""

    low: float
    high: float
    scales: tuple[float, ...]


Ranges = Mapping[str, Range]
"""By the names of convolutions; one that is not named is not computed in 8 bits."""


def ranges_file(weights: Path) -> Path:
    """Where the ranges of a weights file are."""
    return weights.with_suffix(".int8.json")


def write_ranges(file: Path, net: nn.Module, ranges: Ranges, about: Mapping[str, Any]) -> None:
    """Write ranges that were found for a network's weights; `about` is for people."""
    layers = {
        name: [_short(given.low), _short(given.high), [*map(_short, given.scales)]] for name, given in ranges.items()
    }
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in layers.items())
    head = f'"weights": {json.dumps(_hash(net))},\n"about": {json.dumps(dict(about))}'
    file.write_text(f'{{\n{head},\n"layers": {{\n{rows}\n}}\n}}\n', encoding="utf-8")


def read_ranges(file: Path, net: nn.Module) -> Ranges | None:
    """The ranges in a file; None: there is none, or it is for other weights.

    Raises:
        CheckpointError: the file is damaged.

    """
    if not file.is_file():
        return None
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        if read["weights"] != _hash(net):
            return None
        return from_plain(read["layers"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: no ranges, or damaged ({error}); make them again, or remove it") from error


def as_plain(ranges: Ranges) -> dict[str, Any]:
    """As JSON holds them."""
    return {name: [given.low, given.high, [*given.scales]] for name, given in ranges.items()}


def from_plain(values: Mapping[str, Any]) -> dict[str, Range]:
    """What `as_plain` made."""
    return {
        str(name): Range(float(low), float(high), tuple(map(float, scales)))
        for name, (low, high, scales) in values.items()
    }


def joint_range(ranges: Sequence[Range], places: Sequence[Sequence[int]]) -> Range:
    """What holds for all of some inputs: each is of those channels of one input, and several may hold a channel.

    Where ends differ it is as wide as the widest, with 0 at a level as before.
    """
    first = ranges[0]
    if any(given[:2] != first[:2] for given in ranges):
        spans = [given.high - given.low for given in ranges]
        low = min(given.low / span for given, span in zip(ranges, spans, strict=True))
        high = max(given.high / span for given, span in zip(ranges, spans, strict=True))
        step = (high - low) / 255
        low = round(low / step) * step
        high = low + 255 * step
    else:
        spans, (low, high) = [1.0] * len(ranges), first[:2]
    scales = [0.0] * (1 + max(map(max, places)))
    for given, span, read in zip(ranges, spans, places, strict=True):
        for place, scale in zip(read, given.scales, strict=True):
            scales[place] = max(scales[place], scale * span)
    return Range(low, high, tuple(scales))


def _hash(net: nn.Module) -> str:
    """Of the weights alone: a setting that a later version adds changes nothing."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
