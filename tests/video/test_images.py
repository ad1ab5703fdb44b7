"""Folders of images and single images as films."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from films import pictures  # pyright: ignore[reportMissingImports]
from stinet.errors import InputError, OutputError
from stinet.video.frame import Frame, Notes
from stinet.video.images import ImagesWriter, is_image, probe_images, read_images


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


def test_sixteen_bit_and_alpha_are_said(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 257 * 77, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (4, 4)).save(tmp_path / "glass.png")
    notes = Notes()
    first = next(read_images(tmp_path, notes=notes))
    list(read_images(tmp_path, notes=notes))
    assert first.rgb[0, 0].tolist() == [77, 77, 77]
    assert set(notes.lines) == {"16 bit images read as 8 bit", "alpha dropped"}


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
