"""Reports of `evaluate` as tables: views for a page, and the same views as text of fixed-width columns.

For every model its clips (or, where they are many, the groups of its benchmark) with means; then the models side by
side; then, where clips are those of the paper's sets, the columns of its Table I, or of Table II with several frames
in between. The protocol is the same for all of them and stands once, above. A report is taken as its JSON object, of
one model or of several.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stinet.report.page import Cell, Column, TableView
from stinet.report.paper import TABLE_1, TABLE_2

__all__ = ["as_markdown", "as_text", "models_of", "protocol_of", "table", "views"]

MOST_CLIPS = 60
"""Of more clips, text has the means alone."""

_PARTS = (("all frames", None), ("given", "given"), ("interpolated", "interpolated"))
_SETS = {"vid4": "Vid4", "fast": "Vimeo-Fast", "medium": "Vimeo-Medium", "slow": "Vimeo-Slow", "adobe240": "Adobe240"}
"""The paper's sets, in the order of its columns."""


def table(report: Mapping[str, Any]) -> str:
    """A report of `evaluate` as text, ready to print."""
    blocks = [f"protocol: {protocol_of(report)}"]
    for view in views(report):
        rows = view.rows if len(view.rows) <= MOST_CLIPS else ()
        lines = [view.caption, *([view.note] if view.note else []), "", as_text(view.head, rows, view.foot)]
        blocks.append("\n".join(lines))
    blocks += [said for model in models_of(report) if (said := "\n".join(_remarks(model)))]
    return "\n\n".join(blocks)


def models_of(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The object of every model in a report."""
    return list(report["models"].values()) if "models" in report else [report]


def protocol_of(report: Mapping[str, Any]) -> str:
    """How all clips of a report were shown; of septuplets too, where they were shown in another way."""
    model = models_of(report)[0]
    protocol, groups = model["protocol"], model.get("groups", {})
    words = [protocol["name"], protocol["windows"]]
    if "septuplets" in protocol and any(group in groups for group in ("fast", "medium", "slow")):
        words.append(f"of septuplets {protocol['septuplets']}")
    return "; ".join(words)


def views(report: Mapping[str, Any]) -> list[TableView]:
    """Every table of a report: of each model, of the models side by side, and the paper's where it compares."""
    models = models_of(report)
    found = [_clips_view(model) for model in models]
    if len(models) > 1:
        found.append(_side_by_side(models))
    is_papers = models[0]["protocol"].get("degradation", "bicubic") == "bicubic"
    if is_papers and any(group in _SETS for model in models for group in model.get("groups", ())):
        found.append(_papers_view(models))
    return found


def as_text(head: Sequence[Column], rows: Sequence[Sequence[Cell]], foot: Sequence[Sequence[Cell]] = ()) -> str:
    """Columns of fixed width: two lines of headings, the rows, and under a rule the foot."""
    written = [[_written(cell, column) for cell, column in zip(row, head, strict=True)] for row in [*rows, *foot]]
    widths = [max(len(column.name), *(len(row[i]) for row in written), 0) for i, column in enumerate(head)]
    spans = _spans(head)
    for name, first, last in spans:
        lacking = len(name) - sum(widths[first:last]) - 2 * (last - first - 1)
        widths[last - 1] += max(lacking, 0)

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            [cells[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True))]
        )

    groups = "  ".join(
        name.rjust(sum(widths[first:last]) + 2 * (last - first - 1)) if first else name.ljust(widths[0])
        for name, first, last in spans
    )
    lines = [groups] if groups.strip() else []
    lines += [line([column.name for column in head]), *map(line, written[: len(rows)])]
    if foot:
        lines += ["-" * len(line(written[-1])), *map(line, written[len(rows) :])]
    return "\n".join(text.rstrip() for text in lines)


def as_markdown(head: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """A table of Markdown; a column's group stands before its name."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    names = [": ".join(part for part in (column.group, column.name) if part) for column in head]
    written = [[_written(cell, column) for cell, column in zip(row, head, strict=True)] for row in rows]
    return "\n".join([line(names), line(["---"] * len(head)), *map(line, written)])


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column and where its figure stands in scores: in `part` of them, or in the whole."""

    column: Column
    key: str
    part: str | None = None

    def of(self, scores: Mapping[str, Any]) -> float | None:
        return (scores if self.part is None else scores[self.part]).get(self.key)


def _figures(model: Mapping[str, Any]) -> list[_Figure]:
    """The columns of what was measured; models compete in them, clips do not."""
    found = [
        figure
        for label, part in _PARTS
        for figure in (
            _Figure(Column("PSNR-Y", label, 2, "higher"), "psnr_db", part),
            _Figure(Column("SSIM", label, 4, "higher"), "ssim", part),
        )
    ]
    extras = (
        _Figure(Column("PSNR", "RGB, all frames", 2, "higher"), "rgb_psnr_db"),
        _Figure(Column("SSIM", "RGB, all frames", 4, "higher"), "rgb_ssim"),
        _Figure(Column("motion px", "interpolated pairs", 3, "lower"), "motion_px", "interpolated"),
        _Figure(Column("flicker", "interpolated pairs", 3, "lower"), "flicker", "interpolated"),
        _Figure(Column("LPIPS", "all frames", 4, "lower"), "lpips"),
    )
    return found + [figure for figure in extras if figure.key in model["mean"]]


def _clips_view(model: Mapping[str, Any]) -> TableView:
    about, figures = model["model"], _figures(model)

    def row(name: str, scores: Mapping[str, Any]) -> list[Cell]:
        return [name, float(scores["frames"]), *(figure.of(scores) for figure in figures)]

    parts = {
        name: scores for name, scores in model.get("groups", {}).items() if scores["frames"] < model["mean"]["frames"]
    }
    groups = [row(_SETS.get(name) or name, scores) for name, scores in parts.items()]
    return TableView(
        caption=f"{about['name']}: x{about['scale']} in space, x{model['protocol']['step']} in time",
        head=[Column("clip"), Column("frames", digits=0), *(replace(figure.column, better="") for figure in figures)],
        rows=[row(name, scores) for name, scores in model["clips"].items()],
        foot=[*groups, row(f"mean of {len(model['clips'])}", model["mean"])],
    )


def _side_by_side(models: Sequence[Mapping[str, Any]]) -> TableView:
    figures = _figures(models[0])
    return TableView(
        caption="models side by side",
        head=[
            Column("mean"),
            *(figure.column for figure in figures),
            Column("frames/s", "", 2, "higher"),
            Column("parameters", digits=0),
        ],
        rows=[
            [
                model["model"]["name"],
                *(figure.of(model["mean"]) for figure in figures),
                model["model"]["frames_per_second"],
                _count(model["model"].get("parameters")),
            ]
            for model in models
        ],
    )


def _papers_view(models: Sequence[Mapping[str, Any]]) -> TableView:
    """The columns of the paper's Table I (one frame in between) or of its Table II (3 or 5)."""
    between = models[0]["protocol"]["step"] - 1
    sets = [
        column
        for name in _SETS.values()
        for column in (Column("PSNR", name, 2, "higher"), Column("SSIM", name, 4, "higher"))
    ]
    cost = [] if between > 1 else [Column("fps", "", 2, "higher"), Column("parameters", digits=0)]
    rows: list[list[Cell]] = []
    for model in models:
        about, groups = model["model"], model.get("groups", {})
        row: list[Cell] = [f"{about['name']}({between})" if between > 1 else about["name"]]
        row += [groups[group][key] if group in groups else None for group in _SETS for key in ("psnr_db", "ssim")]
        row += [about.get("papers_fps", {}).get("frames_per_second"), _count(about.get("parameters"))][: len(cost)]
        rows.append(row)
    published = TABLE_2.get(between, ()) if between > 1 else TABLE_1
    notes = ["fps as the papers take it (--fps)"] if cost else []
    if published:
        notes.append("published: the paper's own figures, not measured here")
    return TableView(
        caption=f"the columns of Table {'II' if between > 1 else 'I'}: PSNR and SSIM on Y",
        head=[Column("method"), *sets, *cost],
        rows=rows,
        foot=[[f"{method}, published", *figures] for method, *figures in published],
        note="; ".join(notes),
    )


def _remarks(model: Mapping[str, Any]) -> list[str]:
    """What is to be said of a model besides its table."""
    about, protocol, found = model["model"], model["protocol"], []
    if model["mean"]["identical_frames"]:
        found.append(
            f"{model['mean']['identical_frames']} frames are identical to the truth and count as"
            f" {protocol['identical_frames_psnr_db']:.0f} dB"
        )
    found += [f"{name.upper()}: {reason}" for name, reason in model.get("not_measured", {}).items()]
    if about["frames_per_second"]:
        found.append(
            f"model time {about['seconds']:.1f} s for {about['output_frames']} frames:"
            f" {about['frames_per_second']:.2f} frames/s"
        )
    if fps := about.get("papers_fps"):
        found.append(
            f"the papers' fps: {fps['frames_per_second']:.2f}, {fps['output_frames']} frames over {fps['forwards']}"
            f" forwards of {fps['input']}"
        )
    return [f"{about['name']}: {text}" for text in found]


def _spans(head: Sequence[Column]) -> list[tuple[str, int, int]]:
    """(group, first column, the one after the last) of neighbours under one heading; the first column is alone."""
    spans: list[tuple[str, int, int]] = []
    for index, column in enumerate(head):
        if index > 1 and column.group and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1], index + 1)
        else:
            spans.append((column.group, index, index + 1))
    return spans


def _written(cell: Cell, column: Column) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None or math.isnan(cell):
        return "-"
    return f"{cell:,.{column.digits}f}"


def _count(number: int | None) -> float | None:
    return None if number is None else float(number)
