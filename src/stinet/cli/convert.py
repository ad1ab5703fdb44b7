"""`stinet convert`: a foreign .pth becomes a .safetensors file, if its weights fit a network of ours or a rival's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stinet.cli.printing import must_be_writable, must_exist, say
from stinet.errors import InputError, OutputError, UsageError
from stinet.peers.published import PUBLISHED

if TYPE_CHECKING:
    from stinet.config import ModelConfig

__all__ = ["convert"]


def convert(
    foreign: Annotated[Path, typer.Argument(metavar="FOREIGN.pth", help="a state dict that torch.save wrote")],
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="the file to make")],
    *,
    config: Annotated[
        str,
        typer.Option("--config", metavar="NAME|FILE", help="a preset, a rival network, or a YAML file of settings"),
    ],
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="replace an existing file")] = False,
) -> None:
    """Make a weights file of a PyTorch .pth; nothing in it is ever run.

    Its names and shapes must be those of the network that --config describes; a rival's are those of its authors' file.
    """
    if config in PUBLISHED and not foreign.exists():
        raise InputError(f"{foreign}: no such file; {PUBLISHED[config].where()}")
    must_exist(foreign)
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: name the result .safetensors, or stinet will not take it for weights")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; overwrite it with -y, or choose another file")
    settings = None if config in PUBLISHED else _settings(config)
    must_be_writable(target)
    if settings is None:
        from stinet.peers.networks import convert_official

        made = convert_official(foreign, target, config)
    else:
        from stinet.checkpoint import convert as run

        made = run(foreign, target, settings)
    say(f"{target}: {made.weights:,} weights in {made.tensors:,} tensors")


def _settings(name: str) -> "ModelConfig":
    """The network's settings: of a preset, a recipe, or a YAML file of nothing but them."""
    from stinet.config import PRESETS, ModelConfig, TrainConfig, from_mapping, read_yaml

    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.exists():
        raise UsageError(
            f"--config {name}: neither a preset ({', '.join(PRESETS)}), nor a rival ({', '.join(PUBLISHED)}),"
            " nor a file"
        )
    values = read_yaml(path)
    if isinstance(values.get("model"), str):
        return from_mapping(TrainConfig, values, str(path)).model_config
    return from_mapping(ModelConfig, values, str(path))
