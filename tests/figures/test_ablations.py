"""What is drawn of an ablation's folder: what is there, and nothing else."""

import json
from pathlib import Path

import pytest
from PIL import Image

from commands import Stinet  # pyright: ignore[reportMissingImports]
from figures.small_clips import small_weights, write_clip
from stinet.ablate.rows import weight_axis
from stinet.errors import InputError
from stinet.figures import ablations
from stinet.figures.ablations import draw_curve, read_rows, trained_rows


def row(folder: Path, name: str, edit: str, psnr_db: float | None, *, seed: int = 0, start: str = "fresh") -> Path:
    """A row as `stinet ablate` writes it."""
    measured = {} if psnr_db is None else {"1": {"mean": {"psnr_db": psnr_db}}}
    values = {"edit": edit, "start": start, "seed": seed, "measured": measured}
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    (folder / "rows" / f"{name}.json").write_text(json.dumps(values))
    return folder / "runs" / name / "latest.safetensors"


AXES = {f"lambda_{number}": weight_axis(number) for number in (1, 2)}


def test_the_curve_has_a_point_for_every_value_that_was_tried(tmp_path: Path) -> None:
    for seed, psnr_db in enumerate((27.0, 27.2)):
        row(tmp_path, f"full-{seed}", "full", psnr_db, seed=seed)
    row(tmp_path, "other", "full", 20.0, start="shipped")  # no lambda was varied from there
    row(tmp_path, "no", "without-mcl", 26.9)
    row(tmp_path, "alone", "without-mcl", 20.0, seed=7)  # no full model of its seed
    row(tmp_path, "l2", "lambda-2-0.5", 26.5, seed=1)
    row(tmp_path, "unmeasured", "lambda-2-1", None)
    said = draw_curve(tmp_path, AXES, tmp_path / "curve.png")
    assert said == "lambda_2 0: -0.100 dB; lambda_2 0.1: +0.000 dB; lambda_2 0.5: -0.700 dB"
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 600  # an axis without runs has a panel, too


def test_the_curve_says_how_long_the_trainings_were(tmp_path: Path) -> None:
    assert ablations._scale(tmp_path) == ""
    (tmp_path / "plan.json").write_text(json.dumps({"steps": 1500, "settings": {"size": "compact"}}))
    assert ablations._scale(tmp_path) == "; ours: compact size, 1,500 steps a training"


def test_without_a_varied_lambda_there_is_no_curve(tmp_path: Path) -> None:
    row(tmp_path, "full", "full", 27.0)
    with pytest.raises(InputError, match="lambda"):
        draw_curve(tmp_path, AXES, tmp_path / "curve.png")


def test_rows_without_weights_and_failed_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "runs" / "inet").mkdir(parents=True)
    small_weights(row(tmp_path, "inet", "without-inet", 26.0))
    row(tmp_path, "share", "without-share", 26.0)
    row(tmp_path, "bad", "without-hr", None)
    values = json.loads((tmp_path / "rows" / "bad.json").read_text())
    (tmp_path / "rows" / "bad.json").write_text(json.dumps({**values, "failed": "it diverged"}))
    assert [one.edit for one in read_rows(tmp_path)] == ["without-inet", "without-share"]
    assert [one.edit for one in trained_rows(tmp_path)] == ["without-inet"]
    with pytest.raises(InputError, match="no weights of without-share"):
        trained_rows(tmp_path, ["without-share"])


def test_a_row_that_went_on_from_weights_is_another_one(tmp_path: Path) -> None:
    for name, edit, start in (
        ("full.seed-0", "full", "nothing"), ("from-weights.full.seed-0", "full", "weights"),
        ("from-weights.without-absolute.seed-0", "without-absolute", "weights"),
    ):  # fmt: skip
        file = row(tmp_path, name, edit, 27.0, start=start)
        file.parent.mkdir(parents=True)
        file.touch()
    names = ["full", "from-weights.full", "from-weights.without-absolute"]
    assert [one.name for one in trained_rows(tmp_path)] == names
    (one,) = trained_rows(tmp_path, names[1:2])
    assert one.weights.parent.name == "from-weights.full.seed-0"


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    row(tmp_path, "full", "full", 27.0)
    (tmp_path / "rows" / "half.json").write_text('{"edit": "fu')
    with pytest.raises(InputError, match=r"half\.json"):
        read_rows(tmp_path)
    with pytest.raises(InputError, match="no finished row"):
        read_rows(tmp_path / "elsewhere")


def test_strips_of_an_ablation_name_its_rows(tmp_path: Path, stinet: Stinet) -> None:
    for name in ("full", "without-inet"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        small_weights(row(tmp_path, name, name, 27.0), offset_interaction=name == "full")
    clip = write_clip(tmp_path / "clip", 3)
    ran = stinet("figures", "ablations", tmp_path, clip, "-o", tmp_path / "out.webp", "--box", "10,8,40,30")
    assert ran.code == 0, ran.err
    with Image.open(tmp_path / "out.webp") as picture:
        assert picture.width > 300


@pytest.mark.parametrize(("words", "code"), [
    (["strips", "gone"], 3),
    (["strips", "clip", "--box", "1,2,3"], 2),
    (["strips", "clip", "-o", "a.gif"], 2),
    (["strips", "clip", "--models", ","], 2),
    (["curve", "clip", "-o", "a.png"], 3),
])  # fmt: skip
def test_wrong_calls_end_in_one_line(
    words: list[str], code: int, stinet: Stinet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "clip", 3)
    monkeypatch.chdir(tmp_path)
    ran = stinet("figures", *words)
    assert ran.code == code
    assert ran.err.count("\n") == 1
