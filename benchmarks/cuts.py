"""Scene cuts and repeated pictures, measured on labelled edits of the corpus.

    python benchmarks/cuts.py CORPUS                precision and recall of hard cuts, by kind of edit and by detector
    python benchmarks/cuts.py CORPUS --repeats      repeated pictures found after x264, and merged where nothing repeats
    python benchmarks/cuts.py CORPUS --speed        milliseconds a frame
    python benchmarks/cuts.py CORPUS --judder       steps between output frames of a clip on twos

Runs of even shards choose the thresholds of the plain rivals; runs of odd ones are measured. PySceneDetect's detectors
are measured too where the package scenedetect is installed, with their own defaults but for the shortest scene.
"""

import argparse
import io
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from stinet.data.corpus import RUN, collect
from stinet.video.duplicates import difference_between, merge_duplicates
from stinet.video.frame import Frame
from stinet.video.scenes import Glance, change_between, mark_cuts

Pictures = list[np.ndarray]
Detector = Callable[[Pictures], list[int]]


class Edit(NamedTuple):
    """A film with known cuts."""

    kind: str
    pictures: Pictures
    cuts: list[int]


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--runs", type=int, default=60, help="runs of a half that are edited")
    for option in ("repeats", "speed", "judder"):
        parser.add_argument(f"--{option}", action="store_true")
    options = parser.parse_args()
    runs = [list(read_runs(options.corpus, options.shards, half)) for half in (0, 1)]
    if options.repeats:
        repeats(runs[1], options.runs)
    elif options.speed:
        speed(runs[1][0])
    elif options.judder:
        judder(runs[1])
    else:
        scenes(*(half[: options.runs] for half in runs))


def read_runs(corpus: Path, shards: int, half: int) -> Iterator[Pictures]:
    """Runs of every other shard."""
    for clip in collect(corpus).training[half:shards:2]:
        frames = list(clip.read())
        for first in range(0, len(frames) - RUN + 1, RUN):
            yield [in_8_bit(frame) for frame in frames[first : first + RUN]]


def in_8_bit(picture: np.ndarray) -> np.ndarray:
    """As most films are; the corpus is deeper."""
    return picture if picture.dtype == np.uint8 else np.round(picture / 257).astype(np.uint8)


def scenes(training: list[Pictures], trial: list[Pictures]) -> None:
    """Precision and recall of every detector."""
    chosen = list(edits(training, seed=1))
    tried = list(edits(trial, seed=2))
    detectors: dict[str, Detector] = {"stinet": ours}
    for name, steps in (("luma histogram", histogram_steps), ("mean HSV", hsv_steps)):
        known = [(steps(edit.pictures), set(edit.cuts)) for edit in chosen]
        levels = np.quantile(np.concatenate([one for one, _ in known]), np.linspace(0.5, 0.999, 200))
        best = max(levels, key=lambda level: f1(count((above(one, level), cuts) for one, cuts in known)))
        detectors[f"{name} > {best:.3g}"] = lambda pictures, steps=steps, best=best: above(steps(pictures), best)
    detectors |= foreign_detectors()
    kinds = list(dict.fromkeys(edit.kind for edit in tried))
    print(f"{sum(len(edit.pictures) for edit in tried):,} frames, {sum(len(edit.cuts) for edit in tried)} cuts")
    print("| detector | precision | recall | F1 | training F1 | " + " | ".join(kinds) + " |")
    for name, detector in detectors.items():
        found = [(edit.kind, detector(edit.pictures), set(edit.cuts)) for edit in tried]
        hits, false, missed = count((cuts, truth) for _, cuts, truth in found)
        first = f1(count((detector(edit.pictures), set(edit.cuts)) for edit in chosen))
        by_kind = [count((cuts, truth) for kind, cuts, truth in found if kind == wanted) for wanted in kinds]
        cells = [f"{one[2]} missed, {one[1]} false" for one in by_kind]
        scores = (hits / max(hits + false, 1), hits / max(hits + missed, 1), f1((hits, false, missed)), first)
        print(f"| {name} | " + " | ".join([*(f"{score:.3f}" for score in scores), *cells]) + " |", flush=True)


def edits(runs: list[Pictures], seed: int) -> Iterator[Edit]:
    """Films with cuts, and films with everything that looks like one."""
    draw = np.random.default_rng(seed)
    pairs = list(zip(runs[::2], runs[1::2], strict=False))
    for first, second in pairs:
        lengths = draw.integers(5, RUN + 1, 2)
        yield joined("cut", first[: lengths[0]], second[: lengths[1]])
        yield joined("short scene", first[:8], second[:3], first[8:])
        coded = joined("coded cut", first, second)
        yield coded._replace(pictures=coded_again(coded.pictures, 30))
        grainy = joined("noisy cut", first, second)
        yield grainy._replace(pictures=noisy(grainy.pictures, draw, 15))
        yield joined("dark cut", *([scaled(one, 0.15) for one in run] for run in (first, second)))
        yield joined("shaken cut", shaken(first, draw), shaken(second, draw))
        yield joined("cut on twos", *([one for one in run for _ in range(2)] for run in (first, second)))
        yield joined("black between", first[:8], [first[0] * 0] * 6, second[:8])
        for length in (1, 2):
            yield Edit("flash", [lit(one) if 6 <= k < 6 + length else one for k, one in enumerate(first)], [])
        ramp = np.linspace(1, 0, 8)
        faded = [scaled(one, gain) for one, gain in zip(first[7:], ramp, strict=True)]
        yield Edit("fade", [*first[:7], *faded, *([first[0] * 0] * 4), *faded_in(second, ramp)], [])
        yield Edit("dissolve", dissolved(first, second), [])
        yield Edit("static", noisy([first[0]] * RUN, draw, 4), [])
        yield Edit("noise", noisy(first, draw, 40), [])
        yield Edit("shake", shaken(first, draw), [])
        yield Edit("whip pan", panned(first[0]), [])
        yield Edit("exposure", [scaled(one, 0.55 if 5 <= k < 10 else 1.15) for k, one in enumerate(first)], [])


def joined(kind: str, *parts: Pictures) -> Edit:
    """One scene after the other."""
    starts = list(itertools.accumulate(len(part) for part in parts))[:-1]
    return Edit(kind, [one for part in parts for one in part], starts)


def scaled(picture: np.ndarray, gain: float) -> np.ndarray:
    """Darker or brighter."""
    return (picture * gain).clip(0, 255).astype(np.uint8)


def lit(picture: np.ndarray) -> np.ndarray:
    """By a flash light."""
    return (picture * 0.15 + 215).clip(0, 255).astype(np.uint8)


def noisy(pictures: Pictures, draw: np.random.Generator, sigma: float) -> Pictures:
    """With grain that is another in every picture."""
    return [(one + draw.normal(0, sigma, one.shape)).clip(0, 255).astype(np.uint8) for one in pictures]


def faded_in(pictures: Pictures, ramp: np.ndarray) -> Pictures:
    """From black."""
    return [scaled(one, gain) for one, gain in zip(pictures, ramp[::-1], strict=False)]


def dissolved(first: Pictures, second: Pictures) -> Pictures:
    """One picture over the other, for eleven frames."""
    shares = np.linspace(0, 1, RUN - 4).tolist()
    shares = [0, 0, *shares, 1, 1]
    return [((1 - t) * a + t * b).astype(np.uint8) for t, a, b in zip(shares, first, second, strict=True)]


def shaken(pictures: Pictures, draw: np.random.Generator) -> Pictures:
    """By up to 16 pixels a frame, as hand-held cameras do."""
    places = np.cumsum(draw.integers(-16, 17, (len(pictures), 2)), axis=0).clip(0, 64)
    return [one[y : y + 192, x : x + 336] for one, (y, x) in zip(pictures, places, strict=True)]


def panned(picture: np.ndarray) -> Pictures:
    """By 24 pixels a frame: a fourteenth of the width."""
    return [picture[:, x : x + 160] for x in range(0, 280, 24)]


def coded_again(pictures: Pictures, crf: int, rate: int = 24) -> Pictures:
    """By x264, and decoded."""
    height, width = pictures[0].shape[:2]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for one in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(one), "rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


def film(pictures: Sequence[np.ndarray], rate: int = 25) -> list[Frame]:
    """Frames at a constant rate."""
    return [Frame(rgb=one, time=Fraction(k, rate), duration=Fraction(1, rate)) for k, one in enumerate(pictures)]


def ours(pictures: Pictures) -> list[int]:
    """Cuts by `mark_cuts`."""
    return [k for k, frame in enumerate(mark_cuts(film(pictures))) if frame.begins_scene]


def histogram_steps(pictures: Pictures) -> np.ndarray:
    """Share of the luma histogram (64 bins) that neighbours do not have in common."""
    kept = [np.bincount(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).ravel() // 4, minlength=64) for one in pictures]
    shares = np.stack(kept) / kept[0].sum()
    return 1 - np.minimum(shares[:-1], shares[1:]).sum(1)


def hsv_steps(pictures: Pictures) -> np.ndarray:
    """Mean absolute difference of hue, saturation and value."""
    made = [cv2.cvtColor(one, cv2.COLOR_RGB2HSV).astype(np.int16) for one in pictures]
    return np.array([float(np.abs(a - b).mean()) for a, b in itertools.pairwise(made)])


def above(steps: np.ndarray, level: float) -> list[int]:
    """Frames after a step larger than the level."""
    return (np.flatnonzero(steps > level) + 1).tolist()


def foreign_detectors() -> dict[str, Detector]:
    """PySceneDetect's, where it is installed."""
    try:
        from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode  # pyright: ignore
    except ImportError:
        return {}

    def detector(make: Callable[[], object]) -> Detector:
        def find(pictures: Pictures) -> list[int]:
            one, found = make(), []
            for k, picture in enumerate(pictures):
                found += one.process_frame(FrameTimecode(k, 25.0), picture[..., ::-1])  # pyright: ignore
            found += one.post_process(FrameTimecode(len(pictures) - 1, 25.0))  # pyright: ignore
            return [time.frame_num for time in found]

        return find

    return {
        "PySceneDetect content": detector(lambda: ContentDetector(min_scene_len=1)),
        "PySceneDetect adaptive": detector(lambda: AdaptiveDetector(min_scene_len=1)),
    }


def count(found: Iterable[tuple[list[int], set[int]]]) -> tuple[int, int, int]:
    """Hits, false finds and misses."""
    rows = [(len(set(cuts) & truth), len(set(cuts) - truth), len(truth - set(cuts))) for cuts, truth in found]
    return (sum(row[0] for row in rows), sum(row[1] for row in rows), sum(row[2] for row in rows))


def f1(counted: tuple[int, int, int]) -> float:
    """Harmonic mean of precision and recall."""
    hits, false, missed = counted
    return 2 * hits / max(2 * hits + false + missed, 1)


PATTERNS = {
    "twos": (24, [k // 2 for k in range(30)]),
    "threes": (24, [k // 3 for k in range(45)]),
    "24 in 30": (30, [k * 4 // 5 for k in range(18)]),
    "24 in 60": (60, [k * 2 // 5 for k in range(37)]),
}


def repeats(runs: list[Pictures], most: int) -> None:
    """Repeated pictures found, and pictures merged that do not repeat."""
    pairs = merged = 0
    for number, run in enumerate(runs):
        gone = [time for frame in merge_duplicates(film(run), Fraction(1, 25)) for time in frame.repeats]
        pairs, merged = pairs + len(run) - 1, merged + len(gone)
        if gone:
            print(f"  run {number}: merged {[int(time * 25) for time in gone]}")
    print(f"as stored: {merged} of {pairs:,} pairs merged")
    for sigma in (1.0, 2.0, 4.0):
        draw = np.random.default_rng(0)
        grain = [noisy([run[0]] * 8, draw, sigma) for run in runs[:most]]
        gone = sum(len(one.repeats) for run in grain for one in merge_duplicates(film(run), Fraction(1, 25)))
        print(f"one picture with grain of sigma {sigma:g}: {gone} of {7 * len(grain)} pairs merged")
    print("runs whose every step is 1 grey level or more: found, merged wrongly; the same for runs that hardly move")
    for name, (rate, pattern) in PATTERNS.items():
        for crf in (18, 23, 28):
            cells = []
            for moves in (True, False):
                totals: dict[str, int] = defaultdict(int)
                for run in runs[:most]:
                    if (min(steps_between(run)) >= 1) == moves:
                        one_film(run, pattern, rate, crf, totals)
                found = f"{totals['found'] / max(totals['repeated'], 1):.1%} of {totals['repeated']:,}"
                cells += [found, f"{totals['false']} of {totals['distinct']:,}"]
            print(f"| {name} | {crf} | " + " | ".join(cells) + " |", flush=True)


def one_film(run: Pictures, pattern: list[int], rate: int, crf: int, totals: dict[str, int]) -> None:
    """Repeat, encode, decode, merge; count."""
    made = film(coded_again([run[k] for k in pattern], crf, rate), rate)
    gone = {int(at * rate) for frame in merge_duplicates(made, Fraction(1, rate)) for at in frame.repeats}
    true = {k for k in range(1, len(pattern)) if pattern[k] == pattern[k - 1]}
    totals["found"] += len(gone & true)
    totals["repeated"] += len(true)
    totals["false"] += len(gone - true)
    totals["distinct"] += len(pattern) - 1 - len(true)


def speed(run: Pictures) -> None:
    """Print milliseconds of a frame, decoding left out."""
    for width, height in ((480, 270), (1920, 1080)):
        made = film([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in run[:6]])
        repeated = [made[0], made[0]]
        jobs: dict[str, Callable[[], object]] = {
            "cuts": lambda made=made: change_between(Glance.of(made[0]), Glance.of(made[1])),
            "repeats, pictures that differ": lambda made=made: difference_between(made[0], made[-1]),
            "repeats, the same picture": lambda repeated=repeated: difference_between(*repeated),
        }
        for name, job in jobs.items():
            spent = []
            for _ in range(9):
                start = time.perf_counter()
                job()
                spent.append((time.perf_counter() - start) * 1000)
            print(f"{width}x{height} {name}: {sorted(spent)[4]:.1f} ms")


def judder(runs: list[Pictures]) -> None:
    """Upscale a clip on twos with and without merging; print the steps between neighbours of the output."""
    from stinet.catalogue import clip_function
    from stinet.config import UpscaleConfig
    from stinet.upscale import upscale_video
    from stinet.video.read import read_frames

    run = next(one for one in runs if min(steps_between(one)) > 3)
    twos = coded_again([one for one in run[:8] for _ in range(2)], 18)
    print("source: " + " ".join(f"{step:.1f}" for step in steps_between(twos)))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "twos.mkv")
        with av.open(str(source), "w") as output:
            stream = output.add_stream("ffv1", rate=24)
            stream.height, stream.width, stream.pix_fmt = *twos[0].shape[:2], "bgr0"
            for one in twos:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(one, "rgb24").reformat(format="bgr0")))
            output.mux(stream.encode())
        for dedup in ("off", "auto"):
            target = Path(folder, f"{dedup}.mkv")
            upscale_video(source, target, fn=clip_function("flow+bicubic"), config=UpscaleConfig(dedup=dedup))
            made = [frame.rgb[::4, ::4] for frame in read_frames(target)]
            steps = steps_between(made)
            print(f"{dedup}: " + " ".join(f"{step:.1f}" for step in steps))
            inner = steps[:-4]
            print(f"{dedup}: mean {np.mean(inner):.2f}, standard deviation {np.std(inner):.2f}")


def steps_between(pictures: Sequence[np.ndarray]) -> list[float]:
    """Mean absolute difference between neighbours, grey levels."""
    return [float(np.abs(a.astype(np.float32) - b).mean()) for a, b in itertools.pairwise(pictures)]


if __name__ == "__main__":
    main()
