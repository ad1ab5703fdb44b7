"""The functions that `import stinet` offers, one call each: load a model, upscale a video.

What can be known from names and the head of a file is checked before torch is loaded: a wrong call fails in the first
second.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from stinet.config import UpscaleConfig
from stinet.errors import OutputError
from stinet.runtime import prepare_threads

if TYPE_CHECKING:
    from stinet.model.stinet import STINet
    from stinet.upscale import Progress, Summary

__all__ = ["load_model", "output_path", "upscale_video"]


def load_model(name: str = "stinet-s") -> "STINet":
    """The trained network of a preset or of a .safetensors file, on the CPU, in evaluation mode.

    Raises:
        ModelError: an unknown name, or a preset without weights.
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
    model: str = "stinet-s",
    device: str = "auto",
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008 (frozen)
    progress: Callable[["Progress"], None] | None = None,
) -> "Summary":
    """Upscale a video file, an image or a folder of images; gives what was done, with a `line()` to print.

    `fps` and `size` are as on the command line ("x2", 60, "keep"; "x4", "1080p", "1920x1080") and go before those of
    `config`. Without `output` the result lies beside the source. `progress` is called after every output frame.

    Raises:
        InputError: the source is missing or no video.
        OutputError: the output exists and is not to be overwritten, is the source, or cannot be written.
        UsageError, DeviceError, ModelError: a setting, device or model that cannot be used.

    """
    prepare_threads()
    changed = {key: str(value) for key, value in (("fps", fps), ("size", size)) if value is not None}
    config = replace(config, **changed)
    source = Path(source)
    target = output_path(source, None if output is None else Path(output), config)
    if target.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the input itself (or a link to it); choose another output")
    if target.exists() and not config.overwrite:
        raise OutputError(f"{target}: exists already; overwrite it with -y, skip it with -n, or choose another output")

    from stinet.catalogue import clip_function
    from stinet.upscale import upscale_video as drive

    return drive(source, target, fn=clip_function(model, device=device), config=config, progress=progress)


def output_path(source: Path, output: Path | None, config: UpscaleConfig) -> Path:
    """Where the result goes: `output`, or a name such as `holiday_stinet_x4_60fps.mp4` beside the source.

    Raises:
        InputError: the source is missing or no video.
        UsageError: a frame rate that cannot be understood.

    """
    from stinet.video.source import probe_source

    info = probe_source(source)
    if output is not None:
        return output

    from stinet.infer.clips import OutputRule
    from stinet.upscale import default_output

    return default_output(info, config, OutputRule.parse(config.fps))
