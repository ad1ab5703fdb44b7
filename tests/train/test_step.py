"""One update: parts and processes give the joined batch's gradient; what blows up is left out and leaves no trace."""

import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import data_of, first_batch, settings, stepper_of
from torch import Tensor

from stinet.config import LossConfig, TrainConfig
from stinet.data.training import Batch
from stinet.errors import ConfigError, StinetError
from stinet.train.divergence import PATIENCE
from stinet.train.machine import open_machine
from stinet.train.step import Stepper, offset_px, term_gradients

STAGES = ({"steps": 1, "frames": 1}, {"steps": 5})


def gradients(stepper: Stepper, batch: Batch) -> dict[str, Tensor]:
    stepper.gradients(batch)
    named = stepper.run.net.named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


@pytest.fixture(scope="module")
def several(video: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    """What two processes found, joined by gloo, each with two parts of its half of a step's eight crops."""
    out = tmp_path_factory.mktemp("several")
    config = settings(video, out / "run", batch=8, accumulate=2, stages=STAGES)
    plain = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name != "loss"}
    (out / "settings.json").write_text(json.dumps(plain))
    data_of(config)  # so that neither has to decode it
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("one_of_several.py")
    command = [sys.executable, str(script), str(out / "settings.json"), str(out)]
    joint = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **joint, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return config, out


@pytest.mark.parametrize("stage", ["single", "clips"])
def test_two_processes_have_the_gradient_of_the_joined_batch(several: tuple[TrainConfig, Path], stage: str) -> None:
    config, out = several
    alone = stepper_of(dataclasses.replace(config, accumulate=1))
    runs = data_of(config).training
    if stage == "clips":  # it comes after a step of the first stage
        alone(runs.draw(config.stage(0).config, 0, range(8)))
        alone._enter(alone.run.plan.at(1))
    expected = gradients(alone, runs.draw(config.stage(alone.run.done).config, alone.run.done, range(8)))
    found = [load_file(out / f"{stage}-{rank}.safetensors") for rank in range(2)]
    for one in found:
        assert one.keys() - {"loss"} == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[0][name], found[1][name]), name
        torch.testing.assert_close(found[0][name], tensor, rtol=1e-4, atol=1e-3 * float(tensor.abs().max()) + 1e-9)


def test_single_frames_leave_what_interpolates_without_a_gradient(several: tuple[TrainConfig, Path]) -> None:
    _, out = several
    single, clips = (load_file(out / f"{stage}-0.safetensors").keys() for stage in ("single", "clips"))
    assert single < clips
    assert any(name.startswith("interpolate") for name in clips - single)


def test_a_process_that_breaks_or_is_stopped_makes_all_decide_alike(several: tuple[TrainConfig, Path]) -> None:
    _, out = several
    told = [json.loads((out / f"outcome-{rank}.json").read_text()) for rank in range(2)]
    assert told == 2 * [{"skipped": "not finite", "is_stopped": True, "count": 2}]


def test_accumulated_parts_have_the_gradient_of_the_whole(config: TrainConfig) -> None:
    config = dataclasses.replace(config, batch=4)
    batch = first_batch(config)
    whole = gradients(stepper_of(config), batch)
    parts = gradients(stepper_of(dataclasses.replace(config, accumulate=2)), batch)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max()) + 1e-9)


def test_crops_that_do_not_divide_are_refused_with_the_numbers(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="6 crops cannot be divided equally among 2 processes with 2 parts each"):
        open_machine(dataclasses.replace(config, batch=6, accumulate=2))


@pytest.mark.parametrize("broken", ["high", "forward"])
def test_a_step_that_is_not_finite_leaves_weights_average_and_moments_alone(config: TrainConfig, broken: str) -> None:
    stepper = stepper_of(config)
    batch = first_batch(config)
    stepper(batch)
    before = {name: tensor.clone() for name, tensor in stepper.run.tensors().items()}
    part = getattr(batch, broken)
    outcome = stepper(batch._replace(**{broken: torch.full_like(part.float(), math.nan)}))
    assert outcome.skipped == "not finite"
    assert (stepper.run.done, stepper.run.updates, stepper.run.judge.skipped) == (2, 1, 1)
    for name, tensor in stepper.run.tensors().items():
        assert torch.equal(tensor, before[name]), name


def test_a_loss_far_above_its_median_is_left_out_and_told(config: TrainConfig) -> None:
    stepper = stepper_of(dataclasses.replace(config, spike=3.0))
    stepper.run.judge.recall({"losses": {"draft_high,draft_low,reconstruction": [1e-3] * 30}})
    assert stepper(first_batch(config)).skipped.endswith("times its median")
    assert stepper.run.updates == 0


def test_a_run_that_goes_on_diverging_ends(config: TrainConfig) -> None:
    stepper = stepper_of(config)
    batch = first_batch(config)
    stepper.run.judge.recall({"in_a_row": PATIENCE - 2})
    broken = batch._replace(forward=torch.full_like(batch.forward, math.nan))
    stepper(broken)
    with pytest.raises(StinetError, match=f"{PATIENCE} steps in a row"):
        stepper(broken)


def test_a_new_stage_has_its_loss_its_rate_and_no_old_losses_to_be_judged_by(video: Path, tmp_path: Path) -> None:
    stages = (
        {"steps": 1, "rate": 0.001, "warmup_steps": 0},
        {"steps": 2, "rate": 0.1, "loss": {"kind": "l2"}, "warmup_steps": 0},
    )
    stepper = stepper_of(settings(video, tmp_path / "run", stages=stages))
    batch = first_batch(stepper.run.config)
    first = stepper(batch)
    stepper.run.judge.recall({"losses": {"draft_high,draft_low,reconstruction": [1e-9] * 30}})
    second = stepper(batch)
    assert second.skipped == ""
    assert second.loss < first.loss**1.5  # squares of small differences
    assert stepper.run.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_motion_is_no_spike_where_its_gradient_is_limited(config: TrainConfig) -> None:
    batch = first_batch(config)
    usual = stepper_of(config)(batch).loss
    for limit, is_skipped in ((100.0, False), (0.0, True)):
        loss = LossConfig(motion=100.0, motion_pairs="adjacent", motion_limit=limit)
        stepper = stepper_of(dataclasses.replace(config, loss=loss, spike=3.0))
        kind = "draft_high,draft_low,motion_absolute,motion_relative,reconstruction"
        stepper.run.judge.recall({"losses": {kind: [usual] * 30}})
        outcome = stepper(batch)
        assert outcome.loss > 3 * usual
        assert bool(outcome.skipped) == is_skipped


def test_half_precision_with_a_scaler_learns_and_an_overflow_lowers_the_scale(config: TrainConfig) -> None:
    stepper = stepper_of(dataclasses.replace(config, precision="fp16"))
    scaler: Any = getattr(stepper.run.machine.fabric.strategy.precision, "scaler")  # noqa: B009
    batch = first_batch(config)
    before = {name: tensor.clone() for name, tensor in stepper.run.net.state_dict().items()}
    scales = [scaler.get_scale()]
    outcomes = []
    for _ in range(10):
        outcomes.append(stepper(batch))
        scales.append(scaler.get_scale())
    for outcome, was, now in zip(outcomes, scales, scales[1:], strict=False):
        assert (now < was) == bool(outcome.skipped)
    assert not outcomes[-1].skipped
    assert any(not torch.equal(tensor, before[name]) for name, tensor in stepper.run.net.state_dict().items())


def test_offsets_are_measured_in_pixels_and_bounded(config: TrainConfig) -> None:
    stepper = stepper_of(config)
    batch = first_batch(config)
    assert offset_px(stepper, batch) == 0  # they start at the flow
    for name, weight in stepper.run.net.named_parameters():
        if "align" in name and "offsets.bias" in name:
            torch.nn.init.constant_(weight, 2.0)
    bound = config.model_config.max_offset_px
    assert offset_px(stepper, batch) == pytest.approx(bound * math.tanh(2 / bound), rel=1e-3)
    for name, weight in stepper.run.net.named_parameters():
        if "align" in name and "offsets.bias" in name:
            torch.nn.init.constant_(weight, 1e6)
    assert offset_px(stepper, batch) <= bound


def test_term_gradients_are_those_of_each_weighted_term(config: TrainConfig) -> None:
    loss = LossConfig(draft_low=0.3, draft_high=0.0, motion=0.01, motion_every=4, motion_pairs="adjacent")
    stepper = stepper_of(dataclasses.replace(config, loss=loss))
    batch = first_batch(config)
    found = term_gradients(stepper, batch)
    assert list(found) == ["reconstruction", "draft_low", "motion_absolute", "motion_relative"]
    alone = stepper_of(dataclasses.replace(config, loss=LossConfig(draft_low=0.0, draft_high=0.0)))
    plain = gradients(alone, batch)
    assert found["reconstruction"] == pytest.approx(
        math.sqrt(sum(float(g.square().sum()) for g in plain.values())), rel=1e-4
    )
    doubled = stepper_of(dataclasses.replace(config, loss=dataclasses.replace(loss, draft_low=0.6)))
    assert term_gradients(doubled, batch)["draft_low"] == pytest.approx(2 * found["draft_low"], rel=1e-3)
    assert min(found.values()) > 0


def test_a_file_that_only_the_last_stage_needs_is_missed_before_the_first_step(video: Path, tmp_path: Path) -> None:
    last = {"steps": 1, "loss": {"perceptual": 0.1, "vgg": str(tmp_path / "gone.pth")}}
    config = settings(video, tmp_path / "run", stages=({"steps": 5}, last))
    with pytest.raises(StinetError, match=r"gone\.pth"):
        stepper_of(config)


def test_a_step_makes_the_frames_at_the_times_of_its_batch(config: TrainConfig) -> None:
    stepper = stepper_of(dataclasses.replace(config, times="random"))
    batch = first_batch(stepper.run.config)
    assert batch.times != ((0.5,),) * 3
    at_half = batch._replace(tau=torch.full_like(batch.tau, 0.5))
    found = [float(stepper.gradients(some)[0]) for some in (batch, at_half, batch)]
    assert found[0] == found[2] != found[1]
