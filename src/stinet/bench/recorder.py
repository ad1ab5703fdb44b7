"""A clip function that notes how long each of its calls took, and what it was asked for.

From what was asked follows how many multiply-adds were done: S-SR once for every frame that was prepared, everything
else for every frame that was made, those of a window's context included. Counted on small pictures by PyTorch's
counter of operations, so convolutions and matrix products alone: warping, blending and the like are not in it. The
few products between the graph's nodes, which no picture makes more, are spread over those pixels: 0.1 % too much.

On a GPU a call ends when the device has done it.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stinet.bench.subjects import config_of, finish
from stinet.config import ClipFunction, ModelConfig, Tile
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline

__all__ = ["Recorder", "Spent", "features_macs", "restore_macs"]

_COUNTED_PX = 16
"""Side of the picture that operations are counted on; a pixel costs the same in every other."""

Lengths = tuple[int, ...]
"""In-between frames of every interval."""


@dataclass(slots=True)
class Spent:
    """What the calls since the last look cost."""

    seconds: float = 0.0
    """Inside the clip function."""
    cpu_s: float = 0.0
    """Of the processor, in all threads, meanwhile: a machine that others use changes it little."""
    caller_cpu_s: float = 0.0
    """Of the processor, by the thread that called it alone."""
    prepared_px: int = 0
    """Source pixels that went through `prepare`."""
    runs: list[tuple[Lengths, float]] = field(default_factory=list)
    """Of every `run` the in-between frames of each interval, and the source pixels of a frame.

    Where not all frames were wanted, so much less of them: what context takes then is not counted as work done.
    """

    def macs(self, config: ModelConfig) -> float:
        """Multiply-adds of a network of these settings."""
        total = sum(px * restore_macs(config, lengths) for lengths, px in self.runs)
        if config.high == "folded":
            return total + self.prepared_px * features_macs(config)
        # features on the HR grid are made tile by tile, of every source frame of the clip
        return total + sum(px * (len(lengths) + 1) * features_macs(config) for lengths, px in self.runs)


class Recorder:
    """Does what `fn` does; everything else that is asked of it is asked of `fn`."""

    def __init__(self, fn: ClipFunction, clock: Callable[[], float] = time.perf_counter) -> None:
        self.fn, self.scale, self.reach = fn, fn.scale, fn.reach
        self.config = config_of(fn)
        self.spent = Spent()
        self.first: float | None = None
        """When the first call began."""
        self.last = 0.0
        """When the last one ended."""
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        if name == "fn":  # not yet set
            raise AttributeError(name)
        return getattr(self.fn, name)

    def look(self) -> Spent:
        """What was spent since the last look."""
        spent, self.spent = self.spent, Spent()
        return spent

    def prepare(self, frame: Any) -> Any:
        """As `fn`."""
        self.spent.prepared_px += frame.shape[-2] * frame.shape[-1]
        return self._timed(lambda: self.fn.prepare(frame))

    def prepare_all(self, frames: Sequence[Any]) -> list[Any]:
        """As `fn`, if it can."""
        self.spent.prepared_px += sum(frame.shape[-2] * frame.shape[-1] for frame in frames)
        return self._timed(lambda: self.fn.prepare_all(frames))  # pyright: ignore[reportAttributeAccessIssue]

    def context(self, states: Sequence[Any], times: Sequence[Sequence[float]]) -> Any:
        """As `fn`."""
        return self._timed(lambda: self.fn.context(states, times))

    def run(self, states: Sequence[Any], times: Sequence[Sequence[float]], nodes: Any, tile: Tile | None = None) -> Any:
        """As `fn`."""
        made: Tensor = self._timed(lambda: self.fn.run(states, times, nodes, tile))
        px = made.shape[-2] * made.shape[-1] // self.scale**2
        self.spent.runs.append((tuple(len(row) for row in times[: len(states) - 1]), float(px)))
        return made

    def run_some(
        self, wanted: Sequence[int], states: Sequence[Any], times: Sequence[Sequence[float]], nodes: Any,
        tile: Tile | None = None,
    ) -> Any:  # fmt: skip
        """As `fn`, if it can."""
        fn: Any = self.fn
        made: Tensor = self._timed(lambda: fn.run_some(wanted, states, times, nodes, tile))
        lengths = tuple(len(row) for row in times[: len(states) - 1])
        px = made.shape[-2] * made.shape[-1] // self.scale**2
        self.spent.runs.append((lengths, px * len(wanted) / (len(states) + sum(lengths))))
        return made

    def each(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """As `fn`, if it can; no work of the network's."""
        return self.fn.each(function, *given)  # pyright: ignore[reportAttributeAccessIssue]

    def _timed(self, call: Callable[[], Any]) -> Any:
        begin, cpu = self._clock(), time.process_time()
        caller_cpu = time.thread_time()
        self.first = begin if self.first is None else self.first
        result = call()
        finish(torch.device(getattr(self.fn, "device", "cpu")).type)
        self.last = self._clock()
        self.spent.seconds += self.last - begin
        self.spent.cpu_s += time.process_time() - cpu
        self.spent.caller_cpu_s += time.thread_time() - caller_cpu
        return result


@functools.lru_cache(maxsize=64)
def features_macs(config: ModelConfig) -> float:
    """Multiply-adds of S-SR per source pixel of one frame."""
    net = STINet(config).eval()
    frame = torch.rand(1, 3, _COUNTED_PX, _COUNTED_PX)
    return _counted(lambda: net.features(frame)) / _COUNTED_PX**2


@functools.lru_cache(maxsize=256)
def restore_macs(config: ModelConfig, lengths: Lengths) -> float:
    """Multiply-adds of all the rest per source pixel of a frame, for a whole clip of that shape."""
    net = STINet(config).eval()
    sources = len(lengths) + 1
    frames = torch.rand(1, sources, 3, _COUNTED_PX, _COUNTED_PX)
    still = frames.new_zeros(1, sources - 1, 2, _COUNTED_PX, _COUNTED_PX)
    line = Timeline.of(sources, [tuple((k + 1) / (n + 1) for k in range(n)) for n in lengths])
    with torch.inference_mode():
        features = net.features(frames[0])
    return _counted(lambda: net.restore(frames, features, Flows(still, still), line)) / _COUNTED_PX**2


def _counted(work: Callable[[], Any]) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2
