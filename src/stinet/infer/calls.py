"""Calls a clip function as it likes best: several frames at once, and none that nobody wants, where it can."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import ClipFunction, Selective, Tile

__all__ = ["each", "prepare", "run", "run_whole"]

Made = TypeVar("Made")


def prepare(fn: ClipFunction, frames: Sequence[Float[Tensor, "3 h w"]]) -> list[Any]:
    """What `fn` prepares of every frame."""
    return fn.prepare_all(frames) if isinstance(fn, Selective) else [fn.prepare(frame) for frame in frames]


def run(
    fn: ClipFunction,
    wanted: Sequence[int],
    states: Sequence[Any],
    times: Sequence[Sequence[float]],
    nodes: Any,
    tile: Tile | None = None,
) -> Float[Tensor, "k 3 sh sw"]:
    """Of the frames of a clip those at `wanted`, on the CPU, float32."""
    if isinstance(fn, Selective):
        made = fn.run_some(wanted, states, times, nodes, tile)
    else:
        made = fn.run(states, times, nodes, tile)
        is_run = list(wanted) == list(range(wanted[0], wanted[0] + len(wanted)))  # as of every window: no copy is made
        made = made[wanted[0] : wanted[-1] + 1] if is_run else made[list(wanted)]
    return made.detach().to("cpu", torch.float32)


def each(fn: ClipFunction, function: Callable[..., Made], *given: Sequence[Any]) -> Iterable[Made]:
    """What a function makes of the first of everything given, and so on: at once where `fn` can, else when due."""
    return fn.each(function, *given) if isinstance(fn, Selective) else map(function, *given)


def run_whole(
    fn: ClipFunction, frames: Sequence[Float[Tensor, "3 h w"]], times: Sequence[Sequence[float]]
) -> Float[Tensor, "u 3 sh sw"]:
    """All that `fn` makes of a clip, where `fn` works."""
    states = prepare(fn, frames)
    return fn.run(states, times, fn.context(states, times))
