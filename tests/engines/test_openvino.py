"""The compact network on OpenVINO: PyTorch's numbers, at any size and times, without compiling for each."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from films import film, pictures  # pyright: ignore[reportMissingImports]
from model.small_networks import COMPACT, PAPER, build, clip
from stinet import runtime
from stinet.catalogue import clip_function
from stinet.config import ClipFunction, EncodeConfig, Movable, Selective, Tile, TileConfig, UpscaleConfig
from stinet.errors import DeviceError, Interrupted, ModelError, UsageError
from stinet.face import upscale_video
from stinet.infer.ladder import Picture, Runner
from stinet.model.clip import NetworkClip
from stinet.model.interpolate import Flows
from stinet.video.frame import Notes
from stinet.weights import FOLDER

openvino = pytest.importorskip("openvino", reason="needs openvino: pip install 'stinet[cpu]'")

from stinet.engines.calibrate import fit_ranges, look_at_inputs  # noqa: E402
from stinet.engines.openvino import OpenVinoClip  # noqa: E402
from stinet.engines.ranges import Range, Ranges, ranges_file  # noqa: E402

CPU = torch.device("cpu")
WITH_INT8 = pytest.mark.skipif(not runtime.has_int8(), reason="needs a CPU with VNNI")
CHOSEN = ("features_net.lift", "interpolate.pnet.shared.0.first", "local.0.weights.shared.fusion.body")
HALVES = [[0.5]] * 2
VARIANTS = {
    "as shipped": {},
    "flows corrected": {"flow_refined": True},
    "a kernel of 3x3": {"deform_kernel": 3},
    "two ST-LR modules": {"local_modules": 2},
    "not composed": {"composed": False},
    "without Inet": {"offset_interaction": False},
    "motion offsets of 16 channels": {"offset_channels": 16},
    "motion offsets of 16 channels, without Inet": {"offset_channels": 16, "offset_interaction": False},
    "ST-LR of all frames": {"local_frames": "all"},
    "two ST-LR modules of all frames": {"local_frames": "all", "local_modules": 2},
    "without ST-GR": {"relate": "none"},
    "E^P at all pixels": {"edge_pixel_step": 1},
    "without E^P and E^F": {"edge_pixel": False, "edge_frame": False},
    "scale 2": {"scale": 2},
}


@pytest.fixture
def fn(tmp_path: Path) -> OpenVinoClip:
    return OpenVinoClip(build(COMPACT), "float32", "small", threads=1, cache=tmp_path)


@cache
def found_ranges() -> Ranges:
    net = build(COMPACT)
    return fit_ranges(net, look_at_inputs(net, [list(clip(3, (24, 32), seed=2)[0])]))


@pytest.fixture
def quick(tmp_path: Path) -> OpenVinoClip:
    return OpenVinoClip(build(COMPACT), "int8", "small", threads=1, cache=tmp_path, ranges=found_ranges())


def convolutions_in_8_bits(fn: OpenVinoClip) -> int:
    """In all graphs that were compiled."""
    ops = [op for graph in fn._graphs.values() for op in graph.get_runtime_model().get_ops()]
    info = [{key: str(value.astype(str)) for key, value in op.get_rt_info().items()} for op in ops]
    return sum(one["layerType"] == "Convolution" and one["runtimePrecision"] in {"u8", "i8"} for one in info)


def ran(fn: ClipFunction, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> Tensor:
    states = [fn.prepare(frame) for frame in frames]
    return fn.run(states, times, fn.context(states, times), tile)


def in_torch(fn: OpenVinoClip) -> NetworkClip:
    return NetworkClip(fn.net, CPU, torch.float32, "small")


def assert_equal(fn: OpenVinoClip, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> None:
    expected = ran(in_torch(fn), frames, times, tile)
    torch.testing.assert_close(ran(fn, frames, times, tile), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("edit", VARIANTS.values(), ids=VARIANTS)
def test_a_clip_equals_pytorchs(edit: dict[str, object], tmp_path: Path) -> None:
    fn = OpenVinoClip(build(replace(COMPACT, **edit)), threads=1, cache=tmp_path)  # pyright: ignore[reportArgumentType]
    assert_equal(fn, clip(3, (14, 18))[0], HALVES)


def test_a_tile_equals_pytorchs_tile(fn: OpenVinoClip) -> None:
    assert_equal(fn, clip(3, (24, 20))[0], HALVES, Tile(top=3, left=5, bottom=20, right=18))


@pytest.mark.parametrize("times", [
    [[1 / 3, 2 / 3]] * 2,
    [[0.2], [0.4, 0.8]],
    [[], [0.3]],
    [[], []],
    [[0.1, 0.5, 0.9], []],
], ids=str)  # fmt: skip
def test_any_times_give_pytorchs_frames(fn: OpenVinoClip, times: list[list[float]]) -> None:
    assert_equal(fn, clip(3, (12, 16))[0], times)


@pytest.mark.parametrize("size", [(12, 16), (1, 1), (1, 9), (2, 3)])
def test_one_frame_of_any_size_runs(fn: OpenVinoClip, size: tuple[int, int]) -> None:
    assert_equal(fn, clip(1, size)[0], [])


def test_thin_frames_run(fn: OpenVinoClip) -> None:
    assert_equal(fn, clip(2, (1, 7))[0], [[0.5]])
    assert_equal(fn, clip(2, (5, 2))[0], [[0.5]])


@pytest.mark.parametrize("shift", [40.0, -40.0])
def test_flows_out_of_the_picture_read_its_edge_as_in_pytorch(fn: OpenVinoClip, shift: float) -> None:
    frames = clip(2, (12, 16))[0]
    made = []
    for one in (fn, in_torch(fn)):
        states = [one.prepare(frame) for frame in frames]
        flows = one.context(states, [[0.5]])
        assert flows is not None
        made.append(one.run(states, [[0.5]], Flows(flows.forward + shift, flows.backward - shift)))
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=1e-4)


def test_sizes_and_times_compile_nothing_new(fn: OpenVinoClip, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = fn._compiled
    monkeypatch.setattr(fn, "_compiled", lambda graph: compiled.append(graph.get_friendly_name()) or real(graph))
    for size, tau in (((12, 16), 0.5), ((20, 9), 0.5), ((7, 30), 0.1), ((12, 16), 0.9)):
        ran(fn, clip(3, size)[0], [[tau]] * 2)
    for times in ([[0.5], []], [[0.2, 0.4, 0.6]], [[], [], [0.1]], []):
        ran(fn, clip(len(times) + 1, (12, 16))[0], times)
    assert sorted(compiled) == ["between", "features", "heads", "heads", "local"]


def test_states_serve_overlapping_windows(fn: OpenVinoClip) -> None:
    frames = clip(4, (12, 16))[0]
    states = [fn.prepare(frame) for frame in frames]
    for start in (0, 1, 0):
        part = states[start : start + 3]
        made = fn.run(part, HALVES, fn.context(part, HALVES))
        torch.testing.assert_close(made, ran(in_torch(fn), frames[start : start + 3], HALVES), rtol=0, atol=1e-4)


def test_nothing_is_made_twice_for_windows_that_overlap(fn: OpenVinoClip, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    infer = OpenVinoClip._infer

    def count(self: OpenVinoClip, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        made.append(kind)
        infer(self, kind, given, out)

    monkeypatch.setattr(OpenVinoClip, "_infer", count)
    frames = clip(6, (12, 16))[0]
    states = [fn.prepare(frame) for frame in frames]
    first, second = states[:4], states[2:]
    halves = [[0.5]] * 3
    fn.run_some([0, 1, 2, 3], first, halves, fn.context(first, halves))
    # 3 in-between frames, the 4 given ones refined, the 4 asked for and the source frame after the last of them
    assert [made.count(kind) for kind in ("features", "between", "local 0")] == [6, 3, 4]
    assert (made.count("heads"), made.count("heads between")) == (3, 2)
    made.clear()
    again = fn.run(second, halves, fn.context(second, halves))
    # the interval in both windows is there; of its ends, both have other neighbours now
    assert [made.count(kind) for kind in ("features", "between", "local 0")] == [0, 2, 4]
    fresh = [fn.prepare(frame) for frame in frames[2:]]
    assert torch.equal(again, fn.run(fresh, halves, fn.context(fresh, halves)))


def test_frames_in_between_are_not_refined_where_the_network_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(OpenVinoClip, "_infer", lambda _self, kind, _given, _out: made.append(kind))
    for which, refined in (("given", 3), ("all", 5)):
        made.clear()
        net = build(replace(COMPACT, local_frames=which))  # pyright: ignore[reportArgumentType]
        ran(OpenVinoClip(net, threads=1, cache=tmp_path), clip(3, (12, 16))[0], HALVES)
        assert [made.count(kind) for kind in ("features", "between", "local 0")] == [3, 2, refined]


def test_given_flows_are_not_those_of_an_earlier_run(fn: OpenVinoClip) -> None:
    frames = clip(3, (12, 16))[0]
    for times in (HALVES, [[], []]):
        states = [fn.prepare(frame) for frame in frames]
        own = fn.run(states, times, fn.context(states, times))
        flows = in_torch(fn).context(states, times)
        assert flows is not None
        moved = Flows(flows.forward + 3, flows.backward - 3)
        torch.testing.assert_close(
            fn.run(states, times, moved), in_torch(fn).run(states, times, moved), rtol=0, atol=1e-4
        )
        assert torch.equal(fn.run(states, times, fn.context(states, times)), own)


@pytest.mark.parametrize("tile", [None, Tile(top=3, left=5, bottom=20, right=18)], ids=["whole", "tile"])
@pytest.mark.parametrize("wanted", [[3, 4], [1], [0, 4], [2]], ids=str)
def test_some_frames_are_those_of_the_whole_run(fn: OpenVinoClip, wanted: list[int], tile: Tile | None) -> None:
    assert isinstance(fn, Selective)
    frames = clip(3, (24, 20))[0]
    expected = ran(fn, frames, HALVES, tile)[wanted]
    states = [fn.prepare(frame) for frame in frames]
    made = fn.run_some(wanted, states, HALVES, fn.context(states, HALVES), tile)
    assert torch.equal(made, expected)


def test_equal_calls_give_equal_bits(fn: OpenVinoClip, tmp_path: Path) -> None:
    frames = clip(3, (14, 18))[0]
    first = ran(fn, frames, HALVES)
    ran(fn, clip(3, (20, 20), seed=3)[0], HALVES)
    assert torch.equal(ran(fn, frames, HALVES), first)
    again = OpenVinoClip(fn.net, "float32", "small", threads=1, cache=tmp_path)  # from the compiled files
    assert torch.equal(ran(again, frames, HALVES), first)


def test_what_came_out_does_not_change_with_the_next_clip(fn: OpenVinoClip) -> None:
    first = ran(fn, clip(3, (14, 18))[0], HALVES)
    kept = first.clone()
    ran(fn, clip(3, (14, 18), seed=5)[0], HALVES)
    assert torch.equal(first, kept)


def test_bfloat16_is_as_near_as_pytorchs(tmp_path: Path) -> None:
    if not runtime.has_bfloat16("cpu"):
        pytest.skip("needs a CPU with bfloat16")
    net = build(COMPACT, awake=False)
    frames = clip(3, (24, 32))[0]
    exact = ran(NetworkClip(net, CPU, torch.float32), frames, HALVES)
    theirs = (ran(NetworkClip(net, CPU, torch.bfloat16), frames, HALVES) - exact).abs().mean()
    ours = (ran(OpenVinoClip(net, "bfloat16", threads=1, cache=tmp_path), frames, HALVES) - exact).abs().mean()
    assert 0 < ours < 1.5 * theirs


@cache
def shipped(name: str, precision: str) -> ClipFunction:
    return clip_function(name, device="cpu", engine="openvino", precision=precision)


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", pytest.param("int8", marks=WITH_INT8)])
@pytest.mark.parametrize("name", ["stinet-s", "stinet-xs"])
def test_plain_pictures_give_numbers(name: str, precision: str, kind: str) -> None:
    if precision == "int8" and not ranges_file(FOLDER / f"{name}.safetensors").exists():
        pytest.skip(f"no ranges for these weights: python benchmarks/calibrate.py {name} --clips CORPUS")
    noise = torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    frames = {"black": torch.zeros_like(noise), "white": torch.ones_like(noise), "noise": noise}[kind]
    made = ran(shipped(name, precision), frames, HALVES)
    assert made.isfinite().all()
    assert 0 <= made.min() <= made.max() <= 1


@WITH_INT8
def test_int8_is_near_to_float32(quick: OpenVinoClip) -> None:
    frames = clip(3, (24, 32))[0]
    exact = ran(in_torch(quick), frames, HALVES)
    apart = (ran(quick, frames, HALVES) - exact).square().mean()
    bicubic = ran(clip_function("blend+bicubic"), frames, HALVES)
    assert 0 < apart < 2e-3 * (exact - bicubic).square().mean()


@WITH_INT8
def test_named_convolutions_are_computed_in_8_bits_and_no_others(quick: OpenVinoClip) -> None:
    ran(quick, clip(3, (12, 16))[0], HALVES)
    some = OpenVinoClip(
        quick.net, "int8", threads=1, cache=quick._cache, ranges={name: quick._ranges[name] for name in CHOSEN}
    )
    ran(some, clip(3, (12, 16))[0], HALVES)
    assert convolutions_in_8_bits(some) == len(CHOSEN)
    assert convolutions_in_8_bits(quick) > 30


@WITH_INT8
def test_other_ranges_are_another_identity(quick: OpenVinoClip) -> None:
    others = {name: given._replace(high=2 * given.high) for name, given in quick._ranges.items()}
    assert OpenVinoClip(quick.net, "int8", "small", ranges=others).identity != quick.identity
    assert "ranges" in quick.identity
    assert quick.at(precision="float32", device="cpu").identity == OpenVinoClip(quick.net, name="small").identity
    assert quick.at(precision="float32", device="cpu").at(precision="int8", device="cpu").identity == quick.identity


def test_int8_without_ranges_is_refused_with_what_to_do(fn: OpenVinoClip) -> None:
    says = "small has no ranges for int8, or they are of other weights: make them with benchmarks/calibrate.py"
    with pytest.raises(ModelError, match=says):
        fn.at(precision="int8", device="cpu")


def test_a_cpu_without_vnni_is_refused(fn: OpenVinoClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: {"avx512_f"})
    with pytest.raises(DeviceError, match="no VNNI"):
        OpenVinoClip(fn.net, "int8", ranges={"features_net.lift": Range(-1.0, 1.0, (1.0,) * 8)})


def test_numbers_that_are_none_are_not_clamped_to_white(fn: OpenVinoClip) -> None:
    frames = clip(3, (12, 16))[0]
    frames[1, :, 4, 4] = torch.nan
    assert ran(fn, frames, HALVES).isnan().any()


def test_it_can_be_had_in_another_precision_and_is_not_pytorchs_function(fn: OpenVinoClip) -> None:
    assert isinstance(fn, Movable)
    half = fn.at(precision="bfloat16", device="cpu")
    assert (half.precision, fn.precision, half.device) == ("bfloat16", "float32", CPU)
    assert half.identity == fn.identity
    assert fn.identity != in_torch(fn).identity
    assert fn.identity == f"{in_torch(fn).identity} openvino {openvino.__version__.split('-')[0]}"
    with pytest.raises(
        DeviceError, match="precision 'float16' is unknown to openvino: choose from float32, bfloat16, int8"
    ):
        fn.at(precision="float16", device="cpu")
    with pytest.raises(DeviceError, match="computes on the CPU"):
        fn.at(precision="float32", device="cuda")


def test_a_network_of_another_kind_is_refused_with_what_it_is() -> None:
    with pytest.raises(ModelError, match="does not run networks with high native, features dbpn"):
        OpenVinoClip(build(PAPER))


def test_compiled_graphs_are_kept_in_the_users_cache_folder(
    fn: OpenVinoClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "user")
    ran(OpenVinoClip(fn.net, threads=1), clip(1, (8, 8))[0], [])
    assert len(list((tmp_path / "user" / "openvino").glob("*.blob"))) == 3  # features, local, heads


def test_old_compiled_graphs_are_cleared(tmp_path: Path, fn: OpenVinoClip) -> None:
    for number in range(80):
        (tmp_path / f"{number}.blob").write_bytes(b"old")
    ran(fn, clip(1, (8, 8))[0], [])
    assert len(list(tmp_path.glob("*.blob"))) <= 64 + 3


def test_it_runs_where_no_cache_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    assert_equal(OpenVinoClip(build(COMPACT), threads=1, cache=blocked / "inside"), clip(2, (8, 8))[0], [[0.5]])


def test_the_catalogue_gives_the_engine_that_is_asked_for() -> None:
    assert isinstance(clip_function("stinet-xs", device="cpu", engine="openvino"), OpenVinoClip)
    assert isinstance(clip_function("stinet-xs", device="cpu", engine="torch"), NetworkClip)
    assert isinstance(clip_function("stinet-xs", device="cpu"), NetworkClip)
    assert isinstance(clip_function("stinet-xs", device="cpu", engine="auto"), OpenVinoClip)


def test_a_stopped_film_goes_on_to_the_same_bytes_and_not_with_another_engine(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(24, width=48, height=32))
    config = UpscaleConfig(segment=8, encode=EncodeConfig(preset="ultrafast"))
    settings: dict[str, Any] = {"model": "stinet-xs", "engine": "openvino", "config": config}
    whole = upscale_video(source, tmp_path / "whole.mp4", **settings).output.read_bytes()
    with pytest.raises(Interrupted):
        upscale_video(source, tmp_path / "b.mp4", stop=lambda: True, **settings)
    with pytest.raises(UsageError, match=r"model\.identity"):
        upscale_video(source, tmp_path / "b.mp4", **{**settings, "engine": "torch"})
    summary = upscale_video(source, tmp_path / "b.mp4", **settings)
    assert summary.resumed_segments == 1
    assert "openvino" in summary.model
    assert summary.output.read_bytes() == whole


@WITH_INT8
def test_a_film_is_never_made_by_two_engines_when_openvino_comes_or_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = film(tmp_path / "a.mp4", pictures(24, width=48, height=32))
    config = UpscaleConfig(segment=8, encode=EncodeConfig(preset="ultrafast"))
    settings: dict[str, Any] = {"model": "stinet-xs", "device": "cpu", "config": config}
    half = "bfloat16" if runtime.has_bfloat16("cpu") else "float32"

    def without_openvino() -> None:
        for name in ("openvino", "stinet.engines.graph", "stinet.engines.openvino"):
            monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(Interrupted):
        upscale_video(source, tmp_path / "gone.mp4", stop=lambda: True, **settings)
    without_openvino()
    with pytest.raises(UsageError, match="give --engine openvino --precision int8 to go on"):
        upscale_video(source, tmp_path / "gone.mp4", **settings)
    with pytest.raises(Interrupted):
        upscale_video(source, tmp_path / "come.mp4", stop=lambda: True, **settings)
    monkeypatch.undo()
    with pytest.raises(UsageError, match=f"give --engine torch --precision {half} to go on"):
        upscale_video(source, tmp_path / "come.mp4", **settings)
    made = upscale_video(source, tmp_path / "come.mp4", engine="torch", precision=half, **settings)
    assert made.resumed_segments == upscale_video(source, tmp_path / "gone.mp4", **settings).resumed_segments == 1
    assert made.model.endswith(f", torch {half}")


@WITH_INT8
def test_frames_that_are_no_numbers_are_made_again_in_float32(
    quick: OpenVinoClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = OpenVinoClip._infer

    def overflows(self: OpenVinoClip, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        infer(self, kind, given, out)
        if self.precision == "int8" and kind.startswith("heads"):
            out[0][0].fill_(torch.inf)

    monkeypatch.setattr(OpenVinoClip, "_infer", overflows)
    notes = Notes()
    runner = Runner(quick, TileConfig(), notes, budget_bytes=1 << 30)
    film = [Picture((frame.permute(1, 2, 0) * 255).byte().numpy()) for frame in clip(3, (24, 24))[0]]
    made = runner.run(film, HALVES, {place: Fraction(place) for place in range(5)})
    assert made.isfinite().all()
    assert [line.endswith("frames redone in float32") for line in notes.lines] == [True]


def test_the_ladder_makes_tiles_smaller_and_then_halves_the_precision(
    fn: OpenVinoClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = OpenVinoClip._infer

    def small_memory(self: OpenVinoClip, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        if kind != "features" and self.precision == "float32":
            raise MemoryError
        infer(self, kind, given, out)

    monkeypatch.setattr(OpenVinoClip, "_infer", small_memory)
    notes = Notes()
    runner = Runner(fn, TileConfig(size_px=128), notes, budget_bytes=1 << 30)
    film = [Picture((frame.permute(1, 2, 0) * 255).byte().numpy()) for frame in clip(3, (80, 130))[0]]
    made = runner.run(film, HALVES, {place: Fraction(place) for place in range(5)})
    assert made.shape == (5, 3, 320, 520)
    assert (runner.tile_px, runner.fn.precision) == (64, "bfloat16")  # pyright: ignore[reportAttributeAccessIssue]
    assert [line.partition(": ")[2] for line in notes.warnings] == [
        "tiles made smaller, 64 px", "half precision (bfloat16) from here on",
    ]  # fmt: skip


@WITH_INT8
def test_a_film_is_made_in_int8_when_the_user_says_so(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", pictures(3, width=48, height=32))
    config = UpscaleConfig(encode=EncodeConfig(preset="ultrafast"))
    settings: dict[str, Any] = {"model": "stinet-xs", "engine": "openvino", "config": config}
    made = [upscale_video(source, tmp_path / f"{p}.mp4", precision=p, **settings) for p in ("int8", "float32")]
    assert "ranges" in made[0].model
    assert made[0].output.read_bytes() != made[1].output.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_is_heard_when_a_compiled_model_has_gone() -> None:
    code = """
import faulthandler, gc, os, signal, sys
faulthandler.enable()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background leaves it ignored
from stinet.engines.convolutions import convolution_stack
stack = convolution_stack(16, 2, 32, "float32", 1)
stack()
del stack
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit("not heard")
except KeyboardInterrupt:
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
