"""Tasks in turn, round by round, so that a machine that slows down slows all of them.

    ratio of a to b  =  median over rounds of a_r / b_r

Within a round every task runs once; the order is turned by one from round to round, so that nobody always follows the
same neighbour. A figure alone says little on a shared machine; the ratio of two figures of one round says much.
"""

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

__all__ = ["in_turn", "median", "median_ratio"]

Key = TypeVar("Key", bound=Hashable)
Figure = TypeVar("Figure")


def in_turn(
    tasks: Mapping[Key, Callable[[], Figure]],
    repeat: int,
    *,
    warm_up: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Key, list[Figure]]:
    """What every task gives in each of `repeat` rounds, after `warm_up` rounds that do not count.

    `progress` hears (tasks done, of how many).
    """
    assert repeat > 0, "no round gives no figure"
    keys = list(tasks)
    figures: dict[Key, list[Figure]] = {key: [] for key in keys}
    total, done = (repeat + warm_up) * len(keys), 0
    for number in range(repeat + warm_up):
        first = number % max(len(keys), 1)
        for key in keys[first:] + keys[:first]:
            figure = tasks[key]()
            done += 1
            if number >= warm_up:
                figures[key].append(figure)
            if progress is not None:
                progress(done, total)
    return figures


def median(figures: Sequence[float]) -> float:
    """The middle one."""
    return float(statistics.median(figures))


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The middle of the ratios within each round."""
    return median([a / b for a, b in zip(above, below, strict=True)])
