"""`fit` is a whole training run: begin or go on, step, look, save.

Crops depend on the seed, the step and the crop's number alone, so a run that was stopped or killed goes on as if
nothing had happened. The first Ctrl-C or SIGTERM ends it after the step, with its state saved.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from stinet import runtime
from stinet.checkpoint import as_half, load_model
from stinet.config import TrainConfig
from stinet.data.training import Batch, Runs, TrainingData, open_training_data
from stinet.engines.ranges import ranges_file, write_ranges
from stinet.train.feed import batches
from stinet.train.machine import open_machine
from stinet.train.networks import build, save
from stinet.train.state import Run, begin, chosen_before, save_state
from stinet.train.status import refuse_second_process
from stinet.train.step import Stepper, offset_px, term_gradients
from stinet.train.validate import mean_figures, pictures, table, validate
from stinet.train.views import Progress, Views, open_views

__all__ = ["fit"]


def fit(
    config: TrainConfig, tell: Callable[[str], None] = print, watch: Callable[[Progress], None] | None = None
) -> Run:
    """Train as `config` says, from the folder's saved state if there is one.

    `tell` hears lines of text, `watch` of every step; both in the first process alone.

    Raises:
        ConfigError: the folder holds a run with other settings.
        InputError: the data cannot be used.
        StinetError: training diverged, or its packages are not installed.

    """
    chosen = chosen_before(Path(config.out))
    machine = open_machine(config, chosen)
    tell = tell if machine.is_first else _keep_silent
    out = Path(config.out)
    _settle(config, machine.device, chosen)
    if machine.is_first:
        refuse_second_process(out)
    run = begin(config, machine, tell)
    with machine.first_goes_first():
        data = open_training_data(config, tell)
    stepper = Stepper(run, data.training)
    feed = batches(data.training, run.plan, machine, run.done, config.workers)
    with _interruptible() as is_stopped, open_views(run, out, tell, watch) as views, closing(feed):
        for batch in views.meter.timed(feed):
            outcome = stepper(batch, wants_stop=is_stopped())
            views.stepped(outcome)
            _look(run, stepper, batch, data, views)
            if outcome.is_stopped:
                break
        _save(run, views)
        if run.done >= run.plan.steps:
            _measure(run, data.validation, views, is_last=True)
            _save(run, views)  # with the best figure
    machine.leave()
    return run


def _look(run: Run, stepper: Stepper, batch: Batch, data: TrainingData, views: Views) -> None:
    """Log, validate and save where that is due after a step."""
    config = stepper.stage.config
    if run.done % config.log_every == 0:
        views.row(_diagnostics(run, stepper, batch))
    if run.done >= run.plan.steps:
        return  # what comes at the end is all of it
    if run.done % config.validate_every == 0:
        _measure(run, data.validation, views)
    if run.done % config.save_every == 0:
        _save(run, views)


def _diagnostics(run: Run, stepper: Stepper, batch: Batch) -> dict[str, float]:
    if not run.machine.is_first:
        return {}
    found = {"offset_px": offset_px(stepper, batch)}
    every = stepper.stage.config.term_gradients_every
    if every and run.done % every == 0:
        found |= {f"gradient_{name}": norm for name, norm in term_gradients(stepper, batch).items()}
    return found


def _measure(run: Run, runs: Runs, views: Views, *, is_last: bool = False) -> None:
    """Validate the averaged weights, keep the best, draw; the first process does, the others go on waiting for it."""
    if not run.machine.is_first:
        return
    net = build(run.config).to(run.machine.device)
    net.load_state_dict(run.average)
    clips = validate(net, runs, run.machine, thorough=is_last)
    found = mean_figures(clips)
    is_best = found["psnr_db"] > run.best_db
    about = {"steps": run.done, "seconds": round(run.seconds), "validation": found}
    for name in ("latest", "best") if is_best else ("latest",):
        file = views.out / f"{name}.safetensors"
        save(file, run.config, net, as_half(run.average), about)
        _keep_ranges(run, file)
    run.best_db = max(run.best_db, found["psnr_db"])
    views.validated(found, pictures(net, runs, run.machine), is_best=is_best)
    if is_last:
        views.tell(table(clips))
        views.tell(f"weights  {views.out / 'latest.safetensors'}\nsheet    {views.out / 'sheet-latest.png'}")


def _keep_ranges(run: Run, weights: Path) -> None:
    """Beside weights that were trained by them; beside others none are left."""
    file = ranges_file(weights)
    file.unlink(missing_ok=True)
    if run.ranges:
        write_ranges(file, load_model(weights), run.ranges, {"trained": True, "steps": run.done})


def _save(run: Run, views: Views) -> None:
    if run.machine.is_first:
        save_state(run, views.out)
        views.beat(at_once=True, saved=run.done)


def _settle(config: TrainConfig, device: torch.device, chosen: Mapping[str, Any]) -> None:
    """Memory, threads and kernels that are fastest for this machine."""
    torch.backends.cudnn.benchmark = device.type == "cuda"  # crops of a stage are all of one size
    runtime.reuse_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    elif chosen.get("device") == device.type and "threads" in chosen:
        torch.set_num_threads(chosen["threads"])  # another number would round otherwise
    else:
        runtime.use_fastest_threads()


def _keep_silent(text: str) -> None:
    del text


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM ends the run after its step, with the state saved; the second one at once."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: nobody can signal us
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
