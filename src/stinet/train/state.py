"""What changes from step to step, and the files that keep it: a run that is killed loses nothing but time.

`state.safetensors` holds weights, averaged weights, Adam's moments and step counts, and in its header the settings,
the step and what `divergence` remembers; `state.previous.safetensors` is the one before. A state is written beside
them, flushed to the disk, and then takes its place, so at any moment one of them is whole; a checksum finds one that
is not.

On a CPU the resumed run equals the uninterrupted one bit for bit. So what has been trained must have been trained by
these settings; what only moves, watches or divides the work may change, and so may all that is still to come: the
length and the schedule of the stage under way, and every later stage.
"""

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stinet.checkpoint import load_model, load_tensors, read_header, save_tensors
from stinet.config import LossConfig, ModelConfig, TrainConfig, from_mapping
from stinet.engines.ranges import Ranges, as_plain, from_plain
from stinet.errors import CheckpointError, ConfigError
from stinet.train.divergence import Judge
from stinet.train.machine import Machine
from stinet.train.networks import build, settings_of
from stinet.train.schedule import Plan

__all__ = ["NEWEST", "PREVIOUS", "Run", "begin", "chosen_before", "save_state"]

NEWEST = "state.safetensors"
PREVIOUS = "state.previous.safetensors"

MOMENTS = ("exp_avg", "exp_avg_sq")

MAY_CHANGE = frozenset(
    {
        "accumulate", "cache", "compile", "data", "device", "layout", "log_every", "out", "save_every", "tensorboard",
        "term_gradients_every", "threads", "validate_every", "workers",
    }
)  # fmt: skip
"""Settings that move, watch or divide a run's work; the others define it."""

YET_TO_COME = frozenset({"steps", "schedule", "decay_steps"})
"""Settings that say how the stage under way ends."""

BY_NETWORK = frozenset({"model", "overrides", "stages"})
"""Compared as the network and the stages that they make."""

OLD_PRECISION = {"auto": "auto", "on": "bf16", "off": "fp32"}
"""What `precision` was called before: bfloat16."""


class Run:
    """The parts of a training run that change from step to step."""

    def __init__(self, config: TrainConfig, machine: Machine) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.plan = Plan(config)
        self.machine = machine
        self.net = build(config).to(machine.device)
        self.average = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.rate, betas=(0.9, config.beta2))
        self.judge = Judge()
        self.done = 0
        """Steps, skipped ones too."""
        self.updates = 0
        """Times that the averaged weights followed; of the run that it started from, too."""
        self.seconds = 0.0
        self.best_db = -math.inf
        self.ranges: Ranges = {}
        """By which convolutions are rounded in the stage under way."""

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights, Adam's moments by name, and its count of steps for every weight."""
        out = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        out |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        counts: list[int] = []
        for name, parameter in self.net.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            out |= {f"{key}.{name}": moments[key] for key in MOMENTS if key in moments}
            counts.append(int(moments.get("step", 0)))
        return {**out, "adam_steps": torch.tensor(counts)}

    def header(self) -> dict[str, Any]:
        """What the state needs beside tensors."""
        return {
            "config": asdict(self.config), "model": settings_of(self.net), "done": self.done,
            "updates": self.updates, "seconds": self.seconds, "best_db": self.best_db,
            "judge": self.judge.remembered(), "scaler": self.machine.fabric.strategy.precision.state_dict(),
            "device": self.machine.device.type, "precision": self.machine.precision,
            "threads": torch.get_num_threads(), "ranges": as_plain(self.ranges),
        }  # fmt: skip

    def take_over(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Weights, averaged weights and moments of a saved state, of this run or of another one."""
        self.net.load_state_dict(_part(tensors, "net."))
        for name, tensor in _part(tensors, "average.").items():
            self.average[name].copy_(tensor)
        names = [name for name, _ in self.net.named_parameters()]
        # before skipped steps and single frames were counted apart, every weight had seen every step
        counts = tensors["adam_steps"].tolist() if "adam_steps" in tensors else [header["done"]] * len(names)
        for (name, parameter), count in zip(self.net.named_parameters(), counts, strict=True):
            if f"exp_avg.{name}" in tensors:
                moments = {key: _like(tensors[f"{key}.{name}"], parameter) for key in MOMENTS}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(count)), **moments}
        self.updates = header.get("updates", header["done"])

    def resume(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from this run's own state."""
        self.take_over(tensors, header)
        self.done, self.seconds, self.best_db = header["done"], header["seconds"], header["best_db"]
        self.judge.recall(header.get("judge", {}))
        self.ranges = from_plain(header.get("ranges", {}))
        if header.get("scaler"):
            self.machine.fabric.strategy.precision.load_state_dict(header["scaler"])


def begin(config: TrainConfig, machine: Machine, tell: Callable[[str], None]) -> Run:
    """A fresh run, or the folder's saved one, or one that starts from a weights file or another run's state.

    Raises:
        ConfigError: the folder holds a run with other settings, or `start` another network.
        CheckpointError: no state in the folder is whole, or `start` is not.

    """
    run = Run(config, machine)
    saved = _load_state(Path(config.out), tell)
    if saved is not None:
        tensors, header = saved
        _refuse_another_run(run, header, Path(config.out))
        run.resume(tensors, header)
        tell(f"going on at step {run.done} of {run.plan.steps}")
        now = {"device": machine.device.type, "precision": machine.precision, "threads": torch.get_num_threads()}
        if machine.device.type != "cpu":
            del now["threads"]
        other = [
            f"{key} {header[key]} then, {value} now" for key, value in now.items() if header.get(key, value) != value
        ]
        if other:
            tell(f"{', '.join(other)}: not bit for bit the same run")
    elif config.start:
        _start_from(run, Path(config.start), tell)
    return run


def chosen_before(out: Path) -> dict[str, Any]:
    """The device, precision and threads that the folder's run was trained with: what a probe chose must not change."""
    for path in (out / NEWEST, out / PREVIOUS):
        with contextlib.suppress(CheckpointError):
            header = read_header(path)
            return {key: header[key] for key in ("device", "precision", "threads") if key in header}
    return {}


def save_state(run: Run, out: Path) -> None:
    """Write the state; the one before stays until the next."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in run.tensors().items()}
    fresh = out / "state.next.safetensors"
    save_tensors(fresh, tensors, {**run.header(), "checksum": _checksum(tensors)})
    if (out / NEWEST).exists():
        (out / NEWEST).replace(out / PREVIOUS)
    fresh.replace(out / NEWEST)


def _load_state(out: Path, tell: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest state that is whole; None where there is none at all."""
    problem: CheckpointError | None = None
    for path in (out / NEWEST, out / PREVIOUS):
        try:
            tensors, header = load_tensors(path)
            if header.get("checksum", _ANY) not in (_ANY, _checksum(tensors)):
                raise CheckpointError(f"{path}: damaged (its checksum is another)")
        except CheckpointError as error:
            problem = problem or error
            continue
        if "config" not in header:
            raise CheckpointError(f"{path}: no state of a training run; move it away, or choose another out")
        if problem is not None:
            tell(f"{problem}; going back to the state before")
        return tensors, header
    if (out / NEWEST).exists() or (out / PREVIOUS).exists():
        raise CheckpointError(f"no state is whole ({problem}); move the states away to begin anew") from problem
    return None


_ANY = object()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return total


def _refuse_another_run(run: Run, header: Mapping[str, Any], out: Path) -> None:
    config, then = run.config, _settings_of(header, out / NEWEST)
    other = list(_differences(then, config, header["done"]))
    own = settings_of(run.net)
    was = header["model"] if config.rival or then.rival else asdict(_model_of(header, out / NEWEST))
    if was != own:
        other.append("another network")
    if other:
        raise ConfigError(
            f"{out} holds a run with other settings ({', '.join(other)}); choose another out, or the same settings"
        )


def _differences(then: TrainConfig, now: TrainConfig, done: int) -> Iterator[str]:
    """What has been trained by other settings than these would have."""
    begun = [stage for stage in Plan(then).stages if stage.first < max(done, 1)]
    planned = Plan(now).stages
    if len(planned) < len(begun):
        yield f"{len(begun)} stages begun then, {len(planned)} stages now"
    for before, stage in zip(begun, planned, strict=False):
        is_under_way = before is begun[-1]
        if is_under_way and stage is not planned[-1] and stage.first + stage.config.steps < done:
            yield f"stage {stage.number} ends before step {done}, which is done"
        free = MAY_CHANGE | BY_NETWORK | (YET_TO_COME if is_under_way else frozenset())
        for name in sorted({field.name for field in fields(TrainConfig)} - free):
            was, is_now = getattr(before.config, name), getattr(stage.config, name)
            if was != is_now:
                where = f"stages.{stage.number}." if now.stages else ""
                yield f"{where}{name}: {was} then, {is_now} now"


def _settings_of(header: Mapping[str, Any], file: Path) -> TrainConfig:
    """The settings that a state was trained by; newer ones have their defaults, gone ones are left out."""
    values = _known(TrainConfig, header["config"])
    values["loss"] = _known(LossConfig, values.get("loss", {}))
    if "bfloat16" in header["config"]:
        values["precision"] = OLD_PRECISION[header["config"]["bfloat16"]]
    try:
        return from_mapping(TrainConfig, values, str(file))
    except ConfigError as error:
        raise CheckpointError(f"{file}: made by another version ({error}); choose another out") from error


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _model_of(header: Mapping[str, Any], file: Path) -> ModelConfig:
    """The network of a state or weights file; settings that are newer than the file have their defaults."""
    return from_mapping(ModelConfig, header.get("model", {}), str(file))


def _start_from(run: Run, file: Path, tell: Callable[[str], None]) -> None:
    """Take over a model's weights, or weights, average and moments of another run; steps count from 0."""
    tensors, header = load_tensors(file)
    was, own = asdict(_model_of(header, file)), settings_of(run.net)
    if was != own:
        saved = _part(tensors, "net.") if "done" in header else tensors
        fits = _shapes(saved) == _shapes(run.net.state_dict())
        if not fits or was.keys() != own.keys():
            raise ConfigError(f"{file} is another network than this run's; choose its model and overrides")
        changed = [f"{name} {was[name]} -> {value}" for name, value in own.items() if value != was[name]]
        tell(f"the weights of {file} fit, but their network is changed: {', '.join(changed)}")
    if "done" in header:
        run.take_over(tensors, header)
        tell(
            f"starting from {file}: weights, average and moments of that run's step {header['done']}; steps count from"
            " 0, with this recipe's warm-up"
        )
        return
    run.net.load_state_dict(load_model(file).state_dict())
    run.average = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}
    run.updates = int(header.get("about", {}).get("steps", 0))
    tell(f"starting from the weights of {file}, with fresh moments")


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}


def _like(saved: Tensor, parameter: nn.Parameter) -> Tensor:
    """A saved moment in the memory order of its weight."""
    out = torch.empty_like(parameter, memory_format=torch.preserve_format)
    return out.detach().copy_(saved)
