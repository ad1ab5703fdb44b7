"""Numbers of the report, worked out by hand: deltas by seed, spread, noise, and whether signs agree."""

import json
import math
from pathlib import Path

import pytest
from trials import config_of, plan_of, settle  # pyright: ignore[reportMissingImports]

from stinet.ablate.findings import T_95, find, set_of
from stinet.ablate.pages import charts, facts, views, write_reports
from stinet.ablate.plan import Job, Plan, open_plan
from stinet.ablate.rows import rows_of

CLIP = Path("clip.mkv")


def with_results(
    out: Path, results: dict[str, tuple[float, ...]], *, group: str = "vid4", tables: tuple[str, ...] = ("3",)
) -> Plan:
    """A plan whose rows have these PSNR by seed."""
    seeds = max(map(len, results.values()))
    plan = plan_of(config_of(CLIP, out, seeds=seeds, tables=tables))
    for edit, values in results.items():
        for seed, value in enumerate(values):
            settle(plan, Job(edit=edit, start="nothing", seed=seed), value, group=group)
    return plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return with_results(
        tmp_path, {"full": (25.0, 26.0), "without-flows": (24.0, 24.8), "without-adaption": (25.02, 25.98)}
    )


def test_deltas_are_taken_seed_by_seed(plan: Plan) -> None:
    full, flows, adaption = find(plan, rows_of(("3",)))
    assert full.psnr.values == [25.0, 26.0]
    assert full.psnr.delta is None
    assert flows.psnr.deltas == pytest.approx([-1.0, -1.2])
    assert flows.psnr.delta == pytest.approx(-1.1)
    assert flows.psnr.spread == pytest.approx(0.2)
    assert adaption.psnr.deltas == pytest.approx([0.02, -0.02])
    assert flows.paper_delta_db == -0.64
    assert flows.validation.delta == pytest.approx(-1.1)
    assert flows.motion.delta == pytest.approx((1 / 24.0 - 1 / 25.0 + 1 / 24.8 - 1 / 26.0) / 2)


def test_noise_is_one_variance_from_all_rows(plan: Plan) -> None:
    _, flows, adaption = find(plan, rows_of(("3",)))
    squares = 2 * 0.1**2 + 2 * 0.02**2
    expected = T_95[1] * math.sqrt(squares / 2) / math.sqrt(2)
    assert flows.psnr.noise == pytest.approx(expected)
    assert adaption.psnr.noise == pytest.approx(expected)


def test_a_verdict_compares_signs_where_a_delta_is_above_noise(tmp_path: Path, plan: Plan) -> None:
    full, flows, adaption = find(plan, rows_of(("3",)))
    assert (full.verdict, flows.verdict, adaption.verdict) == ("", "yes", "within noise")
    better = with_results(tmp_path / "b", {"full": (25.0, 26.0), "without-flows": (27.0, 28.0)})
    assert find(better, rows_of(("3",)))[1].verdict == "no"
    alone = with_results(tmp_path / "c", {"full": (25.0,), "without-flows": (24.0,)})
    assert find(alone, rows_of(("3",)))[1].verdict == "yes (one seed, unknown noise)"


def test_fig_7_says_that_every_other_weight_is_worse(tmp_path: Path) -> None:
    plan = with_results(tmp_path, {"full": (25.0, 26.0), "lambda-2-0.5": (24.0, 25.01)}, tables=("fig7",))
    row = next(f for f in find(plan, rows_of(("fig7",))) if f.row.edit == "lambda-2-0.5")
    assert row.paper_delta_db is None
    assert (row.paper_sign, row.verdict) == (-1, "yes")


def test_rows_beyond_the_paper_have_no_sign_to_agree_with(tmp_path: Path) -> None:
    plan = plan_of(config_of(CLIP, tmp_path, seeds=2, tables=("2",)))
    for edit, value in (("full", 24.0), ("random-times", 24.5)):
        for seed in range(2):
            settle(plan, Job(edit=edit, start="nothing", seed=seed), value + seed, between=3)
    found = {(f.row.edit, f.row.between): f for f in find(plan, rows_of(("2",)))}
    random = found["random-times", 3]
    assert random.psnr.delta == pytest.approx(0.5)
    assert random.paper_delta_db is None
    assert found["full", 5].psnr.values == []
    assert found["full", 5].note == "0 of 2 seeds done"
    assert found["tmnet", 3].paper_delta_db == pytest.approx(-0.10)


def test_the_papers_column_is_that_of_the_clips(tmp_path: Path) -> None:
    slow = with_results(tmp_path / "slow", {"full": (33.0,), "without-flows": (32.0,)}, group="slow")
    assert set_of(slow) == "slow"
    assert find(slow, rows_of(("3",)))[1].paper_delta_db == pytest.approx(-0.45)
    own = with_results(tmp_path / "own", {"full": (33.0,), "without-flows": (32.0,)}, group="")
    assert set_of(own) is None
    assert find(own, rows_of(("3",)))[1].paper_db == 26.15
    assert any("none of the paper's sets" in view.note for view in views(own, find(own, rows_of(("3",)))))


def test_a_report_says_by_what_its_rows_were_measured_and_not_by_what_it_is_written(plan: Plan) -> None:
    for number, file in enumerate(sorted((plan.config.out / "rows").glob("*.json"))):
        result = json.loads(file.read_text("utf-8"))
        for report in result["measured"].values():
            report["run"] = {
                "commit": f"c{number % 2}",
                "versions": {"torch": "2"},
                "device": "Z80",
                "date": f"2{number}",
            }
            report["groups"]["slow"] = report["mean"]
        file.write_text(json.dumps(result), "utf-8")
    told = facts(plan)
    assert (told["commit"], told["torch"], told["processor"]) == ("c0, c1", "2", "Z80")
    assert told["date"] == "20 to 25"
    assert all("Vimeo-Slow were measured too" in view.note for view in views(plan, find(plan, rows_of(("3",)))))


def test_the_report_has_every_row_in_every_form(plan: Plan) -> None:
    text = write_reports(plan)
    out = plan.config.out
    written = {
        "text": text,
        "md": (out / "report.md").read_text("utf-8"),
        "html": (out / "report.html").read_text("utf-8"),
    }
    for kind, report in written.items():
        for part in ("STINet w/o optical flows", "1.100", "0.200", "within noise", "26.15"):
            assert part in report, (kind, part)
    for part in ("seeds: 2", "lambda_1: 0: no weights of VGG-19", "2 steps a training", "deltas-3.png"):
        assert part in written["md"], part
    assert (out / "deltas-3.png").exists()


def test_figures_of_interpolated_frames_stand_there_where_they_were_measured(plan: Plan) -> None:
    (view,) = views(plan, find(plan, rows_of(("3",))))
    names = [column.name for column in view.head]
    assert "motion px, delta" in names
    assert "PSNR, delta" not in names
    assert all(len(row) == len(names) for row in view.rows)


def test_charts_show_deltas_with_the_papers_beside_them(plan: Plan) -> None:
    found = find(plan, rows_of(("3",)))
    chart = charts(found)["3"]
    assert list(chart.rows) == ["STINet w/o optical flows", "STINet w/o flow adaption"]
    paper, ours = chart.rows["STINet w/o optical flows"]
    assert (paper.value, paper.spread) == (-0.64, None)
    assert ours.value == pytest.approx(-1.1)
    assert ours.spread == found[1].psnr.noise


def test_the_chart_of_table_6_says_that_it_compares_with_tmnet(tmp_path: Path, plan: Plan) -> None:
    own = with_results(tmp_path / "6", {"tmnet": (24.0, 24.1), "tmnet-mcl": (24.2, 24.3)}, tables=("6",))
    assert "against TMNet," in charts(find(own, rows_of(("6",))))["6"].label
    assert "against the full model," in charts(find(plan, rows_of(("3",))))["3"].label
    assert facts(own)["Table VI"].startswith("its host is TMNet with channels 16")


def test_table_5_is_said_to_be_trained_as_its_rows_are_and_not_as_those_from_nothing(tmp_path: Path) -> None:
    config = config_of(CLIP, tmp_path, {"overrides": {}}, tables=("5",))
    told = facts(open_plan(config, ("weights",), lambda _: None))
    assert "go on from stinet-xs.safetensors" in told["Table V"]
    assert "rate 0.0005 (cosine), l2, lambda_2 0.0015" in told["Table V"]
    assert "training" not in told


def test_what_failed_is_said_beside_its_table(tmp_path: Path) -> None:
    plan = with_results(tmp_path, {"full": (25.0,)})
    file = plan.result(Job(edit="without-flows", start="nothing", seed=0))
    file.write_text('{"failed": "training diverged", "measured": {}}', "utf-8")
    row = find(plan, rows_of(("3",)))[1]
    assert row.note == "seed 0: training diverged"
    assert row.psnr.mean is None
    assert "training diverged" in write_reports(plan)
