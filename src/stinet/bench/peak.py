"""What the machine can do at its best: convolutions, and bytes to and from memory.

    peak = the most multiply-adds a second of any stack: 3x3 convolutions, 32 or 64 channels, channels last

in the precision, on the threads, by whichever engine is fastest. A stack is eight layers on a picture of 128 squared,
which stays in the cache as feature maps of a tile do not: a bound from above, not a fair race. int8 is that of
PyTorch's quantised convolutions and of OpenVINO's, where they are there.

The bandwidth is that of copying an array too large for any cache, read and written bytes counted.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from stinet.bench.subjects import engines, finish, on_threads

__all__ = ["CHANNELS", "Stack", "bandwidth", "stacks"]

CHANNELS = (32, 64)
_LAYERS, _SIDE_PX = 8, 128
_LONG_S = 0.25
"""Passes go on for so long and all count: others who want the cores then slow them as they slow a model."""

_COPIED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One way to convolve."""

    precision: str
    threads: int
    engine: str
    channels: int
    work: Callable[[], object]

    def rate(self) -> float:
        """Multiply-adds a second, now."""
        macs = _LAYERS * 9 * self.channels**2 * _SIDE_PX**2
        with on_threads(self.threads), torch.inference_mode():
            return macs / _seconds(self.work)


def stacks(precision: str, threads: int, device: str = "cpu") -> list[Stack]:
    """Every way to convolve in this precision that there is here; none where nobody has it."""
    found = []
    for engine in engines() if device == "cpu" else ("torch",):
        for channels in CHANNELS:
            work = None
            if engine == "torch":
                work = _torch_stack(channels, precision, device)
            elif engine == "openvino":
                from stinet.engines.convolutions import convolution_stack

                work = convolution_stack(channels, _LAYERS, _SIDE_PX, precision, threads)
            if work is not None:
                found.append(Stack(precision=precision, threads=threads, engine=engine, channels=channels, work=work))
    return found


def bandwidth(threads: int, device: str = "cpu") -> float:
    """Bytes a second of the device's own memory, now."""
    source = torch.zeros(_COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        finish(target.device.type)

    with on_threads(threads):
        work()
        return 2 * _COPIED_BYTES / _seconds(work)


def _torch_stack(channels: int, precision: str, device: str) -> Callable[[], object] | None:
    picture = torch.rand(1, channels, _SIDE_PX, _SIDE_PX).contiguous(memory_format=torch.channels_last)
    if precision == "int8":
        return _quantised_stack(channels, picture) if device == "cpu" else None
    dtype = getattr(torch, precision)
    layers = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(_LAYERS)))
    layers = layers.to(device, dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    picture = picture.to(device, dtype)
    if device == "cpu":
        return lambda: layers(picture)

    def work() -> None:
        layers(picture)
        finish(picture.device.type)

    return work


def _quantised_stack(channels: int, picture: torch.Tensor) -> Callable[[], object] | None:
    """PyTorch is about to give its quantised tensors up: without them there is no int8 of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.ao.nn import quantized

            layers = nn.Sequential(*(quantized.Conv2d(channels, channels, 3, padding=1) for _ in range(_LAYERS)))
            given = torch.quantize_per_tensor(picture, 0.02, 0, torch.quint8)
            layers(given)
    except (ImportError, AttributeError, RuntimeError):
        return None
    return lambda: layers(given)


def _seconds(work: Callable[[], object]) -> float:
    """Of one pass, in the mean."""
    begin, passes = time.perf_counter(), 0
    while True:
        work()
        passes += 1
        spent = time.perf_counter() - begin
        if spent >= _LONG_S:
            return spent / passes
