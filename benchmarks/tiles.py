"""What tiles and windows cost: PSNR on Y against the truth, with them and without, and at their borders alone.

    python benchmarks/tiles.py CLIPS [--model stinet-s] [--engine torch] [--sizes 64,96,128] [--halo 16] [--core 8]
                                     [--frames 25]

CLIPS is a folder of folders of sharp frames (Vid4). The first frames of each are made small and restored from every
other one.

Tiles: the first 15 frames in one window, whole and by tiles. "border" is the mean squared error within 8 output pixels
of the middle of an overlap, as PSNR, less that of the same pixels in the whole frame: a visible seam would cost there.

Windows: all frames in windows of `core` source frames, and again with windows that begin half a core later. The
frames next to the first border are inside a window the second time; the difference of their PSNR is what a border
costs.

    python benchmarks/tiles.py --memory 160x120 [--core 8] [--tile 0] [--precision float32]

Memory: what the process grows by at its peak, over one window of noise of that size.
"""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stinet import runtime
from stinet.catalogue import clip_function
from stinet.config import ClipFunction, Tile, TileConfig
from stinet.data.benchmarks import find_clips
from stinet.infer.clips import upscale_frames, windows
from stinet.infer.ladder import Runner
from stinet.infer.tiles import by_tiles, plan_tiles
from stinet.infer.times import OutputRule
from stinet.metrics import luma
from stinet.model.clip import NetworkClip
from stinet.ops.resample import downsample, quantize
from stinet.video.frame import Frame, Notes

NEAR_PX = 8
TILED_FRAMES = 15
PERIOD = Fraction(1, 25)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("--model", default="stinet-s")
    parser.add_argument("--engine", choices=["torch", "openvino"], default="torch")
    parser.add_argument("--sizes", default="64,96,128")
    parser.add_argument("--halo", type=int, default=TileConfig().halo_px)
    parser.add_argument("--core", type=int, default=8)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--memory")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    fn = clip_function(options.model, engine=options.engine, precision=options.precision or "float32")
    if options.memory:
        assert isinstance(fn, NetworkClip), "memory is measured by PyTorch"
        width, height = map(int, options.memory.split("x"))
        _memory(fn, (height, width), options.core, options.tile)
        return
    sizes = [int(part) for part in options.sizes.split(",")]
    tiles: dict[int, list[tuple[float, float, float]]] = {side: [] for side in sizes}
    borders: list[tuple[float, float]] = []
    print("| clip | tile px | whole dB | tiled dB | difference | at borders |\n|---|---|---|---|---|---|")
    for clip in find_clips(options.clips):
        sharp, low = _pair(list(islice(clip.read(), options.frames)), fn.scale)
        for side, figures in zip(sizes, _tiled(fn, low, sharp, sizes, options.halo), strict=True):
            tiles[side].append(figures)
            whole, tiled, border = figures
            print(
                f"| {clip.name} | {side} | {whole:.3f} | {tiled:.3f} | {tiled - whole:+.4f} | {border:+.4f} |",
                flush=True,
            )
        borders.append(_windows(fn, low, sharp, options.core))
    for side, rows in tiles.items():
        whole, tiled, border = np.mean(rows, axis=0)
        print(f"| mean | {side} | {whole:.3f} | {tiled:.3f} | {tiled - whole:+.4f} | {border:+.4f} |")
    print("\n| clip | at a border dB | inside a window dB | difference |\n|---|---|---|---|")
    names = [clip.name for clip in find_clips(options.clips)]
    for name, (at, inside) in zip([*names, "mean"], [*borders, np.mean(borders, axis=0)], strict=True):
        print(f"| {name} | {at:.3f} | {inside:.3f} | {at - inside:+.4f} |")


def _memory(fn: NetworkClip, size: tuple[int, int], core: int, tile_px: int) -> None:
    """One line: peak growth of this process, and what is reckoned with."""
    state = {"core": core, "tile_px": tile_px or max(size), "precision": fn.precision, "device": str(fn.device)}
    runner = Runner(fn, TileConfig(), Notes(), budget_bytes=0, state=state)
    noise = np.random.default_rng(0)
    clip = [
        Frame(rgb=noise.integers(0, 256, (*size, 3), np.uint8), time=k * PERIOD) for k in range(core + 2 * fn.reach)
    ]
    before = runtime.peak_memory_bytes()
    drawn = windows(runner, clip, OutputRule(multiple=2), period=PERIOD, tick=PERIOD, core=core)
    for _ in next(drawn).frames():
        pass
    grown = runtime.peak_memory_bytes() - before
    reckoned = runner.clip_bytes(size)
    print(
        f"| {size[1]}x{size[0]} | {core + fn.reach} | {runner.tile_px} | {fn.precision} | {grown / 2**20:,.0f} MiB | "
        f"{reckoned / 2**20:,.0f} MiB |"
    )


def _pair(frames: Sequence[np.ndarray], scale: int) -> tuple[Tensor, Tensor]:
    """Sharp frames and every other one made small, in [0, 1]."""
    sharp = torch.from_numpy(np.stack(frames)).movedim(-1, 1).double() / 255
    low = quantize(downsample(sharp, scale)).float()
    return sharp[..., : low.shape[-2] * scale, : low.shape[-1] * scale], low[::2]


def _tiled(
    fn: ClipFunction, low: Tensor, sharp: Tensor, sizes: Sequence[int], halo_px: int
) -> list[tuple[float, float, float]]:
    """For every tile size: PSNR whole, PSNR tiled, and how much better the pixels at borders are than whole, in dB."""
    low, sharp = low[: (TILED_FRAMES + 1) // 2], sharp[:TILED_FRAMES]
    times = ((0.5,),) * (len(low) - 1)
    size = (low.shape[-2], low.shape[-1])
    with torch.no_grad():
        states = [fn.prepare(frame) for frame in low]
        nodes = fn.context(states, times)

        def errors(side: int) -> Tensor:
            def run(tile: Tile | None) -> Tensor:
                return fn.run(states, times, nodes, tile)

            made = by_tiles(run, size, scale=fn.scale, side_px=side, halo_px=halo_px, count=len(sharp))
            return (luma(made) - luma(sharp)).square()

        whole = errors(max(size))
        rows = []
        for side in sizes:
            tiled = errors(side)
            near = _near_borders(size, side, halo_px, fn.scale)
            rows.append((_db(whole), _db(tiled), _db(tiled, near) - _db(whole, near)))
    return rows


def _near_borders(size: tuple[int, int], side: int, halo_px: int, scale: int) -> Tensor:
    """Output pixels near the middle of where two tiles overlap."""
    near = torch.zeros(size[0] * scale, size[1] * scale, dtype=torch.bool)
    for tile in plan_tiles(size, side, halo_px):
        for edge, length, axis in ((tile.top, size[0], 0), (tile.left, size[1], 1)):
            if edge == 0:
                continue
            middle = (edge + halo_px) * scale  # neighbours overlap by two halos, or a little more
            band = slice(max(middle - NEAR_PX, 0), min(middle + NEAR_PX, length * scale))
            near[(band, slice(None)) if axis == 0 else (slice(None), band)] = True
    return near


def _windows(fn: ClipFunction, low: Tensor, sharp: Tensor, core: int) -> tuple[float, float]:
    """Mean PSNR of the frames around source frame `core`: where a window ends there, and where none does."""
    around = [2 * core - 2, 2 * core - 1, 2 * core, 2 * core + 1]
    late = core // 2
    at = _upscaled(fn, low, core)
    inside = _upscaled(fn, low[late:], core)
    truth = luma(sharp[around])
    return (
        _mean_db((luma(at[around]) - truth).square()),
        _mean_db((luma(inside[[place - 2 * late for place in around]]) - truth).square()),
    )


def _upscaled(fn: ClipFunction, low: Tensor, core: int) -> Tensor:
    runner = Runner(fn, TileConfig(size_px=4096), Notes(), budget_bytes=1 << 40)
    pixels = low.mul(255).round().byte().movedim(1, -1).contiguous().numpy()
    frames = [Frame(rgb=rgb, time=k * PERIOD) for k, rgb in enumerate(pixels)]
    made = upscale_frames(
        runner, frames, OutputRule(multiple=2), period=PERIOD, tick=PERIOD, window=core + 2 * fn.reach
    )
    return torch.from_numpy(np.stack([frame.rgb for frame in made])).movedim(-1, 1).double() / 255


def _db(errors: Tensor, where: Tensor | None = None) -> float:
    """Mean PSNR of frames, over some of their pixels."""
    return _mean_db(errors if where is None else errors[..., where][..., None])


def _mean_db(errors: Tensor) -> float:
    flat = errors.flatten(1).mean(1)
    return float((10 * torch.log10(_PEAK**2 / flat)).mean())


_PEAK = 255.0
"""`luma` gives studio levels of 8 bit."""


if __name__ == "__main__":
    main()
