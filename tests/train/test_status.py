"""A run is told of from its folder alone: running, killed, stopped or finished."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stinet.errors import InputError, UsageError
from stinet.train.status import FILE, Heart, is_alive, read_status, refuse_second_process

ROWS = [
    {"step": 20, "stage": 0, "rate": 1e-3, "seconds": 30.0, "loss": 0.05, "gradient": 0.02, "reconstruction": 0.04,
     "data_share": 0.1, "images_per_s": 40.0, "offset_px": 0.25, "left_out": 0},
    {"step": 30, "seconds": 45.0, "validation": {"psnr_db": 28.5, "given_db": 29.0, "interpolated_db": 28.0}},
    {"step": 33, "skipped": "not finite", "loss": None, "gradient": None},
    {"step": 40, "stage": 1, "rate": 2e-3, "seconds": 3720.0, "loss": 0.03, "gradient": 0.01, "reconstruction": 0.025,
     "data_share": 0.1, "images_per_s": 41.0, "offset_px": 0.5, "left_out": 1},
    {"step": 60, "seconds": 3750.0, "validation": {"psnr_db": 28.25, "given_db": 28.8, "interpolated_db": 27.9}},
]  # fmt: skip
FACTS: dict[str, Any] = {"step": 61, "steps": 100, "stage": 1, "stages": 2, "skipped": 1, "step_s": 2.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS) + '{"step": 61, "lo')
    return tmp_path


def gone_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_running_run_tells_step_stage_losses_validation_speed_and_time_left(folder: Path) -> None:
    Heart(folder).beat(at_once=True, state="running", **FACTS)
    said = read_status(folder)
    assert f"running, process {os.getpid()}" in said
    for part in (
        "61 of 100 (61.0%), stage 2 of 2", "rate        0.002", "reconstruction 0.025", "28.250 dB at step 60",
        "best        28.500 dB at step 30", "skipped     1 steps", "2.00 s a step", "left        1 min 18 s",
        "trained     1 h 02 min", "0.500 px", "log.jsonl",
    ):  # fmt: skip
        assert part in said, part


def test_a_run_whose_process_is_gone_was_killed(folder: Path) -> None:
    heart = Heart(folder)
    heart.beat(at_once=True, state="running", pid=gone_process(), **FACTS)
    assert ": killed" in read_status(folder)
    refuse_second_process(folder)


def test_a_process_number_that_is_used_again_is_another_process(folder: Path) -> None:
    Heart(folder).beat(at_once=True, state="running", birth="1", **FACTS)
    assert ": killed" in read_status(folder)


def test_on_windows_no_process_is_signalled_and_the_heartbeat_decides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled: list[int] = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda pid, _: signalled.append(pid))
    Heart(folder).beat(at_once=True, state="running", **FACTS)
    run = json.loads((folder / FILE).read_text())
    assert is_alive(run)
    assert not is_alive({**run, "heard": time.time() - 600})
    assert not signalled


def test_a_finished_run_has_nothing_left(folder: Path) -> None:
    Heart(folder).beat(at_once=True, state="finished", **{**FACTS, "step": 100})
    said = read_status(folder)
    assert ": finished" in said
    assert "left  " not in said


def test_the_best_is_none_that_a_resumed_run_has_undone(folder: Path) -> None:
    resumed = {"step": 25, "seconds": 40.0, "validation": {"psnr_db": 27.0, "given_db": 27.5, "interpolated_db": 26.5}}
    with (folder / "log.jsonl").open("a") as log:
        log.write(f"\n{json.dumps(resumed)}\n")
    said = read_status(folder)
    assert "best        27.000 dB at step 25" in said
    assert "step        20" in said


def test_a_log_alone_is_enough(folder: Path) -> None:
    said = read_status(folder)
    assert "unknown" in said
    assert "step        40" in said


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run"):
        read_status(tmp_path)


def test_a_second_process_is_kept_out_of_the_folder(folder: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        heart = Heart(folder)
        birth = Path(f"/proc/{other.pid}/stat")
        started = birth.read_text().rpartition(")")[2].split()[19] if birth.exists() else ""
        heart.beat(at_once=True, state="running", pid=other.pid, birth=started, **FACTS)
        with pytest.raises(UsageError, match=f"process {other.pid} is training there"):
            refuse_second_process(folder)
    finally:
        other.kill()
        other.wait()
    refuse_second_process(folder)


def test_a_heart_beats_at_most_every_few_seconds_and_never_tears_its_file(folder: Path) -> None:
    heart = Heart(folder)
    heart.beat(step=1)
    heart.beat(step=2)
    assert json.loads((folder / FILE).read_text())["step"] == 1
    heart.beat(step=3, at_once=True)
    assert json.loads((folder / FILE).read_text())["step"] == 3
    assert is_alive(json.loads((folder / FILE).read_text()))
