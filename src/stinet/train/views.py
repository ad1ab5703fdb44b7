"""What people look at while a network trains: the log, event files, pictures, and what the terminal shows.

Everything is written into the run's folder by the first process alone:

    log.jsonl             a row every log_every steps (means since the last row), every validation, every skipped step
    tensorboard/          the same as event files, with the contact sheet
    run.json              who trains, how far it is; `stinet train --status DIR` reads it
    curve.png             loss and validation
    sheet-latest.png      bicubic, prediction, truth, difference of a few frames, by latest.safetensors
    sheet-best.png        the same by best.safetensors

`watch` hears of every step; the command line draws its line from that.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stinet.train.extras import REMEDY, has_tensorboard
from stinet.train.meter import Meter
from stinet.train.schedule import learning_rate
from stinet.train.state import Run
from stinet.train.status import Heart
from stinet.train.step import Outcome

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from stinet.report.pictures import SheetRow

__all__ = ["Progress", "Views", "open_views"]

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is, after a step."""

    step: int
    steps: int
    stage: int
    """From 0."""
    stages: int
    loss: float
    terms: Mapping[str, float]
    """Means of the last row of the log."""
    rate: float
    step_s: float
    data_share: float
    images_per_s: float
    left_s: float
    skipped: int
    best_db: float


Watch = Callable[[Progress], None]


class Views:
    """Tells and writes; on processes other than the first it does neither."""

    def __init__(self, run: Run, out: Path, tell: Tell, watch: Watch | None) -> None:
        self.run = run
        self.out = out
        self.tell = tell
        self.watch = watch
        self.meter = Meter()
        self.is_first = run.machine.is_first
        self._terms: dict[str, float] = {}
        self._events: SummaryWriter | None = None
        if self.is_first:
            out.mkdir(parents=True, exist_ok=True)
            self._log = (out / "log.jsonl").open("a", encoding="utf-8")
            self.heart = Heart(out)
            self._events = _events(run, out, tell)
            self.beat(state="running", at_once=True)

    def stepped(self, outcome: Outcome) -> None:
        """Count a step; run.seconds grows by it."""
        run = self.run
        config = run.plan.at(run.done - 1).config
        run.seconds += self.meter.stepped(outcome, config.batch * (2 * config.frames - 1))
        if not self.is_first:
            return
        if outcome.skipped:
            seen = {"loss": outcome.loss, "gradient": outcome.gradient}
            told = {name: value if math.isfinite(value) else None for name, value in seen.items()}
            self.log({"step": run.done, "skipped": outcome.skipped, **told})
            self.tell(f"step {run.done} left out: {outcome.skipped}")
        self.beat()
        if self.watch is not None:
            self.watch(self._progress(outcome))

    def row(self, diagnostics: Mapping[str, float]) -> None:
        """Log the means since the last row."""
        run = self.run
        speed = {"data_share": self.meter.data_share, "images_per_s": self.meter.images_per_s}
        means = self.meter.row()
        self._terms = {k: v for k, v in means.items() if k not in ("gradient", *speed)}
        if not self.is_first:
            return
        stage = run.plan.at(run.done - 1)
        rate = learning_rate(stage, run.done - 1)
        self.log(
            {"step": run.done, "stage": stage.number, "rate": rate, "seconds": run.seconds, **means, **diagnostics,
             "left_out": run.judge.skipped}
        )  # fmt: skip
        self.beat(at_once=True, **speed)

    def validated(self, found: Mapping[str, float], shown: "Sequence[SheetRow]", *, is_best: bool) -> None:
        """Log figures, draw curve and contact sheet."""
        from stinet.report.curves import curve
        from stinet.report.pictures import contact_sheet

        run = self.run
        self.log({"step": run.done, "seconds": run.seconds, "validation": dict(found)})
        curve(self.out / "log.jsonl", self.out / "curve.png")
        for name in ("latest", "best") if is_best else ("latest",):
            contact_sheet(shown, self.out / f"sheet-{name}.png", f"step {run.done:,}")
        if self._events is not None:
            _add_picture(self._events, self.out / "sheet-latest.png", run.done)
        self.beat(at_once=True)
        self.tell(
            f"step {run.done}: validation {found['psnr_db']:.3f} dB (given {found['given_db']:.3f},"
            f" interpolated {found['interpolated_db']:.3f}), {run.seconds:.0f} s"
        )

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of the log, and of the event files."""
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
        if self._events is not None:
            step = row["step"]
            for name, value in {**row, **row.get("validation", {})}.items():
                if isinstance(value, int | float) and name not in ("step", "seconds"):
                    self._events.add_scalar(_tag(name, row), value, step)

    def beat(self, *, at_once: bool = False, **facts: Any) -> None:
        """Say in run.json how far the run is."""
        if not self.is_first:
            return
        run = self.run
        self.heart.beat(
            at_once=at_once, step=run.done, steps=run.plan.steps, stage=run.plan.at(max(run.done - 1, 0)).number,
            stages=len(run.plan.stages), skipped=run.judge.skipped, step_s=self.meter.step_s,
            device=run.machine.device.type, precision=run.machine.precision, processes=run.machine.count, **facts,
        )  # fmt: skip

    def close(self, state: str) -> None:
        """Say how it ended."""
        if self.is_first:
            self.beat(state=state, at_once=True)
            self._log.close()
            if self._events is not None:
                self._events.close()

    def _progress(self, outcome: Outcome) -> Progress:
        run = self.run
        stage = run.plan.at(run.done - 1)
        return Progress(
            step=run.done, steps=run.plan.steps, stage=stage.number, stages=len(run.plan.stages), loss=outcome.loss,
            terms=self._terms, rate=learning_rate(stage, run.done - 1), step_s=self.meter.step_s,
            data_share=self.meter.data_share, images_per_s=self.meter.images_per_s,
            left_s=(run.plan.steps - run.done) * self.meter.step_s, skipped=run.judge.skipped, best_db=run.best_db,
        )  # fmt: skip


@contextmanager
def open_views(run: Run, out: Path, tell: Tell, watch: Watch | None) -> Iterator[Views]:
    """Views of a run, closed with how it ended: finished, stopped or failed."""
    views = Views(run, out, tell, watch)
    try:
        yield views
    except BaseException as error:
        views.close(f"failed ({error})")
        raise
    views.close("finished" if run.done >= run.plan.steps else "stopped")


def _events(run: Run, out: Path, tell: Tell) -> "SummaryWriter | None":
    if not run.config.tensorboard:
        return None
    if not has_tensorboard():
        tell(f"TensorBoard is not installed, no event files are written: {REMEDY}")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "tensorboard"), purge_step=run.done or None)


def _tag(name: str, row: Mapping[str, Any]) -> str:
    if "validation" in row:
        return f"validation/{name}"
    return f"skipped/{name}" if "skipped" in row else f"training/{name}"


def _add_picture(events: "SummaryWriter", sheet: Path, step: int) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(sheet) as picture:
        events.add_image("validation/sheet", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
