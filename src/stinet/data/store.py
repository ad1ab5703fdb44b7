"""The cache: what is made of a data set once, as plain arrays that are opened memory-mapped.

For every frame size (and for frames that are image files apart, as HxW-images) one set of .npy files, all clips one
after the other:

    HxW-low      frames h w 3, uint8        LR of every frame (clip.py, Eq. 1; or degrade.py's)
    HxW-flows    pairs 2 2 h w, float16     the flow on whole LR frames (a crop is too small to see where something
                                            moved) between every frame of a run and the next but one:
                                            forward and backward, then dx and dy, in LR pixels
    HxW-high     frames sh sw 3, uint8      sharp frames, where they are not image files already
    HxW-files    frames, bytes              else: their image files, below the data set's folder
    HxW-runs     runs 5, int64              clip, first frame in it, first frame here, frames, first flow here

A cache is complete when `done.json` is there, and is never written again. Until then `journal.jsonl` says after which
clip how much of every file is whole: a build that was stopped goes on behind it. `done.json` is written when
all else is on the disk, so that it is true after a power cut, too. One process builds at a time; others that want the
same cache wait for it.
"""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom, BufferedWriter
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from jaxtyping import Int64

from stinet.data.clip import Clip
from stinet.data.collection import Collection
from stinet.data.prepare import Piece, Preparation, is_on_disk, pieces_ahead
from stinet.data.shelf import ArrayFrames, Mapped, PictureFrames, Shelf
from stinet.errors import InputError, OutputError
from stinet.ops.flow import FlowMethod

__all__ = ["build", "is_complete", "shelves"]

HEADER_BYTES = 128
JOURNAL_EVERY_S = 5.0
SMALLEST_LOW_PX = 8
"""Frames smaller than this at low resolution hold nothing to learn."""

Row = tuple[int, int, int, int, int]


def is_complete(folder: Path) -> bool:
    """Whether the cache in `folder` can be opened."""
    return (folder / "done.json").is_file()


def build(
    collection: Collection,
    root: Path,
    folder: Path,
    *,
    by: Preparation,
    workers: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Fill the cache in `folder`, going on where an earlier build stopped. `root` is the data set's folder.

    `workers` processes prepare image files ahead; the cache is the same.

    Raises:
        InputError: a clip cannot be read, or its frames change their size.
        OutputError: the disk is full or cannot be written.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder, progress):
            if not is_complete(folder):
                _build(collection, root, folder, by, workers, progress)
    except OSError as error:
        raise OutputError(
            f"{folder}: the cache cannot be written ({error.strerror or error}); make room, or name another place with"
            " cache=FOLDER: it goes on where it stopped"
        ) from error


def shelves(folder: Path, root: Path, flow_by: FlowMethod) -> list[tuple[Shelf, Int64[np.ndarray, "_ 2"]]]:
    """Open a complete cache: shelves of all runs, and of each run its clip's number and its first frame in the clip.

    Raises:
        InputError: a file of the cache is missing or damaged.

    """
    try:
        kinds = json.loads((folder / "done.json").read_text(encoding="utf-8"))["kinds"]
        return [_shelf(folder, root, kind, flow_by) for kind in kinds]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: the cache is damaged ({error}); delete this folder, it is then made anew"
        ) from error


def _shelf(
    folder: Path, root: Path, kind: dict[str, Any], flow_by: FlowMethod
) -> tuple[Shelf, Int64[np.ndarray, "_ 2"]]:
    """One kind of frames. Every file is mapped once, so that one that is cut off is found now and not in hour 5."""
    name, rows = kind["name"], np.load(folder / f"{kind['name']}-runs.npy")
    low, flows = Mapped(folder / f"{name}-low.npy"), Mapped(folder / f"{name}-flows.npy")
    if kind["is_on_disk"]:
        high = PictureFrames(folder / f"{name}-files.npy", root, tuple(kind["size"]))
    else:
        high = ArrayFrames(Mapped(folder / f"{name}-high.npy"))
    if high.count != len(low.tensor) or not flows.tensor.ndim:
        raise ValueError(f"{high.count} sharp frames and {len(low.tensor)} small ones of {name}")
    return Shelf(high, low, flows, rows[:, 2:], flow_by), rows[:, :2]


@dataclass
class _Writer:
    """The growing files of one kind of frames."""

    folder: Path
    size: tuple[int, int]
    """Height and width of a sharp frame."""
    is_on_disk: bool
    """Sharp frames are image files already."""
    scale: int
    frames: int = 0
    pairs: int = 0
    rows: list[Row] = field(default_factory=list)
    files: dict[str, BufferedRandom] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str:
        return f"{self.size[0]}x{self.size[1]}{'-images' if self.is_on_disk else ''}"

    def shape(self, part: str) -> tuple[int, ...]:
        """Shape of one element of a part."""
        low = (self.size[0] // self.scale, self.size[1] // self.scale)
        return {"high": (*self.size, 3), "low": (*low, 3), "flows": (2, 2, *low)}[part]

    def append(self, part: str, array: np.ndarray) -> None:
        if part not in self.files:
            path = self.folder / f"{self.name}-{part}.npy"
            path.touch()
            self.files[part] = self.stack.enter_context(path.open("r+b"))
            self.files[part].write(b"\0" * HEADER_BYTES)
            self.files[part].seek(0, 2)
        self.files[part].write(np.ascontiguousarray(array).tobytes())

    def end(self, row: list[int], least: int) -> None:
        """A run is over; it counts if it has at least so many frames."""
        if row[3] >= least:
            number, index, frame, frames, pair = row
            self.rows.append((number, index, frame, frames, pair))

    def to_json(self, noted: int) -> dict[str, Any]:
        """What the journal needs, with the runs after the first `noted`."""
        own = {"size": self.size, "is_on_disk": self.is_on_disk, "frames": self.frames, "pairs": self.pairs}
        return {**own, "parts": sorted(self.files), "rows": self.rows[noted:]}

    def reopen(self, saved: dict[str, Any]) -> bool:
        """Go on behind what the journal promises and cut off what came after; whether the files hold that much."""
        self.frames, self.pairs = saved["frames"], saved["pairs"]
        for part in saved["parts"]:
            path = self.folder / f"{self.name}-{part}.npy"
            whole = HEADER_BYTES + self._count(part) * self._element_bytes(part)
            if not path.exists() or path.stat().st_size < whole:
                return False
            file = self.files[part] = self.stack.enter_context(path.open("r+b"))
            file.truncate(whole)
            file.seek(0, 2)
        return True

    def finish(self) -> None:
        """Give the files their numpy headers: how long they are is known last."""
        for part in {"low", "flows", *self.files}:
            if part not in self.files:
                self.append(part, np.zeros(0, np.uint8))  # no run was long enough for a flow
            kind = "<f2" if part == "flows" else "|u1"
            self.files[part].seek(0)
            self.files[part].write(_header(kind, (self._count(part), *self.shape(part))))
            _flush_to_disk(self.files[part])
        self.stack.close()
        _save(self.folder / f"{self.name}-runs.npy", np.array(self.rows, np.int64).reshape(-1, 5))

    def _count(self, part: str) -> int:
        return self.pairs if part == "flows" else self.frames

    def _element_bytes(self, part: str) -> int:
        return int(np.prod(self.shape(part))) * (2 if part == "flows" else 1)


class _Builder:
    """All files of a cache while it is built."""

    def __init__(self, folder: Path, scale: int) -> None:
        self.folder, self.scale = folder, scale
        self.writers: dict[str, _Writer] = {}
        self.done = 0
        """Clips that are whole."""
        self.noted: dict[str, int] = {}
        """Rows of runs that the journal has already."""

    def add(self, number: int, clip: Clip, made: Iterable[Piece], least: int) -> None:
        """Append what was made of a clip; a run counts if it has `least` frames."""
        writer: _Writer | None = None
        row = [number, 0, 0, 0, 0]
        for index, piece in enumerate(made):
            writer = writer or self._writer(clip, piece.size)
            if piece.begins_run:
                writer.end(row, least)
                row = [number, index, writer.frames, 0, writer.pairs]
            if piece.high is not None:
                writer.append("high", piece.high)
            writer.append("low", piece.low)
            if piece.flows is not None:
                writer.append("flows", piece.flows)
                writer.pairs += 1
            writer.frames += 1
            row[3] += 1
        if writer is None:
            raise InputError(f"{clip.name}: no frames in it")
        writer.end(row, least)

    def _writer(self, clip: Clip, size: tuple[int, int]) -> _Writer:
        if min(size) < SMALLEST_LOW_PX * self.scale:
            raise InputError(f"{clip.name}: {size[1]}x{size[0]} frames are too small to train on")
        made = _Writer(self.folder, size, is_on_disk(clip), self.scale)
        return self.writers.setdefault(made.name, made)

    def note(self) -> None:
        """Write down that all clips so far are whole."""
        for writer in self.writers.values():
            for file in writer.files.values():
                file.flush()
        state = [writer.to_json(self.noted.get(name, 0)) for name, writer in self.writers.items()]
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps({"done": self.done, "state": state}) + "\n")
        self.noted = {name: len(writer.rows) for name, writer in self.writers.items()}

    def resume(self) -> None:
        """Take over what an earlier build did, as far as its journal goes and the files hold."""
        last: list[dict[str, Any]] = []
        for line in _whole_lines(self.folder / "journal.jsonl"):
            self.done, last = line["done"], line["state"]
            for saved in last:
                fresh = _Writer(self.folder, tuple(saved["size"]), saved["is_on_disk"], self.scale)
                self.writers.setdefault(fresh.name, fresh).rows += [tuple(row) for row in saved["rows"]]
        if not all(writer.reopen(saved) for writer, saved in zip(self.writers.values(), last, strict=True)):
            self.writers, self.done = {}, 0
        _start_over(self.folder, {writer.name for writer in self.writers.values()})
        if self.done:
            self.note()


def _build(
    collection: Collection,
    root: Path,
    folder: Path,
    by: Preparation,
    workers: int,
    progress: Callable[[str], None],
) -> None:
    builder = _Builder(folder, by.scale)
    builder.resume()
    clips, first = collection.clips, builder.done
    _check_room(clips[first:], folder, by.scale)
    if first:
        progress(f"going on with the cache at clip {first + 1:,} of {len(clips):,}")
    noted = told = monotonic()
    made = pieces_ahead(clips[first:], collection.runs, by, workers)
    least = collection.runs if isinstance(collection.runs, int) else 1
    for number in range(first, len(clips)):
        if number == 0 or monotonic() - told > JOURNAL_EVERY_S:
            told = monotonic()
            progress(f"preparing {clips[number].name} ({number + 1:,} of {len(clips):,})")
        builder.add(number, clips[number], next(made), least)
        builder.done = number + 1
        if monotonic() - noted > JOURNAL_EVERY_S:
            builder.note()
            noted = monotonic()
    for writer in builder.writers.values():
        writer.finish()
        _list_files(writer, clips, root)
    kinds = [{"name": w.name, "size": w.size, "is_on_disk": w.is_on_disk} for w in builder.writers.values()]
    done = {"layout": collection.layout, "scale": by.scale, "kinds": kinds}
    _write_whole(folder / "done.json", json.dumps(done))
    (folder / "journal.jsonl").unlink(missing_ok=True)


def _check_room(clips: list[Clip], folder: Path, scale: int) -> None:
    """Refuse before hours of work what will not fit, as far as headers tell: videos are not counted."""
    needed = 0
    for clip in clips:
        if clip.files:
            height, width = (side // clip.reduced for side in clip.size)
            per_low_px = 3 + 8 + (3 * scale**2 if clip.reduced > 1 else 0)
            needed += len(clip.files) * height * width // scale**2 * per_low_px
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: the cache needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; make room, or"
            " name another place with cache=FOLDER"
        )


def _start_over(folder: Path, kept: set[str]) -> None:
    """Remove the journal, and what an earlier build left of other kinds of frames."""
    for path in folder.iterdir():
        is_kept = path.suffix == ".npy" and path.name.rsplit("-", 1)[0] in kept
        if path.suffix in {".npy", ".raw", ".jsonl"} and not is_kept:
            path.unlink()


def _list_files(writer: _Writer, clips: list[Clip], root: Path) -> None:
    """Name the image file of every frame that was not stored."""
    if not writer.is_on_disk:
        return
    names: list[bytes] = []
    for number, index, _, frames, _ in writer.rows:
        names += [os.fsencode(file.relative_to(root)) for file in clips[number].files[index : index + frames]]
    _save(writer.folder / f"{writer.name}-files.npy", np.array(names))


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """A .npy header of fixed length, so that it can be written last."""
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER_BYTES - 10) + text.ljust(HEADER_BYTES - 11) + b"\n"


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a journal; the last one may have been cut off."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(text.encode())
        _flush_to_disk(file)
    part.replace(path)


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        _flush_to_disk(file)


def _flush_to_disk(file: BufferedWriter | BufferedRandom) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _only_one(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process builds this cache, and say so."""
    try:
        import fcntl
    except ImportError:  # no POSIX: two runs must not be started at once there
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another process makes the cache in {folder}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
