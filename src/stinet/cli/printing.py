"""Lines for people and programs: whatever the terminal's letters are, and whether anybody still listens.

A file name may hold letters that the terminal cannot show, or bytes that are no letters: they are printed with
backslashes. A reader of stdout that has gone (`stinet info x | head -1`) takes nothing from the work: what is printed
after that is dropped, and the exit code is that of the work.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stinet.errors import InputError, OutputError

__all__ = ["columns", "complain", "must_be_writable", "must_exist", "say", "say_json", "tell"]


def say(text: str) -> None:
    """Print to stdout."""
    _print(text, sys.stdout)


def tell(text: str) -> None:
    """Print to stderr, for what is no result."""
    _print(text, sys.stderr)


def complain(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    tell(" ".join(f"stinet: {message}".split()))


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless an indent is given."""
    say(json.dumps(value, indent=indent, default=str))


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under each other, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def must_exist(path: Path) -> None:
    """Raise InputError for a path where nothing is."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")


def must_be_writable(path: Path) -> None:
    """Make the folder of a result and try the file, before there is a result to lose."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file for the result")
    was_there = path.exists() or path.is_symlink()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another file") from error


def _print(text: str, stream: Any) -> None:
    if stream is None:  # started without one
        return
    encoding = stream.encoding or "ascii"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        _into_nothing(stream)


def _into_nothing(stream: Any) -> None:
    """What follows is dropped, and the interpreter's last flush does not fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
