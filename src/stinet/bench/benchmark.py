"""`stinet bench`: model time, whole commands and a roofline, with two yardsticks in the same rounds.

    share of the peak   multiply-adds that were done, by the time in the clip function, by the machine's measured peak
                        of convolution in that precision on as many threads (peak.py)
    against flow        frames a second, by those of flow+bicubic on as many threads
    against eager       frames a second, by those of the same model in PyTorch's float32 on as many threads
    real time           output frames a second, by 25

Every ratio is the median over rounds of the ratio within a round. A subject that this machine or an engine does not
have is named in `left_out`, with the reason.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stinet import runtime
from stinet.bench.film import RATE, write_film
from stinet.bench.modeltime import WARM_UP, Walk, WindowTime
from stinet.bench.peak import stacks
from stinet.bench.roofline import Phase, furthest, roofline
from stinet.bench.rounds import in_turn, median, median_ratio
from stinet.bench.subjects import YARDSTICK, Subject, build, config_of, engines, precisions
from stinet.bench.whole import WholeRun, run_whole
from stinet.catalogue import weights_file
from stinet.config import PRESETS, ClipFunction
from stinet.errors import StinetError, UsageError
from stinet.evaluate.provenance import provenance
from stinet.model.clip import NetworkClip
from stinet.peers.pairs import PEERS

__all__ = ["PARTS", "BenchConfig", "Benchmark", "ModelRow", "PeakRow", "Roofline", "WholeRow", "benchmark"]

PARTS = ("model", "whole", "roofline")
REAL_TIME = 25.0

_PRECISIONS = ("float32", "bfloat16", "float16", "int8")

Told = Callable[[str, int, int], None]
"""Hears (what goes on, done, of how many)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What is timed."""

    sizes: tuple[tuple[int, int], ...] = ((180, 144), (480, 270))
    """Width, height of the source."""
    models: tuple[str, ...] = ("stinet-s", "stinet-xs")
    engines: tuple[str, ...] = ()
    """Empty: all that are here."""
    precisions: tuple[str, ...] = ()
    """Empty: all that are worth a try."""
    threads: tuple[int, ...] = ()
    """Empty: one, and as many as there are cores."""
    parts: tuple[str, ...] = PARTS
    device: str = "cpu"
    repeat: int = 5
    seconds: float = 2.0
    """Of the film that whole commands upscale."""
    core: int = 0
    """Source intervals of a window; 0: as a run chooses."""

    def __post_init__(self) -> None:
        """Refuse what cannot be timed."""
        if unknown := set(self.parts) - set(PARTS):
            raise UsageError(f"part {min(unknown)!r} is unknown: choose from {', '.join(PARTS)}")
        if self.repeat < 1 or self.seconds <= 0 or any(count < 1 for count in self.threads):
            raise UsageError(f"repeat {self.repeat}, {self.seconds} s and threads {self.threads or 1} must be above 0")
        if any(min(size) < 16 for size in self.sizes):
            raise UsageError(f"sizes {self.sizes}: a side below 16 px has nothing to time")

    def quick(self) -> "BenchConfig":
        """The smallest size, all cores, few rounds and short windows: a minute or two."""
        smallest = min(self.sizes, key=lambda size: size[0] * size[1])
        threads = self.threads or (runtime.cores(),)
        return replace(
            self,
            sizes=(smallest,),
            threads=threads,
            repeat=min(self.repeat, 3),
            seconds=min(self.seconds, 0.48),
            core=2,
        )

    def filled(self) -> "BenchConfig":
        """What was left open, from the machine at hand."""
        return replace(
            self,
            engines=self.engines or engines(),
            precisions=self.precisions or precisions(self.device),
            threads=self.threads or tuple(sorted({1, runtime.cores()})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakRow:
    """What convolutions reach at best."""

    precision: str
    threads: int
    macs_per_s: float
    engine: str
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model's own time at one size."""

    subject: Subject
    size: tuple[int, int]
    ms_per_frame: float
    cpu_ms_per_frame: float
    """Of the processor, in all threads."""
    fastest_ms: float
    slowest_ms: float
    around_share: float
    """Of a window's time, what is spent outside the clip function: numbers in and out, tiles, rounding."""
    real_time: float
    peak_share: float | None
    """None: no network, or nobody convolves in this precision here."""
    against_flow: float
    against_eager: float | None

    @property
    def frames_per_s(self) -> float:
        """Output frames."""
        return 1000 / self.ms_per_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRow:
    """A whole command at one size."""

    subject: Subject
    size: tuple[int, int]
    frames_out: int
    seconds: float
    frames_per_s: float
    real_time: float
    against_flow: float
    overhead: float
    cpu_overhead: float | None
    """The same in seconds of the processor; None: several threads, which are not told apart."""
    idle: float
    first_frame_s: float
    first_frame_cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The phases of one model at one size."""

    subject: Subject
    size: tuple[int, int]
    phases: tuple[Phase, ...]

    @property
    def furthest(self) -> str:
        """The phase that loses the most time against its bound."""
        return furthest(self.phases).name


@dataclass(slots=True)
class Benchmark:
    """All figures of one run."""

    machine: dict[str, Any] = field(default_factory=dict)
    peaks: list[PeakRow] = field(default_factory=list)
    models: list[ModelRow] = field(default_factory=list)
    whole: list[WholeRow] = field(default_factory=list)
    rooflines: list[Roofline] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Subject -> why."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {name: [asdict(row) for row in getattr(self, name)] for name in ("peaks", "models", "whole")}
        lines = [asdict(line) | {"furthest": line.furthest} for line in self.rooflines]
        return {"machine": self.machine, **plain, "rooflines": lines, "left_out": self.left_out}


def benchmark(
    config: BenchConfig,
    *,
    make: Callable[[Subject], ClipFunction] = build,
    progress: Told = lambda what, done, total: None,  # noqa: ARG005
) -> Benchmark:
    """Time everything that `config` names; `make` builds a subject.

    Raises:
        UsageError: an unknown engine or precision, or no model at all.
        ModelError: an unknown model.
        StinetError: nothing of it can be timed here; why the first was refused.

    """
    config = config.filled()
    _check_names(config)
    result = Benchmark(machine=_machine(config))
    refused: list[StinetError] = []
    functions = _functions(config, make, result.left_out, refused)
    if not any(subject.model != YARDSTICK for subject in functions):
        raise refused[0] if refused else UsageError("nothing to time: name a model")
    for size in config.sizes:
        if "model" in config.parts:
            _time_models(config, size, functions, result, progress)
        if "whole" in config.parts:
            _time_commands(config, size, list(functions), result, progress)
        if "roofline" in config.parts:
            _draw_rooflines(config, size, functions, result, progress)
    return result


def _check_names(config: BenchConfig) -> None:
    """A name that is mistyped is an error, unlike a precision that is not there."""
    for engine in config.engines:
        if engine not in engines():
            raise UsageError(f"engine {engine!r} is not there: choose from {', '.join(engines())}")
    for precision in config.precisions:
        if precision not in _PRECISIONS:
            raise UsageError(f"precision {precision!r} is unknown: choose from {', '.join(_PRECISIONS)}")
    for model in config.models:
        if model not in PRESETS and model not in PEERS:
            weights_file(model)


def _functions(
    config: BenchConfig,
    make: Callable[[Subject], ClipFunction],
    left_out: dict[str, str],
    refused: list[StinetError],
) -> dict[Subject, ClipFunction]:
    """Every subject that can be built: for each number of threads the yardstick first."""
    wanted: list[Subject] = []
    for threads in config.threads:
        wanted.append(Subject(model=YARDSTICK, threads=threads))
        for model in config.models:
            some = Subject(model=model, threads=threads, device=config.device)
            if not some.is_network:
                wanted.append(replace(some, device="cpu"))
                continue
            wanted += [
                replace(some, engine=engine, precision=precision)
                for engine in config.engines
                for precision in config.precisions
            ]
    made: dict[Subject, ClipFunction] = {}
    for subject in dict.fromkeys(wanted):
        try:
            made[subject] = make(subject)
        except StinetError as error:
            refused.append(error)
            left_out[str(replace(subject, threads=1))] = str(error)
    return made


def _time_models(
    config: BenchConfig,
    size: tuple[int, int],
    functions: Mapping[Subject, ClipFunction],
    result: Benchmark,
    progress: Told,
) -> None:
    peaks = [
        stack
        for threads in config.threads
        for precision in dict.fromkeys((*config.precisions, *(subject.precision for subject in functions)))
        for stack in stacks(precision, threads, config.device)
    ]
    walks = {subject: Walk(fn, size, subject.threads, config.core) for subject, fn in functions.items()}
    tasks: dict[Any, Callable[[], Any]] = {("peak", k): stack.rate for k, stack in enumerate(peaks)}
    tasks |= {subject: walk.step for subject, walk in walks.items()}
    where = f"model time at {size[0]}x{size[1]}"
    figures = in_turn(tasks, config.repeat, warm_up=WARM_UP, progress=lambda done, total: progress(where, done, total))
    best: dict[tuple[str, int], list[float]] = {}
    for precision, threads in dict.fromkeys((stack.precision, stack.threads) for stack in peaks):
        rates = {k: figures["peak", k] for k, s in enumerate(peaks) if (s.precision, s.threads) == (precision, threads)}
        best[precision, threads] = [max(column) for column in zip(*rates.values(), strict=True)]
        winner = peaks[max(rates, key=lambda k: median(rates[k]))]
        row = PeakRow(
            precision=precision,
            threads=threads,
            macs_per_s=median(best[precision, threads]),
            engine=winner.engine,
            channels=winner.channels,
        )
        if row.precision not in {p.precision for p in result.peaks if p.threads == threads}:
            result.peaks.append(row)
    times: dict[Subject, list[WindowTime]] = {subject: figures[subject] for subject in walks}
    for subject, fn in functions.items():
        result.models.append(_model_row(subject, fn, size, times, best.get((subject.precision, subject.threads))))


def _model_row(
    subject: Subject,
    fn: ClipFunction,
    size: tuple[int, int],
    times: Mapping[Subject, Sequence[WindowTime]],
    peak: Sequence[float] | None,
) -> ModelRow:
    spent = [one.model_s for one in times[subject]]
    network = config_of(fn)
    share = None
    if network is not None and peak:
        rates = [one.spent.macs(network) / one.spent.seconds for one in times[subject]]
        share = median_ratio(rates, peak)
    eager = times.get(subject.eager) if subject.is_network else None
    return ModelRow(
        subject=subject,
        size=size,
        ms_per_frame=1000 * median(spent),
        cpu_ms_per_frame=1000 * median([one.spent.cpu_s / one.frames for one in times[subject]]),
        fastest_ms=1000 * min(spent),
        slowest_ms=1000 * max(spent),
        around_share=median([1 - one.spent.seconds / one.seconds for one in times[subject]]),
        real_time=1 / median(spent) / REAL_TIME,
        peak_share=share,
        against_flow=median_ratio([one.model_s for one in times[subject.yardstick]], spent),
        against_eager=None if eager is None else median_ratio([one.model_s for one in eager], spent),
    )


def _time_commands(
    config: BenchConfig, size: tuple[int, int], subjects: Sequence[Subject], result: Benchmark, progress: Told
) -> None:
    where = f"whole commands at {size[0]}x{size[1]}"
    with tempfile.TemporaryDirectory(prefix="stinet-bench-") as folder:
        film = write_film(Path(folder) / "film.mkv", *size, max(round(config.seconds * RATE), 2))
        output = Path(folder) / "result.mp4"
        tasks: dict[Subject, Callable[[], WholeRun]] = {}
        count = len(subjects)
        # every run starts a process, so nothing in it is warm and only the first round's files are not yet in memory
        for done, subject in enumerate(subjects):
            progress(where, done, count * (config.repeat + 1))
            try:
                run_whole(subject, film, output)
            except StinetError as error:
                if subject.model == YARDSTICK:
                    raise
                result.left_out[f"whole commands: {subject}"] = str(error)
            else:
                tasks[subject] = lambda subject=subject: run_whole(subject, film, output)
        figures = in_turn(
            tasks, config.repeat, warm_up=0, progress=lambda done, total: progress(where, count + done, count + total)
        )
    result.whole += [_whole_row(subject, size, figures) for subject in tasks]


def _whole_row(subject: Subject, size: tuple[int, int], figures: Mapping[Subject, Sequence[WholeRun]]) -> WholeRow:
    runs = figures[subject]
    seconds = [run.seconds for run in runs]
    return WholeRow(
        subject=subject,
        size=size,
        frames_out=runs[0].frames_out,
        seconds=median(seconds),
        frames_per_s=runs[0].frames_out / median(seconds),
        real_time=runs[0].frames_out / median(seconds) / REAL_TIME,
        against_flow=median_ratio([run.seconds for run in figures[subject.yardstick]], seconds),
        overhead=median([run.overhead for run in runs]),
        cpu_overhead=median([run.cpu_overhead for run in runs]) if subject.threads == 1 else None,
        idle=median([run.idle for run in runs]),
        first_frame_s=median([run.first_frame_s for run in runs]),
        first_frame_cpu_s=median([run.first_frame_cpu_s for run in runs]),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
    )


def _draw_rooflines(
    config: BenchConfig,
    size: tuple[int, int],
    functions: Mapping[Subject, ClipFunction],
    result: Benchmark,
    progress: Told,
) -> None:
    """Of every network on the torch engine, on the most threads."""
    most = max(config.threads)
    chosen = {
        subject: fn
        for subject, fn in functions.items()
        if subject.engine == "torch" and subject.threads == most and isinstance(fn, NetworkClip)
    }
    for done, (subject, fn) in enumerate(chosen.items()):
        progress(f"roofline at {size[0]}x{size[1]}", done, len(chosen))
        ways = stacks(subject.precision, most, config.device)
        phases = roofline(fn, size, ways, threads=most, repeat=config.repeat, core=config.core or 8)
        result.rooflines.append(Roofline(subject=subject, size=size, phases=tuple(phases)))


def _machine(config: BenchConfig) -> dict[str, Any]:
    known = provenance(torch.device(config.device), seed=0)
    del known["seed"], known["threads"]
    return known | {
        "cores": runtime.cores(),
        "engines": list(engines()),
        "threads": list(config.threads),
        "repeat": config.repeat,
        "core": config.core,
        "seconds": config.seconds,
    }
