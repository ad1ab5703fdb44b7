"""Figures of a benchmark as rows of words, for a table of fixed width."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stinet.bench.benchmark import Benchmark, ModelRow, Roofline, WholeRow
from stinet.bench.cost import Cost
from stinet.bench.subjects import Subject
from stinet.upscale.report import bytes_text

__all__ = ["Table", "cost_tables", "tables"]

Row = tuple[str, ...]


class Table(NamedTuple):
    """A heading, column names and rows."""

    title: str
    head: Row
    rows: list[Row]


def tables(result: Benchmark) -> Iterator[Table]:
    """Every table of a benchmark that has rows."""
    for table in (_peaks(result), _models(result), _whole(result), *map(_phases, result.rooflines), _left_out(result)):
        if table.rows:
            yield table


def cost_tables(costs: Sequence[Cost]) -> Iterator[Table]:
    """What models cost: one table of all, and one of the phases of every network of ours."""
    head = ("model", "precision", "parameters", "MAC/pixel", "frames/s", "ms/frame", "tensors", "process", "turns")
    rows = [
        (
            cost.model,
            cost.precision,
            "-" if cost.parameters is None else f"{cost.parameters:,}",
            "-" if cost.macs_per_px is None else f"{cost.macs_per_px:,.0f}",
            f"{cost.frames_per_s:.2f}",
            f"{1000 * cost.seconds:.1f}",
            bytes_text(round(cost.tensor_bytes)),
            "-" if cost.memory_bytes is None else bytes_text(cost.memory_bytes),
            str(cost.turns),
        )
        for cost in costs
    ]
    yield Table("4 frames of 180x144 to 7 of 720x576 on one core, per output frame; memory at its most", head, rows)
    for cost in costs:
        if cost.phases:
            yield _cost_phases(cost)


def _cost_phases(cost: Cost) -> Table:
    whole = sum(phase.seconds for phase in cost.phases)
    rows = [
        (
            phase.name,
            f"{phase.parameters:,}",
            f"{phase.macs_per_px:,.0f}",
            f"{1000 * phase.seconds:.1f}",
            f"{phase.seconds / whole:.0%}",
            bytes_text(round(phase.tensor_bytes)),
        )
        for phase in cost.phases
    ]
    head = ("phase", "parameters", "MAC/pixel", "ms/frame", "of time", "tensors")
    return Table(f"{cost.model}, phase by phase", head, rows)


def _peaks(result: Benchmark) -> Table:
    rows = [
        (
            peak.precision,
            str(peak.threads),
            f"{peak.macs_per_s / 1e9:.1f}",
            f"{peak.engine}, {peak.channels} channels",
        )
        for peak in result.peaks
    ]
    return Table("peak of 3x3 convolutions", ("precision", "threads", "GMAC/s", "by"), rows)


def _models(result: Benchmark) -> Table:
    head = (
        "size", *_SUBJECT, "ms/frame", "CPU ms", "frames/s", "x real time", "of peak", "x flow+bicubic",
        "x eager float32", "around",
    )  # fmt: skip
    return Table("model time, warm windows", head, [_model(row) for row in result.models])


def _model(row: ModelRow) -> Row:
    return (
        _size(row.size),
        *_subject(row.subject),
        f"{row.ms_per_frame:.1f}",
        f"{row.cpu_ms_per_frame:.1f}",
        f"{row.frames_per_s:.1f}",
        f"{row.real_time:.2f}",
        "" if row.peak_share is None else f"{row.peak_share:.0%}",
        f"{row.against_flow:.3f}",
        "" if row.against_eager is None else f"{row.against_eager:.2f}",
        f"{row.around_share:.1%}",
    )


def _whole(result: Benchmark) -> Table:
    head = (
        "size", *_SUBJECT, "frames", "s", "frames/s", "x real time", "x flow+bicubic", "overhead", "of CPU",
        "idle", "first frame", "of CPU", "memory",
    )  # fmt: skip
    return Table("whole commands", head, [_command(row) for row in result.whole])


def _command(row: WholeRow) -> Row:
    return (
        _size(row.size),
        *_subject(row.subject),
        str(row.frames_out),
        f"{row.seconds:.2f}",
        f"{row.frames_per_s:.1f}",
        f"{row.real_time:.2f}",
        f"{row.against_flow:.3f}",
        f"{row.overhead:.0%}",
        "" if row.cpu_overhead is None else f"{row.cpu_overhead:.0%}",
        f"{row.idle:.1%}",
        f"{row.first_frame_s:.2f} s",
        f"{row.first_frame_cpu_s:.2f} s",
        bytes_text(row.peak_memory_bytes),
    )


def _phases(line: Roofline) -> Table:
    head = ("phase", "MMAC", "needs", "moved", "ms", "of time", "of peak", "bound ms", "x bound")
    rows = [
        (
            phase.name,
            f"{phase.macs / 1e6:.1f}",
            bytes_text(phase.bytes),
            bytes_text(phase.moved),
            f"{1000 * phase.seconds:.2f}",
            f"{phase.time_share:.0%}",
            f"{phase.peak_share:.0%}",
            f"{1000 * phase.bound_s:.2f}",
            f"{phase.distance:.1f}" if phase.bound_s else "",
        )
        for phase in line.phases
    ]
    title = f"roofline of {line.subject}, {_size(line.size)}, per output frame; most is lost in {line.furthest}"
    return Table(title, head, rows)


def _left_out(result: Benchmark) -> Table:
    return Table("left out", ("what", "why"), list(result.left_out.items()))


_SUBJECT = ("model", "engine", "precision", "threads")


def _subject(subject: Subject) -> Row:
    return subject.model, subject.engine if subject.is_network else "", subject.precision, str(subject.threads)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
