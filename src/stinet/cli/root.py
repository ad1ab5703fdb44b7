"""The `stinet` command: its subcommands in the order of `--help`, and the version."""

from typing import Annotated

import typer

from stinet.cli.ablate import ablate
from stinet.cli.bench import bench, tune
from stinet.cli.convert import convert
from stinet.cli.evaluate import evaluate
from stinet.cli.export import export
from stinet.cli.figures import figures
from stinet.cli.look import compare, demo, doctor, info, models
from stinet.cli.printing import say
from stinet.cli.train import train
from stinet.cli.upscale import upscale

__all__ = ["app", "root"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_asked: bool) -> bool:  # noqa: FBT001 (typer's callback)
    if is_asked:
        from importlib.metadata import version

        say(f"stinet {version('stinet')}")
        raise typer.Exit
    return is_asked


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Make a video larger and smoother: four times the size and any frame rate, in one pass."""


for _command in (upscale, tune, evaluate, train, ablate, models, info, compare, bench, doctor, convert, export, demo):
    app.command()(_command)
app.add_typer(figures, name="figures")
