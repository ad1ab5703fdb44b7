"""A compact network as a clip function that onnxruntime computes, on the CPU, in float32.

The graphs are those of OpenVINO's engine (graph.py), translated to ONNX in the process (translation.py), so that what
`stinet export` writes and what runs here are one thing. A graph is made and optimised in a fraction of a second for a
number of source frames and of in-between frames of every interval; frame sizes and times make no new one.

Waiting threads sleep. Memory comes from the process and goes back to it after every clip: onnxruntime's own arena
would keep what the largest clip took for every kind of window, and is no faster.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
from torch import Tensor

from stinet.engines.compiled import KEPT_GRAPHS, GraphClip
from stinet.engines.graph import features_graph, restore_graph, unsupported
from stinet.engines.translation import to_onnx
from stinet.errors import DeviceError, ModelError
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline

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
        self.net = net.eval()
        self.name = name
        self.precision = "float32"
        self.threads = threads
        self.scale: int = net.config.scale
        self.reach: int = net.reach
        self._torch = NetworkClip(net, torch.device("cpu"), torch.float32, name)
        # measured: clips of 10 frames at 16 and 32 channels, two frames out for one in
        self.bytes_per_pixel: int = 750 + 331 * net.config.channels
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
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

    def _infer(
        self, pattern: tuple[int, ...], given: dict[str, Any], out: Sequence[Tensor], line: Timeline | None = None
    ) -> None:
        with self._lock:
            session = self._sessions.pop(pattern, None) or self._session(line)
            self._sessions[pattern] = session  # the last one is the youngest
            while len(self._sessions) > KEPT_GRAPHS:
                self._sessions.popitem(last=False)
            bound = session.io_binding()
            for value in session.get_inputs():
                bound.bind_cpu_input(value.name, np.ascontiguousarray(given[value.name]))
            for value, tensor in zip(session.get_outputs(), out, strict=True):
                bound.bind_output(value.name, "cpu", 0, np.float32, list(tensor.shape), tensor.data_ptr())
            session.run_with_iobinding(bound)

    def _session(self, line: Timeline | None) -> Any:
        graph: openvino.Model = features_graph(self.net) if line is None else restore_graph(self.net, line)
        names = ("low", "high") if line is None else ("rows", "shares", "to_left", "to_right")
        model = to_onnx(graph, names[: len(graph.get_results())], {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what fails is raised, and need not be printed
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
