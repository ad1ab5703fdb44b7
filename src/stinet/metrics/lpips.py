r"""LPIPS, how far apart two frames look to a network: version 0.1 on AlexNet.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018):

    d(a, b) = sum over l of mean over x of sum over c of w_lc (f_lc(a)(x) - f_lc(b)(x))^2

f_l are the features after each of the five ReLUs, divided at every pixel by their length over channels (+ 1e-10); w_l
are the published linear heads. Frames come in [0, 1], are rounded to 8 bit, brought to [-1, 1], and shifted and scaled
channel by channel. 0 for identical frames; lower is better.

The weights are neither in this package nor fetched: the caller names two files. `net` is torchvision's published state
dict of AlexNet (alexnet-owt-7be5be79.pth), of which the five convolutions are read; `heads` is LPIPS's own file
(weights/v0.1/alex.pth). Both are read by shape, without running anything in them. The SHA-256 of the published first
one begins with 7be5be79.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stinet.errors import CheckpointError
from stinet.metrics.fidelity import levels

__all__ = ["SMALLEST_SIDE_PX", "Lpips", "read_lpips"]

SMALLEST_SIDE_PX = 31
"""Below it the last features are empty."""

PUBLISHED_NET = "7be5be79"

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_LAYERS = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
"""Number inside the state dict, channels out, channels in, kernel."""


class Lpips:
    """The measure with its weights, in their own precision and on the device of the frames."""

    def __init__(self, net: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        """Take the five convolutions and the five heads out of the two state dicts.

        Raises:
            CheckpointError: a tensor that is missing or of another shape.

        """
        self.convolutions = [
            (
                _tensor(net, f"features.{number}.weight", (out, into, side, side)),
                _tensor(net, f"features.{number}.bias", (out,)),
            )
            for number, out, into, side in _LAYERS
        ]
        self.heads = [
            _tensor(heads, f"lin{index}.model.1.weight", (1, layer[1], 1, 1)) for index, layer in enumerate(_LAYERS)
        ]

    def __call__(self, a: Float[Tensor, "b 3 sh sw"], b: Float[Tensor, "b 3 sh sw"]) -> Float[Tensor, "b"]:
        """Distance of every frame of `a` from that of `b`, both in [0, 1], sides of 31 px or more."""
        assert min(a.shape[-2:]) >= SMALLEST_SIDE_PX, f"{tuple(a.shape[-2:])} leaves nothing for the last layer"
        total = a.new_zeros(a.shape[0], dtype=self.heads[0].dtype)
        for head, of_a, of_b in zip(self.heads, self.features(a), self.features(b), strict=True):
            apart = (_unit(of_a) - _unit(of_b)).square()
            total = total + functional.conv2d(apart, head.to(apart.device)).mean((1, 2, 3))
        return total

    def features(self, frames: Float[Tensor, "b 3 sh sw"]) -> Iterator[Float[Tensor, "b c h w"]]:
        """What AlexNet sees in frames in [0, 1], after each of its ReLUs."""
        weight = self.convolutions[0][0]
        shift, scale = (
            torch.tensor(row, dtype=weight.dtype).to(frames.device).view(3, 1, 1) for row in (_SHIFT, _SCALE)
        )
        x = (levels(frames).to(weight.dtype) / 127.5 - 1 - shift) / scale
        for index, (weight, bias) in enumerate(self.convolutions):
            if index in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            stride, padding = (4, 2) if index == 0 else (1, weight.shape[-1] // 2)
            x = functional.relu(functional.conv2d(x, weight.to(x.device), bias.to(x.device), stride, padding))
            yield x


def read_lpips(net: Path, heads: Path) -> Lpips:
    """Read LPIPS from the two published files.

    Raises:
        CheckpointError: a file that cannot be read, or that holds other weights.

    """
    return Lpips(_state(net), _state(heads))


def _unit(features: Tensor) -> Tensor:
    """Divided by their length over channels."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _state(file: Path) -> Mapping[str, Tensor]:
    import pickle

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error.strerror or error}); LPIPS needs its two files"
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{file}: is no state dict of PyTorch ({reason})") from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{file}: holds {type(state).__name__}, not a state dict")
    return state


def _tensor(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    value = state.get(name)
    if value is None or not isinstance(value, Tensor):
        raise CheckpointError(
            f"LPIPS needs {name}, which is not in the file; AlexNet's is --lpips-net (alexnet-owt-{PUBLISHED_NET}.pth),"
            " the heads' is --lpips-heads (v0.1/alex.pth)"
        )
    if tuple(value.shape) != shape:
        raise CheckpointError(f"{name} is {tuple(value.shape)}, but LPIPS on AlexNet has {shape}")
    return value.detach()
