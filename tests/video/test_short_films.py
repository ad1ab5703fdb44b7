"""Films of one, two and three frames, through every codec and every kind of file that takes it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from films import pictures  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig
from stinet.video.codecs import CONTAINERS, choose_encoder
from stinet.video.encode import SegmentWriter
from stinet.video.frame import Frame, Notes
from stinet.video.mux import mux
from stinet.video.read import probe, read_frames

RATE = Fraction(25)
KINDS = [(suffix, family) for suffix, kind in CONTAINERS.items() if suffix != ".y4m" for family in kind.families]
FASTEST = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "12", "vp9": "8"}


@pytest.mark.bad_input(8)
@pytest.mark.parametrize("is_even", [True, False])
@pytest.mark.parametrize(("suffix", "family"), KINDS)
def test_a_film_of_three_frames_or_fewer_is_whole(tmp_path: Path, suffix: str, family: str, *, is_even: bool) -> None:
    for count in (1, 2, 3):
        gaps = [1, 1, 1] if is_even else [1, 3, 2]  # frame k is shown for gaps[k] periods
        times = [sum(gaps[:k]) / RATE for k in range(count)]
        end = sum(gaps[:count]) / RATE
        target = tmp_path / f"{count}{suffix}"
        sent = pictures(count, 64, 64)
        config = EncodeConfig(codec=family, preset=FASTEST.get(family))
        choice = choose_encoder(config, target, size=(64, 64), rate=RATE, time_base=1 / RATE, info=None, notes=Notes())
        with SegmentWriter(tmp_path / f"{count}.segment.mkv", choice) as writer:
            for rgb, time in zip(sent, times, strict=True):
                writer.write(Frame(rgb=rgb, time=time))
        assert writer.segment is not None
        notes = Notes()
        mux(target, [writer.segment], choice, info=None, end=end, notes=notes)
        read = list(read_frames(target, deep=False))
        assert [frame.time for frame in read] == times
        assert probe(target).duration == end
        for k, frame in enumerate(read):
            errors = [np.mean((frame.rgb[..., 1] - rgb[..., 1].astype(float)) ** 2) for rgb in sent]
            assert min(errors) == errors[k] < 40
        assert not notes.warnings
