"""Threads between stages: order, bounds, exceptions on the other side, and nobody left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from stinet.infer.workers import Sink, in_background


def stinet_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stinet")]


def interrupt(sink: Sink[int]) -> None:
    sink.put(1)
    raise KeyboardInterrupt


def test_items_arrive_in_order() -> None:
    assert list(in_background(range(100), depth=3)) == list(range(100))
    seen: list[int] = []
    with Sink(seen.append, depth=3) as sink:
        for k in range(100):
            sink.put(k)
    assert seen == list(range(100))
    assert stinet_threads() == []


def test_the_source_runs_no_further_ahead_than_the_queue() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for k in range(50):
            made.append(k)
            yield k

    stream = in_background(source(), depth=2)
    next(stream)
    time.sleep(0.2)
    assert len(made) <= 4  # one read, two waiting, one in hand
    stream.close()
    assert stinet_threads() == []


def test_an_error_of_the_source_reaches_the_reader_after_its_items() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = in_background(source())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert stinet_threads() == []


def test_an_error_of_the_sink_reaches_the_writer() -> None:
    def consume(item: int) -> None:
        if item == 3:
            raise ValueError("disk full")

    def fill() -> None:
        with Sink(consume, depth=1) as sink:
            for k in range(1000):
                sink.put(k)

    with pytest.raises(ValueError, match="disk full"):
        fill()
    assert stinet_threads() == []


def test_an_error_on_the_last_item_is_not_lost() -> None:
    def consume(item: int) -> None:
        raise ValueError(item)

    def fill() -> None:
        with Sink(consume) as sink:
            sink.put(1)

    with pytest.raises(ValueError, match="1"):
        fill()


def test_a_reader_that_leaves_stops_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stream = in_background(source())
    next(stream)
    stream.close()
    assert closed.is_set()
    assert stinet_threads() == []


def test_an_interrupted_writer_leaves_no_thread() -> None:
    with pytest.raises(KeyboardInterrupt), Sink(lambda _: time.sleep(0.01), depth=1) as sink:
        interrupt(sink)
    assert stinet_threads() == []
