"""Figures of a validation are the metrics' own, given and interpolated frames apart."""

import dataclasses

import numpy as np
import pytest
import torch
from small_runs import data_of

from stinet.config import TrainConfig
from stinet.metrics import luma, psnr, ssim
from stinet.model.stinet import STINet
from stinet.ops.resample import upsample
from stinet.train.machine import Machine, open_machine
from stinet.train.validate import mean_figures, pictures, restored, table, validate


@pytest.fixture
def machine(config: TrainConfig) -> Machine:
    return open_machine(config)


@pytest.fixture
def net(config: TrainConfig) -> STINet:
    torch.manual_seed(0)
    return STINet(config.model_config)


def test_figures_are_those_of_every_frame_against_the_truth(config: TrainConfig, machine: Machine, net: STINet) -> None:
    runs = data_of(config).validation
    (clip,) = validate(net, runs, machine, thorough=True)
    batch = runs.clip(0)
    made, truth = restored(net, batch, machine), batch.high[0].float() / 255
    assert clip.psnr_db == pytest.approx([float(psnr(luma(a), luma(b))) for a, b in zip(made, truth, strict=True)])
    assert clip.ssim == pytest.approx([float(ssim(luma(a), luma(b))) for a, b in zip(made, truth, strict=True)])
    base = upsample(batch.low[0, 2:3].float() / 255, 4)[0]
    assert clip.base_psnr_db[2] == pytest.approx(float(psnr(luma(base), luma(truth[2]))))
    means = mean_figures([clip])
    assert means["given_db"] == pytest.approx(np.mean(clip.psnr_db[::2]))
    assert means["interpolated_db"] == pytest.approx(np.mean(clip.psnr_db[1::2]))
    assert means["psnr_db"] == pytest.approx(np.mean(clip.psnr_db))
    said = table([clip])
    assert f"{means['given_db']:.2f} / " in said
    assert f"{np.mean(clip.psnr_db) - np.mean(clip.base_psnr_db):+.2f}" in said


def test_pictures_show_a_given_and_an_interpolated_frame(config: TrainConfig, machine: Machine, net: STINet) -> None:
    runs = data_of(config).validation
    given, between = pictures(net, runs, machine)
    truth = runs.clip(0).high[0].permute(0, 2, 3, 1).numpy()
    assert (given.kind, between.kind) == ("given", "interpolated")
    np.testing.assert_array_equal(given.truth, truth[2])
    np.testing.assert_array_equal(between.truth, truth[3])
    assert np.abs(given.bicubic.astype(int) - given.truth).mean() > 0


def test_precision_of_a_validation_is_that_of_training(config: TrainConfig, net: STINet) -> None:
    runs = data_of(config).validation
    exact, rounded = (
        restored(net, runs.clip(0), open_machine(dataclasses.replace(config, precision=precision)))
        for precision in ("fp32", "bf16")
    )
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0, atol=0.02)
