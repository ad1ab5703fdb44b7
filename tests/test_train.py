"""A run learns, can be stopped and resumed to the bit, and refuses to go on as another run."""

import dataclasses
import json
import math
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from stinet import train
from stinet.checkpoint import load_model
from stinet.config import TrainConfig
from stinet.data.corpus import RUN
from stinet.errors import CheckpointError, ConfigError

TINY = {"channels": 8, "low_blocks": 1, "high_blocks": 1, "shared_blocks": 1, "fusion_blocks": 1, "graph_channels": 8}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of sliding smooth noise."""
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    coarse = torch.rand(1, 3, 5, 12, generator=torch.Generator().manual_seed(1))
    wide = torch.nn.functional.interpolate(coarse, (48, 64 + 4 * RUN), mode="bicubic").clamp(0, 1)
    picture = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for index in range(2 * RUN):
            frame = np.ascontiguousarray(picture[:, 2 * index : 2 * index + 64])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.fixture
def config(video: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        overrides=TINY, data=str(video), out=str(tmp_path / "run"), cache=str(video.parent / "cache"), steps=6, batch=2,
        crop_px=8, warmup_steps=2, schedule="late", decay_steps=2, log_every=1, save_every=100, validate_every=3,
        precision="fp32",
    )  # fmt: skip


def weights(run: train.Run) -> dict[str, torch.Tensor]:
    return {**run.net.state_dict(), **{f"average {name}": tensor for name, tensor in run.average.items()}}


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    whole = train.fit(config, tell=lambda _: None)
    halves = dataclasses.replace(config, out=str(tmp_path / "halves"))
    stopped = train.fit(halves, tell=lambda text: signal.raise_signal(signal.SIGTERM) if "step 3" in text else None)
    assert stopped.done == 3
    resumed = train.fit(halves, tell=lambda _: None)
    assert resumed.done == 6
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_other_settings_are_refused_with_the_difference(config: TrainConfig) -> None:
    train.fit(dataclasses.replace(config, steps=1), tell=lambda _: None)
    with pytest.raises(ConfigError, match=r"rate: 0\.001 then, 0\.002 now"):
        train.fit(dataclasses.replace(config, rate=0.002), tell=lambda _: None)


def test_more_steps_are_no_other_run(config: TrainConfig) -> None:
    train.fit(dataclasses.replace(config, steps=1), tell=lambda _: None)
    assert train.fit(dataclasses.replace(config, steps=2), tell=lambda _: None).done == 2


def test_the_folder_holds_log_curve_and_models_that_load(config: TrainConfig) -> None:
    run = train.fit(config, tell=lambda _: None)
    out = Path(config.out)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "validation" in row] == [3, 6]
    assert (out / "curve.png").stat().st_size > 1000
    shipped = load_model(out / "latest.safetensors").state_dict()
    for name, tensor in run.average.items():
        torch.testing.assert_close(shipped[name], tensor, rtol=1e-2, atol=1e-4)  # stored in half size


def test_training_lowers_the_loss(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=40, log_every=1, validate_every=100, rate=0.003)
    train.fit(config, tell=lambda _: None)
    rows = [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_a_step_that_blows_up_leaves_the_weights_alone(config: TrainConfig) -> None:
    run = train.Run(config, config.model_config)
    before = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}
    corpus = train.open_corpus(Path(config.data), Path(config.cache))
    batch = train._draw(corpus.training, config, 0)
    broken = batch._replace(high=batch.high * math.nan)
    assert train.step(run, broken)["skipped"] == 1
    for name, tensor in run.net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_rate_warms_up_stays_and_falls() -> None:
    late = TrainConfig(steps=100, warmup_steps=10, schedule="late", decay_steps=20, rate=1.0)
    rates = [train.learning_rate(late, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[10:80]) == {1.0}
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[-1] < 0.01
    cosine = dataclasses.replace(late, schedule="cosine")
    assert train.learning_rate(cosine, 55) == pytest.approx(0.5)


def test_the_same_step_sees_the_same_crops_and_another_one_others(config: TrainConfig) -> None:
    corpus = train.open_corpus(Path(config.data), Path(config.cache))
    first, again, other = (train._draw(corpus.training, config, number).high for number in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_run_may_go_on_from_another_ones_state_with_other_settings(config: TrainConfig, tmp_path: Path) -> None:
    done = train.fit(dataclasses.replace(config, steps=2), tell=lambda _: None)
    state = str(Path(config.out) / "state.safetensors")
    again = dataclasses.replace(config, out=str(tmp_path / "next"), start=state, rate=0.002)
    begun = train._resumed(again, Path(again.out), lambda _: None)
    assert begun.done == 2
    for name, tensor in weights(done).items():
        assert torch.equal(tensor, weights(begun)[name])
    with pytest.raises(ConfigError, match="another network"):
        train._resumed(dataclasses.replace(again, overrides={}), Path(again.out), lambda _: None)


def test_starting_from_weights_starts_there(config: TrainConfig, tmp_path: Path) -> None:
    done = train.fit(dataclasses.replace(config, steps=2), tell=lambda _: None)
    file = str(Path(config.out) / "latest.safetensors")
    again = dataclasses.replace(config, out=str(tmp_path / "next"), start=file)
    begun = train._resumed(again, Path(again.out), lambda _: None)
    torch.testing.assert_close(begun.net.state_dict(), done.average, rtol=1e-2, atol=1e-4)


def test_a_state_file_that_is_none_is_named(config: TrainConfig) -> None:
    done = train.fit(dataclasses.replace(config, steps=1), tell=lambda _: None)
    out = Path(config.out)
    (out / "latest.safetensors").rename(out / "state.safetensors")
    assert done.done == 1
    with pytest.raises(CheckpointError, match="no state of a training run"):
        train.fit(config, tell=lambda _: None)
