"""`stinet figures`: the pictures of a paper, each by one command, from shipped or named weights on clips of yours."""

import re
from pathlib import Path
from typing import Annotated

import typer

from stinet.cli.options import Device, Model, words
from stinet.cli.printing import must_be_writable, must_exist, say
from stinet.cli.progress import progress_bar
from stinet.errors import UsageError

__all__ = ["ablations", "curve", "figures", "graph", "offsets", "slices", "strips"]

figures = typer.Typer(
    no_args_is_help=True,
    help="Draw figures: strips, slices, graph, offsets, ablations, curve.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Clips = Annotated[list[Path], typer.Argument(metavar="CLIPS", help="folders of clips or images, or videos")]
One = Annotated[Path, typer.Argument(metavar="CLIP", help="a folder of images or a video")]
Out = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a picture, .png or .webp")]
Models = Annotated[str, typer.Option("--models", "--model", "-m", metavar="NAME,..", help="see `stinet models`")]
Frames = Annotated[int, typer.Option(metavar="N", min=3, help="so many frames of a clip are taken, from its first")]
Names = Annotated[str, typer.Option("--clip", metavar="NAME,..", help="only these clips, in this order")]
Frame = Annotated[int | None, typer.Option(metavar="N", help="this frame; default: interpolated, moving most")]
Place = Annotated[str, typer.Option("--box", metavar="X,Y,W,H", help="this place; default: where detail moves most")]

_SHOWN = "blend+bicubic,flow+bicubic,bicubic+flow,stinet-xs,stinet-s"


@figures.command()
def strips(
    clips: Clips,
    *,
    out: Out = Path("strips.png"),
    models: Models = _SHOWN,
    clip: Names = "",
    frames: Frames = 13,
    frame: Frame = None,
    box: Place = "",
    device: Device = "auto",
) -> None:
    """Crops of one interpolated frame a clip by all models, and the truth; the fastest first (Fig. 5)."""
    _begin(clips, out)
    place = _box(box)
    from stinet.figures.strips import moments
    from stinet.report.strips import draw_strips

    draw_strips(moments(_films(clips, models, clip, frames, device), frame, place), out)
    say(f"picture {out}")


@figures.command()
def slices(
    clips: Clips,
    *,
    out: Out = Path("slices.png"),
    models: Models = _SHOWN,
    clip: Names = "",
    frames: Frames = 13,
    line: Annotated[int | None, typer.Option(metavar="Y", help="this line; default: whose detail moves most")] = None,
    device: Device = "auto",
) -> None:
    """One line of the picture over time, by all models and as it was: what flickers is ragged."""
    _begin(clips, out)
    from stinet.figures.slices import slices as cut
    from stinet.report.strips import draw_strips

    draw_strips([cut(film, line) for film in _films(clips, models, clip, frames, device)], out, columns=3)
    say(f"picture {out}")


@figures.command()
def graph(source: One, *, out: Out = Path("graph.png"), model: Model = "stinet-s", frames: Frames = 13) -> None:
    """What ST-GR sees: similarity of its nodes, E^F, E^P, E^T, and the weights of its edges."""
    _begin([source], out)
    from stinet.figures.graph import draw_graph

    say(f"{draw_graph(source, model, frames, out)}\npicture {out}")


@figures.command()
def offsets(
    source: One,
    *,
    out: Out = Path("offsets.png"),
    model: Model = "stinet-s",
    without: Annotated[
        str, typer.Option(metavar="FILE", help="a network trained without Inet, instead of the same with it passed by")
    ] = "",
    frames: Frames = 13,
    frame: Frame = None,
) -> None:
    """Offset fields of ST-LR with Inet and without."""
    _begin([source], out)
    from stinet.figures.offsets import draw_offsets

    say(f"{draw_offsets(source, model, frames, out, frame=frame, without=without)}\npicture {out}")


@figures.command()
def ablations(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="the folder that `stinet ablate` wrote")],
    clips: Clips,
    *,
    out: Out = Path("ablations.png"),
    rows: Annotated[str, typer.Option(metavar="NAME,..", help="only these rows, in this order")] = "",
    clip: Names = "",
    frames: Frames = 13,
    frame: Frame = None,
    box: Place = "",
    device: Device = "auto",
) -> None:
    """Crops of one interpolated frame a clip by the networks of an ablation (Fig. 6)."""
    must_exist(results)
    _begin(clips, out)
    place = _box(box)
    from stinet.figures.ablations import trained_rows
    from stinet.figures.strips import moments
    from stinet.report.strips import draw_strips

    found = trained_rows(results, words(rows))
    made = _films(clips, ",".join(str(row.weights) for row in found), clip, frames, device)
    labels = {str(row.weights): row.name for row in found}
    draw_strips(moments(made, frame, place, labels), out, columns=3)
    say(f"picture {out}")


@figures.command()
def curve(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="the folder that `stinet ablate` wrote")],
    *,
    out: Out = Path("curve.png"),
) -> None:
    """PSNR against lambda_1 and lambda_2, as far as they were tried, and as the paper has it (Fig. 7)."""
    must_exist(results)
    must_be_writable(out)
    from stinet.ablate.rows import weight_axis
    from stinet.figures.ablations import draw_curve

    axes = {f"lambda_{number}": weight_axis(number) for number in (1, 2)}
    say(f"{draw_curve(results, axes, out)}\npicture {out}")


def _begin(clips: list[Path], out: Path) -> None:
    for path in clips:
        must_exist(path)
    if out.suffix.lower() not in {".png", ".webp"}:
        raise UsageError(f"{out}: a picture ends in .png or .webp")
    must_be_writable(out)


def _films(clips: list[Path], models: str, names: str, frames: int, device: str) -> list:
    from stinet.catalogue import clip_function
    from stinet.figures.films import chosen_clips, shoot

    if not words(models):
        raise UsageError("--models names no model")
    functions = {name: clip_function(name, device=device) for name in words(models)}
    found = chosen_clips(clips, words(names))
    with progress_bar("figures") as told:
        made = []
        for number, clip in enumerate(found):
            made.append(shoot(clip, functions, frames))
            told(number + 1, len(found))
    return made


def _box(text: str) -> tuple[int, int, int, int] | None:
    """X,Y,W,H as top, left, bottom, right."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]+),([0-9]+),([0-9]+),([0-9]+)", text.replace(" ", ""))
    if found is None or not int(found[3]) or not int(found[4]):
        raise UsageError(f"--box {text!r} is no place: give X,Y,W,H in pixels of the large frames")
    x, y, width, height = map(int, found.groups())
    return y, x, y + height, x + width
