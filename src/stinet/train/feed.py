"""Batches of a run in order, on the device, drawn ahead of their step.

On a GPU the decoded data is kept there where it fits, and crops are cut and turned there. Elsewhere a thread draws
the next batch while the device works on this one, or `workers` processes do; a GPU copies them from pinned memory
while it works.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import DataLoader, Dataset

from stinet.data.training import Batch, Runs
from stinet.train.machine import Machine
from stinet.train.schedule import Plan

__all__ = ["Steps", "batches"]


class Steps(Dataset[Batch]):
    """Our crops of every step, by the step's number."""

    def __init__(self, runs: Runs, plan: Plan, machine: Machine) -> None:
        self.runs = runs
        self.plan = plan
        self.shares = [machine.share(stage.config.batch) for stage in plan.stages]

    def __getitem__(self, step: int) -> Batch:
        stage = self.plan.at(step)
        return self.runs.draw(stage.config, step, self.shares[stage.number])


def batches(runs: Runs, plan: Plan, machine: Machine, first: int, workers: int) -> Generator[Batch, None, None]:
    """Our crops (of this process) of steps `first`, `first` + 1, ... of the plan."""
    numbers = range(first, plan.steps)
    is_gpu = machine.device.type == "cuda"
    if is_gpu and workers == 0 and runs.fits(machine.device):
        held = Steps(runs.to(machine.device), plan, machine)
        yield from map(held.__getitem__, numbers)
        return
    steps = Steps(runs, plan, machine)
    if workers:
        source = iter(DataLoader(steps, batch_size=None, sampler=numbers, num_workers=workers, pin_memory=is_gpu))
    else:
        source = _ahead(lambda step: _pinned(steps[step]) if is_gpu else steps[step], numbers)
    for batch in source:
        yield batch.to(machine.device, non_blocking=True) if is_gpu else batch


def _ahead(draw: Callable[[int], Batch], numbers: range) -> Iterator[Batch]:
    """One batch is drawn while another is worked on."""
    with ThreadPoolExecutor(1) as loader:
        waiting = deque(loader.submit(draw, number) for number in numbers[:1])
        for number in numbers:
            batch = waiting.popleft().result()
            if number != numbers[-1]:
                waiting.append(loader.submit(draw, number + 1))
            yield batch


def _pinned(batch: Batch) -> Batch:
    return Batch(*(part.pin_memory() for part in batch))
