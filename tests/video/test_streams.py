"""Everything beside the picture: where it stands in the result, and what is said of it before the run."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from test_mux import everything, remake  # pyright: ignore[reportMissingImports]

from stinet.video.frame import Notes
from stinet.video.read import probe
from stinet.video.streams import best_suffix, plan_streams
from stinet.video.tracks import Span, StreamPlan
from whole_films import Sound, Text, beeps, cover, opened, pitch_hz, shown, whole_film  # pyright: ignore[reportMissingImports]

MS = Fraction(1, 1000)
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")


def described(path: Path) -> list[tuple[str, str, str, int]]:
    """Kind, language, title and disposition of every stream that is no picture or chapter track."""
    with opened(path) as file:
        return [
            (
                s.type,
                s.metadata.get("language", ""),
                s.metadata.get("title") or s.metadata.get("name", ""),
                int(s.disposition),
            )
            for s in file.streams
            if s.type in ("audio", "subtitle")
        ]


def offsets(source: Path, target: Path, track: int = 0, *, zero: Fraction = Fraction(0)) -> list[Fraction]:
    """How much later each beep of the result is heard after its first picture than in the source."""
    before, after = beeps(source, track), beeps(target, track)
    first = shown(target)[0][0] - probe(source).first - probe(source).origin
    assert len(before) == len(after), (before, after)
    return [b - first - a - zero for a, b in zip(before, after, strict=True)]


@pytest.mark.bad_input(10)
@pytest.mark.parametrize("made", [".mkv", ".mp4"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "sound",
    [
        Sound(),
        Sound(start_s=0.317, beeps_s=(0.4, 0.9)),
        Sound(seconds=2.5, beeps_s=(0.25, 2.25)),
        Sound(seconds=0.4, beeps_s=(0.2,)),
        Sound(codec="flac", rate=44_100, start_s=0.123, beeps_s=(0.2, 0.7)),
    ],
    ids=["together", "late", "long", "short", "other rate"],
)
def test_sound_keeps_its_place_to_the_millisecond(tmp_path: Path, made: str, suffix: str, sound: Sound) -> None:
    source = whole_film(tmp_path / f"a{made}", sounds=[sound])
    remake(source, tmp_path / f"b{suffix}")
    assert max(abs(moved) for moved in offsets(source, tmp_path / f"b{suffix}")) <= MS


@pytest.mark.bad_input(10)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_before_a_late_picture_keeps_its_place(tmp_path: Path, suffix: str) -> None:
    source = whole_film(tmp_path / "a.mp4", first_s=Fraction(3, 10), sounds=[Sound(beeps_s=(0.1, 0.8))])
    assert probe(source).first == Fraction(3, 10)
    remake(source, tmp_path / f"b{suffix}")
    assert max(abs(moved) for moved in offsets(source, tmp_path / f"b{suffix}")) <= MS


@pytest.mark.bad_input(10)
def test_the_difference_of_the_lengths_is_told(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mov", sounds=[Sound(codec="pcm_s16le", seconds=1.25), Sound(codec="pcm_s16le")])
    _, done = remake(source, tmp_path / "b.mov")
    assert done.av_difference_ms == pytest.approx(-250, abs=0.01)
    _, done = remake(whole_film(tmp_path / "c.mp4"), tmp_path / "d.mp4")
    assert done.av_difference_ms is None


@pytest.mark.bad_input(18)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_languages_titles_and_marks_of_many_tracks_are_kept(tmp_path: Path, suffix: str) -> None:
    source = everything(tmp_path / "a.mkv")
    remake(source, tmp_path / f"b{suffix}")
    before, after = described(source), described(tmp_path / f"b{suffix}")
    assert [(kind, language, title) for kind, language, title, _ in after] == [stream[:3] for stream in before]
    assert all(new & old == old for (*_, old), (*_, new) in zip(before, after, strict=True))


@pytest.mark.bad_input(18)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_chapters_are_kept_with_their_names(tmp_path: Path, suffix: str) -> None:
    remake(everything(tmp_path / "a.mkv"), tmp_path / f"b{suffix}")
    with opened(tmp_path / f"b{suffix}") as file:
        found = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"]) for c in file.chapters()
        ]
    assert found == [(0, Fraction(2, 5), "one"), (Fraction(2, 5), 1, "two")]


@pytest.mark.bad_input(18)
def test_chapters_are_cut_moved_and_stretched_with_the_film(tmp_path: Path) -> None:
    source = everything(tmp_path / "a.mkv")
    remake(source, tmp_path / "b.mkv", stretch=Fraction(2), start=Fraction(1, 5), seconds=Fraction(2, 5))
    with opened(tmp_path / "b.mkv") as file:
        found = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in file.chapters()]
    assert found == [(0, Fraction(2, 5)), (Fraction(2, 5), Fraction(4, 5))]


@pytest.mark.bad_input(17)
@pytest.mark.parametrize("made", [".mkv", ".mp4"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_cover_comes_out_byte_by_byte(tmp_path: Path, made: str, suffix: str) -> None:
    remake(whole_film(tmp_path / f"a{made}", has_cover=True), tmp_path / f"b{suffix}")
    with opened(tmp_path / f"b{suffix}") as file:
        found = [s for s in file.streams.video if s.disposition & Disposition.attached_pic]
        assert [bytes(p) for p in file.demux(*found) if p.size] == [cover()]


@pytest.mark.bad_input(18)
def test_fonts_and_tags_are_kept_by_matroska_and_named_where_they_are_dropped(tmp_path: Path) -> None:
    source = everything(tmp_path / "a.mkv")
    remake(source, tmp_path / "b.mkv")
    with opened(tmp_path / "b.mkv") as file:
        fonts = [s for s in file.streams if s.type == "attachment"]
        assert [(s.name, s.mimetype, s.data) for s in fonts] == [("a font.ttf", "font/ttf", b"a font.ttf" * 100)]
        assert (file.metadata["title"], file.metadata["DIRECTOR"]) == ("A film", "Somebody")
    notes, _ = remake(source, tmp_path / "b.mp4")
    assert set(notes.warnings) == {
        "attachment a font.ttf dropped (MP4 does not take it; .mkv does)",
        "tags DIRECTOR dropped (MP4 has no place for them; .mkv has)",
    }


@pytest.mark.bad_input(18)
@pytest.mark.parametrize(
    ("made", "codec"), [(".mkv", "subrip"), (".mkv", "ass"), (".mp4", "mov_text"), (".mkv", "webvtt")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_subtitles_say_the_same_at_the_same_times(tmp_path: Path, made: str, codec: str, suffix: str) -> None:
    lines = ((0.1, 0.5, "Grüße"), (0.6, 0.9, "goodbye"))
    remake(whole_film(tmp_path / f"a{made}", texts=[Text(codec=codec, lines=lines)]), tmp_path / f"b{suffix}")
    assert [(round(a, 3), round(b, 3), words) for a, b, words in spoken(tmp_path / f"b{suffix}")] == list(lines)


def spoken(path: Path) -> list[tuple[float, float, str]]:
    """Begin, end and words of every subtitle."""
    found = []
    with opened(path) as file:
        for packet in file.demux(file.streams.subtitles[0]):
            for line in packet.decode() if packet.size else ():
                begin = float(packet.pts * packet.time_base)
                words = line.dialogue.decode()
                if words:
                    found.append((begin, begin + float(packet.duration * packet.time_base), words))
    return found


@pytest.mark.bad_input(18)
def test_bitmap_subtitles_are_copied_by_matroska_and_named_when_mp4_drops_them(tmp_path: Path) -> None:
    source = with_bitmaps(tmp_path / "a.mkv")
    remake(source, tmp_path / "b.mkv")
    assert [s.codec for s in probe(tmp_path / "b.mkv").streams if s.kind == "subtitle"] == ["pgssub"]
    notes, _ = remake(source, tmp_path / "b.mp4")
    assert any("subtitle pgssub" in line and "dropped" in line and ".mkv does" in line for line in notes.warnings)


def with_bitmaps(path: Path) -> Path:
    """A film with a track of Blu-ray subtitles, of which only the end of a picture is written."""
    plain = whole_film(path.with_name("plain.mkv"))
    with opened(plain) as film, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(film.streams.video[0], opaque=True)
        bitmaps = out.add_mux_stream("hdmv_pgs_subtitle")
        bitmaps.time_base = Fraction(1, 1000)
        for packet in film.demux():
            if packet.size:
                packet.stream = video
                out.mux(packet)
        packet = av.Packet(b"\x80\x00\x00")
        packet.stream, packet.pts, packet.dts, packet.time_base, packet.duration = (
            bitmaps,
            100,
            100,
            Fraction(1, 1000),
            500,
        )
        out.mux(packet)
    return path


@pytest.mark.bad_input(19)
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".webm", "opus")])
def test_sound_that_the_container_refuses_is_encoded_and_the_one_that_keeps_it_is_named(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    source = whole_film(tmp_path / "a.mov", sounds=[Sound(codec="pcm_mulaw", rate=8000)])
    plan = plan_streams(probe(source), suffix)
    assert [(p.action, p.why.partition("; ")[2]) for p in plan] == [("convert", ".mov does")]
    remake(source, tmp_path / f"b{suffix}")
    assert [s.codec for s in probe(tmp_path / f"b{suffix}").streams if s.kind == "audio"] == [codec]
    assert max(abs(moved) for moved in offsets(source, tmp_path / f"b{suffix}")) <= 3 * MS


@pytest.mark.bad_input(19)
def test_pcm_in_mp4_is_the_same_sample_by_sample(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mov", sounds=[Sound(codec="pcm_s16le")])
    remake(source, tmp_path / "b.mp4")
    assert samples(source) == samples(tmp_path / "b.mp4")


def samples(path: Path) -> bytes:
    """Decoded sound."""
    with opened(path) as file:
        return b"".join(frame.to_ndarray().tobytes() for frame in file.decode(file.streams.audio[0]))


@pytest.mark.parametrize("stretch", [Fraction(4), Fraction(3, 2), Fraction(1, 2)])
def test_slow_motion_stretches_sound_with_its_pitch_and_text_with_its_times(tmp_path: Path, stretch: Fraction) -> None:
    source = whole_film(
        tmp_path / "a.mkv",
        sounds=[Sound(beeps_s=(0.25, 0.75), pitch_hz=1000)],
        texts=[Text(lines=((0.1, 0.5, "slow"),))],
    )
    notes, done = remake(source, tmp_path / "b.mkv", stretch=stretch)
    heard = beeps(tmp_path / "b.mkv")
    assert [float(time) for time in (heard[0], heard[-1])] == pytest.approx(
        [0.25 * stretch, 0.75 * stretch], abs=0.04 * stretch
    )
    assert pitch_hz(tmp_path / "b.mkv", 0.25 * stretch, 0.3 * stretch) == pytest.approx(1000, rel=0.03)
    assert done.av_difference_ms is not None
    assert abs(done.av_difference_ms) < 60 * stretch
    assert spoken(tmp_path / "b.mkv") == [(pytest.approx(0.1 * stretch), pytest.approx(0.5 * stretch), "slow")]
    assert any("pitch kept" in line for line in notes.lines)


def test_slow_motion_without_sound_says_so(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", sounds=[Sound()])
    notes, _ = remake(source, tmp_path / "b.mkv", stretch=Fraction(2), slow_audio="drop")
    assert described(tmp_path / "b.mkv") == []
    assert "audio aac eng dropped (left out in slow motion as asked)" in notes.warnings


@pytest.mark.parametrize("codec", ["aac", "pcm_mulaw"])
def test_a_part_of_a_film_has_the_sound_and_text_of_that_part(tmp_path: Path, codec: str) -> None:
    is_mov = codec == "pcm_mulaw"
    lines = ((0.2, 0.8, "before"), (0.9, 1.3, "across"), (1.4, 1.5, "within"), (2.6, 2.9, "after"))
    source = whole_film(
        tmp_path / ("a.mov" if is_mov else "a.mkv"),
        frames=75,
        sounds=[Sound(codec=codec, rate=8000 if is_mov else 48_000, seconds=3, beeps_s=(0.25, 1.25, 2.75))],
        texts=[Text(codec="mov_text" if is_mov else "subrip", lines=lines)],
    )
    remake(source, tmp_path / "b.mp4", start=Fraction(1), seconds=Fraction(1))
    assert [float(time) for time in beeps(tmp_path / "b.mp4")] == pytest.approx([0.25], abs=0.003)
    assert [(round(a, 3), round(b, 3), words) for a, b, words in spoken(tmp_path / "b.mp4")] == [
        (0, 0.3, "across"),
        (0.4, 0.5, "within"),
    ]


def test_late_sound_that_is_encoded_ends_with_the_part(tmp_path: Path) -> None:
    sound = Sound(codec="pcm_mulaw", rate=8000, start_s=0.4, seconds=2.6, beeps_s=(0.5, 0.8, 1.5))
    source = whole_film(tmp_path / "a.mov", frames=75, sounds=[sound])
    _, done = remake(source, tmp_path / "b.mp4", seconds=Fraction(1))
    assert [float(time) for time in beeps(tmp_path / "b.mp4")] == pytest.approx([0.5, 0.8], abs=0.003)
    assert done.av_difference_ms == pytest.approx(0, abs=1)


@pytest.mark.bad_input(18)
def test_damaged_sound_is_counted_and_what_follows_stays_in_place(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", sounds=[Sound(codec="ac3", beeps_s=(0.25, 0.75))])
    data = bytearray(source.read_bytes())
    with opened(source) as file:
        broken = [bytes(p) for p in file.demux(file.streams.audio[0]) if p.size and 0.4 < p.pts * p.time_base < 0.6]
    for packet in broken:
        place = data.index(packet)
        data[place : place + len(packet)] = bytes(len(packet))
    (tmp_path / "b.mkv").write_bytes(data)
    notes, _ = remake(tmp_path / "b.mkv", tmp_path / "c.webm")
    assert notes["damaged audio packets replaced by silence"] == len(broken) > 0
    assert max(abs(moved) for moved in offsets(source, tmp_path / "c.webm")) <= MS


@pytest.mark.bad_input(18)
def test_a_source_that_breaks_off_ends_the_sound_there_and_is_no_error(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", sounds=[Sound()])
    (tmp_path / "b.mkv").write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    _, done = remake(tmp_path / "b.mkv", tmp_path / "c.mp4")
    assert done.av_difference_ms is not None
    assert done.av_difference_ms > 100


@pytest.mark.bad_input(17)
def test_another_video_stream_is_named_as_dropped(tmp_path: Path) -> None:
    source = whole_film(tmp_path / "a.mkv", films=2)
    for picture in (0, 1):
        plans = plan_streams(probe(source), ".mkv", picture=picture)
        assert [(p.index, p.action) for p in plans] == [(1 - picture, "drop")]
        assert "--stream" in plans[0].why


def test_the_best_suffix_is_the_sources_own_or_one_that_loses_nothing(tmp_path: Path) -> None:
    plain, rich = probe(whole_film(tmp_path / "a.mp4", sounds=[Sound()])), probe(everything(tmp_path / "b.mkv"))
    assert (best_suffix(plain), best_suffix(rich)) == (".mp4", ".mkv")
    (tmp_path / "a.avi").write_bytes((tmp_path / "a.mp4").read_bytes())
    (tmp_path / "b.ts").write_bytes((tmp_path / "b.mkv").read_bytes())
    assert best_suffix(replace(plain, path=tmp_path / "a.avi")) == ".mp4"
    assert best_suffix(replace(rich, path=tmp_path / "b.ts")) == ".mkv"


def test_planning_writes_nothing(tmp_path: Path) -> None:
    source = everything(tmp_path / "a.mkv")
    before = source.read_bytes()
    for suffix in SUFFIXES:
        assert plan_streams(probe(source), suffix)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
    assert source.read_bytes() == before


def test_what_is_planned_is_what_comes_out(tmp_path: Path) -> None:
    source = everything(tmp_path / "a.mkv")
    for suffix in SUFFIXES:
        plans = [p for p in plan_streams(probe(source), suffix) if p.index >= 0 and p.action != "drop"]
        remake(source, tmp_path / f"b{suffix}")
        found = [s.kind for s in probe(tmp_path / f"b{suffix}").streams if s.kind not in ("video", "data")]
        assert sorted(found) == sorted(p.label.split()[0] for p in plans)


def test_a_span_cuts_moves_and_stretches() -> None:
    span = Span(zero=Fraction(10), is_cut_before=True, seconds=Fraction(5), stretch=Fraction(2))
    assert span.cut(Fraction(9), Fraction(11)) == (0, 2)
    assert span.cut(Fraction(14), Fraction(16)) == (8, 10)
    assert (span.cut(Fraction(8), Fraction(10)), span.cut(Fraction(15), Fraction(16))) == (None, None)


def test_a_drop_is_a_warning_and_all_else_a_fact() -> None:
    notes, plan = Notes(), StreamPlan(index=1, label="audio aac eng", action="copy", to="aac")
    plan.note(notes)
    replace(plan, action="drop", to="", why="no room").note(notes)
    assert (notes.lines[0], notes.warnings) == ("audio aac eng copied", ("audio aac eng dropped (no room)",))
