"""One small video for all tests of training."""

from pathlib import Path

import pytest
from small_runs import settings, write_video

from stinet.config import TrainConfig


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv")


@pytest.fixture
def config(video: Path, tmp_path: Path) -> TrainConfig:
    return settings(video, tmp_path / "run")
