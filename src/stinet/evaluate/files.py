"""Figures as files: every frame as CSV, every mean as JSON.

A line of the CSV is a frame that counted, with the model, the clip, its group, whether the frame was given, and the
protocol; a figure that was not asked for has no column, one that does not exist (the motion of a first frame) is empty.
"""

import csv
import json
from pathlib import Path

from stinet.evaluate.scores import Report

__all__ = ["write_csv", "write_json"]


def write_json(report: Report, path: Path) -> None:
    """Means, protocol, models, and how it was measured."""
    path.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")


def write_csv(report: Report, path: Path) -> None:
    """A line for every frame of every clip and model."""
    extras = next(iter(report.models.values())).extras
    keys = ("psnr_db", "ssim", *extras)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "clip", "group", "frame", "kind", *keys, "protocol"])
        for model in report.models.values():
            for clip, frames in model.clips.items():
                for frame in frames:
                    writer.writerow([
                        model.name,
                        clip,
                        model.groups.get(clip, ""),
                        frame.index,
                        "given" if frame.is_given else "interpolated",
                        *(frame.figures.get(key, "") for key in keys),
                        model.protocol.of_group(model.groups.get(clip, "")).name,
                    ])  # fmt: skip
