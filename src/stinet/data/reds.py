"""REDS: clips of 100 consecutive 1280x720 frames.

    REDS/
      train_sharp/000/00000000.png .. 00000099.png     240 clips
      val_sharp/000/..                                 30 clips: measured

as the archives unpack, with or without `train/` and `val/` around them. Without `val_sharp` the four clips of
`train_sharp` that papers measure (000, 011, 015, 020: "REDS4") are held out and measured.
"""

from collections.abc import Iterator
from pathlib import Path

from stinet.data.clip import Clip, image_clip, images_in
from stinet.data.collection import MEASURED, Collection, gap_in, refuse, spread
from stinet.errors import InputError

__all__ = ["HELD_OUT", "benchmark", "collect", "matches"]

FRAMES = 100
HELD_OUT = ("000", "011", "015", "020")


def matches(folder: Path) -> bool:
    """Whether the folder has this layout."""
    return any(_part(folder, part) for part in ("train", "val"))


def collect(folder: Path) -> Collection:
    """Clips to train on and to measure.

    Raises:
        InputError: a part is missing, or a clip is not complete.

    """
    place = _part(folder, "train")
    if place is None:
        raise InputError(f"{folder / 'train_sharp'}: missing; it holds the clips to train on")
    training = _clips(place)
    if _part(folder, "val"):
        return Collection(layout="reds", training=training, validation=spread(benchmark(folder), MEASURED))
    kept = [clip for clip in training if clip.name not in HELD_OUT]
    held = [clip for clip in training if clip.name in HELD_OUT]
    if not held or not kept:
        raise InputError(f"{folder}: neither val_sharp nor the clips {', '.join(HELD_OUT)} to measure beside others")
    return Collection(layout="reds", training=kept, validation=held)


def benchmark(folder: Path) -> list[Clip]:
    """The validation clips, or REDS4 where they are missing.

    Raises:
        InputError: a clip is not complete.

    """
    place = _part(folder, "val")
    if place is not None:
        return _clips(place)
    training = _part(folder, "train")
    return [clip for clip in _clips(training) if clip.name in HELD_OUT] if training else []


def _part(folder: Path, part: str) -> Path | None:
    places = (folder / f"{part}_sharp", folder / part / f"{part}_sharp")
    return next((place for place in places if place.is_dir()), None)


def _clips(place: Path) -> list[Clip]:
    folders = sorted(entry for entry in place.iterdir() if entry.is_dir() and entry.name[0] != ".")
    clips = [image_clip(folder.name, images_in(folder), group="reds") for folder in folders]
    if not clips:
        raise InputError(f"{place}: holds no clips (folders 000, 001, ...)")
    problems = [problem for folder, clip in zip(folders, clips, strict=True) for problem in _incomplete(folder, clip)]
    refuse(problems, f"; a clip of REDS has {FRAMES} frames (for parts of it, use layout=folder)")
    return clips


def _incomplete(folder: Path, clip: Clip) -> Iterator[str]:
    if len(clip.files) != FRAMES:
        missing = gap_in(clip.files)
        yield f"{folder}: {len(clip.files)} frames" + (f", number {missing} missing" if missing else "")
