"""What every model costs: parameters, multiply-adds, frames a second, memory; for our networks phase by phase.

All of the papers' input: 4 frames of 180x144 in, 7 of 720x576 out, every frame from nothing, one thread.

    seconds        of the processor, not of the clock, so that a busy machine does not blur them; the models take
                   turns, and a model that has had its share of time gets no further turn. Median over turns.
    multiply-adds  of convolutions and matrix products, by PyTorch's counter; per output pixel and output frame.
                   Optical flow is not in it, nor what another library computes, as ncnn does for SPAN.
    tensors        the most bytes that tensors made during a pass held at one time, by phase
    memory         the most that a process held which builds the model and runs it once, PyTorch itself included

A network without weights is made fresh: what it costs does not depend on them. `sepconv+rcan` is a pair of such.
"""

import json
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from stinet import runtime
from stinet.bench.roofline import PHASES, PhaseCounter, Stopwatch, by_phase
from stinet.bench.subjects import on_threads
from stinet.catalogue import clip_function, weights_file
from stinet.config import PRESETS, ClipFunction
from stinet.errors import ModelError, StinetError
from stinet.evaluate.speed import parameter_count, precision_of
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.peers.clip import RivalClip
from stinet.peers.networks import RIVALS, build
from stinet.peers.pairs import CLASSIC, PEERS
from stinet.peers.parts import RivalClipNet, RivalNet
from stinet.peers.published import PUBLISHED
from stinet.peers.stage_nets import names_networks, untrained_pair

__all__ = ["Cost", "PhaseCost", "cost_of", "costs", "main", "names"]

_FRAMES, _SIZE = 4, (144, 180)
_COUNTED_SIZE = (64, 64)
"""Height and width on which a network's multiply-adds are counted: a pixel costs the same on every other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """One phase of a network, its seconds per output frame."""

    name: str
    parameters: int
    macs_per_px: float
    seconds: float
    tensor_bytes: float
    """The most that tensors of the pass held while this phase ran, those of earlier phases that live on included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One model; figures that it does not have are None."""

    model: str
    precision: str
    parameters: int | None
    macs_per_px: float | None
    seconds: float
    """Per output frame."""
    turns: int
    memory_bytes: int | None
    tensor_bytes: float
    phases: tuple[PhaseCost, ...] = ()

    @property
    def frames_per_s(self) -> float:
        """On one core that does nothing else."""
        return 1 / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "frames_per_s": self.frames_per_s}


_TODAY = ("span+dis", "span+rife", "rife+realesrgan")
"""What people run today; measured where its packages are."""


def names() -> tuple[str, ...]:
    """Presets, rival networks of whole clips, and the two-stage peers that are worth a row and can be used here."""
    rivals = (name for name, known in PUBLISHED.items() if known.kind == "clip")
    return (*PRESETS, *rivals, *CLASSIC, *(name for name in _TODAY if _is_here(name)))


def costs(
    models: Sequence[str],
    *,
    turns: int = 5,
    share_s: float = 60.0,
    size: tuple[int, int] = _SIZE,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Cost]:
    """The cost of every model; one is left out of further turns once it has taken `share_s` seconds.

    A turn before the others warms up and does not count, unless `turns` is 1. `size` is the height and width of the
    source. `progress` hears (done, of how many).

    Raises:
        ModelError: an unknown model, or a network that is one of two stages.

    """
    passes = {name: _Pass(_built(name), size) for name in models}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    spent = dict.fromkeys(models, 0.0)
    passed = turns + (turns > 1)
    total, steps = (passed + 1) * len(models), count(1)
    with on_threads(1):
        for turn in range(passed):
            for name, one in passes.items():
                if spent[name] < share_s:
                    seconds = one.seconds()
                    spent[name] += sum(seconds.values())
                    if turn == 1:  # the first turn warmed up, and counts only where it was the only one
                        figures[name].clear()
                    figures[name].append(seconds)
                progress(next(steps), total)
        found = []
        for name in models:
            found.append(cost_of(name, passes[name], figures[name], _process_memory(name, size)))
            progress(next(steps), total)
    return found


def cost_of(name: str, one: "_Pass", turns: Sequence[dict[str, float]], memory_bytes: int | None) -> Cost:
    """A model's cost, of the seconds of its turns by phase."""
    net = one.net
    macs = _macs_per_px(one.fn, one.size)
    held = one.tensor_bytes()
    outputs = 2 * _FRAMES - 1
    phases = tuple(
        PhaseCost(
            name=phase,
            parameters=sum(p.numel() for module in _modules(net, phase) for p in module.parameters()),
            macs_per_px=macs[phase],
            seconds=statistics.median(turn[phase] for turn in turns) / outputs,
            tensor_bytes=held[phase],
        )
        for phase in (PHASES if net is not None else ())
    )
    counted = sum(macs[phase] for phase in macs if phase != "flow")
    return Cost(
        model=name,
        precision=precision_of(one.fn),
        parameters=_parameters(one.fn),
        macs_per_px=counted or None,
        seconds=statistics.median(sum(turn.values()) for turn in turns) / outputs,
        turns=len(turns),
        memory_bytes=memory_bytes,
        tensor_bytes=max(held.values()),
        phases=phases,
    )


class _Pass:
    """The papers' input through a clip function, once and from nothing."""

    def __init__(self, fn: ClipFunction, size: tuple[int, int]) -> None:
        net = getattr(fn, "net", None)
        self.fn, self.size = fn, size
        self.net = net if isinstance(net, STINet) else None
        self.frames = list(torch.rand(_FRAMES, 3, *size, generator=torch.Generator().manual_seed(0)))
        self.times = ((0.5,),) * (_FRAMES - 1)

    def seconds(self) -> dict[str, float]:
        """Processor seconds of every phase; of a pipeline without phases all are "around"."""
        watch = Stopwatch(time.process_time)
        self.go(watch)
        return watch.read()

    def tensor_bytes(self) -> dict[str, float]:
        """The most that tensors held, by phase."""
        alive = _Alive()
        with alive:
            self.go(alive.begin)
        return {phase: alive.most.get(phase, 0.0) for phase in PHASES}

    def go(self, begins: Callable[[str], None]) -> None:
        """Once through; `begins` hears of every phase."""
        with torch.no_grad():
            by_phase(self.fn, lambda: [self.fn.prepare(frame) for frame in self.frames], self.times, begins)


class _Alive(TorchDispatchMode):
    """Counts the bytes of tensors that were made and not yet let go of."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "around"
        self.most: dict[str, float] = {}
        self._now = 0.0
        self._known = WeakIdKeyDictionary()

    def begin(self, phase: str) -> None:
        """From here on tensors are of this phase."""
        self.phase = phase

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()).data_ptr() not in given:
                self._count(storage)
        self.most[self.phase] = max(self.most.get(self.phase, 0.0), self._now)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known or not storage.nbytes():
            return
        size = storage.nbytes()
        self._known[storage] = size
        self._now += size
        weakref.finalize(storage, self._let_go, size)

    def _let_go(self, size: int) -> None:
        self._now -= size


def _built(name: str) -> ClipFunction:
    """The clip function; of a network without weights a fresh one, in the precision that it would have."""
    dtype = torch.bfloat16 if runtime.has_bfloat16("cpu") else torch.float32
    if name in RIVALS:
        net = build(name)
        if not isinstance(net, RivalClipNet):
            raise ModelError(f"{name} is one of two stages, an {PUBLISHED[name].kind}: it has no cost of its own here")
        return RivalClip(net, torch.device("cpu"), dtype, name)
    if names_networks(name):
        return untrained_pair(name)
    if name not in PRESETS or _has_weights(name):
        return clip_function(name, device="cpu")
    return NetworkClip(STINet(PRESETS[name]), torch.device("cpu"), dtype, name)


def _is_here(name: str) -> bool:
    try:
        PEERS[name](4)
    except ModelError:
        return False
    return True


def _has_weights(name: str) -> bool:
    try:
        return weights_file(name).exists()
    except ModelError:
        return False


def _parameters(fn: ClipFunction) -> int | None:
    """Of a network, or of the networks that a pair is made of; None where nothing counts them."""
    nets = _stage_networks(fn)
    return sum(p.numel() for net in nets for p in net.parameters()) if nets else parameter_count(fn)


def _stage_networks(fn: ClipFunction) -> list[RivalNet]:
    stages = (getattr(fn, "interpolator", None), getattr(fn, "enlarger", None))
    return [net for stage in stages if isinstance(net := getattr(stage, "net", None), RivalNet)]


def _macs_per_px(fn: ClipFunction, size: tuple[int, int]) -> dict[str, float]:
    """Multiply-adds per output pixel and frame, by phase; of a pipeline all are "around", counted at its own size."""
    if isinstance(fn, NetworkClip | RivalClip) or _stage_networks(fn):
        size = _COUNTED_SIZE
    one = _Pass(fn, size)
    counter = PhaseCounter()
    with counter:
        one.go(counter.begin)
    pixels = (2 * _FRAMES - 1) * size[0] * size[1] * fn.scale**2
    return {phase: counter.counts[phase].macs / pixels for phase in PHASES}


def _modules(net: STINet | None, phase: str) -> list[nn.Module]:
    if net is None:
        return []
    parts = {
        "S-SR": [net.features_net],
        "ST-FI": [net.interpolate],
        "ST-LR": list(net.local),
        "ST-GR": [net.relate],
        "reconstruction": [net.reconstruct, net.compose],
        "around": [net.draft_heads],  # trained with, and left out of inference
    }
    return [module for module in parts.get(phase, []) if module is not None]


def _process_memory(name: str, size: tuple[int, int]) -> int | None:
    """The peak of a process of its own that runs the model once; None: it ended in an error."""
    wish = json.dumps({"model": name, "size": size})
    done = subprocess.run(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-m", "stinet.bench.cost", wish], capture_output=True, text=True, check=False
    )
    return int(done.stdout.split()[-1]) if done.returncode == 0 else None


def main(argument: str) -> None:
    """Be that process: run a model once and print the peak in bytes."""
    runtime.prepare_threads()
    wish = json.loads(argument)
    runtime.fix_threads(1)
    with on_threads(1):
        _Pass(_built(wish["model"]), tuple(wish["size"])).seconds()
    print(runtime.peak_memory_bytes())


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except StinetError as error:
        sys.exit(str(error))
