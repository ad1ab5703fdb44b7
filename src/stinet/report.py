"""What people look at: tables as plain text, training curves and before/after pictures as PNG.

Takes plain values and arrays; knows no model, no clip and no metric. The only file that loads matplotlib, and
only when a picture is drawn (its bundled DejaVu is the one font).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

__all__ = ["before_after", "busiest_box", "curve", "read_rows", "table"]

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels; the last two lie outside."""

_PARTS = (("all frames", None), ("given", "given"), ("interpolated", "interpolated"))
_INK, _FAINT, _PAPER, _ACCENT = (28, 30, 34), (110, 114, 122), (255, 255, 255), (255, 176, 0)
_COLUMN_PX, _TALLEST_PX, _GAP_PX, _HEAD_PX = 800, 620, 16, 58
_ZOOM_SHARE = 1 / 4
"""Width of the zoomed crop in widths of the frame."""


def table(report: Mapping[str, Any]) -> str:
    """A report of `evaluate` (its JSON object, of one model or of several) as text of fixed-width columns."""
    models = list(report["models"].values()) if "models" in report else [report]
    blocks = [_model_table(model) for model in models]
    if len(models) > 1:
        blocks.append(_comparison(models))
    return "\n\n".join(blocks)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log; a last line that was cut off while it was written is left out."""
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise
    return rows


def curve(log: Path | Iterable[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw a training run: loss above, validation below, against steps, as a PNG at `path`.

    `log` is a JSONL file or its rows. A row has "step" and either "loss" or "validation", a mapping of "psnr_db",
    "given_db" and "interpolated_db". Other keys and rows are ignored, and so are values that are not finite.
    """
    from matplotlib.figure import Figure

    rows = [row for row in (read_rows(log) if isinstance(log, Path) else log) if "step" in row]
    losses = _series(rows, "loss")
    figure = Figure(figsize=(8, 6), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    if losses[0]:
        above.plot(*losses, color="0.78", linewidth=0.8, label="as logged")
        above.plot(losses[0], _smooth(losses[1]), color="C0", linewidth=1.6, label="running median")
    if losses[1] and min(losses[1]) > 0:
        above.set_yscale("log")
    above.set_ylabel("loss")
    measured = [{"step": row["step"], **row["validation"]} for row in rows if row.get("validation")]
    for key, label, style in (
        ("psnr_db", "all frames", "C3o-"),
        ("given_db", "given", "C2.--"),
        ("interpolated_db", "interpolated", "C1.--"),
    ):
        series = _series(measured, key)
        if series[0]:
            below.plot(*series, style, markersize=4, linewidth=1.4, label=f"{label}: {series[1][-1]:.2f} dB")
    below.set(xlabel="step", ylabel="validation PSNR-Y, dB")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path)


def before_after(
    source: UInt8[np.ndarray, "h w 3"],
    result: UInt8[np.ndarray, "sh sw 3"],
    path: Path,
    zoom: Box | None = None,
    labels: tuple[str, str] = ("source, bicubic", "result"),
) -> None:
    """Save a PNG: left the source enlarged by bicubic to the result's size, right the result, a zoomed crop under each.

    `zoom` is in pixels of the result; without it the most detailed area is taken. Both sides go through the same steps
    after the enlargement, so that what differs is what the model did.
    """
    from PIL import Image, ImageDraw

    height, width = result.shape[:2]
    box = zoom or busiest_box(result)
    sides = [Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC), Image.fromarray(result)]
    sizes = [source.shape[1::-1], (width, height)]
    column, tall = _fit(width, height)
    crop_tall = round(column * (box[2] - box[0]) / (box[3] - box[1]))
    canvas = Image.new("RGB", (2 * column + 3 * _GAP_PX, _HEAD_PX + tall + crop_tall + 2 * _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (side, label, size) in enumerate(zip(sides, labels, sizes, strict=True)):
        left = _GAP_PX + index * (column + _GAP_PX)
        draw.text((left, 9), label, fill=_INK, font=_font(20))
        draw.text((left, 34), f"{size[0]} x {size[1]}", fill=_FAINT, font=_font(14))
        whole = side.resize((column, tall), Image.Resampling.LANCZOS)
        crop = side.crop((box[1], box[0], box[3], box[2])).resize((column, crop_tall), Image.Resampling.BICUBIC)
        canvas.paste(_marked(whole, box, column / width), (left, _HEAD_PX))
        canvas.paste(_marked(crop, (0, 0, crop_tall, column), 1.0), (left, _HEAD_PX + tall + _GAP_PX))
    canvas.save(path)


def busiest_box(frame: UInt8[np.ndarray, "h w 3"]) -> Box:
    """The area of most detail: 16:9, a quarter of the frame's width, where brightness changes most between pixels."""
    height, width = frame.shape[:2]
    box_w = max(round(width * _ZOOM_SHARE), min(width, 16))
    box_h = min(max(round(box_w * 9 / 16), 1), height)
    grey = frame.astype(np.float64).mean(axis=2)
    change = np.zeros((height, width))
    change[:, 1:] += np.minimum(np.abs(np.diff(grey, axis=1)), 64)  # a few hard edges are not detail
    change[1:] += np.minimum(np.abs(np.diff(grey, axis=0)), 64)
    total = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    area = total[box_h:, box_w:] - total[:-box_h, box_w:] - total[box_h:, :-box_w] + total[:-box_h, :-box_w]
    top, left = (int(place) for place in np.unravel_index(area.argmax(), area.shape))
    return top, left, top + box_h, left + box_w


def _model_table(model: Mapping[str, Any]) -> str:
    about, protocol = model["model"], model["protocol"]
    names = [*model["clips"], f"mean of {len(model['clips'])}"]
    label_width = max(len(name) for name in names)
    head = f"{'':{label_width}} {'frames':>7}" + "".join(f"{label:>18}" for label, _ in _PARTS)
    units = f"{'clip':{label_width}} {'':>7}" + f"{'PSNR-Y':>10}{'SSIM':>8}" * len(_PARTS)
    lines = [
        f"{about['name']}: x{about['scale']} in space, x{protocol['step']} in time",
        f"protocol: {protocol['windows']}; {_variant(protocol)}",
        "",
        head,
        units,
    ]
    for name, scores in zip(names, [*model["clips"].values(), model["mean"]], strict=True):
        if scores is model["mean"]:
            lines.append("-" * len(head))
        lines.append(f"{name:{label_width}} {scores['frames']:>7}{_columns(scores)}")
    if model["mean"]["identical_frames"]:
        lines.append(
            f"{model['mean']['identical_frames']} frames are identical to the truth and count as"
            f" {protocol['identical_frames_psnr_db']:.0f} dB"
        )
    if about["frames_per_second"]:
        lines.append(
            f"model time {about['seconds']:.1f} s for {about['output_frames']} frames:"
            f" {about['frames_per_second']:.2f} frames/s"
        )
    return "\n".join(lines)


def _comparison(models: Sequence[Mapping[str, Any]]) -> str:
    label_width = max(len(model["model"]["name"]) for model in models)
    head = f"{'':{label_width}}" + "".join(f"{label:>18}" for label, _ in _PARTS) + f"{'frames/s':>11}"
    units = f"{'mean':{label_width}}" + f"{'PSNR-Y':>10}{'SSIM':>8}" * len(_PARTS)
    rows = [
        f"{model['model']['name']:{label_width}}{_columns(model['mean'])}"
        f"{model['model']['frames_per_second'] or float('nan'):>11.2f}"
        for model in models
    ]
    return "\n".join([head, units, *rows])


def _columns(scores: Mapping[str, Any]) -> str:
    cells: list[str] = []
    for _, key in _PARTS:
        part = scores if key is None else scores[key]
        cells += (
            [f"{'-':>10}{'-':>8}"] if part["psnr_db"] is None else [f"{part['psnr_db']:>10.2f}{part['ssim']:>8.4f}"]
        )
    return "".join(cells)


def _variant(protocol: Mapping[str, Any]) -> str:
    return "every frame counts" if protocol["variant"] == "all" else f"variant {protocol['variant']}, tails dropped"


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have `key`; of a step logged twice (a resumed run) the later row holds."""
    found = {row["step"]: row[key] for row in rows if row.get(key) is not None and math.isfinite(row[key])}
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _smooth(values: Sequence[float]) -> list[float]:
    reach = max(len(values) // 40, 2)
    return [float(np.median(values[max(i - reach, 0) : i + reach + 1])) for i in range(len(values))]


def _fit(width: int, height: int) -> tuple[int, int]:
    """Size at which a frame is shown: a column wide unless that is too tall, never so narrow that labels are cut."""
    factor = max(min(_COLUMN_PX / width, _TALLEST_PX / height), 340 / width)
    return round(width * factor), round(height * factor)


def _marked(image: "Image", box: Box, factor: float) -> "Image":
    from PIL import ImageDraw

    top, left, bottom, right = (round(place * factor) for place in box)
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=_ACCENT, width=3)
    return image


def _font(size_px: int) -> "FreeTypeFont":
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
