"""Threads that each make one frame, side by side.

Convolutions of a frame by two threads must wait for each other two hundred times, and what lies between them is made by
one; two frames by a thread each wait for nobody. On two cores that takes two thirds of the time.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

__all__ = ["Lanes"]

_MOST = 4
"""Each lane takes working memory of its own; more threads than that share a frame."""

Made = TypeVar("Made")


class Lanes:
    """So many threads in lanes of one thread or some."""

    def __init__(self, threads: int) -> None:
        """At most `threads` are used."""
        self.width: int = math.ceil(threads / _MOST)
        """Threads of a lane."""
        self.count: int = threads // self.width
        self._pool: ThreadPoolExecutor | None = None

    def each(self, function: Callable[..., Made], *given: Sequence[Any]) -> list[Made]:
        """What `function` makes of the first of everything given, of the second, and so on.

        When one fails or the user interrupts, those that have begun end first; nothing goes on behind the back of who
        handles it.
        """
        rows = list(zip(*given, strict=True))
        if self.count == 1:
            return [function(*row) for row in rows]
        is_inference = torch.is_inference_mode_enabled()  # of this thread alone

        def run(row: tuple[Any, ...]) -> Made:
            with torch.inference_mode(is_inference), torch.no_grad():
                return function(*row)

        futures = [self._threads().submit(run, row) for row in rows]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
        failed = [future for future in futures if not future.cancelled() and future.exception() is not None]
        return [future.result() for future in failed or futures]

    def _threads(self) -> ThreadPoolExecutor:
        """In each of them torch uses the threads of a lane."""
        if self._pool is None:
            before = torch.get_num_threads()
            started = threading.Barrier(self.count + 1)

            def start() -> None:
                torch.get_num_threads()  # a thread takes the setting of all at its first look, and keeps its own after
                torch.set_num_threads(self.width)
                started.wait()

            self._pool = ThreadPoolExecutor(self.count, "stinet-lane")
            for _ in range(self.count):
                self._pool.submit(start)
            started.wait()
            torch.set_num_threads(before)  # the setting is of every thread that has not used torch yet
            with contextlib.suppress(ImportError):
                import cv2

                cv2.setNumThreads(self.width)  # its own threads would serve all lanes at once, in turn
        return self._pool
