"""A foreign .pth becomes a weights file if it is one, and nothing in it is ever run."""

import dataclasses
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stinet.checkpoint import convert, load_model, read_header
from stinet.config import PRESETS
from stinet.errors import CheckpointError
from stinet.model.stinet import STINet

CONFIG = dataclasses.replace(
    PRESETS["stinet-s"], channels=8, low_blocks=1, high_blocks=1, shared_blocks=1, fusion_blocks=1, graph_channels=8
)


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def net() -> STINet:
    torch.manual_seed(0)
    return STINet(CONFIG)


@pytest.mark.parametrize("wrap", [
    lambda weights: weights,
    lambda weights: {"state_dict": weights, "epoch": 3},
    lambda weights: {"params": {}, "params_ema": weights},
    lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
    lambda weights: {"model": OrderedDict((f"module._orig_mod.{n}", t.half().float()) for n, t in weights.items())},
])  # fmt: skip
def test_a_state_dict_comes_through_whatever_is_wrapped_around_it(net: STINet, tmp_path: Path, wrap: Any) -> None:
    weights = {name: tensor.half().float() for name, tensor in net.state_dict().items()}
    torch.save(wrap(weights), tmp_path / "foreign.pth")
    made = convert(tmp_path / "foreign.pth", tmp_path / "out.safetensors", CONFIG)
    back = load_model(tmp_path / "out.safetensors")
    assert back.config == CONFIG
    assert made.weights == sum(tensor.numel() for tensor in weights.values())
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in weights.items())
    assert read_header(tmp_path / "out.safetensors")["about"] == {"converted_from": "foreign.pth"}


@pytest.mark.bad_input(34)
@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_pickle_is_never_run(net: STINet, tmp_path: Path, *, is_zip: bool) -> None:
    trap, foreign = tmp_path / "sprung", tmp_path / "foreign.pth"
    torch.save({"state_dict": net.state_dict(), "more": Trap(trap)}, foreign, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"foreign\.pth: holds more than weights"):
        convert(foreign, tmp_path / "out.safetensors", CONFIG)
    assert not trap.exists()
    foreign.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(CheckpointError, match=r"foreign\.pth"):
        convert(foreign, tmp_path / "out.safetensors", CONFIG)
    foreign.rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is pickled .* stinet convert"):
        load_model(tmp_path / "model.safetensors")
    assert not trap.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.bad_input(34)
def test_weights_of_another_network_are_counted_and_named(net: STINet, tmp_path: Path) -> None:
    weights = net.state_dict()
    first = min(weights)
    foreign, out = tmp_path / "foreign.pth", tmp_path / "out.safetensors"
    for wrong, said in (
        ({name: tensor for name, tensor in weights.items() if name != first}, f"1 of .*{first} is missing"),
        ({**weights, "aaa.extra": torch.zeros(1)}, "1 of .*aaa.extra is unknown"),
        ({**weights, first: torch.zeros(1)}, rf"1 of .*{first} is \(1,\), not"),
        ({"encoder.weight": torch.zeros(3)}, "weights do not fit a network of"),
    ):
        torch.save(wrong, foreign)
        with pytest.raises(CheckpointError, match=said):
            convert(foreign, out, CONFIG)
    assert not out.exists()


@pytest.mark.bad_input(34)
def test_numbers_that_are_none_are_refused(net: STINet, tmp_path: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    next(iter(weights.values())).fill_(float("nan"))
    torch.save(weights, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="1 weights hold NaN or infinity"):
        convert(tmp_path / "foreign.pth", tmp_path / "out.safetensors", CONFIG)


@pytest.mark.bad_input(34)
@pytest.mark.parametrize(("content", "said"), [
    (b"", "is empty"),
    (b"\n <!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    (b"<html>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
    (b"only some words\n" * 9, "damaged"),
    (bytes(1000), "damaged"),
])  # fmt: skip
def test_a_file_that_is_no_weights_is_named_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    for name, read in (
        ("foreign.pth", lambda path: convert(path, tmp_path / "out.safetensors", CONFIG)),
        ("model.safetensors", load_model),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=said) as error:
            read(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(error.value)


@pytest.mark.bad_input(34)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(net: STINet, tmp_path: Path, share: float) -> None:
    torch.save(net.state_dict(), tmp_path / "foreign.pth")
    content = (tmp_path / "foreign.pth").read_bytes()
    (tmp_path / "foreign.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"foreign\.pth: .*damaged or cut off"):
        convert(tmp_path / "foreign.pth", tmp_path / "out.safetensors", CONFIG)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}, {"state_dict": {}}, {}])
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        convert(tmp_path / "foreign.pth", tmp_path / "out.safetensors", CONFIG)


def test_the_command_takes_a_file_of_settings_and_never_overwrites(net: STINet, tmp_path: Path) -> None:
    from stinet.cli.convert import convert as command
    from stinet.errors import ConfigError, OutputError, UsageError

    foreign, out, settings = tmp_path / "foreign.pth", tmp_path / "out.safetensors", tmp_path / "net.yaml"
    torch.save(net.state_dict(), foreign)
    settings.write_text(yaml.safe_dump(dataclasses.asdict(CONFIG)))
    command(foreign, out, config=str(settings))
    assert load_model(out).config == CONFIG
    with pytest.raises(OutputError, match="exists already"):
        command(foreign, out, config=str(settings))
    with pytest.raises(UsageError, match="safetensors"):
        command(foreign, tmp_path / "out.pt", config=str(settings))
    with pytest.raises(UsageError, match="neither a preset"):
        command(foreign, tmp_path / "new.safetensors", config="nonesuch")
    settings.write_text("chanels: 3")
    with pytest.raises(ConfigError, match="did you mean channels"):
        command(foreign, tmp_path / "new.safetensors", config=str(settings))
    settings.write_text(yaml.safe_dump({"model": "stinet-xs", "steps": 2}))
    with pytest.raises(CheckpointError, match="do not fit"):
        command(foreign, tmp_path / "new.safetensors", config=str(settings))
    assert not (tmp_path / "new.safetensors").exists()


def test_the_command_makes_a_rival_of_its_authors_file_or_says_where_to_get_it(tmp_path: Path) -> None:
    from stinet.catalogue import clip_function
    from stinet.cli.convert import convert as command
    from stinet.errors import InputError
    from stinet.peers.networks import build

    foreign, out = tmp_path / "official.pth", tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=r"official\.pth: no such file; the authors publish .* llmpass/RSTT"):
        command(foreign, out, config="rstt-s")
    net = build("rstt-s")
    torch.save(
        {"state_dict": {name.replace("shrink", "downsample"): t for name, t in net.state_dict().items()}}, foreign
    )
    with pytest.raises(CheckpointError, match="weights do not fit a network"):
        command(foreign, out, config="rstt-s")
    torch.save(net.state_dict(), foreign)  # names of ours are left as they are
    command(foreign, out, config="rstt-s")
    assert clip_function(str(out), device="cpu").scale == 4
