"""Options and fixtures of the whole test suite."""

from pathlib import Path

import pytest


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
