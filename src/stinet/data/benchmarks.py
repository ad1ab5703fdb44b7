"""Clips to measure on, and the windows in which a clip is shown to a model.

A clip is a folder of images, a video file, or frames in memory. The papers' protocol for x2 in time cuts a clip
into windows of 7 output frames, 6 apart; the model is given frames 0, 2, 4, 6 of a window and yields all 7. The
frame that two windows share counts once, from the first window. What is left at the end of a clip is reached by
a last window over the last 7 frames, of which only frames not yet seen count: every frame of a clip counts
once. (Variant "160" drops these tails; it is named after the frames of Vid4 that are left.) Whether a frame was
given or interpolated is a matter of its place in the window that counts it: in the last window of a clip, odd
and even may change roles.

With k frames in between (the paper's Table II; k = 3 or 5) a window has k + 2 frames, the model is given its first and
last, windows lie k + 1 apart, and the last one ends on the last frame: the same rule with window k + 2 and step k + 1.
Of Vimeo-90K's septuplets only the first such window counts (variant "first"): 5 frames between im1 and im7, 3 between
im1 and im5. Papers do not describe either; this is the consistent reading.

A clip too short for a window is measured with the longest one that fits; a single frame is a window of its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stinet.data import layouts
from stinet.data.clip import Clip
from stinet.errors import ConfigError, InputError

__all__ = ["VARIANTS", "Window", "all_clips", "find_clips", "windows"]

VARIANTS = ("all", "160", "first")
"""Every frame counts; the tails that fill no window are dropped; only a clip's first window counts."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames of a clip that a model yields in one call. `places` are counted from the window's first frame."""

    start: int
    """First frame of the window, in frames of the clip."""

    size: int
    """Output frames."""

    step: int
    """Every step-th output frame is given to the model, the first and the last among them."""

    counted: tuple[int, ...]
    """Places whose frames are measured."""

    @property
    def given(self) -> range:
        """Places of the frames that the model is given."""
        return range(0, self.size, self.step)

    @property
    def times(self) -> tuple[tuple[float, ...], ...]:
        """Times of the frames to interpolate, one tuple per interval of given frames."""
        return (tuple(place / self.step for place in range(1, self.step)),) * (len(self.given) - 1)


def windows(frame_count: int, window: int = 7, step: int = 2, variant: str = "all") -> list[Window]:
    """Cut `frame_count` frames into windows of `window` output frames, of which every `step`-th is given.

    Raises:
        ConfigError: a window that does not end on a given frame, or an unknown variant.

    """
    if variant not in VARIANTS:
        raise ConfigError(f"window variant {variant!r} is unknown: choose from {', '.join(VARIANTS)}")
    if step < 1 or window < 1 or (window - 1) % step:
        raise ConfigError(f"a window of {window} frames with every {step}th given does not end on a given frame")
    if frame_count < 1:
        return []
    size = min(window, (frame_count - 1) // step * step + 1)
    starts = list(range(0, frame_count - size + 1, max(size - 1, 1)))
    if variant == "first":
        del starts[1:]
    if variant == "all" and starts[-1] + size < frame_count:
        starts.append(frame_count - size)
    cut: list[Window] = []
    seen = 0
    for start in starts:
        cut.append(Window(start, size, step, tuple(place for place in range(size) if start + place >= seen)))
        seen = start + size
    return cut


def find_clips(path: Path) -> list[Clip]:
    """Clips at `path`: a video file, a folder of images, or a folder whose subfolders and videos are clips.

    A folder in the layout of Vimeo-90K, REDS or Adobe240 gives the clips that papers measure, in their groups.

    Raises:
        InputError: nothing there, nothing that is a clip, or a benchmark that is not complete.

    """
    return layouts.benchmark(path)


def all_clips(paths: Sequence[Path]) -> list[Clip]:
    """Clips at all of these paths; where two have one name, the folder's goes before it.

    Raises:
        InputError: as `find_clips`, or a clip that is named twice.

    """
    found = [(path, clip) for path in paths for clip in find_clips(path)]
    count = Counter(clip.name for _, clip in found)
    clips = [
        replace(clip, name=f"{path.resolve().name}/{clip.name}") if count[clip.name] > 1 else clip
        for path, clip in found
    ]
    if len({clip.name for clip in clips}) < len(clips):
        raise InputError(f"{', '.join(map(str, paths))}: a clip is named twice")
    return clips
