r"""The whole network as one graph that asks for nothing but frames and flows: what `stinet export` writes.

    frames     (t 3 h w)       RGB in [0, 1], the source frames of a clip in order of time
    flow_ahead (t - 1 2 h w)   pixels, (dx, dy): frame i at x looks like frame i + 1 at x + flow_ahead[i](x)
    flow_back  (t - 1 2 h w)   the other way round, from frame i + 1 to frame i
    upscaled   (u 3 sh sw)     RGB in [0, 1]: all given frames and those in between, in order of time

t, and the times of what comes in between, are fixed in the graph; height and width are free. A clip of one frame has
no flows, and a graph with the flow inside (flow.py) asks for none. graph.py's two graphs are joined here, and what
they want to know of times and sizes is computed inside.
"""

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from stinet.engines.flow import flow_graph, pixels, whole, wholes
from stinet.engines.graph import features_graph, restore_graph, times_of
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline

__all__ = ["whole_graph"]

Node = Any
"""An OpenVINO operation or one of its outputs."""


def whole_graph(net: STINet, line: Timeline, *, flow_inside: bool = False) -> openvino.Model:
    """Frames (and flows, unless they are computed inside) to upscaled frames, for clips laid out as `line` says."""
    features, restore = features_graph(net), restore_graph(net, line)
    frames = _parameter("frames", line.sources, 3)
    count = line.sources - 1
    flows = [_parameter(name, count, 2) for name in ("flow_ahead", "flow_back") if count and not flow_inside]
    sides = list(flows)
    if count and flow_inside:
        both = flow_graph(frames, line.sources)
        halves = range(count), range(count, 2 * count)
        sides = [_exact(op.gather(both, wholes(*half), whole(0))) for half in halves]
    _connect(features, {"frames": frames})
    low, high = _outputs(features)
    given = {"frames": frames, "low": low, "high": high, **_sizes(frames, net.config.edge_pixel_step)}
    given |= {name: op.constant(value) for name, value in times_of(line).items()}
    given |= dict(zip(("ahead", "back"), sides, strict=False))
    _connect(restore, given)
    made = _exact(op.clamp(_outputs(restore)[0], 0.0, 1.0))
    made.output(0).get_tensor().set_names({"upscaled"})
    make: Any = openvino.Model  # its stubs contradict each other
    return make([op.result(made)], [frames, *flows], "stinet")


def _parameter(name: str, count: int, channels: int) -> Node:
    made = op.parameter(openvino.PartialShape([count, channels, -1, -1]), np.float32, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def _connect(model: openvino.Model, given: dict[str, Node]) -> None:
    """Let a graph read what is given in place of its parameters."""
    for parameter in model.get_parameters():
        source = given[parameter.get_friendly_name()]
        for reader in parameter.output(0).get_target_inputs():
            reader.replace_source_output(source.output(0) if hasattr(source, "output") else source)


def _outputs(model: openvino.Model) -> list[Node]:
    return [result.input_value(0) for result in model.get_results()]


def _sizes(frames: Node, step: int) -> dict[str, Node]:
    """The inputs of graph.py that only the frames' size decides.

    In whole numbers as far as it goes: no engine rounds those, while marks get lost where float32 meets constants.
    """
    shape = op.shape_of(frames, "i64")
    rows, columns = (_counting(shape, axis, 1) for axis in (2, 3))
    seen = [_one_by_length(_counting(shape, axis, step), 0) for axis in (2, 3)]
    column, row = op.unsqueeze(rows, wholes(0, 1, 3)), op.unsqueeze(columns, wholes(0, 1, 2))
    at = pixels(op.gather(shape, wholes(2, 3), whole(0)))
    turned = op.unsqueeze(op.gather(shape, wholes(3, 2), whole(0)), wholes(0, 2, 3))
    doubled = op.add(op.multiply(op.gather(at, wholes(1, 0), whole(1)), whole(2)), whole(1))
    share = _exact(op.concat([_one_by_length(row, 3), _one_by_length(column, 2)], 1))
    return {
        "places": _exact(op.multiply(_float(op.add(doubled, op.multiply(turned, whole(-1)))), share)),
        "unit": _exact(op.add(share, share)),
        "per_pixel": _exact(op.multiply(*seen)),
    }


def _counting(shape: Node, axis: int, step: int) -> Node:
    """0, step, 2 step, ... below a side's length."""
    return op.range(whole(0), op.gather(shape, whole(axis), whole(0)), whole(step), "i64")


def _one_by_length(line: Node, axis: int) -> Node:
    """1 by the length of 0, 1, 2, ..., in float32: the mean of a line that is 1 at its first pixel and 0 elsewhere."""
    return _exact(op.reduce_mean(_float(op.equal(line, whole(0))), wholes(axis), keep_dims=True))


def _float(number: Node) -> Node:
    return _exact(op.convert(number, "f32"))


def _exact(node: Node) -> Node:
    """Graph.py's mark of what stays float32 when the rest is computed in bfloat16."""
    node.get_rt_info()["precise_0"] = ""
    return node
