"""The functions that `import stinet` offers, one call each: load a model, upscale a video.

What can be known from names and the head of a file is checked before torch is loaded: a wrong call fails in the first
second.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from stinet.config import PIPE, UpscaleConfig
from stinet.errors import OutputError, UsageError
from stinet.runtime import prepare_threads
from stinet.weights import DEFAULT

if TYPE_CHECKING:
    from stinet.model.stinet import STINet
    from stinet.upscale import Plan, Progress, Summary

__all__ = ["load_model", "output_path", "plan_upscale", "upscale_video"]


def load_model(name: str = DEFAULT) -> "STINet":
    """The trained network of a name of `stinet models` or of a .safetensors file, on the CPU, in evaluation mode.

    Raises:
        ModelError: an unknown name, or one without weights.
        CheckpointError: a file that is damaged or foreign.

    """
    prepare_threads()
    from stinet.catalogue import network

    return network(name)


def upscale_video(
    source: str | Path,
    output: str | Path | None = None,
    *,
    fps: str | int | float | Fraction | None = None,
    size: str | None = None,
    model: str = DEFAULT,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008 (frozen)
    progress: Callable[["Progress"], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> "Summary":
    """Upscale a video file, an image or a folder of images; gives what was done, with a `line()` to print.

    `fps` and `size` are as on the command line ("x2", 60, "keep"; "x4", "1080p", "1920x1080") and go before those
    of `config`. Without `output` the result lies beside the source; "-" is standard input or output. `progress` is
    called after every output frame. `engine` is what computes the network: torch, openvino or onnxruntime; `precision`
    with which numbers: float32, bfloat16 or int8 (openvino); auto is the fastest that is here. After every segment
    `stop` is asked whether to end here. The same call goes on where an interrupted one was.

    Raises:
        InputError: the source is missing or no video.
        OutputError: the output exists and is not to be overwritten, is the source, or cannot be written.
        UsageError, DeviceError, ModelError: a setting, device or model that cannot be used.
        Interrupted: `stop` said so, or Ctrl-C.

    """
    source, target, config = _checked(source, output, fps, size, config)
    from stinet.catalogue import clip_function
    from stinet.upscale import upscale_video as drive

    fn = clip_function(model, device=device, engine=engine, precision=precision)
    return drive(source, target, fn=fn, config=config, progress=progress, stop=stop)


def plan_upscale(
    source: str | Path,
    output: str | Path | None = None,
    *,
    fps: str | int | float | Fraction | None = None,
    size: str | None = None,
    model: str = DEFAULT,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008 (frozen)
) -> "Plan":
    """What `upscale_video` would do with the same arguments, with `lines()` to print; nothing is written.

    Raises:
        StinetError: whatever the run itself would refuse.

    """
    source, target, config = _checked(source, output, fps, size, config)
    from stinet.catalogue import clip_function
    from stinet.upscale import plan_upscale as plan
    from stinet.upscale.estimate import with_seconds

    fn = clip_function(model, device=device, engine=engine, precision=precision)
    return with_seconds(plan(source, target, fn=fn, config=config), fn)


def output_path(source: Path, output: Path | None, config: UpscaleConfig) -> Path:
    """Where the result goes: `output`, or a name such as `holiday_stinet_x4_60fps.mp4` beside the source.

    Raises:
        InputError: the source is missing or no video.
        UsageError: a frame rate that cannot be understood, or standard input without an output.

    """
    if source == PIPE:
        if output is None:
            raise UsageError("a film from standard input has no name to put the result beside: name one with -o")
        return output

    from stinet.video.source import open_source

    info = open_source(source, config.read).info
    if output is not None:
        return output

    from stinet.upscale.plan import default_output

    return default_output(info, config)


def _checked(
    source: str | Path,
    output: str | Path | None,
    fps: str | int | float | Fraction | None,
    size: str | None,
    config: UpscaleConfig,
) -> tuple[Path, Path, UpscaleConfig]:
    """Source, output and settings of a call; refuses what names and heads of files tell, before torch is loaded."""
    prepare_threads()
    changed = {key: str(value) for key, value in (("fps", fps), ("size", size)) if value is not None}
    config = replace(config, **changed)
    source = Path(source)
    target = output_path(source, None if output is None else Path(output), config)
    if not target.exists() or target == PIPE:
        return source, target, config
    if source != PIPE and target.samefile(source):
        raise OutputError(f"{target}: is the input itself (or a link to it); choose another output")
    from stinet.infer.journal import journal_folder

    may_be_done = journal_folder(target).exists()
    if not config.overwrite and not may_be_done:
        raise OutputError(f"{target}: exists already; overwrite it with -y, skip it with -n, or choose another output")
    return source, target, config
