"""An ablation small enough for a test: a made-up clip, a tiny network, two steps; and results without any training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from stinet.ablate.plan import AblateConfig, Job, Plan, base_of, open_plan, settings_of

__all__ = ["config_of", "plan_of", "report_of", "settle", "write_clip"]

TINY = {"channels": 8, "low_blocks": 1, "high_blocks": 1, "shared_blocks": 1, "fusion_blocks": 1, "graph_channels": 8}
FRAMES = 30


def write_clip(path: Path) -> Path:
    """Sliding smooth noise, 64 x 48."""
    coarse = torch.rand(1, 3, 5, 12, generator=torch.Generator().manual_seed(1))
    wide = torch.nn.functional.interpolate(coarse, (48, 64 + 2 * FRAMES), mode="bicubic").clamp(0, 1)
    picture = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for index in range(FRAMES):
            frame = np.ascontiguousarray(picture[:, 2 * index : 2 * index + 64])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def config_of(clip: Path, out: Path, changes: Mapping[str, Any] | None = None, **own: Any) -> AblateConfig:
    """Two steps of two crops on the CPU, one seed, measured on a window of the clip; `changes` are of the training."""
    base = {
        "data": str(clip), "cache": str(clip.parent / "cache"), "overrides": TINY, "batch": 2, "crop_px": 8,
        "candidates": 1, "precision": "fp32", "threads": 1, **(changes or {}),
    }  # fmt: skip
    settings = {"tables": ("3",), "budget": "2steps", "seeds": 1, "variant": "first", "devices": ("cpu",)}
    return AblateConfig(out=out, base=base_of("compact", base), **{**settings, **own})


def plan_of(config: AblateConfig) -> Plan:
    """The plan of a configuration, without anything said."""
    return open_plan(config, ("nothing",), lambda _: None)


def report_of(psnr_db: float, *, group: str = "vid4") -> dict[str, Any]:
    """A report of `evaluate`, as far as findings read it."""
    scores = {"psnr_db": psnr_db, "ssim": psnr_db / 100, "interpolated": {"motion_px": 1 / psnr_db}}
    return {"mean": scores, **({"groups": {group: scores}} if group else {})}


def settle(plan: Plan, job: Job, psnr_db: float, *, group: str = "vid4", between: int = 1) -> None:
    """Write a job's JSON as if it had been trained and measured."""
    file = plan.result(job)
    file.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "edit": job.edit, "seed": job.seed, "settings": settings_of(plan.training(job)), "seconds": 10.0,
        "parameters": 1000, "validation": {"psnr_db": psnr_db + 5},
        "measured": {str(between): report_of(psnr_db, group=group)},
    }  # fmt: skip
    file.write_text(json.dumps(result), "utf-8")
