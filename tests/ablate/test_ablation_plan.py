"""Budgets become steps that all rows share; a folder keeps its plan and refuses another."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from trials import config_of, plan_of  # pyright: ignore[reportMissingImports]

from stinet.ablate import plan as planning
from stinet.ablate.plan import SIZES, AblateConfig, base_of, budget_s, jobs_of, open_plan
from stinet.ablate.rows import EDITS, rows_of
from stinet.config import TrainConfig, from_mapping, read_yaml
from stinet.errors import ConfigError, InputError, UsageError

CLIP = Path("clip.mkv")


@pytest.mark.parametrize(("text", "found"), [
    ("30s", (30, None)), ("20m", (1200, None)), ("1.5h", (5400, None)), ("600steps", (None, 600)),
    ("600 steps", (None, 600)), ("paper", (None, 500_000)),
])  # fmt: skip
def test_a_budget_is_seconds_or_steps(text: str, found: tuple[float | None, int | None]) -> None:
    assert budget_s(text) == found


@pytest.mark.parametrize("text", ["30", "soon", "-5s", "0s", "3 days"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give 30s, 20m"):
        budget_s(text)


def test_a_time_becomes_the_same_steps_for_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[TrainConfig] = []

    def step_seconds(config: TrainConfig, _tell: object) -> float:
        timed.append(config)
        return 0.5

    monkeypatch.setattr(planning, "_step_seconds", step_seconds)
    plan = plan_of(config_of(CLIP, tmp_path, budget="30s", tables=("3", "4")))
    jobs = jobs_of(rows_of(("3", "4")), plan.config)
    assert len(timed) == 1
    assert {plan.training(job).steps for job in jobs} == {60}
    again = plan_of(config_of(CLIP, tmp_path, budget="30s", tables=("3", "4")))
    assert again.steps == 60
    assert len(timed) == 1, "steps are not measured again"


def test_a_measured_step_is_as_long_as_a_step(video_folder: Path, tmp_path: Path) -> None:
    config = config_of(video_folder / "clip.mkv", tmp_path).base
    short = planning._step_seconds(config, lambda _: None, 0.0)
    assert 0 < short < 30


def test_rows_of_one_edit_are_one_training_and_seeds_stand_together(tmp_path: Path) -> None:
    config = config_of(CLIP, tmp_path, seeds=2, tables=("1", "3", "4", "fig7"))
    jobs = jobs_of(rows_of(config.tables), config)
    names = [job.name for job in jobs]
    assert names[:4] == ["full.seed-0", "full.seed-1", "without-hr.seed-0", "without-hr.seed-1"]
    assert len(names) == len(set(names))
    assert names.count("without-mcl.seed-0") == 1
    assert not any(EDITS[job.edit].needs for job in jobs)


def test_rows_with_the_same_seed_see_the_same_crops_and_others_do_not(tmp_path: Path) -> None:
    config = config_of(CLIP, tmp_path, seeds=2)
    plan = plan_of(config)
    order = ("seed", "batch", "crop_px", "candidates", "symmetries", "frames", "steps", "rate")
    seen = {
        (job.seed, tuple(getattr(plan.training(job), name) for name in order))
        for job in jobs_of(rows_of(("3",)), config)
    }
    assert {seed for seed, _ in seen} == {0, 1}
    assert len(seen) == 2


def test_several_in_between_are_measures_of_one_training(tmp_path: Path) -> None:
    config = config_of(CLIP, tmp_path, tables=("2",))
    jobs = jobs_of(rows_of(("2",)), config)
    edits = ("full", "tmnet", "random-times", "tmnet-random-times")
    assert {job.edit: job.between for job in jobs} == dict.fromkeys(edits, (3, 5))


def test_table_v_starts_from_shipped_weights_and_the_others_from_nothing(tmp_path: Path) -> None:
    config = dataclasses.replace(config_of(CLIP, tmp_path, {"overrides": {}}), tables=("1", "5"))
    plan = open_plan(config, ("nothing", "weights"), lambda _: None)
    jobs = jobs_of(rows_of(("1", "5")), config)
    starts = {job.name: Path(plan.training(job).start).name for job in jobs}
    assert starts["from-weights.full.seed-0"] == "stinet-xs.safetensors"
    assert starts["from-weights.without-absolute.seed-0"] == "stinet-xs.safetensors"
    assert starts["full.seed-0"] == starts["without-mcl.seed-0"] == ""
    assert len({plan.training(job).steps for job in jobs}) == 1
    alone = dataclasses.replace(config, start="nothing", tables=("5",))
    assert {job.start for job in jobs_of(rows_of(("5",)), alone)} == {"nothing"}
    lost = dataclasses.replace(config, start="gone.safetensors", out=tmp_path / "other")
    with pytest.raises(InputError, match="no such weights file for Table V"):
        open_plan(lost, ("nothing", "weights"), lambda _: None)


@pytest.mark.parametrize(("changed", "said"), [
    ({"budget": "3steps"}, "budget '2steps' then, '3steps' now"),
    ({"variant": "all"}, "variant 'first' then, 'all' now"),
    ({"changes": {"rate": 1e-3}}, "rate 0.002 then, 0.001 now"),
    ({"changes": {"data": "other.mkv"}}, "data"),
])  # fmt: skip
def test_a_folder_refuses_an_ablation_by_other_settings(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    plan_of(config_of(CLIP, tmp_path))
    with pytest.raises(ConfigError, match=said):
        plan_of(config_of(CLIP, tmp_path, **changed))


def test_more_seeds_rows_and_threads_are_no_other_settings(tmp_path: Path) -> None:
    plan_of(config_of(CLIP, tmp_path))
    more = config_of(CLIP, tmp_path, {"threads": 4, "cache": "elsewhere"}, seeds=3, tables=("1", "4"))
    assert plan_of(more).steps == 2


def test_a_plan_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"plan\.json: cannot be read"):
        plan_of(config_of(CLIP, tmp_path))


def test_of_two_processes_that_begin_at_once_the_first_ones_plan_is_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(CLIP, tmp_path / "out", budget="60s")
    second = {"step_s": 0.5}

    def timed(*_: object) -> float:
        if second:  # while this process is timing, another one begins, times and ends
            step_s = second.pop("step_s")
            with monkeypatch.context() as other:
                other.setattr(planning, "_step_seconds", lambda *_: step_s)
                assert plan_of(config).steps == 120
        return 1.0

    monkeypatch.setattr(planning, "_step_seconds", timed)
    assert (plan_of(config).steps, plan_of(config).steps) == (120, 120)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.json"]


def test_what_cannot_be_measured_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'colour' cannot be measured"):
        config_of(CLIP, tmp_path, measures=("psnr", "colour"))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 seeds train nothing"):
        config_of(CLIP, tmp_path, seeds=0)
    with pytest.raises(UsageError, match="devices 'gpu'"):
        config_of(CLIP, tmp_path, devices=("gpu",))
    with pytest.raises(ConfigError, match="one stage"):
        AblateConfig(tables=("3",), base=TrainConfig(stages=({"steps": 3},)))
    with pytest.raises(UsageError, match="size 'huge' is unknown"):
        base_of("huge", {})


def test_the_papers_size_is_trained_as_its_recipe_says() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "paper.yaml"
    values = read_yaml(recipe)
    told = from_mapping(TrainConfig, {**values, "loss": {**values["loss"], "perceptual": 0.0}, "layout": "auto"}, "")
    ours = SIZES["paper"]
    for name in ("model", "batch", "crop_px", "frames", "candidates", "symmetries", "rate", "beta2", "schedule",
                 "stair_factor", "clip_norm", "loss"):  # fmt: skip
        assert getattr(ours, name) == getattr(told, name), name


def test_stairs_keep_their_shape_at_any_length(tmp_path: Path) -> None:
    config = AblateConfig(tables=("3",), size="paper", budget="50steps", out=tmp_path, base=base_of("paper", {}))
    plan = open_plan(config, ("nothing",), lambda _: None)
    assert (plan.bases["nothing"].steps, plan.bases["nothing"].stair_steps) == (50, 10)
    kept = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    assert kept["steps"] == 50


def test_a_setting_that_is_newer_than_a_folder_had_its_default_there(tmp_path: Path) -> None:
    config = config_of(CLIP, tmp_path)
    plan_of(config)
    file = tmp_path / "plan.json"
    kept = json.loads(file.read_text("utf-8"))
    for settings, name in ((kept["settings"]["base"], "times"), (kept["settings"]["base"]["loss"], "motion_limit"),
                           (kept["settings"]["base"]["network"], "flow_refined")):  # fmt: skip
        del settings[name]
    file.write_text(json.dumps(kept), "utf-8")
    assert plan_of(config).steps == 2
    with pytest.raises(ConfigError, match="times 'middle' then, 'random' now"):
        plan_of(config_of(CLIP, tmp_path, {"times": "random"}))
    with pytest.raises(ConfigError, match=r"network\.channels 8 then, 16 now"):
        plan_of(config_of(CLIP, tmp_path, {"overrides": {}}))
