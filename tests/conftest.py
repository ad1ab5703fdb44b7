"""Options and fixtures of the whole test suite."""

import sys
from pathlib import Path

import pytest

from commands import Ran, Stinet  # pyright: ignore[reportMissingImports]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, default=None, help="folder with benchmarks/, corpus/ and samples/")


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path:
    """The data folder of `--data`; a test that asks for it is skipped without one."""
    folder: Path | None = request.config.getoption("--data")
    if folder is None:
        pytest.skip("needs pytest --data=DIR (a folder with benchmarks/, corpus/ and samples/)")
    if not folder.is_dir():
        pytest.fail(f"--data {folder} is no folder")
    return folder


@pytest.fixture
def stinet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stinet:
    """Runs a command in this process."""

    def run(*words: object) -> Ran:
        from stinet.__main__ import main

        monkeypatch.setattr(sys, "argv", ["stinet", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Ran(int(end.value.code or 0), said.out, said.err)

    return run
