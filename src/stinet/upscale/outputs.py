"""Where the frames of a run go: segments of a video file, pictures in a folder, one picture, or a pipe.

All of them take one segment after the other. What a finished segment leaves in the journal (`record`) is all that is
needed to finish the output in another process.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stinet.config import PIPE
from stinet.errors import OutputError
from stinet.infer.journal import Journal, NoJournal
from stinet.upscale.plan import Plan
from stinet.video.disk import disk_errors, move
from stinet.video.encode import PipeWriter, Segment, SegmentWriter
from stinet.video.encoder import EncoderChoice
from stinet.video.frame import Frame, Notes
from stinet.video.image_files import ImagesWriter, holds_only_frames, write_image
from stinet.video.mux import mux

__all__ = ["Output", "Part", "output_of"]


@runtime_checkable
class Part(Protocol):
    """One segment being written."""

    def write(self, frame: Frame) -> None:
        """Take one more frame."""
        ...

    def close(self) -> tuple[Mapping[str, Any], Sequence[Path]]:
        """Bring it to the disk; gives its record, and its files in the journal's folder."""
        ...

    def discard(self) -> None:
        """Stop, and remove what was written."""
        ...


@runtime_checkable
class Output(Protocol):
    """Where all segments go."""

    def part(self, number: int, frames_before: int) -> Part:
        """Begin a segment."""
        ...

    def finish(self, end: Fraction, notes: Notes) -> tuple[Path | None, float | None]:
        """Join all segments; gives what is to be moved into its place, and how much longer the picture is (ms)."""
        ...

    def place(self, result: Path) -> None:
        """Move the result into its place."""
        ...

    def discard(self) -> None:
        """After an error: remove what no later run can go on from."""
        ...


def output_of(plan: Plan, journal: Journal | NoJournal, choice: EncoderChoice | None) -> Output:
    """The output of a plan; `choice` is the journal's encoder where a run goes on."""
    if plan.kind == "pipe":
        assert choice is not None
        return _Pipe(plan.target, choice)
    if plan.kind == "image":
        return _Image(plan.target)
    assert isinstance(journal, Journal)
    if plan.kind == "images":
        return _Images(plan.target, journal)
    assert choice is not None
    return _Video(plan, journal, choice)


class _Video:
    """Coded segments, joined with everything else of the source."""

    def __init__(self, plan: Plan, journal: Journal, choice: EncoderChoice) -> None:
        self.plan, self.journal, self.choice = plan, journal, choice

    def part(self, number: int, frames_before: int) -> Part:  # noqa: ARG002
        return _Coded(SegmentWriter(self.journal.segments_folder / f"{number:06d}.mkv", self.choice))

    def finish(self, end: Fraction, notes: Notes) -> tuple[Path | None, float | None]:
        plan = self.plan
        result = self.journal.folder / f"result{plan.target.suffix}"
        records = [record["coded"] for record in self.journal.finished if record.get("coded")]
        muxed = mux(
            result,
            _Kept(records, self.journal.segments_folder),
            self.choice,
            info=None if plan.source.is_pipe or not plan.info.streams else plan.info,
            plan=plan.streams,
            end=end,
            stretch=plan.stretch,
            start=plan.config.read.start,
            seconds=plan.config.read.seconds,
            notes=notes,
        )
        return result, muxed.av_difference_ms

    def place(self, result: Path) -> None:
        move(result, self.plan.target)

    def discard(self) -> None:
        """Segments are for the next run."""


class _Kept(Sequence[Segment]):
    """Segments of a journal, made of their records when they are asked for: a film has a million times."""

    def __init__(self, records: Sequence[Mapping[str, Any]], folder: Path) -> None:
        self.records, self.folder = records, folder

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        return Segment.from_json(self.records[index], self.folder)


class _Coded:
    """A coded segment and its record."""

    def __init__(self, writer: SegmentWriter) -> None:
        self.writer = writer

    def write(self, frame: Frame) -> None:
        self.writer.write(frame)

    def close(self) -> tuple[Mapping[str, Any], Sequence[Path]]:
        segment = self.writer.close()
        return {"coded": segment.to_json()}, (segment.path,)

    def discard(self) -> None:
        self.writer.discard()


class _Images:
    """PNG files in the journal's folder, which then becomes the output."""

    def __init__(self, target: Path, journal: Journal) -> None:
        self.target = target
        self.folder = journal.folder / "frames"

    def part(self, number: int, frames_before: int) -> Part:  # noqa: ARG002
        return _Pictures(self.folder, frames_before, self.target)

    def finish(self, end: Fraction, notes: Notes) -> tuple[Path | None, float | None]:  # noqa: ARG002
        return self.folder, None

    def place(self, result: Path) -> None:
        if self.target.is_dir() and not self.target.is_symlink():
            if not holds_only_frames(self.target):
                raise OutputError(f"{self.target}: other files have come into this folder; choose another output")
            shutil.rmtree(self.target)
        move(result, self.target)

    def discard(self) -> None:
        """Pictures are for the next run."""


class _Pictures:
    """Numbered pictures of one segment."""

    def __init__(self, folder: Path, number: int, target: Path) -> None:
        self.folder, self.number, self.target = folder, number, target
        self.files: list[Path] = []
        folder.mkdir(exist_ok=True)

    def write(self, frame: Frame) -> None:
        self.number += 1
        path = self.folder / f"{self.number:08d}.png"
        with disk_errors(self.target):
            write_image(path, frame, ".png")
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        self.files.append(path)

    def close(self) -> tuple[Mapping[str, Any], Sequence[Path]]:
        return {}, self.files

    def discard(self) -> None:
        """What is there is written over by the next run."""


class _Image:
    """One picture; there is but one segment."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def part(self, number: int, frames_before: int) -> Part:  # noqa: ARG002
        return _OnePicture(self.target)

    def finish(self, end: Fraction, notes: Notes) -> tuple[Path | None, float | None]:  # noqa: ARG002
        return None, None

    def place(self, result: Path) -> None:
        raise AssertionError(f"{result} is in its place already")

    def discard(self) -> None:
        """It appears whole or not at all."""


class _OnePicture:
    def __init__(self, target: Path) -> None:
        self.writer = ImagesWriter(target)
        self.writer.__enter__()

    def write(self, frame: Frame) -> None:
        self.writer.write(frame)

    def close(self) -> tuple[Mapping[str, Any], Sequence[Path]]:
        self.writer.__exit__(None, None, None)
        return {}, ()

    def discard(self) -> None:
        self.writer.__exit__(KeyboardInterrupt, None, None)


class _Pipe:
    """A y4m stream: standard output, a named pipe, or a file, which appears when it is whole."""

    def __init__(self, target: Path, choice: EncoderChoice) -> None:
        self.target = target
        is_file = target != PIPE and (target.is_file() or not target.exists())
        self.grows_at = target.with_name(f".{target.name}.part") if is_file else target
        self.file = sys.stdout.buffer if target == PIPE else _opened(self.grows_at, target)
        self.writer = PipeWriter(self.file, choice, target)

    def part(self, number: int, frames_before: int) -> Part:  # noqa: ARG002
        return _Piece(self.writer)

    def finish(self, end: Fraction, notes: Notes) -> tuple[Path | None, float | None]:  # noqa: ARG002
        self.writer.close()
        if self.target != PIPE:
            self.file.close()
        if self.grows_at != self.target:
            move(self.grows_at, self.target)
        return None, None

    def place(self, result: Path) -> None:
        raise AssertionError(f"{result} is in its place already")

    def discard(self) -> None:
        if self.grows_at != self.target:
            self.file.close()
            self.grows_at.unlink(missing_ok=True)


class _Piece:
    def __init__(self, writer: PipeWriter) -> None:
        self.writer = writer

    def write(self, frame: Frame) -> None:
        self.writer.write(frame)

    def close(self) -> tuple[Mapping[str, Any], Sequence[Path]]:
        return {}, ()

    def discard(self) -> None:
        """What has gone through a pipe has gone."""


def _opened(path: Path, target: Path) -> Any:
    with disk_errors(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")
