"""A run learns, can be stopped, killed and resumed to the bit, and leaves what people look at."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import quiet, settings, weights

from stinet import runtime
from stinet.checkpoint import load_model
from stinet.config import TrainConfig
from stinet.train.fit import fit
from stinet.train.state import Run
from stinet.train.status import read_status
from stinet.train.views import Progress


def rows_of(config: TrainConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]


def assert_equal_runs(one: Run, other: Run) -> None:
    assert one.done == other.done
    assert one.updates == other.updates
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    whole = fit(config, tell=quiet)
    halves = dataclasses.replace(config, out=str(tmp_path / "halves"))
    stopped = fit(halves, tell=lambda text: signal.raise_signal(signal.SIGTERM) if "step 3" in text else None)
    assert stopped.done == 4  # the step after the one that was told
    assert "stopped" in read_status(Path(halves.out))
    assert_equal_runs(fit(halves, tell=quiet), whole)


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(video: Path, tmp_path: Path) -> None:
    config = settings(
        video, tmp_path / "whole", save_every=1, validate_every=100,
        stages=({"steps": 3, "frames": 1}, {"steps": 15, "schedule": "cosine"}),
    )  # fmt: skip
    whole = fit(config, tell=quiet)
    killed = dataclasses.replace(config, out=str(tmp_path / "killed"))
    command = "import json, sys; from stinet.train import fit; fit.fit(fit.TrainConfig(**json.loads(sys.argv[1])))"
    values = {field.name: getattr(killed, field.name) for field in dataclasses.fields(killed) if field.name != "loss"}
    log = Path(killed.out) / "log.jsonl"
    ended = 0
    for _ in range(5):  # on a busy machine we may look too late
        shutil.rmtree(killed.out, ignore_errors=True)
        process = subprocess.Popen([sys.executable, "-c", command, json.dumps(values)], stdout=subprocess.DEVNULL)
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 3):
            time.sleep(0.01)
        time.sleep(random.random() / 10)  # any moment will do, one when a state is being written too
        process.kill()
        ended = process.wait()
        if ended == -signal.SIGKILL:
            break
    assert ended == -signal.SIGKILL, "it came to its end before it was killed, five times"
    assert "killed" in read_status(Path(killed.out))
    resumed = fit(killed, tell=quiet)
    assert_equal_runs(resumed, whole)


def test_what_a_probe_chose_is_kept_when_a_run_goes_on(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    probing = dataclasses.replace(config, threads=0, precision="auto", steps=1)
    told: list[str] = []
    try:
        monkeypatch.setattr(runtime, "use_fastest_threads", lambda: torch.set_num_threads(2))
        monkeypatch.setattr(runtime, "has_bfloat16", lambda _="cpu": True)
        fit(probing, tell=quiet)
        monkeypatch.setattr(runtime, "use_fastest_threads", lambda: torch.set_num_threads(1))
        monkeypatch.setattr(runtime, "has_bfloat16", lambda _="cpu": False)
        torch.set_num_threads(1)
        run = fit(dataclasses.replace(probing, steps=2), tell=told.append)
        assert (torch.get_num_threads(), run.machine.precision) == (2, "bf16")
        assert not any("not bit for bit" in text for text in told)
        fit(dataclasses.replace(probing, steps=3, threads=1), tell=told.append)
        assert any("threads 2 then, 1 now: not bit for bit" in text for text in told)
    finally:
        torch.set_num_threads(before)


def test_the_folder_holds_log_curve_sheet_and_models_that_load(config: TrainConfig) -> None:
    told: list[str] = []
    run = fit(config, tell=told.append)
    out = Path(config.out)
    assert [row["step"] for row in rows_of(config) if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows_of(config) if "validation" in row] == [3, 6]
    for picture in ("curve.png", "sheet-latest.png", "sheet-best.png"):
        with Image.open(out / picture) as shown:
            assert min(shown.size) > 200
    shipped = load_model(out / "latest.safetensors").state_dict()
    for name, tensor in run.average.items():
        torch.testing.assert_close(shipped[name], tensor, rtol=1e-2, atol=1e-4)  # stored in half size
    assert "mean of 1" in told[-2]
    assert str(out / "sheet-latest.png") in told[-1]


def test_training_lowers_the_loss(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=24, validate_every=100, rate=0.004)
    fit(config, tell=quiet)
    losses = [row["loss"] for row in rows_of(config) if "loss" in row]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_a_run_that_is_complete_only_tells_its_figures_again(config: TrainConfig) -> None:
    first = fit(dataclasses.replace(config, steps=2), tell=quiet)
    told: list[str] = []
    again = fit(dataclasses.replace(config, steps=2), tell=told.append)
    assert_equal_runs(again, first)
    assert any("mean of 1" in text for text in told)


def test_more_steps_are_no_other_run(config: TrainConfig) -> None:
    fit(dataclasses.replace(config, steps=1), tell=quiet)
    assert fit(dataclasses.replace(config, steps=2), tell=quiet).done == 2


def test_workers_that_read_data_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, steps=3, validate_every=100)
    assert_equal_runs(
        fit(config, tell=quiet), fit(dataclasses.replace(config, out=str(tmp_path / "w"), workers=1), quiet)
    )


def test_every_step_is_heard_of_with_its_stage_and_the_steps_left(video: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    config = settings(video, tmp_path / "run", stages=({"steps": 2, "frames": 1}, {"steps": 3}), validate_every=100)
    fit(config, tell=quiet, watch=heard.append)
    assert [(now.step, now.stage) for now in heard] == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]
    assert all(now.steps == 5 and now.stages == 2 for now in heard)
    assert heard[-1].left_s == 0


def test_event_files_hold_the_figures_of_the_log(config: TrainConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(dataclasses.replace(config, steps=3, tensorboard=True), tell=quiet)
    events = EventAccumulator(str(Path(config.out) / "tensorboard")).Reload()
    logged = [row["loss"] for row in rows_of(config) if "loss" in row]
    assert [event.value for event in events.Scalars("training/loss")] == pytest.approx(logged)
    assert [event.step for event in events.Scalars("validation/psnr_db")] == [3]
    assert [event.step for event in events.Images("validation/sheet")] == [3]
