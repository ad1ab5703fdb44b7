"""The demo, on a few frames of the bundled clip."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from commands import Stinet  # pyright: ignore[reportMissingImports]
from stinet import demo
from stinet.errors import OutputError


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> demo.Shown:
    folder = tmp_path_factory.mktemp("demo") / "shown"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FIRST_PART_S", Fraction(1, 20))
        folder.mkdir()
        (folder / "before_after.png").write_bytes(b"of an earlier run")
        return demo.demonstrate(folder, model="blend+bicubic")


def test_the_result_is_larger_smoother_as_long_and_has_sound(shown: demo.Shown) -> None:
    with av.open(str(shown.video)) as film:
        picture, sound = film.streams.video[0], film.streams.audio[0]
        frames = list(film.decode(picture))
        assert (picture.width, picture.height) == (4 * 480, 4 * 270)
        assert picture.average_rate == Fraction(60000, 1001)
        assert len(frames) == 4
    with av.open(str(shown.video)) as film:
        assert next(film.decode(film.streams.audio[0])).sample_rate == sound.rate
    assert "2 frames in, 4 out" in shown.summary


def test_the_picture_of_an_earlier_run_is_replaced_by_source_and_result_side_by_side(shown: demo.Shown) -> None:
    with Image.open(shown.picture) as picture:
        assert picture.width > picture.height
        assert picture.width > 800


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FIRST_PART_S", Fraction(1, 20))
    (tmp_path / "before_after.png").mkdir()
    with pytest.raises(OutputError, match=r"before_after\.png: cannot be written"):
        demo.demonstrate(tmp_path, model="blend+bicubic")


def test_the_picture_may_have_another_name_and_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FIRST_PART_S", Fraction(1, 20))
    shown = demo.demonstrate(tmp_path / "demo", picture=tmp_path / "pair.webp", model="blend+bicubic")
    assert shown.picture == tmp_path / "pair.webp"
    assert not (tmp_path / "demo" / "before_after.png").exists()
    with Image.open(shown.picture) as picture:
        assert picture.format == "WEBP"


def test_a_picture_of_no_known_kind_is_refused_before_the_work(stinet: Stinet, tmp_path: Path) -> None:
    ran = stinet("demo", "-o", tmp_path / "demo", "--picture", tmp_path / "pair.gif")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert not (tmp_path / "demo").exists()


def test_detail_grows_with_texture() -> None:
    flat = np.full((8, 8, 3), 90, dtype=np.uint8)
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None] * 10, 8, axis=0).repeat(3, axis=2)
    checks = ((np.indices((8, 8)).sum(axis=0) % 2 * 255)[..., None] * np.ones(3)).astype(np.uint8)
    assert demo.detail(flat) == 0 < demo.detail(ramp) < demo.detail(checks)


def test_the_bundled_clip_stands_beside_its_source_and_licence() -> None:
    text = (demo.CLIP.parent / "SOURCES.md").read_text(encoding="utf-8")
    assert demo.CLIP.name in text
    assert "licence" in text
