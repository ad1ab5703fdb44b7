"""Vimeo-90K's septuplets: clips of seven consecutive 448x256 frames.

    vimeo_septuplet/
      sequences/00001/0001/im1.png .. im7.png
      sep_trainlist.txt    64,612 lines "00001/0001": trained on
      sep_testlist.txt     7,824 lines: measured
      fast_testset.txt, medium_testset.txt, slow_testset.txt     1,225, 4,977 and 1,613 of them, by motion

The three lists by motion come from later papers, under several names (`sep_fast_testset.txt`,
`sep_fast_testlist.txt`), beside the official ones or in `meta_info/`; where there are any, they are the benchmark, and
groups in its table.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stinet.data.clip import Clip, image_clip
from stinet.data.collection import MEASURED, Collection, read_list, refuse, spread
from stinet.errors import InputError

__all__ = ["GROUPS", "benchmark", "collect", "matches"]

FRAMES = 7
GROUPS = ("fast", "medium", "slow")
_NAMES = tuple(f"im{number}.png" for number in range(1, FRAMES + 1))


def matches(folder: Path) -> bool:
    """Whether the folder has this layout."""
    lists = ["sep_trainlist.txt", "sep_testlist.txt"]
    has_list = any((folder / name).is_file() for name in lists) or any(_list_of(folder, group) for group in GROUPS)
    return (folder / "sequences").is_dir() and has_list


def collect(folder: Path) -> Collection:
    """Septuplets to train on, and a few of the test list to measure.

    Raises:
        InputError: a list is missing, or a listed septuplet is not complete.

    """
    training = _clips(folder, _listed(folder / "sep_trainlist.txt"))
    has_list = (folder / "sep_testlist.txt").is_file()
    measured = _clips(folder, _listed(folder / "sep_testlist.txt")) if has_list else benchmark(folder)
    return Collection(layout="vimeo90k", training=training, validation=spread(measured, MEASURED))


def benchmark(folder: Path) -> list[Clip]:
    """Septuplets that papers measure: by motion where such lists are there, else the whole test list.

    Raises:
        InputError: no list, or a listed septuplet is not complete.

    """
    lists = {group: found for group in GROUPS if (found := _list_of(folder, group))}
    if lists:
        return [clip for group, found in lists.items() for clip in _clips(folder, _listed(found), group)]
    return _clips(folder, _listed(folder / "sep_testlist.txt"))


def _list_of(folder: Path, group: str) -> Path | None:
    """The list of a group, whatever it is called."""
    names = [f"{head}{group}_{tail}.txt" for head in ("", "sep_") for tail in ("testset", "testlist")]
    places = [place / name for place in (folder, folder / "meta_info") for name in names]
    return next((place for place in places if place.is_file()), None)


def _listed(file: Path) -> list[str]:
    lines = read_list(file).split()
    if not lines:
        raise InputError(f"{file}: names no septuplet")
    return lines


def _clips(folder: Path, names: Sequence[str], group: str = "") -> list[Clip]:
    problems = [problem for name in names for problem in _missing(folder / "sequences" / name)]
    refuse(problems, f"; every septuplet of the lists in {folder} needs {_NAMES[0]} to {_NAMES[-1]}")
    return [image_clip(name, [folder / "sequences" / name / image for image in _NAMES], group=group) for name in names]


def _missing(septuplet: Path) -> Iterator[str]:
    """At most one problem of a septuplet's folder."""
    try:
        present = {entry.name for entry in septuplet.iterdir()}
    except OSError:
        yield f"{septuplet}: missing"
        return
    absent = [name for name in _NAMES if name not in present]
    if absent:
        yield f"{septuplet}: {', '.join(absent)} missing"
