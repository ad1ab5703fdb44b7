"""When a step is left out: a loss or gradient that is no number, or a loss far above its like.

A loss is compared with the median of the last steps that had the same terms: motion consistency, which may come on
every k-th step only, is no spike. A skipped step leaves no trace but its count. What is remembered goes into the
state, so that a resumed run judges as the uninterrupted one.

Every process judges the same numbers (the mean over all of them), so all decide alike.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from stinet.errors import StinetError

__all__ = ["Judge"]

WINDOW = 101
"""Losses that are remembered of every kind of step."""

ENOUGH = 20
"""Before that many losses are known nothing is called a spike."""

PATIENCE = 50
"""Steps left out one after the other that end the run."""


class Judge:
    """Remembers losses, and says which step is to be left out and why."""

    def __init__(self) -> None:
        self.losses: dict[str, deque[float]] = {}
        self.skipped = 0
        """Steps left out in all."""
        self.in_a_row = 0

    def verdict(self, terms: Iterable[str], loss: float, gradient: float, spike: float) -> str:
        """Why the step is left out; empty where it is not.

        Raises:
            StinetError: too many in a row; the weights are beyond help.

        """
        known = self.losses.setdefault(",".join(sorted(terms)), deque(maxlen=WINDOW))
        why = ""
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            why = "not finite"
        elif len(known) >= ENOUGH and loss > spike * median(known):
            why = f"loss {loss / median(known):.0f} times its median"
        else:
            known.append(loss)
        self.skipped += bool(why)
        self.in_a_row = self.in_a_row + 1 if why else 0
        if self.in_a_row >= PATIENCE:
            raise StinetError(
                f"training diverged: {PATIENCE} steps in a row were left out, the last for this: {why}; the state"
                " before is kept: start from it with a lower rate, a lower clip_norm or more warmup_steps"
            )
        return why

    def forget(self) -> None:
        """A new stage begins: its losses are no like of the old ones."""
        self.losses.clear()

    def remembered(self) -> dict[str, Any]:
        """As plain values."""
        known = {terms: list(losses) for terms, losses in self.losses.items()}
        return {"losses": known, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def recall(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `remembered` gave."""
        self.losses = {terms: deque(losses, maxlen=WINDOW) for terms, losses in saved.get("losses", {}).items()}
        self.skipped = saved.get("skipped", 0)
        self.in_a_row = saved.get("in_a_row", 0)
