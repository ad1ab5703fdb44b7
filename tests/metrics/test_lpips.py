"""LPIPS with random weights: against the formula, written out once more in float64 loops over layers and pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stinet.errors import CheckpointError
from stinet.metrics.lpips import Lpips, read_lpips

CHANNELS = (64, 192, 384, 256, 256)


def alexnet() -> nn.Module:
    """The features of AlexNet as torchvision lays them out."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dicts of the two published files, with random weights."""
    torch.manual_seed(7)
    net = {f"features.{key}": value for key, value in alexnet().state_dict().items()}
    heads = {f"lin{index}.model.1.weight": torch.rand(1, count, 1, 1) for index, count in enumerate(CHANNELS)}
    return net, heads


def by_the_book(a: Tensor, b: Tensor, net: dict[str, Tensor], heads: dict[str, Tensor]) -> float:
    """LPIPS of two frames in [0, 1], as the paper writes it, in float64."""
    layers = alexnet().double()
    layers.load_state_dict({key.removeprefix("features."): value for key, value in net.items()})
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    maps: list[list[np.ndarray]] = [[], []]
    for side, frame in enumerate((a, b)):
        x = ((2 * (frame.double() * 255 + 0.5).floor() / 255 - 1 - shift) / scale)[None]
        for layer in layers.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps[side].append(x[0].detach().numpy())
    distance = 0.0
    for index, (of_a, of_b) in enumerate(zip(*maps, strict=True)):
        weight = heads[f"lin{index}.model.1.weight"].double().flatten().numpy()
        _, height, width = of_a.shape
        for row in range(height):
            for column in range(width):
                one, other = of_a[:, row, column], of_b[:, row, column]
                apart = one / (np.sqrt((one**2).sum()) + 1e-10) - other / (np.sqrt((other**2).sum()) + 1e-10)
                distance += (weight * apart**2).sum() / (height * width)
    return distance


def test_lpips_is_the_formula(states: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    a, b = torch.rand(2, 3, 47, 63), torch.rand(2, 3, 47, 63)
    single = Lpips(*states)(a, b)
    double = Lpips(*({key: value.double() for key, value in state.items()} for state in states))(a, b)
    expected = [by_the_book(first, second, *states) for first, second in zip(a, b, strict=True)]
    np.testing.assert_allclose(double.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4)


def test_identical_frames_are_at_no_distance(states: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    frame = torch.rand(1, 3, 40, 40)
    assert Lpips(*states)(frame, frame.clone()).item() == 0


def test_both_published_files_are_read(states: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path) -> None:
    for name, state in zip(("net.pth", "heads.pth"), states, strict=True):
        torch.save({**state, "classifier.1.weight": torch.zeros(2)}, tmp_path / name)
    read = read_lpips(tmp_path / "net.pth", tmp_path / "heads.pth")
    frames = torch.rand(2, 1, 3, 40, 40)
    torch.testing.assert_close(read(*frames), Lpips(*states)(*frames))


def test_wrong_files_are_refused_by_what_they_lack(
    states: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path
) -> None:
    net, heads = states
    with pytest.raises(CheckpointError, match=r"features\.0\.weight"):
        Lpips(heads, net)
    with pytest.raises(CheckpointError, match=r"lin2\.model\.1\.weight is \(1, 5, 1, 1\)"):
        Lpips(net, {**heads, "lin2.model.1.weight": torch.zeros(1, 5, 1, 1)})
    (tmp_path / "text.pth").write_text("no weights")
    for file in ("text.pth", "gone.pth"):
        with pytest.raises(CheckpointError, match=file):
            read_lpips(tmp_path / file, tmp_path / file)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError):
        read_lpips(tmp_path / "trap.pth", tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
