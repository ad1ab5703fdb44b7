"""The command line: parse, build one config, call one function, print.

Arguments and files are checked before torch is loaded, so a wrong call fails within the first second and `--help` is
quick. Errors are raised as `StinetError` and printed by `__main__`. Progress goes to stderr, results to stdout.

Knows nothing of how a video is upscaled, a model measured or trained; rich and typer are loaded nowhere else.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stinet.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from stinet.train.views import Progress
    from stinet.upscale import Progress as Upscaled
    from stinet.video.frame import VideoInfo

__all__ = ["app", "compare", "demo", "evaluate", "info", "models", "progress_bar", "root", "train", "upscale"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Told = Callable[[int, int], None]
"""Hears (done, total); a total of 0 is unknown."""

PLAIN_EVERY_S = 10.0
"""Without a terminal a line of progress is printed this often."""


def _seconds(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise typer.BadParameter(f"{text!r} is no positive number of seconds")
    return value


def _version(is_asked: bool) -> bool:  # noqa: FBT001 (typer's callback)
    if is_asked:
        from importlib.metadata import version

        print(f"stinet {version('stinet')}")
        raise typer.Exit
    return is_asked


Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="where the model runs")]
Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME|FILE", help="see `stinet models`")]


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Make a video larger and smoother: four times the size and any frame rate, in one pass."""


@app.command()
def upscale(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="video file, image, or folder of images")],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="default: beside the input")
    ] = None,
    fps: Annotated[str, typer.Option(metavar="x2|60|60000/1001|keep", help="frame rate of the result")] = "x2",
    size: Annotated[str, typer.Option(metavar="x4|x2|1080p|1920x1080", help="a box is fitted into")] = "x4",
    model: Model = "stinet-s",
    device: Device = "auto",
    tile: Annotated[int, typer.Option(metavar="PX", min=0, help="tile side in source pixels; 0 chooses")] = 0,
    seconds: Annotated[
        Fraction | None, typer.Option(parser=_seconds, metavar="S", help="only the first S seconds")
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="replace an existing output")] = False,
    skip: Annotated[bool, typer.Option("-n", "--skip", help="leave an existing output, and exit with 0")] = False,
) -> None:
    """Upscale a video: larger and smoother, its sound kept."""
    from stinet.config import ReadConfig, TileConfig, UpscaleConfig
    from stinet.face import output_path, upscale_video

    if overwrite and skip:
        raise UsageError("-y replaces an existing output and -n leaves it: give one of them")
    config = UpscaleConfig(
        fps=fps, size=size, read=ReadConfig(seconds=seconds), overwrite=overwrite, tile=TileConfig(size_px=tile)
    )
    target = output_path(source, output, config)
    if skip and target.exists():
        print(f"{target} exists: skipped")
        return
    with progress_bar(source.name) as tell:
        hear = _frames_of(tell)
        summary = upscale_video(source, target, model=model, device=device, config=config, progress=hear)
    print(summary.line())


@app.command()
def evaluate(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIPS", help="folders of clips or images, or videos")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME[,NAME]", help="see `stinet models`")],
    between: Annotated[int, typer.Option(metavar="1|3|5", help="frames between two given ones")] = 1,
    window: Annotated[int, typer.Option(metavar="7|3", help="output frames of a window, one in between")] = 7,
    variant: Annotated[str, typer.Option(metavar="all|160|first", help="which frames count")] = "all",
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
    seed: Annotated[int, typer.Option(metavar="N", help="of random numbers, should a model draw any")] = 0,
    device: Device = "auto",
) -> None:
    """Measure models by the papers' protocol.

    Sharp clips are made small, restored, and compared with what they were: PSNR and SSIM on Y, motion error, flicker.
    """
    from stinet.config import EvaluateConfig

    for folder in clips:
        _must_exist(folder)
    names = [name for name in model.split(",") if name]
    if not names:
        raise UsageError("--model names no model")
    config = EvaluateConfig(
        between=between,  # pyright: ignore[reportArgumentType] (checked there)
        window=window,  # pyright: ignore[reportArgumentType]
        variant=variant,  # pyright: ignore[reportArgumentType]
        measures=tuple(name for name in measure.split(",") if name),
        lpips_net=lpips_net,
        lpips_heads=lpips_heads,
        forwards=forwards if fps else 0,
        seed=seed,
    )
    for path in (out, table_out, page_out):
        if path is not None:
            _must_be_writable(path)

    from stinet.evaluate.session import Outputs
    from stinet.evaluate.session import evaluate as run
    from stinet.report.tables import table

    outputs = Outputs(json=out, csv=table_out, html=page_out)
    with progress_bar(clips[0].name) as tell:
        report = run(clips, names, config, device=device, outputs=outputs, progress=tell)
    print(table(report.to_json()))


@app.command()
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

        print(read_status(status))
        return
    assert recipe is not None
    _must_exist(recipe)
    from stinet.config import TrainConfig, from_mapping, read_yaml
    from stinet.train.extras import require_extras

    values = read_yaml(recipe)
    for setting in settings or []:
        _set(values, setting)
    config = from_mapping(TrainConfig, values, str(recipe))
    require_extras()

    from stinet.train.fit import fit

    with _training_line(Path(config.out).name) as watch:
        run = fit(config, tell=_print, watch=watch)
    if run.done < config.total_steps:
        raise KeyboardInterrupt


@app.command()
def models() -> None:
    """List the models: size, cost, weights and quality."""
    from stinet.catalogue import models as entries

    header = ("model", "parameters", "MAC/pixel", "weights", "quality", "")
    rows = [(e.name, f"{e.parameters:,}", f"{e.macs_per_pixel:,.0f}", e.weights, e.quality, e.note) for e in entries()]
    print(_columns([header, *rows]))


@app.command()
def info(source: Annotated[Path, typer.Argument(metavar="FILE", help="a video file")]) -> None:
    """Say what is in a video file."""
    _must_exist(source)
    from stinet.video.source import probe_source

    print("\n".join(_facts(probe_source(source))))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="video, image or folder of images")],
    second: Annotated[Path, typer.Argument(metavar="B", help="the one it is measured against")],
    *,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="write both side by side")] = None,
) -> None:
    """Measure A against B: PSNR and SSIM on Y."""
    _must_exist(first)
    _must_exist(second)
    from stinet.compare import compare as measure

    with progress_bar("compare") as tell:
        result = measure(first, second, picture, tell)
    print(result.line())


@app.command()
def demo(
    *,
    full: Annotated[bool, typer.Option("--full", help="all of the bundled clip, not its first 1.5 s")] = False,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="where the results go")] = Path("demo"),
    model: Model = "stinet-s",
    device: Device = "auto",
) -> None:
    """Upscale the bundled clip and draw a before/after picture."""
    from stinet.demo import demonstrate

    with progress_bar("demo") as tell:
        shown = demonstrate(folder, is_full=full, model=model, device=device, progress=_frames_of(tell))
    print(shown.summary)
    print(f"video   {shown.video}\npicture {shown.picture}")


@contextmanager
def progress_bar(label: str) -> Iterator[Told]:
    """A bar with frames, rate and time left on a terminal; else a plain line now and then. On stderr."""
    console = _terminal()
    if console is None:
        yield _plain_progress(label)
        return
    from rich import progress as shown

    columns = (
        shown.TextColumn("{task.description}", markup=False),
        shown.BarColumn(),
        shown.MofNCompleteColumn(),
        shown.TextColumn("{task.fields[rate]}"),
        shown.TimeRemainingColumn(),
    )
    with shown.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None, rate="")
        started = time.monotonic()

        def hear(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-3)
            bar.update(task, completed=done, total=total or None, rate=f"{rate:.1f}/s")

        yield hear


def _terminal() -> "Console | None":
    """The terminal behind stderr; None where there is none, or one that cannot move its lines."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return None if console.is_dumb_terminal else console


def _plain_progress(label: str) -> Told:
    started = last = time.monotonic()

    def hear(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_EVERY_S:
            return
        last = now
        rate = done / (now - started)
        left = f"of {total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left" if total and rate else f"{rate:.1f}/s"
        print(f"{label}: {done} {left}", file=sys.stderr, flush=True)

    return hear


@contextmanager
def _training_line(label: str) -> Iterator[Callable[["Progress"], None]]:
    """One line that stands below what is printed, on a terminal; else a plain line now and then. On stderr."""
    console = _terminal()
    if console is None:
        yield _plain_training(label)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as live:
        yield lambda now: live.update(Text(f"{label}: {_training_facts(now)}", no_wrap=True, overflow="ellipsis"))


def _print(text: str) -> None:
    print(text, flush=True)


def _plain_training(label: str) -> Callable[["Progress"], None]:
    last = time.monotonic()

    def watch(now: "Progress") -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            print(f"{label}: {_training_facts(now)}", file=sys.stderr, flush=True)

    return watch


def _training_facts(now: "Progress") -> str:
    """Step, loss and its terms, rate, data share, speed, time left."""
    from stinet.train.status import duration

    stage = f" stage {now.stage + 1}/{now.stages}" if now.stages > 1 else ""
    terms = "".join(f" {name} {value:.4g}" for name, value in now.terms.items() if name != "loss")
    skipped = f"  {now.skipped} skipped" if now.skipped else ""
    return (
        f"{now.step}/{now.steps}{stage}  loss {now.loss:.4g}{terms}  rate {now.rate:.2g}  data {now.data_share:.0%}"
        f"  {now.images_per_s:.1f} images/s  {duration(now.left_s)} left{skipped}"
    )


def _frames_of(tell: Told) -> Callable[["Upscaled"], None]:
    return lambda progress: tell(progress.frames_out, progress.frames_expected or 0)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")


def _must_be_writable(path: Path) -> None:
    """Make the folder of a result and try the file, before there is a result to lose."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file for the figures")
    was_there = path.exists() or path.is_symlink()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another file") from error


def _set(values: dict[str, Any], setting: str) -> None:
    """Put `loss.kind=l2` into the nested values of a recipe."""
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


def _facts(video: "VideoInfo") -> Iterator[str]:
    """A line for everything that a file says and that differs from the plain case."""
    yield f"{video.path}: {video.container}"
    rate = f"{float(video.rate):.6g} frames/s" if video.rate else "rate not said"
    declared = f", {video.frames_declared} frames" if video.frames_declared else ""
    length = f"{float(video.duration):.3f} s" if video.duration is not None else "length not said"
    yield f"  picture   {video.width}x{video.height}, {video.codec}, {video.pixel_format}, {video.bit_depth} bit"
    yield f"  time      {length}{declared}, {rate}{'' if video.is_constant_rate else ', variable'}"
    if video.rotation or video.is_mirrored:
        turn = f"{video.rotation} degrees counter-clockwise" if video.rotation else ""
        yield f"  shown     turned {turn}{' and mirrored' if video.is_mirrored else ''}".rstrip()
    if video.sample_aspect != 1:
        yield f"  pixels    {video.sample_aspect.numerator}:{video.sample_aspect.denominator}, not square"
    if video.colour.hdr:
        yield f"  range     HDR ({video.colour.hdr})"
    if video.is_interlaced:
        yield "  fields    interlaced"
    for stream in video.streams:
        yield f"  stream {stream.index}  {stream}"


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
