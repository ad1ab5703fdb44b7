"""Which layout a folder has: each is tried by what it is known by, any folder of videos or frames comes last."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stinet.data import adobe240, corpus, folders, reds, septuplets
from stinet.data.clip import Clip
from stinet.data.collection import Collection
from stinet.errors import InputError

__all__ = ["benchmark", "collect", "recognise"]


class _Layout(NamedTuple):
    """What a file of this folder knows of a layout."""

    words: str
    matches: Callable[[Path], bool]
    collect: Callable[[Path], Collection]
    benchmark: Callable[[Path], list[Clip]]


_LAYOUTS = {
    "corpus": _Layout("a corpus of shards", corpus.matches, corpus.collect, folders.benchmark),
    "vimeo90k": _Layout("Vimeo-90K septuplets", septuplets.matches, septuplets.collect, septuplets.benchmark),
    "reds": _Layout("REDS", reds.matches, reds.collect, reds.benchmark),
    "adobe240": _Layout("Adobe240", adobe240.matches, adobe240.collect, adobe240.benchmark),
    "folder": _Layout("videos or frames", lambda _: True, folders.collect, folders.benchmark),
}
"""By the name that a recipe uses, in the order in which they are tried."""


def recognise(place: Path) -> str:
    """Name of the layout that a folder or file has.

    Raises:
        InputError: nothing is there.

    """
    if not place.exists():
        raise InputError(f"{place}: no such file or folder")
    if not place.is_dir():
        return "folder"
    return next(name for name, layout in _LAYOUTS.items() if layout.matches(place))


def collect(place: Path, layout: str = "auto", progress: Callable[[str], None] = lambda _: None) -> Collection:
    """The clips of a data set to train with; `progress` hears what was recognised, and what was chosen.

    Raises:
        InputError: nothing is there, it has another layout, or a clip is not complete.

    """
    found = recognise(place)
    chosen = found if layout == "auto" else layout
    if chosen != found and not (place.is_dir() and _LAYOUTS[chosen].matches(place)):
        raise InputError(f"{place}: looks like {_LAYOUTS[found].words}, not like {_LAYOUTS[chosen].words}")
    collection = _LAYOUTS[chosen].collect(place)
    how = "recognised" if layout == "auto" else "opened"
    kept, measured = len(collection.training), len(collection.validation)
    held = f"{measured:,} to measure" if measured else "its end to measure"
    progress(f"{place}: {how} as {_LAYOUTS[chosen].words}, {kept:,} clip{'s' * (kept != 1)} to train on, {held}")
    if collection.note:
        progress(f"{place}: {collection.note}")
    return collection


def benchmark(place: Path) -> list[Clip]:
    """Clips to measure at `place`: a known benchmark's test clips in their groups, or all clips that are there.

    Raises:
        InputError: nothing there, nothing that is a clip, or a benchmark that is not complete.

    """
    return _LAYOUTS[recognise(place)].benchmark(place)
