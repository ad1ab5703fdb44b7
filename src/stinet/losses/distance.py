r"""How far frames are from the truth, pixel by pixel.

    l2            mean of (V - V^gt)^2                        (the paper's l_rec)
    charbonnier   mean of sqrt((V - V^gt)^2 + eps^2),         eps = 1e-3

Both are means over clips, frames, channels and pixels, where the paper writes a sum over frames of squared norms: a
weight then means the same for every crop, length and batch. Values are in [0, 1], so an l2 is about 1e-3 and a
Charbonnier distance about 2e-2; Charbonnier's own minimum, at V = V^gt, is eps.
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["EPSILON", "at_least_float32", "distance"]

EPSILON = 1e-3


def distance(
    made: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"], kind: str = "charbonnier"
) -> Float[Tensor, ""]:
    """Mean Charbonnier distance or mean squared error ("l2") of two tensors in [0, 1]."""
    difference = at_least_float32(made) - truth
    if kind == "l2":
        return difference.square().mean()
    return torch.sqrt(difference.square() + EPSILON**2).mean()


def at_least_float32(values: Tensor) -> Tensor:
    """The tensor in single precision or better: no term is computed in half precision."""
    return values if values.dtype == torch.float64 else values.float()
