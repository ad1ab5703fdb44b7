"""The report of an ablation: the same tables as HTML, as Markdown and for the terminal, and bar charts of deltas.

In the ablation's folder: report.html (one file, needs no network), report.md with deltas-TABLE.png beside it. Both
say the budget, the data, the clips, what was left out and why, and how a verdict is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stinet.ablate.findings import Finding, find, provenances, set_of, sets_of
from stinet.ablate.plan import Plan, start_of
from stinet.ablate.rows import COMPACT_HOST, FULL, SETS, TABLES, rows_of
from stinet.config import TrainConfig
from stinet.evaluate.provenance import provenance
from stinet.report.bars import Bar, Bars, save_bars
from stinet.report.page import Cell, Column, Page, TableView, write_page
from stinet.report.tables import as_markdown, as_text
from stinet.runtime import device as device_of

__all__ = ["charts", "facts", "views", "write_reports"]

SET_NAMES = dict(zip(SETS, ("Vid4", "Vimeo-Fast", "Vimeo-Medium", "Vimeo-Slow", "Adobe240"), strict=True))

HOW = (
    "Delta: against the full model of the same seed and the same crops, mean over seeds. Spread: largest minus least"
    " delta. Noise: a mean delta below this is within noise (Student's t for 95 %, one variance from all rows that were"
    " trained alike)."
)


def write_reports(plan: Plan) -> str:
    """Write the report into the ablation's folder; gives its tables as text, and where it is."""
    found = _found(plan)
    tables, bars = views(plan, found), charts(found)
    out = plan.config.out
    out.mkdir(parents=True, exist_ok=True)
    page = Page(
        title="Ablations of the STINet paper",
        lead=_lead(plan),
        facts=facts(plan),
        tables=tables,
        bars=list(bars.values()),
    )
    write_page(page, out / "report.html")
    pictures: dict[str, str] = {}
    for table, chart in bars.items():
        pictures[table] = f"deltas-{table}.png"
        save_bars(chart, out / pictures[table])
    (out / "report.md").write_text(_markdown(plan, tables, pictures), encoding="utf-8")
    text = "\n\n".join("\n".join([view.caption, "", as_text(view.head, view.rows), *_notes(view)]) for view in tables)
    return f"{text}\n\n{HOW}\n\nreport  {out / 'report.html'}\n        {out / 'report.md'}"


def views(plan: Plan, found: Sequence[Finding]) -> list[TableView]:
    """One table for every table of the paper."""
    name = set_of(plan)
    return [_view(plan, table, group, name) for table, group in _by_table(found)]


def charts(found: Sequence[Finding]) -> dict[str, Bars]:
    """Deltas of every table that has some: the paper's and ours, ours with the noise as whisker."""
    drawn: dict[str, Bars] = {}
    for table, group in _by_table(found):
        rows = {
            f.row.label: (Bar(f.paper_delta_db), Bar(f.psnr.delta, f.psnr.noise))
            for f in group
            if not f.is_reference and f.psnr.delta is not None
        }
        if rows:
            drawn[table] = Bars(
                title=TABLES[table],
                label=f"PSNR-Y against {_reference(group)}, dB (whisker: noise)",
                series=("paper", "ours"),
                rows=rows,
            )
    return drawn


def _reference(found: Sequence[Finding]) -> str:
    return "the full model" if found[0].row.against == FULL else "TMNet"


def facts(plan: Plan) -> dict[str, str]:
    """How it was trained and measured: as the rows say, wherever and whenever each was done."""
    config, base = plan.config, plan.bases["nothing"]
    rows = rows_of(config.tables, config.only)
    starts = {start_of(row, config) for row in rows} & plan.bases.keys()
    about = provenances(plan, rows) or [provenance(device_of("auto"), base.seed)]
    timed = f" ({config.budget} at {plan.step_s:.3g} s a step of the full model)" if plan.step_s else ""
    lambda_1 = (
        f"{base.loss.perceptual:g}" if base.loss.perceptual else "0: no weights of VGG-19 were named (--vgg FILE)"
    )
    told = {
        "budget": f"{plan.steps:,} steps a training{timed}, the same for all rows; seeds: {config.seeds}",
        **({"network": _network(base), "training": _training(base)} if "nothing" in starts else {}),
        "lambda_1": lambda_1,
        "data": Path(base.data).name if base.data else "the bundled clip, a few seconds of video",
        "measured on": f"{', '.join(path.name for path in plan.config.clips)}; frames: {config.variant}",
        "commit": _each(run["commit"] for run in about),
        "torch": _each(run["versions"]["torch"] for run in about),
        "processor": _each(run["device"] for run in about),
        "date": " to ".join(dict.fromkeys(end(str(run["date"]) for run in about) for end in (min, max))),
    }
    if "weights" in starts:
        going_on = plan.bases["weights"]
        told["Table V"] = (
            f"its rows go on from {Path(going_on.start).name}: {_network(going_on)}; {_training(going_on)}"
        )
    if "6" in config.tables and base.model != "stinet":
        told["Table VI"] = f"its host is TMNet with {_settings(COMPACT_HOST)}"
    return told


def _network(config: TrainConfig) -> str:
    return ", ".join(filter(None, [config.model, _settings(config.overrides)]))


def _settings(overrides: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in overrides.items())


def _training(config: TrainConfig) -> str:
    crops = f"{config.batch} crops of {config.crop_px}x{config.crop_px}"
    return f"{crops}, rate {config.rate:g} ({config.schedule}), {config.loss.kind}, lambda_2 {config.loss.motion:g}"


def _each(values: Iterable[object]) -> str:
    """Every value once."""
    return ", ".join(dict.fromkeys(map(str, values)))


def _found(plan: Plan) -> list[Finding]:
    return find(plan, rows_of(plan.config.tables, plan.config.only))


def _by_table(found: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    return [(name, [f for f in found if f.row.table == name]) for name in dict.fromkeys(f.row.table for f in found)]


def _lead(plan: Plan) -> str:
    data = (
        "" if plan.config.base.data else " Trained on the bundled clip, a few seconds of video: a trial, not a finding."
    )
    return f"Every row is the full model with one edit, trained for {plan.steps:,} steps.{data} {HOW}"


def _view(plan: Plan, table: str, found: Sequence[Finding], name: str | None) -> TableView:
    where = SET_NAMES.get(name or "", "our clips")
    paper = f"paper, {SET_NAMES[name or 'vid4']}"
    further = [key for key in _FURTHER if any(getattr(f, key).values for f in found)]
    head = [
        Column("row"),
        Column("PSNR", paper),
        Column("delta", paper),
        Column("PSNR", f"ours, {where}", 3),
        Column("SSIM", f"ours, {where}", 4),
        Column("delta", f"ours, {where}", 3),
        Column("spread", f"ours, {where}", 3),
        Column("noise", f"ours, {where}", 3),
        Column("same sign", f"ours, {where}"),
        Column("delta", "validation runs", 3),
        Column("spread", "validation runs", 3),
        *(Column(f"{_FURTHER[key]}, delta", "interpolated", 3) for key in further),
        Column("parameters", "training", 0),
        Column("seconds", "training", 0),
    ]
    rows = [_cells(finding, further) for finding in found]
    notes = [f"{f.row.label}: {f.note}" for f in found if f.note]
    if name is None:
        notes.append("our clips are none of the paper's sets: its figures are those of Vid4")
    if others := [SET_NAMES[other] for other in sets_of(plan) if other != name]:
        notes.append(f"{', '.join(others)} were measured too: their figures are in the rows' JSON")
    if table == "fig7":
        notes.append("the paper draws this curve without figures; its text says that 0.1 is best on both axes")
    if table == "6":
        notes.append("compared with TMNet, not with the full model")
    if table == "5" and "weights" in plan.bases:
        notes.append(f"these rows go on from {Path(plan.bases['weights'].start).name} for {plan.steps:,} steps")
    return TableView(caption=TABLES[table], head=head, rows=rows, note="; ".join(notes))


_FURTHER = {"interpolated": "PSNR", "motion": "motion px"}
"""Figures of frames that were not given, as far as they were measured."""


def _cells(f: Finding, further: Sequence[str]) -> list[Cell]:
    ours: list[Cell] = [f.psnr.mean, f.ssim.mean, f.psnr.delta, f.psnr.spread, f.psnr.noise, f.verdict]
    other: list[Cell] = [f.validation.delta, f.validation.spread, *(getattr(f, key).delta for key in further)]
    cost: list[Cell] = [None if f.parameters is None else float(f.parameters), f.seconds]
    return [f.row.label, f.paper_db, f.paper_delta_db, *ours, *other, *cost]


def _notes(view: TableView) -> list[str]:
    return ["", view.note] if view.note else []


def _markdown(plan: Plan, tables: Sequence[TableView], pictures: dict[str, str]) -> str:
    lines = ["# Ablations of the STINet paper", "", _lead(plan), ""]
    lines += [f"- {name}: {text}" for name, text in facts(plan).items()]
    for view in tables:
        lines += ["", f"## {view.caption}", "", as_markdown(view.head, view.rows), *_notes(view)]
        table = next(name for name, caption in TABLES.items() if caption == view.caption)
        if table in pictures:
            lines += ["", f"![{view.caption}: deltas]({pictures[table]})"]
    return "\n".join(lines) + "\n"
