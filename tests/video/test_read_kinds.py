"""Depth, alpha, light data, fields: what the decoder gives of them, against the definitions in float64."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from reels import (  # pyright: ignore[reportMissingImports]
    as_fields,
    as_planes,
    as_rgb,
    picture_of,
    planes_of,
    reel,
    with_pulldown,
)

from films import film, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import ReadConfig
from stinet.video.frame import Light, Mastering, Notes
from stinet.video.read import probe, read_frames

RANDOM = np.random.default_rng(5)


def stored(layout: str, bits: int, width: int = 16, height: int = 8) -> list[np.ndarray]:
    """Random planes of colours that exist: middling luma, weak chroma."""
    step = 1 << (bits - 8)
    planes = []
    for k, plane in enumerate(av.VideoFrame(width, height, layout).planes):
        low, high = ((70, 180), (118, 138), (118, 138), (0, 255))[k]
        kind = np.uint8 if bits == 8 else "<u2"
        planes.append(RANDOM.integers(low * step, high * step, (plane.height, plane.width)).astype(kind))
    return planes


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(("layout", "bits"), [("yuv444p10le", 10), ("yuv444p12le", 12)])
def test_deep_pictures_keep_every_code_of_the_file(
    tmp_path: Path, *, layout: str, bits: int, matrix: int, is_full: bool
) -> None:
    planes = stored(layout, bits)
    path = reel(tmp_path / "a.mkv", [picture_of(planes, 16, 8, layout)], colour=(matrix, 1, 1, 1 + is_full))
    (frame,) = read_frames(path)
    assert frame.rgb.dtype == np.uint16
    exact = as_rgb(planes, bits, matrix, is_full=is_full)
    assert np.abs(frame.rgb - 65535 * exact).max() < 0.6
    assert np.array_equal(np.rint(as_planes(frame.rgb, bits, matrix, is_full=is_full)), planes)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(("layout", "bits"), [("yuv420p10le", 10), ("yuv422p10le", 10), ("yuv422p12le", 12)])
def test_luma_of_subsampled_deep_pictures_comes_back_to_the_code(tmp_path: Path, layout: str, bits: int) -> None:
    planes = stored(layout, bits)
    (frame,) = read_frames(reel(tmp_path / "a.mkv", [picture_of(planes, 16, 8, layout)], colour=(9, 9, 16, 1)))
    assert np.array_equal(np.rint(as_planes(frame.rgb, bits, 9, is_full=False)[0]), planes[0])


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(("layout", "bits"), [("gray", 8), ("gray10le", 10), ("gray16le", 16)])
@pytest.mark.parametrize("is_full", [False, True])
def test_grey_follows_its_range(tmp_path: Path, *, layout: str, bits: int, is_full: bool) -> None:
    step, top = 2 ** (bits - 8), 2**bits - 1
    levels = np.linspace(0 if is_full else 16 * step, top if is_full else 235 * step, 32).astype(int).reshape(2, 16)
    plane = levels.astype(np.uint8 if bits == 8 else "<u2")
    (frame,) = read_frames(
        reel(tmp_path / "a.mkv", [picture_of([plane], 16, 2, layout)], colour=(1, 1, 1, 1 + is_full))
    )
    exact = levels / top if is_full else (levels - 16 * step) / (219 * step)
    assert np.abs(frame.rgb[..., 1] - np.iinfo(frame.rgb.dtype).max * exact).max() < 0.6
    assert (frame.rgb.min(), frame.rgb.max()) == (0, np.iinfo(frame.rgb.dtype).max)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(("layout", "bits"), [("gbrp10le", 10), ("gbrp12le", 12), ("gbrp16le", 16)])
def test_deep_rgb_is_scaled_and_nothing_else(tmp_path: Path, layout: str, bits: int) -> None:
    green, blue, red = planes = [RANDOM.integers(0, 2**bits, (8, 16)).astype("<u2") for _ in range(3)]
    (frame,) = read_frames(reel(tmp_path / "a.mkv", [picture_of(planes, 16, 8, layout)]))
    exact = np.stack([red, green, blue], -1) * (65535 / (2**bits - 1))
    assert np.abs(frame.rgb - exact).max() <= 0.51


@pytest.mark.bad_input(14)
def test_deep_frames_read_as_eight_bit_are_rounded(tmp_path: Path) -> None:
    path = reel(tmp_path / "a.mkv", [picture_of(stored("yuv444p10le", 10), 16, 8, "yuv444p10le")], colour=(1, 1, 1, 1))
    (deep,), (shallow,) = read_frames(path), read_frames(path, deep=False)
    assert shallow.rgb.dtype == np.uint8
    assert np.abs(shallow.rgb * 257.0 - deep.rgb).max() <= 128.5


@pytest.mark.bad_input(16)
@pytest.mark.parametrize(
    ("codec", "layout", "bits"),
    [("ffv1", "yuva444p", 8), ("ffv1", "yuva444p10le", 10), ("ffv1", "gbrap12le", 12)],
)
def test_alpha_comes_back_exactly_and_opaque_frames_have_none(
    tmp_path: Path, codec: str, layout: str, bits: int
) -> None:
    glass = stored(layout, bits)
    opaque = [*stored(layout, bits)[:3], np.full_like(glass[3], 2**bits - 1)]
    made = [picture_of(planes, 16, 8, layout, k) for k, planes in enumerate((glass, opaque))]
    path = reel(tmp_path / "a.mkv", made, codec)
    first, second = read_frames(path)
    top = np.iinfo(first.rgb.dtype).max
    assert first.alpha is not None
    assert first.alpha.dtype == first.rgb.dtype
    assert np.abs(first.alpha - glass[3] * (top / (2**bits - 1))).max() <= 0.51
    assert second.alpha is None
    assert probe(path).has_alpha


@pytest.mark.bad_input(16)
def test_prores_4444_gives_its_alpha(tmp_path: Path) -> None:
    planes = stored("yuva444p10le", 10, 64, 48)
    path = reel(tmp_path / "a.mov", [picture_of(planes, 64, 48, "yuva444p10le")], "prores_ks", options={"profile": "4"})
    (frame,) = read_frames(path)
    assert frame.alpha is not None
    assert np.abs(frame.alpha / 65535 - planes[3] / 1023).max() < 0.01


@pytest.mark.bad_input(16)
def test_vp9_gives_the_alpha_that_lies_beside_its_picture(tmp_path: Path) -> None:
    glass = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    planes = [*stored("yuv420p", 8, 64, 48), glass]
    made = [picture_of(planes, 64, 48, "yuva420p", k) for k in range(9)]
    path = reel(tmp_path / "a.webm", made, "libvpx-vp9", options={"auto-alt-ref": "0", "lossless": "1"})
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == [Fraction(k, 25) for k in range(9)]
    assert all(np.array_equal(frame.alpha, glass) for frame in frames if frame.alpha is not None)
    assert sum(frame.alpha is not None for frame in frames) == 9
    part = list(read_frames(path, config=ReadConfig(start=Fraction(1, 5))))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(part, frames[5:], strict=True))


@pytest.mark.bad_input(16, 8)
@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_animations_keep_their_delays_their_last_one_and_their_glass(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGBA", (20, 10), (60 * k, 40, 200, 255)) for k in range(4)]
    for page in pages[1:]:
        page.paste((0, 0, 0, 0), (0, 0, 5, 5))
    path = tmp_path / f"a{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=[100, 30, 500, 250], disposal=2)
    notes = Notes()
    frames = list(read_frames(path, notes=notes))
    assert [frame.time for frame in frames] == [Fraction(k, 100) for k in (0, 10, 13, 63)]
    assert [frame.duration for frame in frames] == [None, None, None, Fraction(1, 4)]
    assert frames[0].alpha is None
    glass = [frame.alpha for frame in frames[2:]]  # Pillow's GIF lets the first page shine through the second
    assert all(alpha is not None and alpha[0, 0] == 0 and alpha[9, 19] == 255 for alpha in glass)
    assert not notes.warnings


@pytest.mark.bad_input(15)
def test_hdr10_tags_mastering_and_light_data_are_read(tmp_path: Path) -> None:
    data = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    path = reel(
        tmp_path / "a.mp4",
        [picture_of(stored("yuv420p10le", 10, 64, 64), 64, 64, "yuv420p10le", k) for k in range(2)],
        "libx265",
        options={
            "x265-params": f"{data}:hdr10=1:log-level=none:pools=1:bframes=0:colorprim=9:transfer=16:colormatrix=9"
        },
        colour=(9, 9, 16, 1),
    )
    colour = probe(path).colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.hdr) == (9, 9, 16, "PQ")
    assert colour.light == Light(max_content=1000, max_average=400)
    assert colour.mastering == Mastering(
        red=(Fraction(17, 25), Fraction(8, 25)),
        green=(Fraction(53, 200), Fraction(69, 100)),
        blue=(Fraction(3, 20), Fraction(3, 50)),
        white=(Fraction(3127, 10000), Fraction(329, 1000)),
        darkest=Fraction(1, 200),
        brightest=Fraction(1000),
    )
    assert all(frame.rgb.dtype == np.uint16 for frame in read_frames(path))


def combed(count: int) -> list[av.VideoFrame]:
    """A bar whose even and odd lines come from different moments."""
    made = []
    for k in range(count):
        luma = np.full((48, 64), 40, np.uint8)
        luma[0::2, 4 * k + 8 : 4 * k + 20] = 220
        luma[1::2, 4 * k + 10 : 4 * k + 22] = 220
        made.append(picture_of([luma, *[np.full((24, 32), 128, np.uint8)] * 2], 64, 48, "yuv420p", k))
    return made


def comb(rgb: np.ndarray) -> float:
    """How much neighbouring lines differ beyond lines of one field."""
    level = rgb[..., 1].astype(float)
    return float(np.abs(level[1:-1] - (level[:-2] + level[2:]) / 2).mean())


@pytest.mark.bad_input(13)
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_interlaced_frames_become_whole_and_none_is_lost(tmp_path: Path, name: str) -> None:
    codec = "libx264" if name == "a.mkv" else "mpeg2video"
    path = reel(tmp_path / name, as_fields(combed(9)), codec, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    plain, mended = Notes(), Notes()
    fields = list(read_frames(path, notes=plain))
    whole = list(read_frames(path, notes=mended, config=ReadConfig(deinterlace="auto")))
    assert [frame.time for frame in whole] == [frame.time for frame in fields]
    assert len(whole) == 9
    assert all(comb(mine.rgb) < 0.35 * comb(theirs.rgb) for mine, theirs in zip(whole[1:], fields[1:], strict=True))
    assert "interlaced: fields taken as frames" in " ".join(plain.warnings)
    assert not any("interlaced" in line for line in mended.warnings)
    assert any("bwdif" in line for line in mended.lines)


@pytest.mark.bad_input(13)
def test_fields_in_the_middle_of_the_film_are_seen_too(tmp_path: Path) -> None:
    whole = reel(tmp_path / "b.m2v", combed(4), "mpeg2video")
    fields = reel(tmp_path / "c.m2v", as_fields(combed(5)), "mpeg2video", options={"flags": "+ildct+ilme"})
    path = tmp_path / "a.m2v"
    path.write_bytes(whole.read_bytes() + fields.read_bytes())
    assert not probe(path).is_interlaced
    plain, mended = Notes(), Notes()
    times = [frame.time for frame in read_frames(path, notes=plain)]
    assert [frame.time for frame in read_frames(path, notes=mended, config=ReadConfig(deinterlace="auto"))] == times
    assert times[-1] == Fraction(8, 25)
    assert any("interlaced in places" in line for line in plain.warnings)
    assert not any("interlaced" in line for line in mended.warnings)


@pytest.mark.bad_input(13)
def test_progressive_frames_pass_the_deinterlacer_untouched(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", pictures(5))
    plain, passed = read_frames(path), read_frames(path, config=ReadConfig(deinterlace="auto"))
    pairs = list(zip(plain, passed, strict=True))
    assert all(np.array_equal(a.rgb, b.rgb) and a.time == b.time for a, b in pairs)


@pytest.mark.bad_input(13)
def test_telecine_by_flag_is_warned_and_every_film_frame_read_once(tmp_path: Path) -> None:
    frames = [picture_of(stored("yuv420p", 8, 64, 48), 64, 48, "yuv420p", k) for k in range(20)]
    path = with_pulldown(reel(tmp_path / "a.m2v", frames, "mpeg2video", options={"bf": "0"}))
    notes = Notes()
    times = [frame.time for frame in read_frames(path, notes=notes)]
    assert len(times) == 20
    assert {times[k + 1] - times[k] for k in range(18)} == {Fraction(3, 50), Fraction(1, 25)}
    assert any("telecined" in line for line in notes.warnings)
    plain = Notes()
    list(read_frames(reel(tmp_path / "b.m2v", frames, "mpeg2video"), notes=plain))
    assert not any("telecined" in line for line in plain.warnings)


def test_planes_written_are_planes_stored(tmp_path: Path) -> None:
    planes = stored("yuv420p10le", 10)
    path = reel(tmp_path / "a.mkv", [picture_of(planes, 16, 8, "yuv420p10le")])
    with av.open(str(path)) as file:
        found = planes_of(next(file.decode(video=0)))
    assert all(np.array_equal(a, b) for a, b in zip(found, planes, strict=True))
