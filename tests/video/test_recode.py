"""Frames come back from every encoder in their order, as many as went in, and the same every time."""

from collections.abc import Iterator

import numpy as np
import pytest

from data.trees import moving
from stinet.errors import OutputError
from stinet.video.recode import Coding, recoded

CODINGS = [
    Coding("libx264", (("crf", "26"), ("bf", "2"))),
    Coding("libx265", (("crf", "24"), ("preset", "ultrafast"))),
    Coding("libvpx-vp9", (("crf", "30"), ("cpu-used", "5"))),
    Coding("mpeg4", (("qmin", "4"), ("qmax", "4"), ("bf", "2"))),
    Coding("mpeg2video", (("qmin", "4"), ("qmax", "4"), ("bf", "2"))),
    Coding("mjpeg", (("qmin", "4"), ("qmax", "4"))),
]
NAMES = [coding.encoder for coding in CODINGS]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("coding", CODINGS, ids=NAMES)
def test_frames_of_an_odd_size_come_back_in_order(coding: Coding) -> None:
    frames = moving(3, 9, (51, 77), step=4)
    made = np.stack(list(recoded(frames, coding)))
    assert made.shape == frames.shape
    for index, frame in enumerate(made):
        assert np.argmin([distance(frame, other) for other in frames]) == index
        assert distance(frame, frames[index]) > 0.2


@pytest.mark.parametrize("coding", CODINGS, ids=NAMES)
def test_equal_frames_give_equal_frames(coding: Coding) -> None:
    one, other = (np.stack(list(recoded(moving(1, 6, (40, 56)), coding))) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("coding", CODINGS, ids=NAMES)
@pytest.mark.parametrize("level", [0, 90, 255])
def test_black_grey_and_white_stay_what_they_are(coding: Coding, level: int) -> None:
    for frame in recoded([np.full((16, 24, 3), level, np.uint8)] * 2, coding):
        assert np.abs(frame.astype(int) - level).max() <= 2


@pytest.mark.parametrize("encoder", ["mpeg4", "mpeg2video", "mjpeg"])
def test_a_coarser_quantiser_loses_more(encoder: str) -> None:
    frames = moving(2, 5)
    codings = (Coding(encoder, (("qmin", str(quantiser)), ("qmax", str(quantiser)))) for quantiser in (2, 5, 12))
    lost = [distance(np.stack(list(recoded(frames, coding))), frames) for coding in codings]
    assert lost[0] < lost[1] < lost[2]


def test_frames_are_taken_as_they_are_asked_for() -> None:
    taken: list[int] = []

    def told() -> Iterator[np.ndarray]:
        for number, frame in enumerate(moving(0, 5)):
            taken.append(number)
            yield frame

    made = recoded(told(), CODINGS[-1])
    next(made)
    assert taken == [0]


def test_no_frames_are_none() -> None:
    assert list(recoded([], CODINGS[0])) == []


def test_an_encoder_that_is_not_there_is_said_by_name() -> None:
    with pytest.raises(OutputError, match="no encoder 'libx999'"):
        list(recoded(moving(0, 1), Coding("libx999")))
