"""What travels between decoder and encoder: frames with exact times, what a file says of itself, what was lost.

Times are Fractions of a second from decode to encode; float appears only in printed text. Pixels are RGB, upright (a
rotation that the file asks for has been applied), h w 3. This file knows no codec.
"""

import re
import threading
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

__all__ = ["Colour", "Frame", "Light", "Mastering", "Notes", "StreamInfo", "VideoInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture and when it is shown."""

    rgb: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
    """The type's largest number is 1.0, whatever the depth of the file."""
    time: Fraction
    """Seconds from the start of the film."""
    alpha: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"] | None = None
    """Opacity, of the same type as `rgb`; None: opaque."""
    duration: Fraction | None = None
    """Seconds; None: until the next frame."""
    begins_scene: bool = False
    """A hard cut stands between it and the frame before."""
    repeats: tuple[Fraction, ...] = ()
    """Times at which the source showed this very picture again, before the next frame; rising."""
    shown: Fraction | None = None
    """When the source showed it first, where `time` has been moved (pulldown spread evenly); None: at `time`."""
    still_until: Fraction | None = None
    """The picture stands still up to this time (one of `repeats`), and only then moves on; None: it moves at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mastering:
    """The display that an HDR film was graded on (SMPTE ST 2086)."""

    red: tuple[Fraction, Fraction]
    """CIE 1931 x, y; so are the next three."""
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    darkest: Fraction
    """Candela per square metre."""
    brightest: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Content light level of an HDR film (CTA-861.3), in candela per square metre."""

    max_content: int
    max_average: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """How a file's Y'CbCr becomes R'G'B', by the numbers of ITU-T H.273 (2: not said)."""

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    is_full_range: bool = False
    is_guessed: bool = False
    """The file names no matrix that is known here; `matrix` is what players assume for its size."""
    unknown_matrix: int | None = None
    """The matrix that the file names, where it is not known here."""
    mastering: Mastering | None = None
    light: Light | None = None

    @property
    def hdr(self) -> str | None:
        """PQ or HLG, when the transfer curve is one of high dynamic range."""
        return {16: "PQ", 18: "HLG"}.get(self.transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream of a file."""

    index: int
    kind: str
    """video, audio, subtitle, data, attachment or cover."""
    codec: str
    language: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.codec, self.language) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a file says of its video; width and height are those of the upright picture."""

    path: Path
    container: str
    codec: str
    width: int
    height: int
    rate: Fraction | None
    """Nominal frames per second; None: not said."""
    duration: Fraction | None
    """Seconds, as declared: never trusted to end a loop."""
    frames_declared: int | None
    time_base: Fraction
    """Every frame time is a whole multiple of it."""
    origin: Fraction = Fraction(0)
    """Time of the file at which our time 0 stands; other streams are moved by it too."""
    first: Fraction = Fraction(0)
    """Our time of the first frame: not 0 where another stream starts earlier."""
    is_constant_rate: bool = True
    """As the container declares it."""
    rotation: int = 0
    """Degrees counter-clockwise by which stored pixels are turned to stand upright."""
    is_mirrored: bool = False
    sample_aspect: Fraction = Fraction(1)
    """Width of one upright pixel by its height."""
    pixel_format: str = "rgb24"
    bit_depth: int = 8
    has_alpha: bool = False
    is_interlaced: bool = False
    colour: Colour = Colour()
    streams: tuple[StreamInfo, ...] = ()

    @property
    def period(self) -> Fraction:
        """Seconds between frames at the nominal rate; 1/25 where none is said."""
        return 1 / self.rate if self.rate else Fraction(1, 25)


class Notes:
    """What was kept, dropped, guessed and repaired, for the closing report. Threads may write at once.

    A fact is said; what the user may miss in the result (dropped, guessed, damaged) is a warning, and so is every
    count. With `--strict` a warning makes the exit code 5.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._said: dict[str, None] = {}
        self._warned: dict[str, None] = {}
        self._lock = threading.Lock()

    def count(self, what: str, times: int = 1) -> None:
        """Count something repaired or lost; `what` reads well after a number: "corrupt packets skipped"."""
        with self._lock:
            self._counts[what] += times

    def warn(self, what: str) -> None:
        """State once what the user may miss in the result."""
        with self._lock:
            self._warned[what] = None

    def say(self, what: str) -> None:
        """State a fact once."""
        with self._lock:
            self._said[what] = None

    def __getitem__(self, what: str) -> int:
        """How often `what` was counted."""
        return self._counts[what]

    @property
    def total(self) -> int:
        """Everything that was counted."""
        with self._lock:
            return self._counts.total()

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything noted, facts first, one phrase each."""
        with self._lock:
            return (*self._said, *self._warnings())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings and counts, one phrase each."""
        with self._lock:
            return self._warnings()

    def _warnings(self) -> tuple[str, ...]:
        return (*self._warned, *(_counted(number, what) for what, number in self._counts.items() if number))


def _counted(number: int, what: str) -> str:
    """Say "1 corrupt packet skipped" where it is but one."""
    return f"{number:,} {what}" if number != 1 else f"1 {_PLURAL.sub(_SINGULAR, what, count=1)}"


_PLURAL = re.compile(r"\b(frame|packet|picture|line|stamp)s\b")
_SINGULAR = r"\1"
