"""`stinet ablate`: the rows of the paper's tables, listed or run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stinet.cli.options import words
from stinet.cli.printing import columns, must_exist, say
from stinet.cli.progress import training_line
from stinet.cli.train import change
from stinet.errors import UsageError

__all__ = ["ablate"]


def ablate(
    *,
    listed: Annotated[bool, typer.Option("--list", help="print every row of every table, and leave")] = False,
    tables: Annotated[str, typer.Option("--table", metavar="N[,N]", help="1 to 6, fig7, or all")] = "",
    rows: Annotated[str, typer.Option("--rows", metavar="NAME[,NAME]", help="only these edits; --list has them")] = "",
    budget: Annotated[
        str, typer.Option(metavar="30s|20m|2h|600steps|paper", help="of one training: a row with a seed")
    ] = "20m",
    size: Annotated[str, typer.Option(metavar="compact|paper", help="the network and how it is trained")] = "compact",
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="what is trained on; default: the bundled clip")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="trainings of every row")] = 2,
    out: Annotated[Path, typer.Option(metavar="DIR", help="plan, rows, runs and report")] = Path("runs/ablate"),
    clips: Annotated[
        list[Path] | None, typer.Option("--evaluate", metavar="CLIPS", help="what is measured on, repeatable")
    ] = None,
    variant: Annotated[str, typer.Option(metavar="all|160|first", help="which frames count")] = "all",
    measure: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="psnr, ssim (both always), motion")] = "psnr,ssim",
    start: Annotated[
        str, typer.Option(metavar="WEIGHTS|nothing", help="what Table V's rows start from; default: shipped weights")
    ] = "",
    vgg: Annotated[Path | None, typer.Option(metavar="FILE", help="vgg19-dcbb9e9d.pth, for lambda_1")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a setting of all rows, repeatable")
    ] = None,
    devices: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda:N[,..]", help="several: rows side by side")
    ] = "auto",
    report_only: Annotated[
        bool, typer.Option("--report", help="train nothing: write the report of what is done")
    ] = False,
    cache: Annotated[Path, typer.Option(metavar="DIR", help="decoded data")] = Path("cache"),
) -> None:
    """Train the paper's ablations at equal steps, measure them, and compare their deltas with the paper's.

    The same command again goes on where it stopped: a row that is done is not done again.
    """
    if listed == bool(tables):
        raise UsageError("name tables to run (--table 3), or --list every row")
    if listed:
        from stinet.ablate.listing import lines

        say(columns(lines(has_vgg=vgg is not None)))
        return
    from stinet.train.extras import require_extras

    for path in (*([data] if data else []), *([vgg] if vgg else []), *(clips or [])):
        must_exist(path)
    require_extras()

    from stinet.ablate.pages import write_reports
    from stinet.ablate.plan import AblateConfig, base_of
    from stinet.ablate.rows import TABLES
    from stinet.ablate.session import ablate as run
    from stinet.ablate.session import opened
    from stinet.config import TrainConfig, from_mapping, to_mapping

    base = base_of(size, {"data": str(data or ""), "cache": str(cache)})
    values: dict[str, Any] = to_mapping(base)
    if vgg is not None:
        values["loss"] |= {"vgg": str(vgg), "perceptual": 0.1}
    for setting in settings or []:
        change(values, setting)
    config = AblateConfig(
        tables=tuple(TABLES) if tables == "all" else words(tables.lower()),
        only=words(rows.lower()),
        size=size,  # pyright: ignore[reportArgumentType] (checked by base_of)
        budget=budget,
        seeds=seeds,
        out=out,
        evaluate=tuple(clips or ()),
        variant=variant,  # pyright: ignore[reportArgumentType] (checked there)
        measures=words(measure.lower()),
        start=start,
        base=from_mapping(TrainConfig, values, "--set"),
        devices=words(devices.lower()),
    )
    plan = opened(config) if report_only else run(config, say, training_line)
    say(write_reports(plan))
