"""A compact network as a clip function that OpenVINO computes, on the CPU.

A handful of small graphs (graph.py) make a film frame by frame; flows stay as they are in PyTorch. Each is compiled
when it is first needed, and OpenVINO keeps what it compiled in the user's cache folder, so that a second run starts at
once. Frame sizes, times and lengths of clips compile nothing.

Weights and all numbers in between are float32, or bfloat16 where that is asked for; places in the picture, the colours
of the bicubic estimate and the small sums of ST-GR are float32 in any case. In int8 the convolutions that the ranges
name (ranges.py) read and multiply numbers of 8 bits; all else is bfloat16 where the CPU has it.

Waiting threads sleep, and none is bound to a core: a busy machine costs its share and no more.
"""

import hashlib
import json
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor

from stinet import runtime
from stinet.engines.compiled import GraphClip, graph_kinds, write_graph
from stinet.engines.graph import unsupported
from stinet.engines.ranges import Ranges
from stinet.errors import DeviceError, ModelError
from stinet.model.clip import FrameState
from stinet.model.stinet import STINet

__all__ = ["OpenVinoClip"]

_KEPT_FILES = 64
"""Compiled graphs in the user's cache folder, about 1 MB each."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_PRECISIONS = (*_HINTS, "int8")


class OpenVinoClip(GraphClip):
    """A trained compact network that fulfils `config.Movable`."""

    engine = "openvino"
    _spare_lanes = 1  # graphs are computed by OpenVINO's threads, as many as there are streams

    def __init__(
        self,
        net: STINet,
        precision: str = "float32",
        name: str = "network",
        *,
        threads: int | None = None,
        cache: Path | None = None,
        ranges: Ranges | None = None,
    ) -> None:
        """`threads` None: as many as torch is set to; `cache` None: the user's cache folder.

        `ranges` says what int8 is for, and must be found for these weights.

        Raises:
            ModelError: a network of another kind than the compact ones, or int8 without ranges.
            DeviceError: no such precision, in general or on this CPU.

        """
        if other := unsupported(net.config):
            raise ModelError(f"the openvino engine does not run networks with {other}: use the torch engine")
        if precision not in _PRECISIONS:
            raise DeviceError(f"precision {precision!r} is unknown to openvino: choose from {', '.join(_PRECISIONS)}")
        if precision == "int8":
            _check_int8(name, ranges)
        # measured: clips of 2 and 10 frames at 16 and 32 channels, two frames out for one in
        channels = net.config.channels
        at_once = 2950 + 163 * channels if precision == "float32" else 2400 + 130 * channels
        super().__init__(net, name, threads, lane_bytes_per_pixel=at_once)
        self.bytes_per_pixel: int = 1100 + 40 * channels
        self.precision = precision
        self._ranges: Ranges = ranges or {}
        self._cache = cache
        self._graphs: dict[str, openvino.CompiledModel] = {}
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._locks = {kind: threading.Lock() for kind in graph_kinds(net)}

    @property
    def identity(self) -> str:
        """What PyTorch's is called, the engine with its version, and in int8 the ranges: the bytes are others."""
        ranges = f" ranges {_short_hash(self._ranges)}" if self.precision == "int8" else ""
        return f"{self._torch.identity} openvino {openvino.__version__.split('-')[0]}{ranges}"

    def at(self, *, precision: str, device: str) -> "OpenVinoClip":
        """The same network in another precision.

        Raises:
            DeviceError: no such precision, or another device than the CPU.

        """
        if torch.device(device).type != "cpu":
            raise DeviceError(f"device {device!r}: the openvino engine computes on the CPU; use the torch engine there")
        moved = OpenVinoClip(
            self.net, precision, self.name, threads=self.threads, cache=self._cache, ranges=self._ranges
        )
        moved._torch = self._torch
        return moved

    def prepare_all(self, frames: Sequence[Tensor]) -> list[FrameState]:
        """As every engine; the first time a free lane compiles meanwhile what will be needed next."""
        if len(frames) > 1 and not self._graphs:
            self.lanes.aside(self._compile_ahead)
        return super().prepare_all(frames)

    def _compile_ahead(self) -> None:
        for kind in graph_kinds(self.net)[1:]:  # the first is compiled by the lanes that wait for it
            self._graph(kind)

    def _infer(self, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        request = self._request(kind)
        for index, tensor in enumerate(out):
            request.set_output_tensor(index, openvino.Tensor(tensor.numpy(), shared_memory=True))
        wanted = {name for port in request.model_inputs for name in port.names}
        request.infer({name: value.numpy() for name, value in given.items() if name in wanted}, share_inputs=True)
        self._idle[kind].append(request)

    def _request(self, kind: str) -> Any:
        """One that nobody uses: every lane has its own."""
        try:
            return self._idle[kind].pop()
        except IndexError:
            return self._graph(kind).create_infer_request()

    def _graph(self, kind: str) -> openvino.CompiledModel:
        with self._locks[kind]:
            if kind not in self._graphs:
                graph = write_graph(self.net, kind, self._ranges if self.precision == "int8" else {})
                self._graphs[kind] = self._compiled(graph)
            return self._graphs[kind]

    def _compiled(self, graph: openvino.Model) -> openvino.CompiledModel:
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[_beside_int8() if self.precision == "int8" else self.precision],
            "INFERENCE_NUM_THREADS": self.lanes.count * self.lanes.width,
            "NUM_STREAMS": self.lanes.count,
            "ENABLE_CPU_PINNING": False,
        }
        folder = _usable(self._cache or runtime.cache_folder() / "openvino")
        if folder is not None:
            settings["CACHE_DIR"] = str(folder)
        with tempfile.TemporaryDirectory() as place:
            # the marks of what stays float32 count only in a model that was read from a file
            file = Path(place) / "graph.xml"
            openvino.save_model(graph, file, compress_to_fp16=False)
            with runtime.kept_signal_stack():
                return _core().compile_model(_core().read_model(file), "CPU", settings)


def _check_int8(name: str, ranges: Ranges | None) -> None:
    if not ranges:
        raise ModelError(
            f"{name} has no ranges for int8, or they are of other weights: "
            "make them with benchmarks/calibrate.py, or use bfloat16 or float32"
        )
    if not runtime.has_int8():
        raise DeviceError("int8 is not worth it on this CPU, which has no VNNI instructions: use float32")


def _beside_int8() -> str:
    return "bfloat16" if runtime.has_bfloat16("cpu") else "float32"


def _short_hash(ranges: Ranges) -> str:
    return hashlib.sha256(json.dumps(sorted(ranges.items())).encode()).hexdigest()[:8]


@cache
def _core() -> openvino.Core:
    with runtime.kept_signal_stack():
        return openvino.Core()


def _usable(folder: Path) -> Path | None:
    """The folder, made if need be and cleared of its oldest files; None where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("*.blob"), key=lambda file: file.stat().st_mtime)
        for file in files[:-_KEPT_FILES]:
            file.unlink(missing_ok=True)
    except OSError:
        return None
    return folder if runtime.may_write(folder) else None
