"""The encoder: exact times, colours that do not shift, sound packet by packet, and whole files only."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.packet import Packet

from films import film, packets, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig
from stinet.errors import OutputError
from stinet.video.frame import Colour, Frame, Notes
from stinet.video.lock import OutputLock
from stinet.video.mux import _Others  # pyright: ignore[reportPrivateUsage]
from stinet.video.read import probe, read_frames
from stinet.video.write import Writer

FAST = EncodeConfig(preset="ultrafast", crf=4)


def copy(source: Path, target: Path, **options: object) -> Notes:
    """Read a film and write it again."""
    info, notes = probe(source), Notes()
    writer = Writer(
        target,
        size=(info.width, info.height),
        time_base=info.time_base,
        rate=1 / info.period,
        source=info,
        encode=FAST,
        notes=notes,
        **options,  # pyright: ignore[reportArgumentType]
    )
    with writer:
        for frame in read_frames(source, info=info):
            writer.write(frame)
    return notes


def break_off(out: Writer) -> None:
    """Write a frame, then fail."""
    out.write(Frame(rgb=pictures(1)[0], time=Fraction(0)))
    raise KeyError


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_times_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(1001 * k, 60000) for k in (0, 1, 2, 5, 6, 40)]
    with Writer(
        tmp_path / f"a{suffix}", size=(64, 48), time_base=Fraction(1, 60000), rate=Fraction(60), encode=FAST
    ) as out:
        for time, rgb in zip(times, pictures(6), strict=True):
            out.write(Frame(rgb=rgb, time=time))
    assert [frame.time for frame in read_frames(tmp_path / f"a{suffix}")] == times


def test_matroska_times_are_true_to_a_millisecond_and_that_is_said(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(9), rate=Fraction(30000, 1001))
    notes = copy(source, tmp_path / "b.mkv")
    pairs = zip(read_frames(source), read_frames(tmp_path / "b.mkv"), strict=True)
    assert max(abs(a.time - b.time) for a, b in pairs) <= Fraction(1, 2000)
    assert any("milliseconds" in line for line in notes.lines)


def test_the_last_frame_lasts_as_long_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with Writer(path, size=(64, 48), time_base=Fraction(1, 50), rate=Fraction(25), encode=FAST) as out:
        for k, rgb in enumerate(pictures(3)):
            out.write(Frame(rgb=rgb, time=Fraction(k, 25), duration=Fraction(1, 2) if k == 2 else None))
    assert probe(path).duration == Fraction(2, 25) + Fraction(1, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_copied_sound_is_the_same_packet_by_packet(tmp_path: Path, suffix: str) -> None:
    source = film(tmp_path / "a.mp4", pictures(40), sound_s=1.6)
    copy(source, tmp_path / f"b{suffix}")
    before, after = packets(source), packets(tmp_path / f"b{suffix}")
    assert [data for _, data in after] == [data for _, data in before]
    first = (before[0][0], after[0][0])  # Matroska has no negative times and moves picture and sound together
    moved = [(b - first[1]) - (a - first[0]) for (a, _), (b, _) in zip(before, after, strict=True)]
    assert max(abs(m) for m in moved) <= Fraction(1, 1000)


def test_the_offset_of_late_sound_is_kept(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mov", pictures(40), sound_s=1, sound="pcm_s16le", sound_start_s=0.5)
    copy(source, tmp_path / "b.mov")
    assert abs(packets(tmp_path / "b.mov")[0][0] - Fraction(1, 2)) < Fraction(1, 1000)
    assert next(read_frames(tmp_path / "b.mov")).time == 0


def test_a_film_whose_times_start_late_keeps_its_offset_to_the_sound(tmp_path: Path) -> None:
    late = [1 + Fraction(k, 25) for k in range(20)]
    tick = Fraction(1, 600)
    source = film(
        tmp_path / "a.mov", pictures(20), times=late, time_base=tick, sound_s=1, sound="pcm_s16le", sound_start_s=0.7
    )
    copy(source, tmp_path / "b.mov")
    assert abs(packets(tmp_path / "b.mov")[0][0]) < Fraction(1, 600)
    assert abs(next(read_frames(tmp_path / "b.mov")).time - Fraction(3, 10)) < Fraction(1, 600)


def test_sound_that_the_container_refuses_is_encoded_as_aac_and_said(tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi", pictures(25), sound_s=1, sound="pcm_mulaw")
    notes = copy(source, tmp_path / "b.mp4")
    assert any(line.startswith("audio pcm_mulaw encoded as AAC") for line in notes.lines)
    assert [s.codec for s in probe(tmp_path / "b.mp4").streams if s.kind == "audio"] == ["aac"]
    assert abs(float(packets(tmp_path / "b.mp4")[-1][0]) - 1) < 0.15


def test_sound_is_cut_with_the_picture(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(50), sound_s=2)
    copy(source, tmp_path / "b.mp4", seconds=Fraction(1, 2))
    assert 0.35 < packets(tmp_path / "b.mp4")[-1][0] < 0.5


def test_of_sound_that_is_cut_the_rest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[float] = []
    demux = _Others._demux  # pyright: ignore[reportPrivateUsage]

    def watched(self: _Others) -> Iterator[Packet]:
        for packet in demux(self):
            read.append(float((packet.pts or 0) * packet.time_base))
            yield packet

    monkeypatch.setattr(_Others, "_demux", watched)
    source = film(tmp_path / "a.mp4", pictures(12), sound_s=4)
    copy(source, tmp_path / "b.mp4", seconds=Fraction(1, 2))
    assert 0.5 <= max(read) < 0.7


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("is_full_range", [False, True])
def test_colours_survive_reading_and_writing(tmp_path: Path, *, matrix: int, is_full_range: bool) -> None:
    info = probe(film(tmp_path / "a.mp4", pictures(1)))
    source = type(info)(**{
        **{name: getattr(info, name) for name in info.__slots__},
        "colour": Colour(matrix=matrix, is_full_range=is_full_range),
    })  # fmt: skip
    colours = [(200, 40, 90), (20, 180, 60), (128, 128, 128), (10, 30, 220)]
    with Writer(
        tmp_path / "b.mp4", size=(64, 48), time_base=Fraction(1, 25), rate=Fraction(25), source=source, encode=FAST
    ) as out:
        for k, colour in enumerate(colours):
            out.write(Frame(rgb=np.full((48, 64, 3), colour, np.uint8), time=Fraction(k, 25)))
    written = probe(tmp_path / "b.mp4").colour
    assert (written.matrix, written.is_full_range, written.is_guessed) == (matrix, is_full_range, False)
    for frame, colour in zip(read_frames(tmp_path / "b.mp4"), colours, strict=True):
        assert np.abs(frame.rgb.reshape(-1, 3).mean(0) - colour).max() < 2.5


def test_the_shape_of_a_pixel_is_kept(tmp_path: Path) -> None:
    source = film(
        tmp_path / "a.mp4",
        pictures(2),
        prepare=lambda s: setattr(s.codec_context, "sample_aspect_ratio", Fraction(16, 15)),
    )
    copy(source, tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4").sample_aspect == Fraction(16, 15)


def test_an_odd_side_is_kept_at_full_colour_and_said(tmp_path: Path) -> None:
    notes = Notes()
    rgb = pictures(1, 63, 47)[0]
    with Writer(
        tmp_path / "a.mp4", size=(63, 47), time_base=Fraction(1), rate=Fraction(1), encode=FAST, notes=notes
    ) as out:
        out.write(Frame(rgb=rgb, time=Fraction(0)))
    assert (probe(tmp_path / "a.mp4").width, probe(tmp_path / "a.mp4").pixel_format) == (63, "yuv444p")
    assert any("odd side" in line for line in notes.lines)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        Writer(tmp_path / "a.mp4", size=(64, 48), time_base=Fraction(1), rate=Fraction(1)) as out,
    ):
        break_off(out)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.mp4", size=(64, 48), time_base=Fraction(1), rate=Fraction(1)) as out:
        out.write(Frame(rgb=pictures(1)[0], time=Fraction(0)))
        assert [path.name for path in tmp_path.iterdir()] == [".a.mp4.coded.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4, \.m4v, \.mov, \.mkv"):
        Writer(tmp_path / "a.xyz", size=(64, 48), time_base=Fraction(1), rate=Fraction(1))


def test_a_size_beyond_the_encoder_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="20000x48 is a size that libx264 refuses"):
        Writer(
            tmp_path / "a.mp4",
            size=(20_000, 48),
            time_base=Fraction(1),
            rate=Fraction(1),
            encode=EncodeConfig(codec="h264"),
        )


def test_a_second_run_on_one_output_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with (
        OutputLock(tmp_path / "a.mp4"),
        pytest.raises(OutputError, match="another run"),
        OutputLock(tmp_path / "a.mp4"),
    ):
        pass
    with OutputLock(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_subtitles_are_kept_by_matroska_and_converted_for_mp4_which_is_said(tmp_path: Path) -> None:
    import av

    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nhello\n")
    movie = film(tmp_path / "m.mkv", pictures(25))
    with av.open(str(tmp_path / "a.mkv"), "w") as out, av.open(str(movie)) as m, av.open(str(tmp_path / "s.srt")) as s:
        targets = [out.add_stream_from_template(f.streams[0]) for f in (m, s)]
        for source, target in zip((m, s), targets, strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
    assert "subtitle srt copied" in copy(tmp_path / "a.mkv", tmp_path / "b.mkv").lines
    assert "subtitle" in {stream.kind for stream in probe(tmp_path / "b.mkv").streams}
    assert "subtitle srt encoded as mov_text" in copy(tmp_path / "a.mkv", tmp_path / "b.mp4").lines
