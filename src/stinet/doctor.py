"""`stinet doctor`: what this machine offers, what is broken, and what to do about it.

Every check tries what it speaks of: an encoder is opened and fed, weights are loaded, and at the end a generated clip
of a few frames goes through the whole program and is read back. A check that breaks has the exit code of its cause: 6
for device and memory, 7 for the model, else that of the error. What is merely missing (a graphics card, an encoder of
one, an optional package) is said and is no fault.
"""

import contextlib
import importlib.metadata
import importlib.util
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8

from stinet.errors import DeviceError, ModelError, OutputError, StinetError, UsageError
from stinet.weights import DEFAULT

__all__ = ["Check", "examine"]

_SOFTWARE = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")
_HARDWARE = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "h264_amf", "h264_videotoolbox")
_DECODERS = ("h264", "hevc", "av1", "vp9", "mpeg2video", "mpeg4", "prores", "ffv1", "vc1", "gif", "apng", "tiff")
_OPTIONAL = {
    "cv2": ("optical flow, 70 times as fast", ""),
    "openvino": ("the fastest engine on a CPU, export", "cpu"),
    "onnxruntime": ("--engine onnxruntime", "onnx"),
    "onnx": ("--engine onnxruntime, export to ONNX", "onnx"),
    "ncnn": ("the peers span and realesrgan", "peers"),
    "lightning_fabric": ("training", "train"),
    "tensorboard": ("training curves", "train"),
}
"""What a package is for, and the extra that brings it; without one it belongs to the package itself."""

_ENOUGH_BYTES = 1 << 30
"""What one 1080p tile and its encoder need."""

_CLIP_FRAMES, _CLIP_SIZE = 4, (48, 64)
_LEAST_DB = 18.0
"""The self-test's result differs from the enlarged source by less than this; a black or garbled one does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried."""

    name: str
    state: Literal["ok", "missing", "broken"]
    says: str
    remedy: str = ""
    code: int = 0
    """Exit code; above 0 when broken."""

    def line(self) -> str:
        """The check in one line."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state.upper() if self.code else self.state:<8} {self.name:<12} {self.says}{remedy}"

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


def examine(*, model: str = DEFAULT, device: str = "auto") -> Iterator[Check]:
    """Check one thing after the other, the cheap ones first; a broken one hides none of the others."""
    checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("ffmpeg", _ffmpeg),
        ("device", lambda: _device(device)),
        ("memory", lambda: _memory(device)),
        ("disk", _disk),
        ("encoder", _encoders),
        ("package", _packages),
        ("weights", lambda: _weights(model)),
        ("engine", lambda: _engine(model, device)),
        ("self-test", lambda: _self_test(model, device)),
    )
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:
            yield _broken(name, error)


def _python() -> Iterator[Check]:
    yield _ok("stinet", f"{importlib.metadata.version('stinet')} in {Path(__file__).parent}")
    yield _ok("python", f"{platform.python_version()} on {platform.platform()}")


def _torch() -> Iterator[Check]:
    import torch

    from stinet import runtime

    threads = runtime.probe_threads()
    yield _ok("torch", f"{torch.__version__}, {runtime.cores()} cores, {threads} threads are fastest")


def _ffmpeg() -> Iterator[Check]:
    from stinet.video.library import can_decode, ffmpeg_version

    yield _ok("ffmpeg", ffmpeg_version())
    lacking = [name for name in _DECODERS if not can_decode(name)]
    known = ", ".join(name for name in _DECODERS if name not in lacking)
    if lacking:
        remedy = "install PyAV's own wheel: pip install --force-reinstall av"
        yield Check(name="decoders", state="missing", says=f"no {', '.join(lacking)}; has {known}", remedy=remedy)
    else:
        yield _ok("decoders", known)


def _device(name: str) -> Iterator[Check]:
    import torch

    from stinet import runtime

    place = runtime.device(name)
    about = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.processor() or platform.machine()
    precision = "bfloat16" if runtime.has_bfloat16(place.type) else "float32"
    torch.ones(8, device=place).sum().item()
    yield _ok("device", f"{place} ({about}), {precision}")
    if place.type == "cpu":
        remedy = "a CUDA build of torch would use an NVIDIA GPU" if not torch.version.cuda else "no GPU was found"
        yield Check(name="gpu", state="missing", says="models run on the CPU", remedy=remedy)


def _memory(name: str) -> Iterator[Check]:
    from stinet import runtime

    for kind in dict.fromkeys(("cpu", runtime.device(name).type)):
        free = runtime.memory_available_bytes(kind)
        says = f"{free / 2**30:.1f} GiB free ({kind})"
        if free >= _ENOUGH_BYTES:
            yield _ok("memory", says)
        else:
            remedy = f"{_ENOUGH_BYTES >> 30} GiB are needed: end other programs, or give --tile 128"
            yield Check(name="memory", state="broken", says=says, remedy=remedy, code=DeviceError.exit_code)


def _disk() -> Iterator[Check]:
    import shutil

    folder = Path.cwd()
    yield _ok("disk", f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB free in {folder}")


def _encoders() -> Iterator[Check]:
    """Every encoder is opened and fed; without any of the software ones nothing can be written."""
    works = []
    for name in (*_SOFTWARE, *_HARDWARE):
        try:
            encoder = _opened(name)
        except (OutputError, UsageError) as error:
            if name in _SOFTWARE:
                yield Check(name=f"enc {name}", state="missing", says=_one_line(error))
            continue
        works.append(name)
        yield _ok(f"enc {name}", encoder)
    if not works:
        remedy = "install PyAV's own wheel: pip install --force-reinstall av"
        says = "no encoder works: no video can be written"
        yield Check(name="encoders", state="broken", says=says, remedy=remedy, code=OutputError.exit_code)
    elif not set(works) & set(_HARDWARE):
        yield Check(name="enc gpu", state="missing", says="no encoder of a graphics card opens; --hardware has no use")


def _opened(name: str) -> str:
    from stinet.config import EncodeConfig
    from stinet.video.codecs import choose_encoder
    from stinet.video.frame import Notes

    suffix = ".mov" if name == "prores" else ".mkv"
    choice = choose_encoder(
        EncodeConfig(codec=name),
        Path(f"trial{suffix}"),
        size=(640, 360),
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        info=None,
        notes=Notes(),
    )
    return f"{choice.encoder}, {choice.pix_fmt}"


def _packages() -> Iterator[Check]:
    for name, (use, extra) in _OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            remedy = f"pip install 'stinet[{extra}]' if wanted" if extra else "pip install opencv-python-headless"
            yield Check(name="package", state="missing", says=f"{name} ({use})", remedy=remedy)
        else:
            yield _ok("package", f"{name} ({use})")


def _weights(model: str) -> Iterator[Check]:
    """The model's weights are loaded and hold numbers."""
    from stinet.catalogue import TRAININGS, clip_function, network, weights_file
    from stinet.peers.pairs import PEERS

    if model in PEERS:
        clip_function(model)
        yield _ok("weights", f"{model} has all that it needs")
        return
    import torch

    net = network(model)
    bad = [name for name, tensor in net.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(f"{model}: {len(bad)} weights hold NaN or infinity, the first is {bad[0]}; install again")
    count = sum(parameter.numel() for parameter in net.parameters())
    shipped = []
    for name in TRAININGS:
        with contextlib.suppress(ModelError):
            weights_file(name)
            shipped.append(name)
    yield _ok("weights", f"{model}: {count:,} numbers; shipped are {', '.join(shipped)}")


def _engine(model: str, device: str) -> Iterator[Check]:
    """What `stinet upscale` computes with unless it is told, and why not in 8 bits."""
    from stinet import runtime
    from stinet.catalogue import clip_function, network, weights_file
    from stinet.config import Movable
    from stinet.engines.ranges import ranges_file, read_ranges
    from stinet.errors import CheckpointError
    from stinet.peers.pairs import PEERS
    from stinet.upscale.plan import engine_of

    if model in PEERS:
        return
    fn = clip_function(model, device=device, engine="auto")
    precision = fn.precision if isinstance(fn, Movable) else "float32"
    yield _ok("engine", f"{engine_of(fn)}, {precision} is what auto chooses for {model}")
    if engine_of(fn) != "openvino" or precision == "int8":
        return
    try:
        ranges = read_ranges(ranges_file(weights_file(model)), network(model))
    except CheckpointError as error:
        yield Check(name="int8", state="broken", says=_one_line(error), code=error.exit_code)
        return
    if ranges is None:
        why = "no ranges lie beside the weights, or they are of others"
        yield Check(name="int8", state="missing", says=f"{model} is not computed in 8 bits: {why}")
    elif not runtime.has_int8():
        yield Check(name="int8", state="missing", says="this CPU has no VNNI instructions")


def _self_test(model: str, device: str) -> Iterator[Check]:
    """A generated clip goes through the whole program and is read back."""
    from stinet import face
    from stinet.config import UpscaleConfig
    from stinet.video.read import read_frames

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="stinet-doctor-") as name:
        source, result = Path(name, "source"), Path(name, "result.mkv")
        frames = _moving_pattern()
        _save(frames, source)
        face.upscale_video(source, result, model=model, device=device, config=UpscaleConfig(fps="x2", size="x4"))
        made = [frame.rgb for frame in read_frames(result, deep=False)]
    spent_s = time.perf_counter() - started
    height, width = 4 * _CLIP_SIZE[0], 4 * _CLIP_SIZE[1]
    if len(made) != 2 * len(frames) or made[0].shape != (height, width, 3):
        raise RuntimeError(f"{len(made)} frames of {made[0].shape if made else 'nothing'} came back; report this")
    likeness_db = min(_likeness_db(made[2 * k], frame) for k, frame in enumerate(frames))
    if likeness_db < _LEAST_DB:
        raise ModelError(
            f"{model} on {device} gives a picture that is not the source's ({likeness_db:.1f} dB); try --device cpu"
        )
    yield _ok(
        "self-test",
        f"{len(frames)} frames in, {len(made)} out, {width}x{height}, {likeness_db:.1f} dB, {spent_s:.1f} s",
    )


def _moving_pattern() -> list[UInt8[np.ndarray, "h w 3"]]:
    """A soft pattern that moves to the right, a pixel a frame."""
    y, x = np.mgrid[: _CLIP_SIZE[0], : _CLIP_SIZE[1]]
    waves = [np.sin((x - k) / 6) + np.cos(y / 7) for k in range(_CLIP_FRAMES)]
    return [np.stack([wave * 45 + 110 + 15 * c for c in range(3)], axis=2).astype(np.uint8) for wave in waves]


def _save(frames: list[UInt8[np.ndarray, "h w 3"]], folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


def _likeness_db(made: UInt8[np.ndarray, "sh sw 3"], source: UInt8[np.ndarray, "h w 3"]) -> float:
    """PSNR of the result, averaged back to the source's size."""
    h, w = source.shape[:2]
    small: Float64[np.ndarray, "h w 3"] = made.reshape(h, made.shape[0] // h, w, made.shape[1] // w, 3).mean((1, 3))
    return float(10 * np.log10(255**2 / max(np.mean((small - source) ** 2), 1e-9)))


def _ok(name: str, says: str) -> Check:
    return Check(name=name, state="ok", says=says)


def _broken(name: str, error: Exception) -> Check:
    code = error.exit_code if isinstance(error, StinetError) else 1
    remedy = "" if isinstance(error, StinetError) else f"please report it, with Python {sys.version.split()[0]}"
    return Check(name=name, state="broken", says=_one_line(error), remedy=remedy, code=code)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
