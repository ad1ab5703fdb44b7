"""How time and memory grow: with the frame, the length of a clip, the frames in between, and threads.

    python benchmarks/growth.py [--model stinet-xs] [--engine openvino] [--precision auto] [--rounds 5] [--out docs/]

Prints a table for each of the four and draws them into one picture, growth.png. Every time is a median of rounds by
the clock, on one thread but in the table of threads; all rounds of a point in a row, since an engine that goes from one
kind of clip to another frees its memory, and touching it anew would be timed. Memory is what a
process of its own takes for the clip beyond what it has after a tiny one (Linux). A straight line through the first and
the last point, and how far the points lie off it, say whether growth is linear.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stinet import runtime
from stinet.catalogue import clip_function
from stinet.config import ClipFunction
from stinet.infer.calls import run_whole


@dataclass(frozen=True, slots=True)
class Point:
    """What is timed: source frames of so many pixels, so many frames between any two, threads."""

    width: int = 180
    height: int = 144
    frames: int = 4
    between: int = 1
    threads: int = 1

    @property
    def out(self) -> int:
        """Frames that come out."""
        return self.frames + (self.frames - 1) * self.between


def axes(cores: int) -> dict[str, tuple[str, list[tuple[float, Point]]]]:
    """Title: what is counted along it, and the points."""
    sizes = [(90, 72), (128, 102), (180, 144), (254, 204), (360, 288), (480, 270)]
    threads = sorted({1, 2, 4, cores} & set(range(1, cores + 1)))
    return {
        "frame size": ("thousand source pixels", [(w * h / 1000, Point(w, h)) for w, h in sizes]),
        "length of a clip": ("source frames", [(n, Point(frames=n)) for n in (2, 4, 6, 8, 10, 14, 18)]),
        "frames in between": ("between two source frames", [(n, Point(between=n)) for n in (1, 2, 3, 5, 7)]),
        "threads": ("threads", [(n, Point(threads=n)) for n in threads]),
    }


def moving(point: Point) -> list[Tensor]:
    """Noise that moves by a pixel or two a frame."""
    still = torch.rand(3, point.height, point.width, generator=torch.Generator().manual_seed(0))
    return [still.roll((index, 2 * index), (-2, -1)) for index in range(point.frames)]


def once(fn: ClipFunction, point: Point, film: Sequence[Tensor]) -> float:
    """Seconds of the clock for the clip."""
    times = [[(k + 1) / (point.between + 1) for k in range(point.between)]] * (point.frames - 1)
    begin = time.perf_counter()
    run_whole(fn, film, times)
    return time.perf_counter() - begin


def seconds(build: "Build", points: Sequence[Point], rounds: int) -> list[float]:
    """Of every point, the median of rounds."""
    functions = {threads: build.function(threads) for threads in {point.threads for point in points}}
    took = []
    for point in points:
        torch.set_num_threads(point.threads)
        film = moving(point)
        spent = [once(functions[point.threads], point, film) for _ in range(rounds + 1)]
        took.append(statistics.median(spent[1:]))  # the first round warms up
    return took


@dataclass(frozen=True, slots=True)
class Build:
    """Which clip function."""

    model: str
    engine: str
    precision: str

    def function(self, threads: int) -> ClipFunction:
        """A new one, for so many threads."""
        torch.set_num_threads(threads)
        return clip_function(self.model, device="cpu", engine=self.engine, precision=self.precision)

    def memory_bytes(self, point: Point) -> int:
        """Peak of a process of its own."""
        wish = [f"--{name}={value}" for name, value in asdict(self).items()]
        shape = ",".join(str(value) for value in asdict(point).values())
        line = [sys.executable, __file__, *wish, "--point", shape]
        return int(subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_memory(build: Build, point: Point) -> None:
    """Be that process."""
    fn = build.function(point.threads)
    tiny = Point(width=16, height=16, frames=point.frames, between=point.between)
    once(fn, tiny, moving(tiny))
    before = _peak_bytes()
    once(fn, point, moving(point))
    print(_peak_bytes() - before)


def _peak_bytes() -> int:
    """Of this process alone; what `getrusage` gives starts at its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def off_line(at: Sequence[float], values: Sequence[float]) -> float:
    """The largest distance from the line through both ends, as a share of the last value."""
    slope = (values[-1] - values[0]) / ((at[-1] - at[0]) or 1.0)
    return max(abs(values[0] + slope * (x - at[0]) - y) for x, y in zip(at, values, strict=True)) / values[-1]


def draw(found: dict[str, tuple[str, list[float], list[float], list[float]]], title: str, file: Path) -> None:
    """All of it as one picture: time in the upper row, memory in the lower."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, plots = plt.subplots(2, len(found), figsize=(3.4 * len(found), 5.4), constrained_layout=True)
    for column, (name, (label, at, clip_s, memory)) in enumerate(found.items()):
        rows = ((clip_s, "seconds a clip"), ([value / 1e6 for value in memory], "memory, MB"))
        for row, (values, what) in enumerate(rows):
            plot = plots[row][column]
            plot.plot(at, values, "o-", color="C0")
            plot.plot([at[0], at[-1]], [values[0], values[-1]], ":", color="0.5")
            plot.set(xlabel=label, ylim=(0, None), title=name if row == 0 else "")
            plot.set_ylabel(what)
            plot.grid(visible=True, alpha=0.3)
    figure.suptitle(title)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print the tables and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stinet-xs")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime.reuse_memory()
    build = Build(options.model, options.engine, options.precision)
    if options.point:
        print_memory(build, Point(*(int(part) for part in options.point.split(","))))
        return
    found = {}
    for name, (label, points) in axes(runtime.cores()).items():
        at = [x for x, _ in points]
        clip_s = seconds(build, [point for _, point in points], options.rounds)
        memory = [float(build.memory_bytes(point)) for _, point in points]
        found[name] = (label, at, clip_s, memory)
        print(f"\n{name}\n| {label} | s a clip | ms a frame out | memory, MB |\n" + "|---" * 4 + "|")
        for (x, point), spent, most in zip(points, clip_s, memory, strict=True):
            print(f"| {x:g} | {spent:.3f} | {1e3 * spent / point.out:.1f} | {most / 1e6:,.0f} |")
        if len(points) > 2 and name != "threads":
            print(
                f"off a straight line: time {off_line(at, clip_s):.0%}, memory {off_line(at, memory):.0%}", flush=True
            )
    precision = getattr(build.function(1), "precision", "")
    draw(found, f"{options.model}, {options.engine} {precision}", options.out / "growth.png")


if __name__ == "__main__":
    main()
