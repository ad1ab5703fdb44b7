"""Time models as the papers do: 4 frames of 180x144 in, 7 of 720x576 out, model time only.

    python benchmarks/speed.py [--models stinet-s,flow+bicubic] [--rounds 7] [--threads 1]

Every model is timed in turn within each round, so a machine that slows down slows all of them; medians are printed, and
the ratio to the first model. For a preset without weights the fresh network is timed: time does not depend on weights.
The last column is the share of the time that convolutions take.
"""

import argparse
import statistics
import time

import torch

from stinet import runtime
from stinet.catalogue import clip_function
from stinet.config import PRESETS, ClipFunction
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet

TIMES = ((0.5,),) * 3


def once(function: ClipFunction, frames: torch.Tensor) -> float:
    """Seconds of one clip, from small frames to large ones."""
    began = time.perf_counter()
    with torch.no_grad():
        states = [function.prepare(frame) for frame in frames]
        function.run(states, TIMES, function.context(states, TIMES))
    return time.perf_counter() - began


def convolution_share(function: ClipFunction, frames: torch.Tensor) -> float:
    """Share of the operators' own time that convolutions have."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        once(function, frames)
    events = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if "convolution" in event.key) / total


def build(name: str) -> ClipFunction:
    """A peer, or a preset with fresh weights."""
    if name not in PRESETS:
        return clip_function(name)
    dtype = torch.bfloat16 if runtime.has_bfloat16() else torch.float32
    return NetworkClip(STINet(PRESETS[name]), torch.device("cpu"), dtype)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="stinet-s,stinet-xs,flow+bicubic,bicubic+flow")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frames = torch.rand(4, 3, 144, 180)
    functions = {name: build(name) for name in options.models.split(",")}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(options.rounds + 1):
        for name, function in functions.items():
            took = once(function, frames)
            if number:  # the first round warms up
                seconds[name].append(took)
    first = statistics.median(next(iter(seconds.values())))
    print(f"{'model':16} {'ms/frame':>9} {'frames/s':>9} {'ratio':>6}  convolutions")
    for name, took in seconds.items():
        middle = statistics.median(took)
        share = convolution_share(functions[name], frames)
        print(f"{name:16} {1e3 * middle / 7:9.1f} {7 / middle:9.1f} {first / middle:6.2f}  {share:.0%}")


if __name__ == "__main__":
    main()
