"""Time the engines phase by phase: 180x144 in, 720x576 out, two frames out for one in.

    python benchmarks/engines.py [--models stinet-s,stinet-xs] [--frames 4,10] [--threads 1] [--rounds 5]
                                 [--clip FOLDER_OF_FRAMES]

Every engine and precision runs in turn within each round, and medians are printed: seconds of the processor that the
process used (what a busy machine changes least) and of the clock, each a frame out, and how many times as fast as
PyTorch in bfloat16 the whole is. Peaks of memory (Linux) are of a process of its own. With --clip (PNG or WebP frames
at full size, every other one of the first 15 shrunk by 4 and given) the table of accuracy is printed instead: PSNR on
Y, and its difference to PyTorch in float32.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stinet import runtime
from stinet.catalogue import network
from stinet.config import ClipFunction
from stinet.engines.onnx import OnnxClip
from stinet.engines.openvino import OpenVinoClip
from stinet.metrics.fidelity import luma, psnr
from stinet.model.clip import NetworkClip
from stinet.ops.resample import crop_to_multiple, downsample, quantize

PHASES = ("prepare", "flow", "network")


def engines(model: str) -> dict[str, ClipFunction]:
    """Every engine in every precision."""
    net, cpu = network(model), torch.device("cpu")
    return {
        "torch bfloat16": NetworkClip(net, cpu, torch.bfloat16, model),
        "torch float32": NetworkClip(net, cpu, torch.float32, model),
        "openvino bfloat16": OpenVinoClip(net, "bfloat16", model),
        "openvino float32": OpenVinoClip(net, "float32", model),
        "onnxruntime float32": OnnxClip(net, model),
    }


def moving(frames: int) -> list[Tensor]:
    """Noise that moves by a pixel or two a frame."""
    still = torch.rand(3, 144, 180, generator=torch.Generator().manual_seed(0))
    return [still.roll((index, 2 * index), (-2, -1)) for index in range(frames)]


def once(fn: ClipFunction, frames: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Seconds of processor and clock for every phase."""
    times = [[0.5]] * (len(frames) - 1)
    marks = [_now()]
    states = [fn.prepare(frame) for frame in frames]
    marks.append(_now())
    nodes = fn.context(states, times)
    marks.append(_now())
    fn.run(states, times, nodes)
    marks.append(_now())
    return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(marks)]


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def table(model: str, frames: int, rounds: int) -> None:
    """Print one table."""
    functions, film, out = engines(model), moving(frames), 2 * frames - 1
    seconds: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, fn in functions.items():
            took = once(fn, film)
            if number:  # the first round warms up
                seconds[name].append(took)
    print(f"\n{model}, {frames} frames to {out}: ms a frame out, of the processor")
    print("| engine | " + " | ".join(PHASES) + " | all | by the clock | faster |\n" + "|---" * 7 + "|")
    totals = {name: _median(runs, 0, range(3)) for name, runs in seconds.items()}
    for name, runs in seconds.items():
        cells = [f"{1e3 * _median(runs, 0, [phase]) / out:.1f}" for phase in range(3)]
        cells += [f"{1e3 * totals[name] / out:.1f}", f"{1e3 * _median(runs, 1, range(3)) / out:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + f" | {totals['torch bfloat16'] / totals[name]:.2f} |")


def _median(runs: list[list[tuple[float, float]]], kind: int, phases: Sequence[int]) -> float:
    return statistics.median(sum(run[phase][kind] for phase in phases) for run in runs)


def peaks(model: str, frames: int) -> None:
    """Print how much more memory a process has had after one clip than before it."""
    print(f"\n{model}, {frames} frames: peak of memory, bytes a source pixel and frame")
    for name in engines(model):
        line = [sys.executable, __file__, "--peak", name, "--models", model, "--frames", str(frames)]
        took = subprocess.run(line, check=True, capture_output=True, text=True).stdout
        print(f"| {name} | {int(took) / (frames * 144 * 180):,.0f} |")


def peak(model: str, frames: int, name: str) -> None:
    """Print the growth of this process over one clip of full size, after a tiny one."""
    fn = engines(model)[name]
    once(fn, [frame[:, :8, :8] for frame in moving(frames)])
    before = _highest_bytes()
    once(fn, moving(frames))
    print(_highest_bytes() - before)


def _highest_bytes() -> int:
    """Of this process alone; what `getrusage` gives starts at its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def accuracy(model: str, folder: Path) -> None:
    """Print PSNR on Y over a clip, by engine."""
    files = sorted(file for file in folder.iterdir() if file.suffix in {".png", ".webp"})[:15]
    pixels = [torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) / 255 for file in files]
    truth = crop_to_multiple(torch.stack(pixels), 4)
    given = list(quantize(downsample(truth[::2], 4)))
    print(f"\n{model}, {folder.name}, {len(truth)} frames\n| engine | PSNR dB | to torch float32 |\n|---|---|---|")
    scores = {}
    for name, fn in engines(model).items():
        states = [fn.prepare(frame) for frame in given]
        times = [[0.5]] * (len(given) - 1)
        made = quantize(fn.run(states, times, fn.context(states, times)))
        scores[name] = psnr(luma(made), luma(truth)).mean().item()
    for name, score in scores.items():
        print(f"| {name} | {score:.3f} | {score - scores['torch float32']:+.4f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="stinet-s,stinet-xs")
    parser.add_argument("--frames", default="4,10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runtime.reuse_memory()
    models, counts = options.models.split(","), [int(count) for count in options.frames.split(",")]
    if options.peak:
        peak(models[0], counts[0], options.peak)
        return
    for model in models:
        if options.clip:
            accuracy(model, options.clip)
            continue
        for count in counts:
            table(model, count, options.rounds)
        peaks(model, counts[0])


if __name__ == "__main__":
    main()
