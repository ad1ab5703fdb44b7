"""One made-up clip for all tests of ablations."""

from pathlib import Path

import pytest
from trials import write_clip  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    write_clip(folder / "clip.mkv")
    return folder
