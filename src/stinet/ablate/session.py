"""Row by row: train, measure by the call behind `stinet evaluate`, write one JSON.

A row that has its JSON is never trained again; one that was stopped goes on from its last saved state. Several
processes may work on one folder, each on its own device: a row is held by a lock while it is trained, and the others
pass it by.

A training that diverges is a result, too: its JSON says so, and the report shows it. Delete that file to try again.
"""

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stinet import runtime
from stinet.ablate.listing import changes_in_words
from stinet.ablate.plan import AblateConfig, Job, Plan, differences, jobs_of, open_plan, settings_of
from stinet.ablate.rows import EDITS, missing, rows_of
from stinet.checkpoint import read_header
from stinet.config import TrainConfig
from stinet.data.benchmarks import all_clips
from stinet.data.training import NO_DATA
from stinet.errors import ConfigError, InputError, OutputError, StinetError, UsageError
from stinet.evaluate.session import evaluate
from stinet.train.fit import fit
from stinet.train.state import NEWEST, PREVIOUS
from stinet.train.views import Progress
from stinet.video.lock import OutputLock

__all__ = ["Watching", "ablate", "opened", "read_result"]

Tell = Callable[[str], None]
Watching = Callable[[str], AbstractContextManager[Callable[[Progress], None] | None]]
"""Opens what watches a training, by the row's name."""


def opened(config: AblateConfig) -> Plan:
    """The plan of an ablation that was begun, to report on what is done.

    Raises:
        InputError: none was begun in its folder.
        ConfigError: one by other settings was.

    """
    if not (config.out / "plan.json").exists():
        raise InputError(f"{config.out}: holds no ablation to report on")
    jobs = jobs_of(rows_of(config.tables, config.only), config)
    return open_plan(config, ["nothing", *(job.start for job in jobs)], lambda _: None)


def ablate(config: AblateConfig, tell: Tell = print, watching: Watching = lambda _: nullcontext()) -> Plan:
    """Do every row of the tables that can be done here and is not done yet.

    Raises:
        UsageError: an unknown table or row, or none that can run.
        ConfigError: the folder holds an ablation by other settings.
        InputError: there are no clips to measure on.
        KeyboardInterrupt: the user stopped it; what is done is kept.

    """
    rows = rows_of(config.tables, config.only)
    jobs = jobs_of(rows, config)
    lacking = {row.label: reason for row in rows if (reason := missing(EDITS[row.edit], config.base))}
    for label, reason in lacking.items():
        tell(f"left out: {label}: {reason}")
    if not jobs:
        raise UsageError(f"no row of {', '.join(config.tables)} can run here: {next(iter(lacking.values()))}")
    if not config.base.data:
        tell(NO_DATA)
        if not config.evaluate:
            tell("no clips are named (--evaluate): measuring on the clip that was trained on")
    if not config.base.loss.perceptual:
        tell("lambda_1 = 0 in every row: there are no weights of VGG-19 (--vgg FILE)")
    all_clips(config.clips)  # now, and not after the first row was trained
    plan = open_plan(config, [job.start for job in jobs], _later(tell))
    due = [job for job in jobs if not _is_done(plan, job)]
    tell(f"{len(jobs)} trainings of {plan.steps} steps, {len(jobs) - len(due)} of them done")
    if len(config.devices) == 1:
        _work(plan, due, config.devices[0], tell, watching)
    elif due:
        _work_together(plan, due, tell)
    return plan


def _later(tell: Tell) -> Tell:
    """Tells what a training has to say, but for what was said once for all of them."""
    return lambda text: None if text == NO_DATA else tell(text)


def read_result(plan: Plan, job: Job) -> dict[str, Any] | None:
    """What a job's JSON holds; None where there is none.

    Raises:
        InputError: the file cannot be read.

    """
    file = plan.result(job)
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); delete it to do the row again") from error


def _is_done(plan: Plan, job: Job) -> bool:
    """Whether a job's figures are all there.

    Raises:
        ConfigError: they are of a training by other settings.

    """
    result = read_result(plan, job)
    if result is None:
        return False
    other = differences(result["settings"], settings_of(plan.training(job)))
    if other:
        raise ConfigError(
            f"{plan.result(job)} was made by other settings ({', '.join(other)}); choose another --out, or delete it"
        )
    is_measured = {str(number) for number in job.between} <= set(result["measured"])
    return "failed" in result or (is_measured and not _lacks(plan, result))


def _lacks(plan: Plan, result: Mapping[str, Any]) -> bool:
    """Whether a row was measured with fewer measures than are asked for."""
    return not set(plan.config.measures) <= {*result.get("measures", ()), "psnr", "ssim"}


def _work(plan: Plan, jobs: Sequence[Job], device: str, tell: Tell, watching: Watching) -> None:
    kind = device.partition(":")[0]
    for number, job in enumerate(jobs, 1):
        try:
            with OutputLock(plan.result(job)) as _:
                if not _is_done(plan, job):
                    tell(f"{job.name} ({number} of {len(jobs)})")
                    _do(plan, job, kind, tell, watching)
        except OutputError as error:
            if not OutputLock(plan.result(job)).is_taken:
                raise
            tell(f"{job.name}: another process does it ({error})")


def _work_together(plan: Plan, jobs: Sequence[Job], tell: Tell) -> None:
    """One process for every device, each taking what nobody has taken."""
    devices = plan.config.devices
    shared = max(runtime.cores() // devices.count("cpu"), 1) if "cpu" in devices else 0
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_serve, args=(plan, jobs, device, shared)) for device in devices]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [device for device, worker in zip(devices, workers, strict=True) if worker.exitcode]
    if failed:
        raise StinetError(
            f"the process on {', '.join(failed)} did not end well; what is done is kept in {plan.config.out}"
        )
    tell("all processes have ended")


def _serve(plan: Plan, jobs: Sequence[Job], device: str, threads: int) -> None:
    """A process' part: its own device, its share of the cores."""
    kind, _, index = device.partition(":")
    if index:
        runtime.show_only_gpu(int(index))
    if kind == "cpu":
        plan = replace(plan, bases={name: replace(base, threads=threads) for name, base in plan.bases.items()})
    _work(plan, jobs, device, lambda text: print(f"[{device}] {text}", flush=True), lambda _: nullcontext())


def _do(plan: Plan, job: Job, device: str, tell: Tell, watching: Watching) -> None:
    config = replace(plan.training(job), device=device)
    result = read_result(plan, job) or _trained(config, job, tell, watching)
    weights = Path(config.out) / "latest.safetensors"
    if _lacks(plan, result):
        result["measured"] = {}
    for between in job.between:
        if "failed" in result or str(between) in result["measured"]:
            continue
        if not weights.is_file():
            raise InputError(f"{weights}: missing; delete {plan.result(job)} to train the row again")
        report = evaluate(plan.config.clips, [str(weights)], plan.config.evaluation(between), device=device).to_json()
        result["measured"][str(between)] = report
        tell(f"{job.name}: {report['mean']['psnr_db']:.3f} dB / {report['mean']['ssim']:.4f}")
    result["measures"] = list(plan.config.measures)
    _write(plan.result(job), result)
    for name in (NEWEST, PREVIOUS):
        (Path(config.out) / name).unlink(missing_ok=True)


def _trained(config: TrainConfig, job: Job, tell: Tell, watching: Watching) -> dict[str, Any]:
    """Train; gives what is known of a row before it is measured."""
    about: dict[str, Any] = {
        "edit": job.edit, "changes": changes_in_words(EDITS[job.edit]), "start": job.start, "seed": job.seed,
        "settings": settings_of(config),
    }  # fmt: skip
    try:
        with watching(job.name) as watch:
            run = fit(config, _later(tell), watch)
    except StinetError as error:
        if type(error) is not StinetError:  # settings, files and devices are for the user to mend
            raise
        tell(f"{job.name}: {error}")
        return {**about, "failed": str(error), "measured": {}}
    if run.done < config.steps:
        raise KeyboardInterrupt
    return {
        **about,
        "steps": run.done,
        "seconds": round(run.seconds, 2),
        "skipped": run.judge.skipped,
        "parameters": sum(parameter.numel() for parameter in run.net.parameters()),
        "device": run.machine.device.type,
        "precision": run.machine.precision,
        "threads": torch.get_num_threads(),
        "validation": read_header(Path(config.out) / "latest.safetensors")["about"]["validation"],
        "measured": {},
    }


def _write(file: Path, result: Mapping[str, Any]) -> None:
    """The file appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    part.replace(file)
