"""The last step: exact times, every stream at its place, whole files only."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stinet.errors import OutputError
from stinet.video.frame import Notes, VideoInfo
from stinet.video.mux import Muxed, mux
from stinet.video.read import probe
from stinet.video.streams import plan_streams
from whole_films import (  # pyright: ignore[reportMissingImports]
    Sound,
    Text,
    beeps,
    choice_of,
    pitch_hz,
    segments_of,
    shown,
    whole_film,
)

FORMAT = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def remake(source: Path, target: Path, *, stretch: Fraction = Fraction(1), **options: Any) -> tuple[Notes, Muxed]:
    """Mux a source's other streams with segments of 25 frames a second, one second long (times the stretch)."""
    info, notes = probe(source), Notes()
    is_webm = target.suffix == ".webm"
    encoder: dict[str, Any] = {"encoder": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}} if is_webm else {}
    choice = choice_of(FORMAT[target.suffix], time_base=Fraction(1, 50), **encoder)
    length = options.get("seconds") or Fraction(1)
    times = [info.first + Fraction(k, 25) for k in range(round(25 * length * stretch))]
    segments, _ = segments_of(target.parent / f"{target.name}.parts", times, choice)
    plan = plan_streams(info, target.suffix, stretch=stretch, **options)
    end = times[-1] + Fraction(1, 25)
    options.pop("slow_audio", None)
    return notes, mux(target, segments, choice, info=info, plan=plan, end=end, stretch=stretch, notes=notes, **options)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_segments_join_to_the_same_pictures_at_exactly_their_times(tmp_path: Path, suffix: str, encoder: str) -> None:
    times = [Fraction(1001 * k, 60_000) for k in (0, 1, 2, 5, 6, 7, 8, 9, 14, 15, 40, 41, 42, 43, 45)]
    options = {"x265-params": "log-level=error:pools=1:frame-threads=1:open-gop=0"} if encoder == "libx265" else None
    choice = choice_of(
        FORMAT[suffix], rate=Fraction(60_000, 1001), time_base=Fraction(1, 60_000), encoder=encoder, options=options
    )
    segments, sums = segments_of(tmp_path / "parts", times, choice, size=6)
    assert max(segment.reorder for segment in segments) > 0
    target = tmp_path / f"a{suffix}"
    done = mux(target, segments, choice, info=None, end=times[-1] + Fraction(1, 3), notes=Notes())
    assert shown(target) == list(zip(times, sums, strict=True))
    with av.open(str(target)) as file:
        video = file.streams.video[0]
        assert (video.time_base, video.codec_context.codec_tag) == (
            Fraction(1, 60_000),
            "hvc1" if encoder == "libx265" else "avc1",
        )
        assert video.duration * video.time_base == times[-1] + Fraction(1, 3)
        stored = [(p.dts, p.pts, p.duration) for p in file.demux(video) if p.size]
    assert [dts for dts, _, _ in stored] == sorted({dts for dts, _, _ in stored})
    assert all(dts <= pts for dts, pts, _ in stored)
    assert done == Muxed(av_difference_ms=None, bytes=target.stat().st_size)


@pytest.mark.bad_input(10, 12, 17, 18)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_film_with_everything_comes_out_the_same_twice(tmp_path: Path, suffix: str) -> None:
    source = everything(tmp_path / "a.mkv")
    remake(source, tmp_path / f"b{suffix}")
    remake(source, tmp_path / f"c{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()


def everything(path: Path) -> Path:
    """Many tracks of everything."""
    return whole_film(
        path,
        sounds=[
            Sound(title="Main", disposition=1),
            Sound(codec="ac3", language="ger", beeps_s=(0.5,)),
            Sound(codec="flac", language="fre", title="Commentary", disposition=8),
        ],
        texts=[Text(disposition=64), Text(codec="ass", language="ger")],
        chapters=[(0, 0.4, "one"), (0.4, 1, "two")],
        fonts=["a font.ttf"],
        has_cover=True,
        tags={"title": "A film", "DIRECTOR": "Somebody"},
    )
