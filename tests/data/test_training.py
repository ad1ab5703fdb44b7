"""What a recipe names is opened, checked and drawn from."""

import dataclasses
from pathlib import Path

import pytest
import trees

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


def test_crops_that_cannot_fit_are_refused_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stinet.data.store.build", lambda *_, **__: pytest.fail("prepared"))
    config = dataclasses.replace(CONFIG, data=str(trees.septuplets(tmp_path / "vimeo")), cache=str(tmp_path / "cache"))
    with pytest.raises(InputError, match="a clip of 9 frames of 8 x 8 LR pixels does not fit into clips of 7 frames"):
        open_training_data(dataclasses.replace(config, frames=5))
    with pytest.raises(InputError, match="of 16 x 16 LR pixels does not fit into clips of 7 frames of 16 x 12"):
        open_training_data(dataclasses.replace(config, stages=({"steps": 1}, {"steps": 1, "crop_px": 16})))


def test_a_damaged_data_set_is_refused_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stinet.data.store.build", lambda *_, **__: pytest.fail("prepared"))
    root = trees.septuplets(tmp_path / "vimeo")
    config = dataclasses.replace(CONFIG, data=str(root), cache=str(tmp_path / "cache"))
    file = root / "sequences" / "00001" / "0002" / "im5.png"
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"im5\.png: cannot be read as an image"):
        open_training_data(config)
    file.unlink()
    with pytest.raises(InputError, match=r"0002: im5\.png missing"):
        open_training_data(config)
