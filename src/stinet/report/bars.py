"""Bars beside each other, one row a name: as inline SVG for a page, and as a PNG for a document.

Each series has its own colour and its own place in a row, so that no meaning hangs on colour alone; a whisker is drawn
around a bar that has a spread. A value that is None has no bar. Whatever comes from outside is escaped here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["Bar", "Bars", "draw_bars", "save_bars"]

_WIDTH, _NAMES, _RIGHT, _TOP, _FOOT = 760, 230, 64, 26, 34
_BAR, _GAP = 13, 10


@dataclass(frozen=True, slots=True)
class Bar:
    """A value, and how far it may be off on either side."""

    value: float | None
    spread: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Values of several series by name of a row."""

    title: str
    label: str
    """What is measured, with its unit: "PSNR-Y against the full model, dB"."""

    series: Sequence[str]
    rows: Mapping[str, Sequence[Bar]]
    """A bar for every series, by name of the row, from the top down."""


def draw_bars(bars: Bars) -> str:
    """The chart as a <figure>: title, SVG and a key."""
    told = "; ".join(
        f"{name}: " + ", ".join(f"{s} {_figure(b.value)}" for s, b in zip(bars.series, row, strict=True))
        for name, row in bars.rows.items()
    )
    high = _TOP + _FOOT + len(bars.rows) * (_BAR * len(bars.series) + _GAP)
    keys = "".join(
        f'<li><svg class="swatch line-{index}" viewBox="0 0 14 12" width="14" height="12" aria-hidden="true">'
        f'<path d="M1 1h12v10h-12z"/></svg> <b>{escape(name)}</b></li>'
        for index, name in enumerate(bars.series)
    )
    return (
        f'<figure class="plot"><figcaption><h3>{escape(bars.title)}</h3></figcaption>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(bars.title)}, chart">'
        f'<svg viewBox="0 0 {_WIDTH} {high}" role="img" aria-label="{escape(f"{bars.title}: {bars.label}. {told}")}">'
        f'{_inside(bars, high)}</svg></div><ul class="key">{keys}</ul></figure>'
    )


def save_bars(bars: Bars, path: Path) -> None:
    """The chart as a PNG."""
    from matplotlib.figure import Figure

    names = list(bars.rows)
    thick = 0.8 / len(bars.series)
    figure = Figure(figsize=(8, 1.2 + 0.2 * len(names) * (len(bars.series) + 0.6)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for index, series in enumerate(bars.series):
        drawn = [
            (place - 0.4 + thick * (index + 0.5), bars.rows[name][index])
            for place, name in enumerate(names)
            if bars.rows[name][index].value is not None
        ]
        places, values = [place for place, _ in drawn], [bar.value or 0.0 for _, bar in drawn]
        axes.barh(places, values, thick * 0.9, color=f"C{index}", label=series)
        for place, bar in drawn:
            if bar.spread:
                axes.errorbar([bar.value or 0.0], [place], xerr=[bar.spread], color="0.15", capsize=3, linewidth=1)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(bars.label)
    axes.set_title(bars.title, fontsize=11)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)


def _inside(bars: Bars, high: int) -> str:
    ends = [
        bar.value + side * (bar.spread or 0.0)
        for row in bars.rows.values()
        for bar in row
        if bar.value is not None
        for side in (-1, 1)
    ]
    if not ends:
        return f'<text x="{_NAMES}" y="{high // 2}">no values</text>'
    low, top = min(0.0, *ends), max(0.0, *ends)
    wide = (_WIDTH - _NAMES - _RIGHT) / ((top - low) or 1.0)

    def at(value: float) -> float:
        return _NAMES + (value - low) * wide

    parts = [f'<text class="label" x="{_NAMES}" y="14">{escape(bars.label)}</text>']
    for number, (name, row) in enumerate(bars.rows.items()):
        y = float(_TOP + number * (_BAR * len(bars.series) + _GAP))
        middle = y + _BAR * len(bars.series) / 2
        parts.append(f'<text x="{_NAMES - 12}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for index, bar in enumerate(row):
            if bar.value is not None:
                parts.append(_bar(bar, y + index * _BAR, at, index))
    parts.append(f'<path class="grid" d="M{at(0.0):.1f} {_TOP - 4}V{high - _FOOT}"/>')
    return "".join(parts)


def _bar(bar: Bar, y: float, at: Callable[[float], float], index: int) -> str:
    assert bar.value is not None
    left, right = sorted((at(0.0), at(bar.value)))
    middle = y + _BAR / 2
    spread = bar.spread or 0.0
    whisker = f'<path d="M{at(bar.value - spread):.1f} {middle:.1f}H{at(bar.value + spread):.1f}"/>' if spread else ""
    edge = at(max(bar.value + spread, 0.0)) + 5
    return (
        f'<g class="line-{index}"><path d="M{left:.1f} {y + 1:.1f}H{right:.1f}V{y + _BAR - 1:.1f}H{left:.1f}z"/></g>'
        f'<g class="whisker">{whisker}</g>'
        f'<text x="{edge:.1f}" y="{middle + 4:.1f}">{_figure(bar.value)}</text>'
    )


def _figure(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
