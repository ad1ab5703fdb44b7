"""Which encoder writes the result, and with which settings: chosen and tried before the run.

    container (by suffix) -> family (h264, hevc, ...) -> FFmpeg's encoder -> pixel format -> complete options

What is chosen where nothing is asked
- .mp4 .m4v .mov .mkv: H.264 in 8 bit; HEVC in 10 bit for deeper or HDR sources, and HEVC for 4096 px or more on a side.
  .webm: VP9, and AV1 (10 bit) for deeper or HDR sources. Sources with alpha: ProRes 4444 in .mov, VP9 or (deep)
  ProRes 4444 in .mkv, VP9 in .webm; .mp4 drops it and says so. .y4m and `-`: raw frames, see `encode.PipeWriter`.
- 4:2:0 even where the source has more colour, because little else plays everywhere; that is said. An odd side becomes
  4:4:4 in H.264 and HEVC, whose 4:2:0 cannot hold it, and in ProRes, which spoils it. Else ProRes is 4:2:2, with alpha
  4:4:4. FFV1 is lossless and stores the RGB that was computed, 8 or 16 bit, so that no colour matrix rounds it.
- The source's matrix, primaries, transfer and range are kept and tagged; RGB sources become BT.709.

The choice is tried by encoding a few frames, so that a missing encoder, a size that it refuses or an unknown option
shows before the run. A large picture is tried as two strips, one of its width and one of its height: opening VP9 at
16K would take 7 GB.

Threads are numbers in the options, since they change the bytes of some encoders. A choice is a value: it goes into the
journal, and a resumed run takes it back instead of choosing anew. Hardware encoders promise no equal bytes.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat

from stinet.config import PIPE, EncodeConfig
from stinet.errors import OutputError, UsageError
from stinet.runtime import cores, quiet_encoders
from stinet.video.convert import SWSCALE_MATRIX
from stinet.video.encoder import HARDWARE, EncoderChoice, steady_x264
from stinet.video.frame import Colour, Mastering, Notes, VideoInfo
from stinet.video.trial import try_encoder

__all__ = [
    "CONTAINERS",
    "Y4M_COLOURS",
    "Container",
    "choose_encoder",
]


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file and the codecs that it takes."""

    name: str
    """FFmpeg's."""
    families: tuple[str, ...]
    """The first one is the default."""


CONTAINERS: Mapping[str, Container] = {
    ".mp4": Container("mp4", ("h264", "hevc", "av1", "vp9")),
    ".m4v": Container("mp4", ("h264", "hevc", "av1", "vp9")),
    ".mov": Container("mov", ("h264", "hevc", "prores")),
    ".mkv": Container("matroska", ("h264", "hevc", "av1", "vp9", "prores", "ffv1")),
    ".webm": Container("webm", ("vp9", "av1")),
    ".y4m": Container("yuv4mpegpipe", ("y4m",)),
}
"""By suffix; standard output (`-`) is as .y4m."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What is known of a codec and its software encoder."""

    encoder: str
    crf: int | None = None
    most_crf: int = 0
    preset: str | None = None
    presets: tuple[str, ...] = ()
    preset_key: str = "preset"
    parameters: str = ""
    """Name of the option that holds options of the library itself, as key=value:key=value."""


_X26_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip

_FAMILIES = {
    # of the four clips of Vid4 at CRF 16, "faster" made files as large and as true as "medium" in 63 % of the time
    "h264": _Family("libx264", 17, 51, "faster", _X26_PRESETS, parameters="x264-params"),
    "hevc": _Family("libx265", 18, 51, "medium", _X26_PRESETS, parameters="x265-params"),
    "av1": _Family("libsvtav1", 24, 63, "6", tuple(map(str, range(14))), parameters="svtav1-params"),
    "vp9": _Family("libvpx-vp9", 24, 63, "2", tuple(map(str, range(9))), preset_key="cpu-used"),
    "prores": _Family("prores_ks", presets=("proxy", "lt", "standard", "hq", "4444", "4444xq"), preset_key="profile"),
    "ffv1": _Family("ffv1"),
}

_LARGE_PX = 4_096
"""A side from which H.264 is no longer the default: its hardware decoders end there."""

_MOST_PX = 65_535
"""Longest side that the containers can name in 16 bits."""

_MAX_TICKS = 1 << 24
"""Finest time base that every container takes."""

_MAX_THREADS = 8

_LEVEL_PIXELS = {"h264": 8_192 * 4_352, "hevc": 8_192 * 4_352}
"""Largest picture of the highest common level (6.2): more is allowed to be written, and hardly plays."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the arguments of `choose_encoder` come to."""

    config: EncodeConfig
    path: Path
    container: Container
    size: tuple[int, int]
    bits: int
    hdr: str | None
    has_alpha: bool
    is_palette: bool
    colour: Colour

    @property
    def is_odd(self) -> bool:
        return bool(self.size[0] % 2 or self.size[1] % 2)

    @property
    def size_text(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"


def choose_encoder(
    config: EncodeConfig,
    path: Path,
    *,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    info: VideoInfo | None,
    notes: Notes,
) -> EncoderChoice:
    """Choose the encoder of `path` for pictures of `size` (width, height) and try it.

    `info` is the source: its depth, colour, alpha and pixel shape are kept where the codec can; None is 8-bit RGB.

    Raises:
        UsageError: settings that do not go together (codec and container, HDR and 8 bit, odd sizes and 4:2:0, an
            option that the encoder does not know).
        OutputError: an unknown suffix, a size beyond the encoder, or an encoder that does not work here.

    """
    quiet_encoders()
    wish = _wish(config, path, size, info)
    if max(size) > _MOST_PX:
        raise OutputError(
            f"{path}: {wish.size_text} is beyond the {_MOST_PX:,} px of every container; use a smaller size"
        )
    if max(time_base.denominator, time_base.numerator) > _MAX_TICKS:
        notes.say(f"times rounded to 1/90000 s (the source ticks in {time_base} s)")
        time_base = Fraction(1, 90_000)

    def choice_of(encoder: str, family: str) -> EncoderChoice:
        return _complete(wish, encoder, family, rate, time_base, info)

    if wish.container.name == "yuv4mpegpipe":
        _refuse_settings_of_encoders(wish)
        choice = choice_of("y4m", "y4m")
    else:
        encoder, family = _named_encoder(wish)
        choice = _working_hardware(wish, family, choice_of, notes) if config.hardware and encoder is None else None
        if choice is None:
            choice = choice_of(encoder or _FAMILIES[family].encoder, family)
            _try(wish, choice)
    _refuse_or_say(wish, choice, info, notes)
    return choice


def _wish(config: EncodeConfig, path: Path, size: tuple[int, int], info: VideoInfo | None) -> _Wish:
    suffix = ".y4m" if path == PIPE else path.suffix.lower()
    if suffix not in CONTAINERS:
        raise OutputError(
            f"{path}: unknown suffix {path.suffix!r}; known are {', '.join(CONTAINERS)}, "
            "or a name without suffix for a folder of PNG images"
        )
    colour = _target_colour(info)
    return _Wish(
        config=config,
        path=path,
        container=CONTAINERS[suffix],
        size=size,
        bits=8 if info is None else info.bit_depth,
        hdr=colour.hdr,
        has_alpha=info is not None and info.has_alpha,
        is_palette=info is not None and info.pixel_format == "pal8",
        colour=colour,
    )


def _refuse_settings_of_encoders(wish: _Wish) -> None:
    """Raw frames have no quality; their formats are those that a y4m header can name."""
    config = wish.config
    if config.codec != "auto":
        raise UsageError(f"{wish.path}: y4m holds raw frames, not {config.codec}; choose .mkv or .mp4 for a codec")
    given = [
        name for name in ("crf", "preset", "options", "hardware") if getattr(config, name) not in (None, (), False)
    ]
    if given:
        raise UsageError(f"{wish.path}: y4m holds raw frames and has no {' or '.join(given)}")
    if config.pix_fmt is not None and _plain_format(config.pix_fmt) not in Y4M_COLOURS:
        raise UsageError(f"{wish.path}: y4m has no pixel format {config.pix_fmt}; it has {', '.join(Y4M_COLOURS)}")


Y4M_COLOURS = {
    "yuv420p": "420mpeg2", "yuv422p": "422", "yuv444p": "444", "gray": "mono",
    **{f"yuv{a}p{b}le": f"{a}p{b}" for a in (420, 422, 444) for b in (10, 12, 14, 16)},
    **{f"gray{b}le": f"mono{b}" for b in (10, 12, 16)},
}  # fmt: skip
"""Pixel format -> its name in a y4m header, chroma placed as in MPEG-2."""


def _target_colour(info: VideoInfo | None) -> Colour:
    """The source's own matrix, range and tags; RGB gets a matrix, and names for what it does not say."""
    if info is None:
        return Colour(matrix=1, primaries=1, transfer=1)
    if info.colour.matrix == _CONSTANT_LUMINANCE:  # read and written by the formula of matrix 9
        return replace(info.colour, matrix=9)
    if info.colour.matrix in SWSCALE_MATRIX:
        return info.colour
    primaries = 1 if info.colour.primaries == _UNSAID else info.colour.primaries
    return replace(
        info.colour,
        matrix=9 if primaries == 9 else 1,
        primaries=primaries,
        transfer=13 if info.colour.transfer == _UNSAID else info.colour.transfer,
        is_full_range=False,
    )


_UNSAID, _CONSTANT_LUMINANCE = 2, 10


def _named_encoder(wish: _Wish) -> tuple[str | None, str]:
    """The encoder asked for by its own name (else None), and the family."""
    name = wish.config.codec
    name = {"h265": "hevc", "x264": "h264", "x265": "hevc", "h.264": "h264", "h.265": "hevc"}.get(name, name)
    if name == "auto":
        return None, _default_family(wish)
    family, encoder = name, None
    if name not in _FAMILIES:
        encoder = name
        try:
            family = av.Codec(name, "w").canonical_name
        except (UnknownCodecError, ValueError) as error:
            ending = name.rpartition("_")[2]
            near = difflib.get_close_matches(name, [*_FAMILIES, *av.codecs_available], n=1, cutoff=0.75)
            hint = f"; did you mean {near[0]}?" if near and ending not in HARDWARE else ""
            raise OutputError(
                f"{wish.path}: this build of FFmpeg has no encoder {name!r}{hint or _software_hint(name)}"
            ) from error
        if family not in _FAMILIES:
            raise UsageError(f"{name} makes {family}, which is not written here; choose {', '.join(_FAMILIES)}")
    if family not in wish.container.families:
        others = ", ".join(suffix for suffix, container in CONTAINERS.items() if family in container.families)
        raise UsageError(
            f"{wish.path}: {wish.path.suffix or 'y4m'} takes {', '.join(wish.container.families)}, not {family}; "
            f"for {family} use {others}"
        )
    return encoder, family


def _software_hint(encoder: str) -> str:
    """What to use instead of an encoder that does not work."""
    family = encoder.rpartition("_")[0]
    if encoder.rpartition("_")[2] not in HARDWARE or family not in _FAMILIES:
        return f"; choose {', '.join(_FAMILIES)}"
    return f"; use --codec {family}, which takes the software encoder {_FAMILIES[family].encoder}"


def _default_family(wish: _Wish) -> str:
    """By container, depth, size, and by what can hold the pixel format that was asked for."""
    families = wish.container.families
    preferred = [families[0]]
    bits = wish.bits if wish.config.pix_fmt is None else _format(wish.config.pix_fmt).components[0].bits
    if bits > 8 or max(wish.size) >= _LARGE_PX:
        preferred.insert(0, "hevc")
    if (bits > 8) and "webm" in wish.container.name:
        preferred.insert(0, "av1")
    if wish.has_alpha and not wish.is_palette and wish.config.pix_fmt is None and not wish.hdr:
        preferred = ["prores", "vp9", *preferred] if bits > 8 or "vp9" not in families else ["vp9", *preferred]
        if wish.container.name == "mp4":
            preferred = [family for family in preferred if family not in ("prores", "vp9")]
    allowed = [family for family in (*preferred, *families) if family in families]
    if wish.config.pix_fmt is None:
        return allowed[0]
    wanted = _plain_format(wish.config.pix_fmt)
    return next((family for family in allowed if wanted in _formats(_FAMILIES[family].encoder)), allowed[0])


def _format(name: str) -> VideoFormat:
    try:
        return VideoFormat(name)
    except ValueError as error:
        raise UsageError(f"pixel format {name!r} is unknown to FFmpeg; try yuv420p, yuv420p10le or yuv444p") from error


def _plain_format(name: str) -> str:
    """yuvj420p is yuv420p of full range."""
    return name.replace("yuvj", "yuv")


def _formats(encoder: str) -> tuple[str, ...]:
    """Pixel formats that an encoder says it takes; empty where it does not say."""
    try:
        return tuple(entry.name for entry in av.Codec(encoder, "w").video_formats or ())
    except (UnknownCodecError, ValueError):
        return ()


def _complete(
    wish: _Wish, encoder: str, family: str, rate: Fraction, time_base: Fraction, info: VideoInfo | None
) -> EncoderChoice:
    """A choice with its pixel format, colour tags and options."""
    pix_fmt = _pixel_format(wish, encoder, family)
    layout = _format(pix_fmt)
    colour = _written_colour(wish, family, layout)
    choice = EncoderChoice(
        encoder=encoder,
        family=family,
        pix_fmt=pix_fmt,
        bits=layout.components[0].bits,
        keeps_alpha=any(part.is_alpha for part in layout.components),
        options=(),
        container=wish.container.name,
        colour=colour,
        size=wish.size,
        rate=rate,
        time_base=time_base,
        sample_aspect=Fraction(1) if info is None else info.sample_aspect,
    )
    return replace(choice, options=tuple(_options(wish, choice).items()))


def _pixel_format(wish: _Wish, encoder: str, family: str) -> str:
    offered = _formats(encoder)
    if wish.config.pix_fmt is not None:
        asked = _plain_format(wish.config.pix_fmt)
        _format(asked)
        if offered and asked not in offered:
            raise UsageError(f"{encoder} does not take {asked}; it takes {', '.join(offered)}")
        if family == "prores" and "422" in asked and wish.size[0] % 2:  # it encodes, and its last column is wrong
            raise UsageError(f"{wish.size_text} has an odd width, which prores spoils in 4:2:2; use yuv444p10le")
        return asked
    full = "444" if wish.is_odd and family in ("h264", "hevc") else "420"
    deep = wish.bits > 8
    prores = "yuva444p10le" if wish.has_alpha else "yuv444p10le" if wish.is_odd else "yuv422p10le"
    deep_vp9 = ("yuv420p10le", "p010le") if deep else ()
    wanted = {
        "h264": (f"yuv{full}p10le", "p010le") if deep else (f"yuv{full}p", "nv12"),
        "hevc": (f"yuv{full}p10le", "p010le") if deep else (f"yuv{full}p", "nv12"),
        "av1": ("yuv420p10le", "p010le", "yuv420p", "nv12"),
        "vp9": (*(("yuva420p",) if wish.has_alpha else ()), *deep_vp9, "yuv420p", "nv12"),
        "prores": (prores, "p210le"),
        "ffv1": (("gbrap16le" if wish.has_alpha else "gbrp16le") if deep else "bgra" if wish.has_alpha else "bgr0",),
        "y4m": (f"yuv420p{next((n for n in (10, 12) if wish.bits <= n), 16)}le" if deep else "yuv420p",),
    }[family]  # fmt: skip
    shallow = (f"yuv{full}p", "nv12")  # of an encoder without 10 bit; said, and refused for HDR
    return next((name for name in (*wanted, *shallow) if name in offered), wanted[0])


def _written_colour(wish: _Wish, family: str, layout: VideoFormat) -> Colour:
    colour = wish.colour
    if family == "y4m":
        colour = replace(colour, mastering=None, light=None)
    asked = wish.config.range
    if wish.config.pix_fmt is not None and wish.config.pix_fmt.startswith("yuvj"):
        if asked == "limited":
            raise UsageError(
                f"{wish.config.pix_fmt} is of full range, not limited; use {_plain_format(wish.config.pix_fmt)}"
            )
        asked = "full"
    if layout.is_rgb or layout.name.startswith("gbr"):
        if asked == "limited":
            raise UsageError(
                f"RGB ({layout.name}) is always of full range; choose a yuv pixel format for limited range"
            )
        return replace(colour, matrix=0, is_full_range=True)
    if family == "prores":
        if asked == "full":
            raise UsageError("prores has no full range; choose limited or another codec")
        return replace(colour, is_full_range=False)
    return colour if asked == "source" else replace(colour, is_full_range=asked == "full")


def _options(wish: _Wish, choice: EncoderChoice) -> dict[str, str]:
    """Everything that the encoder is told; what the user gives comes last."""
    if choice.family == "y4m":
        return {}
    config = wish.config
    family = _FAMILIES[choice.family]
    own = dict(config.options)
    if choice.is_hardware:
        made = _hardware_options(choice, config)
    else:
        made = _quality(wish, choice, family) | _threads_and_form(choice)
    if own.keys() & {"b", "qp", "global_quality", "cqp"} and config.crf is None:
        made = {key: value for key, value in made.items() if key not in ("crf", "cq", "rc", "global_quality")}
    if family.parameters in own and family.parameters in made:
        own[family.parameters] = f"{made[family.parameters]}:{own[family.parameters]}"
    return made | own


def _quality(wish: _Wish, choice: EncoderChoice, family: _Family) -> dict[str, str]:
    config, name = wish.config, choice.family
    made: dict[str, str] = {}
    if config.crf is not None and family.crf is None:
        what = "is lossless" if name == "ffv1" else f"has its quality by --preset {', '.join(family.presets)}"
        raise UsageError(f"{name} takes no crf: it {what}")
    if family.crf is not None:
        crf = family.crf if config.crf is None else config.crf
        if crf > family.most_crf:
            raise UsageError(f"crf {crf} is beyond the {family.most_crf} of {name}")
        made["crf"] = str(crf)
    preset = family.preset if config.preset is None else config.preset
    is_known = choice.encoder == family.encoder
    if config.preset is not None and is_known and config.preset not in family.presets:
        known = f"choose {', '.join(family.presets)}" if family.presets else "it has none"
        raise UsageError(f"{name} has no preset {config.preset!r}; {known}")
    if name == "prores" and preset is None:
        preset = "4444" if "444" in choice.pix_fmt else "hq"
    if preset is not None:
        made[family.preset_key if is_known else "preset"] = preset
    return made


def _threads_and_form(choice: EncoderChoice) -> dict[str, str]:
    """Fixed threads, closed groups of pictures, and nothing in the bytes that changes from run to run."""
    threads = min(cores(), _MAX_THREADS)
    hdr = _hdr_parameters(choice)
    common = {"flags": "+bitexact+cgop"}
    if choice.encoder == "libx264":
        parameters = steady_x264() | hdr
        params = {"x264-params": _joined(parameters)} if parameters else {}
        return common | {"threads": str(threads)} | params
    if choice.encoder == "libx265":
        fixed = {"log-level": "none", "info": "0", "open-gop": "0", "pools": str(threads)}
        fixed["frame-threads"] = str(min(max(threads // 2, 1), 3))
        return common | {"x265-params": _joined(fixed | hdr)}
    if choice.encoder == "libsvtav1":
        return common | {"svtav1-params": _joined({"lp": str(min(threads, 6)), "irefresh-type": "2"} | hdr)}
    if choice.encoder == "libvpx-vp9":
        return common | {"b": "0", "deadline": "good", "row-mt": "1", "threads": str(threads)}
    if choice.encoder == "prores_ks":
        return common | {"vendor": "apl0", "threads": str(threads)}
    if choice.encoder == "ffv1":
        parts = {"slices": "4"} if min(choice.size) >= 64 else {}
        return common | {"level": "3", "coder": "1", "slicecrc": "1", "g": "1", "threads": str(threads)} | parts
    return common | {"threads": str(threads)}


def _joined(parameters: Mapping[str, str]) -> str:
    return ":".join(f"{key}={value}" for key, value in parameters.items())


def _hdr_parameters(choice: EncoderChoice) -> dict[str, str]:
    """Mastering display and light level in the encoder library's own words."""
    mastering, light = choice.colour.mastering, choice.colour.light
    names = {
        "libx264": ("mastering-display", "cll"),
        "libx265": ("master-display", "max-cll"),
        "libsvtav1": ("mastering-display", "content-light"),
    }
    if choice.encoder not in names or choice.bits == 8:
        return {}
    display, level = names[choice.encoder]
    made: dict[str, str] = {}
    if choice.encoder == "libx265" and choice.colour.hdr:
        made["repeat-headers"] = "1"
        if choice.colour.hdr == "PQ" and choice.pix_fmt == "yuv420p10le":
            made["hdr10-opt"] = "1"
    if mastering is not None:
        made[display] = _display_text(mastering, is_decimal=choice.encoder == "libsvtav1")
    if light is not None:
        made[level] = f"{light.max_content},{light.max_average}"
    return made


def _display_text(mastering: Mastering, *, is_decimal: bool) -> str:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min): decimal for SVT-AV1, in steps of 1/50000 and 1/10000 for the others."""

    def number(value: Fraction, steps: int) -> str:
        return f"{float(value):.6f}" if is_decimal else str(round(value * steps))

    points = {"G": mastering.green, "B": mastering.blue, "R": mastering.red, "WP": mastering.white}
    text = "".join(f"{name}({number(x, 50_000)},{number(y, 50_000)})" for name, (x, y) in points.items())
    return f"{text}L({number(mastering.brightest, 10_000)},{number(mastering.darkest, 10_000)})"


def _hardware_options(choice: EncoderChoice, config: EncodeConfig) -> dict[str, str]:
    """About the quality that the software encoder has by default."""
    family = _FAMILIES[choice.family]
    crf = (family.crf or 20) if config.crf is None else config.crf
    quality = str(crf)
    made = {
        "nvenc": {"rc": "vbr", "cq": quality, "b": "0"},
        "qsv": {"global_quality": quality},
        "amf": {"rc": "cqp", "qp_i": quality, "qp_p": quality},
        "videotoolbox": {"flags": "+qscale", "global_quality": str(118 * round(100 * (1 - crf / 63)))},
        "vaapi": {"rc_mode": "CQP", "global_quality": quality},
    }[choice.encoder.rpartition("_")[2]]
    return made | ({} if config.preset is None else {"preset": config.preset})


def _working_hardware(wish: _Wish, family: str, choice_of: Any, notes: Notes) -> EncoderChoice | None:
    """The first encoder of a graphics card that encodes a few frames; None: none does, which is said."""
    reasons = []
    for ending in HARDWARE:
        encoder = f"{family}_{ending}"
        if encoder not in av.codecs_available:
            continue
        try:
            choice = choice_of(encoder, family)
        except UsageError as error:
            reasons.append(str(error))
            continue
        if wish.hdr and choice.bits == 8 and wish.config.pix_fmt is None:
            reasons.append(f"{encoder}: 8 bit only")
            continue
        verdict = try_encoder(choice)
        if verdict.error is None and not verdict.unknown:
            notes.say(f"encoded by the graphics card ({encoder}); a resumed run may differ in its bytes")
            return choice
        reasons.append(f"{encoder}: {verdict.error or 'unknown option ' + verdict.unknown[0]}")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    notes.warn(f"no hardware encoder of {family} works here{why}; {_FAMILIES[family].encoder} is used")
    return None


def _try(wish: _Wish, choice: EncoderChoice) -> None:
    """Encode a few frames, and put into words what went wrong."""
    verdict = try_encoder(choice)
    if verdict.unknown:
        key = verdict.unknown[0]
        near = difflib.get_close_matches(key, _option_names(choice.encoder), n=1)
        raise UsageError(f"{choice.encoder} has no option {key!r}{f'; did you mean {near[0]}?' if near else ''}")
    if verdict.error is None:
        return
    without = replace(choice, options=tuple(_options(_without_options(wish), choice).items()))
    if wish.config.options and try_encoder(without).error is None:
        asked = " ".join(f"{key}={value}" for key, value in wish.config.options)
        raise UsageError(f"{choice.encoder} refuses the options {asked} ({verdict.error})")
    if wish.is_odd and try_encoder(replace(choice, size=_even(wish.size))).error is None:
        raise UsageError(
            f"{wish.size_text} has an odd side, which {choice.encoder} cannot store as {choice.pix_fmt}; "
            f"use --pix-fmt {_full_colour(choice)} or --size {'x'.join(map(str, _even(wish.size)))}"
        )
    if try_encoder(replace(choice, size=(256, 256))).error is None:
        takers = [name for name in wish.container.families if name != choice.family and _takes(wish, choice, name)]
        other = f"--codec {' or '.join(takers)}" if takers else "another container"
        raise OutputError(
            f"{wish.path}: {wish.size_text} is a size that {choice.encoder} refuses ({verdict.error}); "
            f"use {other} or another size"
        )
    raise OutputError(
        f"{wish.path}: encoder {choice.encoder} does not work here ({verdict.error}){_software_hint(choice.encoder)}"
    )


def _without_options(wish: _Wish) -> _Wish:
    """The wish without options of the user."""
    return replace(wish, config=replace(wish.config, options=()))


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return (max(size[0] // 2 * 2, 2), max(size[1] // 2 * 2, 2))


def _full_colour(choice: EncoderChoice) -> str:
    return "yuv444p10le" if choice.bits > 8 else "yuv444p"


def _takes(wish: _Wish, choice: EncoderChoice, family: str) -> bool:
    plain = replace(wish, config=EncodeConfig())
    other = _complete(plain, _FAMILIES[family].encoder, family, choice.rate, choice.time_base, None)
    return try_encoder(other).error is None


def _option_names(encoder: str) -> list[str]:
    known = av.Codec(encoder, "w").create().supported_options
    return [option.name for option in (*known.private, *known.generic)]


def _refuse_or_say(wish: _Wish, choice: EncoderChoice, info: VideoInfo | None, notes: Notes) -> None:
    """Refuse HDR in 8 bit; say what of the source the choice does not keep."""
    if wish.hdr and choice.bits == 8 and wish.config.pix_fmt is None:
        raise UsageError(
            f"{wish.path}: the source is HDR ({wish.hdr}) and {choice.encoder} writes 8 bit, which shows bands; "
            "use --codec hevc or av1, or ask for it by --pix-fmt yuv420p"
        )
    for what in (*_lost_samples(wish, choice), *_lost_labels(wish, choice)):
        notes.warn(what)
    if wish.has_alpha and not choice.keeps_alpha and wish.is_palette:
        notes.say(f"transparent places of the palette are filled: {choice.family} has no alpha")
    _say_shape(wish, choice, info, notes)


def _lost_samples(wish: _Wish, choice: EncoderChoice) -> Iterator[str]:
    if wish.bits > choice.bits:
        kept = " (--pix-fmt yuv420p12le keeps 12)" if choice.family == "hevc" and choice.bits == 10 else ""
        yield f"{wish.bits} bit become {choice.bits} bit{kept}"
    if wish.hdr and choice.bits == 8:
        yield f"HDR ({wish.hdr}) in 8 bit: bands may show"
    if wish.has_alpha and not choice.keeps_alpha and not wish.is_palette:
        yield f"alpha dropped: {choice.family} has none (prores in .mov, vp9 in .webm and ffv1 in .mkv keep it)"
    if wish.colour.is_full_range and not choice.colour.is_full_range and wish.config.range == "source":
        yield f"full range becomes limited: {choice.family} has no other"


def _lost_labels(wish: _Wish, choice: EncoderChoice) -> Iterator[str]:
    colour, aspect = wish.colour, choice.sample_aspect
    if (colour.mastering or colour.light) and not _hdr_parameters(choice):
        yield f"mastering display data dropped: {choice.encoder} does not store it"
    if wish.hdr and choice.family == "y4m":
        yield f"y4m names no colour space: what reads it must be told that it is HDR ({wish.hdr})"
    if aspect != 1 and _loses_pixel_shape(choice):
        yield (
            f"pixel shape {aspect.numerator}:{aspect.denominator} dropped: {choice.family} in {choice.container} has "
            "no place for it here; h264 or hevc keep it, and so does .mp4"
        )


def _loses_pixel_shape(choice: EncoderChoice) -> bool:
    """H.264 and HEVC hold it themselves; libav's Python binding cannot write it into Matroska's header."""
    return choice.container in ("matroska", "webm") and choice.family not in ("h264", "hevc")


def _say_shape(wish: _Wish, choice: EncoderChoice, info: VideoInfo | None, notes: Notes) -> None:
    layout = _format(choice.pix_fmt)
    if wish.is_odd and wish.config.pix_fmt is None and choice.family in ("h264", "hevc", "prores"):
        notes.say(f"{wish.size_text} has an odd side: colour kept at full size (4:4:4)")
    if info is not None and not wish.is_palette and wish.config.pix_fmt is None:
        source = _format(info.pixel_format)
        if _chroma(source) > _chroma(layout):
            notes.say(
                f"colour stored at {_CHROMA[_chroma(layout)]}, the source has {_CHROMA[_chroma(source)]}; "
                "--pix-fmt yuv444p or yuv422p (10le for 10 bit) keeps it where the codec can"
            )
    if choice.family == "h264" and choice.bits > 8:
        notes.say("H.264 in 10 bit plays in few places; hevc in more")
    if wish.size[0] * wish.size[1] > _LEVEL_PIXELS.get(choice.family, 1 << 62):
        notes.say(f"{wish.size_text} is beyond the highest level of {choice.family} (8192x4352): few players show it")


_CHROMA = {1: "4:2:0", 2: "4:2:2", 4: "4:4:4"}


def _chroma(layout: VideoFormat) -> int:
    """Colour samples in a square of four pixels: 4, 2 or 1; gray counts as 1."""
    if len(layout.components) < 3 or layout.name.startswith("gray"):
        return 1
    share = layout.chroma_width(4) * layout.chroma_height(4)
    return 4 if share >= 16 else 2 if share >= 8 else 1
