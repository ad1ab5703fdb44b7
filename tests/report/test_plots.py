"""Plots: points lie where their values say, gaps are gaps, and no line looks like another."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stinet.report.plots import Plot, draw

Points = list[tuple[int | float, int | float]]


def polylines(svg: str) -> list[Points]:
    """Points of every line, in the key's samples too."""
    found = re.findall(r'<polyline points="([^"]*)"', svg)
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())] for points in found]


def ticks(svg: str, anchor: str) -> list[float]:
    """Numbers along the y axis (anchor end) or the x axis (anchor middle), as they are written."""
    found = re.findall(rf'<text x="[^"]*" y="[^"]*" text-anchor="{anchor}">([^<]*)<', svg)
    return [float(text.replace("\N{MINUS SIGN}", "-").replace(",", "")) for text in found]


def one(points: Points) -> str:
    """Inside of the SVG of a plot with one line."""
    return draw(Plot(title="t", y_label="y", lines={"a": points})).partition('role="img"')[2].partition("</svg>")[0]


@given(
    values=st.lists(st.floats(-1, 1), min_size=2, max_size=20),
    size=st.sampled_from([1e-6, 1e-2, 1.0, 50.0, 1e6]),
    offset=st.sampled_from([0.0, -3.0, 1000.0]),
)
@settings(max_examples=20, deadline=None)
def test_axes_enclose_the_values_in_a_few_equal_steps(values: list[float], size: float, offset: float) -> None:
    values = [size * (offset + value) for value in values]
    numbers = ticks(one(list(enumerate(values))), "end")
    assert 2 <= len(numbers) <= 9
    step = numbers[1] - numbers[0]
    assert step > 0
    assert [b - a for a, b in pairwise(numbers)] == pytest.approx([step] * (len(numbers) - 1))
    slack = 1e-6 * step
    assert numbers[0] - slack <= min(values) <= max(values) <= numbers[-1] + slack


def test_a_larger_value_lies_higher_and_a_later_frame_further_right() -> None:
    (points,) = polylines(one([(0, 20.0), (1, 30.0), (2, 25.0), (4, 25.0)]))
    xs, ys = zip(*points, strict=True)
    assert ys[1] < ys[2] == ys[3] < ys[0]
    assert xs[3] - xs[2] == pytest.approx(2 * (xs[1] - xs[0]), abs=0.3)


def test_a_point_lies_on_the_grid_line_of_its_value() -> None:
    svg = one([(0, 20.0), (1, 26.0), (2, 30.0)])
    grid = re.findall(r'd="M[\d.]+ ([\d.]+)H', svg)
    heights = dict(zip(ticks(svg, "end"), map(float, grid), strict=True))
    assert [y for _, y in polylines(svg)[0]] == [heights[value] for value in (20, 26, 30)]


def test_values_that_are_not_finite_leave_a_gap() -> None:
    svg = one([(0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0), (5, 2.0), (6, 3.0)])
    assert [len(line) for line in polylines(svg)] == [2, 3]
    assert svg.count("<title>") == 5


@pytest.mark.parametrize("points", [[], [(0, math.nan)]])
def test_a_plot_without_values_says_so(points: Points) -> None:
    assert "no values" in one(points)


def test_a_constant_line_and_a_single_point_can_be_drawn() -> None:
    (line,) = polylines(one([(0, 5.0), (1, 5.0)]))
    assert line[0][1] == line[1][1]
    assert one([(3, 0.0)]).count("<title>") == 1


def test_hollow_are_the_markers_of_the_frames_named() -> None:
    text = draw(Plot(title="t", y_label="y", lines={"a": [(i, float(i)) for i in range(7)]}, hollow=range(1, 7, 2)))
    hollow = re.findall(r'<path class="hollow"[^>]*><title>a, frame (\d):', text)
    assert hollow == ["1", "3", "5"]
    assert "hollow: interpolated" in text


def test_twelve_lines_look_different_without_their_order_being_known() -> None:
    text = draw(Plot(title="t", y_label="y", lines={f"model {i}": [(0, 1.0), (1, 2.0)] for i in range(12)}))
    samples = re.findall(r'<svg class="swatch (line-\d)".*?<polyline points="[^"]*"(.*?)/>.*?M17.0 6.0(.*?)"', text)
    assert len(set(samples)) == 12
    assert len({sample[1:] for sample in samples}) >= 4, "four of them in black and white too"


def test_long_lines_have_no_markers() -> None:
    assert "<title>" not in one([(i, float(i % 7)) for i in range(500)])


def test_points_alone_are_not_joined() -> None:
    text = draw(Plot(title="t", y_label="y", x_label="frames/s", joined=False, lines={"a": [(1, 2.0), (3, 4.0)]}))
    assert polylines(text) == []
    assert text.count("<title>") == 2


def test_the_label_for_those_who_do_not_see_it_has_the_figures() -> None:
    text = draw(Plot(title="walk", y_label="PSNR-Y, dB", lines={"net": [(0, 24.0), (1, 25.0)]}))
    assert 'aria-label="walk: PSNR-Y, dB by frame. net: mean 24.50, 24.00 to 25.00"' in text
