"""Any folder of videos, of folders of frames, or of both; one video; one folder of frames.

Sizes may differ from clip to clip, not within one. Hard cuts are looked for (`video.scenes`), so that no run crosses
one. Every twentieth clip is held out to be measured, at least one and at most as many as a validation measures; of a
single clip the end of its last scene.
"""

from collections.abc import Iterator
from pathlib import Path

from stinet.data.clip import VIDEO_SUFFIXES, Clip, image_clip, images_in, video_clip
from stinet.data.collection import MEASURED, SHORTEST, Collection, gap_in, refuse, spread, too_few
from stinet.errors import InputError
from stinet.video.images import natural_order

__all__ = ["benchmark", "collect"]

HELD_OUT_EVERY = 20


def collect(place: Path) -> Collection:
    """Clips to train on and to measure.

    Raises:
        InputError: nothing there, or a clip that lacks a frame or is too short.

    """
    clips = benchmark(place)
    short = [clip for clip in clips if clip.files and len(clip.files) < SHORTEST]
    refuse([f"{clip.files[0].parent}: {too_few(len(clip.files))} for a clip" for clip in short])
    if len(clips) == 1:
        return Collection(layout="folder", training=clips, validation=(), runs="scenes", has_one_size=False)
    held = spread(clips[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or clips[-1:], MEASURED)
    kept = [clip for clip in clips if clip not in held]
    return Collection(layout="folder", training=kept, validation=held, runs="scenes", has_one_size=False)


def benchmark(place: Path) -> list[Clip]:
    """Clips at `place`: a video file, a folder of images, or a folder whose subfolders and videos are clips.

    Raises:
        InputError: nothing there, nothing that is a clip, or a clip that lacks a frame.

    """
    found = list(_clips(place))
    if not found:
        raise InputError(f"{place}: neither images nor folders of images nor videos in it")
    gaps = [(clip.files[0].parent, gap_in(clip.files)) for clip in found if clip.files]
    refuse([f"{folder}: frame {missing} is missing" for folder, missing in gaps if missing])
    return found


def _clips(place: Path) -> Iterator[Clip]:
    if place.is_file():
        yield _clip(place)
    elif not place.is_dir():
        raise InputError(f"{place}: no such file or folder")
    elif images_in(place):
        yield _clip(place)
    else:
        yield from (_clip(entry) for entry in sorted(place.iterdir(), key=natural_order) if _is_clip(entry))


def _clip(place: Path) -> Clip:
    name = place.resolve().name.encode(errors="replace").decode()  # one that is no Unicode can be written nowhere
    return image_clip(name, images_in(place)) if place.is_dir() else video_clip(name, place)


def _is_clip(place: Path) -> bool:
    if place.name.startswith("."):
        return False
    return bool(images_in(place)) if place.is_dir() else place.suffix.lower() in VIDEO_SUFFIXES
