"""Means over the steps since the last row of the log, and how fast the run is.

Terms that come on some steps only (motion consistency) are means over those. Nothing here waits for the device until
a row is read. Clocks are read here and nowhere else in the loop.
"""

import time
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor

from stinet.train.step import Outcome

__all__ = ["Meter"]

Item = TypeVar("Item")

SMOOTH = 0.9
"""Share of the past in the speed that the time left is told by."""


class Meter:
    """Sums of one stretch of steps."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.step_s = 0.0
        """Seconds of a step, smoothed over the whole run."""
        self._start()

    def _start(self) -> None:
        self._sums: dict[str, tuple[float | Tensor, int]] = {}
        self._steps = 0
        self._images = 0
        self._seconds = 0.0
        self._waited = 0.0

    def timed(self, source: Iterator[Item]) -> Iterator[Item]:
        """The same items; how long each is waited for is counted, and a step runs from one to the next."""
        while True:
            self._began = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            self._waited += time.perf_counter() - self._began
            yield item

    def stepped(self, outcome: Outcome, images: int) -> float:
        """Count a step that made so many frames; gives its seconds."""
        spent = time.perf_counter() - self._began
        self.step_s = spent if self.step_s == 0 else SMOOTH * self.step_s + (1 - SMOOTH) * spent
        self._seconds += spent
        self._steps += 1
        self._images += images
        if not outcome.skipped:
            for name, value in (("loss", outcome.loss), ("gradient", outcome.gradient), *outcome.terms.items()):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)
        return spent

    @property
    def images_per_s(self) -> float:
        """Frames that were made in a second of this stretch."""
        return self._images / max(self._seconds, 1e-9)

    @property
    def data_share(self) -> float:
        """Share of this stretch that was spent waiting for data."""
        return self._waited / max(self._seconds, 1e-9)

    def row(self) -> dict[str, float]:
        """Means of this stretch by name; the next one begins."""
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        row = {**means, "data_share": round(self.data_share, 4), "images_per_s": round(self.images_per_s, 2)}
        self._start()
        return row
