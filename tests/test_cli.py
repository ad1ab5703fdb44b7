"""What a person at a terminal sees: results, one-line errors, exit codes; wrong calls fail before torch is loaded."""

import errno
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from commands import Stinet  # pyright: ignore[reportMissingImports]
from stinet.__main__ import main
from stinet.cli import progress as cli
from stinet.config import TrainConfig
from stinet.demo import CLIP
from stinet.errors import UsageError


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Three frames of 24x16 at 10 frames/s."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=24, height=16, pix_fmt="yuv420p")
        for picture in pictures(3, 16, 24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small untrained network as a file."""
    from stinet.checkpoint import save_model
    from stinet.config import PRESETS
    from stinet.model.stinet import STINet

    net = STINet(replace(PRESETS["stinet-xs"], channels=8, graph_channels=8))
    save_model(tmp_path / "small.safetensors", net, net.state_dict(), {})
    return tmp_path / "small.safetensors"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of two clips, three frames of 48x48 each."""
    for name in ("one", "two"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for index, picture in enumerate(pictures(3, 48, 48)):
            Image.fromarray(picture).save(tmp_path / "clips" / name / f"{index}.png")
    return tmp_path / "clips"


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """A coloured wave that moves to the right."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x - 2 * k) / 3) + np.cos(y / 4) for k in range(count)]
    return [np.stack([(w * 40 + 120 + 20 * c).astype(np.uint8) for c in range(3)], axis=2) for w in waves]


def loading(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command in a process of its own; gives how it ended and the modules that it loaded."""
    command = [sys.executable, "-X", "importtime", "-m", "stinet", *words]
    ran = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    return ran, {line.split("|")[-1].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}


def frames_of(path: Path) -> list[np.ndarray]:
    """Frames of a file, by PyAV itself."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("words", "code"), [
    (["--help"], 0),
    (["upscale", "--help"], 0),
    (["--version"], 0),
    (["upscale", "gone.mp4"], 3),
    (["upscale", "text.mp4"], 3),
    (["upscale", "film.mp4", "-o", "there.mp4"], 4),
    (["upscale", "film.mp4", "-o", "there.mp4", "-n"], 0),
    (["upscale", "film.mp4", "-o", "film.mp4", "-y"], 4),
    (["upscale", "film.mp4", "-y", "-n"], 2),
    (["upscale", "film.mp4", "--tile", "8"], 2),
    (["upscale", "film.mp4", "--seconds", "0"], 2),
    (["upscale"], 2),
    (["upscale", "film.mp4", "--no-such-option"], 2),
    (["evaluate", "gone", "--model", "stinet-s"], 3),
    (["evaluate", "film.mp4", "--model", "blend+bicubic", "--json", "text.mp4/out.json"], 4),
    (["train", "gone.yaml"], 3),
    (["train", "recipe.yaml", "--set", "stepz=3"], 2),
    (["compare", "film.mp4", "gone.mp4"], 3),
    (["info", "film.mp4"], 0),
])  # fmt: skip
def test_what_needs_no_network_does_not_load_torch(film: Path, words: list[str], code: int) -> None:
    (film.parent / "text.mp4").write_text("no video, only some words\n" * 9)
    (film.parent / "there.mp4").write_bytes(b"")
    (film.parent / "recipe.yaml").write_text("steps: 2\n")
    ran, loaded = loading(film.parent, *words)
    assert ran.returncode == code, ran.stderr
    assert "stinet.cli" in loaded
    assert "torch" not in loaded


def test_help_loads_no_video_library_either(tmp_path: Path) -> None:
    ran, loaded = loading(tmp_path, "--help")
    assert "upscale" in ran.stdout
    assert not {"av", "numpy", "rich", "yaml"} & loaded


@pytest.mark.parametrize(("words", "code", "said"), [
    (["upscale", "gone.mp4"], 3, "gone.mp4: no such file"),
    (["upscale", "text.mp4"], 3, "text file"),
    (["upscale", "film.mp4", "-o", "text.mp4"], 4, "text.mp4: exists already"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "nonesuch"], 7, "nonesuch"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "stinet"], 7, "no trained weights"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "text.safetensors"], 7, "text.safetensors"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "small.safetensors", "--device", "abacus"], 6, "abacus"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "blend+bicubic", "--fps", "fast"], 2, "fast"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "blend+bicubic", "--size", "huge"], 2, "huge"),
    (["upscale", "film.mp4", "-o", "x.nix", "--model", "blend+bicubic"], 4, ".mp4"),
    (["upscale", "film.mp4", "-o", "x.mp4", "--model", "blend+bicubic", "--device", "abacus"], 6, "abacus"),
    (["evaluate", "film.mp4", "--model", ","], 2, "names no model"),
    (["evaluate", "film.mp4", "--model", "blend+bicubic", "--device", "abacus"], 6, "abacus"),
    (["evaluate", "film.mp4", "--model", "blend+bicubic", "--json", "text.mp4/out.json"], 4, "cannot be written"),
    (["train", "recipe.yaml", "--set", "stepz=3"], 2, "did you mean steps"),
    (["train", "recipe.yaml", "--set", "steps"], 2, "key=value"),
    (["train", "recipe.yaml", "--set", "steps.more=1"], 2, "steps"),
])  # fmt: skip
@pytest.mark.usefixtures("weights")
def test_every_error_is_one_line_and_its_own_exit_code(
    film: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(film.parent)
    for name in ("text.mp4", "text.safetensors"):
        Path(name).write_text("no video, only some words\n" * 9)
    Path("recipe.yaml").write_text("steps: 2\n")
    ran = stinet(*words)
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("stinet: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err
    assert not Path("x.mp4").exists()


def test_upscale_makes_four_times_the_size_at_twice_the_rate(film: Path, weights: Path, stinet: Stinet) -> None:
    ran = stinet("upscale", film, "--model", weights)
    (made,) = film.parent.glob("film_stinet_x4_*")
    assert ran.code == 0
    assert made.name == "film_stinet_x4_20fps.mp4"
    assert [frame.shape for frame in frames_of(made)] == [(64, 96, 3)] * 6
    assert ran.out.splitlines()[0] == str(made)
    assert all(word in ran.out for word in ("3 in, 6 out", "96x64", "20 frames/s", f"stinet upscale {film}"))


def test_a_network_of_scale_two_is_upscaled_with_and_measured(film: Path, clips: Path, stinet: Stinet) -> None:
    from stinet.checkpoint import save_model
    from stinet.config import PRESETS
    from stinet.model.stinet import STINet

    weights, out = film.parent / "double.safetensors", film.parent / "out.mp4"
    net = STINet(replace(PRESETS["stinet-xs"], channels=8, graph_channels=8, scale=2))
    save_model(weights, net, net.state_dict(), {})
    assert stinet("upscale", film, "-o", out, "--size", "x2", "--model", weights).code == 0
    assert [frame.shape for frame in frames_of(out)] == [(32, 48, 3)] * 6
    assert stinet("evaluate", clips / "one", "--model", weights, "--json", film.parent / "out.json").code == 0
    assert json.loads((film.parent / "out.json").read_text())["model"]["scale"] == 2


def test_evaluate_runs_with_the_fastest_number_of_threads(
    clips: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from stinet.runtime import cores, probe_threads

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(cores() + 1)
        assert stinet("evaluate", clips / "one", "--model", "blend+bicubic").code == 0
        assert torch.get_num_threads() == probe_threads()
    finally:
        torch.set_num_threads(before)


@pytest.mark.bad_input(39)
def test_everything_works_without_a_network(film: Path) -> None:
    forbid = """
import sys
from stinet.__main__ import main

def hear(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.")):
        raise RuntimeError(f"the network was asked for: {event}")

sys.addaudithook(hear)
main()
"""
    for words in (
        ["upscale", str(film), "--model", "stinet-xs", "--device", "cpu"],
        ["info", str(film), "--scan"],
    ):
        ran = subprocess.run([sys.executable, "-c", forbid, *words], check=False, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    (made,) = film.parent.glob("film_stinet_x4_*")
    assert len(frames_of(made)) == 6


@pytest.mark.bad_input(39)
def test_a_socket_would_be_seen() -> None:
    opens = "import socket, sys; sys.addaudithook(lambda event, _: event.startswith('socket.') and exit(9)); "
    ran = subprocess.run([sys.executable, "-c", f"{opens}socket.socket()"], check=False)
    assert ran.returncode == 9


@pytest.mark.bad_input(25)
def test_a_batch_keeps_every_good_film_and_names_the_bad_one(film: Path, stinet: Stinet) -> None:
    (film.parent / "words.mp4").write_text("no video, only some words\n" * 9)
    ran = stinet("upscale", film.parent, "-o", film.parent / "out", "--model", "blend+bicubic")
    assert ran.code == 3
    assert [len(frames_of(path)) for path in (film.parent / "out").iterdir()] == [6]
    assert "words.mp4" in ran.err
    assert "1 of 2 without an error" in ran.out


@pytest.mark.bad_input(25)
def test_y4m_goes_in_at_stdin_and_out_at_stdout(film: Path) -> None:
    with av.open(str(film)) as source:
        planes = [frame.to_ndarray(format="yuv420p").tobytes() for frame in source.decode(video=0)]
    stream = b"YUV4MPEG2 W24 H16 F10:1 Ip A1:1 C420\n" + b"".join(b"FRAME\n" + plane for plane in planes)
    command = [sys.executable, "-m", "stinet", "upscale", "-", "-o", "-", "--model", "blend+bicubic"]
    ran = subprocess.run(command, check=False, capture_output=True, input=stream, cwd=film.parent)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(b"YUV4MPEG2 W96 H64 F20:1")
    assert ran.stdout.count(b"FRAME") == 6
    (film.parent / "piped.y4m").write_bytes(ran.stdout)
    assert [frame.shape for frame in frames_of(film.parent / "piped.y4m")] == [(64, 96, 3)] * 6


def test_a_preview_is_drawn_from_the_result(film: Path, stinet: Stinet, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "look.png"
    assert stinet("upscale", film, "--model", "blend+bicubic", "--preview", picture).code == 0
    with Image.open(picture) as drawn:
        assert drawn.width > 2 * 96


def test_a_sample_is_the_middle_of_the_film(film: Path, stinet: Stinet) -> None:
    ran = stinet(
        "upscale", film, "--model", "blend+bicubic", "--sample", "0.1", "--fps", "keep", "--log-format", "json"
    )
    told = json.loads(ran.out)
    assert told["output"].endswith("_sample.mp4")
    assert told["frames_in"] == 1


def test_options_reach_the_result(film: Path, stinet: Stinet, tmp_path: Path) -> None:
    out = tmp_path / "new" / "small.mkv"
    options = ("--size", "x2", "--fps", "keep", "--seconds", "0.2", "--tile", "48")
    assert stinet("upscale", film, "-o", out, "--model", "blend+bicubic", *options).code == 0
    assert [frame.shape for frame in frames_of(out)] == [(32, 48, 3)] * 2


def test_an_existing_output_is_kept_skipped_or_replaced(film: Path, stinet: Stinet, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    words = ("upscale", film, "-o", out, "--model", "blend+bicubic")
    assert stinet(*words).code == 4
    skipped = stinet(*words, "-n")
    assert (skipped.code, out.read_bytes()) == (0, b"precious")
    assert "skipped" in skipped.out
    assert stinet(*words, "-y").code == 0
    assert len(frames_of(out)) == 6


def test_the_default_output_is_not_overwritten_unasked(film: Path, stinet: Stinet) -> None:
    words = ("upscale", film, "--model", "blend+bicubic")
    assert [stinet(*words).code, stinet(*words).code, stinet(*words, "-n").code] == [0, 4, 0]


def test_our_own_bug_is_not_dressed_up(film: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stinet.face.upscale_video", failing(ZeroDivisionError("ours")))
    monkeypatch.setattr(sys, "argv", ["stinet", "upscale", str(film)])
    with pytest.raises(ZeroDivisionError, match="ours"):
        main()


@pytest.mark.parametrize(("event", "code", "said"), [
    (KeyboardInterrupt(), 130, "interrupted"),
    (OSError(errno.ENOSPC, "No space", "out.mp4"), 4, "out.mp4: no space left"),
    (UsageError("two\nlines  and spaces"), 2, "two lines and spaces"),
])  # fmt: skip
def test_bad_luck_has_its_own_exit_code(
    film: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch, event: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr("stinet.face.upscale_video", failing(event))
    ran = stinet("upscale", film, "-o", "x.mp4")
    assert ran.code == code
    assert ran.err.splitlines() == [f"stinet: {ran.err.strip().removeprefix('stinet: ')}"]
    assert said in ran.err


def failing(event: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise event

    return fail


def test_evaluate_prints_a_table_and_writes_every_figure(clips: Path, stinet: Stinet, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "out.json"
    ran = stinet("evaluate", clips, "--model", "blend+bicubic,flow+bicubic", "--json", out)
    figures = json.loads(out.read_text())["models"]
    assert ran.code == 0
    assert list(figures) == ["blend+bicubic", "flow+bicubic"]
    assert set(figures["flow+bicubic"]["clips"]) == {"one", "two"}
    for name, model in figures.items():
        assert name in ran.out
        assert f"{model['mean']['psnr_db']:.2f}" in ran.out


def test_evaluate_writes_page_figures_and_frames_into_one_folder(clips: Path, stinet: Stinet, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "report"
    ran = stinet("evaluate", clips / "one", "--models", "blend+bicubic,flow+bicubic", "--report", folder)
    assert ran.code == 0
    assert {path.name for path in folder.iterdir()} == {"index.html", "figures.json", "frames.csv"}
    assert str(folder / "index.html") in ran.out
    assert "flow+bicubic" in (folder / "index.html").read_text(encoding="utf-8")
    figures = json.loads((folder / "figures.json").read_text())["models"]["flow+bicubic"]
    rows = (folder / "frames.csv").read_text().splitlines()
    assert len([row for row in rows if row.startswith("flow+bicubic,")]) == figures["mean"]["frames"] == 3


def test_a_file_named_beside_the_folder_goes_where_it_was_named(clips: Path, stinet: Stinet, tmp_path: Path) -> None:
    ran = stinet(
        "evaluate", clips / "one", "-m", "blend+bicubic", "--report", tmp_path / "r", "--json", tmp_path / "mine.json"
    )
    assert ran.code == 0
    assert (tmp_path / "mine.json").is_file()
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"index.html", "frames.csv"}


def test_one_model_gives_the_plain_object(clips: Path, stinet: Stinet, tmp_path: Path) -> None:
    assert stinet("evaluate", clips / "one", "--model", "blend+bicubic", "--json", tmp_path / "out.json").code == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    assert {"mean", "clips", "protocol", "model"} <= set(figures)
    assert {"psnr_db", "ssim", "given", "interpolated"} <= set(figures["mean"])


def test_settings_on_the_command_line_go_before_the_recipe(
    stinet: Stinet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[TrainConfig] = []

    def fit(config: TrainConfig, **views: object) -> SimpleNamespace:
        seen.append(config)
        return SimpleNamespace(done=config.total_steps)

    monkeypatch.setattr("stinet.train.fit.fit", fit)
    (tmp_path / "recipe.yaml").write_text("steps: 2\nbatch: 3\nloss: {kind: charbonnier}\n")
    changes = ("--set", "steps=7", "--set", "loss.kind=l2", "--set", "rate=1e-3", "--set", "out=some/where")
    assert stinet("train", tmp_path / "recipe.yaml", *changes).code == 0
    (config,) = seen
    assert (config.steps, config.batch, config.loss.kind, config.rate, config.out) == (7, 3, "l2", 1e-3, "some/where")


def test_a_training_run_that_is_stopped_early_ends_as_interrupted(
    stinet: Stinet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stinet.train.fit.fit", lambda config, **views: SimpleNamespace(done=config.steps - 1))
    (tmp_path / "recipe.yaml").write_text("steps: 2\n")
    assert stinet("train", tmp_path / "recipe.yaml").code == 130


def test_models_lists_every_preset_with_its_size(stinet: Stinet) -> None:
    from stinet.config import PRESETS
    from stinet.model.stinet import STINet

    lines = stinet("models").out.splitlines()
    for name, config in PRESETS.items():
        parameters = sum(parameter.numel() for parameter in STINet(config).parameters())
        assert any(line.split()[0] == name and f"{parameters:,}" in line for line in lines)


def test_info_says_what_is_in_a_file(stinet: Stinet) -> None:
    ran = stinet("info", CLIP)
    assert ran.code == 0
    assert all(word in ran.out for word in ("480x270", "h264", "29.97 frames/s", "105 frames", "audio aac"))


def test_compare_measures_and_draws(film: Path, stinet: Stinet, tmp_path: Path) -> None:
    ran = stinet("compare", film, film, "--picture", tmp_path / "pair.png")
    assert ran.code == 0
    assert "100.00 dB" in ran.out
    with Image.open(tmp_path / "pair.png") as picture:
        assert picture.width > 24


def test_progress_without_a_terminal_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "PLAIN_EVERY_S", 0)
    with cli.progress_bar("[clip]") as tell:
        tell(3, 10)
        tell(4, 0)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("[clip]: 3 of 10, ")
    assert first.endswith("s left")
    assert second.startswith("[clip]: 4 ")


def test_progress_on_a_terminal_shows_frames_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with cli.progress_bar("[clip]") as tell:
        tell(3, 10)
    shown = terminal.getvalue()
    assert all(word in shown for word in ("[clip]", "3/10", "/s", "\x1b["))


def test_names_between_commas_may_have_spaces_around_them() -> None:
    from stinet.cli.options import words

    assert words(" stinet-s, flow+bicubic ,,") == ("stinet-s", "flow+bicubic")
    assert words(" , ") == ()
