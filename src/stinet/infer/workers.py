"""Threads between the stages of one video: decode | compute | encode, with bounded queues.

`in_background` runs a generator ahead of its reader; `Sink` runs a consumer behind its writer. Both carry an
exception across to the other side, hold at most `depth` items, and leave no thread behind, whether the end is an end,
an error or Ctrl-C.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Sink", "in_background"]

Item = TypeVar("Item")

_POLL_S = 0.1
"""How often a blocked side looks whether the other one has gone."""


class _End:
    """The last thing in a queue: nothing more comes, because of `error` if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def in_background(source: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Items of `source`, made in a thread that runs up to `depth` items ahead."""
    items: queue.Queue[Item | _End] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        end = _End()
        iterator = iter(source)
        try:
            for item in iterator:
                if not _put(items, item, stop):
                    break
        except BaseException as error:  # whatever it is, it belongs to the reader
            end = _End(error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            _put(items, end, stop)

    thread = threading.Thread(target=work, name="stinet-source", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()


class Sink(Generic[Item]):
    """Calls `consume` in a thread for every item that is put, in order; a context manager.

    Leaving it waits for the last item.

    An exception of `consume` is raised by the next `put`, or on leaving. Leaving with an error drops what still waits.
    """

    def __init__(self, consume: Callable[[Item], None], depth: int = 4) -> None:
        self._consume = consume
        self._items: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="stinet-sink", daemon=True)

    def __enter__(self) -> "Sink[Item]":
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Hand an item over; waits while the queue is full."""
        if not _put(self._items, item, self._stop):
            self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stop.set()
        _put(self._items, _End(), self._stop)
        self._thread.join()
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                item = self._items.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                self._consume(item)
            except BaseException as error:  # whatever it is, it belongs to the writer
                self._error = error
                self._stop.set()


def _put(items: queue.Queue, item: object, stop: threading.Event) -> bool:
    """Put an item unless the other side has gone."""
    while not stop.is_set():
        try:
            items.put(item, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False
