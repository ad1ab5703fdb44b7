"""What is for a GPU, on a GPU: the network's pictures, a film, too little memory, and training."""

import itertools
import math
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from films import film, pictures  # pyright: ignore[reportMissingImports]
from model.small_networks import clip
from stinet.catalogue import clip_function
from stinet.config import ClipFunction, EncodeConfig, Movable, Tile, UpscaleConfig
from stinet.face import upscale_video
from stinet.train.fit import fit
from train.small_runs import quiet, settings, weights, write_video  # pyright: ignore[reportMissingImports]

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing was run on a GPU")

HALVES = [[0.5]] * 2
LEAST_DB = {"float32": 60, "float16": 45, "bfloat16": 45}
"""How near a picture must be to the CPU's in float32; levels of 8 bits are 59 dB apart."""


@pytest.fixture
def full_memory() -> Iterator[None]:
    """What a test takes of the GPU's memory is given back."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def made(fn: ClipFunction, frames: Tensor, tile: Tile | None = None) -> Tensor:
    states = [fn.prepare(frame) for frame in frames]
    return fn.run(states, HALVES, fn.context(states, HALVES), tile).cpu()


def nearness_db(one: Tensor, other: Tensor) -> float:
    """PSNR of pictures in [0, 1]."""
    error = float((one.double() - other.double()).square().mean())
    return -10 * math.log10(max(error, 1e-12))


def assert_near(one: Tensor, other: Tensor, least_db: float) -> None:
    assert one.shape == other.shape
    assert one.isfinite().all()
    assert nearness_db(one, other) > least_db


def levels(path: Path) -> Tensor:
    """All frames of a film, in [0, 1]."""
    with av.open(str(path)) as file:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]) / 255


@pytest.mark.parametrize(("model", "precision"), [
    *itertools.product(("stinet-s", "stinet-xs"), LEAST_DB),
    ("flow+bicubic", "float32"),
])  # fmt: skip
def test_pictures_are_those_of_the_cpu(model: str, precision: str) -> None:
    frames = clip(3, (48, 64))[0]
    expected = made(clip_function(model, device="cpu", engine="torch", precision="float32"), frames)
    fn = clip_function(model, device=DEVICE, engine="torch", precision=precision)
    assert_near(made(fn, frames), expected, LEAST_DB[precision])


def test_a_tile_is_that_of_the_cpu() -> None:
    frames, tile = clip(3, (48, 64))[0], Tile(top=8, left=0, bottom=40, right=32)
    expected = made(clip_function("stinet-xs", device="cpu", engine="torch", precision="float32"), frames, tile)
    fn = clip_function("stinet-xs", device=DEVICE, engine="torch", precision="float32")
    assert_near(made(fn, frames, tile), expected, LEAST_DB["float32"])


def test_half_precision_is_chosen_by_itself() -> None:
    fn = clip_function("stinet-xs", device=DEVICE)
    assert isinstance(fn, Movable)
    assert (fn.device.type, fn.precision) in {(DEVICE, "bfloat16"), (DEVICE, "float16")}


@pytest.mark.parametrize("fps", ["x2", "60"])
def test_a_film_has_the_frames_that_the_cpu_gives_it(fps: str, tmp_path: Path) -> None:
    source = film(tmp_path / "in.mkv", pictures(7), rate=Fraction(25))
    config = UpscaleConfig(encode=EncodeConfig(codec="ffv1"))
    made_by = {}
    for device in ("cpu", DEVICE):
        target = tmp_path / f"{device}.mkv"
        summary = upscale_video(
            source,
            target,
            fps=fps,
            model="stinet-xs",
            device=device,
            engine="torch",
            precision="float32",
            config=config,
        )
        assert not summary.warnings
        made_by[device] = levels(target)
    assert_near(made_by[DEVICE], made_by["cpu"], 50)


def test_too_little_memory_ends_in_smaller_tiles_and_no_lost_frame(tmp_path: Path, full_memory: None) -> None:
    source = film(tmp_path / "in.mkv", pictures(4, 320, 240))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**28) / total)
    target = tmp_path / "out.mkv"
    upscale_video(source, target, model="stinet-s", device=DEVICE)
    assert len(levels(target)) == 8


def test_a_training_on_the_gpu_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mkv")
    config = settings(video, tmp_path / "run", device="cuda", precision="auto", compile="auto", save_every=2)
    stopped = fit(config, tell=lambda text: signal.raise_signal(signal.SIGTERM) if "step 3" in text else None)
    assert stopped.done == 4
    run = fit(config, tell=quiet)
    assert (run.done, run.updates) == (6, 6)
    assert all(tensor.isfinite().all() for tensor in weights(run).values())
