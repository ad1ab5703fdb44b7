"""Space-time video super-resolution: a video with four times the size and any frame rate, in one pass.

    import stinet
    net = stinet.load_model("stinet-s")                 # weights are inside the package: no download
    frames = net(video, times=(0.25, 0.5, 0.75)).final  # b t 3 h w in [0, 1] -> b u 3 4h 4w, u = t + 3 (t - 1)
    stinet.upscale_video("in.mp4", "out.mp4", fps=60)

Names are looked up when they are first used (PEP 562): importing the package loads neither torch nor av.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stinet.config import EncodeConfig, LossConfig, ModelConfig, ReadConfig, TileConfig, TrainConfig, UpscaleConfig
    from stinet.errors import (
        CheckpointError,
        ConfigError,
        DecodeError,
        DeviceError,
        InputError,
        Interrupted,
        ModelError,
        OutputError,
        StinetError,
        UsageError,
    )
    from stinet.face import load_model, plan_upscale, upscale_video
    from stinet.model.stinet import STINet

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DecodeError",
    "DeviceError",
    "EncodeConfig",
    "InputError",
    "Interrupted",
    "LossConfig",
    "ModelConfig",
    "ModelError",
    "OutputError",
    "ReadConfig",
    "STINet",
    "StinetError",
    "TileConfig",
    "TrainConfig",
    "UpscaleConfig",
    "UsageError",
    "load_model",
    "plan_upscale",
    "upscale_video",
]

HOMES = {
    "Interrupted": "stinet.errors",
    "STINet": "stinet.model.stinet",
    "load_model": "stinet.face",
    "plan_upscale": "stinet.face",
    "upscale_video": "stinet.face",
}
"""Where a name lives; errors and settings are found by how they end."""


def __getattr__(name: str) -> Any:
    """Import the module that a public name lives in, on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'stinet' has no attribute {name!r}")
    home = HOMES.get(name) or ("stinet.errors" if name.endswith("Error") else "stinet.config")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names too, looked up or not."""
    return sorted({*globals(), *__all__})
