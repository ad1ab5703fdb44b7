"""A name or a file becomes a clip function, or one line says why not; sizes and costs are the known ones."""

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stinet import catalogue, runtime
from stinet.batch import Task
from stinet.catalogue import TRAININGS, clip_function, macs_per_pixel, models, network, stages, weights_file
from stinet.checkpoint import save_model
from stinet.cli import look
from stinet.cli.upscale import upscale
from stinet.config import PRESETS, ClipFunction, Movable
from stinet.demo import demonstrate
from stinet.doctor import examine
from stinet.engines.ranges import Range, ranges_file, write_ranges
from stinet.errors import CheckpointError, DeviceError, ModelError, UsageError
from stinet.face import load_model, plan_upscale, upscale_video
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.peers.networks import build, save_rival
from stinet.peers.pairs import ENLARGERS, INTERPOLATORS
from stinet.peers.published import PUBLISHED
from stinet.peers.rstt import RsttConfig
from stinet.weights import DEFAULT

SMALL = dataclasses.replace(
    PRESETS["stinet-s"], channels=8, low_blocks=1, high_blocks=1, shared_blocks=1, fusion_blocks=1, graph_channels=8
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = STINet(SMALL)
    path = tmp_path / "small.safetensors"
    save_model(path, net, net.state_dict(), {"vid4": {"psnr_db": 25.5, "ssim": 0.75}})
    return path


def test_a_weights_file_becomes_a_clip_function(file: Path) -> None:
    fn = clip_function(str(file), device="cpu")
    assert isinstance(fn, ClipFunction)
    assert fn.scale == 4
    state = fn.prepare(torch.rand(3, 6, 7))
    assert fn.run([state], [], fn.context([state], [])).shape == (1, 3, 24, 28)


@pytest.mark.parametrize("name", ["blend+bicubic", "bicubic+flow", "dis+bicubic"])
def test_every_peer_is_a_clip_function(name: str) -> None:
    fn = clip_function(name, scale=2)
    assert isinstance(fn, ClipFunction)
    assert fn.scale == 2


def test_without_a_scale_a_network_enlarges_by_its_own_and_a_peer_by_four(tmp_path: Path) -> None:
    net = STINet(dataclasses.replace(SMALL, scale=2))
    save_model(tmp_path / "double.safetensors", net, net.state_dict(), {})
    fn = clip_function(str(tmp_path / "double.safetensors"), device="cpu")
    state = fn.prepare(torch.rand(3, 6, 7))
    assert fn.run([state], [], fn.context([state], [])).shape == (1, 3, 12, 14)
    assert clip_function("blend+bicubic").scale == 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_rival_without_a_file_says_where_its_authors_publish_it(name: str) -> None:
    with pytest.raises(ModelError, match=rf"{PUBLISHED[name].project}; make a file .* --config {name}, and name OUT"):
        clip_function(name)


def test_a_rivals_weights_file_becomes_a_clip_function(tmp_path: Path) -> None:
    net = build("rstt-s", RsttConfig(channels=16, depth=1))
    path = tmp_path / "rival.safetensors"
    save_rival(path, "rstt-s", net, net.state_dict(), {})
    fn = clip_function(str(path), device="cpu")
    assert isinstance(fn, ClipFunction)
    states = [fn.prepare(torch.rand(3, 8, 8)) for _ in range(2)]
    assert fn.run(states, ((0.5,),), fn.context(states, ((0.5,),))).shape == (3, 3, 32, 32)
    with pytest.raises(ModelError, match="rstt-s enlarges by 4, not by 2"):
        clip_function(str(path), device="cpu", scale=2)
    with pytest.raises(ModelError, match="the openvino engine does not run it"):
        clip_function(str(path), engine="openvino")
    with pytest.raises(CheckpointError, match="its header has no model settings"):
        network(str(path))


def test_a_peer_on_an_unknown_device_is_refused_too() -> None:
    with pytest.raises(DeviceError, match="abacus"):
        clip_function("blend+bicubic", device="abacus")


def test_an_engine_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="engine 'abacus' is unknown: choose from auto, torch, openvino, onnxruntime"):
        clip_function("stinet-xs", engine="abacus")
    with pytest.raises(ModelError, match=r"blend\+bicubic is no network"):
        clip_function("blend+bicubic", engine="openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "stinet.engines.openvino", raising=False)
    monkeypatch.delitem(sys.modules, "stinet.engines.graph", raising=False)
    with pytest.raises(DeviceError, match=r"engine openvino is not installed: run pip install 'stinet\[cpu\]'"):
        clip_function("stinet-xs", device="cpu", engine="openvino")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "stinet.engines.onnx", raising=False)
    with pytest.raises(DeviceError, match=r"engine onnxruntime is not installed: run pip install 'stinet\[onnx\]'"):
        clip_function("stinet-xs", device="cpu", engine="onnxruntime")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A CPU with instructions for bfloat16 and 8 bits."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtime, "has_int8", lambda: True)
    monkeypatch.setattr(runtime, "has_bfloat16", lambda kind="cpu": kind == "cpu")
    return monkeypatch


def chosen(name: str, **wish: Any) -> tuple[str, str]:
    """Engine and precision of what auto gives."""
    fn: Any = clip_function(name, **{"device": "cpu", "engine": "auto", **wish})
    return fn.engine, fn.precision


def give_ranges(file: Path, weights: str = "") -> None:
    """Ranges of one convolution beside a weights file, for its own weights or for others."""
    net = network(weights or str(file))
    write_ranges(ranges_file(file), net, {"features_net.low.0.first": Range(-1.0, 1.0, (1.0,) * 8)}, {})


def test_auto_is_openvino_in_8_bits_where_the_weights_have_ranges(quick: pytest.MonkeyPatch, file: Path) -> None:
    assert chosen(str(file)) == ("openvino", "bfloat16")
    give_ranges(file)
    assert chosen(str(file)) == chosen(str(file), device="auto") == ("openvino", "int8")
    assert chosen(str(file), engine="openvino") == ("openvino", "int8")
    give_ranges(file, weights="stinet-xs")
    assert chosen(str(file)) == ("openvino", "bfloat16")


def test_auto_has_8_bits_and_16_where_the_cpu_has_them(quick: pytest.MonkeyPatch, file: Path) -> None:
    give_ranges(file)
    quick.setattr(runtime, "has_int8", lambda: False)
    assert chosen(str(file)) == ("openvino", "bfloat16")
    quick.setattr(runtime, "has_bfloat16", lambda *_: False)
    assert chosen(str(file)) == ("openvino", "float32")


@pytest.mark.parametrize(("precision", "engine"), [
    ("float32", "openvino"), ("bfloat16", "openvino"), ("int8", "openvino"), ("float16", "torch"),
])  # fmt: skip
def test_auto_takes_the_engine_that_has_the_precision(
    quick: pytest.MonkeyPatch, file: Path, precision: str, engine: str
) -> None:
    give_ranges(file)
    assert chosen(str(file), precision=precision) == (engine, precision)


def test_auto_is_torch_where_openvino_is_not_installed(quick: pytest.MonkeyPatch, file: Path) -> None:
    give_ranges(file)
    quick.setitem(sys.modules, "openvino", None)
    for name in ("openvino", "compiled", "graph"):
        quick.delitem(sys.modules, f"stinet.engines.{name}", raising=False)
    assert chosen(str(file)) == ("torch", "bfloat16")
    assert chosen(str(file), precision="float32") == ("torch", "float32")
    with pytest.raises(DeviceError, match=r"engine openvino is not installed: run pip install 'stinet\[cpu\]'"):
        chosen(str(file), precision="int8")


def test_auto_is_torch_on_a_gpu(quick: pytest.MonkeyPatch, file: Path) -> None:
    give_ranges(file)
    quick.setattr(runtime, "device", lambda name: torch.device("cpu" if name == "cpu" else "meta"))  # none is here
    assert chosen(str(file), device="auto") == chosen(str(file), device="meta") == ("torch", "float32")
    assert chosen(str(file), device="auto", engine="openvino") == ("openvino", "int8")
    with pytest.raises(DeviceError, match="the torch engine has no int8: use --engine openvino"):
        chosen(str(file), device="auto", precision="int8")


def test_auto_is_torch_for_networks_that_openvino_does_not_run(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    net = STINet(dataclasses.replace(SMALL, flow_guided=False))
    save_model(tmp_path / "other.safetensors", net, net.state_dict(), {})
    assert chosen(str(tmp_path / "other.safetensors")) == ("torch", "bfloat16")
    rival = build("rstt-s", RsttConfig(channels=16, depth=1))
    save_rival(tmp_path / "rival.safetensors", "rstt-s", rival, rival.state_dict(), {})
    assert chosen(str(tmp_path / "rival.safetensors")) == ("torch", "bfloat16")
    assert not isinstance(clip_function("blend+bicubic", engine="auto"), Movable)


def test_onnxruntime_computes_in_float32_unless_told(quick: pytest.MonkeyPatch, file: Path) -> None:
    pytest.importorskip("onnxruntime")
    give_ranges(file)
    assert chosen(str(file), engine="onnxruntime") == ("onnxruntime", "float32")


def test_what_compares_numbers_is_torch_whatever_is_installed(quick: pytest.MonkeyPatch, file: Path) -> None:
    give_ranges(file)
    fn = clip_function(str(file), device="cpu")
    assert isinstance(fn, NetworkClip)
    assert fn.precision == "bfloat16"


def test_damaged_ranges_are_in_the_way_of_8_bits_only(quick: pytest.MonkeyPatch, file: Path) -> None:
    ranges_file(file).write_text("{")
    for precision in ("float32", "bfloat16"):
        assert chosen(str(file), engine="openvino", precision=precision) == ("openvino", precision)
    assert chosen(str(file)) == ("openvino", "bfloat16")
    with pytest.raises(CheckpointError, match=r"small\.int8\.json: no ranges, or damaged"):
        chosen(str(file), precision="int8")


def test_the_precision_that_is_asked_for_is_had(file: Path) -> None:
    for precision in ("float32", "bfloat16"):
        fn = clip_function(str(file), device="cpu", precision=precision)
        assert isinstance(fn, Movable)
        assert fn.precision == precision


def test_a_precision_that_cannot_be_had_is_refused(file: Path) -> None:
    with pytest.raises(DeviceError, match="the torch engine has no int8: use --engine openvino"):
        clip_function(str(file), device="cpu", precision="int8")
    with pytest.raises(ModelError, match=r"blend\+bicubic is no network: it has no int8"):
        clip_function("blend+bicubic", precision="int8")
    with pytest.raises(DeviceError, match="precision 'half' is unknown: choose from"):
        clip_function(str(file), device="cpu", precision="half")


def test_another_scale_than_the_models_is_refused(file: Path) -> None:
    with pytest.raises(ModelError, match="enlarges by 4, not by 2"):
        clip_function(str(file), device="cpu", scale=2)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError) as caught:
        clip_function("stinet-xl")
    for name in (*TRAININGS, *INTERPOLATORS, *ENLARGERS):
        assert name in str(caught.value)


def test_the_list_of_stages_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    state = {stage.name: stage.state for stage in stages()}
    assert state["flow"] == state["bicubic"] == "ready"
    assert state["dis"] == "needs pip install --no-deps opencv-python-headless"
    with pytest.raises(ModelError, match="dis needs OpenCV, which is not installed"):
        clip_function("bicubic+dis")


def test_a_missing_file_is_no_model() -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        network("gone.safetensors")


def test_an_untrained_preset_is_refused_with_the_trained_ones(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", file.parent)
    with pytest.raises(ModelError, match=r"stinet-m has no trained weights yet; shipped are: small$"):
        weights_file("stinet-m")
    monkeypatch.setattr(catalogue, "FOLDER", file.parent / "empty")
    with pytest.raises(ModelError, match="shipped are: none"):
        weights_file("stinet-m")


def test_a_trained_preset_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", file.parent)
    file.rename(file.with_stem("stinet-s"))
    assert network("stinet-s").config == SMALL


def test_compact_presets_have_a_training_for_real_footage_too() -> None:
    assert set(TRAININGS) - set(PRESETS) == {"stinet-m-real", "stinet-s-real", "stinet-xs-real"}
    with pytest.raises(ModelError, match="unknown model 'stinet-real'"):
        weights_file("stinet-real")


def test_weights_for_real_footage_are_found_by_their_name_and_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(catalogue, "PRESETS", {"stinet-s": SMALL})
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match="stinet-s-real has no trained weights yet; shipped are: none") as refused:
        clip_function("stinet-s-real")
    assert refused.value.exit_code == 7
    net = STINet(SMALL)
    figures = {"psnr_db": 23.5, "ssim": 0.6}
    about = {"vid4": {"psnr_db": 25.0, "ssim": 0.7}, "vid4 moderate": figures}
    save_model(tmp_path / "stinet-s-real.safetensors", net, net.state_dict(), about)
    fn = clip_function("stinet-s-real", device="cpu")
    assert isinstance(fn, Movable)
    assert fn.identity.startswith("stinet-s-real")
    plain, real, *_ = models()
    assert (plain.name, plain.weights) == ("stinet-s", "untrained")
    assert (real.name, real.note) == ("stinet-s-real", "for real footage")
    assert real.quality == "Vid4 25.00 dB / 0.7000, moderately degraded 23.50 dB / 0.6000"


@pytest.mark.parametrize(("name", "least", "most"), [
    ("stinet", 1.3e6, 1.6e6), ("stinet-m", 75e3, 115e3), ("stinet-s", 19e3, 31e3),
    ("stinet-xs", 0, 8e3),
])  # fmt: skip
def test_presets_cost_what_they_are_known_for(name: str, least: float, most: float) -> None:
    assert least <= macs_per_pixel(PRESETS[name], 8 if name == "stinet" else 16) <= most


def test_the_cost_of_a_network_without_flows_is_counted_too() -> None:
    bare = dataclasses.replace(
        SMALL, flow="none", aligned=False, flow_guided=False, flow_refined=False, residual_base=False, composed=False
    )
    assert 0 < macs_per_pixel(bare, 8) < macs_per_pixel(SMALL, 8)


def test_multiply_adds_are_those_of_the_convolutions_by_hand() -> None:
    """Nothing but S-SR, its Pnet and heads on 8 channels: counted layer by layer for 4 source and 3 made frames."""
    config = dataclasses.replace(
        SMALL, flow="none", aligned=False, flow_guided=False, flow_refined=False, residual_base=False, composed=False,
        relate="none", local_modules=0, branches="low", low_blocks=1, shared_blocks=1, branch_blocks=0,
    )  # fmt: skip
    c = 8
    features = 9 * (3 * c + 2 * c * c)
    pnet = 9 * (2 * c * c + 2 * c * c + 2 * c * c + c * c)
    head = 9 * c * 48
    expected = (4 * features + 3 * pnet + 7 * head) / 7 / 16
    assert macs_per_pixel(config, 8) == pytest.approx(expected)


def test_the_list_has_every_preset_and_the_papers_at_both_alignments(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    narrow = dataclasses.replace(PRESETS["stinet"], channels=8, graph_channels=8, feature_stages=1, shared_blocks=1)
    monkeypatch.setattr(catalogue, "PRESETS", {"stinet": narrow, "stinet-s": SMALL})
    monkeypatch.setattr(catalogue, "FOLDER", file.parent)
    file.rename(file.with_stem("stinet-s"))
    low, native, small, real, *rivals = models()
    assert (low.name, low.note, low.weights) == ("stinet", "H aligned at low resolution", "untrained")
    assert (native.name, native.note) == ("stinet", "H aligned at native resolution")
    assert (small.name, small.note, small.quality) == ("stinet-s", "", "Vid4 25.50 dB / 0.7500")
    assert small.weights.endswith("MB")
    assert real == dataclasses.replace(
        small, name="stinet-s-real", note="for real footage", weights="untrained", quality=""
    )
    assert small.parameters == sum(p.numel() for p in STINet(SMALL).parameters())
    assert [rival.name for rival in rivals] == list(PUBLISHED)
    assert {rival.weights for rival in rivals} == {"by convert"}
    assert (rivals[0].parameters, rivals[0].macs_per_pixel) == (11_102_771, 631_000)


def test_where_no_model_is_named_everything_takes_the_same_one_which_ships_with_ranges() -> None:
    functions = (load_model, plan_upscale, upscale_video, demonstrate, examine, Task, look.demo, look.doctor, upscale)
    parameters = [inspect.signature(function).parameters for function in functions]
    assert {(some.get("model") or some["name"]).default for some in parameters} == {DEFAULT}
    assert TRAININGS[DEFAULT] != DEFAULT
    assert ranges_file(weights_file(DEFAULT)).is_file()


@pytest.mark.bad_input(34)
def test_a_pickle_is_never_loaded_and_convert_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="stinet convert"):
        clip_function(str(tmp_path / "weights.pth"))
