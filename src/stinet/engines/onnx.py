"""A compact network as a clip function that onnxruntime computes, on the CPU, in float32.

The graphs are those of OpenVINO's engine (graph.py), translated to ONNX in the process (translation.py), so that what
`stinet export` writes and what runs here are one thing. A handful of graphs makes every film; frame sizes, times and
lengths make no new one.

Waiting threads sleep. Memory comes from the process and goes back to it after every clip: onnxruntime's own arena
would keep what the largest clip took for every kind of window, and is no faster.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from stinet.engines.compiled import GraphClip, write_graph
from stinet.engines.graph import unsupported
from stinet.engines.translation import to_onnx
from stinet.errors import DeviceError, ModelError
from stinet.model.stinet import STINet

__all__ = ["OnnxClip"]


class OnnxClip(GraphClip):
    """A trained compact network that fulfils `config.Movable`."""

    engine = "onnxruntime"

    def __init__(self, net: STINet, name: str = "network", *, threads: int | None = None) -> None:
        """`threads` None: as many as torch is set to.

        Raises:
            ModelError: a network of another kind than the compact ones.

        """
        if other := unsupported(net.config):
            raise ModelError(f"the onnxruntime engine does not run networks with {other}: use the torch engine")
        # measured: clips of 2 and 10 frames at 16 and 32 channels, two frames out for one in
        super().__init__(net, name, threads, lane_bytes_per_pixel=140 * net.config.channels)
        self.bytes_per_pixel: int = 1000 + 35 * net.config.channels
        self.precision = "float32"
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """What PyTorch's is called, and the engine with its version: its bytes are others."""
        return f"{self._torch.identity} onnxruntime {onnxruntime.__version__}"

    def at(self, *, precision: str, device: str) -> "OnnxClip":
        """Itself: it has one precision and one device.

        Raises:
            DeviceError: another precision than float32, or another device than the CPU.

        """
        if torch.device(device).type != "cpu":
            raise DeviceError(f"device {device!r}: the onnxruntime engine computes on the CPU; use the torch engine")
        if precision != self.precision:
            raise DeviceError(f"the onnxruntime engine has no {precision}: use the torch engine")
        return self

    def _infer(self, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        with self._lock:
            session = self._sessions.get(kind) or self._session(kind)
        bound = session.io_binding()  # of this call alone: a session serves all lanes at once
        for value in session.get_inputs():
            bound.bind_cpu_input(value.name, given[value.name].contiguous().numpy())
        for value, tensor in zip(session.get_outputs(), out, strict=True):
            bound.bind_output(value.name, "cpu", 0, np.float32, list(tensor.shape), tensor.data_ptr())
        session.run_with_iobinding(bound)

    def _session(self, kind: str) -> Any:
        graph = write_graph(self.net, kind)
        model = to_onnx(graph, tuple(f"made_{index}" for index in range(len(graph.get_results()))), {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.lanes.width
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what fails is raised, and need not be printed
        made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._sessions[kind] = made
        return made
