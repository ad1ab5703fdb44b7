"""A weights file gives back the network it came from, or says in one line why it cannot."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from stinet.checkpoint import as_half, load_model, load_tensors, read_header, save_model, save_tensors
from stinet.config import PRESETS
from stinet.errors import CheckpointError
from stinet.model.stinet import STINet

CONFIG = dataclasses.replace(
    PRESETS["stinet-s"], channels=8, low_blocks=1, high_blocks=1, shared_blocks=1, fusion_blocks=1, graph_channels=8
)


@pytest.fixture
def net() -> STINet:
    torch.manual_seed(0)
    return STINet(CONFIG)


@pytest.fixture
def file(net: STINet, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_model(path, net, net.state_dict(), {"steps": 3})
    return path


def test_weights_settings_and_origin_come_back(net: STINet, file: Path) -> None:
    back = load_model(file)
    assert back.config == CONFIG
    assert not back.training
    assert read_header(file)["about"] == {"steps": 3}
    for name, tensor in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    frames = torch.rand(1, 2, 3, 6, 7)
    with torch.no_grad():
        assert torch.equal(back(frames).final, net.eval()(frames).final)


def test_half_size_weights_load_as_float32(net: STINet, file: Path) -> None:
    size = file.stat().st_size
    save_model(file, net, as_half(net.state_dict()), {})
    assert file.stat().st_size < 0.7 * size
    assert {tensor.dtype for tensor in load_model(file).state_dict().values()} == {torch.float32}


def test_nothing_is_left_of_the_file_while_it_was_written(file: Path) -> None:
    assert [path.name for path in file.parent.iterdir()] == ["small.safetensors"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such weights file"):
        load_model(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("cut", [0, 5, 2000, -1])
def test_a_damaged_file_is_refused(file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load_model(file)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"pickles are not read"):
        load_model(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no model settings"):
        load_model(path)


def test_settings_of_another_version_are_refused(net: STINet, file: Path) -> None:
    tensors, header = load_tensors(file)
    for edit in ({"flavour": 3}, {"channels": "many"}, {"channels": 7}):
        save_tensors(file, tensors, {**header, "model": {**header["model"], **edit}})
        with pytest.raises(CheckpointError, match="made by another version"):
            load_model(file)


def test_weights_that_do_not_fit_their_settings_are_counted_and_named(net: STINet, file: Path) -> None:
    tensors, header = load_tensors(file)
    name = next(iter(tensors))
    lacking = {key: value for key, value in tensors.items() if key != name}
    for wrong in (lacking, {**tensors, name: tensors[name][:1]}, {**tensors, "extra": torch.zeros(1)}):
        save_tensors(file, wrong, header)
        with pytest.raises(CheckpointError, match="1 weights do not fit its settings, the first is"):
            load_model(file)


def test_a_header_that_is_no_json_is_refused(file: Path) -> None:
    save_file({"a": torch.zeros(1)}, file, metadata={"stinet": "{"})
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load_model(file)


@pytest.mark.parametrize(
    "header", [[], "model", 3, None, {"model": []}, {"model": "stinet-s"}, {"model": 7}, {"model": None}]
)
def test_a_header_of_another_form_is_refused(file: Path, header: Any) -> None:
    save_file(load_tensors(file)[0], file, metadata={"stinet": json.dumps(header)})
    with pytest.raises(CheckpointError, match="was it written by stinet"):
        load_model(file)


@pytest.mark.parametrize("channels", [10**5, 10**9, 10**15, 10**30])
def test_settings_of_a_huge_network_are_refused_without_building_it(file: Path, channels: int) -> None:
    tensors, header = load_tensors(file)
    save_tensors(file, tensors, {**header, "model": {**header["model"], "channels": channels}})
    with pytest.raises(CheckpointError, match=r"do not fit its settings|make no network"):
        load_model(file)


def test_a_file_from_before_the_residual_gain_has_a_gain_of_one(file: Path) -> None:
    tensors, header = load_tensors(file)
    assert header["model"].pop("residual_base")
    assert header["model"].pop("residual_gain") != 1
    save_tensors(file, tensors, {**header, "model": {**header["model"], "residual_base": True}})
    assert load_model(file).config == dataclasses.replace(CONFIG, residual_gain=1.0)
