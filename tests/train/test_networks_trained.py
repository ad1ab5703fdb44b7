"""TMNet in our network's place: trained, resumed, saved and loaded by the same loop."""

from pathlib import Path

import pytest
import torch
from small_runs import quiet, settings

from stinet.catalogue import clip_function
from stinet.config import TrainConfig
from stinet.errors import ConfigError
from stinet.peers.networks import load_rival
from stinet.peers.tmnet import Tmnet
from stinet.train.fit import fit

SMALL = {"channels": 8, "groups": 2, "front_blocks": 1, "back_blocks": 1, "high_blocks": 1, "graph_channels": 8}


@pytest.mark.parametrize("part", [{"relate": "graph"}, {"high": "folded"}], ids=["ST-GR", "HR"])
def test_tmnet_with_a_part_of_ours_is_trained_and_resumed(video: Path, tmp_path: Path, part: dict[str, str]) -> None:
    shape = {"rival": "tmnet", "overrides": {**SMALL, **part}, "schedule": "stairs", "validate_every": 100}
    run = fit(settings(video, tmp_path / "run", steps=1, **shape), quiet)
    assert isinstance(run.net, Tmnet)
    assert run.judge.skipped == 0
    run = fit(settings(video, tmp_path / "run", steps=2, **shape), quiet)
    assert run.done == 2
    name, net = load_rival(tmp_path / "run" / "latest.safetensors")
    assert name == "tmnet"
    assert net.config == run.net.config
    function = clip_function(str(tmp_path / "run" / "latest.safetensors"), device="cpu")
    states = [function.prepare(torch.rand(3, 16, 16)) for _ in range(2)]
    times = ((0.25, 0.5),)
    assert function.run(states, times, function.context(states, times)).shape == (4, 3, 64, 64)
    with pytest.raises(ConfigError, match="another network"):
        fit(settings(video, tmp_path / "run", steps=2, **{**shape, "overrides": SMALL}), quiet)


def test_overrides_of_a_rival_are_its_own_settings(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown setting 'edge_time'"):
        fit(settings(video, tmp_path, rival="tmnet", overrides={"edge_time": False}), quiet)
    with pytest.raises(ConfigError, match="trained from nothing"):
        TrainConfig(rival="tmnet", start="weights.safetensors")
