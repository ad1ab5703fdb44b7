"""Tables: what stands in them."""

from typing import Any

from stinet.report.page import Column
from stinet.report.tables import MOST_CLIPS, as_text, table, views


def scores(psnr_db: float | None, frames: int = 7, identical: int = 0) -> dict[str, Any]:
    part = {"psnr_db": psnr_db, "ssim": None if psnr_db is None else 0.5}
    none = {"psnr_db": None, "ssim": None}
    counts = {"frames": frames, "given_frames": frames, "identical_frames": identical}
    return {**part, "given": part, "interpolated": none, **counts}


def model(name: str, psnr_db: float, *, identical: int = 0) -> dict[str, Any]:
    about = {"name": name, "scale": 4, "seconds": 2.0, "output_frames": 7, "frames_per_second": 3.5}
    protocol = {"step": 2, "windows": "4 in, 7 out", "name": "every frame counts", "identical_frames_psnr_db": 100.0}
    clip = scores(psnr_db, identical=identical)
    return {"mean": clip, "clips": {"walk": clip}, "protocol": protocol, "model": about}


def test_a_table_shows_every_clip_the_mean_the_protocol_and_the_speed() -> None:
    text = table(model("net", 24.456))
    (walk,) = (line for line in text.splitlines() if line.startswith("walk"))
    assert walk.split() == ["walk", "7", "24.46", "0.5000", "24.46", "0.5000", "-", "-"]
    for part in ("net: x4 in space, x2 in time", "4 in, 7 out", "every frame counts", "mean of 1", "3.50 frames/s"):
        assert part in text
    assert "identical" not in text


def test_identical_frames_are_told() -> None:
    assert "3 frames are identical to the truth and count as 100 dB" in table(model("net", 100.0, identical=3))


def test_several_models_end_in_one_comparison() -> None:
    text = table({"models": {"one": model("one", 20.0), "another": model("another", 30.0)}})
    (block,) = (part for part in text.split("\n\n") if part.lstrip().startswith("all frames") and "frames/s" in part)
    assert [line.split()[:2] for line in block.splitlines()[2:]] == [["one", "20.00"], ["another", "30.00"]]


def test_columns_of_a_table_are_aligned() -> None:
    lines = table(model("net", 100.0)).splitlines()
    assert len({len(line) for line in lines if line.startswith(("walk", "mean", "---"))}) == 1


def test_headings_of_groups_stand_over_their_columns_and_end_with_them() -> None:
    head = [Column("name"), Column("a", "a long heading", 1), Column("b", "a long heading", 1), Column("c", digits=0)]
    groups, names, row, rule, foot = as_text(head, [["x", 1.0, None, 1234.0]], [["mean", 2.0, 3.0, 5.0]]).splitlines()
    assert groups.endswith("a long heading")
    assert len(groups) == names.index("b") + 1 == row.index("-") + 1
    assert row.split() == ["x", "1.0", "-", "1,234"]
    assert foot.split() == ["mean", "2.0", "3.0", "5"]
    assert rule == "-" * len(row)


def test_what_was_measured_has_a_column_and_what_was_not_has_none() -> None:
    plain, full = model("plain", 20.0), model("full", 20.0)
    for scores_of in (full["mean"], full["clips"]["walk"]):
        scores_of |= {"motion_px": 9.0, "interpolated": {"psnr_db": 1.0, "ssim": 0.1, "motion_px": 0.125}}
    assert "motion" not in table(plain)
    (walk,) = (line for line in table(full).splitlines() if line.startswith("walk"))
    assert walk.split()[-1] == "0.125"  # that of interpolated pairs, not of all


def test_of_many_clips_text_has_the_means_and_the_views_have_all() -> None:
    many = model("net", 20.0)
    many["clips"] = {f"clip {number}": scores(20.0) for number in range(MOST_CLIPS + 1)}
    many["groups"] = {"fast": scores(31.0), "slow": scores(32.0)}
    many["mean"] = scores(20.0, frames=7 * (MOST_CLIPS + 1))
    text = table(many)
    assert "clip 3" not in text
    assert f"mean of {MOST_CLIPS + 1}" in text
    assert [line.split()[2] for line in text.splitlines() if line.startswith("Vimeo-")] == ["31.00", "32.00"]
    assert len(views(many)[0].rows) == MOST_CLIPS + 1


def test_table_2_names_the_frames_in_between_and_has_no_cost() -> None:
    multi = model("net", 20.0) | {"groups": {"adobe240": scores(29.57)}}
    multi["protocol"] = multi["protocol"] | {"step": 4}
    view = views(multi)[-1]
    assert view.caption.startswith("the columns of Table II:")
    assert [column.name for column in view.head] == ["method", *["PSNR", "SSIM"] * 5]
    assert view.rows == [["net(3)", *[None] * 8, 29.57, 0.5]]
    assert [row[0] for row in view.foot] == ["TMNet(3), published", "STINet(3), published"]


def test_published_rows_stand_below_ours_and_do_not_compete() -> None:
    view = views(model("net", 20.0) | {"groups": {"vid4": scores(25.30)}})[-1]
    assert [row[0] for row in view.rows] == ["net"]
    published = {row[0]: row for row in view.foot}
    assert len(published) == 18
    assert published["STINet, published"][1:3] == [26.79, 0.8049]
    assert published["VideoINR, published"][3] is None
    assert {len(row) for row in view.foot} == {len(view.head)}
    assert "not measured here" in view.note


def test_models_compete_in_a_column_and_clips_do_not() -> None:
    alone, _, together = views({"models": {"one": model("one", 20.0), "two": model("two", 30.0)}})
    assert {column.better for column in alone.head} == {""}
    assert [column.better for column in together.head[1:3]] == ["higher", "higher"]


def test_what_could_not_be_measured_is_said() -> None:
    assert "net: LPIPS: name the files" in table(model("net", 20.0) | {"not_measured": {"lpips": "name the files"}})


def test_the_protocol_stands_once_however_many_tables_there_are() -> None:
    several = {"models": {"one": model("one", 20.0), "two": model("two", 30.0)}}
    assert table(several).count("every frame counts; 4 in, 7 out") == 1
    assert not any("protocol" in view.note for view in views(several))
