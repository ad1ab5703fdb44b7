r"""What training minimises, term by term.

    l = l_rec(V) + a l'_rec(V_1) + b l'_rec(F_1)

V is the output, V_1 and F_1 are what phase 1's heads make of H and L (paper, Eq. 4 and section III-B), each against
its own target: V^gt, V^gt, and F^gt, the LR of every frame, in-between ones too. A term is a *mean* over pixels,
channels and frames, where the paper writes sums: a weight then means the same for every crop and batch. The distance
is the paper's squared error or Charbonnier's, sqrt(d^2 + eps^2) with eps = 1e-3 on a range of [0, 1].
"""

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import LossConfig

__all__ = ["distance", "total"]

EPSILON = 1e-3


def distance(
    made: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"], kind: str = "charbonnier"
) -> Float[Tensor, ""]:
    """Mean Charbonnier distance or mean squared error of two tensors in [0, 1]."""
    difference = made - truth
    if kind == "l2":
        return difference.square().mean()
    return torch.sqrt(difference.square() + EPSILON**2).mean()


def total(
    final: Float[Tensor, "b u 3 sh sw"],
    draft_low: Float[Tensor, "b u 3 h w"] | None,
    draft_high: Float[Tensor, "b u 3 sh sw"] | None,
    truth_high: Float[Tensor, "b u 3 sh sw"],
    truth_low: Float[Tensor, "b u 3 h w"],
    config: LossConfig,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The scalar to minimise, and its unweighted terms by name (detached)."""
    terms = {"reconstruction": distance(final, truth_high, config.kind)}
    loss = terms["reconstruction"]
    drafts = (
        ("draft_low", draft_low, truth_low, config.draft_low),
        ("draft_high", draft_high, truth_high, config.draft_high),
    )
    for name, made, truth, weight in drafts:
        if made is not None and weight > 0:
            terms[name] = distance(made, truth, config.kind)
            loss = loss + weight * terms[name]
    return loss, {name: term.detach() for name, term in terms.items()}
