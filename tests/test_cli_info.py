"""`stinet info`: what is in a file, what could be a problem, and what upscale does about it."""

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from films import film, pictures, tone
from stinet.__main__ import main
from stinet.cli import facts
from stinet.video.frame import Colour, Light, Mastering, StreamInfo, VideoInfo

Info = Callable[..., str]


@pytest.fixture
def info(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Info:
    """Run `stinet info` in this process; gives stdout."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["stinet", "info", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0, err) == (0, "")
        return out

    return run


@pytest.fixture
def rich_film(tmp_path: Path) -> Path:
    """Two audio tracks with names and flags, and chapters."""
    path = tmp_path / "rich.mkv"
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("libx264", rate=10, width=32, height=16, pix_fmt="yuv420p")
        tracks: list[Any] = [out.add_stream("aac", rate=16_000, layout="mono") for _ in range(2)]
        for track, language in zip(tracks, ("eng", "deu"), strict=True):
            track.metadata["language"] = language
            track.metadata["title"] = f"in {language}"
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "I"}}]
        )
        for rgb in pictures(10, 32, 16):
            out.mux(picture.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(picture.encode(None))
        for track in tracks:
            out.mux(tone(track, 1.0, 0))
    return path


def test_every_stream_and_chapter_is_told_with_what_becomes_of_it(info: Info, rich_film: Path) -> None:
    out = info(rich_film)
    assert "h264" in out
    assert '"in eng"' in out
    assert "audio aac deu 16000 Hz mono" in out
    assert "chapter   0.000 to 0.500 s I" in out
    assert "audio aac eng copied" in out
    told = json.loads(info(rich_film, "--json"))
    assert [stream["language"] for stream in told["streams"]][1:] == ["eng", "deu"]
    assert told["streams"][1]["title"] == "in eng"
    assert told["chapters"] == [{"start": 0.0, "end": 0.5, "title": "I"}]
    assert told["upscale"]["container"] == ".mkv"
    assert {plan["action"] for plan in told["upscale"]["streams"]} == {"copy"}


@pytest.mark.bad_input(8)
def test_a_scan_reads_times_that_vary_and_finds_the_cut(info: Info, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scenes = [random.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2)]
    frames = [np.roll(scenes[k >= 12], 2 * k, axis=1) for k in range(24)]
    times = [Fraction(k, 25) + (Fraction(1, 50) if k % 3 == 1 else 0) for k in range(24)]
    path = film(tmp_path / "cut.mkv", frames, times=times, time_base=Fraction(1, 1000))
    scan = json.loads(info(path, "--scan", "--json"))["scan"]
    assert scan["frames"] == 24
    assert not scan["is_constant"]
    assert (scan["shortest"], scan["longest"]) == (0.02, 0.06)
    assert scan["cuts"] == [0.48]
    lines = info(path, "--scan")
    assert "variable frame rate: every time is kept; --cfr" in lines
    assert "cuts      1 at 0.480 s" in lines


@pytest.mark.bad_input(23)
def test_a_scan_counts_repeated_pictures(info: Info, tmp_path: Path) -> None:
    on_twos = [picture for picture in pictures(6) for _ in range(2)]
    path = film(tmp_path / "twos.mkv", on_twos)
    told = json.loads(info(path, "--scan", "--json"))["scan"]
    assert (told["repeated"], told["is_constant"]) == (6, True)
    assert json.loads(info(film(tmp_path / "ones.mkv", pictures(6)), "--scan", "--json"))["scan"]["repeated"] == 0


def test_images_are_told_too(info: Info, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 6)).save(tmp_path / "frames" / f"{number}.png")
    assert "8x6" in info(tmp_path / "frames")
    assert json.loads(info(tmp_path / "frames" / "0.png", "--json"))["width"] == 8


PLAIN = {
    "path": Path("x.mkv"), "container": "matroska", "codec": "h264", "width": 64, "height": 48, "rate": Fraction(25),
    "duration": Fraction(2), "frames_declared": 50, "time_base": Fraction(1, 25),
    "colour": Colour(matrix=1, primaries=1, transfer=1),
}  # fmt: skip
HDR = Colour(
    matrix=9, primaries=9, transfer=16,
    mastering=Mastering(
        red=(Fraction(1), Fraction(1)), green=(Fraction(1), Fraction(1)), blue=(Fraction(1), Fraction(1)),
        white=(Fraction(1), Fraction(1)), darkest=Fraction(1, 1000), brightest=Fraction(1000),
    ),
    light=Light(max_content=900, max_average=300),
)  # fmt: skip


def test_a_plain_file_has_no_problems() -> None:
    assert list(facts.problems(VideoInfo(**PLAIN))) == []


@pytest.mark.parametrize(("odd", "problem", "remedy"), [
    ({"is_constant_rate": False}, "variable frame rate", "--cfr"),
    ({"is_interlaced": True}, "interlaced", "--deinterlace auto"),
    ({"colour": HDR}, "high dynamic range (PQ)", "10 bit"),
    ({"colour": Colour(matrix=6, is_guessed=True)}, "no colour matrix named", "BT.601"),
    ({"has_alpha": True}, "opacity", "prores"),
    ({"width": 1920, "height": 1080}, "7680x4320 at x4", "HEVC"),
    ({"duration": None}, "length not said", "last frame"),
    ({"streams": (StreamInfo(index=0, kind="video", codec="h264"), StreamInfo(index=2, kind="video", codec="h264"))},
     "2 video streams (0, 2)", "--stream N"),
])  # fmt: skip
def test_each_problem_comes_with_what_is_done_about_it(odd: dict[str, Any], problem: str, remedy: str) -> None:
    ((said, done),) = facts.problems(VideoInfo(**{**PLAIN, **odd}))
    assert said == problem
    assert remedy in done


def test_high_dynamic_range_is_told_with_its_display() -> None:
    lines = "\n".join(facts.lines(VideoInfo(**{**PLAIN, "colour": HDR})))
    assert "matrix BT.2020, primaries BT.2020, curve PQ" in lines
    assert "0.0010 to 1000 cd/m2" in lines
    assert "900 cd/m2 at most" in lines


def test_times_that_a_container_rounds_are_constant() -> None:
    def scanned(longest: Fraction) -> bool:
        usual = Fraction(1001, 30000)
        some = SimpleNamespace(shortest=Fraction(33, 1000), longest=longest, usual=usual)
        return facts.Scan.is_constant.fget(some)  # pyright: ignore[reportOptionalCall, reportAttributeAccessIssue]

    assert scanned(Fraction(34, 1000))
    assert not scanned(Fraction(67, 1000))
