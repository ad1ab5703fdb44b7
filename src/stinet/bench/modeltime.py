"""A model's own time per output frame, in the windows that a film is run in, one after the other.

The second window of a film finds the last frames of the first one prepared, and their flows known: that is how a long
film runs, and what is timed here. A window's context is made and thrown away; its cost belongs to the frames that
come out.
"""

import time
from dataclasses import dataclass
from fractions import Fraction

import torch

from stinet import runtime
from stinet.bench.film import RATE, moving
from stinet.bench.recorder import Recorder, Spent
from stinet.bench.subjects import on_threads
from stinet.config import ClipFunction, TileConfig
from stinet.infer.clips import windows
from stinet.infer.ladder import Runner
from stinet.infer.times import OutputRule
from stinet.video.frame import Notes

__all__ = ["WARM_UP", "Walk", "WindowTime"]

WARM_UP = 2
"""Windows before the first that counts: the first is shorter, and the second may be the first of its shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTime:
    """One window."""

    frames: int
    """That came out."""
    spent: Spent
    """Inside the clip function."""
    seconds: float
    """All of it: numbers to and from the function, tiles and rounding to levels included."""

    @property
    def model_s(self) -> float:
        """Of the model, per output frame."""
        return self.spent.seconds / self.frames


class Walk:
    """Window after window of an endless film; each call of `step` makes the next one."""

    def __init__(self, fn: ClipFunction, size: tuple[int, int], threads: int, core: int = 0) -> None:
        """`size` is width, height; `core` 0: as many intervals in a window as a run would choose."""
        self.recorder = Recorder(fn)
        self.threads = threads
        kind = torch.device(getattr(fn, "device", "cpu")).type
        budget = runtime.memory_available_bytes(kind) // 2
        runner = Runner(self.recorder, TileConfig(), Notes(), budget_bytes=budget)
        rule = OutputRule.parse("x2")
        self._windows = windows(runner, moving(*size), rule, period=Fraction(1) / RATE, core=core)

    def step(self) -> WindowTime:
        """Make the next window."""
        window = next(self._windows)
        self.recorder.look()
        with on_threads(self.threads):
            begin = time.perf_counter()
            frames = sum(1 for _ in window.frames())
            return WindowTime(frames=frames, spent=self.recorder.look(), seconds=time.perf_counter() - begin)
