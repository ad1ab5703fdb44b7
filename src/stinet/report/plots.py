"""Lines over frames or steps as inline SVG: no picture file, no script, the colours of the page around them.

A line is told from the others by colour, dashes and the shape of its markers, so that no meaning hangs on colour alone.
Values that are not finite leave a gap. Whatever comes from outside is escaped here.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Plot", "draw"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 260, 52, 8, 28, 42
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_COLOURS = 6
"""Classes line-0 .. line-5 of page.css."""

_MARKED_POINTS = 80
"""A line of more points is drawn without markers."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One or several lines over a common axis."""

    title: str
    y_label: str
    """With its unit: "PSNR-Y, dB"."""

    lines: Mapping[str, Sequence[tuple[int | float, int | float]]]
    """Points (x, y) by name; x rises."""

    x_label: str = "frame"
    hollow: Collection[int | float] = ()
    """Values of x whose markers are hollow: the interpolated frames of a clip."""

    hollow_label: str = "hollow: interpolated"
    joined: bool = True
    """False: points alone, for a plot of one figure against another."""


def draw(plot: Plot) -> str:
    """The plot as a <figure>: title, SVG and a key with every line's mean."""
    lines = {name: [(float(x), float(y)) for x, y in points] for name, points in plot.lines.items()}
    summary = "; ".join(f"{name}: {_summary(points)}" for name, points in lines.items())
    label = escape(f"{plot.title}: {plot.y_label} by {plot.x_label}. {summary}")
    key = "".join(_key(name, points, index, plot) for index, (name, points) in enumerate(lines.items()))
    hollow = f"<li>{escape(plot.hollow_label)}</li>" if plot.hollow else ""
    return (
        f'<figure class="plot"><figcaption><h3>{escape(plot.title)}</h3></figcaption>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(plot.title)}, plot">'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{_inside(plot, lines)}</svg></div>'
        f'<ul class="key">{key}{hollow}</ul></figure>'
    )


def _key(name: str, points: Sequence[Point], index: int, plot: Plot) -> str:
    """How a line looks, its name and its figures."""
    line = _line([(1.0, 6.0), (33.0, 6.0)], index) if plot.joined else ""
    sample = f"{line}{_marker(17.0, 6.0, index, is_hollow=False)}"
    swatch = (
        f'<svg class="swatch line-{index % _COLOURS}" viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">'
    )
    return f"<li>{swatch}{sample}</svg> <b>{escape(name)}</b> {escape(_summary(points))}</li>"


def _inside(plot: Plot, lines: Mapping[str, Sequence[Point]]) -> str:
    """Axes and lines."""
    finite = [point for points in lines.values() for point in points if _is_finite(point)]
    if not finite:
        return f'<text x="{_LEFT}" y="{_HEIGHT // 2}">no values</text>'
    x_ticks = _ticks([x for x, _ in finite], 8, whole=all(x.is_integer() for x, _ in finite))
    y_ticks = _ticks([y for _, y in finite], 5)
    left, right = min(x for x, _ in finite), max(x for x, _ in finite)
    low, high = y_ticks[0], y_ticks[-1]

    def place(point: Point) -> Point:
        x = (point[0] - left) / ((right - left) or 1.0)
        y = (point[1] - low) / (high - low)
        return _LEFT + 8 + x * (_WIDTH - _LEFT - _RIGHT - 16), _HEIGHT - _BOTTOM - y * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="label" x="0" y="14">{escape(plot.y_label)}</text>']
    for value in y_ticks:
        y = place((left, value))[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(value, y_ticks)}</text>')
    for value in (tick for tick in x_ticks if left <= tick <= right):
        x = place((value, low))[0]
        parts.append(f'<path class="grid" d="M{x:.1f} {_HEIGHT - _BOTTOM}v5"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 19}" text-anchor="middle">{_number(value, x_ticks)}</text>'
        )
    parts.append(
        f'<text class="label" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">{escape(plot.x_label)}</text>'
    )
    for index, (name, points) in enumerate(lines.items()):
        runs = [[place(point) for point in run] for run in _runs(points)] if plot.joined else []
        parts.append(
            f'<g class="line-{index % _COLOURS}">' + "".join(_line(run, index) for run in runs if len(run) > 1)
        )
        shown = [point for point in points if _is_finite(point)]
        if len(shown) <= _MARKED_POINTS or not plot.joined:
            for point in shown:
                about = escape(f"{name}, {plot.x_label} {point[0]:g}: {_figure(point[1])} ({plot.y_label})")
                parts.append(_marker(*place(point), index, is_hollow=point[0] in plot.hollow, about=about))
        parts.append("</g>")
    return "".join(parts)


def _line(points: Sequence[Point], index: int) -> str:
    dash = _DASHES[index % len(_DASHES)]
    return (
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"'
        + (f' stroke-dasharray="{dash}"' if dash else "")
        + "/>"
    )


def _marker(x: float, y: float, index: int, *, is_hollow: bool, about: str = "") -> str:
    """Circle, square, triangle or rhombus."""
    shape = (
        "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z", "m-2.7-2.7h5.4v5.4h-5.4z", "m0-3.6l3.4 5.9h-6.8z", "m0-4l4 4l-4 4l-4-4z",
    )[index % 4]  # fmt: skip
    title = f"<title>{about}</title>" if about else ""
    hollow = ' class="hollow"' if is_hollow else ""
    return f'<path{hollow} d="M{x:.1f} {y:.1f}{shape}">{title}</path>'


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Stretches of finite points."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if _is_finite(point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return runs


def _ticks(values: Sequence[float], count: int, *, whole: bool = False) -> list[float]:
    """About `count` round numbers that reach from below the least value to above the largest."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        reach = abs(low) / 20 or 0.5
        low, high = low - reach, high + reach
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    if whole:
        step = float(max(round(step), 1))
    return [step * number for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _number(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = max(-math.floor(math.log10(step) + 1e-9), 0)
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _summary(points: Sequence[Point]) -> str:
    values = [y for x, y in points if _is_finite((x, y))]
    if not values:
        return "no values"
    if len(values) == 1:
        return _figure(values[0])
    return f"mean {_figure(sum(values) / len(values))}, {_figure(min(values))} to {_figure(max(values))}"


def _figure(value: float) -> str:
    """Four digits that count."""
    digits = 3 - math.floor(math.log10(abs(value))) if value else 3
    return f"{value:,.{min(max(digits, 0), 9)}f}".replace("-", "\N{MINUS SIGN}")


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
