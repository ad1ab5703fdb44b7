"""What tiles cost: PSNR of a tiled run against the truth and against the whole frame, and the seam that they leave.

    python benchmarks/tiles.py CLIP [--model stinet-s] [--sizes 64,96,128]

CLIP is a folder of sharp frames; its first 7 are made small and restored from every other one. A seam would show as a
larger step of the difference (tiled minus whole) across tile borders than elsewhere: the last column is the ratio of
the two, 1 is none.
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from stinet.catalogue import clip_function
from stinet.config import TileConfig
from stinet.data.benchmarks import find_clips
from stinet.infer.tiles import Tiler
from stinet.metrics import luma, psnr
from stinet.ops.resample import downsample, quantize
from stinet.video.frame import Notes

TIMES = ((0.5,),) * 3


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="stinet-s")
    parser.add_argument("--sizes", default="64,96,128")
    options = parser.parse_args()
    fn = clip_function(options.model)
    sharp = (
        torch.from_numpy(np.stack(list(islice(find_clips(options.clip)[0].read(), 7)))).movedim(-1, 1).double() / 255
    )
    low = quantize(downsample(sharp, fn.scale)).float()
    sharp = sharp[..., : low.shape[-2] * fn.scale, : low.shape[-1] * fn.scale]
    with torch.no_grad():
        states = [fn.prepare(frame) for frame in low[::2]]
        nodes = fn.context(states, TIMES)

        def tiled(side: int) -> torch.Tensor:
            tiler = Tiler(TileConfig(size_px=side), Notes(), budget_bytes=1 << 40)
            size = (low.shape[-2], low.shape[-1])
            return tiler.run(
                lambda tile: fn.run(states, TIMES, nodes, tile), size, scale=fn.scale, sources=4, keep=range(7)
            )

        whole = tiled(4096)
        print(f"{'tile':>6} {'PSNR-Y':>8} {'from whole':>11} {'largest':>8} {'seam':>6}")
        print(f"{'whole':>6} {float(psnr(luma(whole), luma(sharp)).mean()):8.3f}")
        for side in map(int, options.sizes.split(",")):
            made = tiled(side)
            difference = made - whole
            step = difference.diff(dim=-1).abs().mean(dim=(0, 1, 2))
            border = (side - TileConfig().halo_px) * fn.scale
            near = step[border - 4 * fn.scale : border + 4 * fn.scale].mean() / step.mean()
            apart = float(psnr(luma(made), luma(whole)).mean())
            quality = float(psnr(luma(made), luma(sharp)).mean())
            print(f"{side:6} {quality:8.3f} {apart:8.1f} dB {float(difference.abs().max()):8.3f} {float(near):6.2f}")


if __name__ == "__main__":
    main()
