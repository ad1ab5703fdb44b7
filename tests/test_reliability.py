"""docs/reliability.md promises 39 things: every one has a test that says so, and every test it names exists.

A test of row N carries `@pytest.mark.bad_input(N)`. Markers are read from the sources, without running anything.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
ROWS = range(1, 40)


@dataclass(frozen=True)
class Promise:
    """A row of the page."""

    number: int
    words: str
    tests: tuple[str, ...]
    """As `file.py::test_name`."""


def promises(page: str) -> Iterator[Promise]:
    """The numbered rows of the tables."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0].isdigit():
            yield Promise(int(cells[0]), cells[2], tuple(re.findall(r"`([\w/]+\.py::\w+)`", cells[3])))


def marked(source: str) -> dict[str, set[int]]:
    """Test functions of a file, each with the rows of its markers."""
    found: dict[str, set[int]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
            found[node.name] = {
                word.value
                for call in calls
                if ast.unparse(call.func) == "pytest.mark.bad_input"
                for word in call.args
                if isinstance(word, ast.Constant) and isinstance(word.value, int)
            }
    return found


def suite() -> Mapping[str, set[int]]:
    """Every test of the suite as `file.py::name`, with its rows."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{name}": rows
        for path in sorted(TESTS.rglob("test_*.py"))
        for name, rows in marked(path.read_text(encoding="utf-8")).items()
    }


def test_every_row_has_a_test() -> None:
    held = set().union(*suite().values())
    assert sorted(set(ROWS) - held) == []


def test_no_marker_names_a_row_that_is_not_there() -> None:
    assert {name: rows for name, rows in suite().items() if not rows <= set(ROWS)} == {}


def test_the_page_holds_every_row_once_and_in_order() -> None:
    assert [promise.number for promise in promises(PAGE.read_text(encoding="utf-8"))] == list(ROWS)


def test_every_row_of_the_page_says_what_is_done_and_names_tests_of_that_row() -> None:
    tests = suite()
    wrong = [
        f"{promise.number}: {name}"
        for promise in promises(PAGE.read_text(encoding="utf-8"))
        for name in promise.tests or ("no test",)
        if promise.number not in tests.get(name, set()) or not promise.words
    ]
    assert wrong == []


def test_markers_are_found_in_sources() -> None:
    source = "@pytest.mark.bad_input(3, 5)\n@pytest.mark.slow\ndef test_a(): ...\ndef test_b(): ...\ndef c(): ...\n"
    assert marked(source) == {"test_a": {3, 5}, "test_b": set()}


def test_rows_are_found_in_a_page() -> None:
    page = "| # | input |\n|---|---|\n| 7 | big | refused | `video/test_x.py::test_big` |\n| x | a | b | c |\n"
    assert list(promises(page)) == [Promise(7, "refused", ("video/test_x.py::test_big",))]
