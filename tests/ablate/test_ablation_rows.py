"""The list has every row of the paper's tables with the figures that the paper prints, and edits do what they say."""

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest

from stinet.ablate.listing import lines
from stinet.ablate.plan import SIZES
from stinet.ablate.rows import EDITS, FULL, ROWS, SETS, Share, edited, missing, rows_of, weight_axis
from stinet.config import LossConfig, TrainConfig
from stinet.errors import UsageError
from stinet.peers.tmnet import Tmnet
from stinet.train.networks import build, settings_of

BASES = [SIZES["compact"], SIZES["paper"]]


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its dotted name, as edits name them."""
    values = asdict(config)
    own = {key: value for key, value in values.items() if key not in ("loss", "overrides")}
    network = {f"model.{key}": value for key, value in asdict(config.model_config).items()}
    return {**own, **{f"loss.{key}": value for key, value in values["loss"].items()}, **network}


def test_every_table_has_as_many_rows_as_the_paper() -> None:
    count = Counter(row.table for row in ROWS if row.paper)
    assert count == {"1": 6, "2": 4, "3": 3, "4": 9, "5": 6, "6": 4, "fig7": 2}
    assert Counter(row.table for row in ROWS)["fig7"] == 11


@pytest.mark.parametrize(("table", "edit", "name", "figures"), [
    ("1", "without-st-lr", "vid4", (25.41, 0.7477)),
    ("1", "without-st-gr", "adobe240", (29.69, 0.8365)),
    ("2", FULL, "fast", (36.41, 0.9335)),
    ("3", "without-flows", "medium", (35.30, 0.9354)),
    ("4", "with-convlstm", "slow", (33.93, 0.9179)),
    ("4", "without-high-offsets", "vid4", (26.63, 0.8030)),
    ("5", "relative-strong", "vid4", (26.70, 0.8038)),
    ("6", "tmnet-mcl", "fast", (27.20, 0.9439)),
])  # fmt: skip
def test_a_figure_stands_in_its_papers_column(table: str, edit: str, name: str, figures: tuple[float, float]) -> None:
    row = next(row for row in ROWS if row.table == table and row.edit == edit)
    assert row.paper[name] == figures
    assert tuple(row.paper) == SETS


def test_in_the_paper_every_ablation_of_the_network_and_the_loss_is_worse_on_vid4() -> None:
    full = next(row for row in ROWS if row.edit == FULL).paper["vid4"][0]
    worse = [row for row in ROWS if row.table in ("1", "3", "4", "5") and row.edit != FULL]
    assert len(worse) == 20
    assert all(row.paper["vid4"][0] < full for row in worse)


@pytest.mark.parametrize("base", BASES, ids=["compact", "paper"])
@pytest.mark.parametrize(
    "edit", [edit for edit in EDITS.values() if "rival" not in edit.changes], ids=lambda edit: edit.name
)
def test_an_edit_changes_what_it_says_and_nothing_else(edit: Any, base: TrainConfig) -> None:
    if edit.needs == "vgg":
        base = TrainConfig(loss=LossConfig(vgg="vgg19.pth", perceptual=0.1))
    before, after = flat(base), flat(edited(base, edit))
    said = {
        name: before[name] * value.of_full if isinstance(value, Share) else value
        for name, value in edit.changes.items()
    }
    assert {name: value for name, value in after.items() if value != before[name]} == {
        name: value for name, value in said.items() if value != before[name]
    }
    assert edit.name == FULL or said != {name: before[name] for name in said}


def test_every_row_of_the_paper_is_another_training() -> None:
    trainings = {name: asdict(edited(SIZES["compact"], EDITS[name])) for name in EDITS if not EDITS[name].needs}
    assert all(a == b or trainings[a] != trainings[b] for a in trainings for b in trainings)


@pytest.mark.parametrize(
    ("size", "high", "parameters"), [("compact", "folded", (0.6e6, 0.7e6)), ("paper", "native", (12.2e6, 12.3e6))]
)
def test_table_vi_edits_tmnet_and_not_our_network(size: str, high: str, parameters: tuple[float, float]) -> None:
    base = SIZES[size]
    nets = {name: build(edited(base, EDITS[name])) for name in ("tmnet", "tmnet-hr", "tmnet-mcl", "tmnet-st-gr")}
    least, most = parameters
    plain = nets["tmnet"]
    assert isinstance(plain, Tmnet)
    assert least <= sum(weight.numel() for weight in plain.parameters()) <= most
    changed = {
        name: {k: v for k, v in settings_of(net).items() if v != settings_of(plain)[k]} for name, net in nets.items()
    }
    assert changed == {"tmnet": {}, "tmnet-hr": {"high": high}, "tmnet-mcl": {}, "tmnet-st-gr": {"relate": "graph"}}
    motion = {name: edited(base, EDITS[name]).loss.motion for name in nets}
    assert motion == {"tmnet": 0, "tmnet-hr": 0, "tmnet-mcl": base.loss.motion, "tmnet-st-gr": 0}


def test_table_ii_trains_tmnet_by_random_times_too() -> None:
    middle, random = (edited(SIZES["compact"], EDITS[name]) for name in ("tmnet", "tmnet-random-times"))
    assert middle == replace(random, times="middle")
    labels = [row.label for row in ROWS if row.edit == "tmnet-random-times"]
    assert labels == [f"TMNet({between}), trained with random times" for between in (3, 5)]


def test_without_a_file_of_vgg_the_rows_of_lambda_1_say_what_they_need() -> None:
    plain, given = TrainConfig(), TrainConfig(loss=LossConfig(vgg="vgg19.pth"))
    assert "--vgg FILE" in missing(EDITS["lambda-1-0.5"], plain)
    assert not missing(EDITS["lambda-1-0.5"], given)
    assert not missing(EDITS["lambda-2-0.5"], plain)


def test_the_list_says_of_every_row_its_table_and_why_it_cannot_run() -> None:
    head, *found = lines(has_vgg=False)
    assert len(found) == len(ROWS)
    assert len(head) == len(found[0])
    assert Counter(line[0] for line in found)["IV"] == 9
    unable = {line[1] for line in found if "cannot run" in line[4]}
    assert unable == {f"lambda_1 = {value:g}" for value in (0, 0.01, 0.05, 0.5, 1)}
    assert not any(line[1].startswith("lambda_1") for line in lines(has_vgg=True) if "cannot run" in line[4])


def test_chosen_rows_bring_what_they_are_compared_with() -> None:
    assert [row.edit for row in rows_of(("4",), ("with-convlstm",))] == [FULL, "with-convlstm"]
    assert {row.table for row in rows_of(("3", "1"))} == {"1", "3"}
    assert rows_of(("3", "1"))[0].table == "3"
    with pytest.raises(UsageError, match="table '7' is unknown"):
        rows_of(("7",))
    with pytest.raises(UsageError, match="row 'no-such' is in none"):
        rows_of(("3",), ("no-such",))


def test_the_axes_of_fig_7_have_the_paper_where_it_prints_a_figure() -> None:
    first, second = weight_axis(1), weight_axis(2)
    assert [point.value for point in first.values()] == [0, 0.01, 0.05, 0.5, 1, 0.1]
    assert first["full"] == second["full"] == (0.1, 0.0)
    assert second["without-mcl"] == (0.0, -0.26)
    assert sorted(point.value for point in second.values()) == sorted(point.value for point in first.values())
    assert [point.paper_delta_db for name, point in first.items() if name != "full"] == [None] * 5
