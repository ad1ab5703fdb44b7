"""Stored codes against the definitions in float64: on the way from R'G'B' to the file they are rounded, once."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from reels import (  # pyright: ignore[reportMissingImports]
    as_planes,
    picture_of,
    planes_of,
    reel,
)

from films import Repeat  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig, UpscaleConfig
from stinet.upscale import upscale_video
from stinet.video.codecs import choose_encoder
from stinet.video.encode import SegmentWriter
from stinet.video.frame import Colour, Frame, Notes, VideoInfo
from stinet.video.read import read_frames

RATE = Fraction(25)
SIZE = (64, 48)


def greys_and_colours(levels: int, kind: type = np.uint16) -> list[np.ndarray]:
    """Every grey of so many levels, then colours by chance, black and white and the brightest red, green and blue."""
    top = np.iinfo(kind).max
    width, height = SIZE
    grey = np.rint(np.resize(np.arange(levels), (-(-levels // (width * height)), height, width)) * (top / (levels - 1)))
    colours = np.random.default_rng(levels).integers(0, top + 1, (height, width, 3))
    colours[0, :5] = top * np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return [*np.repeat(grey[..., None], 3, axis=3).astype(kind), colours.astype(kind)]


def write(path: Path, rgbs: list[np.ndarray], alphas: list[np.ndarray] | None = None, **wish: Any) -> Path:
    """Frames in a segment; `wish`: codec, pix_fmt, matrix, is_full, options."""
    depth = 8 if rgbs[0].dtype == np.uint8 else 16
    colour = Colour(matrix=wish.get("matrix", 1), primaries=1, transfer=1, is_full_range=wish.get("is_full", False))
    info = VideoInfo(
        path=Path("source.mkv"), container="matroska", codec="ffv1", width=SIZE[0], height=SIZE[1], rate=RATE,
        duration=None, frames_declared=None, time_base=1 / RATE, bit_depth=depth, has_alpha=alphas is not None,
        pixel_format="yuv444p16le" if depth == 16 else "yuv444p", colour=colour,
    )  # fmt: skip
    config = EncodeConfig(
        codec=wish.get("codec", "ffv1"), pix_fmt=wish["pix_fmt"], options=tuple(wish.get("options", {}).items())
    )
    choice = choose_encoder(config, path, size=SIZE, rate=RATE, time_base=1 / RATE, info=info, notes=Notes())
    assert choice.pix_fmt == wish["pix_fmt"]
    with SegmentWriter(path, choice) as writer:
        for k, rgb in enumerate(rgbs):
            writer.write(Frame(rgb=rgb, alpha=None if alphas is None else alphas[k], time=k / RATE))
    return path


def codes(path: Path, kind: str = "<u2") -> list[list[np.ndarray]]:
    with av.open(str(path)) as file:
        return [planes_of(picture, kind) for picture in file.decode(video=0)]


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(("codec", "bits"), [("ffv1", 10), ("ffv1", 12), ("ffv1", 16), ("hevc", 10), ("hevc", 12)])
def test_every_stored_code_is_the_nearest_and_comes_back(
    tmp_path: Path, *, codec: str, bits: int, matrix: int, is_full: bool
) -> None:
    sent = greys_and_colours(1024)
    options = {"x265-params": "lossless=1"} if codec == "hevc" else {}
    path = write(
        tmp_path / "s.mkv", sent, codec=codec, pix_fmt=f"yuv444p{bits}le", matrix=matrix, is_full=is_full,
        options=options,
    )  # fmt: skip
    top = 2**bits - 1
    for rgb, stored, back in zip(sent, codes(path), read_frames(path), strict=True):
        exact = np.minimum(as_planes(rgb, bits, matrix, is_full=is_full), top)
        assert np.abs(np.stack(stored) - exact).max() < 0.51
        again = as_planes(back.rgb, bits, matrix, is_full=is_full)
        assert np.abs(again - exact).max() <= 1
    for rgb, back in zip(sent[:-1], read_frames(path), strict=False):
        assert np.abs(back.rgb.astype(int) - rgb).max() <= 65535 / top / (1 if is_full else 0.85)
    white = codes(path)[-1][0][0, 1]
    assert white == (top if is_full else 235 << (bits - 8))


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv420p12le", "yuv420p16le", "yuv440p10le"])
def test_luma_is_exact_and_grey_stays_grey_where_colour_is_subsampled(
    tmp_path: Path, *, pix_fmt: str, is_full: bool
) -> None:
    bits = int(pix_fmt.partition("p")[2].removesuffix("le"))
    sent = greys_and_colours(1024)
    stored = codes(write(tmp_path / "s.mkv", sent, pix_fmt=pix_fmt, matrix=9, is_full=is_full))
    for rgb, planes in zip(sent, stored, strict=True):
        assert np.abs(planes[0] - as_planes(rgb, bits, 9, is_full=is_full)[0]).max() < 0.51
    assert all(np.all(plane == 128 << (bits - 8)) for planes in stored[:-1] for plane in planes[1:])


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "gray"])
def test_eight_bit_luma_is_the_nearest_code_and_white_is_white(
    tmp_path: Path, *, pix_fmt: str, is_full: bool, kind: type
) -> None:
    sent = greys_and_colours(256, kind)
    stored = codes(write(tmp_path / "s.mkv", sent, pix_fmt=pix_fmt, is_full=is_full), "u1")
    for rgb, planes in zip(sent, stored, strict=True):
        wide = rgb.astype(np.float64) * (65535 / np.iinfo(kind).max)
        assert np.abs(planes[0] - as_planes(wide, 8, 1, is_full=is_full)[0]).max() < 0.53  # swscale: 0.51
    assert stored[-1][0][0, 1] == (255 if is_full else 235)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray10le", 10), ("gray12le", 12), ("gray16le", 16)])
@pytest.mark.parametrize("is_full", [False, True])
def test_grey_films_keep_their_range_in_depth(tmp_path: Path, *, pix_fmt: str, bits: int, is_full: bool) -> None:
    sent = greys_and_colours(1024)
    path = write(tmp_path / "s.mkv", sent, pix_fmt=pix_fmt, is_full=is_full)
    for rgb, (plane,), back in zip(sent, codes(path), read_frames(path), strict=True):
        exact = as_planes(rgb, bits, 1, is_full=is_full)[0]
        assert np.abs(plane - exact).max() < 0.51
        assert np.abs(as_planes(back.rgb, bits, 1, is_full=is_full)[0] - exact).max() <= 1


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("pix_fmt", "bits"), [("gbrp10le", 10), ("gbrp12le", 12), ("bgr0", 8)])
def test_rgb_of_less_depth_is_within_a_code(tmp_path: Path, *, pix_fmt: str, bits: int, kind: type) -> None:
    sent = greys_and_colours(256, kind)
    path = write(tmp_path / "s.mkv", sent, pix_fmt=pix_fmt)
    for rgb, back in zip(sent, read_frames(path), strict=True):
        given, got = rgb / np.iinfo(kind).max, back.rgb / np.iinfo(back.rgb.dtype).max
        assert np.abs(got - given).max() * (2**bits - 1) < (0.51 if bits == 8 else 1.01)  # swscale dithers
        assert np.all((got == 1)[given == 1])


@pytest.mark.bad_input(16)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("pix_fmt", "bits"), [("yuva444p10le", 10), ("yuva420p10le", 10), ("yuva444p16le", 16), ("yuva420p", 8), ("ya8", 8)]
)
def test_opacity_is_stored_by_its_nearest_code(tmp_path: Path, *, pix_fmt: str, bits: int, kind: type) -> None:
    rgbs = greys_and_colours(256, kind)[-1:]
    glass = np.resize(np.linspace(0, np.iinfo(kind).max, 1024), SIZE[::-1]).astype(kind)
    path = write(tmp_path / "s.mkv", rgbs, [glass], pix_fmt=pix_fmt)
    (back,) = read_frames(path)
    assert back.alpha is not None
    wanted, got = glass / np.iinfo(kind).max, back.alpha / np.iinfo(back.alpha.dtype).max
    assert np.abs(got - wanted).max() * (2**bits - 1) < 0.52


@pytest.mark.bad_input(14, 15)
@pytest.mark.parametrize("is_full", [False, True])
def test_an_hdr10_film_that_nothing_is_done_to_keeps_every_luma_code(tmp_path: Path, *, is_full: bool) -> None:
    given = hdr10_planes(6)
    source = reel(
        tmp_path / "a.mkv",
        [picture_of(planes, *SIZE, "yuv420p10le", k) for k, planes in enumerate(given)],
        "libx265",
        options={"x265-params": "lossless=1:log-level=none:pools=1"},
        colour=(9, 9, 16, 2 if is_full else 1),
    )
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(codes(source), given, strict=True))
    encode = EncodeConfig(codec="hevc", options=(("x265-params", "lossless=1"),))
    config = UpscaleConfig(fps="keep", size="x1", encode=encode)
    summary = upscale_video(source, tmp_path / "b.mkv", fn=Repeat(scale=1), config=config)
    made = codes(summary.output)
    for before, after in zip(given, made, strict=True):
        assert np.array_equal(after[0], before[0])
        for k in (1, 2):
            assert abs(after[k].mean() - before[k].mean()) < 0.25


def hdr10_planes(count: int) -> list[list[np.ndarray]]:
    """A slope that moves, from below the middle to near white, under a colour that changes slowly."""
    width, height = SIZE
    down, across = np.mgrid[0:height, 0:width]
    small = np.mgrid[0 : height // 2, 0 : width // 2]
    return [
        [
            (200 + 8 * across + 3 * down + 5 * k).astype("<u2"),
            (500 + small[0] + k).astype("<u2"),
            (520 - small[1] // 2).astype("<u2"),
        ]
        for k in range(count)
    ]
