"""A chosen encoder as a value: everything that decides about its bytes, JSON-able both ways for the journal."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.codec.hwaccel import HWAccel
from av.video.reformatter import ColorRange

from stinet.runtime import has_avx512
from stinet.video.frame import Colour, Light, Mastering

__all__ = ["HARDWARE", "EncoderChoice", "hardware_accelerator", "prepare_encoder", "steady_x264"]

HARDWARE = ("nvenc", "qsv", "amf", "videotoolbox", "vaapi")
"""Endings of the names of encoders that a graphics card runs, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """One encoder with everything that decides about its bytes."""

    encoder: str
    """FFmpeg's name: libx264."""
    family: str
    """h264, hevc, av1, vp9, prores or ffv1; what the encoder makes where it is another one."""
    pix_fmt: str
    bits: int
    """Of a sample in the file."""
    keeps_alpha: bool
    options: tuple[tuple[str, str], ...]
    """Complete, with quality, effort, threads and HDR data: nothing is added later."""
    container: str
    """FFmpeg's name: mp4, mov, matroska, webm."""
    colour: Colour
    """The tags that are written, and the matrix and range by which RGB becomes Y'CbCr."""
    size: tuple[int, int]
    """Width, height."""
    rate: Fraction
    """Nominal frames per second."""
    time_base: Fraction
    """Every time is written as a whole multiple of it."""
    sample_aspect: Fraction = Fraction(1)
    """Width of one pixel by its height."""

    @property
    def is_hardware(self) -> bool:
        """Whether a graphics card encodes."""
        return self.encoder.rpartition("_")[2] in HARDWARE

    def __str__(self) -> str:
        said = dict(self.options)
        quality = [f"{name} {said[name]}" for name in ("crf", "cq", "qp", "profile", "preset") if name in said]
        name = self.family if self.encoder == self.family else f"{self.family} ({self.encoder})"
        return ", ".join((name, *quality, self.pix_fmt))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the same choice back."""
        return {
            "encoder": self.encoder,
            "family": self.family,
            "pix_fmt": self.pix_fmt,
            "bits": self.bits,
            "keeps_alpha": self.keeps_alpha,
            "options": [list(option) for option in self.options],
            "container": self.container,
            "colour": _colour_to_json(self.colour),
            "size": list(self.size),
            "rate": str(self.rate),
            "time_base": str(self.time_base),
            "sample_aspect": str(self.sample_aspect),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "EncoderChoice":
        """The choice that `to_json` was of."""
        fractions = {name: Fraction(plain[name]) for name in ("rate", "time_base", "sample_aspect")}
        width, height = plain["size"]
        changed = {
            "options": tuple((str(key), str(value)) for key, value in plain["options"]),
            "colour": _colour_from_json(plain["colour"]),
            "size": (int(width), int(height)),
        }
        return cls(**{**plain, **fractions, **changed})


def _colour_to_json(colour: Colour) -> dict[str, Any]:
    plain: dict[str, Any] = {
        name: getattr(colour, name)
        for name in ("matrix", "primaries", "transfer", "is_full_range", "is_guessed", "unknown_matrix")
    }
    if colour.mastering is not None:
        points = {name: [str(value) for value in getattr(colour.mastering, name)] for name in _POINTS}
        ends = {name: str(getattr(colour.mastering, name)) for name in _ENDS}
        plain["mastering"] = points | ends
    if colour.light is not None:
        plain["light"] = [colour.light.max_content, colour.light.max_average]
    return plain


def _colour_from_json(plain: Mapping[str, Any]) -> Colour:
    values = dict(plain)
    if (mastering := values.get("mastering")) is not None:
        points = {name: (Fraction(mastering[name][0]), Fraction(mastering[name][1])) for name in _POINTS}
        darkest, brightest = (Fraction(mastering[name]) for name in _ENDS)
        values["mastering"] = Mastering(**points, darkest=darkest, brightest=brightest)
    if (light := values.get("light")) is not None:
        values["light"] = Light(max_content=light[0], max_average=light[1])
    return Colour(**values)


_POINTS, _ENDS = ("red", "green", "blue", "white"), ("darkest", "brightest")


def hardware_accelerator(encoder: str) -> HWAccel | None:
    """The device that pictures must be copied to first; only VA-API wants that."""
    return HWAccel("vaapi", allow_software_fallback=False) if encoder.endswith("_vaapi") else None


def steady_x264() -> dict[str, str]:
    """Parameters of x264 without which equal input may give differing bytes.

    Its AVX-512 code for macroblock trees reads past what it has written.
    """
    return {"asm": "AVX2"} if has_avx512() else {}


def prepare_encoder(context: Any, choice: EncoderChoice) -> None:
    """Tell an encoder that is not open yet the size, the times and the colour (its options are set apart)."""
    context.width, context.height = choice.size
    context.pix_fmt = choice.pix_fmt
    context.time_base = choice.time_base
    context.framerate = choice.rate
    context.sample_aspect_ratio = choice.sample_aspect
    colour = choice.colour
    context.colorspace, context.color_primaries, context.color_trc = colour.matrix, colour.primaries, colour.transfer
    context.color_range = ColorRange.JPEG if colour.is_full_range else ColorRange.MPEG
