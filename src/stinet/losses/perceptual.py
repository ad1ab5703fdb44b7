r"""Frames compared by what VGG-19 sees in them (paper, section III-F).

    l_per = mean of (phi(V) - phi(V^gt))^2

phi is the output of relu5_4 (the last of 16 convolutions, after its ReLU, before the last pooling) of VGG-19 trained
on ImageNet: 512 channels at 1/16 of the size. The mean is over clips, frames, channels and places, where the paper
writes a sum. Frames are RGB in [0, 1]; phi subtracts the channel means and divides by the deviations that its training
used. Its weights are frozen, the gradient goes through it to V; V^gt gets none.

The weights are those that torchvision publishes as vgg19-dcbb9e9d.pth (or the same tensors in a .safetensors file), by
their keys `features.N.weight` and `features.N.bias`; the classifier's are ignored. A name that ends in a dash and eight
hex digits is torch hub's way to state how the file's SHA-256 begins, and is checked. Nothing is ever downloaded.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stinet.errors import CheckpointError, ConfigError
from stinet.losses.distance import at_least_float32

__all__ = ["VGG19", "load_vgg", "perceptual_distance"]

WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of the five parts; 2 x 2 maxima are taken between two parts."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB values in [0, 1]: what the published weights were trained on."""

PUBLISHED = "vgg19-dcbb9e9d.pth"
REMEDY = f"name torchvision's {PUBLISHED} with loss.vgg=FILE, or set loss.perceptual to 0"


class VGG19(nn.Module):
    """phi: the 16 convolutions of VGG-19 up to relu5_4, frozen."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, convolutions in WIDTHS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)  # numbered as torchvision's: 0, 2, 5, ... 34
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 512 _ _"]:
        """Features of RGB frames in [0, 1], at 1/16 of their size (both sides at least 16 px)."""
        return self.features((frames - self.mean) / self.deviation)


def perceptual_distance(
    vgg: VGG19, made: Float[Tensor, "b u 3 h w"], truth: Float[Tensor, "b u 3 h w"]
) -> Float[Tensor, ""]:
    """Mean squared difference of the features of every frame, computed in single precision."""
    with torch.autocast(made.device.type, enabled=False):
        with torch.no_grad():
            wanted = vgg(at_least_float32(truth).flatten(0, 1))
        return (vgg(at_least_float32(made).flatten(0, 1)) - wanted).square().mean()


def load_vgg(file: Path) -> VGG19:
    """VGG-19 with the weights of a file, on the CPU.

    Raises:
        ConfigError: there is no such file.
        CheckpointError: the file is damaged, not what its name says, or holds no VGG-19.

    """
    if not file.is_file():
        raise ConfigError(f"{file}: there is no such file with VGG-19's weights; {REMEDY}")
    _check_name(file)
    tensors = _read(file)
    net = VGG19()
    expected = net.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{file}: holds no VGG-19, {len(missing)} of {len(expected)} tensors are missing, the first is"
            f" {missing[0]}; {REMEDY}"
        )
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{file}: {name} is {tuple(tensors[name].shape)} where VGG-19 has {tuple(tensor.shape)}; {REMEDY}"
            )
    net.load_state_dict({name: tensors[name].float() for name in expected})
    return net.eval()


def _check_name(file: Path) -> None:
    """Compare the digits at the end of the file's name, if there are any, with its SHA-256."""
    stated = re.search(r"-([0-9a-f]{8,64})$", file.stem)
    if stated is None:
        return
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(stated[1]):
        raise CheckpointError(
            f"{file}: its SHA-256 begins with {found[: len(stated[1])]}, its name says {stated[1]}: damaged or another"
            f" file; fetch it again, {REMEDY}"
        )


def _read(file: Path) -> Mapping[str, Tensor]:
    """Tensors by name; a pickle is read with nothing but tensors allowed in it."""
    try:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{file}: cannot be read as weights ({why}); {REMEDY}") from error
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{file}: is no mapping of names to tensors; {REMEDY}")
    return tensors
