"""How clips are shown to a model: part of every report, because figures of different protocols do not compare.

The windows themselves are cut by `data.benchmarks.windows`, degradations are `data.degrade.STRENGTHS`. Table I of the
paper has one frame in between (x2 in time), windows of 7 output frames or, as some networks were shown them, of 3;
Table II has 3 and 5 frames in between.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from stinet.config import EvaluateConfig
from stinet.data.benchmarks import Window, windows
from stinet.data.clip import Clip
from stinet.data.collection import too_few
from stinet.data.degrade import REVISION, STRENGTHS, Degradation
from stinet.errors import InputError
from stinet.metrics import PSNR_CAP_DB

__all__ = ["SEPTUPLET_GROUPS", "Protocol"]

SEPTUPLET_GROUPS = ("fast", "medium", "slow")
"""Groups whose clips are Vimeo-90K's septuplets."""

_COUNTED = {
    "all": "every frame counts",
    "160": "variant 160, tails dropped",
    "first": "the first window of a clip counts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Windows of frames; every step-th frame of a window is given, the first and the last among them."""

    window: int = 7
    """Output frames of a window."""

    step: int = 2
    """Every step-th frame of a window is given."""

    variant: str = "all"
    """"all" frames, "160": without the tails that fill no window, or "first": a clip's first window alone."""

    degradation: str = "bicubic"
    """One of `STRENGTHS`; or "bicubic", the papers' low resolution."""

    @classmethod
    def of(cls, config: EvaluateConfig) -> "Protocol":
        """The protocol that settings name: with several frames in between, a window is those and their two ends."""
        window = config.window if config.between == 1 else config.between + 2
        return cls(window=window, step=config.between + 1, variant=config.variant, degradation=config.degradation)

    @property
    def between(self) -> int:
        """Frames between two given ones."""
        return self.step - 1

    @property
    def name(self) -> str:
        """In a few words, to stand beside every figure."""
        degraded = "" if self.degradation == "bicubic" else f", {self.degradation} degradation"
        return f"{self.between} in between, windows of {self.window}, {_COUNTED[self.variant]}{degraded}"

    @property
    def damage(self) -> Degradation | None:
        """What is done to the given frames of a clip; None: they are only reduced."""
        return None if self.degradation == "bicubic" else STRENGTHS[self.degradation]

    def of_group(self, group: str) -> "Protocol":
        """The protocol of a group's clips: with several frames in between, one window of a septuplet counts."""
        is_septuplet = self.between > 1 and group in SEPTUPLET_GROUPS
        return replace(self, variant="first") if is_septuplet else self

    def cut(self, clip: Clip, frame_count: int) -> list[Window]:
        """The windows of a clip. A short one is shown in the longest that fits, where one frame stands in between.

        Raises:
            InputError: a clip too short for one window of several frames in between.

        """
        self.check_length(clip, frame_count)
        if self.between <= 1:
            return windows(frame_count, self.window, self.step, self.variant)
        return windows(frame_count, self.window, self.step, self.of_group(clip.group).variant)

    def check_length(self, clip: Clip, frame_count: int) -> None:
        """Refuse a clip too short for one window of several frames in between.

        Raises:
            InputError: it is too short.

        """
        if self.between > 1 and frame_count < self.window:
            raise InputError(
                f"{clip.name}: {too_few(frame_count)} for {self.between} in between, it takes {self.window}"
            )

    def to_json(self, scale: int) -> dict[str, Any]:
        """In words and numbers."""
        given = range(0, self.window, self.step)
        return {
            **asdict(self),
            "between": self.between,
            "name": self.name,
            "windows": f"{len(given)} frames in, {self.window} out, the shared frame counted once",
            "low_resolution": self._low_resolution(scale),
            "measure": "Y of 8-bit RGB, peak 255, no border crop; mean over frames, then over clips",
            "identical_frames_psnr_db": PSNR_CAP_DB,
            **({"septuplets": f"frames 1 to {self.window} alone"} if self.between > 1 else {}),
        }

    def _low_resolution(self, scale: int) -> str:
        if self.damage is None:
            return f"bicubic x1/{scale}, antialiased, rounded once to 8 bit"
        return f"x1/{scale}, {self.degradation} degradation of revision {REVISION}: {self.damage}"
