"""One process of several: `python one_of_several.py SETTINGS.json OUT`, started with torchrun's variables.

Writes the gradients of steps of both stages as this process has them, and how a step ends whose crops are broken in
the last process alone.
"""

import json
import math
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from small_runs import data_of, stepper_of

from stinet.config import TrainConfig

__all__ = ["main"]


def main() -> None:
    config = TrainConfig(**json.loads(Path(sys.argv[1]).read_text()))
    stepper = stepper_of(config)
    run, machine, runs = stepper.run, stepper.run.machine, data_of(config).training
    for name in ("single", "clips"):
        batch = runs.draw(run.plan.at(run.done).config, run.done, machine.share(config.batch))
        loss, _ = stepper.gradients(batch)
        named = run.net.named_parameters()
        found = {key: weight.grad.contiguous() for key, weight in named if weight.grad is not None}
        save_file({**found, "loss": loss.reshape(1)}, Path(sys.argv[2]) / f"{name}-{machine.rank}.safetensors")
        outcome = stepper(batch)
    if machine.rank == machine.count - 1:
        batch = batch._replace(forward=torch.full_like(batch.forward, math.nan))
    outcome = stepper(batch, wants_stop=machine.rank == machine.count - 1)
    told = {"skipped": outcome.skipped, "is_stopped": outcome.is_stopped, "count": machine.count}
    (Path(sys.argv[2]) / f"outcome-{machine.rank}.json").write_text(json.dumps(told))
    machine.leave()
    os._exit(0)  # what was asked is written; torch's threads sometimes abort while the interpreter ends


if __name__ == "__main__":
    main()
