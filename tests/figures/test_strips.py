"""Strips and slices: which place of which frame they show, and of whom."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures.small_clips import write_clip
from stinet.catalogue import clip_function
from stinet.errors import InputError, UsageError
from stinet.figures.films import Film, chosen_clips, flow_at, moving_box, name_of, shoot
from stinet.figures.slices import held, slices
from stinet.figures.strips import crop_psnr_db, moments, strip
from stinet.report.strips import Cell, Strip, draw_strips, enlarged

PEERS = {name: clip_function(name) for name in ("blend+bicubic", "flow+bicubic")}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder = write_clip(tmp_path_factory.mktemp("clips") / "moving")
    return shoot(chosen_clips([folder])[0], PEERS, 5)


def test_a_film_has_the_truth_and_every_models_frames(film: Film, tmp_path: Path) -> None:
    assert film.given == (True, False, True, False, True)
    assert set(film.made) == set(PEERS)
    assert {frames.shape for frames in (film.truth, film.bicubic, *film.made.values())} == {(5, 64, 96, 3)}
    np.testing.assert_array_equal(film.made["blend+bicubic"][2], film.bicubic[2])  # a given frame is enlarged, no more
    assert (film.made["blend+bicubic"][1] != film.bicubic[1]).any()


def test_a_clip_of_two_frames_makes_no_figure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="three at least"):
        shoot(chosen_clips([write_clip(tmp_path / "short", 2)])[0], PEERS, 13)


@pytest.mark.parametrize(("model", "name"), [
    ("stinet-s", "stinet-s"), ("mine/net.safetensors", "net"), ("runs/full.seed-0/latest.safetensors", "full.seed-0"),
    ("latest.safetensors", "latest"),
])  # fmt: skip
def test_weights_of_a_run_are_called_by_its_folder(model: str, name: str) -> None:
    assert name_of(model) == name


def test_clips_come_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_clip(tmp_path / "clips" / name, 3)
    assert [clip.name for clip in chosen_clips([tmp_path / "clips"], ("two", "one"))] == ["two", "one"]
    with pytest.raises(InputError, match="no clip 'six'"):
        chosen_clips([tmp_path / "clips"], ("six",))


def test_clips_of_one_name_in_two_folders_are_both_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path / name / "walk", 3)
    folders = [tmp_path / "a", tmp_path / "b"]
    assert [clip.name for clip in chosen_clips(folders)] == ["a/walk", "b/walk"]
    assert [clip.name for clip in chosen_clips(folders, ("b/walk",))] == ["b/walk"]
    with pytest.raises(InputError, match="named twice"):
        chosen_clips([tmp_path / "a", tmp_path / "a"])


def test_motion_is_that_of_one_frame_at_the_ends_of_a_film_too(film: Film) -> None:
    along = [
        float(np.median(np.hypot(*flow_at(film.truth, index)[16:48, 32:64].reshape(-1, 2).T))) for index in range(5)
    ]
    assert along[0] == pytest.approx(along[2], rel=0.2)
    assert along[4] == pytest.approx(along[2], rel=0.2)


def test_the_box_lies_where_detail_moves(film: Film) -> None:
    top, left, bottom, right = moving_box(film.truth[1], flow_at(film.truth, 1), (16, 24))
    assert (bottom - top, right - left) == (16, 24)
    assert abs((top + bottom) / 2 - 32) < 14
    assert abs((left + right) / 2 - 48) < 20


def test_a_strip_shows_an_interpolated_frame_by_everyone_and_the_truth(film: Film) -> None:
    (row,) = moments([film])
    assert "interpolated" in row.detail
    assert [cell.label for cell in row.cells] == ["bicubic of the moment", *PEERS, "truth"]
    top, left, bottom, right = row.marked
    index = int(row.detail.split()[1].rstrip(","))
    np.testing.assert_array_equal(row.cells[-1].picture[::3, ::3], film.truth[index][top:bottom, left:right])
    truth, made = film.truth[index][top:bottom, left:right], film.made["flow+bicubic"][index][top:bottom, left:right]
    assert row.cells[2].note == f"{crop_psnr_db(made, truth):.2f} dB"


def test_the_fastest_film_comes_first(film: Film) -> None:
    still = Film(
        name="still", truth=film.truth[[0] * 5], bicubic=film.bicubic, given=film.given, made={"a": film.truth[[0] * 5]}
    )
    assert [row.title for row in moments([still, film])] == ["moving", "still"]


def test_a_frame_and_a_box_can_be_named(film: Film) -> None:
    (row,) = moments([film], 3, (8, 16, 40, 64), {"flow+bicubic": "flow"})
    assert row.marked == (8, 16, 40, 64)
    assert "frame 3" in row.detail
    assert row.cells[2].label == "flow"
    with pytest.raises(UsageError, match="no frame 5"):
        strip(film, 5)
    with pytest.raises(UsageError, match="96x64"):
        strip(film, 1, (0, 0, 65, 10))


def test_identical_crops_have_no_finite_psnr(film: Film) -> None:
    assert math.isinf(crop_psnr_db(film.truth[0], film.truth[0]))


def test_a_slice_is_one_line_of_every_frame(film: Film) -> None:
    row = slices(film, 32)
    top, left, bottom, right = row.marked
    assert (top, bottom) == (32, 33)
    down = row.cells[-1].picture.shape[0] // 5
    np.testing.assert_array_equal(row.cells[-1].picture[::down, ::2], film.truth[:, 32, left:right])
    with pytest.raises(UsageError, match="no line 64"):
        slices(film, 64)


def test_without_a_model_given_frames_are_held(film: Film) -> None:
    np.testing.assert_array_equal(held(film), film.bicubic[[0, 0, 2, 2, 4]])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_strips_are_drawn_at_the_size_of_their_cells(suffix: str, tmp_path: Path) -> None:
    cells = [Cell(label=str(number), picture=np.full((20, 30, 3), 40 * number, np.uint8)) for number in range(5)]
    row = Strip(title="a", detail="b", whole=np.zeros((48, 64, 3), np.uint8), marked=(0, 0, 9, 9), cells=cells)
    draw_strips([row, row], tmp_path / f"s{suffix}", columns=2)
    with Image.open(tmp_path / f"s{suffix}") as picture:
        pixels = np.array(picture.convert("RGB"))
    for number in range(1, 5):
        assert (pixels == 40 * number).all(axis=2).sum() >= 2 * 20 * 30


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    row = Strip(
        title="a", detail="b", whole=np.zeros((9, 9, 3), np.uint8), marked=(0, 0, 2, 2),
        cells=[Cell(label="a", picture=enlarged(np.zeros((2, 2, 3), np.uint8), 4))],
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"\.png or \.webp"):
        draw_strips([row], tmp_path / "s.gif")
