"""Time the engines phase by phase: 180x144 in, 720x576 out, two frames out for one in.

    python benchmarks/engines.py [--models stinet-s,stinet-xs] [--frames 4,10] [--threads 1] [--rounds 5]
                                 [--clips FOLDER_OF_CLIPS] [--only openvino]

Every engine and precision runs in turn within each round, and medians are printed: seconds of the processor that the
process used (what a busy machine changes least) and of the clock, each a frame out, and how many times as fast as the
first engine in bfloat16 the whole is. Peaks of memory (Linux) are of a process of its own. With --clips the table of
accuracy is printed instead, by the protocol of `stinet evaluate`: PSNR and SSIM on Y, and their difference to float32.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from stinet import runtime
from stinet.catalogue import network, weights_file
from stinet.config import ClipFunction
from stinet.data.benchmarks import find_clips
from stinet.engines.onnx import OnnxClip
from stinet.engines.openvino import OpenVinoClip
from stinet.engines.ranges import ranges_file, read_ranges
from stinet.evaluate import benchmark
from stinet.infer.calls import prepare
from stinet.model.clip import NetworkClip

PHASES = ("prepare", "flow", "network")


def engines(model: str, only: str = "") -> dict[str, ClipFunction]:
    """Every engine in every precision; those whose names hold `only`."""
    net, cpu = network(model), torch.device("cpu")
    ranges = read_ranges(ranges_file(weights_file(model)), net)
    quick = {"openvino int8": OpenVinoClip(net, "int8", model, ranges=ranges)} if ranges and runtime.has_int8() else {}
    found = {
        "torch bfloat16": NetworkClip(net, cpu, torch.bfloat16, model),
        "torch float32": NetworkClip(net, cpu, torch.float32, model),
        "openvino bfloat16": OpenVinoClip(net, "bfloat16", model),
        "openvino float32": OpenVinoClip(net, "float32", model),
        **quick,
        "onnxruntime float32": OnnxClip(net, model),
    }
    return {name: fn for name, fn in found.items() if only in name}


def moving(frames: int) -> list[Tensor]:
    """Noise that moves by a pixel or two a frame."""
    still = torch.rand(3, 144, 180, generator=torch.Generator().manual_seed(0))
    return [still.roll((index, 2 * index), (-2, -1)) for index in range(frames)]


def once(fn: ClipFunction, frames: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Seconds of processor and clock for every phase."""
    times = [[0.5]] * (len(frames) - 1)
    marks = [_now()]
    states = prepare(fn, frames)
    marks.append(_now())
    nodes = fn.context(states, times)
    marks.append(_now())
    fn.run(states, times, nodes)
    marks.append(_now())
    return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(marks)]


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def table(model: str, frames: int, rounds: int, only: str) -> None:
    """Print one table."""
    functions, film, out = engines(model, only), moving(frames), 2 * frames - 1
    seconds: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, fn in functions.items():
            took = once(fn, film)
            if number:  # the first round warms up
                seconds[name].append(took)
    print(f"\n{model}, {frames} frames to {out}: ms a frame out, of the processor")
    print("| engine | " + " | ".join(PHASES) + " | all | by the clock | faster |\n" + "|---" * 7 + "|")
    totals = {name: _median(runs, 0, range(3)) for name, runs in seconds.items()}
    yardstick = next((total for name, total in totals.items() if name.endswith("bfloat16")), min(totals.values()))
    for name, runs in seconds.items():
        cells = [f"{1e3 * _median(runs, 0, [phase]) / out:.1f}" for phase in range(3)]
        cells += [f"{1e3 * totals[name] / out:.1f}", f"{1e3 * _median(runs, 1, range(3)) / out:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + f" | {yardstick / totals[name]:.2f} |")


def _median(runs: list[list[tuple[float, float]]], kind: int, phases: Sequence[int]) -> float:
    return statistics.median(sum(run[phase][kind] for phase in phases) for run in runs)


def peaks(model: str, frames: int, only: str) -> None:
    """Print how much more memory a process has had after one clip than before it."""
    print(f"\n{model}, {frames} frames: peak of memory, bytes a source pixel and frame")
    for name in engines(model, only):
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


def accuracy(model: str, folder: Path, only: str) -> None:
    """Print PSNR and SSIM on Y of every clip, by engine."""
    functions = engines(model, only)
    exact = next(name for name in functions if name.endswith("float32"))
    print(f"\n{model}\n| clip | engine | PSNR dB | SSIM | dB to {exact} | SSIM |\n" + "|---" * 6 + "|")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in functions}
    for clip in find_clips(folder):
        report = benchmark([clip], functions).to_json()["models"]
        for name, scores in found.items():
            scores.append(report[name]["mean"])
        _rows(clip.name, {name: scores[-1:] for name, scores in found.items()}, exact)
    _rows("mean", found, exact)


def _rows(clip: str, found: dict[str, list[dict[str, float]]], exact: str) -> None:
    means = {
        name: [statistics.mean(one[key] for one in scores) for key in ("psnr_db", "ssim")]
        for name, scores in found.items()
    }
    for name, (psnr_db, ssim) in means.items():
        apart = f"{psnr_db - means[exact][0]:+.4f} | {ssim - means[exact][1]:+.5f}"
        print(f"| {clip} | {name} | {psnr_db:.3f} | {ssim:.5f} | {apart} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="stinet-s,stinet-xs")
    parser.add_argument("--frames", default="4,10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--only", default="", help="a word in the names of engines: openvino, int8")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runtime.reuse_memory()
    models, counts = options.models.split(","), [int(count) for count in options.frames.split(",")]
    if options.peak:
        peak(models[0], counts[0], options.peak)
        return
    for model in models:
        if options.clips:
            accuracy(model, options.clips, options.only)
            continue
        for count in counts:
            table(model, count, options.rounds, options.only)
        peaks(model, counts[0], options.only)


if __name__ == "__main__":
    main()
