"""Train a network: `fit` is the whole run, `step` one update.

A run is a folder: `state.safetensors` (all that is needed to go on), `log.jsonl` (one line a step that is logged, one
a validation), `curve.png`, `latest.safetensors` and `best.safetensors` (averaged weights, ready for `--model`).

Which crops a step sees depends on the seed and the step's number alone, so a run that is stopped and started again
goes on without a jump. The clock, the file system and the signals live here; the network, the losses and the data
know none of them.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stinet import runtime
from stinet.checkpoint import as_half, load_model, load_tensors, save_model, save_tensors
from stinet.config import ModelConfig, TrainConfig, from_mapping
from stinet.data.augment import Clip
from stinet.data.corpus import Corpus, Runs, open_corpus, sample_batch
from stinet.errors import CheckpointError, ConfigError
from stinet.losses.total import Losses
from stinet.metrics import luma, psnr
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet

__all__ = ["Batch", "Run", "fit", "learning_rate", "step", "validate"]

MAY_CHANGE = {
    "steps",
    "schedule",
    "decay_steps",
    "out",
    "data",
    "log_every",
    "save_every",
    "validate_every",
    "threads",
    "cache",
}
"""Settings that may differ when a run is resumed; the others define it."""


class Batch(NamedTuple):
    """Crops of one step, values in [0, 1]; the even frames are the input."""

    high: Float[Tensor, "b u 3 sh sw"]
    low: Float[Tensor, "b u 3 h w"]
    flows: Flows


class Run:
    """The parts of a training run that change from step to step."""

    def __init__(self, config: TrainConfig, model: ModelConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.net = STINet(model)
        self.losses = Losses(config.loss, torch.device("cpu"))
        self.average = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.rate, betas=(0.9, 0.99))
        self.done = 0
        self.seconds = 0.0
        self.best_db = -math.inf

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights and Adam's moments by name."""
        out = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        out |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.net.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            out |= {f"{key}.{name}": moments[key] for key in ("exp_avg", "exp_avg_sq") if key in moments}
        return out

    def header(self) -> dict[str, Any]:
        """What the state needs beside tensors."""
        return {
            "config": asdict(self.config), "model": asdict(self.net.config), "done": self.done,
            "seconds": self.seconds, "best_db": self.best_db,
        }  # fmt: skip

    def restore(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        """Take over a saved state."""
        self.net.load_state_dict(_part(tensors, "net."))
        self.average = _part(tensors, "average.")
        for name, parameter in self.net.named_parameters():
            moments = {key: tensors[f"{key}.{name}"] for key in ("exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors}
            if moments:
                like = {k: v.to(parameter).contiguous(memory_format=_format_of(parameter)) for k, v in moments.items()}
                self.optimizer.state[parameter] = {**like, "step": torch.tensor(float(header["done"]))}
        self.done, self.seconds, self.best_db = header["done"], header["seconds"], header["best_db"]


def fit(config: TrainConfig, tell: Callable[[str], None] = print) -> Run:
    """Train as `config` says, from the folder's saved state if there is one.

    Raises:
        ConfigError: the folder holds a run with other settings.
        InputError: the data cannot be used.

    """
    runtime.reuse_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    else:
        runtime.use_fastest_threads()
    out = Path(config.out)
    source = Path(config.data) if config.data else _bundled_clip(tell)
    corpus = open_corpus(source, Path(config.cache), scale=config.model_config.scale, progress=tell)
    run = _resumed(config, out, tell)
    with _interruptible() as is_stopped, _log(out) as log, ThreadPoolExecutor(1) as loader:
        waiting = loader.submit(_draw, corpus.training, config, run.done)
        while run.done < config.steps and not is_stopped():
            began = time.perf_counter()
            batch = waiting.result()
            waiting = loader.submit(_draw, corpus.training, config, run.done + 1)
            terms = step(run, batch)
            run.seconds += time.perf_counter() - began
            if run.done % config.log_every == 0:
                log({"step": run.done, "rate": learning_rate(config, run.done), "seconds": run.seconds, **terms})
            if run.done % config.validate_every == 0 or run.done == config.steps:
                _measure(run, corpus, out, log, tell)
            if run.done % config.save_every == 0:
                save_tensors(out / "state.safetensors", run.tensors(), run.header())
        save_tensors(out / "state.safetensors", run.tensors(), run.header())
    tell(f"{run.done} of {config.steps} steps in {run.seconds:.0f} s; {out}")
    return run


def step(run: Run, batch: Batch) -> dict[str, float]:
    """One update of the weights; gives the loss terms by name and the gradient's length."""
    config = run.config
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config, run.done)
    run.net.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=_uses_bfloat16(config)):
        made = run.net(batch.low[:, ::2], (0.5,), batch.flows)
        loss, terms = run.losses.total(
            made.final, made.draft.low, made.draft.high, batch.high, batch.low, step=run.done, seed=config.seed
        )
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.net.parameters(), config.clip_norm)
    if not torch.isfinite(norm):
        run.done += 1  # a step that blew up is left out, and seen in the log
        return {"loss": float(loss.detach()), "gradient": math.inf, "skipped": 1.0}
    run.optimizer.step()
    run.done += 1
    # early on, follow the weights closely: an average of the random start helps nobody
    decay = min(config.ema_decay, (1 + run.done) / (10 + run.done))
    with torch.no_grad():
        for name, tensor in run.net.state_dict().items():
            run.average[name].lerp_(tensor, 1 - decay)
    return {
        "loss": float(loss.detach()),
        "gradient": float(norm),
        **{name: float(term) for name, term in terms.items()},
    }


def learning_rate(config: TrainConfig, done: int) -> float:
    """Rate of step `done` (from 0): linear warm-up, then a cosine, or constant with a cosine at the end."""
    if done < config.warmup_steps:
        return config.rate * (done + 1) / config.warmup_steps
    start = config.warmup_steps if config.schedule == "cosine" else max(config.steps - config.decay_steps, 0)
    share = min(max((done - start) / max(config.steps - start, 1), 0.0), 1.0)
    return config.rate * max(0.5 * (1 + math.cos(math.pi * share)), 0.003)


def validate(net: STINet, runs: Runs, *, bfloat16: bool, frames: int = 4) -> dict[str, float]:
    """Mean PSNR on Y of the first clip of every run, given and interpolated frames apart, in dB."""
    given: list[float] = []
    between: list[float] = []
    net.eval()
    for index in range(runs.low.shape[0]):
        batch = _tensors([runs.clip(index, 0, frames)])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            made = net(batch.low[:, ::2], (0.5,), batch.flows).final[0]
        for place, (frame, truth) in enumerate(zip(made, batch.high[0], strict=True)):
            (between if place % 2 else given).append(min(float(psnr(luma(frame), luma(truth))), 100.0))
    return {
        "psnr_db": float(np.mean(given + between)),
        "given_db": float(np.mean(given)),
        "interpolated_db": float(np.mean(between)),
    }


def _measure(
    run: Run, corpus: Corpus, out: Path, log: Callable[[dict[str, Any]], None], tell: Callable[[str], None]
) -> None:
    """Validate the averaged weights, keep the best, draw the curve."""
    from stinet.report.curves import curve

    net = STINet(run.net.config)
    net.load_state_dict(run.average)
    found = validate(net, corpus.validation, bfloat16=_uses_bfloat16(run.config))
    log({"step": run.done, "seconds": run.seconds, "validation": found})
    about = {"steps": run.done, "seconds": round(run.seconds), "validation": found}
    save_model(out / "latest.safetensors", net, as_half(run.average), about)
    if found["psnr_db"] > run.best_db:
        run.best_db = found["psnr_db"]
        save_model(out / "best.safetensors", net, as_half(run.average), about)
    curve(out / "log.jsonl", out / "curve.png")
    tell(
        f"step {run.done}: validation {found['psnr_db']:.3f} dB (given {found['given_db']:.3f},"
        f" interpolated {found['interpolated_db']:.3f}), {run.seconds:.0f} s"
    )


def _draw(runs: Runs, config: TrainConfig, number: int) -> Batch:
    random = np.random.default_rng((config.seed, number))
    crops = sample_batch(
        runs,
        batch=config.batch,
        frames=config.frames,
        crop_px=config.crop_px,
        random=random,
        candidates=config.candidates,
    )
    return _tensors(crops)


def _tensors(clips: list[Clip]) -> Batch:
    def frames(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).movedim(-1, 2).float().div_(255)

    def flows(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).float()

    return Batch(
        frames([clip.high for clip in clips]),
        frames([clip.low for clip in clips]),
        Flows(flows([clip.forward for clip in clips]), flows([clip.backward for clip in clips])),
    )


def _resumed(config: TrainConfig, out: Path, tell: Callable[[str], None]) -> Run:
    """A fresh run, or the folder's saved one, or one that starts from a weights file or another run's state."""
    run = Run(config, config.model_config)
    state = out / "state.safetensors"
    if state.exists():
        tensors, header = load_tensors(state)
        if "config" not in header:
            raise CheckpointError(f"{state}: no state of a training run; move it away, or choose another out")
        now, then = json.loads(json.dumps(asdict(config))), header["config"]
        other = sorted(key for key in now if key not in MAY_CHANGE and now[key] != then.get(key))
        if other or _model_of(header, state) != run.net.config:
            listed = ", ".join(f"{key}: {then.get(key)} then, {now[key]} now" for key in other) or "another network"
            raise ConfigError(
                f"{out} holds a run with other settings ({listed}); choose another out, or the same settings"
            )
        run.restore(tensors, header)
        tell(f"going on at step {run.done} of {config.steps}")
    elif config.start:
        _start_from(run, Path(config.start))
        tell(f"starting from {config.start} at step {run.done}")
    return run


def _model_of(header: dict[str, Any], file: Path) -> ModelConfig:
    """The network of a state or weights file; settings that are newer than the file have their defaults."""
    return from_mapping(ModelConfig, header.get("model", {}), str(file))


def _start_from(run: Run, file: Path) -> None:
    """Take over a model's weights, or all of another run's state: its settings may differ, its network may not."""
    tensors, header = load_tensors(file)
    if _model_of(header, file) != run.net.config:
        raise ConfigError(f"{file} is another network than this run's; choose its model and overrides")
    if "done" in header:
        run.restore(tensors, header)
        return
    weights = load_model(file).state_dict()
    run.net.load_state_dict(weights)
    run.average = {name: tensor.clone() for name, tensor in weights.items()}


def _uses_bfloat16(config: TrainConfig) -> bool:
    return runtime.has_bfloat16() if config.precision == "auto" else config.precision == "bf16"


def _bundled_clip(tell: Callable[[str], None]) -> Path:
    clip = Path(__file__).parent / "samples" / "with_audio_480x270.mp4"
    tell("no data is named: training on the bundled clip (a few seconds of video, good for a trial only)")
    return clip


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}


def _format_of(tensor: Tensor) -> torch.memory_format:
    is_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


@contextmanager
def _log(out: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:

        def write(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        yield write


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM ends the run after its step, with the state saved."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
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
