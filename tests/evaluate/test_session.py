"""`stinet evaluate` on small trees in the official layouts: the tables of the paper, and the files."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from data.trees import adobe240, by_motion, moving, septuplets, write_frames
from films import film
from stinet.__main__ import main
from stinet.catalogue import weights_file
from stinet.config import EvaluateConfig
from stinet.errors import InputError
from stinet.evaluate.session import evaluate as measure
from stinet.metrics import luma, psnr
from stinet.ops.resample import downsample, quantize, upsample


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Evaluate = Callable[..., Ran]


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """`stinet evaluate` in this process."""

    def run(*words: object, model: str = "blend+bicubic") -> Ran:
        monkeypatch.setattr(sys, "argv", ["stinet", "evaluate", *map(str, words), "--model", model])
        with pytest.raises(SystemExit) as end:
            main()
        return Ran(end.value.code or 0, *capsys.readouterr())  # pyright: ignore[reportArgumentType]

    return run


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vimeo-90K and Adobe240, in small."""
    root = tmp_path_factory.mktemp("benchmarks")
    by_motion(septuplets(root / "vimeo_septuplet"))
    adobe240(root / "adobe240")
    return root


def figures(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def paper_rows(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Headings of sets, and the cells of every method that ran, of the paper's table in a printed report."""
    sets, names, *rows = text.partition("the columns of Table")[2].partition("\n\n")[2].splitlines()
    assert names.split()[0] == "method"
    ran = takewhile(lambda row: not row.startswith("---"), rows)  # what is published stands below
    return sets.split(), {row[0]: row[1:] for row in map(str.split, ran)}


def test_both_trees_print_the_columns_of_table_1(trees: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    models = "blend+bicubic,flow+bicubic"
    ran = evaluate(trees / "vimeo_septuplet", trees / "adobe240", "--json", out, model=models)
    assert ran.code == 0, ran.err
    sets, rows = paper_rows(ran.out)
    assert sets == ["Vid4", "Vimeo-Fast", "Vimeo-Medium", "Vimeo-Slow", "Adobe240"]
    assert list(rows) == models.split(",")
    for name, model in figures(out)["models"].items():
        groups = model["groups"]
        assert {group: part["frames"] for group, part in groups.items()} == {
            "fast": 7, "medium": 14, "slow": 14, "adobe240": 20,
        }  # fmt: skip
        cells = [text for part in groups.values() for text in (f"{part['psnr_db']:.2f}", f"{part['ssim']:.4f}")]
        assert rows[name] == ["-", "-", *cells, "-", "-"]


def test_a_groups_mean_is_over_its_clips(trees: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate(trees / "vimeo_septuplet", "--json", tmp_path / "out.json").code == 0
    report = figures(tmp_path / "out.json")
    for group in ("fast", "medium", "slow"):
        values = [clip["psnr_db"] for clip in report["clips"].values() if clip["group"] == group]
        assert report["groups"][group]["psnr_db"] == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("between", [3, 5])
def test_the_first_tree_prints_the_columns_of_table_2(
    trees: Path, evaluate: Evaluate, tmp_path: Path, between: int
) -> None:
    out = tmp_path / "out.json"
    ran = evaluate(trees / "vimeo_septuplet", "--between", between, "--json", out)
    assert ran.code == 0, ran.err
    assert "the columns of Table II:" in ran.out
    sets, rows = paper_rows(ran.out)
    assert sets[1:4] == ["Vimeo-Fast", "Vimeo-Medium", "Vimeo-Slow"]
    report = figures(out)
    assert rows[f"blend+bicubic({between})"][2] == f"{report['groups']['fast']['psnr_db']:.2f}"
    counts = {(clip["frames"], clip["given_frames"]) for clip in report["clips"].values()}
    assert counts == {(between + 2, 2)}
    assert report["protocol"]["name"] in ran.out
    assert f"of septuplets frames 1 to {between + 2} alone" in ran.out


def test_adobe240_has_its_truth_and_low_resolution_in_one_step_each(
    trees: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    assert evaluate(trees / "adobe240", "--csv", tmp_path / "out.csv").code == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    stored = torch.from_numpy(moving(0, 10, (96, 128), step=2)[0]).permute(2, 0, 1)[None].double() / 255
    truth, low = quantize(downsample(stored, 2)), quantize(downsample(stored, 8))
    expected = psnr(luma(upsample(low.float(), 4).clamp(0, 1)), luma(truth)).item()
    assert (first["clip"], first["frame"], first["group"]) == ("GOPR9653", "0", "adobe240")
    assert float(first["psnr_db"]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("between", [3, 5])
def test_adobe240_is_shown_in_sliding_windows(trees: Path, evaluate: Evaluate, tmp_path: Path, between: int) -> None:
    assert evaluate(trees / "adobe240", "--between", between, "--json", tmp_path / "out.json").code == 0
    counts = {3: (10, 4), 5: (10, 3)}  # given: 0 4 8 and 9; 0 6 and 9
    report = figures(tmp_path / "out.json")
    assert {(clip["frames"], clip["given_frames"]) for clip in report["clips"].values()} == {counts[between]}


def test_a_degradation_stands_in_every_file_and_beside_no_published_row(
    trees: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    means = {}
    for name in ("bicubic", "light", "strong"):
        words = ("--degradation", name, "--measure", "psnr", "--report", tmp_path / name)
        ran = evaluate(trees / "adobe240", *words)
        assert ran.code == 0, ran.err
        assert (f"{name} degradation" in ran.out) == (name != "bicubic")
        assert ("published" in ran.out) == (name == "bicubic")
        report = figures(tmp_path / name / "figures.json")
        means[name] = report["mean"]["psnr_db"]
        assert report["protocol"]["degradation"] == name
        with (tmp_path / name / "frames.csv").open(newline="") as file:
            assert next(csv.DictReader(file))["protocol"] == report["protocol"]["name"]
        page = (tmp_path / name / "index.html").read_text(encoding="utf-8")
        assert ("libx264 crf=" in page) == (name != "bicubic")
    assert means["bicubic"] > means["light"] > means["strong"]


def test_a_clip_too_short_for_five_in_between_is_named(evaluate: Evaluate, tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "brief", moving(0, 6), [f"{k}.png" for k in range(6)])
    ran = evaluate(tmp_path / "clips", "--between", 5)
    assert ran.code == 3
    assert re.search("brief: 6 frames are too few for 5 in between", ran.err)


def test_bad_clips_are_named_by_their_headers_before_anything_is_measured(tmp_path: Path) -> None:
    write_frames(tmp_path / "a_good", moving(0, 3), [f"{k}.png" for k in range(3)])
    for name in ("b_odd", "c_odd"):
        write_frames(tmp_path / name, moving(0, 3), [f"{k}.png" for k in range(3)])
        write_frames(tmp_path / name, moving(0, 1, (48, 48)), ["2.png"])
    write_frames(tmp_path / "d_tiny", moving(0, 3, (8, 8)), [f"{k}.png" for k in range(3)])
    (tmp_path / "e_broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    heard: list[int] = []
    with pytest.raises(InputError, match=r"b_odd/2\.png: 48x48.*; 3 more like it"):
        measure((tmp_path,), ("blend+bicubic",), EvaluateConfig(), progress=lambda done, _: heard.append(done))
    assert not heard


def test_a_video_too_short_is_named_by_its_header(tmp_path: Path) -> None:
    write_frames(tmp_path / "a_good", moving(0, 7), [f"{k}.png" for k in range(7)])
    film(tmp_path / "brief.mp4", [*moving(0, 4)])
    heard: list[int] = []
    with pytest.raises(InputError, match=r"brief\.mp4: 4 frames are too few for 5 in between"):
        measure((tmp_path,), ("blend+bicubic",), EvaluateConfig(between=5), progress=lambda n, _: heard.append(n))
    assert not heard


def test_figures_of_the_clips_before_a_damaged_one_are_kept_and_marked(evaluate: Evaluate, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_frames(tmp_path / "clips" / name, moving(0, 3), [f"{k}.png" for k in range(3)])
    damaged = tmp_path / "clips" / "b" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    ran = evaluate(tmp_path / "clips", "--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)
    assert "1.png" in ran.err
    assert "out.incomplete.json" in ran.err
    report = figures(tmp_path / "out.incomplete.json")
    assert list(report["clips"]) == ["a"]
    assert report["mean"]["frames"] == 3
    assert report["incomplete"].startswith("1 of 3 clips")
    with (tmp_path / "out.incomplete.csv").open(newline="") as file:
        assert [row["clip"] for row in csv.DictReader(file)] == ["a"] * 3
    assert not (tmp_path / "out.json").exists()
    write_frames(damaged.parent, moving(0, 1), ["1.png"])
    assert evaluate(tmp_path / "clips", "--json", tmp_path / "out.json").code == 0
    assert "incomplete" not in figures(tmp_path / "out.json")


def test_the_papers_fps_and_every_file_are_written(trees: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    files = {kind: tmp_path / "new" / f"out.{kind}" for kind in ("json", "csv", "html")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    ran = evaluate(trees / "vimeo_septuplet", *words, "--fps", "--forwards", 1, "--seed", 5)
    assert ran.code == 0, ran.err
    report = figures(files["json"])
    assert (report["model"]["papers_fps"]["output_frames"], report["run"]["seed"]) == (7, 5)
    _, rows = paper_rows(ran.out)
    assert rows["blend+bicubic"][-2] == f"{report['model']['papers_fps']['frames_per_second']:,.2f}"
    assert len(files["csv"].read_text().splitlines()) == 1 + 5 * 7
    page = files["html"].read_text(encoding="utf-8")
    assert "blend+bicubic on vimeo_septuplet" in page
    assert report["run"]["versions"]["torch"] in page


def test_clips_of_one_name_in_two_folders_are_told_apart(evaluate: Evaluate, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_frames(tmp_path / folder / "walk", moving(0, 3), [f"{k}.png" for k in range(3)])
    assert evaluate(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "out.json").code == 0
    assert list(figures(tmp_path / "out.json")["clips"]) == ["a/walk", "b/walk"]


def test_progress_rises_to_a_hundred_over_clips_and_models(trees: Path) -> None:
    heard: list[int] = []
    models = ("blend+bicubic", "flow+bicubic")
    measure((trees / "adobe240",), models, EvaluateConfig(), progress=lambda done, _: heard.append(done))
    assert heard == sorted(heard)
    assert (heard[0], heard[-1]) == (pytest.approx(100 / 8, abs=1), 100)


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--measure", "psnr,vmaf"], 2, "vmaf"),
    (["--between", "3", "--window", "3"], 2, "has 5 frames"),
    (["--lpips-net", "gone.pth"], 2, "both its files"),
    (["--lpips-net", "gone.pth", "--lpips-heads", "gone.pth"], 7, "gone.pth"),
    (["--html", "."], 4, "is a folder"),
])  # fmt: skip
def test_a_wrong_call_is_one_line(
    trees: Path,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = evaluate(trees / "vimeo_septuplet", *words)
    assert (ran.code, len(ran.err.splitlines())) == (code, 1)
    assert says in ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--between", "2"], "1, 3, 5"),
        (["--variant", "16"], "did you mean 160"),
        (["--degradation", "lite"], "did you mean light"),
    ],
)
def test_an_unknown_protocol_is_refused_before_torch_is_loaded(trees: Path, words: list[str], says: str) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "stinet",
        "evaluate",
        str(trees),
        "--model",
        "stinet-s",
        *words,
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert not re.search(r"\| +torch\n", ran.stderr)


def test_lpips_is_measured_where_its_files_are_named(evaluate: Evaluate, tmp_path: Path) -> None:
    shapes = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
    torch.manual_seed(0)
    net = {f"features.{n}.weight": torch.randn(o, i, k, k) / 30 for n, o, i, k in shapes}
    net |= {f"features.{n}.bias": torch.zeros(o) for n, o, _, _ in shapes}
    heads = {f"lin{n}.model.1.weight": torch.rand(1, shape[1], 1, 1) for n, shape in enumerate(shapes)}
    torch.save(net, tmp_path / "net.pth")
    torch.save(heads, tmp_path / "heads.pth")
    write_frames(tmp_path / "clips" / "walk", moving(0, 3), ["1.png", "2.png", "3.png"])
    files = ("--lpips-net", tmp_path / "net.pth", "--lpips-heads", tmp_path / "heads.pth")
    ran = evaluate(tmp_path / "clips", *files, "--json", tmp_path / "out.json", "--html", tmp_path / "out.html")
    assert ran.code == 0, ran.err
    value = figures(tmp_path / "out.json")["mean"]["lpips"]
    assert np.isfinite(value)
    assert value > 0
    assert f"{value:.4f}" in ran.out
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("net.pth", "heads.pth")]
    assert list(figures(tmp_path / "out.json")["run"]["sha256"].values()) == digests
    assert all(digest in (tmp_path / "out.html").read_text(encoding="utf-8") for digest in digests)


def test_weights_are_known_by_their_bytes_whatever_their_file_is_called(evaluate: Evaluate, tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "walk", moving(0, 3), ["1.png", "2.png", "3.png"])
    mine = tmp_path / "mine.safetensors"
    shutil.copy(weights_file("stinet-xs"), mine)
    words = ("--measure", "psnr", "--json", tmp_path / "out.json")
    assert evaluate(tmp_path / "clips", *words, model=f"{mine},stinet-xs,blend+bicubic").code == 0
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert figures(tmp_path / "out.json")["run"]["sha256"] == {str(mine): digest, "stinet-xs": digest}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_clip_whose_name_is_no_unicode_reaches_every_file(evaluate: Evaluate, tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "caf\udce9", moving(0, 3), ["0.png", "1.png", "2.png"])
    ran = evaluate(tmp_path / "clips", "--csv", tmp_path / "f.csv", "--html", tmp_path / "f.html")
    assert ran.code == 0, ran.err
    assert "caf?" in ran.out
    assert (tmp_path / "f.csv").read_text(encoding="utf-8").count("caf?") == 3


def test_the_protocol_of_a_septuplet_in_the_csv_does_not_claim_that_every_frame_counts(
    trees: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    out = tmp_path / "frames.csv"
    assert evaluate(trees / "vimeo_septuplet", trees / "adobe240", "--between", 3, "--csv", out).code == 0
    with out.open(encoding="utf-8", newline="") as file:
        told = {(row["group"] == "adobe240", row["protocol"].rpartition(", ")[2]) for row in csv.DictReader(file)}
    assert told == {(True, "every frame counts"), (False, "the first window of a clip counts")}
