"""Times out of stamps that lack, go back or jump; parts of films; damage at its true length."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bad_files import animated  # pyright: ignore[reportMissingImports]
from films import film, pictures, without_rate  # pyright: ignore[reportMissingImports]
from stinet.config import ReadConfig
from stinet.errors import InputError
from stinet.video.clock import timed
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.read import part_time_base, probe, read_frames


def info(container: str = "matroska,webm", duration: Fraction | None = None) -> VideoInfo:
    return VideoInfo(
        path=Path("a"), container=container, codec="h264", width=8, height=8, rate=Fraction(25), duration=duration,
        frames_declared=None, time_base=Fraction(1, 100),
    )  # fmt: skip


def times(stamps: Sequence[int | None], of: VideoInfo | None = None, notes: Notes | None = None) -> list[int]:
    """Stamps and times in hundredths of a second."""
    things = ((k, None if stamp is None else Fraction(stamp, 100)) for k, stamp in enumerate(stamps))
    return [int(100 * time) for _, time, _ in timed(things, of or info(), notes or Notes())]


@pytest.mark.bad_input(8, 9)
@pytest.mark.parametrize(
    ("stamps", "wanted", "counted"),
    [
        ([0, 4, 9, 10, 50], [0, 4, 9, 10, 50], ""),
        ([0, 4, 2, 12, 16], [0, 4, 8, 12, 16], "backward"),
        ([0, 4, 4, 7, 11], [0, 4, 6, 7, 11], "backward"),
        ([None, None, None], [0, 4, 8], "without"),
        ([0, None, 8, 12], [0, 4, 8, 12], "without"),
        ([0, 4, 9999, 12, 16], [0, 4, 8, 12, 16], "wild"),
        ([0, 4, 300, 304], [0, 4, 300, 304], ""),
    ],
)
def test_stamps_become_rising_times_and_every_repair_is_counted(
    stamps: list[int | None], wanted: list[int], counted: str
) -> None:
    notes = Notes()
    assert times(stamps, notes=notes) == wanted
    assert [line for line in notes.warnings if counted and counted in line] == list(notes.warnings)


@pytest.mark.bad_input(8)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("encoder", "count"), [("libx264", 3), ("libx264", 12), ("libx265", 3)])
def test_pictures_that_the_decoder_holds_until_the_end_keep_their_own_times(
    tmp_path: Path, suffix: str, encoder: str, count: int
) -> None:
    sent = [Fraction(k * k, 25) for k in range(count)]  # B-frames: the last ones come out when there is no packet left
    path, options = tmp_path / f"a{suffix}", {"preset": "medium", "bf": "3"}
    if encoder == "libx265":
        options["x265-params"] = "log-level=none:pools=1"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 25)
        stream.codec_context.time_base = Fraction(1, 25)
        for rgb, time in zip(pictures(count), sent, strict=True):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts, picture.time_base = int(time * 25), Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    notes = Notes()
    assert [frame.time for frame in read_frames(path, notes=notes)] == sent
    assert not any("time stamp" in line for line in notes.warnings)


@pytest.mark.bad_input(9)
def test_a_clock_that_starts_again_goes_on_where_it_may_and_a_lone_stamp_does_not_move_it() -> None:
    notes = Notes()
    assert times([500, 504, 0, 4, 9], info("mpegts"), notes) == [500, 504, 508, 512, 517]
    assert notes["jumps of the file's clock, closed"] == 1
    assert times([500, 504, 0, 512, 516], info("mpegts")) == [500, 504, 508, 512, 516]
    assert times([500, 504, 9000, 9004], info("mpegts")) == [500, 504, 508, 512]
    assert times([500, 504, 1200, 1204], info("mpegts")) == [500, 504, 1200, 1204], "a gap of 7 s may be one"
    assert times([500, 504, 9000, 9004]) == [500, 504, 9000, 9004]


@pytest.mark.bad_input(9)
def test_stamps_hours_behind_the_film_do_not_make_it_hours_long() -> None:
    late = [0, 4, 900_000, 900_004, 16]
    assert times(late, info(duration=Fraction(1, 5))) == [0, 4, 8, 12, 16]


@pytest.mark.bad_input(9)
def test_a_film_of_a_late_clock_begins_at_zero_and_keeps_its_distance_from_the_sound(tmp_path: Path) -> None:
    late = [Fraction(12) + Fraction(k, 25) for k in range(5)]
    path = film(
        tmp_path / "a.mkv", pictures(5), times=late, time_base=Fraction(1, 1000), sound_s=1, sound_start_s=11.5,
        sound="pcm_s16le",
    )  # fmt: skip
    notes = Notes()
    assert [frame.time for frame in read_frames(path, notes=notes)] == [
        Fraction(1, 2) + Fraction(k, 25) for k in range(5)
    ]
    assert "the file's clock starts at 11.500 s, moved to 0" in notes.lines
    assert "the picture starts 0.500 s after the sound, kept so" in notes.lines


@pytest.mark.bad_input(9)
def test_an_edit_list_leaves_its_frames_out_and_says_how_many(tmp_path: Path) -> None:
    made = film(tmp_path / "b.mp4", pictures(20), prepare=lambda s: setattr(s.codec_context, "gop_size", 5))
    path = tmp_path / "a.mp4"
    with av.open(str(made)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts = (packet.pts or 0) - 3 * (packet.duration or 0)  # the muxer hides what lies before 0
                packet.dts = (packet.dts or 0) - 3 * (packet.duration or 0)
                packet.stream = target
                out.mux(packet)
    notes = Notes()
    frames = list(read_frames(path, notes=notes))
    whole = list(read_frames(made))
    assert "3 stored frames lie outside the file's edit list and are not shown" in notes.lines
    assert len(frames) == 17
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, whole[20 - len(frames) :], strict=True))
    assert [frame.time for frame in frames] == [Fraction(k, 25) for k in range(len(frames))]


def long_film(path: Path, count: int = 40, gop: int = 8) -> Path:
    return film(path, pictures(count), prepare=lambda s: setattr(s.codec_context, "gop_size", gop))


@pytest.mark.bad_input(22)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.h264", "a.y4m"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(13, 25), Fraction(1, 3), Fraction(3, 2)])
def test_a_part_is_the_whole_film_cut(tmp_path: Path, name: str, start: Fraction) -> None:
    path = y4m(tmp_path / name, 40) if name == "a.y4m" else long_film(tmp_path / name)
    whole = list(read_frames(path))
    part = list(read_frames(path, config=ReadConfig(start=start, seconds=Fraction(1, 2))))
    wanted = [frame for frame in whole if start <= frame.time < start + Fraction(1, 2)]
    assert 1 < len(part) == len(wanted)
    assert [frame.time for frame in part] == [frame.time - start for frame in wanted]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(part, wanted, strict=True))


def y4m(path: Path, count: int, *, header: str = "") -> Path:
    data = b"YUV4MPEG2 W16 H8 F25:1 Ip A1:1 C420jpeg" + header.encode() + b"\n"
    for k in range(count):
        data += b"FRAME\n" + bytes([20 + 3 * k]) * 128 + bytes([128]) * 64
    path.write_bytes(data)
    return path


def test_times_of_a_part_are_whole_ticks_of_its_time_base() -> None:
    config = ReadConfig(start=Fraction(101, 100))
    tick = part_time_base(info(), config)
    assert ((Fraction(3, 2) - Fraction(101, 100)) / tick).denominator == 1
    odd = ReadConfig(start=Fraction(1, 3))
    assert part_time_base(info(), odd) == Fraction(1, 300)


@pytest.mark.bad_input(22)
def test_a_start_behind_the_film_names_where_it_ends(tmp_path: Path) -> None:
    path = long_film(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"nothing at 9 s; the last frame read is at 1\.560 s"):
        list(read_frames(path, config=ReadConfig(start=Fraction(9))))


def test_films_longer_or_larger_than_allowed_are_refused_with_the_numbers(tmp_path: Path) -> None:
    path = long_film(tmp_path / "a.mkv")
    with pytest.raises(InputError, match=r"1\.6 s of film, allowed are 1 s"):
        probe(path, ReadConfig(max_seconds=Fraction(1)))
    with pytest.raises(InputError, match="64x48 is 3,072 pixels, allowed are 3,000"):
        probe(path, ReadConfig(max_pixels=3000))
    assert len(list(read_frames(path, config=ReadConfig(max_seconds=Fraction(1), seconds=Fraction(1, 2))))) == 13


def test_a_film_that_hides_its_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = long_film(tmp_path / "a.h264")
    seen: list[Frame] = []
    with pytest.raises(InputError, match="longer than the 1 s allowed"):
        seen.extend(read_frames(path, config=ReadConfig(max_seconds=Fraction(1))))


@pytest.mark.bad_input(3)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_film_cut_off_tells_how_much_was_there(tmp_path: Path, name: str) -> None:
    noise = [np.random.default_rng(k).integers(0, 255, (48, 64, 3), np.uint8) for k in range(50)]
    path = film(tmp_path / "whole.mkv", noise)
    if name == "a.mp4":
        with av.open(str(path)) as source, av.open(str(tmp_path / name), "w", options={"movflags": "faststart"}) as out:
            target = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
    else:
        (tmp_path / name).write_bytes(path.read_bytes())
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 56 // 100])
    notes = Notes()
    frames = list(read_frames(path, notes=notes))
    assert 25 <= len(frames) <= 29
    span = frames[-1].time + Fraction(1, 25)
    assert f"decoded {float(span / 2):.0%} of the declared duration" in notes.warnings


@pytest.mark.bad_input(3, 22)
def test_a_whole_film_beside_longer_sound_is_not_called_cut_off(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", pictures(10), sound_s=3)
    notes = Notes()
    assert len(list(read_frames(path, notes=notes))) == 10
    assert not any("declared duration" in line for line in notes.lines)


@pytest.mark.bad_input(20)
@pytest.mark.parametrize("config", [ReadConfig(), ReadConfig(deinterlace="auto")])
def test_a_size_that_changes_is_scaled_to_the_first_and_warned(tmp_path: Path, config: ReadConfig) -> None:
    small, large = film(tmp_path / "a.h264", pictures(4)), film(tmp_path / "b.h264", pictures(6, 96, 64))
    path = tmp_path / "c.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    notes = Notes()
    frames = list(read_frames(path, notes=notes, config=config))
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 10
    assert "6 frames of another size scaled to 64x48" in notes.warnings


@pytest.mark.bad_input(21)
def test_the_gap_of_a_lost_packet_keeps_its_length_and_the_same_file_reads_the_same_twice(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", pictures(40), prepare=lambda s: setattr(s.codec_context, "gop_size", 10))
    with av.open(str(path)) as file:
        spots = [(p.pos or 0, p.size) for p in file.demux(video=0) if p.size][12:15]
    data = bytearray(path.read_bytes())
    for pos, size in spots:
        data[pos + 8 : pos + size] = b"\xff" * (size - 8)
    path.write_bytes(bytes(data))
    first, second = Notes(), Notes()
    frames, again = list(read_frames(path, notes=first)), list(read_frames(path, notes=second))
    assert {frame.time for frame in frames} <= {Fraction(k, 25) for k in range(40)}
    assert {Fraction(k, 25) for k in (*range(12), *range(20, 40))} <= {frame.time for frame in frames}
    assert len(frames) + first["corrupt packets skipped"] == 40
    assert first.warnings == second.warnings != ()
    assert all(a.time == b.time and np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, again, strict=True))


@pytest.mark.bad_input(17)
def test_the_asked_stream_is_read_and_a_wrong_one_named(tmp_path: Path) -> None:
    made = [film(tmp_path / f"{k}.mp4", pictures(2 + k)) for k in range(2)]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        sources = [av.open(str(file)) for file in made]
        targets = [out.add_stream_from_template(source.streams.video[0]) for source in sources]
        for source, target in zip(sources, targets, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
            source.close()
    notes = Notes()
    assert len(list(read_frames(path))) == 2
    assert len(list(read_frames(path, config=ReadConfig(stream=1), notes=notes))) == 3
    assert "stream 1 of 2 video streams used" in notes.lines
    with pytest.raises(InputError, match="stream 5 is no video stream; video streams are: 0, 1"):
        probe(path, ReadConfig(stream=5))


@pytest.mark.bad_input(8)
def test_a_film_that_states_no_rate_gets_that_of_its_usual_step_and_never_that_of_its_clock(tmp_path: Path) -> None:
    steps = [31, 52, 17, 33, 33, 49, 18, 33, 40, 26] * 5
    stamps = [Fraction(sum(steps[:k]), 1000) for k in range(len(steps))]
    stated = film(tmp_path / "a.mkv", pictures(len(stamps)), times=stamps, time_base=Fraction(1, 1000))
    bare = without_rate(stated, tmp_path / "b.mkv")
    with av.open(str(bare)) as file:
        assert file.streams.video[0].base_rate == 1000  # what FFmpeg says of it: the test is about this
    about = probe(bare)
    assert (about.rate, about.is_constant_rate) == (Fraction(1000, 33), False)
    assert [frame.time for frame in read_frames(bare)] == stamps


@pytest.mark.bad_input(16)
def test_a_gif_of_uneven_delays_has_the_rate_of_its_usual_one(tmp_path: Path) -> None:
    about = probe(animated(tmp_path / "a.gif", [100, 50, 200, 30, 70]))
    assert about.rate == 10  # and not the 100 ticks of its clock
    assert not about.is_constant_rate
