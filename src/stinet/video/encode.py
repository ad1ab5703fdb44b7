"""Frames to coded pictures: segments that can be joined without decoding, or a y4m stream for another program."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = ["Segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished run of coded frames: a Matroska file in which frame n of the segment is stamped n ms."""

    path: Path
    frames: int
    times: tuple[Fraction, ...]
    """When each frame is shown, in seconds of the result: whole ticks of the choice's time base, rising."""
    bytes: int
    """Of the file."""
    reorder: int
    """How many places at most a packet is stored later than it is shown: 0 without B-frames."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, the file by its name alone, since the folder may be moved."""
        return {
            "name": self.path.name,
            "frames": self.frames,
            "times": [str(time) for time in self.times],
            "bytes": self.bytes,
            "reorder": self.reorder,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], folder: Path) -> "Segment":
        """The segment that `to_json` was of, in `folder`."""
        return cls(
            path=folder / plain["name"],
            frames=plain["frames"],
            times=tuple(Fraction(time) for time in plain["times"]),
            bytes=plain["bytes"],
            reorder=plain["reorder"],
        )
