"""Every process sees its slice of every step's crops, whoever draws them."""

import dataclasses
from pathlib import Path

import pytest
import torch
from small_runs import data_of, settings

from stinet.config import TrainConfig
from stinet.train.feed import batches
from stinet.train.machine import open_machine
from stinet.train.schedule import Plan


@pytest.mark.parametrize("first", [0, 2, 5])
def test_batches_come_in_order_from_any_step_on(config: TrainConfig, first: int) -> None:
    machine, runs, plan = open_machine(config), data_of(config).training, Plan(config)
    found = list(batches(runs, plan, machine, first, workers=0))
    assert len(found) == config.steps - first
    for step, batch in enumerate(found, first):
        assert torch.equal(batch.high, runs.draw(config, step, range(config.batch)).high)


def test_processes_share_out_the_crops_of_a_step_in_order(config: TrainConfig) -> None:
    config = dataclasses.replace(config, batch=6, steps=2)
    machine, runs, plan = open_machine(config), data_of(config).training, Plan(config)
    parts = [
        list(batches(runs, plan, dataclasses.replace(machine, rank=rank, count=3), 0, workers=0)) for rank in range(3)
    ]
    for step in range(2):
        joined = torch.cat([part[step].low for part in parts])
        assert torch.equal(joined, runs.draw(config, step, range(6)).low)


def test_a_stage_of_single_frames_is_fed_single_frames(video: Path, tmp_path: Path) -> None:
    stages = ({"steps": 1, "frames": 1, "batch": 3}, {"steps": 1, "crop_px": 12})
    config = settings(video, tmp_path, stages=stages)
    machine, runs = open_machine(config), data_of(config).training
    single, clip = batches(runs, Plan(config), machine, 0, workers=0)
    assert single.low.shape == (3, 1, 3, 8, 8)
    assert single.forward.shape[1] == 0
    assert clip.low.shape == (2, 7, 3, 12, 12)
