"""How far a run is, on stderr: a bar on a terminal, else a plain line now and then, or JSON for a program.

One JSON object a line: frames_in, frames_out, frames_expected (null: not known), seconds, eta_s (null: not known),
file. The last frame is always told.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stinet.cli.printing import tell

if TYPE_CHECKING:
    from rich.console import Console

    from stinet.train.views import Progress as Trained
    from stinet.upscale import Progress

__all__ = ["frames_of", "progress_bar", "training_line", "upscaling"]

Told = Callable[[int, int], None]
"""Hears (done, total); a total of 0 is unknown."""

PLAIN_EVERY_S = 10.0
"""Without a terminal a line of progress is printed this often."""

JSON_EVERY_S = 0.25


@contextmanager
def upscaling(style: str, label: str) -> Iterator[Callable[["Progress"], None]]:
    """What hears of a run, in the style that was asked for: auto, none or json."""
    if style == "none":
        yield lambda _: None
    elif style == "json":
        with _json_progress(label) as hear:
            yield hear
    else:
        with progress_bar(label) as told:
            yield frames_of(told)


@contextmanager
def progress_bar(label: str) -> Iterator[Told]:
    """A bar with frames, rate and time left on a terminal; else a plain line now and then."""
    console = _terminal()
    if console is None:
        yield _plain_progress(label)
        return
    from rich import progress as shown

    columns = (
        shown.TextColumn("{task.description}", markup=False),
        shown.BarColumn(),
        shown.MofNCompleteColumn(),
        shown.TextColumn("{task.fields[rate]}"),
        shown.TimeRemainingColumn(),
    )
    with shown.Progress(*columns, console=console, transient=True, redirect_stdout=_is_terminal(sys.stdout)) as bar:
        task = bar.add_task(label, total=None, rate="")
        started = time.monotonic()

        def hear(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-3)
            bar.update(task, completed=done, total=total or None, rate=f"{rate:.1f}/s")

        yield hear


@contextmanager
def training_line(label: str) -> Iterator[Callable[["Trained"], None]]:
    """One line that stands below what is printed, on a terminal; else a plain line now and then."""
    console = _terminal()
    if console is None:
        yield _plain_training(label)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, transient=True, redirect_stdout=_is_terminal(sys.stdout)) as live:
        yield lambda now: live.update(Text(f"{label}: {_training_facts(now)}", no_wrap=True, overflow="ellipsis"))


def frames_of(told: Told) -> Callable[["Progress"], None]:
    """Output frames, done and expected, for a bar."""
    return lambda now: told(now.frames_out, now.frames_expected or 0)


@contextmanager
def _json_progress(label: str) -> Iterator[Callable[["Progress"], None]]:
    last_s, first, latest, told = 0.0, None, None, None

    def write(now: "Progress") -> None:
        nonlocal told
        told = now
        tell(json.dumps(_json_facts(now, first or now, label)))

    def hear(now: "Progress") -> None:
        nonlocal last_s, first, latest
        first, latest = first or now, now
        if told is None or time.monotonic() - last_s >= JSON_EVERY_S:
            last_s = time.monotonic()
            write(now)

    try:
        yield hear
    finally:
        if latest is not None and latest is not told:
            write(latest)


def _json_facts(now: "Progress", first: "Progress", label: str) -> dict[str, Any]:
    made, spent = now.frames_out - first.frames_out, now.seconds - first.seconds  # frames of an earlier run cost none
    left = None if now.frames_expected is None else max(now.frames_expected - now.frames_out, 0)
    return {
        "frames_in": now.frames_in,
        "frames_out": now.frames_out,
        "frames_expected": now.frames_expected,
        "seconds": round(now.seconds, 3),
        "eta_s": round(left * spent / made, 1) if left is not None and made else None,
        "file": label,
    }


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


def _terminal() -> "Console | None":
    """The terminal behind stderr; None where there is none, or one that cannot move its lines."""
    if not _is_terminal(sys.stderr):
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return None if console.is_dumb_terminal else console


def _plain_progress(label: str) -> Told:
    started = last = time.monotonic()

    def hear(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_EVERY_S:
            return
        last = now
        rate = done / (now - started)
        left = f"of {total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left" if total and rate else f"{rate:.1f}/s"
        tell(f"{label}: {done} {left}")

    return hear


def _plain_training(label: str) -> Callable[["Trained"], None]:
    last = time.monotonic()

    def watch(now: "Trained") -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            tell(f"{label}: {_training_facts(now)}")

    return watch


def _training_facts(now: "Trained") -> str:
    """Step, loss and its terms, rate, data share, speed, time left."""
    from stinet.train.status import duration

    stage = f" stage {now.stage + 1}/{now.stages}" if now.stages > 1 else ""
    terms = "".join(f" {name} {value:.4g}" for name, value in now.terms.items() if name != "loss")
    skipped = f"  {now.skipped} skipped" if now.skipped else ""
    return (
        f"{now.step}/{now.steps}{stage}  loss {now.loss:.4g}{terms}  rate {now.rate:.2g}  data {now.data_share:.0%}"
        f"  {now.images_per_s:.1f} images/s  {duration(now.left_s)} left{skipped}"
    )
