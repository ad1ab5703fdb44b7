"""What an interrupted run has done: a folder beside the output that the same command goes on from.

    holiday.mp4.stinet/
      journal.jsonl       header: what is made, of what, by what; then one line for every finished segment
      segments/           their pictures
      result.mp4          the whole file, for the moment before it is moved to its place

A segment counts when its line is in the journal, and the line is written after the pictures have reached the disk. A
line that a power failure has torn is no line. Segments are finished in order, so that what is done is always a
beginning of the film. The line holds a digest of the segment's files: what has been lost or changed since then is found
before the run goes on, and not after the night in which the rest was made, and is made again.

The header has two parts. The key (source, settings, model and its precision) must be the same for a run to go on:
another one is refused with the difference. The choices (threads, tile size, encoder, the precision that memory left:
what was probed) are read back instead of being probed again, so that the result is equal bit for bit to that of an
uninterrupted run.

This file knows neither pictures nor models.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stinet.errors import OutputError, UsageError
from stinet.video.disk import disk_errors, sync_folder

__all__ = ["Journal", "NoJournal", "differences", "journal_folder"]

_FORMAT = 2
"""Another one draws other windows, or writes other lines."""

_NAME = "journal.jsonl"


def journal_folder(target: Path) -> Path:
    """Where the journal of an output lies: `holiday.mp4.stinet` beside `holiday.mp4`."""
    return target.with_name(f"{target.name}.stinet")


class Journal:
    """The journal of one output. Opening it reads and writes nothing but what lies there already.

    Raises:
        UsageError: an interrupted run was of another source, with other settings or another model.
        OutputError: the folder is none of ours, or cannot be read.

    """

    def __init__(self, target: Path, key: Mapping[str, Any], *, is_fresh: bool = False) -> None:
        """`key` is what must not change: a JSON mapping of mappings. A fresh one takes no notice of what lies there."""
        self.target, self.folder = target, journal_folder(target)
        self.segments_folder = self.folder / "segments"
        self.key = _plain(key)
        self.choices: dict[str, Any] | None = None
        """As the run that began this journal chose; None: a new one."""
        self.finished: list[dict[str, Any]] = []
        """Records of the finished segments, in order."""
        self.summary: dict[str, Any] = {}
        """What a run said that came to its end."""
        self._result: list[int] | None = None  # number and bytes of the file that was about to be moved to its place
        self._whole = 0  # bytes of whole lines
        self._ends: list[int] = []  # bytes up to the end of the header's line, and of that of each finished segment
        if self.folder.exists() or self.folder.is_symlink():
            self._refuse_foreign()
            if not is_fresh:
                self._read()

    def begin(self, choices: Mapping[str, Any]) -> None:
        """Make the folder of a new journal and write its header.

        Raises:
            OutputError: the disk refuses it.

        """
        if self.choices is not None:
            return
        self.choices = _plain(choices)
        self.discard()
        with disk_errors(self.target):
            self.segments_folder.mkdir(parents=True)
        self._append({"stinet": _FORMAT, "key": self.key, "choices": self.choices})
        self._ends = [self._whole]

    def finish(self, record: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        """Count one more segment as done; its pictures are on the disk, in `files` of the journal's folder.

        Raises:
            OutputError: the disk refuses it.

        """
        names = [path.relative_to(self.folder).as_posix() for path in files]
        with disk_errors(self.target):
            plain = _plain({**record, "files": names, "digest": self._digest(names)})
        self._append({"segment": len(self.finished), **plain})
        self.finished.append(plain)
        self._ends.append(self._whole)

    def forget_damaged(self) -> int:
        """Forget finished segments from the first on whose files are gone or have changed; gives how many.

        It reads what is done once, which is little beside the making of it.
        """
        done = len(self.finished)
        for number, record in enumerate(self.finished):
            try:
                is_whole = record["digest"] == self._digest(record["files"])
            except (OSError, KeyError):
                is_whole = False
            if not is_whole:
                del self.finished[number:], self._ends[number + 1 :]
                self._whole, self._result = self._ends[-1], None
                break
        return done - len(self.finished)

    def _digest(self, names: Sequence[str]) -> str:
        """SHA-256 of the files of a segment."""
        total = hashlib.sha256()
        for name in names:
            with (self.folder / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def announce(self, result: Path, summary: Mapping[str, Any]) -> None:
        """A whole result is about to be moved to its place: should the power fail now, it will be known there.

        Raises:
            OutputError: the disk refuses it.

        """
        self.summary, self._result = _plain(summary), _about(result)
        self._append({"result": self._result, "summary": self.summary})

    @property
    def is_complete(self) -> bool:
        """Whether the output in its place is the announced result: only this folder was left to remove."""
        return self._result is not None and self._result == _about(self.target)

    def discard(self) -> None:
        """Remove the folder.

        Raises:
            OutputError: the disk refuses it.

        """
        if not self.folder.exists():
            return
        self._refuse_foreign()
        with disk_errors(self.target):
            with suppress(FileNotFoundError):
                (self.folder / _NAME).unlink()  # first: what is half removed is no journal
            shutil.rmtree(self.folder)
        self._whole, self._ends = 0, []

    def _refuse_foreign(self) -> None:
        """A folder of that name which no run has made is never touched."""
        with disk_errors(self.target):
            is_ours = self.folder.is_dir() and not self.folder.is_symlink()
            names = {path.name for path in self.folder.iterdir()} if is_ours else set()
        made = {_NAME, "segments", "frames", f"result{self.target.suffix}", f".result{self.target.suffix}.part"}
        if not is_ours or not names <= made:
            what = f"holds {min(names - made)}" if is_ours else "is no folder"
            raise OutputError(f"{self.folder}: is needed for the journal of this run, but {what}; move it away")

    def _read(self) -> None:
        lines = list(self._lines())
        header, end = lines[0] if lines else ({}, 0)
        if header.get("stinet", _FORMAT) != _FORMAT:
            raise OutputError(
                f"{self.folder}: was begun by another version of stinet; finish it with that one, or use --restart"
            )
        if not header.keys() >= {"stinet", "key", "choices"}:
            return  # stopped before the header was whole: nothing was done
        self._ends = [end]
        if changed := differences(header["key"], self.key):
            options = _options_of(header["key"].get("model"), self.key.get("model"))
            same = options if options and all(one.startswith("model.") for one in changed) else "the same settings"
            raise UsageError(
                f"{self.folder} holds {_count(len(lines) - 1)} of a run that differs: {'; '.join(changed)}; give "
                f"{same} to go on, --restart to throw it away, or another output"
            )
        self.choices = header["choices"]
        for line, end in lines[1:]:
            if "result" in line:
                self._result, self.summary = line["result"], line["summary"]
            elif line.get("segment") == len(self.finished):
                self.finished.append({name: value for name, value in line.items() if name != "segment"})
                self._ends.append(end)

    def _lines(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Whole lines, and where each ends; the next one is written over a torn one."""
        path = self.folder / _NAME
        with disk_errors(self.target):
            data = path.read_bytes() if path.exists() else b""
        for line in data.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    return
                found = json.loads(line)
            except ValueError:
                return
            if not isinstance(found, dict):
                return
            self._whole += len(line)
            yield found, self._whole

    def _append(self, line: Mapping[str, Any]) -> None:
        path = self.folder / _NAME
        is_new = not path.exists()
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with disk_errors(self.target), path.open("xb" if is_new else "r+b") as file:
            file.truncate(self._whole)
            file.seek(self._whole)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._whole += len(data)
        if is_new:
            sync_folder(self.folder)
            sync_folder(self.folder.parent)


class NoJournal:
    """In the place of a journal where there is nothing to go on from: a pipe, a single image."""

    choices: dict[str, Any] | None = None
    is_complete = False

    def __init__(self) -> None:
        self.finished: list[dict[str, Any]] = []

    def begin(self, choices: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def finish(self, record: Mapping[str, Any], files: Sequence[Path] = ()) -> None:  # noqa: ARG002
        """Count it."""
        self.finished.append(dict(record))

    def forget_damaged(self) -> int:
        """Nothing can be damaged."""
        return 0

    def discard(self) -> None:
        """Nothing lies there."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two nested mappings, in words: "settings.fps was x2, is x3"."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{name} was {old.get(name, 'not there')}, is {new.get(name, 'not there')}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _options_of(before: Any, now: Any) -> str:
    """The options that choose the engine and precision of the run before; empty where they are the same.

    Both may have been chosen unasked, from what is installed: nobody knows what to give again.
    """
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return ""
    changed = [name for name in ("engine", "precision") if before.get(name) != now.get(name)]
    wanted = ("engine", "precision") if "engine" in changed else changed
    return " ".join(f"--{name} {before[name]}" for name in wanted if before.get(name))


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same after a walk through JSON: tuples are lists, and what JSON does not know is its text."""
    return json.loads(json.dumps(values, default=str))


def _about(path: Path) -> list[int] | None:
    """What tells a file from another that took its place; None: there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_ino, about.st_size]


def _count(number: int) -> str:
    return "1 finished segment" if number == 1 else f"{number:,} finished segments"
