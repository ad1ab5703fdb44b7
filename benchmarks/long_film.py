"""Upscale 20 minutes of a film that counts its own frames, and see what was lost: nothing should be.

    python benchmarks/long_film.py [--minutes 20] [--picture 320x180] [--size x4] [--fps 60]

The film (tests/counted_film.py) has a counter that machines can read, beeps in two tracks, subtitles and chapters. The
peak memory of the process is compared with that of a film of one minute.
"""

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from counted_film import Found, counted_film, examine, run_measured

RATE = 25


def main() -> None:
    """Print what was found; exit code 1 when anything is missing or moved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--picture", default="320x180", help="of the film")
    parser.add_argument("--size", default="x4")
    parser.add_argument("--fps", default="60")
    parser.add_argument("--model", default="blend+bicubic")
    parser.add_argument("--preset", default="ultrafast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short_peak, _, _ = _upscale(Path(folder), 60, options)
        peak, source, output = _upscale(Path(folder), 60 * options.minutes, options)
        given, made = examine(source), examine(output)
    rows = list(_rows(given, made, Fraction(options.fps), 60 * options.minutes))
    growth = peak / short_peak - 1
    # free memory is kept between windows until it adds up to 15 % (infer/ladder.py)
    rows.append(
        ("peak memory", f"{peak / 1e6:.0f} MB; one minute {short_peak / 1e6:.0f} MB ({growth:+.1%})", growth < 0.15)
    )
    for name, value, holds in rows:
        print(f"| {name} | {value} | {'holds' if holds else 'FAILS'} |")
    sys.exit(0 if all(holds for *_, holds in rows) else 1)


def _upscale(folder: Path, seconds: int, options: argparse.Namespace) -> tuple[int, Path, Path]:
    width, height = map(int, options.picture.split("x"))
    source = counted_film(
        folder / f"{seconds}.mkv", seconds, rate=RATE, width=width, height=height, parts=max(seconds // 60, 1)
    )
    output, began = folder / f"{seconds}_out.mkv", time.monotonic()
    words = ["-m", "stinet", "upscale", source, "-o", output, "--model", options.model, "--fps", options.fps,
             "--size", options.size, "--preset", options.preset, "--progress", "none"]  # fmt: skip
    code, peak, said = run_measured(words)
    print(f"{seconds} s of film in {time.monotonic() - began:.0f} s\n{said}", flush=True)
    if code:
        sys.exit(f"the run ended with {code}")
    return peak, source, output


def _rows(given: Found, made: Found, fps: Fraction, seconds: int) -> list[tuple[str, str, bool]]:
    """Name, what was found, whether it is as it should be."""
    count = int(seconds * fps)
    wanted = [min(float(time * RATE), seconds * RATE - 1) for time in made.times]
    off = max(abs(a - b) for a, b in zip(wanted, made.counters, strict=True))
    jitter = max(abs(time - k / fps) for k, time in enumerate(made.times))
    exact = max(abs(a - second) for second, a in enumerate(made.beeps[0]))
    moved, shifted = (
        max(abs(a - b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))
        for before, after in ((given.beeps, made.beeps), (given.sound_times, made.sound_times))
    )
    return [
        ("frames", f"{given.frames:,} in, {made.frames:,} out", made.frames == count),
        ("largest difference of the counter", f"{off:.3f} source frames", off < 0.1),
        ("largest difference of a frame time", f"{float(jitter) * 1000:.2f} ms", jitter <= Fraction(1, 1000)),
        ("beeps", f"{len(made.beeps[0]):,} and {len(made.beeps[1]):,}", all(len(b) == seconds for b in made.beeps)),
        ("largest difference of a beep from its second", f"{exact * 1000:.3f} ms", exact < 0.001),
        ("largest move of a beep", f"{moved * 1000:.3f} ms", moved < 0.0011),
        ("largest move of a sound packet", f"{shifted * 1000:.3f} ms", shifted < 0.0011),
        ("sound packets", "equal" if made.sound == given.sound else "changed", made.sound == given.sound),
        ("languages", ", ".join(made.languages), made.languages == given.languages),
        ("subtitles", f"{len(made.subtitles)} of {len(given.subtitles)}", made.subtitles == given.subtitles),
        ("chapters", f"{len(made.chapters)} of {len(given.chapters)}", made.chapters == given.chapters),
    ]


if __name__ == "__main__":
    main()
