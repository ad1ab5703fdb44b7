"""Upscale damaged files and count what becomes of them.

    python benchmarks/fuzz.py [--count 200] [--first 0] [--json FILE] [--keep DIR]

Six small films in six containers are damaged in seven ways, each drawn from its number alone (tests/fuzzing.py). Any
of `lost`, `bug`, `crash` and `hang` makes the exit code 1; `--keep` stores those files.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzing import BAD, LIMIT_S, Fate, films, fuzz, mutate

KINDS = ("ok", "repaired", "refused", "FFmpeg", *BAD)


def main() -> None:
    """Print a line for every bad fate, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count)
    fates: list[Fate] = []
    with tempfile.TemporaryDirectory() as folder:
        for fate in fuzz(Path(folder), numbers):
            fates.append(fate)
            if fate.kind in (*BAD, "FFmpeg"):
                print(f"{fate.name}: {fate.mutation}: {fate.kind}, exit {fate.code}, {fate.frames_shown} frames shown, "
                      f"{fate.frames_out} out: {fate.said}", flush=True)  # fmt: skip
    if options.keep is not None:
        _keep(options.keep, numbers, fates)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(fate) for fate in fates], indent=1))
    print(_table(fates))
    if any(fate.kind in BAD for fate in fates):
        sys.exit(1)


def _keep(folder: Path, numbers: range, fates: list[Fate]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given = films(folder)
    for number, fate in zip(numbers, fates, strict=True):
        if fate.kind in BAD:
            mutate(given[number % len(given)], folder / fate.name, number)


def _table(fates: list[Fate]) -> str:
    """A row for every container, a column for every fate."""
    rows: dict[str, Counter[str]] = {}
    for fate in fates:
        rows.setdefault(Path(fate.name).suffix[1:], Counter())[fate.kind] += 1
    rows["all"] = sum(rows.values(), Counter[str]())
    lines = ["| container | files | " + " | ".join(KINDS) + " |", "|---|" + "---|" * (len(KINDS) + 1)]
    for name, counts in rows.items():
        cells = " | ".join(str(counts[kind]) for kind in KINDS)
        lines.append(f"| {name} | {counts.total()} | {cells} |")
    slowest = max(fate.seconds for fate in fates)
    return "\n".join([*lines, "", f"slowest file {slowest:.1f} s of the {LIMIT_S:.0f} s allowed"])


if __name__ == "__main__":
    main()
