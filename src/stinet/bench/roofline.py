"""Where a model's time goes, phase by phase, and how far each phase is from what the machine allows.

    bound = max(multiply-adds / peak of convolution,  bytes / bandwidth)
    share of the peak = multiply-adds / time / peak

Bytes are what a phase cannot do without: what goes in, what comes out and its weights, once. What PyTorch's operators
read and wrote beyond that is `moved`. Peak and bandwidth are measured in the same rounds as the phases. The torch
engine alone: hooks on its modules tell the phases apart, and a compiled graph has none.

Phases are those of the paper; `flow` is optical flow, `around` what is between the phases. The
multiply-adds of a flow are the convolutions of PyTorch's own version, whoever computes it; dense inverse search has
none.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from stinet.bench.film import moving
from stinet.bench.peak import Stack, bandwidth
from stinet.bench.subjects import finish, on_threads
from stinet.config import ClipFunction
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.ops.farneback import expand

__all__ = ["PHASES", "Phase", "PhaseCounter", "Stopwatch", "by_phase", "furthest", "hooked", "roofline"]

PHASES = ("S-SR", "flow", "ST-FI", "ST-LR", "ST-GR", "reconstruction", "around")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one phase costs for one output frame of a window."""

    name: str
    macs: float
    bytes: float
    """In, out and weights."""
    moved: float
    """What PyTorch's operators read and wrote."""
    seconds: float
    time_share: float
    peak_share: float
    bound_s: float
    """What the machine would need at its best."""

    @property
    def distance(self) -> float:
        """How many times its bound a phase takes; infinite for one that would need none."""
        return self.seconds / self.bound_s if self.bound_s else float("inf")


@dataclass(slots=True)
class _Counts:
    macs: float = 0.0
    bytes: float = 0.0
    moved: float = 0.0


def furthest(phases: Sequence[Phase]) -> Phase:
    """The phase that loses the most time against its bound."""
    return max(phases, key=lambda phase: phase.seconds - phase.bound_s)


def roofline(
    fn: NetworkClip, size: tuple[int, int], stacks: Sequence[Stack], *, threads: int, repeat: int, core: int = 8
) -> list[Phase]:
    """Every phase of a warm window of `core` intervals of `size` = (width, height), per output frame."""
    kind = fn.device.type
    with on_threads(threads):
        window = _Window(fn, size, core)
        counts = window.counts()
        window.seconds()  # warm: threads start and memory is laid out
        rounds = [
            (window.seconds(), max(stack.rate() for stack in stacks), bandwidth(threads, kind)) for _ in range(repeat)
        ]
    totals = [sum(spent.values()) for spent, _, _ in rounds]
    phases = []
    for name in PHASES:
        seconds = [spent[name] for spent, _, _ in rounds]
        count = counts[name]
        bounds = [max(count.macs / peak, count.bytes / stream) for _, peak, stream in rounds]
        shares = [count.macs / s / peak if s else 0.0 for s, (_, peak, _) in zip(seconds, rounds, strict=True)]
        phases.append(
            Phase(
                name=name,
                macs=count.macs / window.outputs,
                bytes=count.bytes / window.outputs,
                moved=count.moved / window.outputs,
                seconds=statistics.median(seconds) / window.outputs,
                time_share=statistics.median(s / total for s, total in zip(seconds, totals, strict=True)),
                peak_share=statistics.median(shares),
                bound_s=statistics.median(bounds) / window.outputs,
            )
        )
    return phases


class _Window:
    """A window of a film: its first frames are known from the one before, the last `core` are new."""

    def __init__(self, fn: NetworkClip, size: tuple[int, int], core: int) -> None:
        self.fn, self.core = fn, core
        sources = core + 2 * fn.reach
        self.outputs = 2 * core
        self.times = ((0.5,),) * (sources - 1)
        self.frames = [
            torch.from_numpy(frame.rgb).permute(2, 0, 1).float().div_(255) for frame in islice(moving(*size), sources)
        ]
        self.known = [fn.prepare(frame) for frame in self.frames[:-core]]
        fn.context(self.known, self.times)

    def seconds(self) -> dict[str, float]:
        """Time of every phase, once through the window."""

        def clock() -> float:
            finish(self.fn.device.type)
            return time.perf_counter()

        watch = Stopwatch(clock)
        with torch.inference_mode():
            by_phase(self.fn, self._prepare, self.times, watch)
        return watch.read()

    def counts(self) -> dict[str, _Counts]:
        """Multiply-adds and bytes of every phase, once through the window."""
        counter = PhaseCounter()

        def enter(phase: str, given: Any) -> None:
            counter.counts[phase].bytes += _bytes(given)

        def leave(phase: str, module: nn.Module, made: Any) -> None:
            counter.counts[phase].bytes += _bytes(made) + _bytes(list(module.parameters()))

        with hooked(self.fn.net, enter, leave), counter, torch.no_grad():
            by_phase(self.fn, self._prepare, self.times, counter.begin)
        counter.counts["flow"] = self._flow_counts(counter.counts["flow"].moved)
        return counter.counts

    def _flow_counts(self, moved: float) -> _Counts:
        """A grey frame in and its two flows out, `core` times."""
        if self.fn.net.config.flow == "none":
            return _Counts()
        counter = PhaseCounter()
        exact = self.frames[-1][None].double()  # in double precision nobody else computes it
        if self.fn.net.config.flow_by == "farneback":
            with counter, torch.no_grad():
                _ = expand(exact).levels
        macs = sum((count.macs for count in counter.counts.values()), 0.0)
        height, width = exact.shape[-2:]
        return _Counts(macs * self.core, (1.0 + 4) * 4 * height * width * self.core, moved)

    def _prepare(self) -> list[Any]:
        if self.known:
            self.known[-1].following = None
        return [*self.known, *(self.fn.prepare(frame) for frame in self.frames[-self.core :])]


class PhaseCounter(TorchDispatchMode):
    """Counts multiply-adds and operand bytes of every operator, for the phase that is going on."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "around"
        self.counts: dict[str, _Counts] = defaultdict(_Counts)

    def begin(self, phase: str) -> None:
        """From here on operators are of this phase."""
        self.phase = phase

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        count = self.counts[self.phase]
        if (flops := flop_registry.get(func.overloadpacket)) is not None:
            count.macs += flops(*args, **kwargs, out_val=made) / 2
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in given}
        new = [x for x in tree_leaves(made) if isinstance(x, Tensor)]
        is_view = all(x.untyped_storage().data_ptr() in places for x in new) and not func._schema.is_mutable
        if not is_view:
            count.moved += _bytes(given) + _bytes(new)
        return made


class Stopwatch:
    """Seconds of every phase, by the times at which phases begin."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spent: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._phase, self._since = "", 0.0

    def __call__(self, phase: str) -> None:
        """A phase begins; the one before ends."""
        now = self._clock()
        if self._phase:
            self._spent[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def read(self) -> dict[str, float]:
        """The last phase ends here."""
        self("")
        return self._spent


def by_phase(
    fn: ClipFunction, prepare: Callable[[], list[Any]], times: Sequence[Sequence[float]], begins: Callable[[str], None]
) -> None:
    """Make a clip of what `prepare` gives; `begins` hears the name of every phase that begins.

    Until flows are known, what is in no other phase is flow; then it is around. All of a pipeline is around.
    """
    net = getattr(fn, "net", None)
    outside = "flow" if isinstance(net, STINet) else "around"
    watched = nullcontext()
    if isinstance(net, STINet):
        watched = hooked(net, lambda phase, _: begins(phase), lambda *_: begins(outside))
    with watched:
        begins(outside)
        states = prepare()
        nodes = fn.context(states, times)
        outside = "around"
        begins(outside)
        fn.run(states, times, nodes)


@contextmanager
def hooked(
    net: STINet, enter: Callable[[str, Any], None], leave: Callable[[str, nn.Module, Any], None]
) -> Iterator[None]:
    """Hear of every phase's begin and end."""
    parts: list[tuple[str, nn.Module | None]] = [
        ("S-SR", net.features_net), ("ST-FI", net.interpolate), *(("ST-LR", module) for module in net.local),
        ("ST-GR", net.relate), ("reconstruction", net.reconstruct), ("reconstruction", net.compose),
    ]  # fmt: skip
    handles = []
    for phase, module in parts:
        for one in module.values() if isinstance(module, nn.ModuleDict) else () if module is None else (module,):
            handles.append(
                one.register_forward_pre_hook(
                    lambda _, args, kwargs, phase=phase: enter(phase, (args, kwargs)), with_kwargs=True
                )
            )
            handles.append(one.register_forward_hook(lambda module, _, made, phase=phase: leave(phase, module, made)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _bytes(tree: Any) -> float:
    """Of every tensor in it, as often as it is there."""
    return float(sum(x.numel() * x.element_size() for x in tree_leaves(tree) if isinstance(x, Tensor)))
