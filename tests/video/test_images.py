"""Folders of images and single images as films."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from films import pictures  # pyright: ignore[reportMissingImports]
from stinet.errors import InputError, OutputError
from stinet.video.frame import Frame, Notes
from stinet.video.image_files import ImagesWriter
from stinet.video.images import is_image, probe_images, read_images


def write(out: ImagesWriter, count: int) -> None:
    for k in range(count):
        out.write(Frame(rgb=pictures(1)[0], time=Fraction(k)))


def write_beside(out: ImagesWriter, photograph: Path) -> None:
    write(out, 1)
    photograph.parent.mkdir()
    photograph.write_text("precious")


def break_off(out: ImagesWriter) -> None:
    write(out, 1)
    raise KeyError


def test_a_folder_is_read_in_natural_order_at_even_times(tmp_path: Path) -> None:
    for name, value in (("f2.png", 2), ("f10.png", 10), ("f1.png", 1)):
        Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    seen = list(read_images(tmp_path, rate=Fraction(10)))
    assert [int(frame.rgb[0, 0, 0]) for frame in seen] == [1, 2, 10]
    assert [frame.time for frame in seen] == [0, Fraction(1, 10), Fraction(1, 5)]
    info = probe_images(tmp_path)
    assert (info.width, info.height, info.frames_declared) == (6, 4, 3)


def test_the_first_image_of_another_size_is_named(tmp_path: Path) -> None:
    for k, width in enumerate((6, 6, 7, 8)):
        Image.new("RGB", (width, 4)).save(tmp_path / f"{k}.png")
    with pytest.raises(InputError, match=r"2\.png: 7x4, but 0\.png is 6x4"):
        list(read_images(tmp_path))


def test_a_damaged_image_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        probe_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    with pytest.raises(InputError, match=r"a\.png: cannot be read"):
        list(read_images(tmp_path))


def test_a_turned_photograph_stands_upright(tmp_path: Path) -> None:
    rgb = pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: show it turned 90 degrees clockwise
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(next(read_images(tmp_path)).rgb, np.rot90(rgb, -1))


def test_sixteen_bit_stays_and_eight_beside_it_is_widened(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4), (77, 0, 255)).save(tmp_path / "b.png")
    deep, shallow = read_images(tmp_path)
    assert deep.rgb.dtype == shallow.rgb.dtype == np.uint16
    assert deep.rgb[0, 0].tolist() == [300, 300, 300]
    assert shallow.rgb[0, 0].tolist() == [77 * 257, 0, 65535]
    assert probe_images(tmp_path).bit_depth == 16


def test_sixteen_bit_read_as_eight_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 257 * 77 + 100, np.uint16)).save(tmp_path / "deep.png")
    notes = Notes()
    (frame,) = read_images(tmp_path, notes=notes, deep=False)
    assert frame.rgb[0, 0].tolist() == [77, 77, 77]
    assert notes.warnings == ("16 bit images read as 8 bit",)


@pytest.mark.bad_input(16)
def test_alpha_comes_only_where_not_all_is_opaque(tmp_path: Path) -> None:
    glass = np.random.default_rng(0).integers(0, 256, (4, 6, 4), np.uint8)
    Image.fromarray(glass).save(tmp_path / "a.png")
    Image.new("RGBA", (6, 4), (1, 2, 3, 255)).save(tmp_path / "b.png")
    first, second = read_images(tmp_path)
    assert np.array_equal(first.rgb, glass[..., :3])
    assert first.alpha is not None
    assert np.array_equal(first.alpha, glass[..., 3])
    assert second.alpha is None


@pytest.mark.bad_input(25, 14)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_files_come_back_to_the_last_bit(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = np.random.default_rng(channels).integers(0, 65536, (9, 7, channels), np.uint16)
    alpha = pixels[..., 3] if channels == 4 else None
    with ImagesWriter(tmp_path / f"a{suffix}") as out:
        out.write(Frame(rgb=pixels[..., :3], alpha=alpha, time=Fraction(0)))
    (frame,) = read_images(tmp_path / f"a{suffix}")
    assert np.array_equal(frame.rgb, pixels[..., :3])
    assert (frame.alpha is None) == (alpha is None)
    if frame.alpha is not None and alpha is not None:
        assert np.array_equal(frame.alpha, alpha)


def test_a_jpeg_of_a_deep_frame_is_rounded_and_opaque(tmp_path: Path) -> None:
    rgb = np.full((8, 8, 3), 257 * 100 + 120, np.uint16)
    with ImagesWriter(tmp_path / "a.jpg") as out:
        out.write(Frame(rgb=rgb, alpha=np.zeros((8, 8), np.uint16), time=Fraction(0)))
    (frame,) = read_images(tmp_path / "a.jpg")
    assert frame.rgb[0, 0].tolist() == [100, 100, 100]


@pytest.mark.bad_input(25)
def test_a_turned_deep_tiff_stands_upright(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 65536, (4, 6), np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(tmp_path / "a.tif", exif=exif)
    (frame,) = read_images(tmp_path / "a.tif")
    assert np.array_equal(frame.rgb[..., 0], np.rot90(rgb, -1))


@pytest.mark.bad_input(25)
def test_linear_light_goes_through_the_srgb_curve_and_is_said(tmp_path: Path) -> None:
    light = np.array([0, 0.002, 0.18, 0.5, 1, 1.5, 0.9, 0.01], np.float32)
    encoder = av.CodecContext.create("exr", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 2, "gbrpf32le", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(np.repeat(light[None, :, None], 2, 0).repeat(3, 2), format="gbrpf32le")
    picture.pts = 0
    data = b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
    (tmp_path / "a.exr").write_bytes(data)
    notes = Notes()
    (frame,) = read_images(tmp_path / "a.exr", notes=notes)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    assert np.abs(frame.rgb[0, :, 0] / 65535 - np.clip(curve, 0, 1)).max() < 1e-3
    assert "sRGB curve" in notes.warnings[0]


@pytest.mark.bad_input(25, 24)
def test_a_numbered_pattern_is_a_film_and_a_file_of_that_name_a_file(tmp_path: Path) -> None:
    for number in (9, 10, 100):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"f{number:03d}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "f1.png")
    pattern = tmp_path / "f%03d.png"
    assert [int(frame.rgb[0, 0, 0]) for frame in read_images(pattern)] == [9, 10, 100]
    Image.new("RGB", (4, 4), (7, 0, 0)).save(pattern)
    assert [int(frame.rgb[0, 0, 0]) for frame in read_images(pattern)] == [7]


def test_an_animated_png_is_no_still_image_wherever_its_mark_stands(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (4, 4), (k, 0, 0)) for k in range(2)]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:], icc_profile=bytes(300))
    pages[0].save(tmp_path / "b.png")
    assert not is_image(tmp_path / "a.png")
    assert is_image(tmp_path / "b.png")


def test_an_image_of_more_pixels_than_allowed_is_refused_with_the_numbers(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="40x30 is 1,200 pixels, allowed are 1,000"):
        probe_images(tmp_path / "a.png", max_pixels=1000)


def test_an_image_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.mp4", format="JPEG")
    (tmp_path / "b.png").write_text("text")
    assert is_image(tmp_path / "a.mp4")
    assert not is_image(tmp_path / "b.png")


def test_written_images_come_back_the_same(tmp_path: Path) -> None:
    frames = pictures(3)
    with ImagesWriter(tmp_path / "out") as out:
        for k, rgb in enumerate(frames):
            out.write(Frame(rgb=rgb, time=Fraction(k)))
        assert not (tmp_path / "out").exists()
    assert all(np.array_equal(a.rgb, b) for a, b in zip(read_images(tmp_path / "out"), frames, strict=True))


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), ImagesWriter(tmp_path / "out") as out:
        break_off(out)
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_that_came_into_the_folder_during_the_run_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="more than frames"), ImagesWriter(tmp_path / "out") as out:
        write_beside(out, tmp_path / "out" / "a.png")
    assert (tmp_path / "out" / "a.png").read_text() == "precious"


@pytest.mark.parametrize("call", ["open", "iterdir"])
def test_what_the_disk_refuses_to_give_is_an_input_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        is_image(tmp_path / "a.png") if call == "open" else probe_images(tmp_path)


def test_one_image_holds_one_frame(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="one frame"), ImagesWriter(tmp_path / "a.png") as out:
        write(out, 2)
    assert list(tmp_path.iterdir()) == []
