r"""The scalar that a step minimises (paper, Eq. 4), and its terms by name.

    l = l_rec(V) + a l_rec(F_1) + b l_rec(V_1) + lambda_1 l_per(V) + lambda_2 (l_abs(V) + l_rel(V))

V is the output, F_1 and V_1 are what phase 1's heads make of L and H (section III-B), each against its own target:
F^gt, the LR of every frame, in-between ones too, and V^gt. The names in the log:

    reconstruction     l_rec(V)       motion_absolute    l_abs, in px^2 (l1: px)
    draft_low          l_rec(F_1)     motion_relative    l_rel, in px (strong: px^2)
    draft_high         l_rec(V_1)     perceptual         l_per

All are means (`distance`, `perceptual` and `motion` give the equations) and are told without their weights. With
`motion_every` = k the motion terms are there on steps 0, k, 2k, ... and weigh k times as much.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import LossConfig
from stinet.losses.distance import distance
from stinet.losses.motion import choices, motion_consistency
from stinet.losses.perceptual import load_vgg, perceptual_distance

__all__ = ["Losses"]


class Losses:
    """The loss of a run or a stage: its settings, and VGG-19 where the perceptual term is wanted."""

    def __init__(self, config: LossConfig, device: torch.device) -> None:
        """Read VGG-19's weights if `perceptual` is above 0.

        Raises:
            ConfigError: the weights' file is missing.
            CheckpointError: the file is damaged or holds something else.

        """
        self.config = config
        self.vgg = load_vgg(Path(config.vgg)).to(device) if config.perceptual else None

    def total(
        self,
        final: Float[Tensor, "b u 3 sh sw"],
        draft_low: Float[Tensor, "b u 3 h w"] | None,
        draft_high: Float[Tensor, "b u 3 sh sw"] | None,
        truth_high: Float[Tensor, "b u 3 sh sw"],
        truth_low: Float[Tensor, "b u 3 h w"],
        *,
        step: int = 0,
        seed: int = 0,
        items: Sequence[int] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The scalar to minimise, and its unweighted terms by name (detached).

        `step`, `seed` and `items`, the numbers of the clips within the whole step (without them: 0, 1, ...), decide
        which flows are sampled.
        """
        config = self.config
        with torch.autocast(final.device.type, enabled=False):
            terms = {"reconstruction": distance(final, truth_high, config.kind)}
            loss = terms["reconstruction"]
            if draft_low is not None and config.draft_low:
                terms["draft_low"] = distance(draft_low, truth_low, config.kind)
                loss = loss + config.draft_low * terms["draft_low"]
            if draft_high is not None and config.draft_high:
                terms["draft_high"] = distance(draft_high, truth_high, config.kind)
                loss = loss + config.draft_high * terms["draft_high"]
            if self.vgg is not None:
                terms["perceptual"] = perceptual_distance(self.vgg, final, truth_high)
                loss = loss + config.perceptual * terms["perceptual"]
            if config.motion and step % config.motion_every == 0:
                numbers = range(final.shape[0]) if items is None else items
                chosen = choices(config, final.shape[1], seed=seed, step=step, items=numbers)
                consistency, flow_terms = motion_consistency(final, truth_high, chosen, config)
                terms |= flow_terms
                loss = loss + config.motion * config.motion_every * consistency
        return loss, {name: term.detach() for name, term in terms.items()}
