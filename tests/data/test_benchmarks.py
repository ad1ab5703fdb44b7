"""Clips on disk and the windows they are shown in."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import stinet
from stinet.data.benchmarks import Clip, find_clips, windows
from stinet.errors import ConfigError, InputError
from stinet.video.image_files import IMAGE_SUFFIXES
from stinet.video.images import read_images

VID4 = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}


def write_frames(folder: Path, *names: str, size: tuple[int, int] = (8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(names):
        Image.new("RGB", size, (level, 0, 0)).save(folder / name)
    return folder


def levels(clip: Clip) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in clip.read()]


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 4))
def test_every_frame_of_a_clip_is_counted_exactly_once(frame_count: int, intervals: int, step: int) -> None:
    cut = windows(frame_count, intervals * step + 1, step)
    counted = [window.start + place for window in cut for place in window.counted]
    assert counted == list(range(frame_count))


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 4), st.sampled_from(["all", "160"]))
def test_windows_stay_inside_the_clip_and_begin_and_end_on_given_frames(
    frame_count: int, intervals: int, step: int, variant: str
) -> None:
    for window in windows(frame_count, intervals * step + 1, step, variant):
        assert window.start >= 0
        assert window.start + window.size <= frame_count
        assert window.given[0] == 0
        assert window.given[-1] == window.size - 1
        assert len(window.times) == len(window.given) - 1
        assert window.size == len(window.given) + sum(len(times) for times in window.times)


def test_a_shared_frame_counts_in_the_first_window_that_yields_it() -> None:
    first, second = windows(13)
    assert (first.start, first.counted) == (0, (0, 1, 2, 3, 4, 5, 6))
    assert (second.start, second.counted) == (6, (1, 2, 3, 4, 5, 6))


def test_the_last_window_of_an_even_clip_swaps_the_roles_of_odd_and_even_frames() -> None:
    last = windows(10)[-1]
    assert (last.start, last.counted) == (3, (4, 5, 6))
    assert [last.start + place for place in last.counted if place in last.given] == [7, 9]


def test_vid4_counts_171_frames_and_160_without_tails() -> None:
    assert sum(len(window.counted) for count in VID4.values() for window in windows(count)) == 171
    assert sum(len(window.counted) for count in VID4.values() for window in windows(count, variant="160")) == 160


@pytest.mark.parametrize(
    ("frame_count", "sizes"), [(1, [1]), (2, [1, 1]), (3, [3]), (4, [3, 3]), (6, [5, 5]), (7, [7])]
)
def test_short_clips_take_the_longest_window_that_fits(frame_count: int, sizes: list[int]) -> None:
    assert [window.size for window in windows(frame_count)] == sizes


def test_three_frames_between_two_given_ones_stand_at_quarters() -> None:
    (window,) = windows(5, window=5, step=4)
    assert window.times == ((0.25, 0.5, 0.75),)


@pytest.mark.parametrize("arguments", [{"window": 6}, {"step": 0}, {"variant": "161"}])
def test_a_window_that_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        windows(20, **arguments)  # pyright: ignore[reportArgumentType]


def test_frames_come_in_natural_order_of_their_names(tmp_path: Path) -> None:
    write_frames(tmp_path, "f9.png", "f10.png", "f8.png")
    (clip,) = find_clips(tmp_path)
    assert clip.name == tmp_path.name
    assert levels(clip) == [2, 0, 1]


def test_upscale_and_evaluate_see_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    names = [f"f{k}{suffix}" for k, suffix in enumerate(sorted(IMAGE_SUFFIXES), 8)]
    write_frames(tmp_path, *reversed(names), "x\u00b2.png")
    (tmp_path / "f1.ppm").write_bytes(b"P6 1 1 255 abc")
    (clip,) = find_clips(tmp_path)
    seen = [frame[0, 0] for frame in clip.read()]
    np.testing.assert_array_equal(seen, [frame.rgb[0, 0] for frame in read_images(tmp_path)])
    assert len(seen) == len(names) + 1


def test_subfolders_with_images_are_clips_and_others_are_not(tmp_path: Path) -> None:
    write_frames(tmp_path / "walk", "1.webp")
    write_frames(tmp_path / "city", "1.png", "2.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("no clip")
    clips = find_clips(tmp_path)
    assert [clip.name for clip in clips] == ["city", "walk"]
    assert [len(list(clip.read())) for clip in clips] == [2, 1]


def test_a_folder_of_images_is_one_clip_even_with_subfolders(tmp_path: Path) -> None:
    write_frames(tmp_path, "1.png")
    write_frames(tmp_path / "sub", "1.png")
    assert len(find_clips(tmp_path)) == 1


def test_grey_and_transparent_images_are_read_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 7).save(tmp_path / "1.png")
    Image.new("RGBA", (5, 4), (9, 9, 9, 128)).save(tmp_path / "2.png")
    first, second = find_clips(tmp_path)[0].read()
    assert first.shape == second.shape == (4, 5, 3)
    assert first.dtype == np.uint8
    assert (first[0, 0, 2], second[0, 0, 2]) == (7, 9)


def test_images_of_different_sizes_are_refused_with_both_sizes(tmp_path: Path) -> None:
    write_frames(tmp_path, "1.png")
    write_frames(tmp_path, "2.png", size=(10, 6))
    with pytest.raises(InputError, match=r"2\.png: 10x6.*8x6"):
        list(find_clips(tmp_path)[0].read())


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(InputError, match=r"1\.png"):
        list(find_clips(tmp_path)[0].read())


def test_16_bit_images_are_refused_and_not_quietly_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 3000, dtype=np.uint16)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="8-bit"):
        list(find_clips(tmp_path)[0].read())


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_place_without_clips_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        find_clips(tmp_path / name)


def test_a_video_file_is_a_clip_alone_and_beside_folders_of_images(tmp_path: Path) -> None:
    (video,) = (Path(stinet.__file__).parent / "samples").glob("*.mp4")
    shutil.copy(video, tmp_path / "film.mp4")
    write_frames(tmp_path / "walk", "1.png")
    (alone,), both = find_clips(tmp_path / "film.mp4"), find_clips(tmp_path)
    assert [clip.name for clip in both] == ["film.mp4", "walk"]
    first, second = next(iter(alone.read())), next(iter(both[0].read()))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.uint8
