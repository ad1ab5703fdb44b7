"""Time what each term of the loss adds to a training step.

    python benchmarks/losses.py [--model stinet-s] [--crops 4] [--crop 32] [--rounds 5] [--threads 1] [--slow]

A step is timed with the reconstruction terms, forward and backward; a term from the made frames to its gradient at
them, which is all that it adds (a motion term together with reconstruction at the output). On one thread it is the
processor's time that is measured, so other programs disturb it less. All are timed in turn within each round, so a
machine that slows down slows all of them; medians are printed, and the ratio to the step. With `motion_every` = k a
motion term costs 1/k of its row in the mean. --slow adds what belongs on a GPU: all flows of a clip, and VGG-19 (with
random weights: time does not depend on them).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from stinet import runtime
from stinet.config import PRESETS, LossConfig
from stinet.losses.perceptual import VGG19, perceptual_distance
from stinet.losses.total import Losses
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet

CPU = torch.device("cpu")
SAMPLED = {"motion": 0.01, "motion_sampling": "sampled"}
MOTION = {
    "l_abs + l_rel, sampled": SAMPLED,
    "l_abs, sampled": {**SAMPLED, "motion_relative": "none"},
    "l_rel, sampled": {**SAMPLED, "motion_absolute": "none"},
}
SLOW = {
    "l_abs + l_rel, all pairs": {"motion": 0.01},
    "l_abs + l_rel, adjacent pairs": {"motion": 0.01, "motion_pairs": "adjacent"},
}


def frames(crops: int, count: int, side: int) -> Tensor:
    """Smooth noise."""
    noise = torch.rand(crops * count, 3, side, side)
    return torch.nn.functional.avg_pool2d(noise, 5, 1, 2).view(crops, count, 3, side, side)


def network_step(name: str, crops: int, crop: int) -> Callable[[], object]:
    """Forward and backward of a preset with the reconstruction terms."""
    net = STINet(PRESETS[name])
    scale = PRESETS[name].scale
    low, high = frames(crops, 7, crop), frames(crops, 7, crop * scale)
    flows = Flows(torch.randn(crops, 3, 2, crop, crop), torch.randn(crops, 3, 2, crop, crop))
    losses = Losses(LossConfig(), CPU)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=runtime.has_bfloat16()):
            made = net(low[:, ::2], (0.5,), flows)
        losses.total(made.final, made.draft.low, made.draft.high, high, low)[0].backward()
        net.zero_grad()

    return step


def term(settings: dict[str, object], crops: int, side: int) -> Callable[[], object]:
    """A loss with these settings and reconstruction at the output, and its gradient at the made frames."""
    losses = Losses(LossConfig(**settings), CPU)  # pyright: ignore[reportArgumentType]
    made, truth = frames(crops, 7, side).requires_grad_(), frames(crops, 7, side)

    def work() -> None:
        loss, _ = losses.total(made, None, None, truth, truth)
        torch.autograd.grad(loss, made)

    return work


def perceptual(crops: int, side: int) -> Callable[[], object]:
    """Features of the made and the true frames, and the gradient of the former."""
    vgg = VGG19()
    made, truth = frames(crops, 7, side).requires_grad_(), frames(crops, 7, side)
    return lambda: torch.autograd.grad(perceptual_distance(vgg, made, truth), made)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stinet-s")
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slow", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side = options.crop * PRESETS[options.model].scale
    work = {f"step of {options.model}": network_step(options.model, options.crops, options.crop)}
    settings: dict[str, dict[str, object]] = {"reconstruction": {}, **MOTION, **(SLOW if options.slow else {})}
    work |= {name: term(some, options.crops, side) for name, some in settings.items()}
    if options.slow:
        work["l_per"] = perceptual(options.crops, side)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(options.rounds + 1):
        for name, function in work.items():
            began = time.process_time() if options.threads == 1 else time.perf_counter()
            function()
            took = (time.process_time() if options.threads == 1 else time.perf_counter()) - began
            if number:  # the first round warms up
                seconds[name].append(took)
    step = statistics.median(next(iter(seconds.values())))
    print(f"{'':32} {'ms':>8} {'of a step':>10}")
    for name, took in seconds.items():
        middle = statistics.median(took)
        print(f"{name:32} {1e3 * middle:8.0f} {middle / step:10.2f}")


if __name__ == "__main__":
    main()
