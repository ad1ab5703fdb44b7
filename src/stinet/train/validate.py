"""Measure a network on the beginnings of the validation runs: figures at every validation, a table at the end.

Given and interpolated frames apart; PSNR (dB) and SSIM on Y, whole frames, as `evaluate` counts them. The estimate
without a network that they are compared with: given frames enlarged by bicubic, the ones in between blended first.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stinet.data.training import Batch, Runs
from stinet.metrics import PSNR_CAP_DB, luma, psnr, ssim
from stinet.model.interpolate import Flows
from stinet.ops.resample import upsample
from stinet.report.pictures import SheetRow
from stinet.train.machine import Machine

__all__ = ["Clip", "blended", "mean_figures", "pictures", "restored", "table", "validate"]

MOST_ROWS = 30
"""Clips that the table lists; more are only in its means."""


class Clip(NamedTuple):
    """Figures of every frame of one clip; even frames are given."""

    psnr_db: list[float]
    ssim: list[float]
    """Empty where it was not asked for."""
    base_psnr_db: list[float]
    base_ssim: list[float]


def validate(net: nn.Module, runs: Runs, machine: Machine, *, thorough: bool = False) -> list[Clip]:
    """Figures of the first frames of every run; `thorough`: SSIM, and the estimate without a network, too."""
    net.eval()
    clips = []
    for number in range(len(runs)):
        batch = runs.clip(number).to(machine.device)
        made, truth = restored(net, batch, machine), batch.high[0].float() / 255
        base = blended(batch)
        clips.append(
            Clip(
                _psnr(made, truth),
                _ssim(made, truth) if thorough else [],
                _psnr(base, truth) if thorough else [],
                _ssim(base, truth) if thorough else [],
            )
        )
    return clips


@torch.no_grad()
def restored(net: nn.Module, batch: Batch, machine: Machine) -> Float[Tensor, "u 3 sh sw"]:
    """What the network makes of one clip."""
    with machine.autocast():
        flows = Flows(batch.forward.float(), batch.backward.float())
        return net(batch.low[:, ::2].float() / 255, (0.5,), flows).final[0]


def blended(batch: Batch) -> Float[Tensor, "u 3 sh sw"]:
    """The estimate without a network."""
    low = batch.low[0].float() / 255
    low[1::2] = (low[:-1:2] + low[2::2]) / 2
    return upsample(low, batch.high.shape[-1] // batch.low.shape[-1])


def mean_figures(clips: Sequence[Clip]) -> dict[str, float]:
    """Mean PSNR of all, of given and of interpolated frames, in dB."""
    return {
        "psnr_db": _mean(value for clip in clips for value in clip.psnr_db),
        "given_db": _mean(value for clip in clips for value in clip.psnr_db[::2]),
        "interpolated_db": _mean(value for clip in clips for value in clip.psnr_db[1::2]),
    }


def pictures(net: nn.Module, runs: Runs, machine: Machine, count: int = 3) -> list[SheetRow]:
    """A given and an interpolated frame from the middle of a few runs."""
    net.eval()
    shown: list[SheetRow] = []
    kinds: tuple[tuple[int, Literal["given", "interpolated"]], ...] = ((2, "given"), (3, "interpolated"))
    for number in sorted({round(place) for place in np.linspace(0, len(runs) - 1, count)}):
        batch = runs.clip(number).to(machine.device)
        parts = (blended(batch), restored(net, batch, machine), batch.high[0].float() / 255)
        for frame, kind in kinds:
            bicubic, made, truth = (_bytes(part[frame]) for part in parts)
            shown.append(SheetRow(name=f"run {number + 1}", kind=kind, bicubic=bicubic, made=made, truth=truth))
    return shown


def table(clips: Sequence[Clip]) -> str:
    """Clip by clip: the network's figures and those of the estimate without one."""
    head = f"{'':10}" + "".join(f"{label:>17}" for label in ("given", "interpolated", "blend+bicubic", "gain, dB"))
    listed = [(f"run {number}", clip) for number, clip in enumerate(clips, 1)]
    lines = [_row(name, [clip]) for name, clip in listed] if len(clips) <= MOST_ROWS else []
    return "\n".join([head, *lines, "-" * len(head), _row(f"mean of {len(clips)}", clips)])


def _row(name: str, clips: Sequence[Clip]) -> str:
    def pair(first: str, second: str, frames: slice) -> str:
        level = _mean(value for clip in clips for value in getattr(clip, first)[frames])
        likeness = _mean(value for clip in clips for value in getattr(clip, second)[frames])
        return f"{level:.2f} / {likeness:.4f}"

    every = slice(None)
    gain = _mean(v for clip in clips for v in clip.psnr_db) - _mean(v for clip in clips for v in clip.base_psnr_db)
    cells = [
        pair("psnr_db", "ssim", slice(0, None, 2)),
        pair("psnr_db", "ssim", slice(1, None, 2)),
        pair("base_psnr_db", "base_ssim", every),
        f"{gain:+.2f}",
    ]
    return f"{name:10}" + "".join(f"{cell:>17}" for cell in cells)


def _psnr(made: Float[Tensor, "u 3 sh sw"], truth: Float[Tensor, "u 3 sh sw"]) -> list[float]:
    return [min(float(psnr(luma(a), luma(b))), PSNR_CAP_DB) for a, b in zip(made, truth, strict=True)]


def _ssim(made: Float[Tensor, "u 3 sh sw"], truth: Float[Tensor, "u 3 sh sw"]) -> list[float]:
    return [float(ssim(luma(a), luma(b))) for a, b in zip(made, truth, strict=True)]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _bytes(frame: Float[Tensor, "3 sh sw"]) -> UInt8[np.ndarray, "sh sw 3"]:
    return (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
