r"""Does it move as the truth does: motion error and flicker of two neighbouring frames.

    motion error = mean over x of |O(V_t, V_t+1)(x) - O(G_t, G_t+1)(x)|_2                                    (1)
    flicker      = mean over x of |(Y(V_t+1) - Y(V_t))(x) - (Y(G_t+1) - Y(G_t))(x)|                          (2)

V are frames that were made, G the true ones, O Farneback's flow in pixels of these (large) frames, Y the luma of 8-bit
frames. (1) is the mean end-point difference of flows, what the paper's absolute motion loss (Eq. 2) squares and sums;
Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation" (2020), measure the same
and call it tOF. (2) is the error of the temporal difference, in levels of Y: an error that stays the same from frame to
frame (a blur that rests on a thing at rest) does not count, one that comes and goes, as where sharp given frames take
turns with soft interpolated ones, does. It is the first-order temporal error that video quality measures are built on,
without a flow in it, so that it cannot inherit a flow's mistakes.

Both are 0 for identical films; lower is better.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from stinet.metrics.fidelity import levels
from stinet.ops.farneback import Expansion, expand, flow_between

__all__ = ["flicker", "flow_expansion", "motion", "motion_error"]


def flow_expansion(rgb: Float[Tensor, "3 sh sw"]) -> Expansion:
    """What flow needs of one frame in [0, 1], which is rounded to 8 bit first."""
    return expand((levels(rgb) / 255).float().unsqueeze(0))


def motion(first: Expansion, second: Expansion) -> Float[Tensor, "2 sh sw"]:
    """Flow from the first frame to the second, in pixels: dx, dy."""
    return flow_between(first, second)[0]


def motion_error(made: Float[Tensor, "*b 2 sh sw"], truth: Float[Tensor, "*b 2 sh sw"]) -> Float64[Tensor, "*b"]:
    """Mean end-point difference in pixels of two flows, Eq. (1)."""
    return torch.linalg.vector_norm(made.double() - truth.double(), dim=-3).mean((-2, -1))


def flicker(
    made: tuple[Float64[Tensor, "*b sh sw"], Float64[Tensor, "*b sh sw"]],
    truth: tuple[Float64[Tensor, "*b sh sw"], Float64[Tensor, "*b sh sw"]],
) -> Float64[Tensor, "*b"]:
    """Mean error of the temporal difference in levels of Y, Eq. (2); both pairs are (before, after)."""
    return ((made[1] - made[0]) - (truth[1] - truth[0])).abs().mean((-2, -1))
