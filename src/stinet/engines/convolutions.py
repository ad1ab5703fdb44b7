"""A stack of 3x3 convolutions in OpenVINO: what its convolutions can do at their best, in any precision it has.

For int8 the activations and weights of every layer are quantised by hand, which its compiler turns into int8
convolutions; the numbers are random and mean nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from stinet import runtime

__all__ = ["convolution_stack"]

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


def convolution_stack(
    channels: int, layers: int, side_px: int, precision: str, threads: int
) -> Callable[[], object] | None:
    """One pass of a picture of `side_px` squared through the stack; None: no such precision."""
    if precision not in _HINTS:
        return None
    given = op.parameter([1, channels, side_px, side_px], np.float32)
    rng = np.random.default_rng(0)
    x: Any = given
    for _ in range(layers):
        bound = 1 / (3 * channels**0.5)
        weights = rng.uniform(-bound, bound, (channels, channels, 3, 3)).astype(np.float32)
        kernel = op.constant(weights)
        if precision == "int8":
            x = _quantised(x, 0.0, 1.0, 256)
            kernel = _quantised(kernel, -bound, bound, 255)
        x = op.relu(op.convolution(x, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    stack = openvino.Model([op.result(x)], [given], "stack")  # pyright: ignore[reportGeneralTypeIssues] (its stubs)
    with runtime.kept_signal_stack():
        request = openvino.Core().compile_model(stack, "CPU", settings).create_infer_request()
    picture = rng.random((1, channels, side_px, side_px), np.float32)
    return lambda: request.infer({0: picture}, share_inputs=True, share_outputs=True)


def _quantised(x: openvino.Node, low: float, high: float, levels: int) -> openvino.Node:
    ends = [op.constant(np.float32(end)) for end in (low, high, low, high)]
    return op.fake_quantize(x, *ends, levels)
