"""The page of a report: what it shows of which clip."""

import re
from pathlib import Path

import numpy as np

from evaluate.stand_ins import Repeat, flat_clip, moving_clip
from stinet.evaluate import Measures, benchmark
from stinet.evaluate.pages import Album, write_report


def test_an_album_keeps_the_middlemost_interpolated_frame_of_every_clip() -> None:
    album = Album()
    benchmark([moving_clip(13, 1, "long"), moving_clip(1, 0, "still")], {"a": Repeat(), "b": Repeat()}, watch=album)
    assert {name: (moment.index, moment.is_given) for name, moment in album.moments.items()} == {
        "long": (5, False),
        "still": (0, True),
    }
    assert list(album.moments["long"].made) == ["a", "b"]
    truth = list(moving_clip(13, 1).read())[5]
    np.testing.assert_array_equal(album.moments["long"].truth, truth[album.moments["long"].area])


def test_an_album_keeps_no_more_clips_than_a_page_shows() -> None:
    album = Album(most_clips=2)
    benchmark([flat_clip([50] * 3, name) for name in "abc"], {"one": Repeat()}, watch=album)
    assert list(album.moments) == ["a", "b"]


def test_pictures_pair_bicubic_with_every_model_and_the_first_model_with_the_truth() -> None:
    album = Album()
    benchmark([moving_clip(5, 1)], {"a": Repeat(), "b": Repeat()}, watch=album)
    labels = [(slider.before_label, slider.after_label) for slider in album.sliders()]
    assert labels == [("bicubic of the true moment", "a"), ("a", "truth"), ("bicubic of the true moment", "b")]


def test_the_page_shows_tables_plots_pictures_and_how_it_was_measured(tmp_path: Path) -> None:
    album = Album()
    measures = Measures(("motion", "flicker", "lpips"))
    report = benchmark([moving_clip(7, 1)], {"one": Repeat(), "<two>": Repeat()}, measures=measures, watch=album)
    write_report(report, album, "a title", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for shown in (
        report.models["one"].protocol.name,
        "a title",
        "moving",
        "&lt;two&gt;",
        "motion error, px",
        "name the files",
    ):
        assert shown in text
    assert f"{report.models['one'].psnr_db:.2f}" in text
    assert len(re.findall("data:image/", text)) >= 6
    assert not re.search(r"""(src|href)=["']?https?:""", text)
