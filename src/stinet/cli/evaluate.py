"""`stinet evaluate`: options become one `EvaluateConfig` and the places of its figures."""

from pathlib import Path
from typing import Annotated

import typer

from stinet.cli.options import Device, words
from stinet.cli.printing import must_be_writable, must_exist, say
from stinet.cli.progress import progress_bar
from stinet.errors import UsageError

__all__ = ["evaluate"]


def evaluate(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIPS", help="folders of clips or images, or videos")],
    *,
    model: Annotated[str, typer.Option("--model", "--models", "-m", metavar="NAME[,NAME]", help="see `stinet models`")],
    between: Annotated[int, typer.Option(metavar="1|3|5", help="frames between two given ones")] = 1,
    window: Annotated[int, typer.Option(metavar="7|3", help="output frames of a window, one in between")] = 7,
    variant: Annotated[str, typer.Option(metavar="all|160|first", help="which frames count")] = "all",
    degradation: Annotated[
        str, typer.Option(metavar="bicubic|light|moderate|strong", help="what the small clips have gone through")
    ] = "bicubic",
    measure: Annotated[
        str, typer.Option(metavar="NAME[,NAME]", help="psnr, ssim (both always), rgb, motion, flicker, lpips")
    ] = "psnr,ssim,motion,flicker",
    lpips_net: Annotated[Path | None, typer.Option(metavar="FILE", help="alexnet-owt-7be5be79.pth")] = None,
    lpips_heads: Annotated[Path | None, typer.Option(metavar="FILE", help="LPIPS's v0.1/alex.pth")] = None,
    fps: Annotated[bool, typer.Option("--fps", help="take the papers' fps, too")] = False,
    forwards: Annotated[int, typer.Option(metavar="N", min=1, help="forwards of --fps")] = 100,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write every mean there")] = None,
    table_out: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="write every frame there")] = None,
    page_out: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write a page with plots and pictures")
    ] = None,
    folder_out: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="index.html, figures.json and frames.csv there")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="of random numbers, should a model draw any")] = 0,
    device: Device = "auto",
) -> None:
    """Measure models by the papers' protocol.

    Sharp clips are made small, restored, and compared with what they were: PSNR and SSIM on Y, motion error, flicker.
    """
    from stinet.config import EvaluateConfig

    for folder in clips:
        must_exist(folder)
    names = list(words(model))
    if not names:
        raise UsageError("--model names no model")
    config = EvaluateConfig(
        between=between,  # pyright: ignore[reportArgumentType] (checked there)
        window=window,  # pyright: ignore[reportArgumentType]
        variant=variant,  # pyright: ignore[reportArgumentType]
        degradation=degradation,  # pyright: ignore[reportArgumentType]
        measures=words(measure),
        lpips_net=lpips_net,
        lpips_heads=lpips_heads,
        forwards=forwards if fps else 0,
        seed=seed,
    )
    if folder_out is not None:
        out = out or folder_out / "figures.json"
        table_out = table_out or folder_out / "frames.csv"
        page_out = page_out or folder_out / "index.html"
    for path in (out, table_out, page_out):
        if path is not None:
            must_be_writable(path)

    from stinet.evaluate.session import Outputs
    from stinet.evaluate.session import evaluate as run
    from stinet.report.tables import table

    outputs = Outputs(json=out, csv=table_out, html=page_out)
    with progress_bar(clips[0].name) as told:
        report = run(clips, names, config, device=device, outputs=outputs, progress=told)
    say(table(report.to_json()))
    if folder_out is not None:
        say(f"\npage {page_out}")
