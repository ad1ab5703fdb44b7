"""The papers' fps: what is counted, by a clock that the stand-in turns."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from evaluate.stand_ins import Repeat
from stinet.evaluate import speed
from stinet.evaluate.speed import papers_speed, parameter_count, precision_of


class Timed(Repeat):
    """Takes a minute for each of its first calls, and half a second for every later one."""

    def __init__(self, slow_calls: int) -> None:
        super().__init__()
        self.slow_calls, self.now_s = slow_calls, 0.0

    def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
        super().context(states, times)
        self.now_s += 60 if len(self.shown) <= self.slow_calls else 0.5


def test_700_frames_are_made_of_100_clips_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Timed(slow_calls=3)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: function.now_s)
    monkeypatch.setattr(Timed, "run", lambda *_: torch.zeros(7, 3, 1, 1))
    measured = papers_speed(function)
    assert (measured.forwards, measured.output_frames) == (100, 700)
    assert {tuple(frame.shape) for clip in function.shown for frame in clip} == {(3, 144, 180)}
    assert {len(clip) for clip in function.shown} == {4}
    assert measured.seconds == pytest.approx(50)  # what warms up is not counted
    assert measured.frames_per_second == pytest.approx(14)


def test_frames_of_a_real_call_are_counted() -> None:
    measured = papers_speed(Repeat(scale=2), forwards=2)
    assert measured.output_frames == 14
    assert measured.to_json()["frames_per_second"] == pytest.approx(14 / measured.seconds)


def test_only_a_network_has_parameters() -> None:
    function = Repeat()
    assert parameter_count(function) is None
    function.net = torch.nn.Linear(3, 2)  # pyright: ignore[reportAttributeAccessIssue]
    assert parameter_count(function) == 8


def test_the_precision_is_that_of_the_network() -> None:
    function = Repeat()
    assert precision_of(function) == "float32"
    function.precision = "bfloat16"  # pyright: ignore[reportAttributeAccessIssue]
    assert precision_of(function) == "bfloat16"
