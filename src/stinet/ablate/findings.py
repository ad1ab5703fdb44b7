r"""What the rows say: deltas to the full model beside the paper's, their spread over seeds, and a verdict.

A row's delta is taken seed by seed, against the full model that saw the same crops in the same order, and averaged over
the n seeds. What a delta is worth is estimated from all rows together:

    s^2 = sum over rows and seeds of (delta - mean delta of its row)^2 / sum over rows of (n - 1)

and a mean delta smaller than t s / sqrt(n), with t of Student's distribution for 95 %, is within noise. The spread that
is printed is the largest minus the least delta of the row's own seeds.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from stinet.ablate.plan import Plan, Start, job_of, start_of
from stinet.ablate.rows import EDITS, ROWS, SETS, Row, missing
from stinet.ablate.session import read_result

__all__ = ["Finding", "Measure", "find", "provenances", "set_of", "sets_of"]

T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10)
"""Student's t for 95 % (two sides) by degrees of freedom from 1; above 18 the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure of a row on one set of clips."""

    values: Sequence[float]
    """By seed."""
    deltas: Sequence[float]
    """To the full model of the same seed."""
    noise: float | None = None
    """Least mean delta that is not within noise; None where there is one seed alone."""

    @property
    def mean(self) -> float | None:
        """Over seeds; None without any."""
        return fmean(self.values) if self.values else None

    @property
    def delta(self) -> float | None:
        """Mean over seeds; None where there is nothing to compare with."""
        return fmean(self.deltas) if self.deltas else None

    @property
    def spread(self) -> float | None:
        """Largest minus least delta; None with one seed."""
        return max(self.deltas) - min(self.deltas) if len(self.deltas) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of a row."""

    row: Row
    psnr: Measure
    ssim: Measure
    validation: Measure
    """PSNR on the validation runs of the training data."""
    interpolated: Measure
    """PSNR of frames that were not given."""
    motion: Measure
    """Motion error of pairs with an interpolated frame, px."""
    paper_db: float | None
    paper_delta_db: float | None
    note: str = ""
    """Why there are no figures, or fewer than were asked for."""
    seconds: float | None = None
    """Of training, mean over seeds."""
    parameters: int | None = None

    @property
    def is_reference(self) -> bool:
        """Whether other rows are compared with this one."""
        return self.row.edit == self.row.against

    @property
    def paper_sign(self) -> int:
        """-1: the paper says that this is worse than what it is compared with; 0: it says nothing."""
        if self.paper_delta_db:
            return 1 if self.paper_delta_db > 0 else -1
        return -1 if self.row.table == "fig7" and not self.is_reference else 0

    @property
    def verdict(self) -> str:
        """Whether our delta has the paper's sign."""
        delta, noise = self.psnr.delta, self.psnr.noise
        if delta is None or self.is_reference:
            return ""
        if noise is None:
            said = "one seed, unknown noise"
        elif abs(delta) < noise:
            return "within noise"
        else:
            said = ""
        if not self.paper_sign:
            return said or "the paper prints none"
        is_same = (delta > 0) == (self.paper_sign > 0)
        return ("yes" if is_same else "no") + (f" ({said})" if said else "")


def find(plan: Plan, rows: Sequence[Row]) -> list[Finding]:
    """What is known of these rows; figures that are not there yet are left out."""
    found = [_finding(plan, row) for row in rows]
    noises = {
        start: {name: _noise([getattr(f, name) for f in group]) for name in _MEASURES}
        for start, group in _by_start(plan, found)
    }
    return [_judged(finding, noises[start_of(finding.row, plan.config)]) for finding in found]


_MEASURES = ("psnr", "ssim", "validation", "interpolated", "motion")


def set_of(plan: Plan) -> str | None:
    """The first of the paper's sets that were measured, which tables are of; None where the clips are others."""
    return next(iter(sets_of(plan)), None)


def sets_of(plan: Plan) -> list[str]:
    """The paper's sets that were measured, in its order."""
    first = next(_reports(plan, ROWS), {})
    return [name for name in SETS if name in first.get("groups", {})]


def provenances(plan: Plan, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """By what and where every row was measured: `evaluate.provenance` of each, as far as they are done."""
    return [report["run"] for report in _reports(plan, rows) if "run" in report]


def _reports(plan: Plan, rows: Sequence[Row]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        for seed in range(plan.config.seeds):
            result = read_result(plan, job_of(row, seed, plan.config))
            yield from () if result is None else result["measured"].values()


def _finding(plan: Plan, row: Row) -> Finding:
    name = set_of(plan)
    own = _figures(plan, row, row.edit, name)
    against = _figures(plan, row, row.against, name)
    measures = {
        key: Measure(
            values=[figures[key] for figures in own.values() if key in figures],
            deltas=[]
            if row.edit == row.against
            else [
                figures[key] - against[seed][key]
                for seed, figures in own.items()
                if key in figures and key in against.get(seed, {})
            ],
        )
        for key in _MEASURES
    }
    paper = row.paper.get(name or SETS[0])
    full = next(
        (
            other.paper.get(name or SETS[0])
            for other in ROWS
            if (other.table, other.edit, other.between) == (row.table, row.against, row.between)
        ),
        None,
    )
    is_compared = paper is not None and full is not None and row.edit != row.against
    return Finding(
        row=row,
        **measures,
        paper_db=paper[0] if paper else None,
        paper_delta_db=round(paper[0] - full[0], 4) if is_compared and paper and full else None,
        note=_note(plan, row, len(own)),
        seconds=fmean(figures["seconds"] for figures in own.values()) if own else None,
        parameters=int(next(iter(own.values()))["parameters"]) if own else None,
    )


def _note(plan: Plan, row: Row, count: int) -> str:
    if lacking := missing(EDITS[row.edit], plan.config.base):
        return lacking
    results = [read_result(plan, job_of(row, seed, plan.config)) for seed in range(plan.config.seeds)]
    failed = [
        f"seed {seed}: {result['failed']}" for seed, result in enumerate(results) if result and "failed" in result
    ]
    if failed:
        return "; ".join(failed)
    return "" if count == plan.config.seeds else f"{count} of {plan.config.seeds} seeds done"


def _figures(plan: Plan, row: Row, edit: str, name: str | None) -> dict[int, dict[str, float]]:
    """Figures of an edit, measured as a row is, by seed."""
    found: dict[int, dict[str, float]] = {}
    for seed in range(plan.config.seeds):
        result = read_result(plan, job_of(row, seed, plan.config, edit=edit))
        report = None if result is None else result["measured"].get(str(row.between))
        if result is None or report is None:
            continue
        scores = report["groups"][name] if name and name in report.get("groups", {}) else report["mean"]
        found[seed] = {
            "psnr": scores["psnr_db"],
            "ssim": scores["ssim"],
            "validation": result["validation"]["psnr_db"],
            "seconds": result["seconds"],
            "parameters": result["parameters"],
        }
        for key, name_there in (("interpolated", "psnr_db"), ("motion", "motion_px")):
            if (value := scores.get("interpolated", {}).get(name_there)) is not None:
                found[seed][key] = value
    return found


def _by_start(plan: Plan, found: Sequence[Finding]) -> list[tuple[Start, list[Finding]]]:
    """Rows that are trained alike, each edit once."""
    once = {(start_of(f.row, plan.config), f.row.edit, f.row.between): f for f in found}.values()
    starts: tuple[Start, ...] = ("nothing", "weights")
    return [(start, [f for f in once if start_of(f.row, plan.config) == start]) for start in starts]


def _noise(measures: Sequence[Measure]) -> float | None:
    """The t s of the module's equation, for a single seed; None where nothing tells."""
    several = [measure.deltas for measure in measures if len(measure.deltas) > 1]
    freedom = sum(len(deltas) - 1 for deltas in several)
    if not freedom:
        return None
    squares = sum((delta - fmean(deltas)) ** 2 for deltas in several for delta in deltas)
    return T_95[min(freedom, len(T_95)) - 1] * math.sqrt(squares / freedom)


def _judged(finding: Finding, noises: Mapping[str, float | None]) -> Finding:
    def judged(name: str) -> Measure:
        measure: Measure = getattr(finding, name)
        noise = noises[name]
        return (
            measure
            if noise is None or not measure.deltas
            else replace(measure, noise=noise / math.sqrt(len(measure.deltas)))
        )

    return replace(finding, **{name: judged(name) for name in _MEASURES})
