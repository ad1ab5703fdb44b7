"""At any moment one state is whole; only this run goes on from it, another one starts anew with its weights."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import data_of, first_batch, quiet, settings, stepper_of, weights

from stinet import checkpoint
from stinet.checkpoint import as_half, load_tensors, save_model, save_tensors
from stinet.config import TrainConfig
from stinet.errors import CheckpointError, ConfigError
from stinet.model.stinet import STINet
from stinet.train.machine import open_machine
from stinet.train.state import NEWEST, PREVIOUS, Run, begin, save_state
from stinet.train.step import Stepper


class Crash(BaseException):
    """What nobody catches: the process ends here."""


def trained(config: TrainConfig, steps: int = 2) -> Run:
    """A run after a few steps, its state saved after each."""
    stepper = stepper_of(config)
    for _ in range(steps):
        stepper(first_batch(config))
        save_state(stepper.run, Path(config.out))
    return stepper.run


def again(config: TrainConfig, tell: Any = quiet) -> Run:
    return begin(config, open_machine(config), tell)


def test_a_saved_run_is_the_same_run(config: TrainConfig) -> None:
    run = trained(config)
    run.judge.recall({"losses": {"reconstruction": [0.1, 0.25]}, "skipped": 3, "in_a_row": 1})
    run.best_db, run.seconds = 27.123456789, 12.75
    save_state(run, Path(config.out))
    other = again(config)
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(other)[name]), name
    for name in ("done", "updates", "seconds", "best_db"):
        assert getattr(run, name) == getattr(other, name), name
    assert other.judge.remembered() == run.judge.remembered()


def test_weights_that_saw_fewer_steps_keep_their_own_count(video: Path, tmp_path: Path) -> None:
    config = settings(video, tmp_path / "run", stages=({"steps": 2, "frames": 1}, {"steps": 2}))
    runs = data_of(config).training
    stepper = stepper_of(config)
    for step in range(3):
        stepper(runs.draw(config.stage(step).config, step, range(2)))
    save_state(stepper.run, tmp_path / "run")
    counts = {int(moments["step"]) for moments in again(config).optimizer.state.values()}
    assert counts == {1, 3}


@pytest.mark.parametrize("moment", range(6))
def test_whenever_the_process_dies_while_it_saves_a_whole_state_is_left(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Every file operation of saving is a moment to die at, half-written files included."""
    before = trained(config)
    run = again(config)
    Stepper(run)(first_batch(config))
    left = [moment]

    def dying(function: Any) -> Any:
        def operate(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                if function is checkpoint.os.fsync:  # what was not flushed may be torn
                    part = next(Path(config.out).glob(".*.part"))
                    part.write_bytes(part.read_bytes()[:1000])
                raise Crash
            left[0] -= 1
            return function(*given, **named)

        return operate

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Path, "chmod", dying(Path.chmod))
        patch.setattr(checkpoint.os, "fsync", dying(checkpoint.os.fsync))
        try:
            save_state(run, Path(config.out))
            is_saved = True
        except Crash:
            is_saved = False
    assert is_saved == (moment >= 5), "there are five moments"
    found = again(config)
    assert found.done == (3 if is_saved else 2)
    for name, tensor in weights(run if is_saved else before).items():
        assert torch.equal(tensor, weights(found)[name]), name


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "gone"])
def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(config: TrainConfig, damage: str) -> None:
    trained(config, 3)
    newest = Path(config.out) / NEWEST
    content = bytearray(newest.read_bytes())
    if damage == "gone":
        newest.unlink()
    else:
        content[-5] ^= 0x10
        newest.write_bytes({"cut": content[:-100], "empty": b"", "flipped": content}[damage])
    told: list[str] = []
    assert again(config, told.append).done == 2
    assert any("state before" in text and NEWEST in text for text in told)


def test_two_damaged_states_are_an_error_not_a_new_run(config: TrainConfig) -> None:
    trained(config)
    for name in (NEWEST, PREVIOUS):
        (Path(config.out) / name).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="no state is whole"):
        again(config)


def test_a_state_file_that_is_none_is_named(config: TrainConfig) -> None:
    run = trained(config, 1)
    assert isinstance(run.net, STINet)
    save_model(Path(config.out) / NEWEST, run.net, as_half(run.average), {})
    with pytest.raises(CheckpointError, match="no state of a training run"):
        again(config)


@pytest.mark.parametrize(("changed", "said"), [
    ({"rate": 0.002}, r"rate: 0\.001 then, 0\.002 now"),
    ({"precision": "bf16"}, "precision: fp32 then, bf16 now"),
    ({"seed": 1}, "seed: 0 then, 1 now"),
    ({"overrides": {"channels": 16}}, "another network"),
    ({"steps": 10_000, "stages": ({"steps": 6, "crop_px": 12},)}, r"stages\.0\.crop_px: 8 then, 12 now"),
])  # fmt: skip
def test_other_settings_are_refused_with_the_difference(
    config: TrainConfig, changed: dict[str, Any], said: str
) -> None:
    trained(config, 1)
    with pytest.raises(ConfigError, match=said):
        again(dataclasses.replace(config, **changed))


@pytest.mark.parametrize("changed", [
    {"steps": 9, "schedule": "cosine"},
    {"log_every": 7, "workers": 2, "threads": 2, "compile": "off", "accumulate": 2},
    {"steps": 10_000, "stages": ({"steps": 4}, {"steps": 5, "rate": 0.1})},
])  # fmt: skip
def test_what_is_yet_to_come_and_how_it_is_worked_may_change(config: TrainConfig, changed: dict[str, Any]) -> None:
    trained(config, 2)
    assert again(dataclasses.replace(config, **changed)).done == 2


def test_a_stage_that_is_over_stays_as_it_was(video: Path, tmp_path: Path) -> None:
    first, second = {"steps": 2, "rate": 0.01}, {"steps": 2}
    config = settings(video, tmp_path / "run", stages=(first, second))
    trained(config, 3)
    assert again(dataclasses.replace(config, stages=(first, {"steps": 5}, {"steps": 1}))).done == 3
    with pytest.raises(ConfigError, match=r"stages\.0\.rate: 0\.01 then, 0\.02 now"):
        again(dataclasses.replace(config, stages=({**first, "rate": 0.02}, second)))
    with pytest.raises(ConfigError, match=r"stages\.0\.steps: 2 then, 1 now"):
        again(dataclasses.replace(config, stages=({**first, "steps": 1}, second)))
    with pytest.raises(ConfigError, match="2 stages begun then, 1 stages now"):
        again(dataclasses.replace(config, stages=(first,)))


def as_before_stages(file: Path) -> None:
    """Make a state what it was before there were stages: other keys, half-size tensors, no counts."""
    tensors, header = load_tensors(file)
    old = {name: header["config"][name] for name in ("model", "overrides", "steps", "batch", "crop_px", "rate", "seed")}
    loss = {"kind": "charbonnier", "draft_low": 0.1, "draft_high": 0.1}
    rest = {"warmup_steps": 2, "schedule": "late", "decay_steps": 2, "loss": loss, "bfloat16": "off", "frames": 4}
    kept = {name: header[name] for name in ("model", "done", "seconds", "best_db")}
    half = {name: t.to(torch.bfloat16) for name, t in tensors.items() if name != "adam_steps"}
    save_tensors(file, half, {**kept, "config": {**old, **rest}})


def test_a_state_of_an_older_version_goes_on(config: TrainConfig) -> None:
    run = trained(config)
    as_before_stages(Path(config.out) / NEWEST)
    resumed = again(config)
    assert (resumed.done, resumed.updates) == (2, 2)
    assert {int(moments["step"]) for moments in resumed.optimizer.state.values()} == {2}
    torch.testing.assert_close(resumed.average, run.average, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("age", ["new", "old"])
def test_another_runs_state_gives_weights_average_and_moments_and_the_steps_begin_anew(
    config: TrainConfig, tmp_path: Path, age: str
) -> None:
    is_old = age == "old"
    done = trained(config, 5)
    state = Path(config.out) / NEWEST
    if is_old:
        as_before_stages(state)
    next_one = dataclasses.replace(config, out=str(tmp_path / "next"), start=str(state), rate=0.002, warmup_steps=4)
    told: list[str] = []
    stepper = Stepper(again(next_one, told.append))
    begun = stepper.run
    assert (begun.done, begun.seconds) == (0, 0.0)
    assert any("step 5" in text and "warm-up" in text for text in told)
    for name, tensor in weights(done).items():
        torch.testing.assert_close(weights(begun)[name], tensor, rtol=1e-2 if is_old else 0, atol=1e-3 if is_old else 0)
    average = {name: tensor.clone() for name, tensor in begun.average.items()}
    stepper(first_batch(next_one))
    assert begun.optimizer.param_groups[0]["lr"] == pytest.approx(0.002 / 4)
    moved = max(float((begun.average[name] - average[name]).abs().max()) for name in average)
    gap = max(float((begun.net.state_dict()[name] - average[name]).abs().max()) for name in average)
    assert moved < 0.7 * gap  # the average goes on, it does not begin anew


def test_another_network_cannot_be_started_from(config: TrainConfig, tmp_path: Path) -> None:
    trained(config, 1)
    state = str(Path(config.out) / NEWEST)
    with pytest.raises(ConfigError, match="another network"):
        again(dataclasses.replace(config, overrides={}, out=str(tmp_path / "next"), start=state))


def test_weights_that_fit_a_changed_network_are_taken_and_the_change_is_told(
    config: TrainConfig, tmp_path: Path
) -> None:
    run = trained(config, 1)
    told: list[str] = []
    state = str(Path(config.out) / NEWEST)
    changed = {**config.overrides, "local_frames": "all"}
    other = dataclasses.replace(config, overrides=changed, out=str(tmp_path / "next"), start=state)
    begun = again(other, told.append)
    assert any("local_frames given -> all" in line for line in told)
    torch.testing.assert_close(begun.net.state_dict(), run.net.state_dict())


def test_starting_from_weights_starts_there(config: TrainConfig, tmp_path: Path) -> None:
    run = trained(config)
    file = tmp_path / "weights.safetensors"
    assert isinstance(run.net, STINet)
    save_model(file, run.net, as_half(run.average), {"steps": 400})
    begun = again(dataclasses.replace(config, out=str(tmp_path / "next"), start=str(file)))
    torch.testing.assert_close(begun.net.state_dict(), run.average, rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(begun.average, begun.net.state_dict(), rtol=0, atol=0)
    assert begun.updates == 400
