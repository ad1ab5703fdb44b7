"""The last step: exact times, every stream at its place, whole files only."""

import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from stinet.errors import OutputError
from stinet.video.frame import Colour, Notes
from stinet.video.mux import Muxed, mux
from stinet.video.read import probe
from stinet.video.streams import plan_streams
from whole_films import (  # pyright: ignore[reportMissingImports]
    Sound,
    Text,
    beeps,
    choice_of,
    opened,
    segments_of,
    shown,
    whole_film,
)

FORMAT = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def remake(source: Path, target: Path, *, stretch: Fraction = Fraction(1), **options: Any) -> tuple[Notes, Muxed]:
    """Mux a source's other streams with segments of 25 frames a second, one second long (times the stretch)."""
    info, notes = probe(source), Notes()
    is_webm = target.suffix == ".webm"
    encoder: dict[str, Any] = (
        {"encoder": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}} if is_webm else {}
    )
    choice = choice_of(FORMAT[target.suffix], time_base=Fraction(1, 90_000), **encoder)
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
    with opened(target) as file:
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


def joined(tmp_path: Path, suffix: str = ".mp4", count: int = 20, **options: Any) -> tuple[list[Any], Any]:
    """Segments of an even film."""
    choice = choice_of(FORMAT[suffix], **options)
    return segments_of(tmp_path / "parts", [Fraction(k, 25) for k in range(count)], choice)[0], choice


def test_the_first_picture_is_shown_at_0_though_decoding_begins_before(tmp_path: Path) -> None:
    segments, choice = joined(tmp_path)
    mux(tmp_path / "a.mp4", segments, choice, info=None, end=Fraction(4, 5), notes=Notes())
    with opened(tmp_path / "a.mp4") as file:
        stored = [(p.dts, p.pts) for p in file.demux(file.streams.video[0]) if p.size]
    assert stored[0][0] < 0 == stored[0][1]
    assert shown(tmp_path / "a.mp4")[0][0] == 0


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_matroska_rounds_each_time_by_itself_and_knows_the_rate(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(1001 * k, 30_000) for k in range(40)]
    options: dict[str, Any] = {"encoder": "libvpx-vp9", "options": {"cpu-used": "8"}} if suffix == ".webm" else {}
    choice = choice_of(FORMAT[suffix], rate=Fraction(30_000, 1001), time_base=Fraction(1, 30_000), **options)
    segments, sums = segments_of(tmp_path / "parts", times, choice, size=15)
    notes, target = Notes(), tmp_path / f"a{suffix}"
    mux(target, segments, choice, info=None, end=times[-1] + Fraction(1, 30), notes=notes)
    after = shown(target)
    assert [checksum for _, checksum in after] == sums
    assert max(abs(a - b) for (a, _), b in zip(after, times, strict=True)) <= Fraction(1, 2000)
    assert (notes.lines, notes.warnings) == (("times rounded to milliseconds (Matroska)",), ())
    with opened(target) as file:
        assert float(file.streams.video[0].average_rate or 0) == pytest.approx(30_000 / 1001, rel=1e-4)


def test_frames_too_close_for_milliseconds_are_a_warning(tmp_path: Path) -> None:
    choice = choice_of("matroska", rate=Fraction(240), time_base=Fraction(1, 240))
    segments, _ = segments_of(tmp_path / "parts", [Fraction(k, 240) for k in range(12)], choice)
    notes = Notes()
    mux(tmp_path / "a.mkv", segments, choice, info=None, end=Fraction(1, 20), notes=notes)
    assert notes.warnings == ("frames 4.2 ms apart rounded to milliseconds; .mp4 keeps their times",)


@pytest.mark.bad_input(12)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pixel_shape_colours_and_hdr_data_survive(tmp_path: Path, suffix: str) -> None:
    hdr = "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    options = {"x265-params": f"log-level=error:pools=1:frame-threads=1:open-gop=0:repeat-headers=1:{hdr}"}
    choice = choice_of(
        FORMAT[suffix], encoder="libx265", options=options, pix_fmt="yuv420p10le", sample_aspect=Fraction(16, 15)
    )
    choice = replace(choice, colour=Colour(matrix=9, primaries=9, transfer=16))
    segments, _ = segments_of(tmp_path / "parts", [Fraction(k, 25) for k in range(12)], choice)
    mux(tmp_path / f"a{suffix}", segments, choice, info=None, end=Fraction(12, 25), notes=Notes())
    with opened(tmp_path / f"a{suffix}") as file, opened(segments[0].path) as segment:
        stream, frame = file.streams.video[0], next(file.decode(video=0))
        before = next(segment.decode(video=0))
        assert stream.sample_aspect_ratio == Fraction(16, 15)
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (9, 9, 16)
    for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        data = [bytes(side) for side in frame.side_data if side.type.name == kind]
        assert len(data) > 0
        assert data == [bytes(side) for side in before.side_data if side.type.name == kind]


def test_sound_and_picture_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", frames=100, sounds=[Sound(codec="flac", seconds=4)])
    info = probe(source)
    segments, choice = joined(tmp_path, ".mkv", 100)
    target = tmp_path / "b.mkv"
    mux(target, segments, choice, info=info, plan=plan_streams(info, ".mkv"), end=Fraction(4), notes=Notes())
    with opened(target) as file:
        order = [
            (p.stream_index, float((p.dts if p.dts is not None else p.pts) * p.time_base))
            for p in file.demux()
            if p.size
        ]
    latest = {0: 0.0, 1: 0.0}
    for index, time in order:
        latest[index] = time
        assert abs(latest[0] - latest[1]) < 0.3


@pytest.mark.bad_input(10, 18)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_a_transport_stream_keeps_its_place(tmp_path: Path, suffix: str) -> None:
    source = whole_film(
        tmp_path / "a.ts",
        first_s=Fraction(3),
        sounds=[Sound(start_s=2.9, beeps_s=(3.25, 3.75)), Sound(codec="ac3", start_s=3.1, beeps_s=(3.5,))],
    )
    assert probe(source).origin > 1
    notes, _ = remake(source, tmp_path / f"b{suffix}")
    assert not notes.warnings
    first = shown(tmp_path / f"b{suffix}")[0][0] - probe(source).first
    for track in (0, 1):
        pairs = zip(beeps(source, track), beeps(tmp_path / f"b{suffix}", track), strict=True)
        assert max(abs(b - first - (a - probe(source).origin)) for a, b in pairs) <= Fraction(1, 1000)


@pytest.mark.bad_input(18)
def test_a_stream_that_is_refused_after_all_is_named_and_the_film_is_there(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", sounds=[Sound()], texts=[Text()])
    info, notes = probe(source), Notes()
    segments, choice = joined(tmp_path)
    mux(
        tmp_path / "b.mp4",
        segments,
        choice,
        info=info,
        plan=plan_streams(info, ".mkv"),
        end=Fraction(4, 5),
        notes=notes,
    )
    assert [s.kind for s in probe(tmp_path / "b.mp4").streams] == ["video", "audio"]
    assert any(line.startswith("subtitle") and "dropped" in line for line in notes.warnings)


def broken_segments(folder: Path, segments: list[Any], how: str) -> list[Any]:
    """Segments that do not belong together."""
    if how == "missing":
        segments[1].path.unlink()
    elif how == "cut":
        data = segments[1].path.read_bytes()
        segments[1].path.write_bytes(data[: len(data) * 3 // 4])
    elif how == "other settings":
        other = choice_of(options={"preset": "medium", "x264-params": "open-gop=0:ref=1:bframes=0", "threads": "1"})
        segments[1] = segments_of(folder / "other", [Fraction(k, 25) for k in range(20)], other)[0][1]
    return segments


@pytest.mark.parametrize("how", ["missing", "cut", "other settings"])
def test_segments_that_do_not_belong_together_are_refused_and_nothing_is_left(tmp_path: Path, how: str) -> None:
    segments, choice = joined(tmp_path)
    segments = broken_segments(tmp_path, segments, how)
    with pytest.raises(OutputError, match="--restart"):
        mux(tmp_path / "out" / "a.mp4", segments, choice, info=None, end=Fraction(4, 5), notes=Notes())
    assert list((tmp_path / "out").iterdir()) == []


def test_no_frames_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame"):
        mux(tmp_path / "a.mp4", [], choice_of(), info=None, end=Fraction(1), notes=Notes())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_an_error_that_leaves_the_segments_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource")
    segments, choice = joined(tmp_path, suffix)
    before = [segment.path.read_bytes() for segment in segments]
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            mux(tmp_path / "out" / f"a{suffix}", segments, choice, info=None, end=Fraction(4, 5), notes=Notes())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "out").iterdir()) == []
    assert [segment.path.read_bytes() for segment in segments] == before
