"""Contradictions are refused with their numbers, and settings survive YAML and a checkpoint's header."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from stinet.config import (
    PRESETS,
    EncodeConfig,
    LossConfig,
    ModelConfig,
    TileConfig,
    TrainConfig,
    from_mapping,
    read_yaml,
    to_mapping,
)
from stinet.errors import ConfigError, StinetError


@pytest.mark.parametrize(("settings", "message"), [
    ({"channels": 20}, "20 channels cannot be divided into 8 offset groups"),
    ({"channels": 0}, "too small: channels 0"),
        ({"local_modules": -1, "deform_groups": 0}, "too small: local_modules -1, deform_groups 0"),
        ({"flow_refined": True}, "corrects flows that nothing uses"),
    ({"deform_kernel": 2}, "kernel 2 is even"),
    ({"flow": "none", "aligned": True}, "nothing to align by"),
    ({"flow": "none", "flow_guided": True}, "flow_guided"),
    ({"branches": "low", "offsets_from": "high"}, "offsets from high need a branch that branches=low removed"),
    ({"high": "folded"}, "high=folded needs features=compact"),
    ({"edge_frame": False, "edge_pixel": False, "edge_time": False}, "use relate=none"),
    ({"max_offset_px": 0.0}, "offset bound 0.0 px"),
])  # fmt: skip
def test_a_network_that_cannot_be_is_refused_with_the_numbers(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**settings)


def test_a_scale_of_three_is_refused() -> None:
    config = ModelConfig()
    object.__setattr__(config, "scale", 3)  # the tests' own type checks would refuse it earlier
    with pytest.raises(ConfigError, match="scale 3: choose from 2, 4"):
        config.__post_init__()


def test_removing_both_sets_of_offsets_is_refused() -> None:
    """Without s^L and without s^H there is nothing left to align by: no value of the setting says it."""
    with pytest.raises(ConfigError):
        ModelConfig(branches="high", offsets_from="low")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TileConfig(size_px=64, halo_px=32), "a 64 px tile has no interior left after a 32 px halo"),
    (lambda: TileConfig(halo_px=-1), "-1 px must not be negative"),
    (lambda: EncodeConfig(crf=64), "crf 64 is outside"),
    (lambda: LossConfig(draft_low=-1.0), "-1.0"),
    (lambda: TrainConfig(model="stinet-xxl"), "'stinet-xxl' is no preset: choose from stinet, stinet-m"),
    (lambda: TrainConfig(steps=0), "at least 1"),
    (lambda: TrainConfig(crop_px=4), "a crop of 4 px"),
])  # fmt: skip
def test_other_contradictions_are_refused_too(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    text = json.dumps(to_mapping(PRESETS[name]))
    assert from_mapping(ModelConfig, json.loads(text), "header") == PRESETS[name]


def test_the_defaults_are_the_papers_network() -> None:
    config = ModelConfig()
    assert config == PRESETS["stinet"]
    assert (config.channels, config.scale, config.features, config.high) == (64, 4, "dbpn", "native")
    assert (config.motion_blocks, config.shared_blocks, config.graph_layers, config.graph_channels) == (2, 5, 4, 256)
    beyond = (config.aligned, config.flow_refined, config.flow_guided, config.residual_base, config.composed)
    assert not any(beyond)


@pytest.mark.parametrize(("values", "message"), [
    ({"chanels": 8}, "rows: unknown setting 'chanels'; did you mean channels?"),
    ({"channels": "many"}, r"rows\.channels: expected int, found 'many'"),
    ({"channels": True}, r"rows\.channels: expected int, found True"),
    ({"aligned": 1}, r"rows\.aligned: expected bool, found 1"),
])  # fmt: skip
def test_a_wrong_key_or_type_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(ModelConfig, values, "rows")


def test_whole_numbers_and_yamls_exponents_pass_for_floats() -> None:
    config = from_mapping(TrainConfig, {"rate": "1e-3", "clip_norm": 2, "loss": {"draft_low": 0}}, "recipe")
    assert (config.rate, config.clip_norm, config.loss.draft_low) == (0.001, 2.0, 0.0)


def test_overrides_change_the_preset_and_are_checked() -> None:
    config = TrainConfig(model="stinet-xs", overrides={"shared_blocks": 3})
    assert config.model_config == dataclasses.replace(PRESETS["stinet-xs"], shared_blocks=3)
    with pytest.raises(ConfigError, match="did you mean shared_blocks"):
        _ = TrainConfig(overrides={"shared_block": 3}).model_config


def test_yaml_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("steps: 5\nloss: {kind: l2}\n", encoding="utf-8")
    assert from_mapping(TrainConfig, read_yaml(file), "recipe").loss.kind == "l2"
    for text in ("- a list", "a: [", "\x00"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"recipe\.yaml"):
            read_yaml(file)
    with pytest.raises(StinetError, match=r"missing\.yaml"):
        read_yaml(tmp_path / "missing.yaml")


def test_a_misspelt_choice_is_refused_with_the_nearest_one() -> None:
    config = ModelConfig()
    object.__setattr__(config, "flow", "adpated")  # the tests' own type checks would refuse it earlier
    with pytest.raises(ConfigError, match=r"flow 'adpated': did you mean adapted\? choose from adapted, raw, none"):
        config.__post_init__()


@pytest.mark.parametrize("settings", [{"frames": 0}, {"rate": 0.0}, {"clip_norm": -1.0}, {"ema_decay": 1.0}])
def test_a_run_that_cannot_learn_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TrainConfig(**settings)


def test_stages_replace_settings_one_after_the_other() -> None:
    values = {
        "rate": 1e-3,
        "loss": {"kind": "charbonnier", "draft_low": 0.2},
        "stages": [{"steps": 10, "frames": 1}, {"steps": 5, "loss": {"kind": "l2"}, "rate": 2e-3}],
    }
    config = from_mapping(TrainConfig, values, "recipe")
    assert config.total_steps == 15
    assert [config.stage(step).number for step in (0, 9, 10, 14, 15)] == [0, 0, 1, 1, 1]
    first, second = config.stage(0), config.stage(12)
    assert (first.first, first.config.frames, first.config.steps, first.config.rate) == (0, 1, 10, 1e-3)
    assert (second.first, second.config.frames, second.config.steps, second.config.rate) == (10, 4, 5, 2e-3)
    assert (second.config.loss.kind, second.config.loss.draft_low) == ("l2", 0.2)


@pytest.mark.parametrize(("stage", "message"), [
    ({"steps": 3, "rat": 1.0}, "did you mean rate"),
    ({"frames": 1}, "says no steps"),
    ({"steps": 3, "model": "stinet-m"}, "whole run"),
    ({"steps": 3, "frames": 1, "loss": {"motion": 0.1}}, "no motion"),
])  # fmt: skip
def test_a_stage_that_cannot_be_is_refused(stage: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, {"stages": [stage]}, "recipe")


def test_a_perceptual_loss_without_its_weights_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"loss\.vgg=FILE"):
        LossConfig(perceptual=0.1)
