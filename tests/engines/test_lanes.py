"""Frames side by side: in order, in the caller's mode, and nothing goes on once one has failed."""

import threading
import time

import cv2
import pytest
import torch

from stinet.engines.lanes import Lanes


def test_spare_lanes_are_there_beside_lanes_and_not_beside_one() -> None:
    three = threading.Barrier(3, timeout=20)
    assert Lanes(2).count == Lanes(2, spare=1).count == 2
    assert len(Lanes(2, spare=1).each(lambda _: three.wait(), range(3))) == 3
    here = threading.get_ident()
    assert Lanes(1, spare=1).each(lambda _: threading.get_ident(), range(3)) == [here] * 3


@pytest.mark.parametrize(("threads", "count", "width"), [(1, 1, 1), (2, 2, 1), (4, 4, 1), (6, 3, 2), (16, 4, 4)])
def test_threads_are_shared_out_to_at_most_four_lanes(threads: int, count: int, width: int) -> None:
    lanes = Lanes(threads)
    assert (lanes.count, lanes.width) == (count, width)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_what_was_given(threads: int) -> None:
    def slow(first: int, second: int) -> int:
        time.sleep(0.01 * (5 - first))
        return 10 * first + second

    assert Lanes(threads).each(slow, range(5), [4, 3, 2, 1, 0]) == [4, 13, 22, 31, 40]


def test_frames_are_made_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)
    assert len(Lanes(2).each(lambda _: both.wait(), range(2))) == 2


def test_every_lane_has_its_threads_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert Lanes(2).each(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_opencv_takes_no_more_threads_than_a_lane_has(threads: int) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        lanes = Lanes(threads)
        assert lanes.each(lambda _: cv2.getNumThreads(), range(4)) == [lanes.width] * 4
    finally:
        cv2.setNumThreads(before)


def test_lanes_are_in_the_callers_mode_and_want_no_gradients() -> None:
    lanes = Lanes(2)
    for is_inference in (True, False):
        with torch.inference_mode(is_inference):
            modes = lanes.each(lambda _: (torch.is_inference_mode_enabled(), torch.is_grad_enabled()), range(2))
        assert modes == [(is_inference, False)] * 2


def test_the_first_error_is_raised_when_nothing_goes_on_any_more() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def some_fail(number: int) -> None:
        begun.append(number)
        time.sleep(0.02)
        ended.append(number)
        if number == 1:
            raise MemoryError

    with pytest.raises(MemoryError):
        Lanes(2).each(some_fail, range(50))
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 50


def test_what_is_done_aside_is_waited_for_by_nobody() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_end.wait(20)

    lanes = Lanes(2)
    lanes.aside(slow)
    assert begun.wait(20)
    assert lanes.each(lambda x: x + 1, [1, 2]) == [2, 3]
    may_end.set()
    alone = threading.Event()
    Lanes(1).aside(alone.set)
    assert not alone.is_set()
