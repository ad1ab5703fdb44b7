r"""A graph of OpenVINO's operations (graph.py, whole.py), word by word in ONNX's: one network, written once.

PyTorch's exporter would do it, too, and for networks of any kind; of a compact network it makes two and a half times
as many nodes, and takes minutes. What this translation knows is what our graphs use; anything else is refused by name.

ONNX's operator set is 19, the first with DeformConv; GridSample is of 16. What differs from OpenVINO's operations:

    Convolution, then Add of a constant    Conv with a bias
    PReLU with one slope                   LeakyRelu
    Pad, symmetric                         a concatenation of what is mirrored and what is between
    MatMul with the second transposed      Gemm
    marks of what stays float32            none: everything is float32

Names are counted from zero, so that equal graphs give equal bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

from stinet.errors import ModelError

__all__ = ["OPSET", "to_onnx"]

OPSET = 19
"""ONNX's operator set: the first that has DeformConv."""

_IR_VERSION = 9
"""The file format of that operator set."""

_KINDS = {"f32": TensorProto.FLOAT, "i64": TensorProto.INT64, "boolean": TensorProto.BOOL}

_AXES = {2: "height", 3: "width"}
"""How the dynamic sides of an input are called."""

_PLAIN = {
    "Abs": "Abs", "Add": "Add", "Divide": "Div", "Equal": "Equal", "Exp": "Exp", "GreaterEqual": "GreaterOrEqual",
    "Less": "Less", "LogicalAnd": "And", "Maximum": "Max", "Minimum": "Min", "Multiply": "Mul", "Range": "Range",
    "Select": "Where", "ShapeOf": "Shape", "Sigmoid": "Sigmoid", "Subtract": "Sub", "Tanh": "Tanh",
    "Squeeze": "Squeeze", "Unsqueeze": "Unsqueeze",
}  # fmt: skip
"""Operations that differ in their names alone."""


def to_onnx(model: openvino.Model, outputs: tuple[str, ...], about: Mapping[str, str]) -> onnx.ModelProto:
    """The same graph with its outputs so named; `about` becomes its metadata.

    Raises:
        ModelError: an operation that this file has no word for.

    """
    return _Translation(model, outputs).model(model.get_friendly_name(), about)


class _Translation:
    """One graph on its way: operations in order, every tensor by its name."""

    def __init__(self, model: openvino.Model, outputs: tuple[str, ...]) -> None:
        self.names: dict[tuple[int, int], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.initializers: list[onnx.TensorProto] = []
        self.counts: dict[str, int] = {}
        self.operations = model.get_ordered_ops()
        self.number = {_key(node): index for index, node in enumerate(self.operations)}
        self.inputs = [self._given(node) for node in model.get_parameters()]
        self.wanted: dict[tuple[int, int], str] = {}
        self.outputs = []
        for result, name in zip(model.get_results(), outputs, strict=True):
            shape = [dim.get_length() if dim.is_static else None for dim in result.get_output_partial_shape(0)]
            self.wanted[self._place(result.input_value(0))] = name
            self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        for node in self.operations:
            self._translate(node)

    def model(self, name: str, about: Mapping[str, str]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        made = helper.make_model(
            graph, producer_name="stinet", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
        )
        helper.set_model_props(made, dict(about))
        return made

    def _given(self, node: Any) -> onnx.ValueInfoProto:
        name = node.get_friendly_name()
        self.names[self._place(node.output(0))] = name
        shape = node.get_partial_shape()
        sides = [dim.get_length() if dim.is_static else _AXES.get(axis, "count") for axis, dim in enumerate(shape)]
        return helper.make_tensor_value_info(name, _KINDS[node.get_element_type().get_type_name()], sides)

    def _translate(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind in ("Parameter", "Constant", "Result") or self._place(node.output(0)) in self.names:
            return
        if kind in _PLAIN:
            self._emit(node, _PLAIN[kind], [self._input(node, index) for index in range(node.get_input_size())])
        elif kind in _WORDS:
            _WORDS[kind](self, node, node.get_attributes())
        else:
            raise ModelError(f"the operation {kind} has no translation to ONNX")

    # operations of their own shape

    def _conv(self, node: Any, attributes: dict[str, Any]) -> None:
        inputs = [self._input(node, 0), self._input(node, 1)]
        self._with_bias(node, "Conv", inputs, 2, **_window(attributes))

    def _deformable(self, node: Any, attributes: dict[str, Any]) -> None:
        order = [0, 2, 1, 3]  # picture, weights, offsets, masks
        inputs = [self._input(node, index) for index in order[: node.get_input_size()]]
        groups = {"group": attributes["group"], "offset_group": attributes["deformable_group"]}
        mask = inputs[3:]
        self._with_bias(node, "DeformConv", inputs[:3], 3, *mask, **_window(attributes), **groups)

    def _with_bias(self, node: Any, kind: str, inputs: list[str], slot: int, *rest: str, **attributes: Any) -> None:
        """A convolution that takes with it the constant added to it, if nothing else reads what it gives."""
        readers = list(node.output(0).get_target_inputs())
        sole = readers[0].get_node() if len(readers) == 1 else None
        last = node
        if sole is not None and sole.get_type_name() == "Add":
            other = sole.input_value(1 - readers[0].get_index()).get_node()
            channels = node.get_output_partial_shape(0)[1].get_length()
            if other.get_type_name() == "Constant" and list(other.data.shape) == [1, channels, 1, 1]:
                inputs, last = [*inputs, self._constant(other.data.reshape(-1))], sole
        if rest and len(inputs) == slot:
            inputs = [*inputs, ""]
        self._emit(last, kind, [*inputs, *rest], **attributes)

    def _prelu(self, node: Any, _: dict[str, Any]) -> None:
        slope = self._value(node, 1)
        assert slope.size == 1, slope.shape
        self._emit(node, "LeakyRelu", [self._input(node, 0)], alpha=float(slope.item()))

    def _concat(self, node: Any, attributes: dict[str, Any]) -> None:
        inputs = [self._input(node, index) for index in range(node.get_input_size())]
        self._emit(node, "Concat", inputs, axis=attributes["axis"])

    def _slice(self, node: Any, _: dict[str, Any]) -> None:
        order = [0, 1, 2, 4, 3]  # data, starts, ends, axes, steps
        self._emit(node, "Slice", [self._input(node, index) for index in order])

    def _gather(self, node: Any, _: dict[str, Any]) -> None:
        inputs = [self._input(node, 0), self._input(node, 1)]
        self._emit(node, "Gather", inputs, axis=int(self._value(node, 2).item()))

    def _transpose(self, node: Any, _: dict[str, Any]) -> None:
        self._emit(node, "Transpose", [self._input(node, 0)], perm=self._value(node, 1).tolist())

    def _reshape(self, node: Any, attributes: dict[str, Any]) -> None:
        assert attributes["special_zero"] or not (self._value(node, 1) == 0).any()
        self._emit(node, "Reshape", [self._input(node, 0), self._input(node, 1)])

    def _matmul(self, node: Any, attributes: dict[str, Any]) -> None:
        assert not attributes["transpose_a"]
        inputs = [self._input(node, 0), self._input(node, 1)]
        if attributes["transpose_b"]:
            self._emit(node, "Gemm", inputs, transB=1)
        else:
            self._emit(node, "MatMul", inputs)

    def _reduce(self, node: Any, attributes: dict[str, Any]) -> None:
        kind = node.get_type_name()
        self._emit(node, kind, [self._input(node, 0), self._input(node, 1)], keepdims=int(attributes["keep_dims"]))

    def _pad(self, node: Any, attributes: dict[str, Any]) -> None:
        before, after = self._value(node, 1), self._value(node, 2)
        name = self._input(node, 0)
        if attributes["pad_mode"] in ("edge", "reflect"):
            pads = self._constant(np.concatenate([before, after]).astype(np.int64))
            self._emit(node, "Pad", [name, pads], mode=attributes["pad_mode"])
            return
        assert attributes["pad_mode"] == "symmetric"
        axes = [axis for axis in range(len(before)) if before[axis] or after[axis]]
        for axis in axes:
            assert min(before[axis], after[axis]) > 0, "a slice that ends at -1 would be the whole axis"
            least = np.iinfo(np.int64).min
            mirrored = [
                self._named("Slice", [name, *(self._constant(np.array([value])) for value in (start, stop, axis, -1))])
                for start, stop in ((before[axis] - 1, least), (-1, -after[axis] - 1))
            ]
            parts = [mirrored[0], name, mirrored[1]]
            if axis == axes[-1]:
                self._emit(node, "Concat", parts, axis=axis)
            else:
                name = self._named("Concat", parts, axis=axis)

    def _depth_to_space(self, node: Any, attributes: dict[str, Any]) -> None:
        assert attributes["mode"] == "depth_first"
        self._emit(node, "DepthToSpace", [self._input(node, 0)], blocksize=attributes["block_size"], mode="CRD")

    def _grid_sample(self, node: Any, attributes: dict[str, Any]) -> None:
        how = {name: attributes[name] for name in ("mode", "padding_mode")}
        inputs = [self._input(node, 0), self._input(node, 1)]
        self._emit(node, "GridSample", inputs, **how, align_corners=int(attributes["align_corners"]))

    def _average(self, node: Any, attributes: dict[str, Any]) -> None:
        assert attributes["exclude-pad"]
        pads = [*attributes["pads_begin"], *attributes["pads_end"]]
        window = {"kernel_shape": attributes["kernel"], "strides": attributes["strides"], "pads": pads}
        self._emit(node, "AveragePool", [self._input(node, 0)], **window)

    def _interpolate(self, node: Any, attributes: dict[str, Any]) -> None:
        assert (attributes["mode"], attributes["shape_calculation_mode"]) == ("linear_onnx", "sizes")
        inputs = [self._input(node, 0), "", "", self._input(node, 1)]
        where = attributes["coordinate_transformation_mode"]
        axes = self._value(node, 2).tolist()
        self._emit(node, "Resize", inputs, mode="linear", coordinate_transformation_mode=where, axes=axes)

    def _convert(self, node: Any, attributes: dict[str, Any]) -> None:
        self._emit(node, "Cast", [self._input(node, 0)], to=_KINDS[str(attributes["destination_type"])])

    def _clamp(self, node: Any, attributes: dict[str, Any]) -> None:
        ends = [self._constant(np.array(attributes[name], np.float32)) for name in ("min", "max")]
        self._emit(node, "Clip", [self._input(node, 0), *ends])

    # names

    def _emit(self, node: Any, kind: str, inputs: list[str], **attributes: Any) -> None:
        """Write one node that gives what `node` gives."""
        place = self._place(node.output(0))
        self.names[place] = self._named(kind, inputs, output=self.wanted.get(place), **attributes)

    def _named(self, kind: str, inputs: list[str], *, output: str | None = None, **attributes: Any) -> str:
        self.counts[kind] = number = self.counts.get(kind, -1) + 1
        name = f"{kind}_{number}"
        made = helper.make_node(kind, inputs, [output or name], name, **attributes)
        self.nodes.append(made)
        return made.output[0]

    def _input(self, node: Any, index: int) -> str:
        source = node.input_value(index)
        if source.get_node().get_type_name() == "Constant":
            return self._constant(source.get_node().data)
        return self.names[self._place(source)]

    def _value(self, node: Any, index: int) -> np.ndarray:
        """The number that an input always has."""
        source = node.input_value(index).get_node()
        assert source.get_type_name() == "Constant", f"{node.get_type_name()} asks for a constant"
        return np.array(source.data)

    def _constant(self, value: np.ndarray) -> str:
        """A stored tensor; equal ones are one."""
        value = np.ascontiguousarray(value)
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self.constants:
            self.constants[key] = f"const_{len(self.constants)}"
            self.initializers.append(numpy_helper.from_array(value, self.constants[key]))
        return self.constants[key]

    def _place(self, output: Any) -> tuple[int, int]:
        return self.number[_key(output.get_node())], output.get_index()


_WORDS: dict[str, Callable[[_Translation, Any, dict[str, Any]], None]] = {
    "AvgPool": _Translation._average,
    "Clamp": _Translation._clamp,
    "Concat": _Translation._concat,
    "Convert": _Translation._convert,
    "Convolution": _Translation._conv,
    "DeformableConvolution": _Translation._deformable,
    "DepthToSpace": _Translation._depth_to_space,
    "Gather": _Translation._gather,
    "GridSample": _Translation._grid_sample,
    "Interpolate": _Translation._interpolate,
    "MatMul": _Translation._matmul,
    "PRelu": _Translation._prelu,
    "Pad": _Translation._pad,
    "ReduceL2": _Translation._reduce,
    "ReduceMean": _Translation._reduce,
    "ReduceMin": _Translation._reduce,
    "ReduceSum": _Translation._reduce,
    "Reshape": _Translation._reshape,
    "Slice": _Translation._slice,
    "Transpose": _Translation._transpose,
}
"""Operations that are written otherwise."""


def _key(node: Any) -> str:
    return node.get_friendly_name()


def _window(attributes: dict[str, Any]) -> dict[str, Any]:
    """How a kernel moves."""
    pads = [*attributes["pads_begin"], *attributes["pads_end"]]
    return {"strides": attributes["strides"], "dilations": attributes["dilations"], "pads": pads}
