"""The compact network on onnxruntime: PyTorch's numbers, at any size and times, without a new graph for each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from films import film, pictures  # pyright: ignore[reportMissingImports]
from model.small_networks import COMPACT, PAPER, build, clip
from stinet.catalogue import clip_function
from stinet.config import ClipFunction, EncodeConfig, Movable, Tile, UpscaleConfig
from stinet.errors import DeviceError, ModelError
from stinet.face import upscale_video
from stinet.model.clip import NetworkClip

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'stinet[onnx]'")
pytest.importorskip("onnx", reason="needs onnx: pip install 'stinet[onnx]'")
pytest.importorskip("openvino", reason="needs openvino: pip install 'stinet[onnx]'")

from stinet.engines.onnx import OnnxClip  # noqa: E402

CPU = torch.device("cpu")
HALVES = [[0.5]] * 2


@pytest.fixture
def fn() -> OnnxClip:
    return OnnxClip(build(COMPACT), "small", threads=1)


def ran(fn: ClipFunction, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> Tensor:
    states = [fn.prepare(frame) for frame in frames]
    return fn.run(states, times, fn.context(states, times), tile)


def assert_equal(fn: OnnxClip, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> None:
    expected = ran(NetworkClip(fn.net, CPU, torch.float32, "small"), frames, times, tile)
    torch.testing.assert_close(ran(fn, frames, times, tile), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("edit", [{}, {"deform_kernel": 3}, {"flow_refined": True}, {"relate": "none"}], ids=str)
def test_a_clip_equals_pytorchs(edit: dict[str, Any]) -> None:
    assert_equal(OnnxClip(build(replace(COMPACT, **edit)), threads=1), clip(3, (14, 18))[0], HALVES)


def test_a_tile_equals_pytorchs_tile(fn: OnnxClip) -> None:
    assert_equal(fn, clip(3, (24, 20))[0], HALVES, Tile(top=3, left=5, bottom=20, right=18))


@pytest.mark.parametrize("times", [[[1 / 3, 2 / 3]] * 2, [[0.2], [0.4, 0.8]], [[], [0.3]], [[], []]], ids=str)
def test_any_times_give_pytorchs_frames(fn: OnnxClip, times: list[list[float]]) -> None:
    assert_equal(fn, clip(3, (12, 16))[0], times)


@pytest.mark.parametrize("size", [(12, 16), (1, 1), (1, 9), (2, 3)])
def test_one_frame_of_any_size_runs(fn: OnnxClip, size: tuple[int, int]) -> None:
    assert_equal(fn, clip(1, size)[0], [])


def test_sizes_and_times_make_no_new_graph(fn: OnnxClip, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = fn._session
    monkeypatch.setattr(fn, "_session", lambda kind: made.append(kind) or real(kind))
    for size, tau in (((12, 16), 0.5), ((20, 9), 0.5), ((7, 30), 0.1)):
        assert_equal(fn, clip(3, size)[0], [[tau]] * 2)
    assert_equal(fn, clip(3, (12, 16))[0], [[0.5], []])
    assert_equal(fn, clip(4, (12, 16))[0], [[], [0.1, 0.9], []])
    assert len(made) == 5


def test_equal_calls_give_equal_bits_and_what_came_out_stays(fn: OnnxClip) -> None:
    frames = clip(3, (14, 18))[0]
    first = ran(fn, frames, HALVES)
    kept = first.clone()
    ran(fn, clip(3, (14, 18), seed=5)[0], HALVES)
    assert torch.equal(first, kept)
    assert torch.equal(ran(fn, frames, HALVES), first)


def test_numbers_that_are_none_are_not_clamped_to_white(fn: OnnxClip) -> None:
    frames = clip(3, (12, 16))[0]
    frames[1, :, 4, 4] = torch.nan
    assert ran(fn, frames, HALVES).isnan().any()


def test_it_has_one_precision_and_another_identity_than_pytorch(fn: OnnxClip) -> None:
    assert isinstance(fn, Movable)
    assert fn.at(precision="float32", device="cpu") is fn
    in_torch = NetworkClip(fn.net, CPU, torch.float32, "small").identity
    assert fn.identity == f"{in_torch} onnxruntime {onnxruntime.__version__}"
    with pytest.raises(DeviceError, match="has no bfloat16: use the torch engine"):
        fn.at(precision="bfloat16", device="cpu")
    with pytest.raises(DeviceError, match="computes on the CPU"):
        fn.at(precision="float32", device="cuda")
    with pytest.raises(ModelError, match="does not run networks with high native"):
        OnnxClip(build(PAPER))


def test_a_film_goes_through_it(tmp_path: Path) -> None:
    assert isinstance(clip_function("stinet-xs", device="cpu", engine="onnxruntime"), OnnxClip)
    source = film(tmp_path / "a.mp4", pictures(6, width=32, height=24))
    config = UpscaleConfig(encode=EncodeConfig(preset="ultrafast"))
    summary = upscale_video(source, tmp_path / "b.mp4", model="stinet-xs", engine="onnxruntime", config=config)
    assert "onnxruntime" in summary.model
    assert summary.output.stat().st_size > 0
