"""What `stinet info` says of a file: what it holds, what could be a problem, and what `stinet upscale` does about it.

Without a scan this is what the file declares. A scan decodes every frame: times as they are, cuts, pictures that are
shown again, damage. Loads no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from stinet.video.contents import chapters_in, tracks_in
from stinet.video.convert import name_of_matrix
from stinet.video.frame import VideoInfo
from stinet.video.streams import best_suffix, plan_streams

__all__ = ["Scan", "as_json", "lines", "problems", "scan"]

_WIDE_PX = 4096
"""From this width of the result on, H.264 is left for HEVC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What reading every frame has shown; times in seconds."""

    frames: int
    first: Fraction
    last: Fraction
    shortest: Fraction
    """Between two frames; so are the next two."""
    longest: Fraction
    usual: Fraction
    cuts: tuple[Fraction, ...]
    repeated: int
    """Frames whose picture was shown already just before."""
    found: tuple[str, ...]
    """Damage and repairs, one phrase each."""

    @property
    def is_constant(self) -> bool:
        """Every interval is the usual one, to a tenth of it (files that only keep milliseconds round)."""
        return self.longest - self.shortest <= self.usual / 10 or self.longest - self.shortest <= Fraction(1, 500)


def scan(path: Path) -> Scan:
    """Read every frame of a film.

    Raises:
        InputError, DecodeError: it cannot be read.

    """
    import numpy as np

    from stinet.errors import InputError
    from stinet.video.frame import Notes
    from stinet.video.scenes import mark_cuts
    from stinet.video.source import read_source

    notes, times, cuts, repeated, before = Notes(), [], [], 0, None
    for frame in mark_cuts(read_source(path, notes=notes, deep=False)):
        times.append(frame.time)
        if frame.begins_scene:
            cuts.append(frame.time)
        small = frame.rgb[::4, ::4].astype(np.int16)
        repeated += before is not None and before.shape == small.shape and bool(np.abs(small - before).mean() < 0.5)
        before = small
    if not times:
        raise InputError(f"{path}: no frame in it can be decoded")
    gaps = [later - earlier for earlier, later in pairwise(times)] or [Fraction(0)]
    return Scan(
        frames=len(times),
        first=times[0],
        last=times[-1],
        shortest=min(gaps),
        longest=max(gaps),
        usual=median(gaps),
        cuts=tuple(cuts),
        repeated=repeated,
        found=notes.lines,
    )


def lines(video: VideoInfo, seen: Scan | None = None) -> Iterator[str]:
    """A line for everything that a file says and that differs from the plain case."""
    yield f"{video.path}: {video.container}"
    rate = f"{float(video.rate):.6g} frames/s" if video.rate else "rate not said"
    declared = f", {video.frames_declared} frames" if video.frames_declared else ""
    length = f"{float(video.duration):.3f} s" if video.duration is not None else "length not said"
    yield f"  picture   {video.width}x{video.height}, {video.codec}, {video.pixel_format}, {video.bit_depth} bit"
    yield f"  time      {length}{declared}, {rate}{'' if video.is_constant_rate else ', variable'}"
    if video.origin or video.first:
        yield f"  starts    at {float(video.origin):.3f} s of the file; the picture {float(video.first):.4f} s later"
    if video.rotation or video.is_mirrored:
        turn = f"{video.rotation} degrees counter-clockwise" if video.rotation else ""
        yield f"  shown     turned {turn}{' and mirrored' if video.is_mirrored else ''}".rstrip()
    if video.sample_aspect != 1:
        yield f"  pixels    {video.sample_aspect.numerator}:{video.sample_aspect.denominator}, not square"
    yield f"  colour    {_colour(video)}"
    if video.colour.hdr:
        yield f"  range     HDR ({video.colour.hdr})"
        yield from _hdr(video)
    if video.has_alpha:
        yield "  alpha     has opacity"
    if video.is_interlaced:
        yield "  fields    interlaced"
    yield from _others(video)
    if seen is not None:
        yield from _seen(seen)
    for problem, remedy in problems(video, seen):
        yield f"  note      {problem}: {remedy}"


def problems(video: VideoInfo, seen: Scan | None = None) -> Iterator[tuple[str, str]]:
    """What is not plain in a file, and what `upscale` does about it."""
    yield from _problems_of_time(video, seen)
    yield from _problems_of_picture(video)
    films = [stream for stream in video.streams if stream.kind == "video"]
    if len(films) > 1:
        choices = ", ".join(str(stream.index) for stream in films)
        yield f"{len(films)} video streams ({choices})", "the first is taken; --stream N picks another"
    for note in seen.found if seen is not None else ():
        yield note, "as the reader found it; upscale counts the same in its report"


def _problems_of_time(video: VideoInfo, seen: Scan | None) -> Iterator[tuple[str, str]]:
    if not video.is_constant_rate or (seen is not None and not seen.is_constant):
        yield "variable frame rate", "every time is kept; --cfr makes the rate constant"
    if video.duration is None:
        yield "length not said", "read to its last frame; time left is not shown"
    if video.is_interlaced:
        yield "interlaced", "combs would be enlarged; give --deinterlace auto"
    if seen is not None and seen.repeated:
        yield f"{seen.repeated} repeated frames", "motion goes through them; --dedup off leaves them as they are"


def _problems_of_picture(video: VideoInfo) -> Iterator[tuple[str, str]]:
    colour = video.colour
    if colour.hdr:
        yield f"high dynamic range ({colour.hdr})", "kept in 10 bit with its tags; an 8-bit result is refused"
    if colour.is_guessed:
        named = colour.unknown_matrix
        what = "no colour matrix named" if named is None else f"colour matrix {name_of_matrix(named)} not known here"
        yield what, f"{_MATRICES.get(colour.matrix, colour.matrix)} is taken, as players do"
    if video.has_alpha:
        yield "opacity", "kept by --codec prores, vp9 or ffv1; others drop it and say so"
    if video.width * 4 >= _WIDE_PX:
        yield f"{video.width * 4}x{video.height * 4} at x4", "HEVC is taken instead of H.264; --size 2160p is smaller"


def as_json(video: VideoInfo, seen: Scan | None = None) -> dict[str, Any]:
    """Everything as JSON can hold it; times are seconds."""
    plain = _plain(video)
    plain["hdr"] = video.colour.hdr
    if _is_film(video):
        plain["streams"] = [_plain(track) for track in tracks_in(video.path)]
        plain["chapters"] = [_plain(chapter) for chapter in chapters_in(video.path)]
        plain["upscale"] = {
            "container": best_suffix(video),
            "streams": [_plain(plan) for plan in plan_streams(video, best_suffix(video))],
        }
    if seen is not None:
        plain["scan"] = {**_plain(seen), "is_constant": seen.is_constant}
    plain["problems"] = [{"what": what, "remedy": remedy} for what, remedy in problems(video, seen)]
    return plain


def _others(video: VideoInfo) -> Iterator[str]:
    """Streams and chapters, and what becomes of all but the picture."""
    if not _is_film(video):
        return
    for track in tracks_in(video.path):
        yield f"  stream {track.index}  {track}"
    chapters = chapters_in(video.path)
    for chapter in chapters:
        yield f"  chapter   {float(chapter.start):.3f} to {float(chapter.end):.3f} s {chapter.title}".rstrip()
    suffix = best_suffix(video)
    for plan in plan_streams(video, suffix):
        yield f"  upscale   {plan} to {suffix}"


def _is_film(video: VideoInfo) -> bool:
    return video.container not in ("image", "images") and video.path.is_file()


def _seen(seen: Scan) -> Iterator[str]:
    spacing = f"{float(seen.usual) * 1e3:.3f} ms"
    if not seen.is_constant:
        spacing += f" (from {float(seen.shortest) * 1e3:.3f} to {float(seen.longest) * 1e3:.3f})"
    yield (
        f"  decoded   {seen.frames:,} frames from {float(seen.first):.3f} to {float(seen.last):.3f} s, "
        f"{'constant' if seen.is_constant else 'variable'}, {spacing} apart"
    )
    shown = ", ".join(f"{float(time):.3f}" for time in seen.cuts[:12])
    more = f" and {len(seen.cuts) - 12} more" if len(seen.cuts) > 12 else ""
    yield f"  cuts      {len(seen.cuts)}{f' at {shown}{more} s' if seen.cuts else ''}"


_MATRICES = {0: "RGB", 1: "BT.709", 2: "not said", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}
_PRIMARIES = {1: "BT.709", 2: "not said", 5: "BT.601 (625)", 6: "BT.601 (525)", 9: "BT.2020", 12: "P3"}
_TRANSFERS = {1: "BT.709", 2: "not said", 6: "BT.601", 13: "sRGB", 14: "BT.2020", 16: "PQ", 18: "HLG"}


def _colour(video: VideoInfo) -> str:
    colour = video.colour
    words = (
        ("matrix", _MATRICES, colour.matrix),
        ("primaries", _PRIMARIES, colour.primaries),
        ("curve", _TRANSFERS, colour.transfer),
    )
    named = ", ".join(f"{name} {table.get(number, number)}" for name, table, number in words)
    return f"{named}{' (guessed)' if colour.is_guessed else ''}, {'full' if colour.is_full_range else 'limited'} range"


def _hdr(video: VideoInfo) -> Iterator[str]:
    if (mastering := video.colour.mastering) is not None:
        yield f"  mastered  {float(mastering.darkest):.4f} to {float(mastering.brightest):.0f} cd/m2"
    if (light := video.colour.light) is not None:
        yield f"  light     {light.max_content} cd/m2 at most, {light.max_average} in a frame's mean"


def _plain(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    def simple(part: Any) -> Any:
        if isinstance(part, Fraction):
            return float(part)
        if isinstance(part, dict):
            return {key: simple(inner) for key, inner in part.items()}
        if isinstance(part, list | tuple):
            return [simple(inner) for inner in part]
        return str(part) if isinstance(part, Path) else part

    return simple(asdict(value))
