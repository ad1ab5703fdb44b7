"""Reports of `evaluate` as text of fixed-width columns."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table"]

_PARTS = (("all frames", None), ("given", "given"), ("interpolated", "interpolated"))


def table(report: Mapping[str, Any]) -> str:
    """A report of `evaluate` (its JSON object, of one model or of several) as text of fixed-width columns."""
    models = list(report["models"].values()) if "models" in report else [report]
    blocks = [_model_table(model) for model in models]
    if len(models) > 1:
        blocks.append(_comparison(models))
    return "\n\n".join(blocks)


def _model_table(model: Mapping[str, Any]) -> str:
    about, protocol = model["model"], model["protocol"]
    names = [*model["clips"], f"mean of {len(model['clips'])}"]
    label_width = max(len(name) for name in names)
    head = f"{'':{label_width}} {'frames':>7}" + "".join(f"{label:>18}" for label, _ in _PARTS)
    units = f"{'clip':{label_width}} {'':>7}" + f"{'PSNR-Y':>10}{'SSIM':>8}" * len(_PARTS)
    lines = [
        f"{about['name']}: x{about['scale']} in space, x{protocol['step']} in time",
        f"protocol: {protocol['windows']}; {_variant(protocol)}",
        "",
        head,
        units,
    ]
    for name, scores in zip(names, [*model["clips"].values(), model["mean"]], strict=True):
        if scores is model["mean"]:
            lines.append("-" * len(head))
        lines.append(f"{name:{label_width}} {scores['frames']:>7}{_columns(scores)}")
    if model["mean"]["identical_frames"]:
        lines.append(
            f"{model['mean']['identical_frames']} frames are identical to the truth and count as"
            f" {protocol['identical_frames_psnr_db']:.0f} dB"
        )
    if about["frames_per_second"]:
        lines.append(
            f"model time {about['seconds']:.1f} s for {about['output_frames']} frames:"
            f" {about['frames_per_second']:.2f} frames/s"
        )
    return "\n".join(lines)


def _comparison(models: Sequence[Mapping[str, Any]]) -> str:
    label_width = max(len(model["model"]["name"]) for model in models)
    head = f"{'':{label_width}}" + "".join(f"{label:>18}" for label, _ in _PARTS) + f"{'frames/s':>11}"
    units = f"{'mean':{label_width}}" + f"{'PSNR-Y':>10}{'SSIM':>8}" * len(_PARTS)
    rows = [
        f"{model['model']['name']:{label_width}}{_columns(model['mean'])}"
        f"{model['model']['frames_per_second'] or float('nan'):>11.2f}"
        for model in models
    ]
    return "\n".join([head, units, *rows])


def _columns(scores: Mapping[str, Any]) -> str:
    cells: list[str] = []
    for _, key in _PARTS:
        part = scores if key is None else scores[key]
        cells += (
            [f"{'-':>10}{'-':>8}"] if part["psnr_db"] is None else [f"{part['psnr_db']:>10.2f}{part['ssim']:>8.4f}"]
        )
    return "".join(cells)


def _variant(protocol: Mapping[str, Any]) -> str:
    return "every frame counts" if protocol["variant"] == "all" else f"variant {protocol['variant']}, tails dropped"
