"""Files that other programs and power failures may get in the way of: errors of the disk as ours, names that last."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stinet.errors import OutputError, StinetError

__all__ = ["disk_errors", "move", "sync_folder"]


@contextmanager
def disk_errors(path: Path, *more: type[Exception]) -> Iterator[None]:
    """What the disk refuses while `path` is made, as an OutputError; and `more`, what a library makes of that."""
    try:
        yield
    except StinetError:
        raise
    except (OSError, *more) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({reason})") from error


def sync_folder(folder: Path) -> None:
    """Let a new name in a folder survive a power failure, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move(made: Path, target: Path) -> None:
    """Give a whole file or folder its final name, on the same disk.

    Raises:
        OutputError: the disk refuses it.

    """
    with disk_errors(target):
        made.replace(target)
    sync_folder(target.parent)
