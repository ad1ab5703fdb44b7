"""A model's own time: prepare, context and run from nothing, without reading, shrinking and measuring.

The papers' fps: output frames per second at 720x576, from 4 frames of 180x144, over 100 forwards, each synchronised; a
few before them warm up and do not count. At x4 that is 700 frames. The frames are noise: time does not depend on them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import ClipFunction

__all__ = ["FORWARDS", "Speed", "forward", "papers_speed", "parameter_count", "precision_of"]

FORWARDS = 100
_WARM_UP = 3
_FRAMES, _HEIGHT, _WIDTH = 4, 144, 180


@dataclass(frozen=True, slots=True)
class Speed:
    """Output frames and the seconds they took."""

    forwards: int
    output_frames: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """The papers' fps."""
        return self.output_frames / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "frames_per_second": self.frames_per_second,
            "forwards": self.forwards,
            "output_frames": self.output_frames,
            "seconds": self.seconds,
            "input": f"{_FRAMES} frames of {_WIDTH}x{_HEIGHT}",
        }


def forward(
    function: ClipFunction, frames: Sequence[Float[Tensor, "3 h w"]], times: Sequence[Sequence[float]]
) -> tuple[Float[Tensor, "u 3 sh sw"], float]:
    """Frames out, wherever the model left them, and its seconds."""
    # Not inference mode: tensors that an operation keeps for later would then be unfit for training.
    with torch.no_grad():
        started = time.perf_counter()
        states = [function.prepare(frame) for frame in frames]
        output: Tensor = function.run(states, times, function.context(states, times))
        if output.is_cuda:
            torch.cuda.synchronize(output.device)
        return output, time.perf_counter() - started


def papers_speed(
    function: ClipFunction, forwards: int = FORWARDS, progress: Callable[[int, int], None] | None = None
) -> Speed:
    """The papers' fps of a clip function over so many forwards; `progress` hears (done, of how many)."""
    assert forwards > 0, "no forward takes no time"
    noise = torch.rand(_FRAMES, 3, _HEIGHT, _WIDTH, generator=torch.Generator().manual_seed(0))
    times = ((0.5,),) * (_FRAMES - 1)
    seconds, frames = 0.0, 0
    for done in range(forwards + _WARM_UP):
        output, took = forward(function, list(noise), times)
        if done >= _WARM_UP:
            seconds, frames = seconds + took, frames + output.shape[0]
        if progress is not None:
            progress(done + 1, forwards + _WARM_UP)
    return Speed(forwards, frames, seconds)


def parameter_count(function: ClipFunction) -> int | None:
    """Numbers that a clip function has learned: those of its network, if it has one."""
    net = getattr(function, "net", None)
    return sum(parameter.numel() for parameter in net.parameters()) if isinstance(net, torch.nn.Module) else None


def precision_of(function: ClipFunction) -> str:
    """The type of number that a clip function computes with: its network's, or float32."""
    return str(getattr(function, "precision", "float32"))
