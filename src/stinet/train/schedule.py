r"""When a run is in which stage, and the learning rate of every step.

Within a stage of n steps, counted from its own step 0, with w steps of warm-up and s = (k - w) / (n - w):

    warm-up   rate (k + 1) / w                          k < w
    cosine    rate (1 + cos(pi s)) / 2
    late      rate, then the same cosine over the last decay_steps
    stairs    rate / stair_factor ^ floor(k / stair_steps)               (the paper: divided by 4 every 1e5)

A cosine ends at 0.3 % of the rate, not at nothing.
"""

import math

from stinet.config import Stage, TrainConfig

__all__ = ["Plan", "learning_rate"]

LEAST_SHARE = 0.003


class Plan:
    """The stages of a run in order, each built and checked once."""

    def __init__(self, config: TrainConfig) -> None:
        self.steps = config.total_steps
        self.stages: list[Stage] = []
        first = 0
        while not self.stages or first < self.steps:
            stage = config.stage(first)
            self.stages.append(stage)
            first = stage.first + stage.config.steps

    def at(self, step: int) -> Stage:
        """The stage of step `step` (from 0); behind the last step, the last stage."""
        return next(stage for stage in reversed(self.stages) if stage.first <= step)


def learning_rate(stage: Stage, step: int) -> float:
    """Rate of the run's step `step` (from 0), which lies in `stage`."""
    config = stage.config
    done = step - stage.first
    if done < config.warmup_steps:
        return config.rate * (done + 1) / config.warmup_steps
    if config.schedule == "stairs":
        return config.rate / config.stair_factor ** (done // config.stair_steps)
    start = config.warmup_steps if config.schedule == "cosine" else max(config.steps - config.decay_steps, 0)
    share = min(max((done - start) / max(config.steps - start, 1), 0.0), 1.0)
    return config.rate * max(0.5 * (1 + math.cos(math.pi * share)), LEAST_SHARE)
