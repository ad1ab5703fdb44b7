"""The flow that a network follows: Farneback's, as in the paper, or that of dense inverse search.

Either looks at brightness alone and starts from nothing but two frames; what is known of one frame (`expand`) serves
both. On fast motion dense inverse search is by far the better one, at the same cost (docs/training.md).

Conventions are those of ops/farneback.py: pixels, from the first frame to the second, channel 0 = dx, channel 1 = dy.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from stinet.ops import farneback
from stinet.ops.farneback import Expansion
from stinet.ops.inverse_search import inverse_search

__all__ = ["FlowMethod", "flow_between"]

FlowMethod = Literal["farneback", "dis"]
"""Farneback's polynomial expansion, or dense inverse search."""


def flow_between(first: Expansion, second: Expansion, by: FlowMethod) -> Float[Tensor, "b 2 h w"]:
    """Flow from the frames of `first` to those of `second`, pair by pair; only Farneback's passes gradients."""
    if by == "dis":
        return inverse_search(first.gray, second.gray)
    return farneback.flow_between(first, second)
