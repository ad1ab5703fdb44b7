r"""Find the ranges of convolutions' inputs (ranges.py) from what a network computes on a few clips.

A range is taken that makes the error of the layer's output smallest, by the pixels that were seen:

    E = sum_c  |W_c|^2 s_c^2 mean (q(z_c) - z_c)^2  +  |q(W s)_c - W_c s_c|^2 mean z_c^2,      z_c = x_c / s_c

with W_c the weights that read channel c, s_c its scale, and q the rounding to levels of 8 bits: of inputs between the
range's ends, of weights between the largest of every output channel and its negative. The scales are a power of the
channel's largest number by the rest of that power of its largest weight, as SmoothQuant has them; powers and ends are
tried in turn. Errors of taps beside each other are taken to be independent.

Nothing here knows OpenVINO: the network runs in PyTorch, in float32.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.engines.ranges import Range
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet

__all__ = ["Seen", "fit_range", "fit_ranges", "look_at_inputs"]

_PIXELS = 400
"""Kept of every input that is seen; all count for the largest and the least."""

_MOST = 6000
"""Pixels that a range is fitted to."""

_POWERS = (0.0, 0.5, 0.7, 0.85, 1.0)
_SHARES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2)
"""Of the largest number, above which all become one; and of the least."""

_LEVELS = 255


@dataclass(slots=True)
class Seen:
    """What one convolution was given, over all clips."""

    pixels: Float[np.ndarray, "n c"]
    lowest: Float[np.ndarray, "c"]
    highest: Float[np.ndarray, "c"]
    count: int
    """Pixels that it was given in all."""


def look_at_inputs(net: STINet, clips: Iterable[Sequence[Float[Tensor, "3 h w"]]]) -> dict[str, Seen]:
    """By name, what every convolution is given when the network doubles the frames of these clips."""
    parts: dict[str, list[Seen]] = {}
    chance = torch.Generator().manual_seed(0)

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0].detach().float().movedim(1, -1).flatten(0, -2)
            some = rows[torch.randint(len(rows), (_PIXELS,), generator=chance)]
            seen = Seen(some.numpy(), rows.amin(0).numpy(), rows.amax(0).numpy(), len(rows))
            parts.setdefault(name, []).append(seen)

        return layers[name].register_forward_pre_hook(note)

    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
    watched = [watch(name) for name in layers]
    try:
        fn = NetworkClip(net, torch.device("cpu"), torch.float32)
        for frames in clips:
            states = [fn.prepare(frame) for frame in frames]
            times = [[0.5]] * (len(frames) - 1)
            fn.run(states, times, fn.context(states, times))
    finally:
        for handle in watched:
            handle.remove()
    return {name: _together(seen) for name, seen in parts.items()}


def fit_ranges(net: STINet, seen: Mapping[str, Seen]) -> dict[str, Range]:
    """A range for every convolution; those that were given the same numbers share one, and they are rounded once."""
    alike: dict[bytes, list[str]] = {}
    for name, one in seen.items():
        alike.setdefault(one.lowest.tobytes() + one.highest.tobytes(), []).append(name)
    found = {}
    for names in alike.values():
        weights = [net.get_parameter(f"{name}.weight").detach().double().numpy() for name in names]
        if len({weight.shape[1:] for weight in weights}) == 1:
            given, _ = fit_range(seen[names[0]], np.concatenate(weights))
            found |= dict.fromkeys(names, given)
        else:
            found |= {name: fit_range(seen[name], weight)[0] for name, weight in zip(names, weights, strict=True)}
    return {name: found[name] for name in seen}


def fit_range(seen: Seen, weight: Float[np.ndarray, "o c k k"]) -> tuple[Range, float]:
    """The range, and the share of the output's energy that is wrong then."""
    best, least = Range(0.0, 1.0, ()), np.inf
    for power in _POWERS:
        scales = _scales(seen, weight, power)
        z = seen.pixels / scales
        scaled = weight * scales[:, None, None]
        by_channel = (scaled**2).sum((0, 2, 3))
        of_weights = (((_rounded_weights(scaled) - scaled) ** 2).sum((0, 2, 3)) * (z**2).mean(0)).sum()
        for low, high in _ends((seen.lowest / scales).min(), (seen.highest / scales).max()):
            step = (high - low) / _LEVELS
            wrong = np.clip(np.round((z - low) / step), 0, _LEVELS) * step + low - z
            error = ((wrong**2).mean(0) * by_channel).sum() + of_weights
            if error < least:
                best, least = Range(low, high, tuple(map(float, scales))), error
    energy = ((weight**2).sum((0, 2, 3)) * (seen.pixels**2).mean(0)).sum()
    return best, float(least / max(energy, 1e-12))


def _together(seen: list[Seen]) -> Seen:
    pixels = np.concatenate([part.pixels for part in seen])
    kept = np.random.default_rng(0).permutation(len(pixels))[:_MOST]
    lowest = np.min([part.lowest for part in seen], axis=0)
    highest = np.max([part.highest for part in seen], axis=0)
    count = sum(part.count for part in seen)
    return Seen(pixels[kept].astype(np.float64), lowest.astype(np.float64), highest.astype(np.float64), count)


def _scales(seen: Seen, weight: Float[np.ndarray, "o c k k"], power: float) -> Float[np.ndarray, "c"]:
    """Of mean 1 by their logarithms; a power of 0 is one scale for all."""
    if power == 0:
        return np.ones_like(seen.highest)
    largest = np.maximum(np.maximum(-seen.lowest, seen.highest), 1e-6)
    heaviest = np.maximum(np.abs(weight).max((0, 2, 3)), 1e-6)
    raw = largest**power / heaviest ** (1 - power)
    return raw / np.exp(np.log(raw).mean())


def _rounded_weights(weight: Float[np.ndarray, "o c k k"]) -> Float[np.ndarray, "o c k k"]:
    step = np.maximum(np.abs(weight).max((1, 2, 3), keepdims=True), 1e-12) / (_LEVELS // 2)
    return np.round(weight / step) * step


def _ends(least: float, most: float) -> Iterator[tuple[float, float]]:
    """Ranges to try, in which 0 is a level: what lies outside of the picture is exact then."""
    most = max(most, 1e-6)
    if least >= 0:
        yield from ((0.0, float(most * share)) for share in _SHARES)
        return
    for below, above in itertools.product(_SHARES, _SHARES):
        step = (most * above - least * below) / _LEVELS
        low = -float(np.round(-least * below / step) * step)
        yield low, low + float(_LEVELS * step)
