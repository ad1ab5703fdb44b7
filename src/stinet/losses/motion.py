r"""Motion consistency: what moves in the output must move as in the truth (paper, section III-F).

O_{t->p} is Farneback's flow from frame t to frame p, in pixels of the output. Made flows carry the gradient to the
frames; flows of the truth carry none. The absolute and the relative term (Eq. 2 and 3), as means:

    l_abs = mean over ordered pairs t != p of (O_{t->p} - O^gt_{t->p})^2                                     (2)
    l_rel = mean over t of max(sgn(O_{t-1->t}) (O_{t-1->t} - O_{t-1->t+1}), 0)                               (3)

both also over clips, pixels and the two channels. The paper writes sums (over t = p too, where the flow is zero). A
mean keeps a weight's meaning over lengths, crops and batches, but another one than in the paper: l_abs is in px^2,
l_rel in px, while a squared error of frames in [0, 1] is about 1e-3.

Variants of Table V: l_abs by the absolute difference (l1); over adjacent pairs only, |t - p| = 1; l_rel-SC, the strong
constraint, which is the mean of ((O_{t-1->t} - O_{t-1->t+1}) - (O^gt_{t-1->t} - O^gt_{t-1->t+1}))^2.

Sampling. All ordered pairs of 7 frames are 42. A `Choice` says which flows of a clip are computed and what each one
weighs: `everything` takes all; `draws` are all ways to take one triple (t-1, t, t+1) and one more pair among those that
lie in no triple. The triple gives l_rel its two flows, and l_abs has them too. A pair that is drawn with probability q
weighs 1/q times as much as in `everything`: the mean over all draws is the full term exactly. The draw of a clip hangs
on the seed, the step and the clip's number alone, never on which process has it or what else is in its batch.

Where a frame is nearly flat, or something vanishes behind something else, a flow is noise, and a change of the frames
by a hundredth of a gray level moves it by pixels. Such pixels are few and rule the gradient (docs/losses.md has the
figures). `motion_limit` shortens what comes back to each pixel: with n pixels in the batch (n = b u h w),

    n |d(l_abs + l_rel)/dV(x)| <= motion_limit,        in px^2 per unit of brightness,

the direction in colour space kept. The value of the loss stays as it is. A limit of 0 leaves the paper's gradient, and
only that is unbiased under sampling: a rare pair is heavy when it is drawn, so more of it is cut.

Each frame is expanded into polynomials once, whatever the number of its pairs. Computed in float32, autocast or not,
some clips at a time: the gradient at the frames is taken at once, so that memory is bounded by those clips' flows.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stinet.config import LossConfig
from stinet.losses.distance import at_least_float32
from stinet.ops.farneback import expand, flow_between

__all__ = [
    "Choice",
    "absolute",
    "choices",
    "draws",
    "everything",
    "limited",
    "motion_consistency",
    "motion_terms",
    "relative",
    "relative_strong",
]

PIXELS_AT_ONCE = 2**22
"""Pixels of flows that are held for one backward pass (256 flows of 128 x 128): some GB."""

Pair = tuple[int, int]
"""The flow from the first frame to the second one, numbered from 0 in their clip."""

DRAWS = 0x0F10
"""Keeps these draws apart from others that are made from the same seed, step and item."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Flows of one clip that are computed, and their part in the clip's two terms."""

    absolute: Mapping[Pair, float]
    """Weights of pairs in l_abs."""

    relative: Mapping[int, float]
    """Weights of triples in l_rel, by their first frame."""

    @property
    def pairs(self) -> list[Pair]:
        """Every flow that is needed, once."""
        of_triples = [pair for first in self.relative for pair in _flows_of(first)]
        return list(dict.fromkeys([*self.absolute, *of_triples]))


def motion_consistency(
    made: Float[Tensor, "b u 3 h w"],
    truth: Float[Tensor, "b u 3 h w"],
    chosen: Sequence[Choice],
    config: LossConfig,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """l_abs + l_rel with the limited gradient, and both by name (detached); one choice a clip."""
    group = max(1, PIXELS_AT_ONCE // (made[0, 0, 0].numel() * max(len(choice.pairs) for choice in chosen)))
    terms: dict[str, Tensor] = {}
    gradients = []
    for begin in range(0, len(chosen), group):
        part = slice(begin, begin + group)
        frames = at_least_float32(made[part].detach()).requires_grad_(made.requires_grad)
        found = motion_terms(frames, truth[part], chosen[part], config)
        share = frames.shape[0] / made.shape[0]
        if torch.is_grad_enabled() and made.requires_grad:
            gradients += torch.autograd.grad(share * torch.stack(list(found.values())).sum(), frames)
        for name, term in found.items():
            terms[name] = terms.get(name, 0) + share * term.detach()
    loss = torch.stack(list(terms.values())).sum()
    if gradients:
        loss = _Known.apply(made, loss, limited(torch.cat(gradients), config.motion_limit))
    return loss, terms


def limited(gradient: Float[Tensor, "b u 3 h w"], limit: float) -> Float[Tensor, "b u 3 h w"]:
    """Shorten every pixel's vector to `limit` / (number of pixels); 0 shortens none."""
    if not limit:
        return gradient
    longest = limit * gradient.shape[2] / gradient.numel()
    return gradient * (longest / gradient.norm(dim=2, keepdim=True).clamp(min=longest))


class _Known(torch.autograd.Function):
    """A value whose gradient at the frames is known already."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = frames.dtype
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (upstream[0] * gradient).to(ctx.dtype), None, None


def motion_terms(
    made: Float[Tensor, "b u 3 h w"],
    truth: Float[Tensor, "b u 3 h w"],
    chosen: Sequence[Choice],
    config: LossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """The terms by name (`motion_absolute`, `motion_relative`; without those that are "none"), one choice a clip."""
    flows = _Flows(made, truth, chosen)
    terms: dict[str, Tensor] = {}
    if config.motion_absolute != "none":
        at, weights = flows.at([choice.absolute for choice in chosen])
        each = absolute(flows.made[at], flows.truth[at], config.motion_absolute)
        terms["motion_absolute"] = (each * weights).sum() / len(chosen)
    if config.motion_relative != "none":
        near, weights = flows.at([{(t, t + 1): weight for t, weight in choice.relative.items()} for choice in chosen])
        far, _ = flows.at([{(t, t + 2): weight for t, weight in choice.relative.items()} for choice in chosen])
        if config.motion_relative == "weak":
            each = relative(flows.made[near], flows.made[far])
        else:
            each = relative_strong(flows.made[near], flows.made[far], flows.truth[near], flows.truth[far])
        terms["motion_relative"] = (each * weights).sum() / len(chosen)
    return terms


def absolute(made: Float[Tensor, "p 2 h w"], truth: Float[Tensor, "p 2 h w"], kind: str) -> Float[Tensor, "p"]:
    """Eq. (2) of each flow: the mean of squares ("l2") or absolute values ("l1") of its difference from the truth."""
    difference = made - truth
    return (difference.square() if kind == "l2" else difference.abs()).mean(dim=(1, 2, 3))


def relative(near: Float[Tensor, "p 2 h w"], far: Float[Tensor, "p 2 h w"]) -> Float[Tensor, "p"]:
    """Eq. (3) of each triple: by how much the way to the next frame, `near`, goes beyond that to the one after it."""
    return (near.sign() * (near - far)).clamp(min=0).mean(dim=(1, 2, 3))


def relative_strong(
    near: Float[Tensor, "p 2 h w"],
    far: Float[Tensor, "p 2 h w"],
    near_truth: Float[Tensor, "p 2 h w"],
    far_truth: Float[Tensor, "p 2 h w"],
) -> Float[Tensor, "p"]:
    """l_rel-SC of each triple: the squared difference of what is made and what is true of `near - far`."""
    return ((near - far) - (near_truth - far_truth)).square().mean(dim=(1, 2, 3))


def choices(config: LossConfig, frames: int, *, seed: int, step: int, items: Sequence[int]) -> list[Choice]:
    """One choice for every clip; `items` numbers the clips within the whole step, over all processes."""
    if config.motion_sampling == "all":
        return [everything(config, frames)] * len(items)
    possible = draws(config, frames)
    return [possible[np.random.default_rng((DRAWS, seed, step, item)).integers(len(possible))] for item in items]


def everything(config: LossConfig, frames: int) -> Choice:
    """All pairs and all triples of a clip, equally heavy."""
    pairs, triples = _pairs(config, frames), _triples(config, frames)
    return Choice({pair: 1 / len(pairs) for pair in pairs}, {first: 1 / len(triples) for first in triples})


@functools.cache
def draws(config: LossConfig, frames: int) -> tuple[Choice, ...]:
    """Every draw of one triple and one more pair of a clip of at least 3 frames, equally likely."""
    pairs, beginnings = _pairs(config, frames), range(frames - 2)
    in_triples = {pair for first in beginnings for pair in _flows_of(first)}
    others = [pair for pair in pairs if pair not in in_triples]
    found = []
    for first in beginnings:
        shared = {pair: len(beginnings) / len(pairs) for pair in _flows_of(first) if pair in pairs}
        triple = {first: 1.0} if _triples(config, frames) else {}
        found += [Choice({**shared, other: len(others) / len(pairs)}, triple) for other in others]
        found += [] if others else [Choice(shared, triple)]
    return tuple(found)


def _flows_of(first: int) -> tuple[Pair, Pair]:
    """The two flows of the triple that begins at a frame."""
    return (first, first + 1), (first, first + 2)


def _pairs(config: LossConfig, frames: int) -> list[Pair]:
    """Ordered pairs of Eq. (2)."""
    if config.motion_absolute == "none":
        return []
    reach = 1 if config.motion_pairs == "adjacent" else frames
    return [(t, p) for t in range(frames) for p in range(frames) if 0 < abs(t - p) <= reach]


def _triples(config: LossConfig, frames: int) -> range:
    """First frames of the triples of Eq. (3)."""
    return range(0 if config.motion_relative == "none" else frames - 2)


class _Flows:
    """Every flow that the clips' choices need, made and true, each once."""

    def __init__(self, made: Tensor, truth: Tensor, chosen: Sequence[Choice]) -> None:
        wanted = [(clip, pair) for clip, choice in enumerate(chosen) for pair in choice.pairs]
        frames = sorted({(clip, frame) for clip, pair in wanted for frame in pair})
        number = {place: index for index, place in enumerate(frames)}
        places = torch.tensor([clip * made.shape[1] + frame for clip, frame in frames], device=made.device)
        first = torch.tensor([number[clip, pair[0]] for clip, pair in wanted], device=made.device)
        second = torch.tensor([number[clip, pair[1]] for clip, pair in wanted], device=made.device)
        self.number = {place: index for index, place in enumerate(wanted)}
        expansion = expand(made.flatten(0, 1).index_select(0, places))
        self.made = flow_between(expansion.of(first), expansion.of(second))
        with torch.no_grad():
            expansion = expand(truth.flatten(0, 1).index_select(0, places))
            self.truth = flow_between(expansion.of(first), expansion.of(second))

    def at(self, weights: Sequence[Mapping[Pair, float]]) -> tuple[Int64[Tensor, "p"], Float[Tensor, "p"]]:
        """Numbers and weights of the flows that are named, clip by clip."""
        named = [(self.number[clip, pair], by[pair]) for clip, by in enumerate(weights) for pair in by]
        at, weight = zip(*named, strict=True)
        return torch.tensor(at, device=self.made.device), torch.tensor(weight).to(self.made)
