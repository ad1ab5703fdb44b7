"""A network as a file that other programs run without Python: ONNX, or OpenVINO's own format.

Either holds the graph of whole.py and, in its metadata, everything that its caller must know (docs/export.md). A file
appears whole or not at all; of the two files of OpenVINO's format the .xml comes last.
"""

import json
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import openvino
import torch

from stinet.config import to_mapping
from stinet.engines.flow import LEAST_PX
from stinet.engines.graph import unsupported
from stinet.engines.whole import whole_graph
from stinet.errors import DeviceError, ModelError, UsageError
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.video.disk import disk_errors, move

__all__ = ["FORMATS", "Exported", "export", "facts"]

FORMATS = {"onnx": ".onnx", "openvino": ".xml"}
"""What can be written, and what its file is called."""

_MOST_FRAMES = 64

_FLOW = "pixels, dx (right) then dy (down): (intervals, 2, height, width), float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    operations: int
    facts: dict[str, str]


def export(
    net: STINet, line: Timeline, target: Path, *, name: str, kind: str, licence: str, flow_inside: bool = False
) -> Exported:
    """Write the network for clips like `line`, which takes flows or makes them; name and licence are metadata.

    Raises:
        ModelError: a network of another kind than the compact ones.
        UsageError: an unknown format, or more frames than one graph should hold.
        DeviceError: what the format needs is not installed.
        OutputError: the disk refuses it.

    """
    if kind not in FORMATS:
        raise UsageError(f"format {kind!r} is unknown: choose from {', '.join(FORMATS)}")
    if len(line.order) > _MOST_FRAMES:
        raise UsageError(f"a graph of {len(line.order)} frames is too large: at most {_MOST_FRAMES} may come out")
    if other := unsupported(net.config):
        raise ModelError(f"{name} is not of the compact kind that can be exported: it has {other}")
    told = facts(net, line, name, licence, flow_inside=flow_inside)
    graph = whole_graph(net, line, flow_inside=flow_inside)
    write = _write_onnx if kind == "onnx" else _write_openvino
    with disk_errors(target), tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        count, made = write(graph, told, Path(place), target)
        for file in made:
            move(file, target.with_suffix(file.suffix))
    return Exported(files=tuple(target.with_suffix(file.suffix) for file in made), operations=count, facts=told)


def facts(net: STINet, line: Timeline, name: str, licence: str, *, flow_inside: bool) -> dict[str, str]:
    """The metadata: what the graph is, what it takes and gives. Times are in intervals between source frames."""
    weights = NetworkClip(net, torch.device("cpu"), torch.float32, name).identity.rpartition(" ")[2]
    taus = dict.fromkeys(f"{tau:.9g}" for _, tau in line.between)
    places = (line.position(index) for index in range(len(line.order)))
    return {
        "made_by": f"stinet {version('stinet')}",
        "model": name,
        "weights": weights,
        "licence": licence,
        "scale": str(net.config.scale),
        "source_frames": str(line.sources),
        "times": " ".join(taus),
        "output_frames": str(len(line.order)),
        "output_times": " ".join(f"{interval + tau:.9g}" for interval, tau in places),
        "frames": "RGB, 0 to 1, frame by frame in order of time: (frames, 3, height, width), float32",
        "flow": _FLOW if line.sources > 1 and not flow_inside else "inside" if line.sources > 1 else "none",
        "least_side": str(LEAST_PX if line.sources > 1 and flow_inside else 2),
        "settings": json.dumps(to_mapping(net.config)),
    }


def _write_onnx(graph: openvino.Model, told: dict[str, str], place: Path, target: Path) -> tuple[int, list[Path]]:
    try:
        from stinet.engines.translation import to_onnx
    except ImportError as error:
        raise DeviceError("onnx is not installed: run pip install 'stinet[onnx]'") from error
    model = to_onnx(graph, ("upscaled",), told)
    file = place / target.name
    file.write_bytes(model.SerializeToString(deterministic=True))
    return len(model.graph.node), [file]


def _write_openvino(graph: openvino.Model, told: dict[str, str], place: Path, target: Path) -> tuple[int, list[Path]]:
    for key, value in told.items():
        graph.set_rt_info(value, ["stinet", key])
    file = place / target.name
    openvino.save_model(graph, file, compress_to_fp16=False)
    return len(graph.get_ordered_ops()), [file.with_suffix(".bin"), file]
