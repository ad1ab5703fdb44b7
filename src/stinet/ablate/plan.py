"""What an ablation trains by: the full model's settings, one number of steps for all rows, seeds, clips to measure.

A budget in time is that of one training (a row with a seed): it is turned into steps once, by timing the full model on
this machine, and all rows then take as many. The plan is kept in the folder's plan.json; the same command goes on by
it, and another one is refused, so that no report mixes rows that cannot be compared.

Rows are trained from nothing, but those of Table V, whose effect the paper puts at 0.05 to 0.16 dB: they go on from
weights, for the compact size from the shipped ones.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from stinet import runtime
from stinet.ablate.rows import EDITS, Row, edited, missing
from stinet.catalogue import weights_file
from stinet.checkpoint import read_header
from stinet.config import PRESETS, EvaluateConfig, LossConfig, ModelConfig, TrainConfig, from_mapping, to_mapping
from stinet.data.training import BUNDLED, open_training_data
from stinet.errors import ConfigError, InputError, UsageError
from stinet.train.machine import open_machine
from stinet.train.state import MAY_CHANGE, begin
from stinet.train.step import Stepper
from stinet.video.disk import disk_errors

__all__ = [
    "SIZES",
    "AblateConfig",
    "Job",
    "Plan",
    "Start",
    "base_of",
    "budget_s",
    "differences",
    "job_of",
    "jobs_of",
    "open_plan",
    "settings_of",
    "start_of",
]

PAPER_STEPS = 500_000
LEAST_STEPS = 8

SIZES: Mapping[str, TrainConfig] = {
    "compact": TrainConfig(
        model="stinet-xs",
        # the paper's flow, and no part that the paper's network has not and that would hide what rows change
        overrides={"composed": False, "flow_by": "farneback"},
        batch=4,
        candidates=3,
        rate=2e-3,
        clip_norm=0.1,
        loss=LossConfig(motion=1e-2, motion_sampling="sampled", motion_every=4),
    ),
    "paper": TrainConfig(
        model="stinet",
        batch=30,
        symmetries="paper",
        rate=1e-4,
        beta2=0.999,
        schedule="stairs",
        clip_norm=1e9,
        loss=LossConfig(kind="l2", draft_low=1.0, draft_high=1.0, motion=0.1, motion_limit=0.0),
    ),
}
"""The full model of either size: stinet-xs as its recipe trains it, with motion consistency from the first step on; and
the paper's own network and training (recipes/paper.yaml)."""

FROM_WEIGHTS = {"rate": 5e-4, "clip_norm": 0.01}
MOTION_BESIDE_L2 = 1.5e-3
"""As in the last stage of the compact recipes: what pulls as hard beside L2 as 0.01 beside Charbonnier."""

Start = Literal["nothing", "weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateConfig:
    """What one call of `ablate` wants."""

    tables: Annotated[tuple[str, ...], "1 to 6, fig7"]
    only: Annotated[tuple[str, ...], "edits of these tables; none: all that can run"] = ()
    size: Annotated[Literal["compact", "paper"], "the network and how it is trained"] = "compact"
    budget: Annotated[str, "of one training: 30s, 20m, 2h, a number of steps (600steps), or paper"] = "20m"
    seeds: Annotated[int, "trainings of every row"] = 2
    out: Annotated[Path, "folder of plan, rows, runs and report"] = Path("runs/ablate")
    evaluate: Annotated[tuple[Path, ...], "clips to measure; none: those of the data, or the bundled clip"] = ()
    variant: Annotated[Literal["all", "160", "first"], "which frames count"] = "all"
    measures: Annotated[tuple[str, ...], "psnr, ssim (both always), motion: as `evaluate` has them"] = ("psnr", "ssim")
    start: Annotated[str, "weights that Table V's rows start from; empty: the shipped ones, if there are"] = ""
    base: Annotated[TrainConfig, "the full model's training; see base_of"] = SIZES["compact"]
    devices: Annotated[tuple[str, ...], "auto, cpu, cuda, cuda:N; several: one process each"] = ("auto",)

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if self.seeds < 1:
            raise ConfigError(f"{self.seeds} seeds train nothing: use 1 or more")
        if not self.devices or any(not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) for name in self.devices):
            raise UsageError(f"devices {','.join(self.devices)!r}: choose from auto, cpu, cuda, cuda:N")
        if self.base.stages:
            raise ConfigError("an ablation trains in one stage: leave stages out")
        _ = self.evaluation(1)  # now, and not after the first row was trained

    @property
    def clips(self) -> tuple[Path, ...]:
        """What every row is measured on."""
        return self.evaluate or (Path(self.base.data) if self.base.data else BUNDLED,)

    def evaluation(self, between: int) -> EvaluateConfig:
        """How every row is measured."""
        return EvaluateConfig(between=between, variant=self.variant, measures=self.measures)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training, and how often it is measured."""

    edit: str
    start: Start
    seed: int
    between: tuple[int, ...] = (1,)

    @property
    def name(self) -> str:
        """Of its file and its folder."""
        return f"{'from-weights.' if self.start == 'weights' else ''}{self.edit}.seed-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all rows have in common."""

    config: AblateConfig
    steps: int
    step_s: float | None
    """Seconds of a step of the full model where they were measured; None where the budget is in steps."""
    bases: Mapping[str, TrainConfig] = field(default_factory=dict)
    """The full model's settings by `Start`."""

    def training(self, job: Job) -> TrainConfig:
        """The settings of a job's training."""
        base = self.bases[job.start]
        out = self.config.out / "runs" / job.name
        return replace(edited(base, EDITS[job.edit]), seed=base.seed + job.seed, out=str(out))

    def result(self, job: Job) -> Path:
        """The file of a job's figures."""
        return self.config.out / "rows" / f"{job.name}.json"


def base_of(size: str, changes: Mapping[str, Any]) -> TrainConfig:
    """The full model's training of a size with some fields changed.

    Raises:
        UsageError: an unknown size.
        ConfigError: the settings contradict each other.

    """
    if size not in SIZES:
        raise UsageError(f"size {size!r} is unknown: choose from {', '.join(SIZES)}")
    return replace(SIZES[size], tensorboard=False, **changes)


def budget_s(text: str) -> tuple[float | None, int | None]:
    """Seconds of a training, or its steps.

    Raises:
        UsageError: neither.

    """
    if text == "paper":
        return None, PAPER_STEPS
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|min|h|steps)", text.strip().lower())
    if found is None or not float(found[1]):
        raise UsageError(f"budget {text!r} is none: give 30s, 20m, 2h, 600steps or paper")
    if found[2] == "steps":
        return None, max(int(float(found[1])), 1)
    return float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]], None


def jobs_of(rows: Sequence[Row], config: AblateConfig) -> list[Job]:
    """The trainings that these rows take, every one once: the full model first, all seeds of an edit together."""
    measured: dict[tuple[Start, str], set[int]] = {}
    for row in rows:
        if missing(EDITS[row.edit], config.base) or missing(EDITS[row.against], config.base):
            continue
        for edit in (row.against, row.edit):
            measured.setdefault((start_of(row, config), edit), set()).add(row.between)
    return [
        Job(edit=edit, start=start, seed=seed, between=tuple(sorted(between)))
        for (start, edit), between in measured.items()
        for seed in range(config.seeds)
    ]


def job_of(row: Row, seed: int, config: AblateConfig, *, edit: str = "") -> Job:
    """The training behind a row (or behind another edit that is measured as the row is)."""
    return Job(edit=edit or row.edit, start=start_of(row, config), seed=seed, between=(row.between,))


def start_of(row: Row, config: AblateConfig) -> Start:
    """Whether a row's training goes on from weights."""
    has_weights = config.start != "nothing" and (config.start or config.size == "compact")
    return "weights" if row.table == "5" and has_weights else "nothing"


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """What defines a training, as plain values: all but where it runs, and the network itself for its preset's name."""
    free = (MAY_CHANGE - {"data"}) | {"model", "overrides"}
    own = {name: value for name, value in to_mapping(config).items() if name not in free}
    network = dict(config.overrides) if config.rival else to_mapping(config.model_config)
    return json.loads(json.dumps({**own, "network": network}))


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two of `settings_of` differ in; settings that are newer than `then` had their defaults."""
    whole = settings_of(TrainConfig())
    if not now.get("rival"):
        whole["network"] = to_mapping(ModelConfig())
    found: list[str] = []
    for name, value in now.items():
        was, known = then.get(name, whole.get(name)), whole.get(name)
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            was = (
                {**known, **was} if isinstance(known, Mapping) and not (name == "network" and now.get("rival")) else was
            )
            found += [f"{name}.{key} {was.get(key)!r} then, {v!r} now" for key, v in value.items() if was.get(key) != v]
        elif was != value:
            found.append(f"{name} {was!r} then, {value!r} now")
    return found


def open_plan(config: AblateConfig, starts: Sequence[Start], tell: Callable[[str], None]) -> Plan:
    """The folder's plan, or a new one.

    Of several processes that begin one at once, the first one's plan is everybody's.

    Raises:
        ConfigError: the folder holds an ablation by other settings.
        OutputError: the folder cannot be written to.

    """
    file = config.out / "plan.json"
    about = _about(config)
    if not file.exists():
        seconds, steps = budget_s(config.budget)
        step_s = None
        if steps is None:
            assert seconds is not None
            tell(f"timing the full model: {config.budget} a training become steps, the same for all rows")
            step_s = _step_seconds(_bases(config, ("nothing",), LEAST_STEPS)["nothing"], tell)
            steps = max(round(seconds / step_s), LEAST_STEPS)
            tell(f"{step_s:.3g} s a step: {steps} steps a training")
        _keep(file, {"steps": steps, "step_s": step_s, "settings": about})
    steps, step_s = _kept(file, about)
    return Plan(config=config, steps=steps, step_s=step_s, bases=_bases(config, starts, steps))


def _bases(config: AblateConfig, starts: Sequence[Start], steps: int) -> dict[str, TrainConfig]:
    base = config.base
    shape: dict[str, Any] = {
        "steps": steps,
        "warmup_steps": min(base.warmup_steps, steps // 10) if config.size == "compact" else 0,
        "stair_steps": max(steps * SIZES["paper"].stair_steps // PAPER_STEPS, 1),
        "save_every": max(min(base.save_every, steps // 4), 1),
        "log_every": max(min(base.log_every, steps // 4), 1),
        "validate_every": steps,
    }
    found = {"nothing": replace(base, **shape)}
    if "weights" in starts:
        loss = base.loss
        if loss.kind == "charbonnier":
            motion = loss.motion * MOTION_BESIDE_L2 / SIZES["compact"].loss.motion
            loss = replace(loss, kind="l2", motion=motion)
        file = _weights(config)
        found["weights"] = replace(base, **{**shape, **FROM_WEIGHTS, "loss": loss, **_network_of(file, base.model)})
    return found


def _weights(config: AblateConfig) -> Path:
    file = weights_file(config.start or config.base.model)
    if not file.is_file():
        raise InputError(f"{file}: no such weights file for Table V's rows to start from (--start)")
    return file


def _network_of(file: Path, preset: str) -> dict[str, Any]:
    """Start and overrides of a training that goes on from weights: the network is theirs."""
    known, own = (
        to_mapping(PRESETS[preset]),
        to_mapping(from_mapping(ModelConfig, read_header(file).get("model", {}), str(file))),
    )
    return {"start": str(file), "overrides": {name: value for name, value in own.items() if value != known[name]}}


def _about(config: AblateConfig) -> dict[str, Any]:
    """The settings that all rows must have in common, as plain values."""
    chosen = {
        "size": config.size,
        "budget": config.budget,
        "start": config.start,
        "evaluate": [str(path) for path in config.evaluate],
        "variant": config.variant,
    }
    return json.loads(json.dumps({**chosen, "base": settings_of(config.base)}))


def _keep(file: Path, plan: Mapping[str, Any]) -> None:
    """Write the folder's plan, unless another process has just written one: that one counts then."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(plan, indent=1) + "\n", "utf-8")
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        except OSError:  # a disk without hard links
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def _kept(file: Path, about: Mapping[str, Any]) -> tuple[int, float | None]:
    try:
        plan = json.loads(file.read_text("utf-8"))
        then, steps, step_s = plan["settings"], int(plan["steps"]), plan["step_s"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); choose another --out") from error
    names = [name for name in about if name != "base"]
    other = [f"{name} {then.get(name)!r} then, {about[name]!r} now" for name in names if then.get(name) != about[name]]
    other += differences(then.get("base", {}), about["base"])
    if other:
        raise ConfigError(
            f"{file.parent} holds an ablation by other settings ({', '.join(other)}); choose another --out, or the same"
        )
    return steps, step_s


def _step_seconds(config: TrainConfig, tell: Callable[[str], None], least_s: float = 3.0) -> float:
    """Seconds of a step of this training: the mean over whole rounds of what comes on every k-th step."""
    machine = open_machine(config)
    if config.threads:
        runtime.set_threads(config.threads)
    else:
        runtime.use_fastest_threads()
    runs = open_training_data(config, tell).training
    stepper = Stepper(begin(replace(config, out=f"{config.out}/timing"), machine, lambda _: None), runs)
    share = machine.share(config.batch)
    period = config.loss.motion_every if config.loss.motion else 2
    began = time.perf_counter()
    for step in count():
        if step == period:  # the first round warms up
            began = time.perf_counter()
        done, spent = step - period, time.perf_counter() - began
        if done > 0 and done % period == 0 and spent >= least_s:
            return spent / done
        stepper(runs.draw(config, step, share).to(machine.device))
    raise AssertionError("counting has no end")
