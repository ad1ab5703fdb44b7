"""Matrices, fields of arrows and curves as pictures: what is inside a network, and what settings do.

`draw_matrices` shows square maps of one set of nodes beside each other, each with its own scale of colours.
`draw_fields` shows a field's direction as hue and its length as saturation, on one scale for all that share its name.
`draw_curves` shows figures against a setting that was tried at several values, evenly spaced whatever they are.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from stinet.report.strips import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Arrows", "Curve", "Matrix", "draw_curves", "draw_fields", "draw_matrices"]

_DPI = 110
_THUMBNAIL_PX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One square map."""

    title: str
    values: Float[np.ndarray, "n n"]
    shown: Bool[np.ndarray, "n n"] | None = None
    """Pairs that have a value; the others stay grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrows:
    """A field, or a picture where there is none."""

    title: str
    field: Float[np.ndarray, "h w 2"] | None = None
    """(dx, dy) in pixels."""

    picture: UInt8[np.ndarray, "ph pw 3"] | None = None
    scale: str = ""
    """Fields of one name have one scale of lengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Figures against the values of one setting."""

    setting: str
    """Under the axis."""

    points: Mapping[float, Sequence[float]]
    """By value of the setting a figure of every run."""

    default: float | None = None
    """The setting's usual value, marked."""

    ticks: Sequence[float] = ()
    """Values that have a place on the axis whether they were tried or not."""

    published: Mapping[float, float] = field(default_factory=dict)
    """What somebody else has printed, by value."""


def draw_matrices(
    matrices: Sequence[Matrix], levels: Sequence[str], frames: Sequence[UInt8[np.ndarray, "h w 3"]], path: Path,
    title: str = "",
) -> None:  # fmt: skip
    """Save the maps, two a row, under the frames that they are of; nodes are `levels` times the frames."""
    from matplotlib.figure import Figure

    count = len(frames)
    lines = -(-len(matrices) // 2)
    figure = Figure(figsize=(9.4, 1.2 + 4.1 * lines), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.75, 4.1 * lines)).flat
    for number, (axes, frame) in enumerate(zip(top.subplots(1, count, squeeze=False)[0], frames, strict=True)):
        axes.imshow(_thumbnail(frame))
        axes.set_axis_off()
        axes.set_title(f"{number}", fontsize=8, pad=2)
    panels = list(below.subplots(lines, 2, squeeze=False).flat)
    for axes, matrix in zip(panels, matrices, strict=False):
        _draw_matrix(axes, matrix, levels, count, below)
    for axes in panels[len(matrices) :]:
        axes.set_axis_off()
    _save(figure, path)


def draw_fields(rows: Sequence[Sequence[Arrows]], path: Path, title: str = "") -> None:
    """Save rows of fields and pictures; the key of colours stands below, its length in every scale's name."""
    from matplotlib.figure import Figure

    across = max(map(len, rows))
    sample = next(part.field for row in rows for part in row if part.field is not None)
    tall = sample.shape[0] / sample.shape[1]
    figure = Figure(figsize=(2.4 * across, (2.4 * tall + 0.35) * len(rows) + 1.3), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=((2.4 * tall + 0.35) * len(rows), 0.9)).flat
    longest = _scales([part for row in rows for part in row])
    grid = top.subplots(len(rows), across, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, part in zip(axes_row, row, strict=False):
            shown = part.picture if part.field is None else _hues(part.field / longest[part.scale])
            assert shown is not None, f"{part.title} is neither a field nor a picture"
            if part.field is None:
                axes.imshow(shown, aspect="auto", interpolation="antialiased")
                axes.set_box_aspect(tall)
            else:
                axes.imshow(shown, interpolation="nearest")
            axes.set_title(part.title, fontsize=8.5, pad=3)
    _draw_key(below.subplots(1, 1), longest)
    _save(figure, path)


def draw_curves(curves: Sequence[Curve], figure_name: str, path: Path, title: str = "") -> None:
    """Save a panel a setting: a dot a run, a line through the means, and a hollow mark where one is published."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(curves), 3.6), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False, sharey=True)[0], curves, strict=True):
        _draw_curve(axes, curve)
    figure.axes[0].set_ylabel(figure_name)
    _save(figure, path)


def _draw_curve(axes: "Axes", curve: Curve) -> None:
    values = sorted({*curve.ticks, *curve.points, *curve.published})
    places = {value: place for place, value in enumerate(values)}
    tried = sorted(curve.points)
    for value in tried:
        axes.plot([places[value]] * len(curve.points[value]), curve.points[value], "o", color="0.6", markersize=4)
    means = [float(np.mean(curve.points[value])) for value in tried]
    if tried:
        axes.plot([places[value] for value in tried], means, "s-", color="C0", label="ours: mean, and every seed")
    else:
        axes.text(0.5, 0.5, "no runs of ours", color="0.4", ha="center", transform=axes.transAxes)
    if curve.published:
        at, figures = zip(*((places[value], figure) for value, figure in sorted(curve.published.items())), strict=True)
        axes.plot(at, figures, "D", color="C1", markerfacecolor="none", markersize=8, label="paper, where printed")
    if curve.default in places:
        axes.axvline(places[curve.default], color="0.75", linestyle="--", linewidth=1)
    axes.set_xticks(list(places.values()), [f"{value:g}" for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(curve.setting)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if curve.published:
        axes.legend(fontsize=8, loc="lower right")


def _draw_matrix(axes: "Axes", matrix: Matrix, levels: Sequence[str], count: int, figure: "Figure") -> None:
    from matplotlib import colormaps

    values = matrix.values.astype(float)
    if matrix.shown is not None:
        values = np.where(matrix.shown, values, np.nan)
    image = axes.imshow(values, cmap=colormaps["viridis"].with_extremes(bad="0.88"), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=8)
    every = max(count // 4, 1)
    within = [place for place in range(0, count, every) if count - place >= every]  # the next level's first is near
    places = [level * count + place for level in range(len(levels)) for place in within]
    names = [f"{level}{place}" for level in levels for place in within]
    axes.set_xticks(places, names, fontsize=7)
    axes.set_yticks(places, names, fontsize=7)
    for border in range(1, len(levels)):
        axes.axhline(border * count - 0.5, color="white", linewidth=1.2)
        axes.axvline(border * count - 0.5, color="white", linewidth=1.2)
    axes.set_title(matrix.title, fontsize=9)


def _scales(parts: Sequence[Arrows]) -> dict[str, float]:
    """The length that is fully saturated, by the name of the scale: the 99th of a hundred, never nothing."""
    found: dict[str, list[np.ndarray]] = {}
    for part in parts:
        if part.field is not None:
            found.setdefault(part.scale, []).append(np.hypot(part.field[..., 0], part.field[..., 1]).ravel())
    return {name: max(float(np.quantile(np.concatenate(all_), 0.99)), 1e-6) for name, all_ in found.items()}


def _hues(field: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 3"]:
    """Direction as hue, length (1 at most) as saturation: white stands still."""
    from matplotlib.colors import hsv_to_rgb

    angle = np.arctan2(field[..., 1], field[..., 0]) / (2 * np.pi) % 1
    length = np.minimum(np.hypot(field[..., 0], field[..., 1]), 1)
    return hsv_to_rgb(np.stack([angle, length, np.ones_like(length)], axis=-1))


def _draw_key(axes: "Axes", longest: Mapping[str, float]) -> None:
    y, x = np.mgrid[-1:1:81j, -1:1:81j]
    disc = np.where(np.hypot(x, y)[..., None] <= 1, _hues(np.stack([x, y], axis=-1)), 1.0)
    axes.imshow(disc, extent=(-1, 1, 1, -1))
    axes.set_axis_off()
    words = [f"{name}: {length:.3g} px" for name, length in longest.items()]
    axes.text(1.25, 0, "hue: where it leads (right = red)\nrim:\n  " + "\n  ".join(words), va="center", fontsize=8.5)


def _thumbnail(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Shrunk by a whole number, the same in both directions, to 120 pixels at most: means of what a pixel covers."""
    from PIL import Image

    return np.array(Image.fromarray(frame).reduce(max(-(-max(frame.shape[:2]) // _THUMBNAIL_PX), 1)))


def _save(figure: "Figure", path: Path) -> None:
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png")
    save_picture(Image.open(file).convert("RGB"), path)
