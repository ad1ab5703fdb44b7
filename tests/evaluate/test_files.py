"""What stands in the files: every frame, every mean, and where they come from."""

import csv
import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from evaluate.stand_ins import Repeat, flat_clip, grey_step_db
from stinet.evaluate import Measures, Report, benchmark
from stinet.evaluate.files import write_csv, write_json
from stinet.evaluate.provenance import provenance

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> Report:
    clips = [flat_clip([50, 53, 50, 60], "a"), flat_clip([50] * 3, "b")]
    return benchmark(clips, {"one": Repeat(error=1), "two": Repeat()}, measures=Measures(("flicker",)))


def test_every_frame_of_every_model_is_a_line(report: Report, tmp_path: Path) -> None:
    write_csv(report, tmp_path / "frames.csv")
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = [(row["model"], row["clip"], int(row["frame"])) for row in rows]
    expected = [("a", index) for index in range(4)] + [("b", index) for index in range(3)]
    assert places == [(model, *place) for model in ("one", "two") for place in expected]
    assert [row["kind"] for row in rows[:4]] == ["given", "interpolated", "given", "given"]
    assert float(rows[1]["psnr_db"]) == pytest.approx(grey_step_db(2))
    assert [row["flicker"] == "" for row in rows[:4]] == [True, False, False, False]
    assert {row["protocol"] for row in rows} == {report.models["one"].protocol.name}


def test_means_of_the_lines_are_those_of_the_json(report: Report, tmp_path: Path) -> None:
    write_csv(report, tmp_path / "frames.csv")
    write_json(report, tmp_path / "means.json")
    means = json.loads((tmp_path / "means.json").read_text())["models"]["one"]["clips"]["a"]
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["clip"]) == ("one", "a")]
    for key in ("psnr_db", "ssim", "flicker"):
        values = [float(row[key]) for row in rows if row[key]]
        assert means[key] == pytest.approx(sum(values) / len(values))


def test_provenance_tells_versions_device_threads_and_seed() -> None:
    facts = provenance(torch.device("cpu"), 42)
    assert facts["seed"] == 42
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["stinet"] == metadata.version("stinet")
    assert facts["threads"] == torch.get_num_threads()
    assert facts["device"]
    json.dumps(facts)


def test_a_tree_that_was_never_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert provenance(torch.device("cpu"), 0)["versions"]["stinet"] is None


def test_the_commit_is_that_of_the_source_tree() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone")
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    commit = provenance(torch.device("cpu"), 0)["commit"]
    assert commit is None or commit.rstrip("+") == head  # None: an installed package is tested
