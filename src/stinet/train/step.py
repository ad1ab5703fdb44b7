"""One update of the weights: forward, backward, judge, Adam, average.

A step's crops are divided over the processes and, on each, into parts whose gradients add up. All slices are of one
size and a loss is a mean over its slice, so the mean of their gradients is the gradient of all crops together.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stinet.config import LossConfig, Stage
from stinet.data.training import Batch, Runs
from stinet.engines.ranges import Ranges
from stinet.losses.total import Losses
from stinet.model.interpolate import Flows
from stinet.model.local import Align
from stinet.model.stinet import Output, STINet
from stinet.ops.deform_conv import bound_offsets
from stinet.train.networks import build
from stinet.train.rounding import compute_exactly, compute_rounded, ranges_of
from stinet.train.schedule import learning_rate
from stinet.train.state import Run

__all__ = ["Learner", "Outcome", "Stepper", "offset_px", "term_gradients"]


class Outcome(NamedTuple):
    """What became of one step."""

    loss: float
    gradient: float
    """Length of the gradient before it is shortened."""
    skipped: str
    """Why the step was left out; empty where it was not."""
    is_stopped: bool
    """Some process was asked to stop."""
    terms: dict[str, Tensor]


class Learner(nn.Module):
    """Network and loss in one module, so that what is wrapped for several processes gives a scalar."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, batch: Batch, losses: Losses, step: int, seed: int, items: Sequence[int]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss of these crops and its terms; `items` numbers them within the step."""
        high, low = _frames(batch)
        made = self.net(low[:, ::2], batch.times, Flows(batch.forward.float(), batch.backward.float()))
        return losses.total(made.final, made.draft.low, made.draft.high, high, low, step=step, seed=seed, items=items)


class Stepper:
    """A run's network as Fabric wraps it, and the loss of the stage under way."""

    def __init__(self, run: Run, training: Runs | None = None) -> None:
        """`training`: what a rounded stage finds its ranges on."""
        self.run = run
        self.training = training
        fabric = run.machine.fabric
        if run.machine.compiles:
            run.net.compile()
        self.learner, self.optimizer = fabric.setup(Learner(run.net), run.optimizer)
        self.stage = run.plan.at(run.done)
        # all of them now: a file that is missing must not end the run in its last stage
        self._losses = _losses_of(run)
        self.losses = self._losses[self.stage.number]
        self._round()

    def __call__(self, batch: Batch, *, wants_stop: bool = False) -> Outcome:
        """Take this process' crops of step `run.done`, and go one step on.

        Raises:
            StinetError: training diverged.

        """
        run, machine = self.run, self.run.machine
        self._enter(run.plan.at(run.done))
        config = self.stage.config
        for group in run.optimizer.param_groups:
            group.update(lr=learning_rate(self.stage, run.done), betas=(0.9, config.beta2))
        loss, terms = self.gradients(batch)
        norm = machine.fabric.clip_gradients(
            self.learner, self.optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
        )
        assert norm is not None
        # a few pixels' flows make motion's value jump a hundredfold; where its gradient is limited that is no spike
        steady = loss - (_motion_of(terms, config.loss) if config.loss.motion_limit else 0)
        mean_loss, mean_steady, mean_norm, stops = machine.mean(loss, steady, norm, float(wants_stop))
        skipped = run.judge.verdict(terms, mean_steady, mean_norm, config.spike)
        if skipped:
            self._leave_out()
        else:
            self.optimizer.step()
            run.updates += 1
            _follow(run, config.ema_decay)
        run.done += 1
        return Outcome(mean_loss, mean_norm, skipped, stops > 0, terms)

    def gradients(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The gradients of this process' crops of step `run.done`, averaged over all processes; loss and terms."""
        run, fabric = self.run, self.run.machine.fabric
        self.learner.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.stage.config.accumulate
        size = batch.high.shape[0] // parts
        first = run.machine.share(self.stage.config.batch).start
        total: Tensor | None = None
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            some = Batch(*(tensor[part * size : (part + 1) * size] for tensor in batch))
            items = range(first + part * size, first + (part + 1) * size)
            with fabric.no_backward_sync(self.learner, enabled=part < parts - 1) if parts > 1 else nullcontext():
                loss, terms = self.learner(some, self.losses, run.done, run.config.seed, items)
                fabric.backward(loss / parts if parts > 1 else loss)
            total = loss.detach() / parts + (0 if total is None else total)
            sums = {name: term / parts + sums.get(name, 0) for name, term in terms.items()}
        assert total is not None
        return total, sums

    def _enter(self, stage: Stage) -> None:
        if stage.number == self.stage.number:
            return
        self.losses = self._losses[stage.number]
        self.run.judge.forget()
        self.stage = stage
        self._round()

    def _round(self) -> None:
        """Compute as the stage says: exactly, or by ranges that are found at its start, and the same everywhere."""
        run, config = self.run, self.stage.config
        was_rounded = bool(run.ranges)
        if not config.rounded:
            run.ranges = {}
        elif run.done == self.stage.first or not run.ranges:
            run.ranges = run.machine.fabric.broadcast(self._ranges() if run.machine.is_first else {})
        compute_exactly(run.net)
        compute_rounded(run.net, run.ranges)
        if run.machine.compiles and (run.ranges or was_rounded):
            torch.compiler.reset()  # its guards do not look at what a layer computes

    def _ranges(self) -> Ranges:
        assert self.training is not None
        net = build(self.run.config)
        assert isinstance(net, STINet)
        net.load_state_dict(self.run.average)
        return ranges_of(net, self.training, self.stage.config.frames)

    def _leave_out(self) -> None:
        """Forget the gradients; an overflow in half precision must still lower the scale of the loss."""
        scaler = getattr(self.run.machine.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


def _losses_of(run: Run) -> list[Losses]:
    """The loss of every stage; stages with the same settings share one."""
    found: list[Losses] = []
    for stage in run.plan.stages:
        same = (losses for losses in found if losses.config == stage.config.loss)
        found.append(next(same, None) or Losses(stage.config.loss, run.machine.device))
    return found


def _motion_of(terms: Mapping[str, Tensor], config: LossConfig) -> Tensor | float:
    """The part of a step's loss that motion consistency is."""
    motion = [term for name, term in terms.items() if name.startswith("motion_")]
    return config.motion * config.motion_every * sum(motion)


@torch.no_grad()
def _follow(run: Run, most: float) -> None:
    """Let the averaged weights follow: closely early on, since an average of the random start helps nobody."""
    decay = min(most, (1 + run.updates) / (10 + run.updates))
    weights = run.net.state_dict()
    for name, tensor in weights.items():
        run.average[name].lerp_(tensor, 1 - decay)


@torch.no_grad()
def offset_px(stepper: Stepper, batch: Batch) -> float:
    """Mean size of ST-LR's learned offsets per axis, in pixels of their grid, on the batch's first crop.

    `ModelConfig.max_offset_px` bounds each; a mean near the bound says that they ran away. 0 without ST-LR.
    """
    seen: list[Tensor] = []
    net = stepper.run.net
    aligns = [module for module in net.modules() if isinstance(module, Align)]
    hooks = [align.offsets.register_forward_hook(partial(_note_size, seen, align)) for align in aligns]
    try:
        with stepper.run.machine.autocast():
            _made(net, Batch(*(tensor[:1] for tensor in batch)))
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.stack(seen).mean()) if seen else 0.0


def _note_size(seen: list[Tensor], align: Align, _module: nn.Module, _inputs: tuple[Tensor, ...], raw: Tensor) -> None:
    offsets = raw[:, : 2 * align.groups * align.kernel**2]
    seen.append(bound_offsets(offsets.float(), align.max_offset_px).abs().mean())


def term_gradients(stepper: Stepper, batch: Batch) -> dict[str, float]:
    """Length of each weighted term's own gradient on these crops: how much a weight really weighs.

    A loss with one more term has one more gradient, so a term's own is the difference.
    """
    run, config = stepper.run, stepper.stage.config
    some = Batch(*(tensor[: tensor.shape[0] // config.accumulate] for tensor in batch))
    high, low = _frames(some)
    weights = [parameter for parameter in run.net.parameters() if parameter.requires_grad]
    with run.machine.autocast():
        made = _made(run.net, some)

    def gradient(settings: LossConfig) -> list[Tensor]:
        losses = _with_settings(stepper.losses, settings)
        loss, _ = losses.total(made.final, made.draft.low, made.draft.high, high, low, seed=run.config.seed)
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]

    plain = gradient(replace(config.loss, **NOTHING))
    lengths = {"reconstruction": _length(plain)}
    for name, settings in _single_terms(config.loss):
        lengths[name] = _length([a - b for a, b in zip(gradient(settings), plain, strict=True)])
    return lengths


NOTHING = {"draft_low": 0.0, "draft_high": 0.0, "perceptual": 0.0, "motion": 0.0, "motion_every": 1}


def _single_terms(config: LossConfig) -> Iterator[tuple[str, LossConfig]]:
    """Settings with reconstruction and one more term, for every term."""
    for name in ("draft_low", "draft_high", "perceptual"):
        if weight := getattr(config, name):
            yield name, replace(config, **{**NOTHING, name: weight})
    for name, other in (("motion_absolute", "motion_relative"), ("motion_relative", "motion_absolute")):
        if config.motion and getattr(config, name) != "none":
            yield name, replace(config, **{**NOTHING, "motion": config.motion, other: "none"})


def _with_settings(losses: Losses, config: LossConfig) -> Losses:
    """The same loss by other weights; VGG-19 is not read again."""
    other = copy(losses)
    other.config = config
    other.vgg = losses.vgg if config.perceptual else None
    return other


def _length(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors])))


def _made(net: nn.Module, batch: Batch) -> Output:
    """What the network makes of a batch, without Fabric's wrapping and never compiled."""
    _, low = _frames(batch)
    return net.forward(low[:, ::2], batch.times, Flows(batch.forward.float(), batch.backward.float()))


def _frames(batch: Batch) -> tuple[Float[Tensor, "b u 3 sh sw"], Float[Tensor, "b u 3 h w"]]:
    """Sharp and LR frames in [0, 1]."""
    return batch.high.float().div_(255), batch.low.float().div_(255)
