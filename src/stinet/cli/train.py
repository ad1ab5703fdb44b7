"""`stinet train`: a recipe, changed by `--set`, becomes one `TrainConfig`; or a look at a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stinet.cli.printing import must_exist, say
from stinet.cli.progress import training_line
from stinet.errors import UsageError

__all__ = ["change", "train"]


def train(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="a YAML file of settings")] = None,
    *,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one of them, repeatable")
    ] = None,
    status: Annotated[
        Path | None, typer.Option(metavar="DIR", help="tell how the run in that folder is doing, and leave")
    ] = None,
) -> None:
    """Train a model as a recipe says.

    The same command again goes on where it stopped. Nested settings are named with dots: loss.kind=l2,
    stages.1.steps=500.
    """
    if (recipe is None) == (status is None):
        raise UsageError("name a recipe to train by, or --status DIR to look at a run")
    if status is not None:
        from stinet.train.status import read_status

        say(read_status(status))
        return
    assert recipe is not None
    must_exist(recipe)
    from stinet.config import TrainConfig, from_mapping, read_yaml
    from stinet.train.extras import require_extras

    values = read_yaml(recipe)
    for setting in settings or []:
        change(values, setting)
    config = from_mapping(TrainConfig, values, str(recipe))
    require_extras()

    from stinet.train.fit import fit

    with training_line(Path(config.out).name) as watch:
        run = fit(config, tell=say, watch=watch)
    if run.done < config.total_steps:
        raise KeyboardInterrupt


def change(values: dict[str, Any], setting: str) -> None:
    """Put `loss.kind=l2` into the nested values of a recipe.

    Raises:
        UsageError: the setting is not of that form, or its value cannot be read.

    """
    import yaml

    key, is_given, text = setting.partition("=")
    if not is_given or not key:
        raise UsageError(f"--set {setting!r} is not of the form key=value")
    *path, last = key.split(".")
    place: Any = values
    for part in path:
        place = _inside(place, part, setting)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {setting!r}: {text!r} cannot be read as a value") from error
    if isinstance(place, list):
        place[_place(place, last, setting)] = value
    else:
        place[last] = value


def _inside(values: Any, part: str, setting: str) -> Any:
    """The settings of that name, or of that number in a list."""
    found = values[_place(values, part, setting)] if isinstance(values, list) else values.setdefault(part, {})
    if not isinstance(found, dict | list):
        raise UsageError(f"--set {setting!r}: {part} is one value and has no settings in it")
    return found


def _place(values: list[Any], part: str, setting: str) -> int:
    if not part.isdigit() or int(part) >= len(values):
        raise UsageError(f"--set {setting!r}: {part} is none of the numbers 0 to {len(values) - 1}")
    return int(part)
