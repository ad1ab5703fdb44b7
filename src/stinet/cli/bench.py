"""Commands that time: bench and tune."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from stinet.cli.options import Device, words
from stinet.cli.printing import columns, must_be_writable, must_exist, say
from stinet.cli.progress import progress_bar
from stinet.errors import UsageError

__all__ = ["bench", "tune"]


def bench(
    *,
    size: Annotated[str, typer.Option(metavar="WxH,..", help="of the source")] = "180x144,480x270",
    models: Annotated[str, typer.Option(metavar="NAME,..", help="see `stinet models`")] = "stinet-s,stinet-xs",
    engines: Annotated[str, typer.Option(metavar="torch,openvino,onnxruntime", help="default: all that are here")] = "",
    precisions: Annotated[
        str, typer.Option(metavar="float32,bfloat16,int8", help="default: all that are worth a try")
    ] = "",
    threads: Annotated[str, typer.Option(metavar="N,..", help="default: 1, and every core")] = "",
    parts: Annotated[str, typer.Option(metavar="model,whole,roofline", help="what is timed")] = "model,whole,roofline",
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="rounds; figures are their medians")] = 5,
    seconds: Annotated[float, typer.Option(metavar="S", help="of the film that whole commands upscale")] = 2.0,
    quick: Annotated[bool, typer.Option("--quick", help="the smallest size, all cores, short windows")] = False,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write every figure there")] = None,
    device: Device = "cpu",
) -> None:
    """Time models against what this machine can do: model, whole command, phases.

    Beside every model stand two yardsticks of the same rounds: the peak of 3x3 convolutions, and flow+bicubic.
    """
    sizes = tuple(_size(word) for word in words(size))
    counts = tuple(_count(word) for word in words(threads))
    if not sizes:
        raise UsageError("--size names no size")
    if out is not None:
        must_be_writable(out)

    import json

    from stinet import runtime
    from stinet.bench.benchmark import BenchConfig, benchmark
    from stinet.bench.words import tables

    place = runtime.device(device)
    config = BenchConfig(
        sizes=sizes,
        models=words(models),
        engines=words(engines),
        precisions=words(precisions),
        threads=counts,
        parts=words(parts),
        device=str(place),
        repeat=repeat,
        seconds=seconds,
    )
    with progress_bar("bench") as told:
        result = benchmark(config.quick() if quick else config, progress=lambda _, done, total: told(done, total))
    for table in tables(result):
        say(f"{table.title}\n{columns([table.head, *table.rows])}\n")
    if out is not None:
        out.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")


def tune(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="the video that is to be upscaled")],
    *,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="PNG", help="the comparison; default: FILE_tune.png, here")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=1, help="that all of it may take")] = 20.0,
    device: Device = "auto",
) -> None:
    """Find out on a second of your own clip which model, engine and threads to use."""
    must_exist(source)
    picture = Path(f"{source.stem}_tune.png") if sheet is None else sheet
    must_be_writable(picture)

    begin = time.perf_counter()
    from stinet.bench.tune import tune as try_all

    left = max(seconds - (time.perf_counter() - begin), 1.0)  # loading torch belongs to "all of it"
    with progress_bar("tune") as told:
        result = try_all(source, picture, budget_s=left, device=device, progress=told)
    say("\n".join([columns(result.rows()), "", *result.lines()]))


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)x([0-9]+)", text.lower())
    if found is None:
        raise UsageError(f"--size {text!r} is no size: give WIDTHxHEIGHT of the source, as 180x144")
    return int(found[1]), int(found[2])


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise UsageError(f"--threads {text!r} is no number of threads: give 1 or more")
    return int(text)
