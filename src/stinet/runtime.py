"""What this machine offers: device, half precision, threads, memory. The only reader of the environment.

Nothing is assumed that can be measured in a moment: bfloat16 counts only when a small convolution is faster in it,
and the number of threads is the fewest that are about as fast as any. torch is loaded inside the functions, never by
importing this file: `prepare_threads` must run before torch is loaded, because OpenMP reads its waiting policy once.

This file knows no model and no video.
"""

import atexit
import contextlib
import functools
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stinet.errors import DeviceError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Processes",
    "cache_folder",
    "collect_seldom",
    "cores",
    "device",
    "ended_at_once",
    "fix_threads",
    "has_avx512",
    "has_bfloat16",
    "has_int8",
    "kept_signal_stack",
    "launched_processes",
    "may_write",
    "memory_available_bytes",
    "ordinary_priority",
    "peak_memory_bytes",
    "prepare_process",
    "prepare_threads",
    "probe_threads",
    "quiet_encoders",
    "release_memory",
    "resident_memory_bytes",
    "reuse_memory",
    "set_threads",
    "show_only_gpu",
    "use_fastest_threads",
]

_UNKNOWN_MEMORY_BYTES = 2 << 30
"""Assumed where the system does not say what is free."""

_NO_LIMIT_BYTES = 1 << 60
"""Version 1 control groups write a huge number for "no limit"."""

_WORTH = 0.9
"""More threads must bring the time down to this share, or the fewer stay."""


def device(name: str = "auto") -> "torch.device":
    """The device of that name: auto (the best there is), cpu, cuda, cuda:1, mps.

    Raises:
        DeviceError: an unknown name, or a device that this machine or this torch does not have.

    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise DeviceError(f"device {name!r} is unknown: choose auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not there: torch {torch.__version__} sees {count} CUDA devices; use cpu"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' is not there: it needs an Apple GPU and a torch built for it; use cpu")
    return torch.device(name)


@functools.cache
def has_bfloat16(kind: str = "cpu") -> bool:
    """Whether bfloat16 is worth using on this kind of device.

    On a CPU its flags are confirmed by a timing of about 50 ms.
    """
    import torch

    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and bool({"avx512_bf16", "amx_bf16"} & _cpu_flags()) and _bfloat16_is_faster()


@functools.cache
def has_avx512() -> bool:
    """Whether the processor has AVX-512 instructions."""
    return bool({"avx512_f", "avx512f"} & _cpu_flags())


def has_int8() -> bool:
    """Whether the processor adds products of 8 bits without losing any to sums of 16 bits, and quickly."""
    return bool({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "neon_i8mm", "i8mm"} & _cpu_flags())


def prepare_threads() -> bool:
    """Let waiting threads sleep instead of spin: call it before torch is loaded. False: too late, nothing was changed.

    Spinning threads are several times slower than sleeping ones as soon as another program wants a core. What the
    user has set stays.
    """
    if "torch" in sys.modules:
        return False
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return True


def collect_seldom() -> None:
    """Look for circles of garbage seldom: a tenth of the time in which torch is loaded goes into looking.

    What is in no circle, as tensors are, is freed at once as ever.
    """
    gc.set_threshold(50_000, 20, 100)


def prepare_process() -> None:
    """What a process of ours does before it loads torch: `prepare_threads`, `reuse_memory`, `collect_seldom`."""
    prepare_threads()
    reuse_memory()
    collect_seldom()


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Let the process end without taking apart what it holds, once what is inside has ended: it is half a second.

    Call it before anything else, in a process of our own: functions that are registered to run at exit still run, those
    that were registered before excepted, and what was printed is printed.
    """
    code = 1

    def end() -> None:
        with contextlib.suppress(OSError, ValueError):  # Python says what it makes of a closed pipe
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(code)

    atexit.register(end)  # the first to be registered is the last to run
    try:
        yield
        code = 0
    except SystemExit as wish:
        code = wish.code if isinstance(wish.code, int) else int(wish.code is not None)
        raise


def fix_threads(count: int) -> None:
    """Let this process use so many threads, whatever would be fastest: call it before torch is loaded."""
    os.environ["OMP_NUM_THREADS"] = str(count)


def quiet_encoders() -> None:
    """Keep SVT-AV1's banner off standard error: it has no other switch. What the user has set stays."""
    os.environ.setdefault("SVT_LOG", "0")


@contextlib.contextmanager
def ordinary_priority() -> Iterator[None]:
    """Take back what is done inside to the scheduling of this process's threads.

    SVT-AV1 makes itself, and the thread that opens it, real-time threads where it may: as root, so in most containers.
    They would leave nothing of the machine to anyone else.
    """
    if not hasattr(os, "sched_setscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").glob("*"):
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(int(thread.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread back the stack on which its signals are handled, whatever is done to it inside.

    OpenVINO gives the thread that compiles a model another one and frees it with the model: the next Ctrl-C would then
    end the process by a segmentation fault.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    import ctypes

    class Stack(ctypes.Structure):
        _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    library, before = ctypes.CDLL(None), Stack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)


@functools.cache
def reuse_memory() -> bool:
    """Let the C library keep freed buffers instead of handing each back to the system; False where that is not glibc's.

    Feature maps are tens of megabytes. By default every one is fresh memory that the kernel must clear first, 40 % of
    the time of a 480x270 clip. The price is a higher peak, since freed memory is kept.
    """
    import ctypes

    # glibc's numbers: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, and M_ARENA_MAX, since frames that one thread makes and
    # another frees would scatter over an arena for each
    options = {-3: 1 << 30, -1: -1, -8: 1}
    try:
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(option, value) == 1 for option, value in options.items())
    except (OSError, TypeError, AttributeError):
        return False


def release_memory() -> None:
    """Give what the C library holds free back to the system, so that holes do not add up over a long video."""
    import ctypes

    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def probe_threads(task: Callable[[], object] | None = None) -> int:
    """The number of threads with which `task` (default: a few small convolutions) is fastest; fewer win a near tie.

    Leaves torch's setting as it was. The default task is timed once in a process.
    """
    return _probed() if task is None else _fastest(task)


def use_fastest_threads() -> int:
    """Set torch to the probed number of threads, unless OMP_NUM_THREADS says how many; gives the number in use."""
    import torch

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(probe_threads())
    return torch.get_num_threads()


def show_only_gpu(index: int) -> None:
    """Let this process see one GPU alone; before anything in it has used one."""
    os.environ["CUDA_VISIBLE_DEVICES"] = str(index)


class Processes(NamedTuple):
    """Processes that were started together."""

    total: int
    local: int
    """Of them on this machine."""
    is_launched: bool
    """Whether torchrun (or its like) started them; False: this one is alone."""


def launched_processes() -> Processes:
    """How many processes torchrun started, by the variables that it sets."""
    total = int(os.environ.get("WORLD_SIZE", "1"))
    return Processes(total, int(os.environ.get("LOCAL_WORLD_SIZE", total)), "TORCHELASTIC_RUN_ID" in os.environ)


def memory_available_bytes(kind: str = "cpu") -> int:
    """Memory that can still be taken.

    The least of what the system and the control group leave; on cuda, what the GPU has free.
    """
    if kind == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    known = [left for left in (_system_bytes(), *_group_bytes()) if left is not None]
    return max(min(known), 0) if known else _UNKNOWN_MEMORY_BYTES


def peak_memory_bytes() -> int:
    """The most memory that this process has had at once; 0 where the system does not say."""
    for line in _lines(Path("/proc/self/status")):  # Linux's ru_maxrss counts what started this process, too
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again, a folder of ours in it; not made here."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "stinet"
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        return Path(named) / "stinet"
    return Path.home() / ("AppData/Local" if sys.platform == "win32" else ".cache") / "stinet"


def resident_memory_bytes() -> int | None:
    """Memory that this process has now; None where the system does not say."""
    fields = " ".join(_lines(Path("/proc/self/statm"))).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None


def may_write(folder: Path) -> bool:
    """Whether this process may make files in a folder, as the system declares it."""
    return os.access(folder, os.W_OK | os.X_OK)


def set_threads(count: int | None = None) -> int:
    """Set torch to that many threads (None: the fastest number); gives the number in use."""
    import torch

    if count is None:
        return use_fastest_threads()
    torch.set_num_threads(count)
    return count


def _cpu_flags() -> set[str]:
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, is_there in torch.cpu.get_capabilities().items() if is_there is True}
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("flags"):
            return set(line.split())
    return set()


def _bfloat16_is_faster() -> bool:
    import torch

    def seconds(dtype: torch.dtype) -> float:
        image = torch.zeros(1, 32, 128, 128, dtype=dtype).contiguous(memory_format=torch.channels_last)
        conv = torch.nn.Conv2d(32, 32, 3, padding=1, dtype=dtype)
        with torch.inference_mode():
            conv(image)
            return min(_seconds(lambda: conv(image)) for _ in range(5))

    return seconds(torch.bfloat16) < _WORTH * seconds(torch.float32)


@functools.cache
def _probed() -> int:
    import torch

    image = torch.zeros(1, 32, 160, 160).contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(32, 32, 3, padding=1)

    def task() -> None:
        with torch.inference_mode():
            torch.relu(conv(torch.relu(conv(image))))

    return _fastest(task)


def _fastest(task: Callable[[], object]) -> int:
    import torch

    before = torch.get_num_threads()
    best, best_s = 1, float("inf")
    try:
        for count in _candidates(cores()):
            torch.set_num_threads(count)
            task()  # threads start and memory is laid out outside the timing
            spent = min(_seconds(task) for _ in range(4))
            if spent < _WORTH * best_s:
                best, best_s = count, spent
    finally:
        torch.set_num_threads(before)
    return best


def _candidates(limit: int) -> list[int]:
    """1, 2, 4, ... and the limit itself."""
    return sorted({min(1 << power, limit) for power in range(limit.bit_length() + 1)})


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _system_bytes() -> int | None:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _group_bytes() -> list[int]:
    """What each control group around this process (versions 2 and 1) leaves; empty without limits."""
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")]
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, inside = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "memory"):
            base = roots[controllers == "memory"]
            roots += [base / part for part in (Path(inside.lstrip("/")), *Path(inside.lstrip("/")).parents)]
    return [left for root in dict.fromkeys(roots) if (left := _left_in(root)) is not None]


def _left_in(group: Path) -> int | None:
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    )
    for limit_name, used_name, cache_name in names:
        limit, used = _number(group / limit_name), _number(group / used_name)
        if limit is None or used is None or limit >= _NO_LIMIT_BYTES:
            continue
        cache = [int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith(f"{cache_name} ")]
        return limit - used + sum(cache)
    return None


def _number(path: Path) -> int | None:
    first = next(iter(_lines(path)), "")
    return int(first) if first.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
