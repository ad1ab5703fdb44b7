"""Options that several commands share, and how their text is read: durations, sizes in bytes, counts of pixels."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

import typer

from stinet.errors import UsageError

__all__ = [
    "Device",
    "Engine",
    "Model",
    "Precision",
    "byte_count",
    "chosen",
    "duration",
    "key_value",
    "pixel_count",
    "positive",
    "time",
    "words",
]

Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="where the model runs")]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="auto|torch|openvino|onnxruntime",
        help="what computes the network; auto: openvino on the CPU where it is installed, else torch",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|float32|bfloat16|int8",
        help="numbers that it computes with; int8: openvino; auto: the fastest here",
    ),
]
Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME|FILE", help="see `stinet models`")]

_CLOCK = re.compile(r"(?:(?:([0-9]+):)?([0-9]+):)?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)s?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def time(text: str) -> Fraction:
    """Seconds of 5, 5s, 2.5, 1:30 or 0:00:05.5; none are allowed."""
    found = _CLOCK.fullmatch(text.strip().lower())
    if found is None:
        seconds = _fraction(text)
        if seconds is None or seconds < 0:
            raise typer.BadParameter(f"{text!r} is no time: give seconds (5, 2.5s) or a clock (1:30, 0:00:05.5)")
        return seconds
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    if (found[2] and seconds >= 60) or (found[1] and minutes >= 60):
        raise typer.BadParameter(f"{text!r} has more than 59 minutes or seconds in one place")
    return (hours * 60 + minutes) * 60 + seconds


def duration(text: str) -> Fraction:
    """A time above 0."""
    seconds = time(text)
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no length: it must be above 0")
    return seconds


def positive(text: str) -> Fraction:
    """A number above 0: 24, 29.97, 30000/1001."""
    value = _fraction(text)
    if value is None or value <= 0:
        raise typer.BadParameter(f"{text!r} is no number above 0")
    return value


def byte_count(text: str) -> int:
    """Bytes of 800M, 4G, 1.5GiB: thousands are 1024."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None or not (count := int(Fraction(found[1]) * _UNITS[found[2]])):
        raise typer.BadParameter(f"{text!r} is no amount of memory: give 800M or 4G")
    return count


def pixel_count(text: str) -> int:
    """Pixels of 3840x2160, of 8294400, or of 8.3M."""
    said = text.strip().lower()
    if found := re.fullmatch(r"([0-9]+)x([0-9]+)", said):
        count = int(found[1]) * int(found[2])
    elif found := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([km]?)", said):
        count = int(Fraction(found[1]) * {"": 1, "k": 1000, "m": 1_000_000}[found[2]])
    else:
        count = 0
    if not count:
        raise typer.BadParameter(f"{text!r} is no number of pixels: give 3840x2160 or 8.3M")
    return count


def key_value(text: str) -> tuple[str, str]:
    """`key=value` as a pair.

    Raises:
        UsageError: there is no key, or no equals sign.

    """
    key, is_given, value = text.partition("=")
    if not is_given or not key.strip():
        raise UsageError(f"-e {text!r} is not of the form key=value")
    return key.strip(), value


def chosen(*words: str) -> Callable[[str], str]:
    """A reader of an option that allows only these words."""

    def check(text: str) -> str:
        if text not in words:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(words)}")
        return text

    return check


def _fraction(text: str) -> Fraction | None:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        return None


def words(text: str) -> tuple[str, ...]:
    """What stands between commas, without the spaces around it; nothing is no word."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
