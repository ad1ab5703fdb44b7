"""Where and by what figures were made: commit, versions, device, threads, seed and date, as plain values.

The commit is that of the source tree that the package runs from; an installed package has its version alone.
"""

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["provenance"]


def provenance(device: torch.device, seed: int) -> dict[str, Any]:
    """Everything that a figure may depend on and that is not in its protocol."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _commit(),
        "versions": {
            "stinet": metadata.version("stinet"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "opencv": _opencv(),
        },
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _commit() -> str | None:
    """The commit of the source tree, "+" after it where files differ from it; None without a tree or without git."""
    root = Path(__file__).parents[3]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists() or Path(__file__).parents[2].name != "src":
        return None

    def ask(*words: str) -> str:
        return subprocess.run(  # noqa: S603 (fixed words)
            [git, "-C", str(root), *words], check=True, capture_output=True, text=True, timeout=20
        ).stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + ("+" if ask("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _opencv() -> str | None:
    """The version of OpenCV, which computes flows where it is installed; None: they were computed by torch."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2.__version__


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or device.type
