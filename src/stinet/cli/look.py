"""Commands that look and change nothing: models, info, compare, doctor; and the demo."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stinet.cli.options import Device, Model, words
from stinet.cli.printing import columns, must_be_writable, must_exist, say, say_json
from stinet.cli.progress import frames_of, progress_bar
from stinet.errors import UsageError
from stinet.weights import DEFAULT

__all__ = ["compare", "demo", "doctor", "info", "models"]

AsJson = Annotated[bool, typer.Option("--json", help="as JSON, for a program")]


def models(
    *,
    cost: Annotated[bool, typer.Option("--cost", help="measure speed and memory here, phase by phase")] = False,
    only: Annotated[
        str, typer.Option("--models", "--model", "-m", metavar="NAME,..", help="with --cost: only these")
    ] = "",
    turns: Annotated[
        int, typer.Option(metavar="N", min=1, help="with --cost: so many each, after one to warm up; 1: the first")
    ] = 5,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="with --cost: write figures there")] = None,
) -> None:
    """List the models: size, cost, weights and quality; and the stages that peers are made of."""
    if cost:
        _measure_cost(words(only), turns, out)
        return
    if only or out is not None:
        raise UsageError("--models and --json are for --cost")
    from stinet.catalogue import models as entries
    from stinet.catalogue import stages

    header = ("model", "parameters", "MAC/pixel", "weights", "quality", "")
    rows = [(e.name, f"{e.parameters:,}", f"{e.macs_per_pixel:,.0f}", e.weights, e.quality, e.note) for e in entries()]
    say(columns([header, *rows]))
    parts = [("stage", "kind", "what", ""), *((s.name, s.kind, s.about, s.state) for s in stages())]
    say(f"\ntwo stages A+B are a model, too: first A, then B; an interpolator and an enlarger\n{columns(parts)}")


def _measure_cost(only: tuple[str, ...], turns: int, out: Path | None) -> None:
    if out is not None:
        must_be_writable(out)
    from stinet.bench.cost import costs, names
    from stinet.bench.words import cost_tables

    with progress_bar("cost") as told:
        found = costs(only or names(), turns=turns, progress=told)
    say("\n\n".join(f"{table.title}\n{columns([table.head, *table.rows])}" for table in cost_tables(found)))
    if out is not None:
        out.write_text(json.dumps([one.to_json() for one in found], indent=1) + "\n", encoding="utf-8")


def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="a video file, an image or a folder of images")],
    *,
    scan: Annotated[bool, typer.Option("--scan", help="read every frame: true times, cuts, repeats, damage")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is in a video file, what could be a problem, and what `upscale` would do about it."""
    must_exist(source)
    from stinet.cli import facts
    from stinet.video.source import probe_source

    video = probe_source(source)
    seen = facts.scan(source) if scan else None
    if as_json:
        say_json(facts.as_json(video, seen), indent=2)
    else:
        say("\n".join(facts.lines(video, seen)))


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="video, image or folder of images")],
    second: Annotated[Path, typer.Argument(metavar="B", help="the one it is measured against")],
    *,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="write both side by side")] = None,
) -> None:
    """Measure A against B: PSNR and SSIM on Y."""
    must_exist(first)
    must_exist(second)
    from stinet.compare import compare as measure

    with progress_bar("compare") as told:
        result = measure(first, second, picture, told)
    say(result.line())


def doctor(*, model: Model = DEFAULT, device: Device = "auto", as_json: AsJson = False) -> None:
    """Check this machine: versions, devices, encoders, memory, weights, a short run.

    Exits with 6 when the device or memory is broken, with 7 when it is the model.
    """
    from stinet.doctor import examine

    checks = []
    for check in examine(model=model, device=device):
        checks.append(check)
        if not as_json:
            say(check.line())
    broken = [check for check in checks if check.code]
    if as_json:
        say_json({"is_well": not broken, "checks": [check.to_json() for check in checks]}, indent=2)
    elif not broken:
        say("all is well")
    if broken:
        raise typer.Exit(broken[0].code)


def demo(
    *,
    full: Annotated[bool, typer.Option("--full", help="all of the bundled clip, not its first 1.5 s")] = False,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="where the results go")] = Path("demo"),
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a .png or .webp; default: before_after.png in DIR")
    ] = None,
    model: Model = DEFAULT,
    device: Device = "auto",
) -> None:
    """Upscale the bundled clip and draw a before/after picture."""
    if picture is not None:
        if picture.suffix.lower() not in {".png", ".webp"}:
            raise UsageError(f"--picture {picture}: name a .png or .webp file")
        must_be_writable(picture)
    from stinet.demo import demonstrate

    with progress_bar("demo") as told:
        shown = demonstrate(folder, picture=picture, is_full=full, model=model, device=device, progress=frames_of(told))
    say(f"{shown.summary}\nmodel   {shown.model}\nvideo   {shown.video}\npicture {shown.picture}")
