"""VGG-19 is built and normalised as published, read with care, and lets gradients through to the frames alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stinet.config import LossConfig
from stinet.errors import CheckpointError, ConfigError
from stinet.losses.perceptual import VGG19, load_vgg, perceptual_distance
from stinet.losses.total import Losses

CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    16: (256, 256), 19: (512, 256), 21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512), 30: (512, 512),
    32: (512, 512), 34: (512, 512),
}  # fmt: skip
"""Output and input channels by number, as torchvision's file has them."""


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Random weights in the published file's names and shapes, the classifier's first layer made small."""
    random = torch.Generator().manual_seed(0)
    tensors = {"classifier.0.weight": torch.zeros(8, 8), "classifier.0.bias": torch.zeros(8)}
    for number, (made, given) in CONVOLUTIONS.items():
        tensors[f"features.{number}.weight"] = (
            torch.randn(made, given, 3, 3, generator=random) * (2 / (9 * given)) ** 0.5
        )
        tensors[f"features.{number}.bias"] = 0.1 * torch.randn(made, generator=random)
    return tensors


@pytest.fixture(scope="module")
def vgg(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> VGG19:
    return load_vgg(saved(published, tmp_path_factory.mktemp("vgg") / "vgg19.pth"))


def saved(tensors: Mapping[str, object], file: Path) -> Path:
    torch.save(dict(tensors), file)
    return file


def frames(seed: int) -> Tensor:
    return torch.rand(1, 2, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


def test_features_are_those_of_the_published_layers_one_by_one(vgg: VGG19, published: dict[str, Tensor]) -> None:
    x = (frames(0)[0] - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    for number in CONVOLUTIONS:
        if number in (5, 10, 19, 28):
            x = functional.max_pool2d(x, 2)
        x = functional.conv2d(
            x, published[f"features.{number}.weight"], published[f"features.{number}.bias"], padding=1
        )
        x = x.relu()
    assert x.shape == (2, 512, 1, 1)
    assert x.abs().max() > 0
    torch.testing.assert_close(vgg(frames(0)[0]), x)


def test_the_term_is_the_mean_squared_difference_and_zero_for_identical_frames(vgg: VGG19) -> None:
    assert perceptual_distance(vgg, frames(0), frames(0)) == 0
    expected = (vgg(frames(0)[0]) - vgg(frames(1)[0])).square().mean()
    torch.testing.assert_close(perceptual_distance(vgg, frames(0), frames(1)), expected)


def test_the_gradient_reaches_the_made_frames_and_leaves_weights_and_truth_alone(vgg: VGG19) -> None:
    made, truth = frames(0).requires_grad_(), frames(1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = perceptual_distance(vgg, made, truth)
    assert loss.dtype == torch.float32
    loss.backward()
    assert made.grad is not None
    assert (made.grad.abs().amax(dim=(2, 3, 4)) > 0).all()
    assert truth.grad is None
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    step = made.detach() - 1e-3 * made.grad / made.grad.abs().max()
    assert perceptual_distance(vgg, step, truth) < loss


def test_the_total_has_the_term_with_its_weight(published: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "vgg19.safetensors"
    save_file(published, file)
    losses = Losses(LossConfig(perceptual=0.1, vgg=str(file)), torch.device("cpu"))
    loss, terms = losses.total(frames(0), None, None, frames(1), frames(1))
    assert sorted(terms) == ["perceptual", "reconstruction"]
    assert loss.item() == pytest.approx((terms["reconstruction"] + 0.1 * terms["perceptual"]).item(), rel=1e-6)


def test_a_name_that_states_the_checksum_is_checked(published: dict[str, Tensor], tmp_path: Path) -> None:
    file = saved(published, tmp_path / "made.pth")
    digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    load_vgg(file.rename(tmp_path / f"vgg19-{digits}.pth"))
    other = saved(published, tmp_path / "vgg19-dcbb9e9d.pth")
    with pytest.raises(
        CheckpointError, match=r"SHA-256 begins with [0-9a-f]{8}, its name says dcbb9e9d.*fetch it again"
    ):
        load_vgg(other)


def test_another_shape_is_refused_by_name(published: dict[str, Tensor], tmp_path: Path) -> None:
    wrong = {**published, "features.5.weight": torch.zeros(128, 32, 3, 3)}
    with pytest.raises(CheckpointError, match=r"features\.5\.weight is \(128, 32, 3, 3\) where VGG-19 has \(128, 64"):
        load_vgg(saved(wrong, tmp_path / "wrong.pth"))


def test_another_network_is_refused(tmp_path: Path) -> None:
    some = {"features.0.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"31 of 32 tensors are missing, the first is features\.0\.bias"):
        load_vgg(saved(some, tmp_path / "vgg11.pth"))


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors"])
def test_a_damaged_file_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be read as weights"):
        load_vgg(tmp_path / name)


def test_a_whole_pickled_network_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"cannot be read as weights"):
        load_vgg(tmp_path / "net.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"no mapping of names to tensors"):
        load_vgg(tmp_path / "list.pth")


def test_a_missing_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*name torchvision's vgg19-dcbb9e9d\.pth with loss\.vgg=FILE"):
        load_vgg(tmp_path / "vgg19-dcbb9e9d.pth")
