"""Exported files give PyTorch's frames at any size, and say of themselves what a caller must know."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import Stinet  # pyright: ignore[reportMissingImports]
from model.small_networks import COMPACT, PAPER, build, clip, some_flows
from stinet import runtime
from stinet.checkpoint import save_model
from stinet.errors import ModelError, OutputError, UsageError
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.ops.farneback import farneback

openvino = pytest.importorskip("openvino", reason="needs openvino: pip install 'stinet[onnx]'")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'stinet[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'stinet[onnx]'")

from openvino import opset13 as op  # noqa: E402

from stinet.engines.export import export, facts  # noqa: E402
from stinet.engines.flow import flow_graph  # noqa: E402
from stinet.engines.translation import to_onnx  # noqa: E402

VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "not composed": {"composed": False},
    "flows corrected": {"flow_refined": True},
    "a kernel of 3x3": {"deform_kernel": 3},
    "two ST-LR modules, without Inet": {"local_modules": 2, "offset_interaction": False},
    "without ST-GR": {"relate": "none"},
    "ST-LR of all frames": {"local_frames": "all"},
    "scale 2, without E^P": {"scale": 2, "edge_pixel": False},
}
TIMES = {"halves": (3, (0.5,)), "thirds": (2, (1 / 3, 2 / 3)), "none": (3, ()), "one frame": (1, (0.5,))}
SIZES = ((12, 16), (9, 31), (2, 3))


def written(net: STINet, line: Timeline, target: Path, kind: str = "onnx", *, flow_inside: bool = False) -> Path:
    export(net, line, target, name="small", kind=kind, licence="CC0", flow_inside=flow_inside)
    return target


def given(line: Timeline, size: tuple[int, int]) -> tuple[Tensor, Flows]:
    flows = some_flows(line.sources, size) if line.sources > 1 else Flows(*[torch.zeros(1, 0, 2, *size)] * 2)
    return clip(line.sources, size)[0], Flows(3 * flows.forward, 3 * flows.backward)


def by_pytorch(net: STINet, line: Timeline, frames: Tensor, flows: Flows) -> Tensor:
    with torch.no_grad():
        return net.restore(frames.unsqueeze(0), net.features(frames), flows, line)[0].clamp(0, 1)


def inputs(line: Timeline, frames: Tensor, flows: Flows) -> dict[str, np.ndarray]:
    moves = {"flow_ahead": flows.forward[0].numpy(), "flow_back": flows.backward[0].numpy()}
    return {"frames": frames.numpy(), **(moves if line.sources > 1 else {})}


def by_onnxruntime(file: Path, values: Mapping[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(["upscaled"], dict(values))[0]


def by_openvino(file: Path, values: Mapping[str, np.ndarray], precision: str = "f32") -> np.ndarray:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    with runtime.kept_signal_stack():
        return openvino.Core().compile_model(file, "CPU", settings)(dict(values))["upscaled"]


@pytest.mark.parametrize("edit", VARIANTS.values(), ids=VARIANTS)
def test_an_onnx_file_gives_pytorchs_frames_at_any_size(edit: dict[str, Any], tmp_path: Path) -> None:
    net, line = build(replace(COMPACT, **edit)).eval(), Timeline.of(3)
    file = written(net, line, tmp_path / "a.onnx")
    for size in SIZES:
        frames, flows = given(line, size)
        made = by_onnxruntime(file, inputs(line, frames, flows))
        np.testing.assert_allclose(made, by_pytorch(net, line, frames, flows).numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("clip_of", TIMES.values(), ids=TIMES)
def test_either_format_holds_any_clip(clip_of: tuple[int, tuple[float, ...]], tmp_path: Path) -> None:
    net, line = build(COMPACT).eval(), Timeline.of(*clip_of)
    frames, flows = given(line, (12, 16))
    expected, values = by_pytorch(net, line, frames, flows).numpy(), inputs(line, frames, flows)
    made = by_onnxruntime(written(net, line, tmp_path / "a.onnx"), values)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    file = written(net, line, tmp_path / "a.xml", "openvino")
    np.testing.assert_allclose(by_openvino(file, values), expected, rtol=0, atol=1e-4)


def test_an_openvino_file_takes_any_size_and_keeps_places_exact_in_bfloat16(tmp_path: Path) -> None:
    net, line = build(COMPACT, awake=False).eval(), Timeline.of(2)
    file = written(net, line, tmp_path / "a.xml", "openvino")
    for size in SIZES:
        frames, flows = given(line, size)
        expected = by_pytorch(net, line, frames, flows).numpy()
        made = by_openvino(file, inputs(line, frames, flows))
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    if not runtime.has_bfloat16("cpu"):
        pytest.skip("its second half needs a CPU with bfloat16")
    frames, flows = given(line, (40, 300))  # 300 is no bfloat16: the column of a pixel would be off by one
    half = by_openvino(file, inputs(line, frames, flows), "bf16")
    assert np.abs(half - by_pytorch(net, line, frames, flows).numpy()).mean() < 2e-4


def moving(count: int, size: tuple[int, int]) -> Tensor:
    """Soft blobs that move two pixels to the left and one up a frame."""
    height, width = size[0] + count, size[1] + 2 * count
    coarse = torch.rand(1, 3, height // 4 + 2, width // 4 + 2, generator=torch.Generator().manual_seed(0))
    still = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([still[:, i : size[0] + i, 2 * i : size[1] + 2 * i] for i in range(count)])


@pytest.mark.parametrize("size", [(10, 13), (37, 70), (67, 129), (131, 140)], ids=str)
def test_flow_in_a_graph_is_farnebacks_whatever_the_height_of_the_pyramid(size: tuple[int, int]) -> None:
    given = op.parameter(openvino.PartialShape([3, 3, -1, -1]), np.float32)
    model = openvino.Model([op.result(flow_graph(given, 3))], [given], "flow")
    frames = moving(3, size)
    with runtime.kept_signal_stack():
        made = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(frames.numpy())[0]
    first, second = frames[[0, 1, 1, 2]], frames[[1, 2, 0, 1]]
    expected = farneback(first, second).numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-3)


def test_a_file_with_the_flow_inside_takes_frames_alone(tmp_path: Path) -> None:
    net, line = build(replace(COMPACT, flow_by="farneback")).eval(), Timeline.of(2)
    files = [
        written(net, line, tmp_path / f"a{suffix}", kind, flow_inside=True)
        for kind, suffix in (("onnx", ".onnx"), ("openvino", ".xml"))
    ]
    for size in ((12, 16), (37, 70)):
        frames = moving(2, size)
        with torch.no_grad():
            expected = net(frames.unsqueeze(0)).final[0].clamp(0, 1).numpy()
        for file, run in zip(files, (by_onnxruntime, by_openvino), strict=True):
            np.testing.assert_allclose(run(file, {"frames": frames.numpy()}), expected, rtol=0, atol=1e-3)
    told = {entry.key: entry.value for entry in onnx.load(files[0]).metadata_props}
    assert (told["flow"], told["least_side"]) == ("inside", "10")


def test_the_operators_are_those_of_onnx_and_few(tmp_path: Path) -> None:
    model = onnx.load(written(build(COMPACT), Timeline.of(4), tmp_path / "a.onnx"))
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert "GridSample" in kinds
    assert "DeformConv" not in kinds  # which many runtimes lack, and one tap needs not
    of_nine_taps = written(build(replace(COMPACT, deform_kernel=3)), Timeline.of(3), tmp_path / "b.onnx")
    assert "DeformConv" in {node.op_type for node in onnx.load(of_nine_taps).graph.node}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    assert len(model.graph.node) < 470  # PyTorch's own exporter makes 603 of stinet-xs


def test_both_files_say_what_they_hold(tmp_path: Path) -> None:
    net, line = build(COMPACT), Timeline.of(3, (0.25, 0.75))
    model = onnx.load(written(net, line, tmp_path / "a.onnx"))
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["scale"] == "4"
    assert (told["source_frames"], told["times"], told["output_frames"]) == ("3", "0.25 0.75", "7")
    assert told["output_times"] == "0 0.25 0.75 1 1.25 1.75 2"
    assert (told["model"], told["licence"]) == ("small", "CC0")
    shapes = {value.name: [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
              for value in model.graph.input}  # fmt: skip
    assert shapes == {
        "frames": [3, 3, "height", "width"],
        "flow_ahead": [2, 2, "height", "width"],
        "flow_back": [2, 2, "height", "width"],
    }
    stored = openvino.Core().read_model(written(net, line, tmp_path / "a.xml", "openvino"))
    assert {key: str(stored.get_rt_info(["stinet", key]).value) for key in told} == told


def test_times_are_exact_to_nine_digits_late_in_a_clip_too() -> None:
    told = facts(build(COMPACT), Timeline.of(12, (1 / 3,)), "small", "CC0", flow_inside=False)
    assert told["times"] == "0.333333333"
    assert told["output_times"].split()[-2] == "10.3333333"


def test_other_weights_have_another_hash_and_equal_ones_equal_bytes(tmp_path: Path) -> None:
    line = Timeline.of(2)
    files = [written(build(COMPACT, seed), line, tmp_path / f"{n}.onnx") for n, seed in enumerate((0, 0, 1))]
    assert files[0].read_bytes() == files[1].read_bytes()
    hashes = [entry.value for f in files for entry in onnx.load(f).metadata_props if entry.key == "weights"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not of the compact kind that can be exported: it has high native"):
        written(build(PAPER), Timeline.of(2), tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="a graph of 79 frames is too large: at most 64"):
        written(build(COMPACT), Timeline.of(40), tmp_path / "a.onnx")
    with pytest.raises(OutputError, match="cannot be written"):
        written(build(COMPACT), Timeline.of(2), tmp_path / "nowhere" / "a.onnx")
    x = op.parameter([2], np.float32)
    with pytest.raises(ModelError, match="the operation Erf has no translation to ONNX"):
        to_onnx(openvino.Model([op.result(op.erf(x))], [x], "strange"), ("y",), {})
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_checkpoint_and_refuses_what_is_wrong(stinet: Stinet, tmp_path: Path) -> None:
    weights, file = tmp_path / "mine.safetensors", tmp_path / "mine.onnx"
    net = build(COMPACT)
    save_model(weights, net, net.state_dict(), {})
    ran = stinet("export", weights, "--out", file, "--frames", 2, "--times", "0.25,0.75")
    assert (ran.code, "2 frames to 4" in ran.out) == (0, True), ran.err
    line = Timeline.of(2, (0.25, 0.75))
    frames, flows = given(line, (8, 10))
    made = by_onnxruntime(file, inputs(line, frames, flows))
    np.testing.assert_allclose(made, by_pytorch(net, line, frames, flows).numpy(), rtol=0, atol=1e-4)
    assert "Farneback" not in ran.out
    ran = stinet("export", weights, "--out", file, "--frames", 2, "--flow", "inside", "-y")
    assert (ran.code, "the flow inside is Farneback's" in ran.out) == (0, True), ran.err
    for words, code, says in (
        ((weights, "--out", file), 4, "exists already"),
        ((weights, "--out", tmp_path / "a.bin"), 2, "name it .onnx or .xml"),
        ((weights, "--out", tmp_path / "a.onnx", "--format", "openvino"), 2, "is named .xml"),
        ((weights, "--out", tmp_path / "a.onnx", "--format", "tflite"), 2, "choose from onnx, openvino"),
        ((weights, "--out", tmp_path / "a.onnx", "--times", "half"), 2, "are no numbers"),
        ((weights, "--out", tmp_path / "a.onnx", "--flow", "none"), 2, "choose from input, inside"),
        (("flow+bicubic", "--out", tmp_path / "a.onnx"), 7, "is no network"),
        (("stinet", "--out", tmp_path / "a.onnx"), 7, "no trained weights"),
    ):
        ran = stinet("export", *words)
        assert (ran.code, says in ran.err) == (code, True), ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.onnx", "mine.safetensors"]
