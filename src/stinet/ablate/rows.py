"""The rows of Tables I (bottom block) to VI and of Fig. 7 as named edits of one training.

An edit says which settings change, and nothing else does. A row is an edit in a table with the paper's figures; several
rows may share an edit (the full model stands in five tables) and are trained once. Names of settings are those of a
recipe; "model.x" is field x of `ModelConfig`. `Share(0.5)` is half of what the full model has.

Figures are the paper's, (PSNR in dB, SSIM) on its five sets. Fig. 7 is a curve without printed numbers: its text says
that (0.1, 0.1) is best, which is the full model, and lambda_2 = 0 is Table I's row without MCL; the other values are
our grid. Table VI prints 27.20 for TMNet w/ MCL on Vimeo-Fast, most likely 37.20; it is kept as printed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from stinet.config import LossConfig, TrainConfig, from_mapping
from stinet.errors import UsageError

__all__ = [
    "COMPACT_HOST",
    "EDITS",
    "FULL",
    "ROWS",
    "SETS",
    "TABLES",
    "Edit",
    "OfFull",
    "Row",
    "Share",
    "WeightPoint",
    "edited",
    "missing",
    "rows_of",
    "weight_axis",
]

SETS: tuple[str, ...] = ("vid4", "fast", "medium", "slow", "adobe240")
"""The paper's columns, as `evaluate` names its groups."""

TABLES: Mapping[str, str] = {
    "1": "Table I, bottom block: the parts of the network",
    "2": "Table II: several frames in between",
    "3": "Table III: the adapted optical flows",
    "4": "Table IV: ST-FI, ST-LR and ST-GR",
    "5": "Table V: the motion consistency loss",
    "6": "Table VI: parts of STINet in TMNet",
    "fig7": "Fig. 7: the weights of the loss",
}

FULL = "full"
"""The edit that changes nothing."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the full model's value."""

    of_full: float


@dataclass(frozen=True, slots=True)
class OfFull:
    """What the full model's network has in this field."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Settings that differ from the full model's."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    needs: Literal["", "vgg"] = ""
    """What it takes beyond the package: VGG-19's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of a table."""

    table: str
    label: str
    """As the paper writes it."""
    edit: str
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Set -> (PSNR in dB, SSIM); empty where the paper prints none."""
    between: Literal[1, 3, 5] = 1
    """Frames between two given ones when it is measured."""
    against: str = FULL
    """The edit that the row's delta is taken to, measured with as many in between."""


def _edits() -> Iterator[Edit]:
    yield Edit(name=FULL)
    yield Edit(name="without-hr", changes={"model.branches": "low"})
    yield Edit(name="without-lr", changes={"model.branches": "high"})
    yield Edit(name="without-st-lr", changes={"model.local_modules": 0})
    yield Edit(name="without-st-gr", changes={"model.relate": "none"})
    yield Edit(name="without-mcl", changes={"loss.motion": 0.0})
    yield Edit(name="random-times", changes={"times": "random"})
    # nothing is left to align by; where there is a residual base, it is a plain blend then
    led_by_flow = ("aligned", "flow_guided", "flow_refined", "composed")
    no_flow = {"model.flow": "none"} | {f"model.{name}": False for name in led_by_flow}
    yield Edit(name="without-flows", changes=no_flow)
    yield Edit(name="without-adaption", changes={"model.flow": "raw"})
    yield Edit(name="without-share", changes={"model.blocks_shared": False})
    yield Edit(name="without-inet", changes={"model.offset_interaction": False})
    yield Edit(name="without-high-offsets", changes={"model.offsets_from": "low"})
    yield Edit(name="without-low-offsets", changes={"model.offsets_from": "high"})
    yield Edit(name="without-frame-edges", changes={"model.edge_frame": False})
    yield Edit(name="without-pixel-edges", changes={"model.edge_pixel": False})
    yield Edit(name="without-time-edges", changes={"model.edge_time": False})
    yield Edit(name="with-convlstm", changes={"model.relate": "lstm"})
    yield Edit(name="without-absolute", changes={"loss.motion_absolute": "none"})
    yield Edit(name="without-relative", changes={"loss.motion_relative": "none"})
    yield Edit(name="absolute-adjacent", changes={"loss.motion_pairs": "adjacent"})
    yield Edit(name="absolute-l1", changes={"loss.motion_absolute": "l1"})
    yield Edit(name="relative-strong", changes={"loss.motion_relative": "strong"})
    for value in _GRID:
        yield Edit(name=f"lambda-1-{value:g}", changes={"loss.perceptual": value}, needs="vgg")
    for value in _GRID[1:]:
        yield Edit(name=f"lambda-2-{value:g}", changes={"loss.motion": Share(10 * value)})
    host = {"rival": "tmnet", "loss.motion": 0.0}
    yield Edit(name="tmnet", changes=host)
    # from middles alone its temporal modulation learns nothing: there it multiplies by zero
    yield Edit(name="tmnet-random-times", changes={**host, "times": "random"})
    yield Edit(name="tmnet-hr", changes={**host, "model.high": OfFull("high")})
    yield Edit(name="tmnet-mcl", changes={"rival": "tmnet"})
    yield Edit(name="tmnet-st-gr", changes={**host, "model.relate": "graph"})


_GRID = (0.0, 0.01, 0.05, 0.5, 1.0)
"""Our values on the axes of Fig. 7 beside 0.1, the full model's."""

EDITS: Mapping[str, Edit] = {edit.name: edit for edit in _edits()}


def _rows() -> Iterator[Row]:
    for table, lines in _PRINTED.items():
        for label, edit, *figures in lines:
            paper = dict(zip(SETS, zip(figures[::2], figures[1::2], strict=True), strict=True))
            row = Row(table=table, label=label, edit=edit, paper=paper)
            if table == "2":
                row = replace(row, between=3 if "(3)" in label else 5)
            if table == "6":
                row = replace(row, against="tmnet")
            yield row
    for between in (3, 5):
        for name, edit in (("STINet", "random-times"), ("TMNet", "tmnet-random-times")):
            yield Row(table="2", label=f"{name}({between}), trained with random times", edit=edit, between=between)
    for value in _GRID:
        yield Row(table="fig7", label=f"lambda_1 = {value:g}", edit=f"lambda-1-{value:g}")
    yield Row(table="fig7", label="lambda_1 = lambda_2 = 0.1", edit=FULL, paper={"vid4": (26.79, 0.8049)})
    yield Row(table="fig7", label="lambda_2 = 0", edit="without-mcl", paper={"vid4": (26.53, 0.8037)})
    for value in _GRID[1:]:
        yield Row(table="fig7", label=f"lambda_2 = {value:g}", edit=f"lambda-2-{value:g}")


_STINET = (26.79, 0.8049, 37.43, 0.9465, 35.87, 0.9390, 34.04, 0.9180, 30.75, 0.8769)

_PRINTED: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "1": (
        ("STINet", FULL, *_STINET),
        ("STINet w/o HR", "without-hr", 26.34, 0.8025, 36.96, 0.9385, 35.39, 0.9361, 33.55, 0.9160, 30.44, 0.8720),
        ("STINet w/o LR", "without-lr", 26.43, 0.8027, 37.10, 0.9440, 35.41, 0.9337, 33.68, 0.9164, 30.58, 0.8736),
        ("STINet w/o ST-LR", "without-st-lr",
         25.41, 0.7477, 35.97, 0.9344, 34.28, 0.9240, 32.70, 0.9016, 29.10, 0.8248),
        ("STINet w/o ST-GR", "without-st-gr",
         25.94, 0.7785, 36.70, 0.9400, 35.11, 0.9348, 33.24, 0.9130, 29.69, 0.8365),
        ("STINet w/o MCL", "without-mcl", 26.53, 0.8037, 37.11, 0.9443, 35.70, 0.9362, 33.82, 0.9165, 30.60, 0.8743),
    ),
    "2": (
        ("TMNet(3)", "tmnet", 25.45, 0.7488, 36.28, 0.9320, 34.52, 0.9273, 32.75, 0.9059, 29.44, 0.8315),
        ("STINet(3)", FULL, 25.55, 0.7579, 36.41, 0.9335, 34.66, 0.9280, 32.91, 0.9086, 29.57, 0.8323),
        ("TMNet(5)", "tmnet", 23.72, 0.6445, 34.74, 0.9258, 32.70, 0.9054, 31.26, 0.8720, 28.03, 0.8162),
        ("STINet(5)", FULL, 23.88, 0.6557, 34.82, 0.9277, 32.97, 0.9095, 31.40, 0.8786, 28.30, 0.8176),
    ),
    "3": (
        ("STINet", FULL, *_STINET),
        ("STINet w/o optical flows", "without-flows",
         26.15, 0.7950, 36.71, 0.9403, 35.30, 0.9354, 33.59, 0.9157, 30.00, 0.8666),
        ("STINet w/o flow adaption", "without-adaption",
         26.62, 0.8031, 37.30, 0.9448, 35.79, 0.9381, 34.00, 0.9178, 30.59, 0.8748),
    ),
    "4": (
        ("STINet", FULL, *_STINET),
        ("ST-FI w/o share", "without-share", 26.50, 0.8015, 37.11, 0.9432, 35.67, 0.9355, 33.86, 0.9160, 30.43, 0.8727),
        ("ST-LR w/o Inet", "without-inet", 26.65, 0.8033, 37.30, 0.9451, 35.71, 0.9372, 33.96, 0.9176, 30.54, 0.8738),
        ("ST-LR w/o s^H", "without-high-offsets",
         26.63, 0.8030, 37.31, 0.9453, 35.68, 0.9366, 34.00, 0.9170, 30.57, 0.8741),
        ("ST-LR w/o s^L", "without-low-offsets",
         26.69, 0.8040, 37.36, 0.9450, 35.74, 0.9370, 33.96, 0.9173, 30.59, 0.8744),
        ("ST-GR w/o E^F", "without-frame-edges",
         26.70, 0.8038, 37.37, 0.9450, 35.83, 0.9365, 33.91, 0.9162, 30.53, 0.8741),
        ("ST-GR w/o E^P", "without-pixel-edges",
         26.72, 0.8040, 37.36, 0.9457, 35.82, 0.9371, 33.90, 0.9167, 30.56, 0.8740),
        ("ST-GR w/o E^T", "without-time-edges",
         26.74, 0.8047, 37.38, 0.9455, 35.83, 0.9374, 33.94, 0.9166, 30.68, 0.8750),
        ("ST-GR -> BDCL", "with-convlstm", 26.71, 0.8045, 37.40, 0.9459, 35.77, 0.9380, 33.93, 0.9179, 30.58, 0.8738),
    ),
    "5": (
        ("MCL (STINet)", FULL, *_STINET),
        ("MCL w/o l_abs", "without-absolute",
         26.72, 0.8044, 37.28, 0.9444, 35.77, 0.9376, 33.93, 0.9170, 30.64, 0.8751),
        ("MCL w/o l_rel", "without-relative",
         26.63, 0.8039, 37.17, 0.9443, 35.72, 0.9366, 33.88, 0.9167, 30.60, 0.8747),
        ("MCL w/ l_abs-AJ", "absolute-adjacent",
         26.74, 0.8047, 37.40, 0.9465, 35.86, 0.9387, 34.01, 0.9171, 30.68, 0.8759),
        ("MCL w/ l_abs-L1", "absolute-l1", 26.73, 0.8045, 37.34, 0.9450, 35.82, 0.9382, 33.96, 0.9175, 30.68, 0.8760),
        ("MCL w/ l_rel-SC", "relative-strong",
         26.70, 0.8038, 37.33, 0.9444, 35.80, 0.9381, 33.92, 0.9169, 30.62, 0.8753),
    ),
    "6": (
        ("TMNet", "tmnet", 26.43, 0.8016, 37.04, 0.9435, 35.60, 0.9380, 33.51, 0.9159, 30.59, 0.8760),
        ("TMNet w/ HR", "tmnet-hr", 26.67, 0.8033, 37.29, 0.9450, 35.81, 0.9382, 33.77, 0.9168, 30.70, 0.8765),
        ("TMNet w/ MCL", "tmnet-mcl", 26.64, 0.8029, 27.20, 0.9439, 35.69, 0.9385, 33.59, 0.9163, 30.68, 0.8762),
        ("TMNet w/ ST-GR", "tmnet-st-gr", 26.50, 0.8021, 37.07, 0.9435, 35.70, 0.9382, 33.59, 0.9163, 30.65, 0.8761),
    ),
}  # fmt: skip

ROWS: tuple[Row, ...] = tuple(sorted(_rows(), key=lambda row: list(TABLES).index(row.table)))


def rows_of(tables: tuple[str, ...], only: tuple[str, ...] = ()) -> list[Row]:
    """The rows of these tables, in this order; with `only`, those of these edits and what they are compared with.

    Raises:
        UsageError: an unknown table or edit, or an edit that none of the tables has.

    """
    if unknown := [table for table in tables if table not in TABLES]:
        raise UsageError(f"table {unknown[0]!r} is unknown: choose from {', '.join(TABLES)}")
    rows = [row for table in tables for row in ROWS if row.table == table]
    if lost := [name for name in only if name not in {row.edit for row in rows}]:
        raise UsageError(f"row {lost[0]!r} is in none of these tables; stinet ablate --list has the names")
    if not only:
        return rows
    wanted = set(only) | {row.against for row in rows if row.edit in only}
    return [row for row in rows if row.edit in wanted]


class WeightPoint(NamedTuple):
    """A place on an axis of Fig. 7."""

    value: float
    paper_delta_db: float | None
    """To the full model on Vid4; None where the paper prints no figure."""


def weight_axis(number: Literal[1, 2]) -> dict[str, WeightPoint]:
    """By edit where it lies on Fig. 7's axis of lambda_1 or lambda_2; the full model lies on both."""
    rows = rows_of(("fig7",))
    full_db = next(row.paper["vid4"][0] for row in rows if row.edit == FULL)
    found: dict[str, WeightPoint] = {}
    for row in rows:
        if row.edit == FULL or f"lambda_{number}" in row.label:
            value = float(row.label.rpartition("= ")[2])
            paper = row.paper.get("vid4")
            found[row.edit] = WeightPoint(value, None if paper is None else round(paper[0] - full_db, 2))
    return found


COMPACT_HOST: Mapping[str, Any] = {
    "channels": 16, "groups": 2, "front_blocks": 2, "back_blocks": 4, "high_blocks": 2, "graph_channels": 64,
    "residual_base": True,
}  # fmt: skip
"""TMNet's settings beside a compact preset: the channels of stinet-xs, few blocks and offset groups, and like it a
residual base, without which a short training ends below bicubic; 0.65 M parameters, most of them in alignment and
enlargement. Beside `stinet` it is whole."""


def edited(base: TrainConfig, edit: Edit) -> TrainConfig:
    """The full model's training with the edit's settings, and no other, changed.

    Raises:
        ConfigError: the settings contradict each other.

    """
    overrides, loss, own = dict(base.overrides), asdict(base.loss), {}
    if "rival" in edit.changes:
        overrides = {} if base.model == "stinet" else dict(COMPACT_HOST)
    for key, value in edit.changes.items():
        room, _, name = key.rpartition(".")
        if room == "model":
            overrides[name] = getattr(base.model_config, value.name) if isinstance(value, OfFull) else value
        elif room == "loss":
            loss[name] = loss[name] * value.of_full if isinstance(value, Share) else value
        else:
            own[name] = value
    settings = from_mapping(LossConfig, loss, edit.name)
    config = replace(base, overrides=overrides, loss=settings, **own)
    _ = config.model_config  # refuses what cannot be built
    return config


def missing(edit: Edit, base: TrainConfig) -> str:
    """What an edit lacks to be run; empty where it can run."""
    if edit.needs == "vgg" and not base.loss.vgg:
        return "needs VGG-19's weights (--vgg FILE); without them lambda_1 is 0 in every row"
    return ""
