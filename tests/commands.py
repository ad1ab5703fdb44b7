"""The command line in this process: what it printed, and how it ended."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Ran", "Stinet"]


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Stinet = Callable[..., Ran]
"""Runs `stinet WORDS...`."""
