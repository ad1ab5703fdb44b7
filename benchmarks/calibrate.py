"""Find out which convolutions of a network can be computed in 8 bits, and the ranges of what they are given.

    python benchmarks/calibrate.py stinet-s --clips CORPUS [--loss 0.02] [--whole]

To be run again whenever weights are replaced: ranges fit the weights that they were found for, and no others. The name
is a preset's or a weights file's; the ranges go beside the weights (stinet-s.int8.json). Clips are the first 7 frames
of videos (mp4), evenly over the folder CORPUS: every other one serves to find ranges (engines/calibrate.py), the rest
to measure what they cost, in dB of PSNR on Y lost against float32. What is measured elsewhere must not be among them;
shard_val.mp4 of the corpus is left out.

All convolutions but STAYS_HIGH's are put into 8 bits first. As long as more is lost than allowed, a group of them
goes back: the one that adds the most error for its multiply-adds when it is in 8 bits alone. With --whole all of them
stay in 8 bits, and nothing is measured.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stinet import runtime
from stinet.catalogue import network, weights_file
from stinet.config import ClipFunction
from stinet.data.clip import Frame, low_frame, sharp_frame, video_clip
from stinet.engines.calibrate import Seen, fit_ranges, look_at_inputs
from stinet.engines.openvino import OpenVinoClip
from stinet.engines.ranges import Ranges, ranges_file, write_ranges
from stinet.metrics.fidelity import luma
from stinet.model.stinet import STINet

COUNT = 24
LIMIT_DB = 0.02
FRAMES = 7
HALVES = [[0.5]] * (FRAMES // 2)
STAYS_HIGH = re.compile(r"interpolate\.motion|reconstruct|fusion\.body")
"""Mnet takes longer in 8 bits. The heads and the fusion's first layer cost sharp, flat pictures most: with them Vid4's
calendar lost 0.057 dB (stinet-s) and 0.067 (stinet-xs), without 0.043 and 0.046. The corpus's means do not show it."""
"""Mnet reads flows: few channels, which take longer in 8 bits than in 16, and lose the most."""
IN_NAMES = re.compile(r"\.(?:\d+|low|high|previous|following|first|second|shared|weights)(?=\.|$)")


def clips_of(folder: Path, count: int) -> list[list[Frame]]:
    """The first frames of so many videos."""
    files = [file for file in sorted(folder.glob("*.mp4")) if file.stem != "shard_val"]
    chosen = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
    return [list(islice(video_clip(file.name, file).read(), FRAMES)) for file in (files[place] for place in chosen)]


def given_of(stored: Sequence[Frame], scale: int) -> list[Tensor]:
    """What a network is shown of a clip: every other frame, small."""
    return [low_frame(frame, scale).float() / 255 for frame in stored[::2]]


class Judge:
    """What a clip function loses on a few clips against the network in float32."""

    def __init__(self, net: STINet, clips: Sequence[Sequence[Frame]]) -> None:
        exact = OpenVinoClip(net, "float32")
        self.cases = []
        for stored in clips:
            given = given_of(stored, net.config.scale)
            truth = luma(torch.stack([sharp_frame(frame, net.config.scale) for frame in stored]).float() / 255)
            states = [exact.prepare(frame) for frame in given]
            flows = exact.context(states, HALVES)
            made = luma(exact.run(states, HALVES, flows))
            self.cases.append((given, flows, truth, made))

    def __call__(self, fn: ClipFunction) -> tuple[float, float, float]:
        """Mean dB lost, the most of one clip, and mean dB if what differs were independent of the network's error."""
        lost, apart = [], []
        for given, flows, truth, exact in self.cases:
            made = luma(fn.run([fn.prepare(frame) for frame in given], HALVES, flows))
            error = _mean_square(exact - truth)
            lost.append(10 * np.log10(_mean_square(made - truth) / error))
            apart.append(10 * np.log10(1 + _mean_square(made - exact) / error))
        return float(np.mean(lost)), float(np.max(lost)), float(np.mean(apart))


def _mean_square(x: Tensor) -> float:
    return x.double().square().mean().item()


def group(name: str) -> str:
    """Layers that do the same in both branches, both directions and all blocks: interpolate.pnet, local.fusion."""
    part = IN_NAMES.sub("", name)
    return "features_net" if part.startswith("features_net") else ".".join(part.split(".")[:2])


def search(net: STINet, ranges: Ranges, seen: Mapping[str, Seen], judge: Judge, limit_db: float) -> Ranges:
    """Those of the ranges with which no more than `limit_db` is lost; prints what it measures."""

    def measure(names: Sequence[str], what: str) -> tuple[float, float, float]:
        lost = judge(OpenVinoClip(net, "int8", ranges={name: ranges[name] for name in names}))
        print(f"| {what} | {lost[0]:+.4f} | {lost[1]:+.4f} | {lost[2]:.4f} |", flush=True)
        return lost

    print("| in 8 bits | dB lost | worst clip | dB by difference |\n|---|---|---|---|")
    kept = list(ranges)
    lost_db = measure(kept, "all")[0]
    weight = {}
    for part in dict.fromkeys(map(group, ranges)) if lost_db > limit_db else ():
        names = [name for name in ranges if group(name) == part]
        macs = sum(seen[name].count * net.get_parameter(f"{name}.weight").numel() for name in names)
        weight[part] = measure(names, f"{part} alone, {macs / 1e6:,.0f} M multiply-adds")[2] / macs
    for part in sorted(weight, key=weight.__getitem__, reverse=True):
        if lost_db <= limit_db:
            break
        kept = [name for name in kept if group(name) != part]
        lost_db = measure(kept, f"all but {part} and those above")[0]
    return {name: ranges[name] for name in kept}


def calibrate(name: str, corpus: Path, *, count: int = COUNT, limit_db: float = LIMIT_DB, whole: bool = False) -> None:
    """Find ranges, search, and write them beside the weights of that name."""
    net = network(name)
    clips = clips_of(corpus, count)
    shown = [given_of(stored, net.config.scale) for stored in clips[::2]]
    print(f"{name}: ranges from {len(shown)} clips, measured on {len(clips) - len(shown)}", flush=True)
    seen = look_at_inputs(net, shown)
    ranges: Ranges = fit_ranges(net, {layer: one for layer, one in seen.items() if not STAYS_HIGH.search(layer)})
    if not whole:
        ranges = search(net, ranges, seen, Judge(net, clips[1::2]), limit_db)
    file = ranges_file(weights_file(name))
    write_ranges(file, net, ranges, {"clips": len(shown), "frames": FRAMES, "limit_db": limit_db})
    print(f"written: {file}, {len(ranges)} of {len(seen)} convolutions in 8 bits")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--clips", type=Path, required=True, metavar="CORPUS")
    parser.add_argument("--count", type=int, default=COUNT, help="videos that are read")
    parser.add_argument("--loss", type=float, default=LIMIT_DB, help="dB that may be lost")
    parser.add_argument("--whole", action="store_true", help="everything in 8 bits; measure nothing")
    options = parser.parse_args()
    runtime.reuse_memory()
    calibrate(options.name, options.clips, count=options.count, limit_db=options.loss, whole=options.whole)


if __name__ == "__main__":
    main()
