"""Threads that each make one frame, side by side.

Convolutions of a frame by two threads must wait for each other two hundred times, and what lies between them is made by
one; two frames by a thread each wait for nobody. What it saves is in docs/performance.md.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from stinet.ops.opencv import share_opencv

__all__ = ["Lanes", "Work"]

_MOST = 4
"""Each lane takes working memory of its own; more threads than that share a frame."""

Made = TypeVar("Made")


class Lanes:
    """So many threads in lanes of one thread or some."""

    def __init__(self, threads: int, *, spare: int = 0) -> None:
        """At most `threads` are used at once for what takes long.

        `spare` are lanes beyond those, for an engine that has its own threads and bounds them itself: a lane that waits
        for it leaves a core free for what lies between two graphs of another frame. One lane alone has none.
        """
        self.width: int = math.ceil(threads / _MOST)
        """Threads of a lane."""
        self.count: int = threads // self.width
        """Frames that an engine makes at once."""
        self._places = self.count + spare if self.count > 1 else 1
        self._pool: ThreadPoolExecutor | None = None

    def each(self, function: Callable[..., Made], *given: Sequence[Any]) -> list[Made]:
        """What `function` makes of the first of everything given, of the second, and so on."""
        with self.work() as work:
            begun = [work.begin(function, *row) for row in zip(*given, strict=True)]
        return [one.result() for one in begun]

    def aside(self, function: Callable[..., object], *given: Any) -> None:
        """Let a lane do it in its turn, if there are lanes; nobody waits for it or hears how it ends."""
        if self._places > 1:
            self._threads().submit(function, *given)

    @contextmanager
    def work(self) -> "Iterator[Work]":
        """Tasks that are begun inside are done, all of them, when it ends.

        When one fails or the user interrupts, those that have begun end first and others never begin: nothing goes on
        behind the back of who handles it.
        """
        share_opencv(self.width)  # its own threads would serve all lanes at once, in turn
        work = Work(self._threads() if self._places > 1 else None)
        try:
            yield work
            work.settle(is_wanted=True)
        finally:
            work.settle(is_wanted=False)

    def _threads(self) -> ThreadPoolExecutor:
        """In each of them torch uses the threads of a lane."""
        if self._pool is None:
            before = torch.get_num_threads()
            started = threading.Barrier(self._places + 1)

            def start() -> None:
                torch.get_num_threads()  # a thread takes the setting of all at its first look, and keeps its own after
                torch.set_num_threads(self.width)
                started.wait()

            self._pool = ThreadPoolExecutor(self._places, "lane")  # idle ones stay with the function
            for _ in range(self._places):
                self._pool.submit(start)
            started.wait()
            torch.set_num_threads(before)  # the setting is of every thread that has not used torch yet
        return self._pool


class Work:
    """Tasks in the order in which they were begun; one may wait for the result of an earlier one."""

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool = pool
        self._begun: list[Future[Any]] = []
        self._is_inference = torch.is_inference_mode_enabled()  # of this thread alone

    def begin(self, function: Callable[..., Made], *given: Any) -> "Future[Made]":
        """Let a lane do it; without lanes it is done at once."""
        if self._pool is None:
            future: Future[Made] = Future()
            future.set_result(function(*given))
            return future

        def run() -> Made:
            with torch.inference_mode(self._is_inference), torch.no_grad():
                return function(*given)

        future = self._pool.submit(run)
        self._begun.append(future)
        return future

    def settle(self, *, is_wanted: bool) -> None:
        """Wait for what has begun; where nobody wants it any more, begin nothing else."""
        if is_wanted:
            wait(self._begun, return_when=FIRST_EXCEPTION)
        for future in self._begun:
            future.cancel()
        wait(self._begun)
        if is_wanted:
            for future in self._begun:
                if not future.cancelled():
                    future.result()
