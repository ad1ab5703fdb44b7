"""Every recipe that is shipped can be read; what it leaves to the user is asked for by name."""

from pathlib import Path
from typing import Any

import pytest

from stinet.config import TrainConfig, from_mapping, read_yaml
from stinet.errors import ConfigError

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
GIVEN: dict[str, dict[str, Any]] = {"paper": {"data": "vimeo", "vgg": "vgg19.pth"}}
"""What only a user has."""


def read(file: Path, data: str = "", vgg: str = "") -> TrainConfig:
    values = read_yaml(file)
    values |= {"data": data} if data else {}
    values |= {"loss": {**values.get("loss", {}), "vgg": vgg}} if vgg else {}
    return from_mapping(TrainConfig, values, file.name)


def test_there_is_a_recipe_for_the_paper_every_compact_network_and_a_trial() -> None:
    real = {"stinet-s-real", "stinet-xs-real"}
    assert {file.stem for file in RECIPES} == {"paper", "smoke", "stinet-m", "stinet-s", "stinet-xs"} | real


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_is_a_run(file: Path) -> None:
    config = read(file, **GIVEN.get(file.stem, {}))
    assert config.total_steps == sum(stage["steps"] for stage in config.stages) if config.stages else config.steps
    assert config.out == f"runs/{file.stem}"


PLAIN = [file for file in RECIPES if file.stem in ("stinet-m", "stinet-s", "stinet-xs")]
REAL = [file for file in RECIPES if file.stem.endswith("-real")]


@pytest.mark.parametrize("file", PLAIN, ids=lambda f: f.stem)
def test_compact_recipes_end_with_motion_consistency_and_begin_with_single_frames(file: Path) -> None:
    config = read(file)
    assert config.model == file.stem
    assert config.stage(0).config.frames == 1
    assert config.stage(config.total_steps - 1).config.loss.motion > 0


@pytest.mark.parametrize("file", REAL, ids=lambda f: f.stem)
def test_recipes_for_real_footage_go_on_from_plain_weights_and_end_rounded(file: Path) -> None:
    config = read(file)
    assert config.model == file.stem.removesuffix("-real")
    assert config.degradation == "real"
    assert Path(config.start).stem == config.model
    assert (file.parents[1] / config.start).is_file()
    assert config.stage(config.total_steps - 1).config.rounded


def test_the_papers_recipe_has_the_papers_numbers() -> None:
    config = read(next(file for file in RECIPES if file.stem == "paper"), **GIVEN["paper"])
    assert (config.rate, config.beta2, config.batch, config.crop_px, config.frames) == (1e-4, 0.999, 30, 32, 4)
    assert (config.schedule, config.stair_steps, config.stair_factor, config.steps) == ("stairs", 100_000, 4, 500_000)
    assert (config.loss.kind, config.loss.draft_low, config.loss.draft_high) == ("l2", 1, 1)
    assert (config.loss.perceptual, config.loss.motion, config.loss.motion_pairs) == (0.1, 0.1, "all")
    assert config.symmetries == "paper"
    assert config.model_config.channels == 64


def test_the_papers_recipe_asks_for_what_it_needs() -> None:
    file = next(file for file in RECIPES if file.stem == "paper")
    with pytest.raises(ConfigError, match=r"loss\.vgg=FILE"):
        read(file, data="vimeo")
    with pytest.raises(ConfigError, match="data=FOLDER"):
        read(file, vgg="vgg19.pth")
