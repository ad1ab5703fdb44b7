"""What a run says of itself in `run.json`, and what `stinet train --status DIR` makes of that and of the log.

The file is replaced whole every few seconds, so that anyone may read it at any time, on any machine that sees the
folder. Reading it touches nothing and loads no torch.
"""

import json
import math
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stinet.errors import InputError, UsageError
from stinet.report.curves import current_rows, read_rows

__all__ = ["Heart", "duration", "is_alive", "read_status", "refuse_second_process"]

FILE = "run.json"

BEAT_S = 5.0


class Heart:
    """Writes `run.json`: who trains here, how far it is, and when it was last heard of."""

    def __init__(self, out: Path) -> None:
        self._file = out / FILE
        self._told: dict[str, Any] = {
            "pid": os.getpid(), "host": socket.gethostname(), "birth": _birth(os.getpid()), "started": time.time()
        }  # fmt: skip
        self._last = -math.inf

    def beat(self, *, at_once: bool = False, **facts: Any) -> None:
        """Tell these facts, if the last time is long enough ago."""
        now = time.monotonic()
        self._told |= facts
        if at_once or now - self._last >= BEAT_S:
            self._last = now
            part = self._file.with_name(f".{FILE}.part")
            part.write_text(json.dumps({**self._told, "heard": time.time()}, indent=1) + "\n", encoding="utf-8")
            part.replace(self._file)


def refuse_second_process(out: Path) -> None:
    """Two processes in one folder would write over each other.

    Raises:
        UsageError: the process of the folder's run is alive.

    """
    run = _read(out / FILE)
    if run.get("state") == "running" and run.get("pid") != os.getpid() and is_alive(run):
        raise UsageError(f"{out}: process {run['pid']} is training there; stop it first, or choose another out")


def is_alive(run: Mapping[str, Any]) -> bool:
    """Whether the process of a `run.json` runs on this machine; on another one: whether it was heard of lately.

    So too on Windows, where signal 0 is no question: it is Ctrl-C.
    """
    if sys.platform == "win32" or run.get("host") != socket.gethostname():
        return time.time() - run.get("heard", 0) < 12 * BEAT_S
    try:
        os.kill(int(run["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return run.get("birth") == _birth(int(run["pid"]))


def read_status(out: Path) -> str:
    """All that is known of a run, running or finished, as lines of text.

    Raises:
        InputError: there is no run.

    """
    log = out / "log.jsonl"
    rows = current_rows(read_rows(log)) if log.exists() else []
    run = _read(out / FILE)
    if not rows and not run:
        raise InputError(f"{out}: holds no training run (neither {FILE} nor log.jsonl)")
    logged = [row for row in rows if "loss" in row and "skipped" not in row]
    measured = [row for row in rows if "validation" in row]
    lines = [f"{out}: {_state(run)}"]
    last = logged[-1] if logged else {}
    done, steps = run.get("step", last.get("step", 0)), run.get("steps")
    share = f" of {steps} ({done / steps:.1%})" if steps else ""
    stage = f", stage {run['stage'] + 1} of {run['stages']}" if run.get("stages", 1) > 1 else ""
    lines.append(f"  step        {done}{share}{stage}")
    if last:
        known = {"step", "seconds", "rate", "stage", "data_share", "images_per_s", "left_out", "offset_px"}
        terms = "  ".join(f"{name} {value:.4g}" for name, value in last.items() if name not in known)
        lines.append(f"  rate        {last['rate']:.3g}")
        lines.append(f"  losses      {terms}  (means up to step {last['step']})")
    if "offset_px" in last:
        lines.append(f"  offsets     {last['offset_px']:.3f} px in the mean")
    if measured:
        lines.append(f"  validation  {_figures(measured[-1])}")
        lines.append(f"  best        {_figures(max(measured, key=lambda row: row['validation']['psnr_db']))}")
    lines.append(f"  skipped     {run.get('skipped', last.get('left_out', 0))} steps")
    if run.get("step_s"):
        speed = f"{run['step_s']:.2f} s a step, {run.get('images_per_s', 0):.1f} images/s"
        lines.append(f"  speed       {speed}, {run.get('data_share', 0):.0%} of it waiting for data")
        if steps and done < steps:
            lines.append(f"  left        {duration((steps - done) * run['step_s'])}")
    lines.append(f"  trained     {duration(last.get('seconds', 0))}{_device(run)}")
    written = sorted((path for path in out.iterdir() if path.is_file()), key=lambda path: -path.stat().st_mtime)
    ages = (f"{path.name} {duration(time.time() - path.stat().st_mtime)} ago" for path in written[:8])
    lines.append(f"  written     {', '.join(ages)}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """`3 h 05 min`, `4 min 10 s`, `8 s`."""
    whole = round(max(seconds, 0))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def _state(run: Mapping[str, Any]) -> str:
    if not run:
        return "unknown (no run.json)"
    ago = f"heard of {duration(time.time() - run.get('heard', 0))} ago"
    state = run.get("state", "running")
    if state == "running":
        who = f"process {run.get('pid')} on {run.get('host')}"
        return f"running, {who}, {ago}" if is_alive(run) else f"killed: {who} is gone, {ago}"
    return f"{state}, {ago}"


def _device(run: Mapping[str, Any]) -> str:
    if "device" not in run:
        return ""
    many = f"{run['processes']} processes, " if run.get("processes", 1) > 1 else ""
    return f" ({many}{run['device']}, {run['precision']})"


def _figures(row: Mapping[str, Any]) -> str:
    found = row["validation"]
    return (
        f"{found['psnr_db']:.3f} dB at step {row['step']} (given {found['given_db']:.3f},"
        f" interpolated {found['interpolated_db']:.3f})"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _birth(pid: int) -> str:
    """When a process was started, in the system's ticks: a number that is used again is not the same process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
