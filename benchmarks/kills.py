"""Kill one run 25 times at random moments, let it finish, and compare bytes with a run that was left alone.

    python benchmarks/kills.py [--count 25] [--seed 0] [--model stinet-xs] [--frames 600] [--segment 6]

How it kills stands in tests/killing.py. Exit code 1: the files differ.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from killing import Job, clip, kill_again, moments


def main() -> None:
    """Print a row for every kill, and whether the bytes are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="stinet-xs")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--segment", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "alone").mkdir()
        (folder / "killed").mkdir()
        source = clip(folder / "clip.mp4", options.frames)
        alone = Job(source, folder / "alone" / "out.mp4", options.model, options.segment)
        killed = Job(source, folder / "killed" / "out.mp4", options.model, options.segment)
        began = time.monotonic()
        expected = alone.finish()
        print(f"left alone: {time.monotonic() - began:.1f} s, {expected[:16]}", flush=True)
        print("| kill | moment | after, s | segments done |\n|---|---|---|---|", flush=True)
        kinds = moments(options.count, options.seed)
        for number, kill in enumerate(kill_again(killed, kinds, options.seed), start=1):
            print(f"| {number} | {kill.moment} | {kill.after_s:.2f} | {kill.segments} |", flush=True)
        found = killed.finish()
        left = sorted(path.name for path in killed.output.parent.iterdir())
        is_equal = found == expected and left == ["out.mp4"]
        print(
            f"\nafter {len(kinds)} kills: {found[:16]}, {'equal' if found == expected else 'DIFFERENT'}; left: {left}"
        )
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
