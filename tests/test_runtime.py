"""What the machine offers is measured, and torch stays unloaded until it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stinet import runtime
from stinet.errors import DeviceError


def test_importing_runtime_loads_no_torch_and_waiting_threads_will_sleep() -> None:
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); import stinet.runtime as r;"
        "assert 'torch' not in sys.modules; assert r.prepare_threads();"
        "assert os.environ['OMP_WAIT_POLICY'].lower() == 'passive'; import torch; assert not r.prepare_threads()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_the_user_set_stays() -> None:
    code = (
        "import os; os.environ['OMP_WAIT_POLICY'] = 'active'; import stinet.runtime as r; r.prepare_threads();"
        "assert os.environ['OMP_WAIT_POLICY'] == 'active'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_cpu_is_always_there() -> None:
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", "tpu", ""])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match="device"):
        runtime.device(name)


def test_the_cache_is_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    cases = {
        ("linux", "XDG_CACHE_HOME", str(tmp_path / "x")): tmp_path / "x" / "stinet",
        ("linux", "XDG_CACHE_HOME", ""): tmp_path / ".cache" / "stinet",
        ("linux", "XDG_CACHE_HOME", "not/absolute"): tmp_path / ".cache" / "stinet",
        ("darwin", "XDG_CACHE_HOME", str(tmp_path / "x")): tmp_path / "Library" / "Caches" / "stinet",
        ("win32", "LOCALAPPDATA", str(tmp_path / "w")): tmp_path / "w" / "stinet",
        ("win32", "LOCALAPPDATA", ""): tmp_path / "AppData" / "Local" / "stinet",
    }
    for (system, name, value), expected in cases.items():
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setenv(name, value)
        assert runtime.cache_folder() == expected


class FakeClock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(runtime, "time", fake)
    return fake


def test_the_probe_prefers_few_threads_when_more_do_not_help(clock: FakeClock) -> None:
    before = torch.get_num_threads()
    assert runtime.probe_threads(lambda: clock.sleep(0.002)) == 1
    assert torch.get_num_threads() == before


def test_the_probe_finds_the_threads_that_help(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 6)
    before = torch.get_num_threads()
    found = runtime.probe_threads(lambda: clock.sleep(0.004 / min(torch.get_num_threads(), 4)))
    assert found == 4
    assert torch.get_num_threads() == before


def test_bfloat16_is_a_steady_answer() -> None:
    first = runtime.has_bfloat16()
    assert isinstance(first, bool)
    assert runtime.has_bfloat16() is first


def test_free_memory_is_between_nothing_and_the_machine() -> None:
    assert 1 << 20 < runtime.memory_available_bytes() < 1 << 50


def test_a_control_group_limits_the_memory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert runtime._left_in(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert runtime._left_in(tmp_path) is None


def test_a_process_does_not_count_the_memory_of_the_one_that_started_it() -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    code = "from stinet import runtime; print(runtime.peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert runtime.peak_memory_bytes() >= len(held) > int(done.stdout)
    if sys.platform == "linux":
        assert int(done.stdout) > 5_000_000


@pytest.mark.parametrize(
    ("last", "code"), [("pass", 0), ("raise SystemExit(7)", 7), ("raise SystemExit", 0), ("1 / 0", 1)]
)
def test_a_process_that_ends_at_once_has_said_everything_and_takes_nothing_apart(last: str, code: int) -> None:
    script = f"""
import atexit
from stinet import runtime

class Held:
    def __del__(self):
        print("taken apart")

with runtime.ended_at_once():
    held = Held()
    atexit.register(print, "at exit")
    print("inside")
    {last}
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout.split("\n") == ["inside", "at exit", ""]
    assert ("ZeroDivisionError" in done.stderr) == (last == "1 / 0")
