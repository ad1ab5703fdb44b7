"""`stinet upscale` for people and programs: options, batches, Ctrl-C, JSON, odd terminals. The run is a stand-in."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import Stinet  # pyright: ignore[reportMissingImports]
from films import film, pictures
from stinet.cli import progress
from stinet.config import UpscaleConfig
from stinet.errors import DecodeError, Interrupted


class Made(SimpleNamespace):
    """A summary in three lines."""

    warnings: tuple[str, ...] = ()
    frames_out, seconds = 4, 0.5

    def line(self) -> str:
        return f"{self.output}: made"

    def report(self) -> list[str]:
        return [f"{self.output}", "  frames   2 in, 4 out"]

    def to_json(self) -> dict[str, Any]:
        return {"frames_out": self.frames_out, "warnings": list(self.warnings)}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the stand-in was asked for; names decide how it ends."""
    asked: list[dict[str, Any]] = []

    def upscale_video(source: Path, target: Path, **wish: Any) -> Made:
        asked.append({"source": source, "target": target, **wish})
        for made in (2, 4):
            wish["progress"](SimpleNamespace(frames_in=made // 2, frames_out=made, frames_expected=4, seconds=made / 4))
        if "bad" in source.name:
            raise DecodeError(f"{source}: nothing in it can be decoded")
        return Made(output=target, warnings=("1 corrupt packet",) if "odd" in source.name else ())

    plan = SimpleNamespace(lines=lambda: ["streams kept", "frames 4"], to_json=lambda: {"frames": 4})
    monkeypatch.setattr("stinet.face.upscale_video", upscale_video)
    monkeypatch.setattr("stinet.face.plan_upscale", lambda *_, **__: plan, raising=False)
    monkeypatch.setattr(
        "stinet.face.output_path", lambda source, output, config: source.with_name(f"{source.stem}_stinet_x4.mp4")
    )
    return asked


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a few files that nobody reads."""
    for name in ("a.mp4", "b.mp4", "bad.mp4", "odd.mp4"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(calls: list[dict[str, Any]]) -> UpscaleConfig:
    return calls[-1]["config"]


def test_every_option_reaches_the_config(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    words = """--fps 60000/1001 --cfr --slow-motion 4 --slow-audio drop --size 1080p --scene-cut 0.5 --dedup off
        --stream 2 --deinterlace auto --rate 24000/1001 --start 1:30 --seconds 0:00:05.5 --tile 64 --codec hevc
        --hardware --crf 12 --preset slow --pix-fmt yuv420p10le -e tune=grain -e x265-params=a=b --range full --restart
        --max-pixels 3840x2160 --max-seconds 1:00:00 --max-memory 1.5G --device cpu --engine torch
        --precision float32 --model blend+bicubic -y"""
    assert stinet("upscale", "a.mp4", "-o", "out.mkv", *words.split()).code == 0
    config = config_of(calls)
    assert (config.fps, config.cfr, config.size) == ("60000/1001", True, "1080p")
    assert (config.slow_motion, config.slow_audio) == (4, "drop")
    assert (config.scene_cut, config.dedup, config.tile.size_px) == ("0.5", "off", 64)
    assert (config.overwrite, config.restart, config.max_memory_bytes) == (True, True, 3 << 29)
    read, encode = config.read, config.encode
    assert (read.stream, read.deinterlace, read.rate) == (2, "auto", Fraction(24000, 1001))
    assert (read.start, read.seconds) == (90, Fraction(11, 2))
    assert (read.max_pixels, read.max_seconds) == (3840 * 2160, 3600)
    assert (encode.codec, encode.hardware, encode.crf, encode.preset) == ("hevc", True, 12, "slow")
    assert (encode.pix_fmt, encode.range) == ("yuv420p10le", "full")
    assert encode.options == (("tune", "grain"), ("x265-params", "a=b"))
    assert (calls[0]["target"], calls[0]["model"], calls[0]["device"]) == (Path("out.mkv"), "blend+bicubic", "cpu")
    assert (calls[0]["engine"], calls[0]["precision"]) == ("torch", "float32")


def test_without_options_the_config_is_the_default_one(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    assert stinet("upscale", "a.mp4").code == 0
    assert config_of(calls) == UpscaleConfig()


@pytest.mark.parametrize(("text", "seconds"), [
    ("5", Fraction(5)), ("5s", Fraction(5)), ("2.5", Fraction(5, 2)), (".5s", Fraction(1, 2)), ("1/3", Fraction(1, 3)),
    ("1:30", Fraction(90)), ("0:00:05.5", Fraction(11, 2)), ("100:00", Fraction(6000)),
])  # fmt: skip
def test_durations_are_read_as_people_write_them(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet, text: str, seconds: Fraction
) -> None:
    assert stinet("upscale", "a.mp4", "--seconds", text).code == 0
    assert config_of(calls).read.seconds == seconds


@pytest.mark.parametrize("words", [
    "--seconds 0", "--seconds -1", "--seconds 1:75", "--seconds 1:99:00", "--seconds five", "--start 1,5", "--rate 0",
    "--slow-motion 0", "--slow-audio loud", "--dedup maybe", "--range wide", "--progress yes", "--log-format xml",
    "--max-memory much", "--max-pixels 0", "-e novalue", "-e =3", "--stream -1", "--crf 99", "-y -n",
    "--sample 5 --seconds 5", "--preview out.jpg", "--preview out.png -o -", "--deinterlace always",
])  # fmt: skip
def test_a_wrong_option_is_a_usage_error_before_any_work(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet, words: str
) -> None:
    ran = stinet("upscale", "a.mp4", *words.split())
    assert (ran.code, calls) == (2, [])
    assert "Traceback" not in ran.err


@pytest.mark.bad_input(25)
def test_a_batch_ends_with_a_table_and_the_code_of_the_first_failure(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet
) -> None:
    ran = stinet("upscale", "a.mp4", "bad.mp4", "gone.mp4", "odd.mp4", "-o", "out")
    assert ran.code == 3
    table = ran.out.split("\n\n")[-1].splitlines()
    assert [line.split()[0] for line in table[1:5]] == ["a.mp4", "bad.mp4", "gone.mp4", "odd.mp4"]
    assert "nothing in it can be decoded" in table[2]
    assert "no such file" in table[3]
    assert "1 corrupt packet" in table[4]
    assert table[5].startswith("2 of 4 without an error")
    assert [line for line in ran.err.splitlines() if line.startswith("stinet: ")] == ran.err.splitlines()
    assert len(ran.err.splitlines()) == 2
    assert {call["target"] for call in calls} == {Path(f"out/{name}_stinet_x4.mp4") for name in ("a", "bad", "odd")}


def test_our_own_bug_in_a_batch_shows_its_traceback_and_the_others_go_on(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stinet.face.output_path", lambda *_: 1 / 0)
    ran = stinet("upscale", "a.mp4", "b.mp4")
    assert ran.code == 1
    assert ran.err.count("ZeroDivisionError") >= 2


def test_the_report_ends_with_the_command(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    ran = stinet("upscale", "a.mp4", "-o", "my film.mp4")
    assert ran.out.splitlines()[0] == "my film.mp4"
    assert ran.out.splitlines()[-1] == "  command  stinet upscale a.mp4 -o 'my film.mp4'"


def test_strict_makes_warnings_five(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    assert stinet("upscale", "odd.mp4").code == 0
    assert stinet("upscale", "odd.mp4", "--strict").code == 5
    assert stinet("upscale", "a.mp4", "--strict").code == 0


def test_a_rehearsal_prints_the_plan_as_lines_or_json(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    assert stinet("upscale", "a.mp4", "--dry-run").out == "streams kept\nframes 4\n"
    told = json.loads(stinet("upscale", "a.mp4", "--dry-run", "--log-format", "json").out)
    assert (told["frames"], told["state"], told["file"]) == (4, "planned", "a.mp4")
    assert calls == []


def test_the_report_as_json_is_a_line_for_every_file_failed_ones_too(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet
) -> None:
    ran = stinet("upscale", "a.mp4", "bad.mp4", "--log-format", "json")
    good, bad = (json.loads(line) for line in ran.out.splitlines())
    assert (good["state"], good["frames_out"], good["code"]) == ("done", 4, 0)
    assert good["command"].startswith("stinet upscale a.mp4")
    assert (bad["state"], bad["code"], ran.code) == ("failed", 3, 3)
    assert "nothing in it" in bad["error"]
    alone = stinet("upscale", "bad.mp4", "--log-format", "json")
    assert json.loads(alone.out)["code"] == alone.code == 3
    assert len(alone.err.splitlines()) == 1


def test_progress_as_json_is_a_line_on_stderr_and_the_last_frame_is_told(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = stinet("upscale", "a.mp4", "--progress", "json")
    first, last = (json.loads(line) for line in ran.err.splitlines())
    assert list(first) == ["frames_in", "frames_out", "frames_expected", "seconds", "eta_s", "file"]
    assert (first["frames_out"], first["eta_s"], first["file"]) == (2, None, "a.mp4")
    assert (last["frames_out"], last["eta_s"]) == (4, 0.0)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0)
    assert "a.mp4: 4 of 4" in stinet("upscale", "a.mp4").err
    assert stinet("upscale", "a.mp4", "--progress", "none").err == ""


def test_the_time_left_counts_only_what_this_run_has_made() -> None:
    first = SimpleNamespace(frames_in=500, frames_out=1000, frames_expected=1300, seconds=2.0)
    now = SimpleNamespace(frames_in=550, frames_out=1100, frames_expected=1300, seconds=12.0)
    facts: Any = progress._json_facts
    assert facts(now, first, "x")["eta_s"] == 20.0


def test_with_the_film_on_stdout_nothing_else_is_printed_there(
    here: Path, calls: list[dict[str, Any]], stinet: Stinet
) -> None:
    for words in ((), ("--log-format", "json"), ("--dry-run",)):
        ran = stinet("upscale", "a.mp4", "-o", "-", *words)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err != ""
    assert calls[0]["target"] == Path("-")


def test_a_trailing_slash_names_a_folder(here: Path, calls: list[dict[str, Any]], stinet: Stinet) -> None:
    assert stinet("upscale", "a.mp4", "-o", "new/").code == 0
    assert calls[0]["target"] == Path("new/a_stinet_x4.mp4")


RUN = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import stinet.face
from stinet.errors import Interrupted

def run(source, target, *, progress, stop, **_):
    progress(SimpleNamespace(frames_in=1, frames_out=2, frames_expected=None, seconds=1.0))
    print("going", flush=True)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)
        if stop() and "deaf" not in str(source):
            print("segment finished", flush=True)
            raise Interrupted("1 of 5 segments is done; the same command goes on")

stinet.face.upscale_video = run
stinet.face.output_path = lambda source, output, config: source.with_suffix(".out")
from stinet.__main__ import main
"""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A run in a process of its own that has begun."""
    script = f"{RUN}sys.argv = ['stinet', 'upscale', *{list(words)!r}]\nmain()\n"
    run = subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "going\n"
    return run


@pytest.mark.bad_input(29)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_once_finishes_the_segment_and_says_how_the_run_goes_on(here: Path) -> None:
    run = started(here, "a.mp4")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "segment finished" in out
    assert [line for line in err.splitlines() if line] == [
        "stinet: finishing the segment; Ctrl-C again stops at once",
        "stinet: 1 of 5 segments is done; the same command goes on",
    ]


@pytest.mark.bad_input(29)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_twice_stops_at_once(here: Path) -> None:
    (here / "deaf.mp4").write_bytes(b"x")
    run = started(here, "deaf.mp4")
    assert run.stderr is not None
    run.send_signal(signal.SIGINT)
    while "finishing the segment" not in run.stderr.readline():
        pass
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=10)
    assert run.returncode == 130
    assert "segment finished" not in out
    assert err.splitlines()[-1] == "stinet: interrupted"


@pytest.mark.bad_input(25, 29)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_in_a_batch_begins_no_other_file_and_the_table_says_so(here: Path) -> None:
    run = started(here, "a.mp4", "b.mp4", "gone.mp4", "--progress", "none")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "going" not in out
    assert err.splitlines()[-1].endswith("goes on")


def test_ctrl_c_before_the_first_frame_stops_at_once(
    here: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("stinet.face.upscale_video", plan)
    ran = stinet("upscale", "a.mp4", "-o", "x.mp4")
    assert (ran.code, ran.err) == (130, "stinet: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_tells_its_own_line(here: Path, stinet: Stinet, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise Interrupted("the same command goes on")

    monkeypatch.setattr("stinet.face.upscale_video", run)
    assert stinet("upscale", "a.mp4", "-o", "x.mp4").err == "stinet: the same command goes on\n"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "stinet", *words]


@pytest.fixture
def odd_name(tmp_path: Path) -> Path:
    """A film whose name not every terminal can show."""
    return film(tmp_path / "été 🎬.mkv", pictures(2, 16, 16), rate=Fraction(10))


@pytest.mark.bad_input(37)
def test_a_reader_that_has_gone_takes_nothing_from_the_work(odd_name: Path) -> None:
    for words in (["info", str(odd_name)], ["--version"]):
        reading, writing = os.pipe()
        os.close(reading)
        ran = subprocess.run(command(*words), check=False, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.bad_input(37)
@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")
def test_a_command_without_stdout_and_stderr_works_and_keeps_its_code(odd_name: Path) -> None:
    close = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, sys.argv[1:])"
    for path, code in ((odd_name, 0), (odd_name.with_name("gone.mkv"), 3)):
        ran = subprocess.run([sys.executable, "-c", close, *command("info", str(path))], check=False)
        assert ran.returncode == code


@pytest.mark.bad_input(37)
@pytest.mark.parametrize("odd", [
    {"TERM": "dumb"},
    {"NO_COLOR": "1"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"},
])  # fmt: skip
def test_on_an_odd_terminal_lines_are_plain_and_complete(odd_name: Path, odd: dict[str, str]) -> None:
    ran = subprocess.run(
        command("info", odd_name.name), cwd=odd_name.parent, check=False, capture_output=True, env={**os.environ, **odd}
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"0.200 s" in ran.stdout
    assert b"10 frames/s" in ran.stdout
    assert b"\x1b" not in ran.stdout
    gone = subprocess.run(
        command("upscale", "ö🎬.mkv"), cwd=odd_name.parent, check=False, capture_output=True, env={**os.environ, **odd}
    )
    assert gone.returncode == 3
    assert gone.stderr.count(b"\n") == 1
    assert b"no such file" in gone.stderr


@pytest.mark.bad_input(37)
@pytest.mark.parametrize(("term", "has_bar"), [("xterm", True), ("dumb", False)])
def test_a_bar_moves_only_on_a_terminal_that_can(monkeypatch: pytest.MonkeyPatch, term: str, *, has_bar: bool) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", "1")
    with progress.progress_bar("clip") as told:
        told(3, 10)
    shown = terminal.getvalue()
    assert ("\x1b[" in shown) == has_bar
    assert "\x1b[3" not in shown  # no colour
    assert "clip" in shown
