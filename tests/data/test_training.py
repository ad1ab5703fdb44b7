"""What a recipe names is opened, checked and drawn from."""

import dataclasses

import pytest

from stinet.config import TrainConfig
from stinet.data.training import open_training_data
from stinet.errors import InputError

CONFIG = TrainConfig(crop_px=8, batch=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def test_the_bundled_clip_is_trained_on_where_no_data_is_named(cache: str) -> None:
    told: list[str] = []
    opened = open_training_data(dataclasses.replace(CONFIG, cache=cache), told.append)
    assert "bundled clip" in told[0]
    assert len(opened.validation) == 1
    assert opened.training.draw(CONFIG, 0, range(2)).low.float().std() > 5


def test_a_stage_whose_crops_do_not_fit_is_refused_before_training(cache: str) -> None:
    stages = ({"steps": 2, "frames": 1}, {"steps": 2, "crop_px": 96})
    config = dataclasses.replace(CONFIG, cache=cache, stages=stages)
    with pytest.raises(InputError, match=r"96 x 96 LR pixels does not fit into runs of \d+ frames of 120 x 67"):
        open_training_data(config)
