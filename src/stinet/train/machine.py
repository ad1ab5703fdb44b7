"""Where a run is trained: devices, processes, precision and compilation, by Lightning Fabric.

One process trains on one device. More of them are started by `torchrun --nproc-per-node=N -m stinet train RECIPE`;
each draws its slice of a step's crops and gradients are averaged (DistributedDataParallel, by gloo on CPUs and NCCL
on GPUs). Mixed precision is autocast, with a loss scaler for fp16. Inputs are never cast: flows in half precision
would lose what they are for.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from stinet import runtime
from stinet.config import TrainConfig
from stinet.errors import ConfigError
from stinet.train.extras import require_extras
from stinet.train.schedule import Plan

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision import Precision
    from lightning_fabric.strategies.ddp import DDPStrategy

__all__ = ["Machine", "open_machine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The device of this process and its place among the others."""

    fabric: "Fabric"
    device: torch.device
    precision: str
    """bf16, fp16 or fp32: what autocast really does."""
    compiles: bool
    rank: int
    count: int
    """Processes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The numbers of this process' crops among a step's."""
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def mean(self, *values: torch.Tensor | float) -> list[float]:
        """The mean of every value over all processes; the one place where a step waits for the device."""
        joined = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in values])
        if self.count > 1:
            joined = self.fabric.all_reduce(joined, reduce_op="mean")
        assert isinstance(joined, torch.Tensor)
        return joined.tolist()

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the forward pass, for what Fabric has not wrapped."""
        return self.fabric.autocast()

    def leave(self) -> None:
        """Part from the other processes in order; left to the interpreter's end, gloo's threads may abort a process."""
        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process do this before the others: it fills the cache that they read."""
        with self.fabric.rank_zero_first():
            yield


def open_machine(config: TrainConfig, chosen: Mapping[str, Any] = MappingProxyType({})) -> Machine:
    """Join the other processes if there are any, and take this one's device.

    `chosen` is what a resumed run chose for itself before (`state.chosen_before`); on the same device it is kept.

    Raises:
        StinetError: Lightning Fabric is not installed.
        DeviceError: the device is not there.
        ConfigError: a step's crops cannot be divided equally.

    """
    require_extras()
    from lightning_fabric import Fabric

    kind = "cuda" if config.device == "auto" and torch.cuda.is_available() else config.device
    kind = runtime.device("cpu" if kind == "auto" else kind).type
    processes = runtime.launched_processes()
    for stage in Plan(config).stages:
        if stage.config.batch % (processes.total * stage.config.accumulate):
            raise ConfigError(
                f"{stage.config.batch} crops cannot be divided equally among {processes.total} processes with"
                f" {stage.config.accumulate} parts each"
            )
    is_kept = config.precision == "auto" and chosen.get("device") == kind and "precision" in chosen
    precision = chosen["precision"] if is_kept else _precision(config.precision, kind)
    fabric = Fabric(
        accelerator=kind,
        devices=processes.local,
        num_nodes=processes.total // processes.local,
        strategy=_joined(config, kind) if processes.is_launched else "auto",
        plugins=[_plugin(precision, kind)],
    )
    fabric.launch()
    return Machine(
        fabric=fabric,
        device=fabric.device,
        precision=precision,
        compiles=config.compile == "on"
        or (config.compile == "auto" and kind == "cuda" and not _has_random_times(config)),
        rank=fabric.global_rank,
        count=fabric.world_size,
    )


def _has_random_times(config: TrainConfig) -> bool:
    """Whether other times come with every step: each would be compiled anew."""
    return any(stage.config.times == "random" for stage in Plan(config).stages)


def _joined(config: TrainConfig, kind: str) -> "DDPStrategy":
    """Gradients averaged over processes. Weights that a step may leave out must be looked for, which takes time."""
    from lightning_fabric.strategies.ddp import DDPStrategy

    stages = [stage.config for stage in Plan(config).stages]
    may_leave_out = bool(config.overrides) or any(
        stage.frames == 1 or not stage.loss.draft_low or not stage.loss.draft_high for stage in stages
    )
    backend = "gloo" if kind == "cpu" else "nccl"
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=may_leave_out)


def _precision(wanted: str, kind: str) -> str:
    if wanted != "auto":
        return wanted
    if runtime.has_bfloat16(kind):
        return "bf16"
    return "fp16" if kind == "cuda" else "fp32"


def _plugin(precision: str, kind: str) -> "Precision":
    """Autocast around the forward pass, and a scaler for fp16; what goes in and comes out is left alone."""
    from lightning_fabric.plugins.precision import MixedPrecision, Precision

    class Plain(Precision):
        def convert_input(self, data: Any) -> Any:
            return data

        def convert_output(self, data: Any) -> Any:
            return data

    class Autocast(MixedPrecision):
        def convert_input(self, data: Any) -> Any:
            return data

        def convert_output(self, data: Any) -> Any:
            return data

    if precision == "fp32":
        return Plain()
    return Autocast("bf16-mixed" if precision == "bf16" else "16-mixed", kind)
