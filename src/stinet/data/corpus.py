"""The small video corpus: shards of many runs, each of 15 consecutive frames.

    corpus/
      shard_000.mp4, shard_001.mp4, ..     run k is frames 15 k .. 15 k + 14
      validation.txt                       shard, first frame, frames (tabs) of the runs to measure
      manifest.tsv                         optional: one row a run, the shard first

No run of a shard that `validation.txt` names is trained on, listed or not.
"""

from pathlib import Path

from stinet.data.clip import Clip, video_clip
from stinet.data.collection import Collection, read_list, refuse
from stinet.errors import InputError

__all__ = ["RUN", "collect", "matches"]

RUN = 15
"""Frames of one run."""


def matches(folder: Path) -> bool:
    """Whether the folder has this layout."""
    return any(folder.glob("shard_*.mp4"))


def collect(folder: Path) -> Collection:
    """Shards to train on, and those with runs to measure.

    Raises:
        InputError: `validation.txt` is missing, or a shard that it or the manifest names.

    """
    shards = [video_clip(path.name, path) for path in sorted(folder.glob("shard_*.mp4"))]
    listed = _listed(folder / "validation.txt")
    measured = {name for name, _ in listed}
    wanted = sorted(measured | _in_manifest(folder / "manifest.tsv"))
    present = {shard.name for shard in shards}
    refuse([f"{folder / name}: missing" for name in wanted if name not in present])

    def part(*, is_measured: bool) -> list[Clip]:
        return [shard for shard in shards if (shard.name in measured) == is_measured]

    return Collection(
        layout="corpus",
        training=part(is_measured=False),
        validation=part(is_measured=True),
        runs=RUN,
        listed=listed,
    )


def _listed(file: Path) -> frozenset[tuple[str, int]]:
    """Shard and first frame of the runs that are only measured."""
    if not file.exists():
        raise InputError(f"{file}: missing; it lists the validation runs (shard, first frame, frames)")
    rows = [line.split("\t") for line in read_list(file).splitlines() if line.strip()]
    try:
        return frozenset((row[0], int(row[1])) for row in rows)
    except (IndexError, ValueError) as error:
        raise InputError(f"{file}: a line is not: shard, first frame, frames, divided by tabs") from error


def _in_manifest(file: Path) -> set[str]:
    """Shards that the manifest names; none without one."""
    if not file.exists():
        return set()
    lines = read_list(file).splitlines()[1:]
    return {line.split("\t")[0] for line in lines if line.strip()}
