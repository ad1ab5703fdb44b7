"""What a data set's layout yields: clips to train on, clips to measure, and how they are cut into runs.

Every layout is a file of this folder with the same three functions: `matches(folder)` says whether the folder looks
like it, `collect(folder)` finds its clips to train with, `benchmark(folder)` those that are measured. All of them look
at lists and folders only; a listed clip that is missing or short is named at once. `check_headers` opens the files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from stinet.data.clip import Clip, image_size
from stinet.errors import InputError
from stinet.video.read import probe

__all__ = [
    "MEASURED",
    "SHORTEST",
    "Collection",
    "check_headers",
    "gap_in",
    "header",
    "read_list",
    "refuse",
    "spread",
    "too_few",
]

MEASURED = 24
"""Clips, or runs of them, that a validation measures at most."""


SHORTEST = 3
"""Frames of a clip from which anything about motion can be learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The clips of a data set."""

    layout: str
    """Name of the layout, as a recipe states it."""
    training: Sequence[Clip]
    validation: Sequence[Clip]
    """Clips that are never trained on; none: the end of the last run to train on is measured."""
    runs: Literal["whole", "scenes"] | int = "whole"
    """A run is a whole clip, a scene of it (hard cuts are looked for), or so many frames."""
    listed: frozenset[tuple[str, int]] | None = None
    """Clip and first frame of the runs to measure; None: all runs of the validation clips."""
    has_one_size: bool = True
    """Whether all clips must have the same frame size."""
    note: str = ""
    """What the user should hear of the choice."""

    @property
    def clips(self) -> list[Clip]:
        """Clips to train on, then clips to measure."""
        return [*self.training, *self.validation]


def refuse(problems: Sequence[str], remedy: str = "") -> None:
    """Do nothing if there is no problem.

    Raises:
        InputError: names the first problem and counts the others.

    """
    if problems:
        others = f"; {len(problems) - 1} more like it" if len(problems) > 1 else ""
        raise InputError(problems[0] + others + remedy)


def check_headers(collection: Collection) -> None:
    """Look at the headers of all files, without decoding them.

    Raises:
        InputError: a file cannot be read, a video is too short, or sizes differ within a clip or a data set: names the
            first one and counts the others.

    """
    usual: tuple[int, int] | None = None
    problems: list[str] = []
    for clip in collection.clips:
        try:
            size, frames = header(clip)
            if clip.video is not None and frames is not None and frames < SHORTEST:
                raise InputError(f"{clip.video}: {too_few(frames)} for a clip")
        except InputError as error:
            problems.append(str(error))
            continue
        usual = usual or size
        if collection.has_one_size and size != usual:
            problems.append(f"{clip.name}: frames of {_text(size)}, but those of the clips before are {_text(usual)}")
    refuse(problems)


def read_list(file: Path) -> str:
    """The text of a list of clips; a byte order mark before it is no part of it.

    Raises:
        InputError: there is no such file, or it is no UTF-8 text.

    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{file}: missing") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is no UTF-8 text (byte {error.start}); save the list as UTF-8") from error


def spread(items: Sequence[Clip], count: int) -> list[Clip]:
    """At most `count` of the items, evenly spread."""
    return [items[k * len(items) // count] for k in range(count)] if len(items) > count else list(items)


def too_few(count: int) -> str:
    """`1 frame is too few`, `2 frames are too few`."""
    return "1 frame is too few" if count == 1 else f"{count} frames are too few"


def gap_in(files: Iterable[Path]) -> str | None:
    """The first number that is missing in a row of numbered files; None where they are complete or not numbered."""
    stems = [file.stem for file in files]
    digits = [stem[len(stem.rstrip("0123456789")) :] for stem in stems]
    heads = {stem[: len(stem) - len(number)] for stem, number in zip(stems, digits, strict=True)}
    if len(heads) != 1 or not all(digits):
        return None
    numbers = sorted({int(number) for number in digits})
    steps = [after - before for before, after in pairwise(numbers)]
    for before, step in zip(numbers, steps, strict=False):
        if step != min(steps):
            return str(before + min(steps)).zfill(len(digits[0]))
    return None


def header(clip: Clip) -> tuple[tuple[int, int], int | None]:
    """Height and width of all frames of a clip, and how many there are, as far as headers tell.

    Raises:
        InputError: a file cannot be read, or images differ in size.

    """
    if clip.video is not None:
        info = probe(clip.video)
        return (info.height, info.width), info.frames_declared
    size = clip.size
    for file in clip.files[1:]:
        if (other := image_size(file)) != size:
            raise InputError(f"{file}: {_text(other)}, but the frames before it are {_text(size)}")
    return size, clip.frames


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
