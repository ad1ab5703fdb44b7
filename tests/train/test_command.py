"""`stinet train` at a terminal: settings, status, the line that moves, and what is missing said at once."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stinet.__main__ import main
from stinet.cli import progress as cli
from stinet.config import TrainConfig
from stinet.train.views import Progress

NOW = Progress(
    step=40, steps=100, stage=1, stages=3, loss=0.03, terms={"loss": 0.031, "reconstruction": 0.025}, rate=1e-3,
    step_s=0.5, data_share=0.08, images_per_s=56.0, left_s=125.0, skipped=2, best_db=28.0,
)  # fmt: skip

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stinet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stinet", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        out, err = capsys.readouterr()
        return code if isinstance(code, int) else 0, out, err

    return run


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Settings that would have been trained by."""
    configs: list[TrainConfig] = []

    def fit(config: TrainConfig, **views: object) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(done=config.total_steps)

    monkeypatch.setattr("stinet.train.fit.fit", fit)
    return configs


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("stages:\n  - {steps: 2, frames: 1}\n  - {steps: 3}\n")
    return path


def test_a_setting_in_a_list_is_named_by_its_number(stinet: Command, recipe: Path, seen: list[TrainConfig]) -> None:
    changes = ("--set", "stages.1.steps=500", "--set", "stages.0.loss.kind=l2")
    assert stinet("train", recipe, *changes)[0] == 0
    assert seen[0].total_steps == 502
    assert [seen[0].stage(step).config.loss.kind for step in (0, 2)] == ["l2", "charbonnier"]


@pytest.mark.parametrize(("change", "said"), [
    ("stages.2.steps=5", "2 is none of the numbers 0 to 1"),
    ("stages.last.steps=5", "last is none of the numbers"),
    ("stages.1.stepz=5", "did you mean steps"),
    ("stages.1.seed=5", "seed belong to the whole run"),
    ("stages.1.degradation=real", "degradation belong to the whole run"),
    ("stages.1.steps.more=5", "steps is one value"),
    ("steps=5", "set stages.0.steps"),
    ("layout=vimeo90k", "data=FOLDER"),
    ("loss.perceptual=0.1", "loss.vgg=FILE"),
])  # fmt: skip
@pytest.mark.usefixtures("seen")
def test_a_setting_that_cannot_be_is_one_line_that_says_why(
    stinet: Command, recipe: Path, change: str, said: str
) -> None:
    code, _, err = stinet("train", recipe, "--set", change)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_either_a_recipe_or_a_folder_to_look_at(stinet: Command, recipe: Path, tmp_path: Path) -> None:
    assert stinet("train")[0] == 2
    assert stinet("train", recipe, "--status", tmp_path)[0] == 2


def test_status_tells_of_a_run_from_its_folder(stinet: Command, tmp_path: Path) -> None:
    row = {"step": 20, "stage": 0, "rate": 0.5, "seconds": 30.0, "loss": 0.05, "gradient": 0.02}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n")
    code, out, _ = stinet("train", "--status", tmp_path)
    assert code == 0
    assert "step        20" in out
    assert stinet("train", "--status", tmp_path / "nowhere")[0] == 3


def test_without_its_packages_training_says_how_to_get_them_before_torch_is_loaded(recipe: Path) -> None:
    hide = (
        "import importlib.util as u, sys; real = u.find_spec;"
        "u.find_spec = lambda name, *more: None if name == 'lightning_fabric' else real(name, *more);"
        f"sys.argv = ['stinet', 'train', {str(recipe)!r}]; from stinet.__main__ import main; main()"
    )
    ran = subprocess.run([sys.executable, "-X", "importtime", "-c", hide], capture_output=True, text=True, check=False)
    loaded = {line.split("|")[-1].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert ran.returncode == 1
    assert "pip install 'stinet[train]'" in ran.stderr.splitlines()[-1]
    assert "stinet.cli" in loaded
    assert "torch" not in loaded


def test_without_a_terminal_progress_is_a_plain_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "PLAIN_EVERY_S", 0)
    with cli.training_line("run") as watch:
        watch(NOW)
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("run: 40/100", "stage 2/3", "loss 0.03", "reconstruction 0.025", "rate 0.001", "data 8%",
                 "56.0 images/s", "2 min 05 s left", "2 skipped"):  # fmt: skip
        assert part in line, part


def test_on_a_terminal_progress_is_a_line_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with cli.training_line("run") as watch:
        watch(NOW)
    shown = terminal.getvalue()
    assert "run: 40/100" in shown
    assert "\x1b[" in shown
