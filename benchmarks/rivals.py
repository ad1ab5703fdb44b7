"""Our models against what people run today: speed on the papers' clip, beside quality from `stinet evaluate`.

    stinet evaluate vid4 --model stinet-s,stinet-xs,span+dis,span+rife,rife+realesrgan,flow+bicubic --json vid4.json
    python benchmarks/rivals.py --quality vid4.json [--rounds 5] [--threads 1] [--json speed.json]

4 frames of 180x144 in, 7 of 720x576 out, model time alone, prepared and run once. Within each round every model runs
once, in an order that turns, so a machine that slows down slows all of them; a ratio is the median over rounds of the
ratio within a round. CPU seconds are those of all threads, and hardly change when others use the machine; wall clock
does. Peers compute in float32, ours in the precision that is named; a rival whose package is missing is left out and
said. `--models` takes names, ours with an engine and a precision: NAME:ENGINE:PRECISION.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from stinet import runtime
from stinet.bench.rounds import in_turn, median, median_ratio
from stinet.bench.subjects import Subject, build
from stinet.config import ClipFunction
from stinet.errors import StinetError
from stinet.infer.calls import run_whole

TIMES = ((0.5,),) * 3
WAYS = ("torch:bfloat16", "openvino:bfloat16", "openvino:int8")
OURS = ",".join(f"{name}:{way}" for name in ("stinet-s", "stinet-xs") for way in WAYS)
RIVALS = "span+dis,span+rife,rife+realesrgan,flow+bicubic"

Took = tuple[float, float]
"""CPU seconds and wall-clock seconds."""


def once(function: ClipFunction, frames: torch.Tensor) -> Took:
    """One clip, from small frames to large ones."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        made = run_whole(function, list(frames), TIMES)
    assert made.shape == (7, 3, 576, 720)
    return time.process_time() - cpu, time.perf_counter() - wall


def quality(file: Path | None) -> dict[str, str]:
    """PSNR and SSIM of every model in a report of `stinet evaluate`."""
    if file is None:
        return {}
    models = json.loads(file.read_text())["models"]
    return {name: f"{one['mean']['psnr_db']:.2f} / {one['mean']['ssim']:.4f}" for name, one in models.items()}


def subject(words: str, threads: int) -> Subject:
    """What a word of `--models` names."""
    name, *rest = words.split(":")
    engine, precision = [*rest, "torch", "float32"][:2] if rest else ("torch", "float32")
    return Subject(model=name, engine=engine, precision=precision, threads=threads)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=f"{OURS},{RIVALS}")
    parser.add_argument("--quality", type=Path, help="JSON of `stinet evaluate`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runtime.reuse_memory()
    frames = torch.nn.functional.interpolate(torch.rand(4, 3, 36, 45), scale_factor=4.0, mode="bicubic").clamp_(0, 1)
    tasks: dict[Subject, Callable[[], Took]] = {}
    for words in options.models.split(","):
        one = subject(words, options.threads)
        try:
            function = build(one)
        except StinetError as error:
            print(f"left out: {words}: {error}")
            continue
        tasks[one] = lambda function=function: once(function, frames)
    figures = in_turn(
        tasks, options.rounds, progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True)
    )
    known, names = quality(options.quality), list(figures)
    print(f"\n\n| | Vid4 | CPU ms / frame | wall ms / frame | frames/s | {' | '.join(str(n.model) for n in names)} |")
    print("|" + "---|" * (5 + len(names)))
    cpu = {one: [took[0] for took in figures[one]] for one in names}
    for one in names:
        what = f"{one.model}, {one.engine} {one.precision}" if one.is_network else one.model
        wall = median([took[1] for took in figures[one]])
        ratios = " | ".join(f"{median_ratio(cpu[other], cpu[one]):.2f}" for other in names)
        ms = 1000 * median(cpu[one]) / 7
        print(
            f"| {what} | {known.get(one.model, '')} | {ms:.1f} | {1000 * wall / 7:.1f} | {1000 / ms:.1f} | {ratios} |"
        )
    if options.json:
        options.json.write_text(json.dumps({str(one): figures[one] for one in names}, indent=1) + "\n")


if __name__ == "__main__":
    main()
