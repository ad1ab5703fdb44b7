"""One run at a time on one output."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from stinet.errors import OutputError
from stinet.video.disk import disk_errors

__all__ = ["OutputLock"]


class OutputLock:
    """Holds an output for one run while it lives; the operating system lets go of it when the run dies.

    Raises:
        OutputError: another run holds it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.with_name(f".{path.name}.lock")
        self._handle: IO[bytes] | None = None

    @property
    def refusal(self) -> OutputError:
        """What to raise when another run holds it."""
        return OutputError(f"{self.path}: another run is writing it; wait for it or choose another name")

    @property
    def is_taken(self) -> bool:
        """Whether another run holds it now."""
        try:
            handle = self.file.open("rb")
        except OSError:
            return False
        with handle:
            return not _lock(handle)

    def __enter__(self) -> "OutputLock":
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = self.file.open("ab")
            while not self._holds(handle):
                handle.close()
                handle = self.file.open("ab")
        self._handle = handle
        return self

    def _holds(self, handle: IO[bytes]) -> bool:
        """Lock the file; false if the run that held it has just removed it."""
        if not _lock(handle):
            handle.close()
            raise self.refusal
        with suppress(OSError):
            return self.file.stat().st_ino == os.fstat(handle.fileno()).st_ino
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handle is not None
        with suppress(OSError):
            self.file.unlink()
        self._handle.close()


def _lock(handle: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
