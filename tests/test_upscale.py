"""The whole path with a fake network: files of every kind in, whole files out, errors before the work."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from films import Repeat, film, packets, pictures, without_rate  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig, ReadConfig, Tile, TileConfig, UpscaleConfig
from stinet.errors import InputError, OutputError, UsageError
from stinet.upscale import Progress, Summary, output_size, upscale_video
from stinet.video.encode import SegmentWriter
from stinet.video.frame import Frame
from stinet.video.lock import OutputLock
from stinet.video.read import probe, read_frames

FAST = EncodeConfig(preset="ultrafast")


def up(source: Path, target: Path | None = None, fn: Any = None, **settings: Any) -> Summary:
    settings.setdefault("encode", FAST)
    return upscale_video(source, target, fn=fn or Repeat(), config=UpscaleConfig(**settings))


def times_of(path: Path) -> list[Fraction]:
    return [frame.time for frame in read_frames(path)]


def test_a_film_becomes_four_times_as_large_and_twice_as_smooth_beside_itself(tmp_path: Path) -> None:
    source = film(tmp_path / "holiday.mp4", pictures(20), rate=Fraction(30), sound_s=0.66)
    summary = up(source)
    assert summary.output == tmp_path / "holiday_stinet_x4_60fps.mp4"
    assert times_of(summary.output) == [Fraction(k, 60) for k in range(40)]
    info = probe(summary.output)
    assert (info.width, info.height, info.rate) == (256, 192, 60)
    assert info.duration == probe(source).duration == Fraction(20, 30)
    assert (summary.frames_in, summary.frames_out, summary.held) == (20, 40, 1)
    assert [data for _, data in packets(summary.output)] == [data for _, data in packets(source)]
    assert "20 frames in, 40 out (1 held), 256x192 at 60 fps" in summary.line()
    assert "audio aac copied" in summary.line()


def test_the_picture_is_the_source_enlarged(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(5))
    summary = up(source, encode=EncodeConfig(crf=1))
    made, given = list(read_frames(summary.output)), list(read_frames(source))
    for k in range(5):
        large = given[k].rgb.repeat(4, 0).repeat(4, 1)
        assert np.abs(made[2 * k].rgb.astype(int) - large).mean() < 3


def test_uneven_source_times_are_kept_exactly(tmp_path: Path) -> None:
    times = [Fraction(k, 600) for k in (0, 20, 55, 61, 100)]
    summary = up(film(tmp_path / "a.mp4", pictures(5), times=times, time_base=Fraction(1, 600)))
    made = times_of(summary.output)
    assert made[::2] == times
    assert made[1::2] == [(a + b) / 2 for a, b in pairwise(times)]
    assert summary.held == 0


def test_a_turned_film_comes_out_upright_and_is_turned_no_more(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(3), rotation=90)
    summary = up(source, encode=EncodeConfig(crf=1))
    info = probe(summary.output)
    assert (info.width, info.height, info.rotation) == (192, 256, 0)
    small, large = next(read_frames(source)).rgb, next(read_frames(summary.output)).rgb
    assert np.abs(large[1::4, 1::4].astype(int) - small).mean() < 4


@pytest.mark.parametrize(("width", "height"), [(63, 47), (1, 40), (40, 1), (16, 16), (2, 2)])
def test_any_size_becomes_exactly_four_times_as_large(tmp_path: Path, width: int, height: int) -> None:
    source = film(tmp_path / "a.mkv", [p[:height, :width] for p in pictures(3)], pix_fmt="yuv444p")
    info = probe(up(source, tmp_path / "b.mp4").output)
    assert (info.width, info.height) == (4 * width, 4 * height)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_film_of_few_frames_keeps_its_duration(tmp_path: Path, count: int) -> None:
    summary = up(film(tmp_path / "a.mp4", pictures(count)))
    assert len(times_of(summary.output)) == 2 * count
    assert probe(summary.output).duration == Fraction(count, 25)


def test_a_rate_and_a_box_are_met(tmp_path: Path) -> None:
    summary = up(film(tmp_path / "a.mp4", pictures(10)), fps="60000/1001", size="200x100")
    assert times_of(summary.output) == [Fraction(1001 * k, 60000) for k in range(24)]
    assert summary.size == (134, 100)


def test_only_the_first_seconds_are_done_sound_included(tmp_path: Path) -> None:
    summary = up(film(tmp_path / "a.mp4", pictures(50), sound_s=2), read=ReadConfig(seconds=Fraction(2, 5)))
    assert summary.frames_in == 10
    assert probe(summary.output).duration == Fraction(2, 5)
    assert packets(summary.output)[-1][0] < Fraction(2, 5)


def test_tiles_give_the_same_film(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(4))
    whole = sorted(up(source, tmp_path / "whole").output.iterdir())
    tiled = sorted(up(source, tmp_path / "tiled", tile=TileConfig(size_px=24, halo_px=4)).output.iterdir())
    for a, b in zip(whole, tiled, strict=True):
        assert np.abs(np.asarray(Image.open(a)).astype(int) - np.asarray(Image.open(b))).max() <= 1


def test_a_folder_of_images_becomes_a_folder_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for k, rgb in enumerate(pictures(11)):
        Image.fromarray(rgb).save(folder / f"s{k}.png")
    summary = up(folder)
    files = sorted(path.name for path in summary.output.iterdir())
    assert summary.output == tmp_path / "shots_stinet_x4"
    assert files == [f"{k:08d}.png" for k in range(1, 23)]
    large = np.asarray(Image.open(summary.output / "00000021.png"))
    assert np.array_equal(large, pictures(11)[10].repeat(4, 0).repeat(4, 1))


def test_an_image_named_mp4_is_upscaled_as_an_image_and_that_is_said(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.mp4", format="PNG")
    summary = up(tmp_path / "a.mp4")
    assert Image.open(summary.output).size == (256, 192)
    assert summary.frames_out == 1
    assert "a.mp4 is a PNG picture, whatever its name says" in summary.notes


def test_a_missing_file_and_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "diary.mp4").write_text("dear diary")
    with pytest.raises(InputError, match="no such file"):
        up(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="a text file"):
        up(tmp_path / "diary.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["diary.mp4"]


def test_a_name_that_the_disk_refuses_is_an_input_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too long|no such file"):
        up(tmp_path / ("a" * 300))


def test_an_existing_output_is_refused_and_kept_unless_told(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4", pictures(2)), tmp_path / "b.mp4"
    target.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        up(source, target)
    assert target.read_text() == "precious"
    up(source, target, overwrite=True)
    assert len(times_of(target)) == 4


def test_the_input_itself_and_links_to_it_are_refused_even_when_told_to_overwrite(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    (tmp_path / "soft.mp4").symlink_to(source)
    (tmp_path / "hard.mp4").hardlink_to(source)
    before = source.read_bytes()
    for name in ("a.mp4", "soft.mp4", "hard.mp4"):
        with pytest.raises(OutputError, match="input itself"):
            up(source, tmp_path / name, overwrite=True)
    assert source.read_bytes() == before


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "letter.txt").write_text("precious")
    with pytest.raises(OutputError, match="more than frames"):
        up(source, tmp_path / "photos", overwrite=True)


def test_a_folder_around_the_input_is_never_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "raw").mkdir(parents=True)
    for name in ("00000001.png", "00000002.png", "raw/00000003.png"):
        Image.fromarray(pictures(1)[0]).save(photos / name)
    (tmp_path / "link").symlink_to(photos)
    for source, target in (
        (photos / "00000001.png", photos),
        (photos / "00000001.png", tmp_path / "link"),
        (tmp_path / "link" / "00000001.png", photos),
        (photos / "raw" / "00000003.png", photos),
        (photos / "raw", photos / "raw" / "00000003.png"),
    ):
        with pytest.raises(OutputError, match="input itself"):
            up(source, target, overwrite=True)
    assert sorted(path.name for path in photos.rglob("*.png")) == ["00000001.png", "00000002.png", "00000003.png"]


def test_a_folder_of_photographs_is_never_replaced_and_one_of_our_frames_is(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    target = up(source, tmp_path / "out").output
    (target / "00000099.png").write_text("an old frame")
    up(source, target, overwrite=True)
    assert len(list(target.iterdir())) == 4
    (target / "IMG_0001.png").write_text("precious")
    with pytest.raises(OutputError, match="more than frames"):
        up(source, target, overwrite=True)
    assert (target / "IMG_0001.png").read_text() == "precious"


def test_a_missing_output_folder_is_made(tmp_path: Path) -> None:
    assert up(film(tmp_path / "a.mp4", pictures(2)), tmp_path / "new" / "deep" / "b.mp4").output.exists()


def test_two_runs_on_one_output_are_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    with OutputLock(tmp_path / "b.mp4"), pytest.raises(OutputError, match="another run"):
        up(source, tmp_path / "b.mp4")


@pytest.mark.parametrize(("settings", "error", "said"), [
    ({"fps": "fast"}, UsageError, "fps"),
    ({"size": "big"}, UsageError, "size"),
])  # fmt: skip
def test_words_that_are_not_understood_are_refused(tmp_path: Path, settings: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        up(film(tmp_path / "a.mp4", pictures(2)), **settings)


def test_an_unknown_suffix_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(2))
    with pytest.raises(OutputError, match="suffix"):
        up(source, tmp_path / "new" / "dir" / "b.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


class Crash(Repeat):
    """Fails in its third clip."""

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        if len(self.clips) == 3:
            raise ArithmeticError("crash")
        return super().run(states, times, nodes, tile)


def test_a_crash_leaves_no_file_and_no_thread(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(60))
    with pytest.raises(ArithmeticError):
        up(source, tmp_path / "b.mp4", Crash())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert [t.name for t in threading.enumerate() if t.name.startswith("stinet")] == []


def test_an_error_of_the_encoder_surfaces_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a.mp4", pictures(30))
    write, written = SegmentWriter.write, []

    def full(self: SegmentWriter, frame: Any) -> None:
        written.append(frame.time)
        if len(written) == 20:
            raise OutputError("b.mp4: cannot be written (No space left on device)")
        write(self, frame)

    monkeypatch.setattr(SegmentWriter, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        up(source, tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_of_the_decoder_surfaces_and_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for k, rgb in enumerate(pictures(12)):
        Image.fromarray(rgb[: 40 if k == 11 else None]).save(folder / f"{k}.png")
    with pytest.raises(InputError, match=r"11\.png"):
        up(folder, tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["shots"]


def test_the_first_frame_comes_of_a_short_window_and_the_network_runs_ahead_of_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows_made: list[int] = []
    held = threading.Event()

    class Counted(Repeat):
        def run(self, states: Any, times: Any, nodes: Any, tile: Any = None) -> Any:
            windows_made.append(len(states))
            if len(windows_made) == 3:
                held.set()  # two windows wait for an encoder that has not taken a frame yet
            return super().run(states, times, nodes, tile)

    write = SegmentWriter.write

    def wait_and_write(self: SegmentWriter, frame: Frame) -> None:
        assert held.wait(30)
        write(self, frame)

    monkeypatch.setattr(SegmentWriter, "write", wait_and_write)
    source = film(tmp_path / "a.mp4", pictures(20))
    up(source, tmp_path / "b.mp4", fn=Counted())
    assert windows_made[0] == 2
    assert max(windows_made) > 8


def test_progress_counts_up_to_what_was_expected(tmp_path: Path) -> None:
    seen: list[Progress] = []
    source = film(tmp_path / "a.mp4", pictures(12))
    upscale_video(source, fn=Repeat(), config=UpscaleConfig(encode=FAST), progress=seen.append)
    assert [p.frames_out for p in seen][-1] == seen[-1].frames_expected == 24
    assert len(seen) == 24


def test_high_dynamic_range_keeps_its_depth_and_tags(tmp_path: Path) -> None:
    def prepare(stream: Any) -> None:
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries = 16, 9, 9

    source = film(tmp_path / "a.mkv", pictures(4), pix_fmt="yuv420p10le", prepare=prepare)
    summary = up(source)
    made = probe(summary.output)
    assert (made.bit_depth, made.colour.hdr, made.colour.matrix, made.colour.primaries) == (10, "PQ", 9, 9)


@pytest.mark.parametrize(("wanted", "source", "size"), [
    ("x4", (480, 270), (1920, 1080)),
    ("x2", (63, 47), (126, 94)),
    ("1080p", (480, 270), (1920, 1080)),
    ("1920x1080", (320, 240), (1440, 1080)),
    ("1920x1080", (304, 540), (608, 1080)),
    ("1000x1000", (333, 101), (1000, 304)),
])  # fmt: skip
def test_sizes_fit_inside_and_never_stretch(wanted: str, source: tuple[int, int], size: tuple[int, int]) -> None:
    assert output_size(wanted, source, 4) == size


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    code = f"""
        import resource, sys, torch
        sys.path.insert(0, {tests!r})
        from pathlib import Path
        from films import Repeat
        from stinet.config import EncodeConfig, UpscaleConfig
        from stinet.upscale import upscale_video
        torch.set_num_threads(1)
        config = UpscaleConfig(encode=EncodeConfig(preset="ultrafast"), overwrite=True)
        upscale_video(sys.argv[1], sys.argv[2], fn=Repeat(), config=config)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """

    def peak(count: int) -> int:
        source = film(tmp_path / f"{count}.mp4", pictures(count, 96, 64), sound_s=count / 25)
        script = [sys.executable, "-c", textwrap.dedent(code), str(source), str(tmp_path / "o.mp4")]
        return int(subprocess.run(script, check=True, capture_output=True, timeout=120).stdout)

    assert peak(300) < 1.05 * peak(60)


def test_the_old_codecs_of_old_files_work(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for rgb in pictures(9):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode(None))
    summary = up(path)
    assert summary.output.suffix == ".mp4"
    assert times_of(summary.output) == [Fraction(k, 30) for k in range(18)]


def test_nothing_is_blended_across_a_hard_cut_and_the_cut_is_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    dark, bright = (
        draw.integers(low, low + 80, (12, 20, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1) for low in (0, 170)
    )
    pan = [dark[:, 3 * k : 3 * k + 96] for k in range(8)] + [bright[:, 3 * k : 3 * k + 96] for k in range(8)]
    summary = up(film(tmp_path / "a.mp4", pan), encode=EncodeConfig(crf=1))
    means = [frame.rgb.mean() for frame in read_frames(summary.output)]
    assert times_of(summary.output) == [Fraction(k, 50) for k in range(32)]
    assert max(means[:16]) < 70
    assert min(means[16:]) > 180
    assert "1 cut" in summary.notes
    assert summary.line().count("; 1 cut") == 1


@pytest.mark.bad_input(25)
def test_a_folder_of_images_whose_name_has_a_dot_gets_a_folder_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "holiday 2026.05"
    folder.mkdir()
    for k, rgb in enumerate(pictures(2, 16, 16)):
        Image.fromarray(rgb).save(folder / f"{k}.png")
    summary = upscale_video(folder, fn=Repeat(), config=UpscaleConfig(size="x1.5"))
    assert summary.output == tmp_path / "holiday 2026.05_stinet_x1.5"
    assert len(list(summary.output.iterdir())) == 4


@pytest.mark.bad_input(27)
@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_the_run_and_the_other_way_round(
    tmp_path: Path, there: str
) -> None:
    source = film(tmp_path / "a.mp4", pictures(3))
    target = tmp_path / ("frames" if there == "file" else "b.mp4")
    if there == "file":
        target.write_bytes(b"mine")
    else:
        target.mkdir()
    fn = Repeat()
    with pytest.raises(OutputError, match=f"is a {there}, and the result a f"):
        upscale_video(source, target, fn=fn, config=UpscaleConfig(overwrite=True))
    assert not fn.prepared
    assert target.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.mp4", target.name])


@pytest.mark.bad_input(8)
def test_nothing_is_put_between_the_frames_of_a_film_that_states_no_rate_but_the_one_that_is_due(
    tmp_path: Path,
) -> None:
    steps = [31, 52, 17, 33, 33, 49, 18, 33, 40, 26] * 3
    stamps = [Fraction(sum(steps[:k]), 1000) for k in range(len(steps))]
    stated = film(tmp_path / "a.mkv", pictures(len(stamps)), times=stamps, time_base=Fraction(1, 1000))
    bare = without_rate(stated, tmp_path / "b.mkv")
    summary = up(bare, tmp_path / "c.mp4")
    wanted = [time for a, b in pairwise(stamps) for time in (a, (a + b) / 2)] + stamps[-1:]
    assert times_of(summary.output) == wanted
    assert "missing in the source" not in " ".join(summary.notes)


@pytest.mark.bad_input(29)
@pytest.mark.parametrize("name", ["b.y4m", "b.mp4", "frames"])
def test_an_interruption_before_anything_is_done_is_not_its_own_cause(tmp_path: Path, name: str) -> None:
    source = film(tmp_path / "a.mp4", pictures(6))

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        upscale_video(source, tmp_path / name, fn=Repeat(), progress=interrupt)
    seen: list[BaseException] = []
    error: BaseException | None = raised.value
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__ or error.__context__
