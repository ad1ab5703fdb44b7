r"""Training that knows the 8-bit roundings: convolutions compute as the int8 engine will (engines/graph.py).

    y_o = b_o + s t_o sum_c k_oc * l_c

    l_c  = round(x_c / (s a_c)),       from low / s to low / s + 255,    s   = (high - low) / 255
    k_oc = round(W_oc a_c / t_o),      from -127 to 127,                 t_o = max |W_o a| / 127

with a the scales and low, high the ends of an input's range (engines/ranges.py). Levels are whole numbers of at most 8
bits, so that bfloat16 holds them exactly and autocast changes nothing of what the rounding does. Backward, a rounding
is the identity, and zero where a number lies outside of the range.

Ranges are found as for the engine (engines/calibrate.py) at the start of a stage and stay for its length; the weights
of the state, their average and what is shipped are ordinary ones, and Mnet is left alone, as in the engine.
"""

import re
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.data.training import Runs
from stinet.engines.calibrate import fit_ranges, look_at_inputs
from stinet.engines.ranges import Range, Ranges
from stinet.model.stinet import STINet

__all__ = ["compute_exactly", "compute_rounded", "ranges_of"]

CLIPS = 48
"""Runs whose beginnings the ranges are found on."""

_LEAVES = re.compile(r"interpolate\.motion")
"""Mnet: its few channels take longer in 8 bits."""

_SMALL = 2.0**-14
"""A kernel's levels times this: sums over many channels then fit fp16 as well."""


def ranges_of(net: STINet, runs: Runs, frames: int) -> dict[str, Range]:
    """Ranges of all convolutions, by `frames` given frames of a few runs; `net` is on the CPU.

    Of those runs alone that are long enough.
    """
    long = [number for number, length in enumerate(runs.lengths) if length >= 2 * frames - 1]
    chosen = sorted({long[int(place)] for place in np.linspace(0, len(long) - 1, CLIPS)})
    clips = (list(runs.clip(number, frames).low[0, ::2].cpu().float() / 255) for number in chosen)
    seen = look_at_inputs(net, clips)
    return fit_ranges(net, {name: one for name, one in seen.items() if not _LEAVES.search(name)})


def compute_rounded(net: nn.Module, ranges: Ranges) -> None:
    """Let the convolutions that are named compute in 8 bits, in place; weights stay what and where they are."""
    for name, given in ranges.items():
        layer: Any = net.get_submodule(name)
        layer.forward = partial(_convolved, layer, given)


def compute_exactly(net: nn.Module) -> None:
    """Undo `compute_rounded`."""
    for layer in net.modules():
        layer.__dict__.pop("forward", None)


def _convolved(layer: nn.Conv2d, given: Range, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o gh gw"]:
    """The layer's convolution of whole numbers, then times what they count."""
    scales = layer.weight.new_tensor(given.scales).view(1, -1, 1, 1)
    step = (given.high - given.low) / 255
    lowest = round(given.low / step)
    levels = _Levels.apply(x, 1 / (step * scales), lowest, lowest + 255)
    scaled = layer.weight.detach() * scales
    unit = scaled.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    kernel = _Levels.apply(layer.weight, scales / unit, -127, 127) * _SMALL
    made = layer._conv_forward(levels, kernel, None)
    made = made * (unit.view(1, -1, 1, 1) * (step / _SMALL))
    return (made if layer.bias is None else made + layer.bias.view(1, -1, 1, 1)).to(x.dtype)


class _Levels(torch.autograd.Function):
    """Round `x * per_unit` to whole numbers between two ends."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, per_unit: Tensor, lowest: int, highest: int) -> Tensor:
        nearest = (x * per_unit).round_()
        levels = nearest.clamp(lowest, highest)
        ctx.save_for_backward(levels == nearest, per_unit)
        return levels.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        is_inside, per_unit = ctx.saved_tensors
        gradient = gradients[0]
        return (gradient * per_unit.to(gradient.dtype)).mul_(is_inside), None, None, None
