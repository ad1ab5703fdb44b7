"""Adobe240: videos of 240 frames a second, 1280x720; the truth is half the stored size.

    adobe240/
      original_high_fps_videos/*.mov, *.m4v, *.mp4                  as the archive unpacks
      adobe240fps_folder_train.txt, _valid.txt, _test.txt           names without suffix: the split of TMNet and later

or, in place of the videos, their frames as papers' scripts write them: `frame/train/NAME/0.png, 1.png, ..` (also
`train/NAME`, `frame/NAME`, `NAME`). Lists may lie beside the videos or in `data/`. Where no part to measure
while training (valid) is named, every sixteenth of those to train on is held out; where none to train on, they are all
that no other part names. What the test part names is neither trained on nor looked at.

Truth and input are each made in one step from the stored 1280x720 frames: 640x360 by 1/2, 160x90 by 1/8 (clip.py, Eq.
1, reduced = 2; for a network of scale 4). The lists' authors made theirs so. Frames stored no larger than 640 pixels
are taken for the truth itself; LR is then made from them by 1/4, which is not quite the same.
"""

from collections.abc import Sequence
from pathlib import Path

from stinet.data.clip import VIDEO_SUFFIXES, Clip, image_clip, image_size, images_in, video_clip
from stinet.data.collection import MEASURED, Collection, gap_in, read_list, refuse, spread
from stinet.errors import InputError
from stinet.video.images import natural_order

__all__ = ["benchmark", "collect", "matches"]

VIDEOS = "original_high_fps_videos"
REDUCED = 2
LARGEST_TRUTH_PX = 640
HELD_OUT_EVERY = 16
_PARTS = ("train", "valid", "test")


def matches(folder: Path) -> bool:
    """Whether the folder has this layout."""
    has_part = any(_list_of(folder, part) or (folder / "frame" / part).is_dir() for part in _PARTS)
    return folder.name == VIDEOS or (folder / VIDEOS).is_dir() or has_part


def collect(folder: Path) -> Collection:
    """Videos to train on and to measure.

    Raises:
        InputError: a listed video is missing, or a frame of one.

    """
    validation = _names(folder, "valid")
    others = {*validation, *_names(folder, "test")}
    training = _clips(folder, _names(folder, "train") or sorted(set(_present(folder)) - others))
    if not training:
        raise InputError(f"{folder}: all its videos are to be measured, none is left to train on")
    measured, note = _clips(folder, validation), ""
    if not measured:
        measured = training[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or training[1:][-1:]
        training = [clip for clip in training if clip not in measured]
        held = ", ".join(clip.name for clip in measured) or f"the end of {training[-1].name}"
        note = f"no list names videos to measure while training, so not trained on is {held}"
    return Collection(
        layout="adobe240", training=training, validation=spread(measured, MEASURED), has_one_size=False, note=note
    )


def benchmark(folder: Path) -> list[Clip]:
    """The videos of the test part, or all of them where there are no parts.

    Raises:
        InputError: a listed video is missing, or a frame of one.

    """
    return _clips(folder, _names(folder, "test") or sorted(_present(folder)))


def _names(folder: Path, part: str) -> list[str]:
    """Names of a part's videos: those of its list, or of its folder of frames; none where there is neither."""
    if file := _list_of(folder, part):
        names = read_list(file).split()
        if not names:
            raise InputError(f"{file}: names no video")
        return names
    places = [place for place in (folder / "frame" / part, folder / part) if place.is_dir()]
    return sorted(entry.name for place in places for entry in place.iterdir() if entry.is_dir())


def _list_of(folder: Path, part: str) -> Path | None:
    names = (f"adobe240fps_folder_{part}.txt", f"adobe240_folder_{part}.txt")
    places = (folder, folder / "data", folder.parent if folder.name == VIDEOS else folder)
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _present(folder: Path) -> dict[str, Path]:
    """Every video, and every folder of frames, by name."""
    found: dict[str, Path] = {}
    roots = [folder / VIDEOS, folder, folder / "frame", *(folder / head / p for head in ("", "frame") for p in _PARTS)]
    for root in roots:
        entries = sorted(root.iterdir(), key=natural_order) if root.is_dir() else []
        for entry in entries:
            if entry.name[0] != "." and (
                entry.suffix.lower() in VIDEO_SUFFIXES or (entry.is_dir() and images_in(entry))
            ):
                found.setdefault(entry.stem if entry.is_file() else entry.name, entry)
    if not found:
        raise InputError(f"{folder}: neither videos in {VIDEOS} nor folders of frames")
    return found


def _clips(folder: Path, names: Sequence[str]) -> list[Clip]:
    present = _present(folder)
    refuse([f"{folder}: video {name}, which a list names, is missing" for name in names if name not in present])
    clips = [_clip(name, present[name]) for name in names]
    gaps = [(clip, gap_in(clip.files)) for clip in clips]
    refuse([f"{clip.files[0].parent}: frame {missing} is missing" for clip, missing in gaps if missing])
    return clips


def _clip(name: str, place: Path) -> Clip:
    if place.is_file():
        return video_clip(name, place, group="adobe240", reduced=REDUCED)
    files = images_in(place)
    reduced = REDUCED if max(image_size(files[0])) > LARGEST_TRUTH_PX else 1
    return image_clip(name, files, group="adobe240", reduced=reduced)
