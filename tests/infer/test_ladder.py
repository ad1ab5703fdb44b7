"""The ladder: what happens when memory ends or half precision gives no numbers, and that no frame is lost by it."""

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from films import Repeat, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import ClipFunction, Movable, Tile, TileConfig
from stinet.errors import DeviceError, ModelError
from stinet.infer.clips import upscale_frames
from stinet.infer.ladder import LONG_CORE, Picture, Runner
from stinet.infer.times import OutputRule
from stinet.video.frame import Frame, Notes

BIG = 1 << 40
PERIOD = Fraction(1, 25)
Times = Sequence[Sequence[float]]


class Elsewhere(Repeat):
    """A function that says it is on a device and in a precision, and what it can do there."""

    def __init__(self, precision: str = "float32", device: str = "cuda", works: Sequence[str] = ("cpu",)) -> None:
        super().__init__(scale=2)
        self.precision, self.device, self.works = precision, torch.device(device), works
        self.identity, self.bytes_per_pixel = "elsewhere", 1

    def at(self, *, precision: str, device: str) -> "Elsewhere":
        return type(self)(precision, device, self.works)

    def run(self, states: Sequence[Tensor], times: Times, nodes: None, tile: Tile | None = None) -> Tensor:
        if not {self.precision, self.device.type} & set(self.works):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().run(states, times, nodes, tile)


class Overflowing(Elsewhere):
    """Half precision gives no number in one frame."""

    def run(self, states: Sequence[Tensor], times: Times, nodes: None, tile: Tile | None = None) -> Tensor:
        made = super().run(states, times, nodes, tile)
        if self.precision not in self.works:
            made[1, 0, 0, 0] = float("inf")
        return made


def film(count: int = 5, side: int = 100) -> list[Frame]:
    return [Frame(rgb=rgb, time=k * PERIOD) for k, rgb in enumerate(pictures(count, side, side))]


def made_by(runner: Runner, frames: list[Frame]) -> list[Frame]:
    return list(upscale_frames(runner, frames, OutputRule(multiple=2), period=PERIOD))


def assert_same(made: Sequence[Frame], wanted: Sequence[Frame]) -> None:
    """Blending tiles may round a half to the other side."""
    assert [frame.time for frame in made] == [frame.time for frame in wanted]
    assert all(np.abs(a.rgb.astype(int) - b.rgb).max() <= 1 for a, b in zip(made, wanted, strict=True))


@pytest.mark.bad_input(32)
@pytest.mark.parametrize("error", [
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("std::bad_alloc"),
    cv2.error("(-4:Insufficient memory) Failed to allocate 24883200 bytes in function 'OutOfMemoryError'"),
], ids=str)  # fmt: skip
def test_out_of_memory_makes_tiles_smaller_and_no_frame_is_lost(error: Exception) -> None:
    class Hungry(Repeat):
        def run(self, states: Sequence[Tensor], times: Times, nodes: None, tile: Tile | None = None) -> Tensor:
            if len(states) > 3 and (tile is None or tile.height > 60):  # in the middle of the film
                raise error
            return super().run(states, times, nodes, tile)

    notes = Notes()
    runner = Runner(Hungry(scale=2), TileConfig(halo_px=2), notes, budget_bytes=BIG)
    made = list(upscale_frames(runner, film(), OutputRule(multiple=2), period=PERIOD, window=4))
    assert_same(made, made_by(Runner(Repeat(scale=2), TileConfig(), Notes(), budget_bytes=BIG), film()))
    assert runner.tile_px == 50
    assert any("tiles made smaller" in line for line in notes.warnings)


@pytest.mark.bad_input(32)
def test_below_the_smallest_tile_come_half_precision_and_then_the_cpu() -> None:
    wanted = made_by(Runner(Repeat(scale=2), TileConfig(), Notes(), budget_bytes=BIG), film())
    notes = Notes()
    runner = Runner(Elsewhere(works=["bfloat16", "float16"]), TileConfig(), notes, budget_bytes=BIG)
    assert_same(made_by(runner, film()), wanted)
    assert runner.state["precision"] in ("bfloat16", "float16")
    assert runner.state["device"] == "cuda"
    assert any("half precision" in line for line in notes.warnings)
    notes = Notes()
    runner = Runner(Elsewhere(works=["cpu"]), TileConfig(), notes, budget_bytes=BIG)
    assert_same(made_by(runner, film()), wanted)
    assert runner.state["device"] == "cpu"
    assert ["half" in line or "CPU" in line for line in notes.warnings].count(True) == 2


@pytest.mark.bad_input(32)
def test_memory_for_nothing_at_all_is_a_device_error() -> None:
    for fn in (Elsewhere(works=[]), Elsewhere(works=[], device="cpu")):
        with pytest.raises(DeviceError, match="out of memory with a tile"):
            made_by(Runner(fn, TileConfig(), Notes(), budget_bytes=BIG), film())


@pytest.mark.bad_input(32)
def test_a_runner_with_the_state_of_another_begins_on_its_rung() -> None:
    first = Runner(Elsewhere(works=["cpu"]), TileConfig(), Notes(), budget_bytes=BIG)
    wanted = made_by(first, film())
    notes = Notes()
    again = Runner(Elsewhere(works=["cpu"]), TileConfig(), notes, budget_bytes=1, state=first.state)
    assert_same(made_by(again, film()), wanted)
    assert again.state == first.state
    assert notes.lines == ()


@pytest.mark.bad_input(32)
def test_a_real_memory_limit_is_met_by_smaller_tiles() -> None:
    made = subprocess.run([sys.executable, "-c", textwrap.dedent(LIMITED)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    tile_px, frames, warning = made.stdout.strip().splitlines()
    assert 0 < int(tile_px) < 512
    assert frames == "6"
    assert "out of memory: tiles made smaller" in warning


LIMITED = """
    import resource
    from fractions import Fraction
    from pathlib import Path
    import numpy as np
    import torch
    from stinet.config import Tile, TileConfig
    from stinet.infer.clips import upscale_frames
    from stinet.infer.ladder import Runner
    from stinet.infer.times import OutputRule
    from stinet.video.frame import Frame, Notes

    class Wide:
        scale, reach = 1, 1
        def prepare(self, frame):
            return frame
        def context(self, states, times):
            return None
        def run(self, states, times, nodes, tile=None):
            frames = [a for i, s in enumerate(states) for a in (s, *(s for _ in (times[i] if i < len(times) else ())))]
            frames = torch.stack(frames)
            if tile is not None:
                frames = frames[..., tile.top:tile.bottom, tile.left:tile.right]
            return frames.repeat(1, 40, 1, 1)[:, :3].clone()  # 5 x 120 channels

    pixels = np.zeros((512, 512, 3), np.uint8)
    torch.set_num_threads(1)
    film = [Frame(rgb=pixels, time=Fraction(k, 25)) for k in range(3)]
    notes = Notes()
    runner = Runner(Wide(), TileConfig(), notes, budget_bytes=1 << 40)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), resource.RLIM_INFINITY))
    made = list(upscale_frames(runner, film, OutputRule(multiple=2), period=Fraction(1, 25)))
    print(runner.tile_px, len(made), *notes.warnings, sep="\\n")
"""


def test_any_other_error_passes_through() -> None:
    class Broken(Repeat):
        def context(self, states: Sequence[Tensor], times: Times) -> None:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        made_by(Runner(Broken(), TileConfig(), Notes(), budget_bytes=BIG), film(2, 16))


@pytest.mark.bad_input(33)
def test_a_frame_without_numbers_in_half_precision_is_made_again_in_float32() -> None:
    notes = Notes()
    fn = Overflowing("float16", "cpu", ["cpu", "float32"])
    made = made_by(Runner(fn, TileConfig(), notes, budget_bytes=BIG), film(3, 16))
    assert_same(made, made_by(Runner(Repeat(scale=2), TileConfig(), Notes(), budget_bytes=BIG), film(3, 16)))
    assert notes["frames redone in float32"] == 1


@pytest.mark.bad_input(33)
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_no_numbers_in_float32_are_an_error_that_names_the_frame(precision: str) -> None:
    fn = Overflowing(precision, "cpu", ["cpu"])
    with pytest.raises(
        ModelError, match=r"NaN or Inf in the frame at 0\.020 s, in float32 too|at 0\.020 s, in float32"
    ):
        made_by(Runner(fn, TileConfig(), Notes(), budget_bytes=BIG), film(3, 16))


@pytest.mark.bad_input(33)
def test_memory_that_ends_while_a_frame_is_redone_takes_smaller_tiles_for_it_alone() -> None:
    class Both(Overflowing):
        def run(self, states: Sequence[Tensor], times: Times, nodes: None, tile: Tile | None = None) -> Tensor:
            if self.precision == "float32" and (tile is None or tile.height > 70):
                raise MemoryError
            return super().run(states, times, nodes, tile)

    notes = Notes()
    runner = Runner(Both("float16", "cpu", ["cpu", "float32"]), TileConfig(size_px=140), notes, budget_bytes=BIG)
    made = made_by(runner, film(3, 140))
    assert_same(made, made_by(Runner(Repeat(scale=2), TileConfig(), Notes(), budget_bytes=BIG), film(3, 140)))
    assert (runner.tile_px, notes.lines) == (140, ("1 frame redone in float32",))


def test_what_is_chosen_follows_from_the_memory_and_stays() -> None:
    def chosen(budget_bytes: int, **more: int) -> tuple[int, int]:
        runner = Runner(Repeat(scale=4), TileConfig(), Notes(), budget_bytes=budget_bytes)
        core = runner.choose((1080, 1920), **more)
        assert runner.choose((10, 10), per_interval=9) == core
        return core, runner.tile_px

    assert chosen(BIG) == (LONG_CORE, 1920)
    assert chosen(BIG, window=6) == (4, 1920)
    cores, tiles = zip(*(chosen(gigabytes << 30) for gigabytes in (1, 4, 16, 64, 256)), strict=True)
    assert list(cores) == sorted(cores)
    assert list(tiles) == sorted(tiles)
    assert cores[0] == 1
    assert tiles[0] < 400


def test_estimated_memory_stays_within_the_budget() -> None:
    for gigabytes in (2, 4, 8, 32):
        runner = Runner(Repeat(scale=4), TileConfig(), Notes(), budget_bytes=gigabytes << 30)
        assert runner.clip_bytes((1080, 1920)) < gigabytes << 30


def test_a_picture_is_prepared_again_for_another_function() -> None:
    one, other = Repeat(), Repeat()
    picture = Picture(pictures(1)[0])
    for fn in (one, one, other, other):
        Picture.states([picture], fn)
    assert (one.prepared, other.prepared) == (1, 1)
    functions: list[ClipFunction] = [one, Elsewhere()]
    assert [isinstance(fn, Movable) for fn in functions] == [False, True]


@pytest.mark.bad_input(38)
def test_memory_is_given_back_when_holes_add_up_and_the_mark_never_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, given_back = [0], []
    monkeypatch.setattr("stinet.runtime.resident_memory_bytes", lambda: resident[0])
    monkeypatch.setattr("stinet.runtime.release_memory", lambda: given_back.append(resident[0]))
    runner = Runner(Repeat(), TileConfig(), Notes(), budget_bytes=1 << 30)
    for now in (600, 900, 1000, 980, 1020, 1149, 1160, 1010, 1200, 1150, 1300):
        resident[0] = now
        runner.tidy()
    assert given_back == [1160, 1200, 1300]
