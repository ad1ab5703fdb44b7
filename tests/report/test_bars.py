"""Bars are as long as their values, on their side of zero, and names from outside stay text."""

import re
from pathlib import Path

from stinet.report.bars import Bar, Bars, draw_bars, save_bars


def chart(*values: float | None, spread: float | None = None, name: str = "row") -> Bars:
    rows = {f"{name} {number}": (Bar(value, spread),) for number, value in enumerate(values)}
    return Bars(title="t", label="dB", series=("ours",), rows=rows)


def extents(svg: str) -> list[tuple[float, float]]:
    """Left and right of every bar, without the key's."""
    inside = svg.partition('role="img"')[2].partition("</svg>")[0]
    return [(float(a), float(b)) for a, b in re.findall(r'line-\d"><path d="M([\d.]+) [\d.]+H([\d.]+)V', inside)]


def test_bars_are_as_long_as_their_values_on_their_side_of_zero() -> None:
    (near, far, up) = extents(draw_bars(chart(-1.0, -2.0, 0.5)))
    zero = near[1]
    assert far[1] == zero == up[0]
    assert far[1] - far[0] > 1.9 * (near[1] - near[0])
    assert up[1] > zero > near[0] > far[0]


def test_a_value_that_is_not_there_has_no_bar() -> None:
    assert len(extents(draw_bars(chart(None, 1.0)))) == 1
    assert "no values" in draw_bars(chart(None))


def test_only_a_bar_with_a_spread_has_a_whisker() -> None:
    assert draw_bars(chart(1.0, spread=0.2)).count('"whisker"><path') == 1
    assert draw_bars(chart(1.0)).count('"whisker"><path') == 0


def test_names_are_escaped_and_values_are_told_in_words() -> None:
    svg = draw_bars(chart(-0.64, name="<b>&"))
    assert "<b>&" not in svg
    assert "&lt;b&gt;&amp;" in svg
    assert "\N{MINUS SIGN}0.64" in svg


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    save_bars(chart(-1.0, None, 0.5, spread=0.1), tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
