"""Many inputs, one after the other: what a command line names becomes sources, and every source an outcome.

    film.mp4            a file                      frames/         a folder of images: one film
    films/              a folder of videos: each    frame_%04d.png  numbered images: one film
    "films/**/*.mkv"    a pattern: each match       @list.txt       what its lines name, from the list's folder
    -                   a stream on stdin

What exists by exactly the name that was given is that, whatever letters the name has; patterns come after. Matches
stand in natural order (2 before 10) and a source counts once. Results of earlier runs that lie beside their sources
are left out of folders and patterns, and so are hidden files. One source that fails stops no other.

This file prints nothing and knows no terminal.
"""

import errno
import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stinet.config import PIPE, UpscaleConfig
from stinet.errors import InputError, Interrupted, OutputError, StinetError, UsageError
from stinet.weights import DEFAULT

if TYPE_CHECKING:
    from stinet.upscale import Progress

__all__ = ["Item", "Outcome", "Task", "exit_code", "expand", "has_images_only", "run_batch", "sample_of", "target_of"]

VIDEO_NAMES = frozenset(
    {
        ".3g2", ".3gp", ".264", ".265", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif",
        ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
        ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv",
        ".y4m",
    }
)  # fmt: skip
"""What makes a file of a folder a video; a file that is named itself may have any name."""

_NUMBERED = re.compile(r"%0?([0-9]*)d")
_OURS = re.compile(r".+_stinet_[^_]+(_slow[0-9.]+)?(_[0-9.]+fps)?(_sample)?\.\w+")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

Watch = Callable[[Path], AbstractContextManager[Callable[["Progress"], None]]]


@dataclass(frozen=True, slots=True)
class Item:
    """Something to upscale, or why it cannot be."""

    source: Path
    error: StinetError | None = None
    is_result: bool = False
    """Made by an earlier run, and therefore left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is done with every source."""

    output: Path | None = None
    """A file, a folder or `-`; None: beside the source."""
    is_folder: bool = False
    """`output` is where results go, even if it is not there yet."""
    model: str = DEFAULT
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    config: UpscaleConfig = UpscaleConfig()  # noqa: RUF009 (frozen)
    sample: Fraction | None = None
    """Seconds from the middle of each film, instead of all of it."""
    skips_existing: bool = False
    is_strict: bool = False
    is_rehearsal: bool = False
    """Only plan."""

    def __post_init__(self) -> None:
        """Refuse wishes that exclude each other."""
        if self.skips_existing and self.config.overwrite:
            raise UsageError("-y replaces an existing output and -n leaves it: give one of them")
        if self.sample is not None and (self.config.read.start is not None or self.config.read.seconds is not None):
            raise UsageError("--sample chooses its own part of the film: leave out --start and --seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one source."""

    source: Path
    output: Path | None = None
    state: Literal["done", "planned", "skipped", "failed"]
    code: int = 0
    says: str
    """One line."""
    error: Exception | None = None
    summary: Any = None
    """Of a run: `stinet.upscale.Summary`."""
    plan: Any = None
    """Of a rehearsal: `stinet.upscale.Plan`."""

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        about = self.summary if self.summary is not None else self.plan
        facts = {
            "file": str(self.source),
            "output": None if self.output is None else str(self.output),
            "state": self.state,
            "code": self.code,
        }
        said = {"error" if self.state == "failed" else "says": self.says}
        return {**({} if about is None else about.to_json()), **facts, **said}


def expand(inputs: Sequence[str]) -> list[Item]:
    """The sources that the words of a command line name, each once; an error stands in the place of what is not there.

    The stream `-` stands alone or not at all.
    """
    items: dict[Path, Item] = {}
    for word in inputs:
        for item in _expand_word(word):
            items.setdefault(item.source if item.error or item.source == PIPE else item.source.resolve(), item)
    return list(items.values())


def run_batch(
    items: Sequence[Item],
    task: Task,
    *,
    watch: Watch = lambda _: nullcontext(_hear_nothing),
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Upscale one source after the other and give what became of each as soon as it is known.

    `watch(source)` is a context that gives what hears of the progress. With a single source an error that is our own is
    raised; with several it is an outcome like any other.

    Raises:
        UsageError: several sources and one output file, or a stream that stands not alone.
        Interrupted: `stop` became true.

    """
    is_alone = len(items) == 1
    _check_streams(items, task)
    made: dict[Path, Path] = {}
    for number, item in enumerate(items):
        if stop():
            raise Interrupted(f"{len(items) - number} files are left; the same command with -n goes on")
        try:
            yield _outcome(item, task, made, watch, stop, is_alone=is_alone)
        except StinetError as error:
            yield _failure(item.source, error, error.exit_code)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                if is_alone:
                    raise
                yield _failure(item.source, error, 1)
            else:
                full = OutputError(
                    f"{error.filename or 'output'}: no space left on the disk; free some or choose another"
                )
                yield _failure(item.source, full, full.exit_code)
        except Exception as error:
            if is_alone:
                raise
            yield _failure(item.source, error, 1)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """That of the first source that failed, or of the first with warnings under `--strict`."""
    failed = [outcome.code for outcome in outcomes if outcome.state == "failed"]
    return next(iter(failed), next((outcome.code for outcome in outcomes if outcome.code), 0))


def target_of(source: Path, task: Task, *, is_alone: bool = True) -> Path:
    """Where the result of a source goes.

    Raises:
        InputError: the source is missing or no video.
        UsageError: a stream without a name for its result.

    """
    from stinet import face

    goes_into = task.is_folder or not is_alone
    if task.output is not None and (task.output == PIPE or not (goes_into or _is_folder_for(source, task.output))):
        return task.output
    if source == PIPE:
        raise UsageError("a stream on stdin has no name: say where the result goes with -o FILE")
    beside = face.output_path(source, None, task.config)
    if task.sample is not None:
        beside = beside.with_name(f"{beside.stem}_sample{beside.suffix}")
    return beside if task.output is None else task.output / beside.name


def sample_of(source: Path, task: Task) -> UpscaleConfig:
    """The settings of the task, for the middle of this film.

    Raises:
        InputError: the file does not say how long it is.

    """
    if task.sample is None:
        return task.config
    from stinet.video.source import probe_source

    if source == PIPE:
        raise UsageError("a stream on stdin has no middle: use --start and --seconds")
    length = probe_source(source).duration
    if length is None:
        raise InputError(f"{source}: does not say how long it is, so it has no middle; use --start and --seconds")
    start = max((length - task.sample) / 2, Fraction(0))
    return replace(task.config, read=replace(task.config.read, start=start or None, seconds=task.sample))


def has_images_only(folder: Path) -> bool:
    """Whether a folder is one film of images: it holds images and no video."""
    from stinet.video.images import READABLE_SUFFIXES

    kinds = {path.suffix.lower() for path in folder.iterdir() if path.name[0] != "." and path.is_file()}
    return bool(kinds & READABLE_SUFFIXES) and not kinds & VIDEO_NAMES


def _outcome(
    item: Item, task: Task, made: dict[Path, Path], watch: Watch, stop: Callable[[], bool], *, is_alone: bool
) -> Outcome:
    from stinet import face

    source = item.source
    if item.error is not None:
        raise item.error
    if item.is_result:
        return Outcome(source=source, state="skipped", says="made by an earlier run of stinet: left out")
    target = target_of(source, task, is_alone=is_alone)
    if other := made.get(target.resolve()):
        raise OutputError(f"{source}: its result {target} is that of {other}, too; give them different folders")
    made[target.resolve()] = source
    if task.skips_existing and target != PIPE and target.exists():
        return Outcome(source=source, output=target, state="skipped", says=f"{target} exists: skipped")
    config = sample_of(source, task)
    if task.is_rehearsal:
        plan = face.plan_upscale(
            source,
            target,
            model=task.model,
            device=task.device,
            engine=task.engine,
            precision=task.precision,
            config=config,
        )
        return Outcome(source=source, output=target, state="planned", says=f"{source} -> {target}", plan=plan)
    with watch(source) as hear:
        summary = face.upscale_video(
            source,
            target,
            model=task.model,
            device=task.device,
            engine=task.engine,
            precision=task.precision,
            config=config,
            progress=hear,
            stop=stop,
        )
    code = 5 if task.is_strict and summary.warnings else 0
    return Outcome(source=source, output=target, state="done", code=code, says=summary.line(), summary=summary)


def _failure(source: Path, error: Exception, code: int) -> Outcome:
    says = " ".join(str(error).split()) or type(error).__name__
    named = says if source.name in says else f"{source}: {says}"
    return Outcome(source=source, state="failed", code=code, says=named, error=error)


def _hear_nothing(now: "Progress") -> None:
    del now


def _check_streams(items: Sequence[Item], task: Task) -> None:
    """A stream is one film, and a file holds one."""
    if len(items) < 2:
        return
    if any(item.source == PIPE for item in items):
        raise UsageError(f"- is one film on stdin; leave out the other {len(items) - 1} inputs")
    if task.output == PIPE:
        raise UsageError(f"-o - holds one film, but there are {len(items)} inputs; give a folder")
    if task.output is not None and task.output.exists() and not task.output.is_dir():
        raise UsageError(f"-o {task.output} is a file, but there are {len(items)} inputs; give a folder")


def _is_folder_for(source: Path, output: Path) -> bool:
    """Whether `output` is where results go, not a result itself.

    A folder of nothing but frames that were written here is a result. So is what a folder of images becomes.
    """
    from stinet.video.image_files import holds_only_frames

    if source == PIPE or not output.is_dir() or source.is_dir():
        return False
    return not holds_only_frames(output) or not any(output.iterdir())


def _expand_word(word: str) -> list[Item]:
    path = Path(word)
    if word != "-" and not _is_there(path) and word.startswith("@"):
        return _expand_list(Path(word[1:]))
    return _expand_name(word, Path())


def _expand_list(path: Path) -> list[Item]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        return [Item(path, InputError(f"{path}: cannot be read as a list of files ({reason})"))]
    words = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not words:
        return [Item(path, InputError(f"{path}: names no files; put one in a line"))]
    return [item for word in words for item in _expand_name(word, path.parent)]


def _expand_name(word: str, folder: Path) -> list[Item]:
    """What one name means, seen from a folder."""
    if word == "-" and folder == Path():
        return [Item(PIPE)]
    path = folder / word
    if _is_there(path):
        return _expand_folder(path) if path.is_dir() else [Item(path)]
    if _NUMBERED.search(path.name):
        return _expand_numbered(path)
    if glob.has_magic(word):
        return _expand_pattern(word, folder)
    return [Item(path, InputError(f"{path}: no such file or folder"))]


def _expand_folder(folder: Path) -> list[Item]:
    try:
        if has_images_only(folder):
            return [Item(folder)]
        found = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_NAMES and _is_plain(path)]
    except OSError as error:
        return [Item(folder, InputError(f"{folder}: cannot be read ({error.strerror or error})"))]
    if not found:
        reason = "neither videos nor images in this folder; for the folders inside it give"
        return [Item(folder, InputError(f"{folder}: {reason} '{folder / '**' / '*'}'"))]
    return _in_order(found)


def _expand_numbered(path: Path) -> list[Item]:
    wanted = re.compile(_NUMBERED.sub(lambda _: "([0-9]+)", re.escape(path.name).replace("\\%", "%")))
    try:
        is_there = any(wanted.fullmatch(other.name) for other in path.parent.iterdir())
    except OSError:
        is_there = False
    return [Item(path, None if is_there else InputError(f"{path}: no numbered images of that name"))]


def _expand_pattern(word: str, folder: Path) -> list[Item]:
    from stinet.video.images import READABLE_SUFFIXES

    matches = [folder / match for match in glob.glob(word, root_dir=folder, recursive=True)]  # noqa: PTH207 (the folder is no pattern)
    files = [path for path in matches if _is_plain(path)]
    known = [path for path in files if path.suffix.lower() in VIDEO_NAMES | READABLE_SUFFIXES]
    if found := known or files:
        return _in_order(found)
    folders = sorted((path for path in matches if path.is_dir() and path.suffix != ".stinet"), key=_natural)
    if not folders:
        return [Item(folder / word, InputError(f"{folder / word}: nothing matches this pattern"))]
    return [item for path in folders for item in _expand_folder(path)]


def _in_order(paths: Sequence[Path]) -> list[Item]:
    return [Item(path, is_result=_OURS.fullmatch(path.name) is not None) for path in sorted(paths, key=_natural)]


def _natural(path: Path) -> list[list[tuple[int, str]]]:
    from stinet.video.images import natural_order

    return [natural_order(Path(part)) for part in path.parts]


def _is_plain(path: Path) -> bool:
    """A file for people: not hidden, and no part of an interrupted run."""
    return path.is_file() and path.name[0] != "." and not any(part.endswith(".stinet") for part in path.parent.parts)


def _is_there(path: Path) -> bool:
    """Whether something of exactly this name exists; a name that no file can have does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
