"""Ctrl-C: the first asks a run to end where it can go on later, the second ends it at once.

Before the first frame there is nothing to finish, and a run that cannot go on later (a stream) has no segments: there
the first one ends it. A request to terminate, as service managers send it, ends a run at once like the second Ctrl-C.
"""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt"]

_SAID = b"\nstinet: finishing the segment; Ctrl-C again stops at once\n"


class Interrupt:
    """Called, it says whether the run is asked to end; a context manager that listens to Ctrl-C.

    Only the main thread may listen; in another one nothing changes.
    """

    def __init__(self) -> None:
        self.can_finish = False
        """Whether a segment is under way."""
        self.is_asked = False
        self._before: Any = None

    def __call__(self) -> bool:
        """Whether the run is asked to end."""
        return self.is_asked

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear), signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before[0])
            signal.signal(signal.SIGTERM, self._before[1])
            self._before = None

    @staticmethod
    def _end(*_: int | FrameType | None) -> None:
        raise KeyboardInterrupt

    def _hear(self, *_: int | FrameType | None) -> None:
        if self.is_asked or not self.can_finish:
            raise KeyboardInterrupt
        self.is_asked = True
        if sys.stderr is not None:
            os.write(2, _SAID)  # not print: the signal may have come in the middle of one
