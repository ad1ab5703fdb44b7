"""Maps, fields and curves as pictures: nothing is drawn where there is nothing to show."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stinet.errors import UsageError
from stinet.report import maps
from stinet.report.maps import Arrows, Curve, Matrix, draw_curves, draw_fields, draw_matrices

FRAMES = [np.full((12, 16, 3), 40 * number, np.uint8) for number in range(3)]


def ink(path: Path, *, below: float, right: float) -> float:
    """Share of pixels that are not white, in the corner behind these shares of height and width."""
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("L"))
    corner = pixels[int(below * pixels.shape[0]) :, int(right * pixels.shape[1]) :]
    return float((corner < 250).mean())


def drawn(count: int, path: Path) -> Path:
    values = np.linspace(0, 1, 36).reshape(6, 6)
    draw_matrices([Matrix(title=str(number), values=values) for number in range(count)], ("L", "H"), FRAMES, path)
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_a_place_without_a_map_stays_empty(tmp_path: Path, count: int) -> None:
    odd, even = drawn(count, tmp_path / "odd.png"), drawn(count + 1, tmp_path / "even.png")
    assert ink(odd, below=0.6, right=0.55) == 0
    assert ink(even, below=0.6, right=0.55) > 0.2


def test_a_published_figure_is_drawn_where_nothing_was_tried(tmp_path: Path) -> None:
    def curve(**more: object) -> bytes:
        draw_curves([Curve(setting="x", points={}, ticks=[0.0, 0.1], **more)], "dB", tmp_path / "c.png")  # pyright: ignore
        return (tmp_path / "c.png").read_bytes()

    assert curve() != curve(published={0.1: -0.2})


def test_fields_of_one_scale_share_its_length() -> None:
    short, long = np.full((4, 5, 2), 1.0), np.full((4, 5, 2), 3.0)
    parts = [Arrows(title="a", field=short, scale="s"), Arrows(title="b", field=long, scale="s"),
             Arrows(title="c", field=0 * short, scale="still"), Arrows(title="d", picture=FRAMES[0])]  # fmt: skip
    found = maps._scales(parts)
    assert found == {"s": pytest.approx(np.hypot(3, 3)), "still": 1e-6}


@pytest.mark.parametrize(("height", "width", "shown"), [
    (256, 448, (64, 112)), (576, 720, (96, 120)), (12, 16, (12, 16)),
])  # fmt: skip
def test_a_thumbnail_keeps_the_shape_of_its_frame(height: int, width: int, shown: tuple[int, int]) -> None:
    stripes = np.zeros((height, width, 3), np.uint8)
    stripes[:, ::2] = 200
    small = maps._thumbnail(stripes)
    assert small.shape[:2] == shown
    if shown != (height, width):
        assert np.abs(small.astype(int) - 100).max() < 40  # a mean, no stripe picked out


def test_a_field_to_the_right_is_red_and_none_is_white() -> None:
    field = np.zeros((1, 3, 2))
    field[0, 0, 0], field[0, 1] = 2.0, (0.0, 1.0)
    right, down, none = maps._hues(field)[0]
    np.testing.assert_allclose(right, (1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(down, (0.5, 1, 0), atol=1e-6)
    np.testing.assert_allclose(none, (1, 1, 1))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_fields_and_curves_are_saved(tmp_path: Path, suffix: str) -> None:
    field = np.random.default_rng(0).normal(size=(9, 12, 2))
    rows = [[Arrows(title="frame", picture=FRAMES[1]), Arrows(title="flow", field=field, scale="flow")]]
    draw_fields(rows, tmp_path / f"fields{suffix}")
    draw_curves([Curve(setting="x", points={0.1: [1.0, 2.0], 0.5: [3.0]}, default=0.1)], "dB", tmp_path / f"c{suffix}")
    for name in ("fields", "c"):
        assert ink(tmp_path / f"{name}{suffix}", below=0, right=0) > 0.02
    with pytest.raises(UsageError, match=r"\.png or \.webp"):
        draw_fields(rows, tmp_path / "fields.gif")
