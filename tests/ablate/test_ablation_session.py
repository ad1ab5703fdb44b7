"""Rows are trained once, by equal steps, and a run that was stopped goes on; what cannot run is said."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from trials import config_of, plan_of, settle  # pyright: ignore[reportMissingImports]

from commands import Stinet  # pyright: ignore[reportMissingImports]
from stinet.ablate import session
from stinet.ablate.plan import AblateConfig, Job, base_of, jobs_of
from stinet.ablate.rows import rows_of
from stinet.config import TrainConfig
from stinet.data.training import NO_DATA
from stinet.errors import ConfigError, InputError, StinetError, UsageError
from stinet.video.lock import OutputLock

CLIP = Path("clip.mkv")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Trainings that would have been done; each leaves weights behind, and is measured at 25 dB."""
    configs: list[TrainConfig] = []

    def fit(config: TrainConfig, tell: Callable[[str], None], *_: object) -> SimpleNamespace:
        configs.append(config)
        if not config.data:
            tell(NO_DATA)
        tell("weights")
        (Path(config.out)).mkdir(parents=True, exist_ok=True)
        (Path(config.out) / "latest.safetensors").touch()
        net = SimpleNamespace(parameters=list)
        machine = SimpleNamespace(device=SimpleNamespace(type="cpu"), precision="fp32")
        judge = SimpleNamespace(skipped=0)
        return SimpleNamespace(done=config.steps, seconds=1.0, judge=judge, net=net, machine=machine)

    report = SimpleNamespace(to_json=lambda: {"mean": {"psnr_db": 25.0, "ssim": 0.7}})
    monkeypatch.setattr(session, "fit", fit)
    monkeypatch.setattr(session, "all_clips", lambda _: [])
    monkeypatch.setattr(session, "read_header", lambda _: {"about": {"validation": {"psnr_db": 30.0}}})
    monkeypatch.setattr(session, "evaluate", lambda *_, **__: report)
    return configs


def names(trainings: list[TrainConfig]) -> list[str]:
    return [Path(config.out).name for config in trainings]


def test_every_row_is_trained_once_and_a_second_call_does_what_is_left(
    tmp_path: Path, trained: list[TrainConfig], told: list[str]
) -> None:
    config = config_of(CLIP, tmp_path)
    session.ablate(config, told.append)
    assert names(trained) == ["full.seed-0", "without-flows.seed-0", "without-adaption.seed-0"]
    assert {(one.steps, one.seed) for one in trained} == {(2, 0)}
    session.ablate(config, told.append)
    assert len(trained) == 3
    assert told[-1] == "3 trainings of 2 steps, 3 of them done"
    session.ablate(dataclasses.replace(config, seeds=2), told.append)
    assert names(trained)[3:] == ["full.seed-1", "without-flows.seed-1", "without-adaption.seed-1"]
    assert {one.seed for one in trained[3:]} == {1}
    (tmp_path / "rows" / "full.seed-0.json").unlink()
    session.ablate(config, told.append)
    assert names(trained)[6:] == ["full.seed-0"]


def test_another_table_takes_the_full_model_that_is_there(
    tmp_path: Path, trained: list[TrainConfig], told: list[str]
) -> None:
    session.ablate(config_of(CLIP, tmp_path), told.append)
    session.ablate(config_of(CLIP, tmp_path, tables=("1",), only=("without-st-gr",)), told.append)
    assert names(trained)[3:] == ["without-st-gr.seed-0"]


def test_what_is_measured_in_another_way_is_not_trained_again(
    tmp_path: Path, trained: list[TrainConfig], told: list[str]
) -> None:
    session.ablate(config_of(CLIP, tmp_path), told.append)
    plan = session.ablate(config_of(CLIP, tmp_path, tables=("2",), only=("full",)), told.append)
    assert len(trained) == 3
    result = session.read_result(plan, Job(edit="full", start="nothing", seed=0))
    assert result is not None
    assert sorted(result["measured"]) == ["1", "3", "5"]


def test_a_measure_that_is_asked_for_later_is_taken_of_rows_that_are_done(
    tmp_path: Path, trained: list[TrainConfig], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.ablate(config_of(CLIP, tmp_path), told.append)
    asked: list[tuple[str, ...]] = []
    report = SimpleNamespace(to_json=lambda: {"mean": {"psnr_db": 25.0, "ssim": 0.7}})
    monkeypatch.setattr(session, "evaluate", lambda _, __, config, **___: asked.append(config.measures) or report)
    more = config_of(CLIP, tmp_path, measures=("psnr", "ssim", "motion"))
    session.ablate(more, told.append)
    assert asked == [("psnr", "ssim", "motion")] * 3
    session.ablate(more, told.append)
    session.ablate(config_of(CLIP, tmp_path), told.append)  # what was measured beyond that stays
    assert (len(asked), len(trained)) == (3, 3)


def test_clips_that_are_not_there_are_said_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = config_of(CLIP, tmp_path / "out", evaluate=(tmp_path / "empty",))
    with pytest.raises(InputError, match="empty"):
        session.ablate(config, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_row_that_was_made_by_other_settings_is_refused(tmp_path: Path, trained: list[TrainConfig]) -> None:
    plan = plan_of(config_of(CLIP, tmp_path))
    job = Job(edit="full", start="nothing", seed=0)
    settle(plan, job, 25.0)
    result = json.loads(plan.result(job).read_text("utf-8"))
    result["settings"]["network"]["graph_layers"] = 99
    plan.result(job).write_text(json.dumps(result), "utf-8")
    with pytest.raises(ConfigError, match=r"network\.graph_layers 99 then, 4 now"):
        session.ablate(config_of(CLIP, tmp_path), lambda _: None)
    plan.result(job).write_text("{", "utf-8")
    with pytest.raises(InputError, match="delete it to do the row again"):
        session.ablate(config_of(CLIP, tmp_path), lambda _: None)
    assert trained == []


def test_a_row_that_another_process_works_on_is_passed_by(
    tmp_path: Path, trained: list[TrainConfig], told: list[str]
) -> None:
    config = config_of(CLIP, tmp_path)
    plan = plan_of(config)
    with OutputLock(plan.result(Job(edit="without-flows", start="nothing", seed=0))):
        session.ablate(config, told.append)
    assert names(trained) == ["full.seed-0", "without-adaption.seed-0"]
    assert any("without-flows.seed-0: another process" in line for line in told)


@pytest.mark.usefixtures("trained")
def test_a_training_that_diverges_is_a_result_and_other_errors_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    def diverge(*_: object) -> None:
        raise StinetError("training diverged: 50 steps in a row")

    monkeypatch.setattr(session, "fit", diverge)
    plan = session.ablate(config_of(CLIP, tmp_path), told.append)
    result = session.read_result(plan, Job(edit="without-flows", start="nothing", seed=0))
    assert result is not None
    assert "diverged" in result["failed"]
    monkeypatch.setattr(session, "fit", lambda *_: pytest.fail("done rows are trained again"))
    session.ablate(config_of(CLIP, tmp_path), told.append)

    def lose(*_: object) -> None:
        raise InputError("clip.mkv: no such file")

    monkeypatch.setattr(session, "fit", lose)
    with pytest.raises(InputError):
        session.ablate(config_of(CLIP, tmp_path / "other"), told.append)


def test_a_stopped_training_ends_the_ablation_and_leaves_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "fit", lambda *_: SimpleNamespace(done=1))
    monkeypatch.setattr(session, "all_clips", lambda _: [])
    with pytest.raises(KeyboardInterrupt):
        session.ablate(config_of(CLIP, tmp_path), lambda _: None)
    assert not list((tmp_path / "rows").glob("*.json"))


def test_rows_that_cannot_run_are_said_and_tables_without_any_other_are_refused(
    tmp_path: Path, trained: list[TrainConfig], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.ablate(config_of(CLIP, tmp_path, tables=("fig7",), only=("lambda-1-0", "lambda-2-0.5")), told.append)
    assert names(trained) == ["full.seed-0", "lambda-2-0.5.seed-0"]
    assert any(line.startswith("left out: lambda_1 = 0: needs VGG-19's weights") for line in told)
    assert any(line.startswith("lambda_1 = 0 in every row") for line in told)
    lambda_1 = config_of(CLIP, tmp_path, tables=("fig7",), only=("lambda-1-0",))
    only = [row for row in rows_of(("fig7",)) if row.edit == "lambda-1-0"]
    monkeypatch.setattr(session, "rows_of", lambda *_: only)
    with pytest.raises(UsageError, match="no row of fig7 can run here: needs VGG-19"):
        session.ablate(lambda_1, told.append)


def test_without_data_the_bundled_clip_is_named_once(
    tmp_path: Path, trained: list[TrainConfig], told: list[str]
) -> None:
    session.ablate(config_of(Path(), tmp_path, {"data": ""}), told.append)
    assert len(trained) > 1
    assert told.count("weights") == len(trained)
    assert sum("bundled clip" in line for line in told) == 1
    assert any("measuring on the clip that was trained on" in line for line in told)


def test_two_rows_are_trained_measured_and_reported_for_real(
    video_folder: Path, tmp_path: Path, stinet: Stinet
) -> None:
    words = [
        "ablate", "--table", "3", "--rows", "without-flows", "--budget", "2steps", "--seeds", 1, "--device", "cpu",
        "--data", video_folder / "clip.mkv", "--cache", video_folder / "cache", "--variant", "first", "--out", tmp_path,
        *(word for text in ("batch=2", "crop_px=8", "candidates=1", "precision=fp32", "threads=1",
                            "overrides.channels=8", "overrides.graph_channels=8") for word in ("--set", text)),
    ]  # fmt: skip
    first = stinet(*words)
    assert first.code == 0, first.err
    full, bare = (json.loads((tmp_path / "rows" / f"{name}.seed-0.json").read_text("utf-8"))
                  for name in ("full", "without-flows"))  # fmt: skip
    assert full["steps"] == bare["steps"] == 2
    assert full["parameters"] > bare["parameters"]
    delta = bare["measured"]["1"]["mean"]["psnr_db"] - full["measured"]["1"]["mean"]["psnr_db"]
    assert f"{delta:.3f}" in first.out
    assert "STINet w/o optical flows" in (tmp_path / "report.md").read_text("utf-8")
    assert (tmp_path / "deltas-3.png").stat().st_size > 1000
    kept = {path.name for path in (tmp_path / "runs" / "full.seed-0").iterdir()}
    assert "latest.safetensors" in kept
    assert "state.safetensors" not in kept
    second = stinet(*words)
    assert second.code == 0
    assert "2 of them done" in second.out
    assert stinet(*[word if word != "2steps" else "3steps" for word in words]).code == 2


def test_two_devices_are_two_processes_that_share_the_rows(video_folder: Path, tmp_path: Path) -> None:
    config = config_of(video_folder / "clip.mkv", tmp_path, devices=("cpu", "cpu"), only=("without-flows",))
    plan = session.ablate(config, lambda _: None)
    jobs = jobs_of(rows_of(("3",), ("without-flows",)), config)
    assert [session.read_result(plan, job) is not None for job in jobs] == [True, True]


def test_a_process_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, *, target: object, args: tuple[object, ...]) -> None:
            assert target is session._serve
            self.exitcode = 3 if args[2] == "cuda:1" else 0

        def start(self) -> None: ...

        def join(self) -> None: ...

    monkeypatch.setattr(session, "all_clips", lambda _: [])
    monkeypatch.setattr(session.multiprocessing, "get_context", lambda _: SimpleNamespace(Process=Process))
    config = config_of(CLIP, tmp_path, devices=("cuda:0", "cuda:1"))
    with pytest.raises(StinetError, match="the process on cuda:1 did not end well"):
        session.ablate(config, lambda _: None)


def test_a_report_alone_trains_nothing(tmp_path: Path, stinet: Stinet) -> None:
    words = ("ablate", "--table", "3", "--budget", "2steps", "--seeds", 1, "--out", tmp_path / "out", "--report")
    assert stinet(*words).code == 3
    plan = plan_of(AblateConfig(tables=("3",), budget="2steps", out=tmp_path / "out", base=base_of("compact", {})))
    settle(plan, Job(edit="full", start="nothing", seed=0), 25.0)
    settle(plan, Job(edit="without-flows", start="nothing", seed=0), 24.5)
    ran = stinet(*words)
    assert ran.code == 0, ran.err
    assert "-0.500" in ran.out
    assert "0 of 1 seeds done" in ran.out
    assert not (tmp_path / "out" / "runs").exists()


def test_the_command_needs_a_table_or_the_list(stinet: Stinet) -> None:
    assert stinet("ablate").code == 2
    listed = stinet("ablate", "--list")
    assert listed.code == 0
    assert "ST-GR -> BDCL" in listed.out
    assert stinet("ablate", "--table", "3", "--data", "no/such/folder").code == 3
    assert stinet("ablate", "--table", "3", "--set", "ratee=1").code == 2
