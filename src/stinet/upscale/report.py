"""What a run tells: how far it is, and in the end what it did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = ["Progress", "Summary", "bytes_text", "rate_text"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    frames_in: int
    frames_out: int
    frames_expected: int | None
    """Output frames that the file's declaration promises; None: it promises nothing."""
    seconds: float
    """Since the first frame was asked for."""
    frames_resumed: int = 0
    """Of the output frames, those that an earlier run has made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did."""

    source: Path
    output: Path
    frames_in: int
    frames_out: int
    held: int
    """Output frames that show a source frame again because there is nothing to interpolate with."""
    size: tuple[int, int]
    """Width, height."""
    rate: Fraction | None
    """Nominal frames per second; None: images."""
    seconds: float
    notes: tuple[str, ...]
    """Everything that was kept, dropped, guessed and repaired."""
    warnings: tuple[str, ...] = ()
    """Those of the notes that the user may miss in the result."""
    repaired: int = 0
    """Events that were counted: packets left out, frames of a wrong size, missing times and the like."""
    av_difference_ms: float | None = None
    """End of the picture minus end of the sound; None: no sound."""
    peak_memory_bytes: int = 0
    model: str = ""
    """Name and hash of what made the frames, its engine and precision."""
    resumed_segments: int = 0
    """Segments that an earlier run had finished."""

    @property
    def fps(self) -> float:
        """Output frames made per second of work."""
        return self.frames_out / max(self.seconds, 1e-9)

    def line(self) -> str:
        """The run in one line."""
        rate = "" if self.rate is None else f" at {rate_text(self.rate)} fps"
        held = f" ({self.held} held)" if self.held else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"{self.output}: {self.frames_in} frames in, {self.frames_out} out{held}, "
            f"{self.size[0]}x{self.size[1]}{rate}, "
            f"{self.seconds:.1f} s, {self.fps:.1f} frames/s{notes}"
        )

    def report(self) -> list[str]:
        """The closing report, a line for every fact."""
        count = self.resumed_segments
        resumed = f", {count:,} segment{'s' * (count != 1)} by an earlier run" if count else ""
        rate = "" if self.rate is None else f" at {rate_text(self.rate)} frames/s"
        rows = [
            (
                "frames",
                f"{self.frames_in:,} in, {self.frames_out:,} out, {self.held:,} held, {self.repaired:,} repaired",
            ),
            ("picture", f"{self.size[0]}x{self.size[1]}{rate}"),
            ("time", f"{self.seconds:.1f} s, {self.fps:.1f} frames/s{resumed}"),
            ("memory", f"{bytes_text(self.peak_memory_bytes)} at most"),
        ]
        if self.av_difference_ms is not None:
            longer, other = ("picture", "sound") if self.av_difference_ms >= 0 else ("sound", "picture")
            rows.append(("ends", f"the {longer} ends {abs(self.av_difference_ms):.1f} ms after the {other}"))
        if self.model:
            rows.append(("model", self.model))
        rows += [("warning" if note in self.warnings else "note", note) for note in self.notes]
        return [str(self.output), *(f"  {name:<8} {text}" for name, text in rows)]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold; `from_json` gives the same back."""
        plain = asdict(self)
        return plain | {
            "source": str(self.source),
            "output": str(self.output),
            "rate": None if self.rate is None else str(self.rate),
            "size": list(self.size),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Summary":
        """The summary that was made so."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        values |= {"source": Path(plain["source"]), "output": Path(plain["output"])}
        values["rate"] = None if plain["rate"] is None else Fraction(plain["rate"])
        return cls(**{name: value for name, value in values.items() if name in known})


def rate_text(rate: Fraction) -> str:
    """Frames per second as people write them: 29.97, 60."""
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")


def bytes_text(count: int | float) -> str:
    """A number of bytes in the unit that makes it short: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
