"""Where and by what figures were made: commit, versions, weights, device, threads, seed and date, as plain values.

The commit is that of the source tree that the package runs from; an installed package has its version alone, a tree
that was never installed has none. Files of weights, which may have any name, are known by their SHA-256.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from stinet.ops.opencv import opencv_version

__all__ = ["provenance", "sha256"]


def provenance(device: torch.device, seed: int, files: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Everything that a figure may depend on and that is not in its protocol; `files` are digests by name."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _commit(),
        "versions": {
            "stinet": _version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "opencv": opencv_version(),  # it computes flows where it is installed, else torch does
        },
        **({"sha256": dict(files)} if files else {}),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def sha256(file: Path) -> str:
    """The digest of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _version() -> str | None:
    """The installed version; None where the package runs from a tree that was not installed."""
    try:
        return metadata.version("stinet")
    except metadata.PackageNotFoundError:
        return None


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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or device.type
