"""Tables: what stands in them."""

from typing import Any

from stinet.report.tables import table


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
