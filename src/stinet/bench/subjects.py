"""What is timed: a model on an engine, in a precision, on so many threads; and what a machine offers of these.

An engine that is not installed, or that has no such precision, is no error of the user's: it is left out and said.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from stinet import runtime
from stinet.catalogue import ENGINES, TRAININGS, clip_function, weights_file
from stinet.config import PRESETS, ClipFunction, ModelConfig, Movable
from stinet.engines.ranges import ranges_file
from stinet.errors import DeviceError, StinetError, UsageError
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.peers.pairs import PEERS

__all__ = [
    "YARDSTICK",
    "Subject",
    "as_shipped",
    "build",
    "config_of",
    "engines",
    "finish",
    "has_ranges",
    "on_threads",
    "precisions",
    "shipped",
]

YARDSTICK = "flow+bicubic"
"""The peer that every model is measured against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing that is timed."""

    model: str
    engine: str = "torch"
    precision: str = "float32"
    """float32, bfloat16, float16 or int8; auto, where it is built: what the engine chooses."""
    threads: int = 1
    device: str = "cpu"

    @property
    def is_network(self) -> bool:
        """Whether it is no peer."""
        return self.model not in PEERS

    @property
    def yardstick(self) -> "Subject":
        """The peer on as many threads."""
        return Subject(model=YARDSTICK, threads=self.threads)

    @property
    def eager(self) -> "Subject":
        """The same model as PyTorch runs it without further ado."""
        return replace(self, engine="torch", precision="float32")

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.model}, {self.engine} {self.precision}, {threads if self.device == 'cpu' else self.device}"


def engines() -> tuple[str, ...]:
    """Those that can be used here; PyTorch always can."""
    return tuple(name for name in ENGINES if name != "auto" and importlib.util.find_spec(name) is not None)


def precisions(device: str = "cpu") -> tuple[str, ...]:
    """Those worth a try on this device: int8 only by engines that have it."""
    kind = torch.device(device).type
    half = ("bfloat16",) if runtime.has_bfloat16(kind) else ("float16",) if kind != "cpu" else ()
    return ("float32", *half, *(("int8",) if kind == "cpu" else ()))


def shipped() -> tuple[str, ...]:
    """Networks whose weights are inside the package, in the order of the family; for real footage where they are."""
    return tuple({preset: name for name, preset in TRAININGS.items() if _has_weights(name)}.values())


def has_ranges(name: str) -> bool:
    """Whether a network's weights come with ranges for int8, and this CPU has the instructions for it."""
    try:
        return runtime.has_int8() and ranges_file(weights_file(name)).is_file()
    except StinetError:
        return False


def as_shipped(subject: Subject) -> ClipFunction:
    """The clip function in the precision that its engine chooses, whatever the subject says.

    Raises:
        StinetError: what the catalogue says of the model, the engine or the device.

    """
    if subject.model in PRESETS and not _has_weights(subject.model) and subject.engine == "torch":
        device = runtime.device(subject.device)
        return NetworkClip(STINet(PRESETS[subject.model]), device, torch.float32, subject.model)
    if not subject.is_network:
        return clip_function(subject.model)
    return clip_function(subject.model, device=subject.device, engine=subject.engine)


def build(subject: Subject) -> ClipFunction:
    """The clip function of a subject; a preset without weights is made fresh, since time does not depend on them.

    Raises:
        DeviceError: the engine does not have that precision here.
        StinetError: what the catalogue says of the model, the engine or the device.

    """
    if subject.engine not in engines():
        raise UsageError(f"engine {subject.engine!r} is not there: choose from {', '.join(engines())}")
    if subject.precision == "int8" and subject.engine == "torch":
        raise DeviceError("the torch engine has no int8: use openvino")
    fn = as_shipped(subject)
    if not isinstance(fn, Movable):
        if subject.precision not in ("auto", "float32"):
            raise DeviceError(f"{subject.model} has no {subject.precision}: it computes in float32")
        return fn
    if subject.precision not in ("auto", fn.precision):
        fn = fn.at(precision=subject.precision, device=str(fn.device))
    return fn


@contextlib.contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch, and what follows its number, use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finish(kind: str) -> None:
    """Wait until a kind of device has done what it was given; a CPU has done it already."""
    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()


def config_of(fn: ClipFunction) -> ModelConfig | None:
    """The settings of the network behind a clip function; None: there is none."""
    net = getattr(fn, "net", None)
    return net.config if isinstance(net, STINet) else None


def _has_weights(name: str) -> bool:
    try:
        return weights_file(name).exists()
    except StinetError:
        return False
