"""Protocols by enumerating their windows: what is given, and that what counts counts once."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.stand_ins import flat_clip
from stinet.config import EvaluateConfig
from stinet.data.benchmarks import Window
from stinet.data.clip import Clip
from stinet.errors import ConfigError, InputError
from stinet.evaluate.protocol import Protocol

CLIP = flat_clip([])


def given_frames(cut: list[Window]) -> list[list[int]]:
    return [[window.start + place for place in window.given] for window in cut]


def counted(cut: list[Window]) -> list[int]:
    return [window.start + place for window in cut for place in window.counted]


@pytest.mark.parametrize(("between", "frames", "expected"), [
    (1, 13, [[0, 2, 4, 6], [6, 8, 10, 12]]),
    (1, 10, [[0, 2, 4, 6], [3, 5, 7, 9]]),
    (3, 9, [[0, 4], [4, 8]]),
    (3, 11, [[0, 4], [4, 8], [6, 10]]),
    (5, 7, [[0, 6]]),
    (5, 15, [[0, 6], [6, 12], [8, 14]]),
])  # fmt: skip
def test_given_frames_of_every_window(between: int, frames: int, expected: list[list[int]]) -> None:
    cut = Protocol.of(EvaluateConfig(between=between)).cut(CLIP, frames)  # pyright: ignore[reportArgumentType]
    assert given_frames(cut) == expected
    assert counted(cut) == list(range(frames))


@given(st.sampled_from([1, 3, 5]), st.integers(7, 80))
def test_every_frame_counts_once_and_the_last_window_ends_on_the_last(between: int, frames: int) -> None:
    cut = Protocol.of(EvaluateConfig(between=between)).cut(CLIP, frames)  # pyright: ignore[reportArgumentType]
    assert counted(cut) == list(range(frames))
    assert cut[-1].start + cut[-1].size == frames


@pytest.mark.parametrize(("between", "times"), [(3, (0.25, 0.5, 0.75)), (5, (1 / 6, 1 / 3, 0.5, 2 / 3, 5 / 6))])
def test_several_frames_stand_at_equal_distances(between: int, times: tuple[float, ...]) -> None:
    (window,) = Protocol.of(EvaluateConfig(between=between)).cut(CLIP, between + 2)  # pyright: ignore[reportArgumentType]
    (made,) = window.times
    assert all(math.isclose(a, b) for a, b in zip(made, times, strict=True))


@pytest.mark.parametrize(("between", "given_two"), [(3, [0, 4]), (5, [0, 6])])
@pytest.mark.parametrize("group", ["fast", "medium", "slow"])
def test_a_septuplet_has_one_window_that_begins_with_its_first_frame(
    group: str, between: int, given_two: list[int]
) -> None:
    septuplet = Clip("00001/0001", list, group)
    cut = Protocol.of(EvaluateConfig(between=between)).cut(septuplet, 7)  # pyright: ignore[reportArgumentType]
    assert given_frames(cut) == [given_two]
    assert counted(cut) == list(range(between + 2))


def test_a_septuplet_at_x2_is_one_window_of_seven() -> None:
    assert given_frames(Protocol().cut(Clip("00001/0001", list, "slow"), 7)) == [[0, 2, 4, 6]]


def test_windows_of_three_are_given_two_frames_each() -> None:
    cut = Protocol.of(EvaluateConfig(window=3)).cut(CLIP, 8)
    assert given_frames(cut) == [[0, 2], [2, 4], [4, 6], [5, 7]]
    assert counted(cut) == list(range(8))


@pytest.mark.parametrize(("between", "frames", "needs"), [(3, 4, 5), (5, 6, 7)])
def test_a_clip_too_short_for_several_in_between_is_named(between: int, frames: int, needs: int) -> None:
    protocol = Protocol.of(EvaluateConfig(between=between))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=f"walk: {frames} frames .* it takes {needs}"):
        protocol.cut(flat_clip([], "walk"), frames)


def test_the_name_tells_protocols_apart() -> None:
    settings: list[dict[str, object]] = [
        {}, {"window": 3}, {"variant": "160"}, {"variant": "first"}, {"between": 3}, {"between": 5},
    ]  # fmt: skip
    names = [Protocol.of(EvaluateConfig(**words)).name for words in settings]  # pyright: ignore[reportArgumentType]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "value", "says"), [
    ("between", 2, "choose from 1, 3, 5"),
    ("window", 5, "choose from 7, 3"),
    ("variant", "161", "did you mean 160"),
])  # fmt: skip
def test_a_value_that_no_protocol_has_is_refused_with_those_it_may_have(name: str, value: object, says: str) -> None:
    config = EvaluateConfig()
    object.__setattr__(config, name, value)  # the tests' own type checks would refuse it earlier
    with pytest.raises(ConfigError, match=says):
        config.__post_init__()


@pytest.mark.parametrize(("words", "says"), [
    ({"between": 3, "window": 3}, "has 5 frames"),
    ({"lpips_net": Path("net.pth")}, "both its files"),
    ({"measures": ("psnr", "vmaf")}, "vmaf"),
    ({"forwards": -1}, "-1"),
])  # fmt: skip
def test_contradictions_and_unknown_measures_are_refused(words: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EvaluateConfig(**words)  # pyright: ignore[reportArgumentType]


def test_a_degradation_that_is_none_is_not_taken_for_bicubic() -> None:
    assert Protocol(degradation="bicubic").damage is None
    with pytest.raises(KeyError):
        _ = Protocol(degradation="lite").damage
