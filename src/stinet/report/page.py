"""A report as one HTML file: tables, plots and before/after sliders; it opens from disk and asks the network nothing.

Style, script and pictures are inside the file (a content security policy refuses anything else). Text from outside,
such as names of clips and models, is escaped. Pictures are WebP without loss, or JPEG where that would be large; the
page says which. Without script, and on paper, the two pictures of a slider stand side by side.

Knows neither metrics nor models: what stands in a table is decided by who calls.
"""

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from stinet.report.bars import Bars, draw_bars
from stinet.report.plots import Plot, draw

__all__ = ["Column", "Page", "Slider", "TableView", "write_page"]

LOSSLESS_BYTES = 2 << 20
"""A picture whose lossless file is larger is stored as JPEG."""

JPEG_QUALITY = 95
LONGEST_WEBP_PX = 16383
LONG_TABLE_ROWS = 40
"""A longer table is folded away until it is asked for."""

Cell = str | int | float | None
"""Text, a number, or nothing to tell."""


@dataclass(frozen=True, slots=True)
class Column:
    """Head of a column, and how its numbers are written."""

    name: str
    group: str = ""
    """Heading over this and its neighbours of the same group: "fast"."""

    digits: int = 2
    better: Literal["", "higher", "lower"] = ""
    """Which numbers are best; the best of the column are bold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A table; the first cell of a row is its name."""

    caption: str
    head: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = ()
    """Rows under a rule: means."""

    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """Two pictures of one size, one over the other; what is left of a movable border shows `before`."""

    name: str
    before_label: str
    after_label: str
    before: UInt8[np.ndarray, "h w 3"]
    after: UInt8[np.ndarray, "h w 3"]
    detail: str = ""
    """One line under the name: frame, kind, figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that a page shows, in the order in which it is shown."""

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """How it was measured: protocol, device, commit, versions, date."""

    tables: Sequence[TableView] = ()
    sliders: Sequence[Slider] = ()
    plots: Sequence[Plot] = ()
    bars: Sequence[Bars] = ()
    lead: str = ""
    """A sentence or two under the title."""


def write_page(page: Page, path: Path) -> None:
    """Write `page` as a self-contained HTML file."""
    # a file name that is no UTF-8 has lone surrogates: it is shown with replacement signs
    path.write_text(_document(page), encoding="utf-8", errors="xmlcharrefreplace")


def _document(page: Page) -> str:
    style, script = (
        resources.files("stinet.report").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    sections = [
        ("measured", "How it was measured", _facts(page.facts) if page.facts else ""),
        ("figures", "Figures", "".join(map(_table, page.tables))),
        ("bars", "Side by side", "".join(map(draw_bars, page.bars))),
        ("pictures", "Before and after", "".join(map(_slider, page.sliders))),
        ("plots", "Frame by frame", f'<div class="plots">{"".join(map(draw, page.plots))}</div>' if page.plots else ""),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in shown)
    body = "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>\n{text}\n</section>'
        for name, title, text in shown
    )
    lead = f'<p class="lead">{escape(page.lead)}</p>' if page.lead else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{escape(page.title)}</h1>{lead}
<nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>"


def _table(view: TableView) -> str:
    best = [_best([row[index] for row in view.rows], column) for index, column in enumerate(view.head)]
    body = "".join(_row(row, view.head, best) for row in view.rows)
    foot = "".join(_row(row, view.head, [""] * len(view.head)) for row in view.foot)
    note = f'<p class="note">{escape(view.note)}</p>' if view.note else ""
    caption = escape(view.caption)
    text = (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{caption}, table">'
        f"<table><caption>{caption}</caption><thead>{_head(view.head)}</thead><tbody>{body}</tbody>"
        + (f"<tfoot>{foot}</tfoot>" if foot else "")
        + f"</table></div>{note}"
    )
    if len(view.rows) > LONG_TABLE_ROWS:
        return f"<details><summary>{caption}: {len(view.rows):,} rows</summary>{text}</details>"
    return text


def _head(columns: Sequence[Column]) -> str:
    """One row of names, and one of groups above it where there are any."""
    names = "".join(f'<th scope="col">{escape(column.name)}</th>' for column in columns)
    if not any(column.group for column in columns):
        return f"<tr>{names}</tr>"
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    groups = "".join(
        f'<th colspan="{span}" scope="colgroup">{escape(name)}</th>' if name else f'<td colspan="{span}"></td>'
        for name, span in spans
    )
    return f'<tr class="groups">{groups}</tr><tr>{names}</tr>'


def _row(row: Sequence[Cell], columns: Sequence[Column], best: Sequence[str]) -> str:
    cells: list[str] = []
    for index, (cell, column, top) in enumerate(zip(row, columns, best, strict=True)):
        text = _written(cell, column)
        kind = ' class="text"' if isinstance(cell, str) else ""
        if index == 0:
            cells.append(f'<th scope="row">{text}</th>')
        else:
            cells.append(f"<td{kind}>{f'<strong>{text}</strong>' if top and text == top else text}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _written(cell: Cell, column: Column) -> str:
    if isinstance(cell, str):
        return escape(cell)
    if cell is None or math.isnan(cell):
        return "\N{EN DASH}"
    if math.isinf(cell):
        return "\N{INFINITY}" if cell > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    digits = 0 if isinstance(cell, int) else column.digits
    return f"{cell:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _best(cells: Sequence[Cell], column: Column) -> str:
    """The best number of a column as it is written: equal figures are equally good. Empty where nothing competes."""
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not math.isnan(cell)]
    if not column.better or len(numbers) < 2:
        return ""
    return _written((max if column.better == "higher" else min)(numbers), column)


def _slider(slider: Slider) -> str:
    height, width = slider.after.shape[:2]
    sides: list[str] = []
    stored: dict[str, str] = {}
    for side, label, image in (
        ("after", slider.after_label, slider.after),
        ("before", slider.before_label, slider.before),
    ):
        source, how = _as_uri(image)
        stored.setdefault(how, label)
        alt = escape(f"{slider.name}: {label}")
        sides.append(
            f'<div class="{side}"><img src="{source}" alt="{alt}" width="{width}" height="{height}">'
            f'<span class="tag">{escape(label)}</span></div>'
        )
    storage = next(iter(stored)) if len(stored) == 1 else ", ".join(f"{escape(v)} {k}" for k, v in stored.items())
    detail = f"<p>{escape(slider.detail)}</p>" if slider.detail else ""
    name = escape(slider.name)
    return (
        f'<figure class="pair"><figcaption><h3>{name}</h3>{detail}</figcaption>'
        f'<div class="view"><div class="stage">{"".join(sides)}'
        f'<input type="range" min="0" max="200" value="100" aria-label="{name}: border between the pictures"'
        f' data-before="{escape(slider.before_label)}" data-after="{escape(slider.after_label)}"></div></div>'
        f'<p class="note">{width} x {height} pixels, {storage}. <label class="zoom">Size <select>'
        '<option value="0">fitted</option><option value="1">1 : 1</option><option value="2">2 : 1</option>'
        '<option value="4">4 : 1</option></select></label></p></figure>'
    )


def _as_uri(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, str]:
    """A picture as data: URI, and how it is stored in words."""
    from PIL import Image

    picture = Image.fromarray(image)
    if max(picture.size) <= LONGEST_WEBP_PX:
        file = io.BytesIO()
        picture.save(file, "WEBP", lossless=True, method=2)
        if file.tell() <= LOSSLESS_BYTES:
            return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", "stored without loss"
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return (
        f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}",
        f"stored as JPEG of quality {JPEG_QUALITY}",
    )
