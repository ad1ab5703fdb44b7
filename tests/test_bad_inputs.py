"""Every row of docs/reliability.md from end to end: a difficult file goes in, what comes out is decoded and compared.

The clip function repeats pixels (`films.Repeat`), and most results are FFV1, which is lossless: every fourth pixel of
a result is the pixel of the source, bit for bit, so that frames are compared by checksum. Witnesses are PyAV alone
(`bad_files.truth`) and the arrays that a film was made of, not our reader.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from PIL import Image

import bad_files as bad
from commands import Stinet  # pyright: ignore[reportMissingImports]
from counted_film import counted_film, examine, run_measured
from films import Repeat, film, packets, pictures
from fuzzing import BAD, fuzz
from killing import Job, clip, kill_again
from stinet.config import EncodeConfig, ReadConfig, UpscaleConfig
from stinet.errors import InputError, OutputError, StinetError, UsageError
from stinet.upscale import Summary, upscale_video

LOSSLESS = EncodeConfig(codec="ffv1")
FAST = EncodeConfig(preset="ultrafast")


def up(source: Path, output: Path | None = None, encode: EncodeConfig = LOSSLESS, **settings: Any) -> Summary:
    target = source.with_name("out.mkv") if output is None else output
    return upscale_video(source, target, fn=Repeat(), config=UpscaleConfig(encode=encode, **settings))


def sums(frames: Iterable[np.ndarray]) -> list[int]:
    """A checksum of every frame."""
    return [zlib.crc32(np.ascontiguousarray(frame).tobytes()) for frame in frames]


def small(path: Path) -> list[np.ndarray]:
    """The frames of a result by every fourth pixel, after a look whether the other ones are the same."""
    shown = bad.truth(path).frames
    for rgb in shown:
        assert np.array_equal(rgb, rgb[::4, ::4].repeat(4, 0).repeat(4, 1)[: rgb.shape[0], : rgb.shape[1]])
    return [rgb[::4, ::4] for rgb in shown]


def times(path: Path) -> list[Fraction]:
    return [time for time in bad.truth(path).times if time is not None]


def regular(count: int, rate: int) -> list[Fraction]:
    """Times of `count` frames as Matroska keeps them, in whole milliseconds."""
    return [Fraction(round(Fraction(1000 * k, rate)), 1000) for k in range(count)]


def rgb_film(path: Path, frames: list[np.ndarray], stamps: list[Fraction] | None = None) -> Path:
    """A film of exactly these RGB frames, 25 a second or at these times (whole milliseconds)."""
    with av.open(str(path), "w") as out:
        codec, form = ("rawvideo", "rgb24") if path.suffix == ".nut" else ("ffv1", "bgr0")
        stream: Any = out.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = form
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for k, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            time = Fraction(k, 25) if stamps is None else stamps[k]
            picture.pts, picture.time_base = int(time * 1000), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def upscale_words(source: object, *words: object) -> list[object]:
    return ["upscale", source, "--model", "blend+bicubic", "--preset", "ultrafast", "--progress", "none", *words]


def refused(stinet: Stinet, source: Path, code: int, *said: str) -> None:
    """The command ends with `code` and one line that says all of `said`, and nothing is left behind."""
    before = sorted(path.name for path in source.parent.iterdir())
    ran = stinet(*upscale_words(source, "-o", source.with_name("result.mkv")))
    assert ran.code == code, ran
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err
    for words in (source.name, *said):
        assert words.lower() in ran.err.lower(), ran.err
    assert sorted(path.name for path in source.parent.iterdir()) == before


# files


@pytest.mark.bad_input(1)
@pytest.mark.parametrize(("make", "said"), [
    (bad.empty, "empty"), (bad.text, "text"), (bad.html, "html"), (bad.noise, "no"),
])  # fmt: skip
def test_what_is_no_video_is_refused_by_what_it_is(
    tmp_path: Path, stinet: Stinet, make: Callable[[Path], Path], said: str
) -> None:
    refused(stinet, make(tmp_path / "film.mp4"), 3, said)


@pytest.mark.bad_input(1)
def test_a_jpeg_named_mp4_comes_out_as_an_image(tmp_path: Path) -> None:
    source = bad.jpeg(tmp_path / "a.mp4")
    summary = upscale_video(source, fn=Repeat())
    given, made = np.asarray(Image.open(source)), np.asarray(Image.open(summary.output))
    assert made.shape == (192, 256, 3)
    assert sums([made[::4, ::4]]) == sums([given])
    assert any("JPEG" in note for note in summary.notes)


@pytest.mark.bad_input(2)
def test_an_mp4_without_its_index_is_called_incomplete(tmp_path: Path, stinet: Stinet) -> None:
    refused(stinet, bad.without_index(tmp_path / "a.mp4"), 3, "index", "complete")


@pytest.mark.bad_input(3)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_that_is_cut_off_gives_every_frame_that_decodes(tmp_path: Path, stinet: Stinet, suffix: str) -> None:
    source = tmp_path / f"a{suffix}"
    if suffix == ".mp4":
        bad.fast_start(source)
    else:
        film(source, pictures(40), rate=Fraction(20))
    bad.cut(source, 0.55)
    shown = len(bad.truth(source).frames)
    assert 8 < shown < 36
    summary = up(source)
    assert summary.frames_in == shown
    assert any("of the declared duration" in warning for warning in summary.warnings)
    made = small(summary.output)
    assert len(made) == len(set(sums(made[::2]))) * 2 == 2 * shown
    assert times(summary.output) == regular(2 * shown, 40)
    ran = stinet(*upscale_words(source, "-o", tmp_path / "strict.mkv", "--strict"))
    assert ran.code == 5, ran
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", "out.mkv", "strict.mkv"]


@pytest.mark.bad_input(4)
@pytest.mark.parametrize(("make", "suffix"), [
    (bad.sound_only, ".mp4"), (bad.film_without_frames, ".mkv"), (bad.film_without_frames, ".mp4"),
])  # fmt: skip
def test_sound_without_pictures_is_refused(
    tmp_path: Path, stinet: Stinet, make: Callable[[Path], Path], suffix: str
) -> None:
    refused(stinet, make(tmp_path / f"a{suffix}"), 3, "video", "no")


@pytest.mark.bad_input(5)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_keep_their_length(tmp_path: Path, count: int) -> None:
    frames = pictures(count)
    output = up(rgb_film(tmp_path / "a.mkv", frames)).output
    assert sums(small(output)[::2]) == sums(frames)
    assert times(output) == [Fraction(k, 50) for k in range(2 * count)]
    with av.open(str(output)) as file:
        last: Any = [p for p in file.demux(file.streams.video[0]) if p.size][-1]
    assert (last.pts + last.duration) * last.time_base == Fraction(count, 25)


@pytest.mark.bad_input(6)
@pytest.mark.parametrize(("width", "height"), [(63, 47), (1, 40), (40, 1), (16, 16), (1, 1)])
def test_any_size_becomes_four_times_as_large_bit_for_bit(tmp_path: Path, width: int, height: int) -> None:
    frames = [np.ascontiguousarray(rgb[:height, :width]) for rgb in pictures(3)]
    output = up(rgb_film(tmp_path / "a.nut", frames)).output
    assert bad.truth(output).frames[0].shape == (4 * height, 4 * width, 3)
    assert sums(small(output)[::2]) == sums(frames)


@pytest.mark.bad_input(6)
def test_an_odd_size_goes_through_h264_unpadded(tmp_path: Path) -> None:
    frames = [rgb[:47, :63] for rgb in pictures(3)]
    output = up(rgb_film(tmp_path / "a.mkv", frames), tmp_path / "out.mp4", EncodeConfig(crf=1), size="x1").output
    assert {rgb.shape for rgb in bad.truth(output).frames} == {(47, 63, 3)}


@pytest.mark.bad_input(7)
def test_a_size_beyond_the_codec_is_refused_before_the_run(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", [rgb[:4] for rgb in pictures(2, 128)])
    with pytest.raises(StinetError, match=r"\d") as error:
        up(source, tmp_path / "out.mp4", EncodeConfig(codec="h264"), size="x130")
    assert error.value.exit_code in (2, 4, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.bad_input(8)
def test_uneven_times_are_kept_and_new_frames_stand_in_the_middle(tmp_path: Path) -> None:
    given = [Fraction(k, 1000) for k in (0, 20, 60, 162, 200, 1200)]  # the last step is 25 of the nominal ones
    output = up(rgb_film(tmp_path / "a.mkv", pictures(6), given), scene_cut="off").output
    made = times(output)
    assert made[::2] == given
    assert made[1::2] == [(a + b) / 2 for a, b in pairwise(given)]
    assert sums(small(output)[::2]) == sums(pictures(6))


@pytest.mark.bad_input(8)
def test_a_rate_makes_uneven_times_even(tmp_path: Path) -> None:
    given = [Fraction(k, 1000) for k in (0, 20, 60, 160, 200)]
    output = up(rgb_film(tmp_path / "a.mkv", pictures(5), given), fps="50", scene_cut="off").output
    assert times(output)[:11] == [Fraction(k, 50) for k in range(11)]
    assert sums(small(output)[k] for k in (0, 1, 3, 8, 10)) == sums(pictures(5))


@pytest.mark.bad_input(9)
def test_backward_stamps_lose_no_frame_and_are_counted(tmp_path: Path) -> None:
    source = bad.with_stamps(tmp_path / "a.mkv", (1000, 1040, 1080, 1060, 1160, 1160, 1240))
    summary = up(source, fps="keep")
    made = times(summary.output)
    assert summary.frames_in == 7
    assert made[0] == 0
    assert all(a < b for a, b in pairwise(made))
    assert summary.repaired >= 2
    assert any("time stamp" in warning for warning in summary.warnings)


@pytest.mark.bad_input(9)
def test_raw_h264_is_timed_by_its_rate(tmp_path: Path) -> None:
    source = bad.raw_h264(tmp_path / "a.h264")
    summary = up(source)
    assert times(summary.output) == regular(20, 50)
    assert len(set(sums(small(summary.output)[::2]))) == 10


@pytest.mark.bad_input(9)
def test_a_late_start_is_rebased_and_sound_comes_along(tmp_path: Path) -> None:
    start = [Fraction(3) + Fraction(k, 25) for k in range(10)]
    source = film(tmp_path / "a.mkv", pictures(10), times=start, time_base=Fraction(1, 1000), sound_s=0.4,
                  sound_start_s=3.1, sound="flac")  # fmt: skip
    output = up(source).output
    assert times(output)[0] == 0
    given = packets(source)[0][0] - packets(source, "video")[0][0]
    assert abs(packets(output)[0][0] - packets(output, "video")[0][0] - given) <= Fraction(1, 1000)


@pytest.mark.bad_input(10)
@pytest.mark.parametrize(("starts", "lasts"), [(0.5, 0.3), (0, 2), (0.1, 0.1)])
def test_sound_keeps_its_place_to_the_millisecond(tmp_path: Path, starts: float, lasts: float) -> None:
    source = film(tmp_path / "a.mkv", pictures(20), sound_s=lasts, sound_start_s=starts, sound="flac")
    output = up(source).output
    given, made = packets(source), packets(output)
    assert [data for _, data in made] == [data for _, data in given]
    offset = packets(source, "video")[0][0] - packets(output, "video")[0][0]
    assert all(abs(a - b - offset) <= Fraction(1, 1000) for (a, _), (b, _) in zip(given, made, strict=True))


@pytest.mark.bad_input(11)
@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_phone_clip_is_upright_in_exactly_one_way(tmp_path: Path, degrees: int, turns: int) -> None:
    source = bad.turned_by_header(tmp_path / "a.mp4", degrees)
    stored = bad.truth(source).frames[0]
    output = up(source).output
    with av.open(str(output)) as file:
        shown: list[Any] = list(file.decode(video=0))
        assert all(frame.side_data.get(SideDataType.DISPLAYMATRIX) is None for frame in shown)
    made = small(output)[0].astype(int)
    assert made.shape == np.rot90(stored, turns).shape
    assert np.abs(made - np.rot90(stored, turns)).mean() < 2


@pytest.mark.bad_input(12)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, suffix: str) -> None:
    def squeeze(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    source = film(tmp_path / f"a{suffix}", pictures(3), prepare=squeeze)
    output = up(source, tmp_path / f"out{suffix}", FAST).output
    with av.open(str(output)) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.bad_input(13)
def test_fields_are_warned_of_and_woven_apart_when_asked(tmp_path: Path) -> None:
    source = bad.interlaced(tmp_path / "a.mkv")
    summary = up(source, fps="keep")
    assert any("interlaced" in warning for warning in summary.warnings)
    apart = up(source, tmp_path / "apart.mkv", fps="keep", read=ReadConfig(deinterlace="auto"))

    def comb(path: Path) -> float:
        gray = [rgb[..., 0].astype(float) for rgb in small(path)]
        return float(np.mean([np.abs(g[1:-1:2] - (g[:-2:2] + g[2::2]) / 2).mean() for g in gray]))

    assert apart.frames_in >= 6
    assert comb(apart.output) < 0.6 * comb(summary.output)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("bits", [10, 12])
def test_steps_that_eight_bit_cannot_hold_are_kept(tmp_path: Path, bits: int) -> None:
    output = up(bad.deep(tmp_path / "a.mkv", bits), fps="keep").output
    row = bad.truth(output, form="rgb48le").frames[0][0, ::4, 1].astype(int)
    assert len(set(row)) == 64
    step = 65535 / ((940 - 64) * (1 << (bits - 10)))
    assert np.allclose(np.diff(row), step, atol=1.5)


@pytest.mark.bad_input(15)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_hdr10_keeps_its_tags_and_its_mastering_display(tmp_path: Path, suffix: str) -> None:
    def about(path: Path) -> tuple[Any, ...]:
        with av.open(str(path)) as file:
            frame: Any = next(file.decode(video=0))
            kinds = (SideDataType.MASTERING_DISPLAY_METADATA, SideDataType.CONTENT_LIGHT_LEVEL)
            light = [bytes(data) for kind in kinds for data in frame.side_data if data.type == kind]
            tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
            return tags, light, frame.format.components[0].bits

    source = bad.hdr10(tmp_path / f"a{suffix}")
    output = up(source, tmp_path / f"out{suffix}", FAST).output
    assert about(source) == about(output)
    assert about(output)[0][:3] == (9, 16, 9)
    assert len(about(output)[1]) == 2


@pytest.mark.bad_input(15)
def test_hdr_becomes_eight_bit_only_when_asked_and_that_is_warned_of(tmp_path: Path) -> None:
    source = bad.hdr10(tmp_path / "a.mkv")

    def bits(output: Path) -> int:
        with av.open(str(output)) as file:
            form = file.streams.video[0].codec_context.format
            assert form is not None
            return form.components[0].bits

    for codec in ("h264", "hevc"):
        deep = up(source, tmp_path / f"{codec}.mp4", EncodeConfig(codec=codec, preset="ultrafast"))
        assert bits(deep.output) == 10
    asked = up(source, tmp_path / "asked.mp4", EncodeConfig(codec="h264", preset="ultrafast", pix_fmt="yuv420p"))
    assert bits(asked.output) == 8
    assert any("8 bit" in warning for warning in asked.warnings)


@pytest.mark.bad_input(16)
@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng"])
def test_uneven_delays_of_an_animation_are_kept(tmp_path: Path, name: str) -> None:
    source = bad.animated(tmp_path / name.replace("apng", "png"), (50, 200, 100, 70))
    if name.endswith("apng"):
        source = source.rename(tmp_path / name)
    summary = up(source, fps="keep")
    assert times(summary.output) == [Fraction(k, 1000) for k in (0, 50, 250, 350)]
    made = small(summary.output)
    assert sums(made) == sums(bad.truth(source).frames)


@pytest.mark.bad_input(17)
def test_the_first_film_that_is_no_cover_is_used_and_another_on_demand(tmp_path: Path) -> None:
    source = bad.two_films_and_a_cover(tmp_path / "a.mp4")
    summary = up(source, tmp_path / "out.mp4", FAST)
    assert summary.size == (256, 192)
    with av.open(str(summary.output)) as file:
        covers = [s for s in file.streams if s.disposition & Disposition.attached_pic]
        assert len(covers) == 1
    assert up(source, tmp_path / "two.mp4", FAST, read=ReadConfig(stream=1)).size == (128, 96)


@pytest.mark.bad_input(18)
def test_everything_else_in_a_matroska_file_comes_along(tmp_path: Path) -> None:
    source = bad.rich(tmp_path / "a.mkv")
    output = up(source).output
    with av.open(str(source)) as given, av.open(str(output)) as made:
        kinds = [(s.type, s.metadata.get("language")) for s in given.streams]
        assert sorted(map(str, kinds)) == sorted(str((s.type, s.metadata.get("language"))) for s in made.streams)
        old, new = (
            [
                (c["start"] * (c["time_base"] or 0), c["end"] * (c["time_base"] or 0), c["metadata"])
                for c in file.chapters()
            ]
            for file in (given, made)
        )
        assert old == new
        assert made.metadata["title"] == "Ferien"
        fonts = [s.metadata.get("filename") for s in made.streams if s.type == "attachment"]
        assert fonts == ["hand.ttf"]
    assert packets(output, "subtitle") == packets(source, "subtitle")
    assert packets(output) == packets(source)


@pytest.mark.bad_input(18)
def test_what_mp4_cannot_hold_is_converted_or_named(tmp_path: Path) -> None:
    source = bad.rich(tmp_path / "a.mkv")
    summary = up(source, tmp_path / "out.mp4", FAST)
    with av.open(str(summary.output)) as file:
        assert [s.codec_context.name for s in file.streams.subtitles] == ["mov_text"]
        assert len(file.streams.audio) == 2
        assert [c["metadata"]["title"] for c in file.chapters()] == ["Opening", "The end"]
    shown = [(at, data[2:].split(b"\0")[0]) for at, data in packets(summary.output, "subtitle") if len(data) > 2]
    assert [at for at, _ in shown] == [Fraction(0), Fraction(2, 5)]
    assert [b"one" in shown[0][1], b"leaning" in shown[1][1]] == [True, True]
    assert any("hand.ttf" in warning or "attachment" in warning for warning in summary.warnings)


@pytest.mark.bad_input(19)
def test_sound_that_the_container_refuses_is_encoded_again_and_that_is_said(tmp_path: Path) -> None:
    source = bad.ordinary(tmp_path / "a.mov")
    summary = up(source, tmp_path / "out.mp4", FAST)
    with av.open(str(summary.output)) as file:
        assert len(file.streams.audio) == 1
        sound = [frame.to_ndarray() for frame in file.decode(audio=0)]
    assert sum(part.shape[-1] for part in sound) >= 16_000 * 0.95
    assert np.abs(np.concatenate([part.reshape(-1) for part in sound]).astype(float)).mean() > 0.01
    assert any("pcm" in note for note in summary.notes)


@pytest.mark.bad_input(20)
def test_a_size_that_changes_is_scaled_to_the_first_and_warned_of(tmp_path: Path) -> None:
    source = bad.raw_h264(tmp_path / "a.h264", ((64, 48), (48, 32)))
    summary = up(source, fps="keep", scene_cut="off")
    assert summary.frames_in == 20
    assert {rgb.shape for rgb in bad.truth(summary.output).frames} == {(192, 256, 3)}
    assert any("size" in warning for warning in summary.warnings)


@pytest.mark.bad_input(21)
@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_gap_is_filled_at_its_true_length_and_counted(tmp_path: Path, suffix: str) -> None:
    source = bad.with_corrupt_packets(tmp_path / f"a{suffix}", (5, 6, 12))
    shown = bad.truth(source)
    summary = up(source, fps="keep")
    assert summary.frames_in == 27
    assert times(summary.output) == regular(30, 25)
    made = small(summary.output)
    for k, rgb in zip((k for k in range(30) if k not in (5, 6, 12)), shown.frames, strict=True):
        assert np.abs(made[k].astype(int) - rgb).mean() < 3, k
    assert any(warning.startswith("3 ") and "packet" in warning for warning in summary.warnings)


@pytest.mark.bad_input(22)
@pytest.mark.parametrize("said", [0, 5, 1000])
def test_a_wrong_frame_count_is_not_believed(tmp_path: Path, said: int) -> None:
    source = bad.with_frame_count(tmp_path / "a.avi", 12, said)
    summary = up(source)
    assert summary.frames_in == len(bad.truth(source).frames) == 12
    assert len(times(summary.output)) == 24


@pytest.mark.bad_input(23)
def test_animation_on_twos_moves_by_even_steps(tmp_path: Path) -> None:
    source = rgb_film(tmp_path / "a.mkv", bad.on_twos(20))
    kept = up(source, tmp_path / "kept.mkv", dedup="off")
    even = up(source, tmp_path / "even.mkv")
    assert times(even.output) == times(kept.output) == [Fraction(k, 50) for k in range(40)]
    jumpy, smooth = (np.diff([bad.position(rgb) for rgb in small(path)[:36]]) for path in (kept.output, even.output))
    assert max(jumpy) >= 2
    assert np.abs(smooth - 1).max() < 0.1


@pytest.mark.bad_input(23)
def test_black_and_static_films_stay_as_they_are(tmp_path: Path) -> None:
    still = [pictures(1)[0]] * 6 + [np.zeros((48, 64, 3), np.uint8)] * 6
    output = up(rgb_film(tmp_path / "a.mkv", still)).output
    made = small(output)
    assert len(made) == 24
    assert set(sums(made)) == set(sums(still))


@pytest.mark.bad_input(24)
@pytest.mark.parametrize("name", bad.NAMES)
def test_a_strange_name_is_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    shutil.copyfile(film(tmp_path / "plain.mp4", pictures(2)), folder / name)
    monkeypatch.chdir(folder)
    given = folder / name if name == "-" else Path(name)
    summary = up(given, Path(f"{name}.out.mkv"))
    assert summary.frames_in == 2
    assert sums(small(summary.output)[::2]) == sums(small(up(tmp_path / "plain.mp4").output)[::2])
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, f"{name}.out.mkv"])


@pytest.mark.bad_input(24)
@pytest.mark.parametrize("name", ["a b'c.mp4", "-y.mp4", "concat:x.mp4", "[0-9].mp4", "frame%04d.mp4"])
def test_the_command_line_takes_strange_names(
    tmp_path: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    film(tmp_path / "plain.mp4", pictures(2)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    ran = stinet(*upscale_words("./" + name if name[0] == "-" else name, "-o", "out.mkv"))
    assert ran.code == 0, ran
    assert len(times(tmp_path / "out.mkv")) == 4


@pytest.mark.bad_input(24)
def test_a_playlist_is_refused_and_its_entries_are_never_opened(tmp_path: Path) -> None:
    """The entry is a pipe without a writer: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "entry.ts")
    for name in ("list.mp4", "list.m3u8"):
        bad.playlist(tmp_path / name, tmp_path / "entry.ts")
        words = [sys.executable, "-m", "stinet", *map(str, upscale_words(tmp_path / name, "-o", tmp_path / "o.mkv"))]
        ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
        assert ran.returncode == 3, ran.stderr
        assert "playlist" in ran.stderr
    assert not (tmp_path / "o.mkv").exists()


@pytest.mark.bad_input(25)
def test_one_bad_file_stops_no_other_and_is_named(tmp_path: Path, stinet: Stinet) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.mkv", "c.mkv"):
        film(folder / name, pictures(2))
    bad.text(folder / "b.mp4")
    ran = stinet(*upscale_words(folder, "-o", tmp_path / "out"))
    assert ran.code != 0
    assert "Traceback" not in ran.err
    assert "b.mp4" in ran.out + ran.err
    made = sorted((tmp_path / "out").iterdir())
    assert [len(times(path)) for path in made] == [4, 4]


@pytest.mark.bad_input(25)
def test_raw_frames_come_by_stdin(tmp_path: Path) -> None:
    frames = pictures(3)
    with av.open(str(tmp_path / "a.y4m"), "w") as out:
        stream: Any = out.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for rgb in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p")))
        out.mux(stream.encode(None))
    words = [sys.executable, "-m", "stinet", *map(str, upscale_words("-", "-o", tmp_path / "out.mkv"))]
    with (tmp_path / "a.y4m").open("rb") as given:
        ran = subprocess.run(words, check=False, stdin=given, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert times(tmp_path / "out.mkv") == [Fraction(k, 50) for k in range(6)]


@pytest.mark.bad_input(26)
def test_an_encrypted_film_is_refused_as_such(tmp_path: Path, stinet: Stinet) -> None:
    refused(stinet, bad.encrypted(tmp_path / "a.mp4"), 3, "encrypted")


# outputs and luck


@pytest.mark.bad_input(27)
def test_an_output_in_the_way_is_refused_skipped_or_replaced(tmp_path: Path, stinet: Stinet) -> None:
    source, target = film(tmp_path / "a.mp4", pictures(2)), tmp_path / "out.mkv"
    target.write_text("precious")
    words = upscale_words(source, "-o", target)
    assert stinet(*words).code == 4
    skipped = stinet(*words, "-n")
    assert skipped.code == 0
    assert "out.mkv" in skipped.out + skipped.err
    assert target.read_text() == "precious"
    assert stinet(*words, "-y").code == 0
    assert len(times(target)) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mkv"]


@pytest.mark.bad_input(27)
@pytest.mark.parametrize("link", ["same", "soft", "hard"])
def test_the_input_is_never_the_output(tmp_path: Path, stinet: Stinet, link: str) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    target = source if link == "same" else tmp_path / "b.mp4"
    if link == "soft":
        target.symlink_to(source)
    elif link == "hard":
        target.hardlink_to(source)
    before = source.read_bytes()
    ran = stinet(*upscale_words(source, "-o", target, "-y"))
    assert ran.code == 4, ran
    assert "input" in ran.err
    assert source.read_bytes() == before


@pytest.mark.bad_input(27)
def test_a_missing_folder_is_made_and_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    assert len(times(up(source, tmp_path / "new" / "deep" / "b.mkv").output)) == 4
    with pytest.raises(OutputError):
        up(source, source / "inside" / "b.mkv")


@pytest.mark.bad_input(27)
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    source, locked = film(tmp_path / "a.mp4", pictures(2)), tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="locked"):
        up(source, locked / "b.mkv")


@pytest.mark.bad_input(27)
def test_known_suffixes_are_listed_for_an_unknown_one(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    with pytest.raises((OutputError, UsageError), match=r"\.mkv"):
        up(source, tmp_path / "new" / "b.xyz", FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.bad_input(30)
def test_a_run_that_was_killed_three_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", 160)
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    alone, killed = Job(source, tmp_path / "alone" / "out.mp4"), Job(source, tmp_path / "killed" / "out.mp4")
    expected = alone.finish()
    kills = list(kill_again(killed, ["work", "again", "end"], seed=1))
    assert kills[0].segments >= 1
    assert killed.finish() == expected
    assert [path.name for path in killed.output.parent.iterdir()] == ["out.mp4"]


@pytest.mark.bad_input(36)
def test_a_second_run_on_one_output_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    job = Job(clip(tmp_path / "clip.mp4", 600), tmp_path / "out.mp4", segment=200)
    first = job.start()
    try:
        until = time.monotonic() + 60
        while not job.is_working() and first.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        first.send_signal(signal.SIGSTOP)
        assert job.is_working()
        words = [sys.executable, "-m", "stinet", *map(str, upscale_words(job.source, "-o", job.output))]
        second = subprocess.run([*words, "--restart"], check=False, capture_output=True, text=True, timeout=60)
        assert second.returncode == 4, second.stderr
        assert "another run" in second.stderr
        assert job.is_working()
    finally:
        first.kill()
        first.communicate()
    assert job.finish()
    assert len(times(job.output)) == 1200


@pytest.mark.bad_input(10, 18, 38)
def test_a_film_that_counts_loses_nothing_and_memory_stays_flat(tmp_path: Path) -> None:
    peaks = []
    for seconds in (6, 60):
        source = counted_film(tmp_path / f"{seconds}.mkv", seconds, rate=10, width=64, height=32)
        output = tmp_path / f"{seconds}_out.mkv"
        code, peak, said = run_measured(["-m", "stinet", *upscale_words(source, "-o", output, "--fps", "24")])
        assert code == 0, said
        peaks.append(peak)
    assert peaks[1] < 1.05 * peaks[0]
    given, made = examine(tmp_path / "60.mkv"), examine(tmp_path / "60_out.mkv")
    assert made.frames == 60 * 24
    assert list(made.times) == regular(60 * 24, 24)
    wanted = [min(k * 10 / 24, 599) for k in range(60 * 24)]
    assert max(abs(a - b) for a, b in zip(wanted, made.counters, strict=True)) < 0.1
    assert (made.sound, made.languages) == (given.sound, given.languages)
    for before, after in ((given.beeps, made.beeps), (given.sound_times, made.sound_times)):
        for old, new in zip(before, after, strict=True):
            assert np.allclose(old, new, rtol=0, atol=0.00101)
    assert (made.subtitles, made.chapters) == (given.subtitles, given.chapters)
    assert max(abs(at - second) for second, at in enumerate(made.beeps[0])) < 0.001


# damage


@pytest.mark.bad_input(3, 9, 21, 22)
def test_forty_damaged_files_end_well_or_with_an_error_that_says_why(tmp_path: Path) -> None:
    fates = list(fuzz(tmp_path, range(40)))
    assert [f"{f.name} ({f.mutation}): {f.kind} {f.code} {f.said}" for f in fates if f.kind in BAD] == []
    assert sum(fate.kind in ("ok", "repaired") for fate in fates) >= 20
    assert max(fate.seconds for fate in fates) < 20


@pytest.mark.bad_input(9, 18)
def test_damage_that_once_ended_in_a_traceback_or_in_hours_of_stills_is_survived(tmp_path: Path) -> None:
    """Sound of a codec that nobody knows (296, 386); a transport stream whose clock leaps by 50 minutes (665)."""
    fates = list(fuzz(tmp_path, (296, 386, 665)))
    assert [(fate.kind, fate.code) for fate in fates] == [("repaired", 0)] * 3, fates
    assert max(fate.frames_out for fate in fates) < 200


def test_input_error_is_what_a_missing_file_gives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        up(tmp_path / "none.mp4")
