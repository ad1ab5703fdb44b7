"""A run that was stopped goes on, and nobody can tell from its result."""

import errno
import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from films import Repeat, film, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig, ReadConfig, UpscaleConfig
from stinet.errors import DeviceError, Interrupted, OutputError, UsageError
from stinet.infer.journal import Journal, journal_folder
from stinet.upscale import Summary, plan_upscale, upscale_video
from stinet.video.encode import SegmentWriter
from stinet.video.lock import OutputLock

CONFIG = UpscaleConfig(window=10, segment=8, encode=EncodeConfig(preset="ultrafast"))


def run(
    source: Path, target: Path, *, after: int | None = None, fn: Any = None, config: UpscaleConfig = CONFIG
) -> Summary:
    """Make it, or stop when so many segments are made."""
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return after is not None and len(asked) >= after

    return upscale_video(source, target, fn=fn or Repeat(), config=config, stop=stop)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return film(tmp_path / "a.mp4", pictures(40), sound_s=1.6)


@pytest.fixture
def whole(tmp_path: Path, source: Path) -> str:
    """Digest of the result of a run that nothing stopped."""
    return digest(run(source, tmp_path / "whole" / "b.mp4").output)


@pytest.mark.bad_input(29, 30)
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_stopped_run_goes_on_and_its_file_is_the_same(tmp_path: Path, source: Path, whole: str, after: int) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted, match="the same command goes on"):
        run(source, target, after=after)
    assert not target.exists()
    fn = Repeat()
    summary = run(source, target, fn=fn)
    assert digest(target) == whole
    assert summary.resumed_segments == after
    assert summary.frames_in == 40
    assert summary.frames_out == 80
    assert fn.prepared < 40  # what was done is not computed again
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.mp4", "b.mp4"]
    assert not journal_folder(target).exists()


@pytest.mark.bad_input(30)
def test_a_run_stopped_again_and_again_ends_with_the_same_file(tmp_path: Path, source: Path, whole: str) -> None:
    target = tmp_path / "b.mp4"
    for _ in range(4):
        with pytest.raises(Interrupted):
            run(source, target, after=1)
    run(source, target)
    assert digest(target) == whole


@pytest.mark.bad_input(30)
def test_a_torn_line_and_a_half_segment_cost_that_segment_only(tmp_path: Path, source: Path, whole: str) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=2)
    folder = journal_folder(target)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    (folder / "segments" / "000001.mkv.part").write_bytes(b"half of it")
    assert run(source, target).resumed_segments == 1
    assert digest(target) == whole


@pytest.mark.bad_input(30)
def test_a_header_that_never_reached_the_disk_is_no_journal(tmp_path: Path, source: Path, whole: str) -> None:
    target = tmp_path / "b.mp4"
    journal_folder(target).mkdir()
    (journal_folder(target) / "segments").mkdir()
    (journal_folder(target) / "journal.jsonl").write_bytes(b'{"stinet":2,"ke')
    assert run(source, target).resumed_segments == 0
    assert digest(target) == whole


@pytest.mark.bad_input(30)
def test_power_that_fails_after_the_move_costs_nothing(
    tmp_path: Path, source: Path, whole: str, monkeypatch: Any
) -> None:
    target = tmp_path / "b.mp4"
    discard = Journal.discard

    def fails(self: Journal) -> None:
        if self.finished:
            raise SystemError("power")
        discard(self)

    monkeypatch.setattr(Journal, "discard", fails)
    with pytest.raises(SystemError, match="power"):
        run(source, target)
    monkeypatch.undo()
    assert journal_folder(target).exists()
    summary = run(source, target)  # no "exists already"
    assert (summary.frames_in, summary.frames_out, digest(target)) == (40, 80, whole)
    assert not journal_folder(target).exists()


@pytest.mark.bad_input(31)
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (UpscaleConfig(window=10, segment=8, fps="x3", encode=CONFIG.encode), "settings.fps was x2, is x3"),
        (UpscaleConfig(window=10, segment=8, encode=EncodeConfig(preset="fast")), "preset was ultrafast, is fast"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    tmp_path: Path, source: Path, config: UpscaleConfig, said: str
) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=2)
    with pytest.raises(UsageError, match=said):
        run(source, target, config=config)
    assert run(source, target).resumed_segments == 2


@pytest.mark.bad_input(31)
def test_another_source_or_model_is_refused_and_restart_throws_away(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=2)
    with pytest.raises(UsageError, match=r"model\.identity was .*x4"):
        run(source, target, fn=Repeat(scale=2))
    other = film(tmp_path / "c.mp4", pictures(41))
    with pytest.raises(UsageError, match=r"source\.content"):
        run(other, target)
    config = UpscaleConfig(window=10, segment=8, restart=True, encode=CONFIG.encode)
    assert run(other, target, config=config).resumed_segments == 0
    assert not journal_folder(target).exists()


class Precise(Repeat):
    """Says in which precision it computes."""

    identity, bytes_per_pixel, device = "precise", 1000, torch.device("cpu")

    def __init__(self, precision: str, engine: str = "torch") -> None:
        super().__init__()
        self.precision, self.engine = precision, engine

    def at(self, *, precision: str, device: str) -> "Precise":
        assert device == "cpu"
        return Precise(precision, self.engine)


@pytest.mark.bad_input(31)
def test_another_precision_is_refused_with_the_difference(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, fn=Precise("bfloat16"), after=2)
    with pytest.raises(UsageError, match=r"precision was bfloat16, is float32; give --precision bfloat16 to go on, "):
        run(source, target, fn=Precise("float32"))
    assert run(source, target, fn=Precise("bfloat16")).resumed_segments == 2


@pytest.mark.bad_input(31)
def test_another_engine_is_refused_with_the_options_that_go_on(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, fn=Precise("bfloat16"), after=2)
    other = Precise("int8", "openvino")
    with pytest.raises(UsageError, match="give --engine torch --precision bfloat16 to go on, --restart to throw"):
        run(source, target, fn=other)
    with pytest.raises(UsageError, match=r"settings\.fps was x2, is x3.*give the same settings to go on"):
        run(source, target, fn=other, config=UpscaleConfig(window=10, segment=8, fps="x3", encode=CONFIG.encode))
    assert run(source, target, fn=Precise("bfloat16")).model == "precise, torch bfloat16"


def test_the_precision_that_memory_left_is_no_other_precision(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    made: list[str] = []

    class Large(Precise):
        def run(self, states: Any, times: Any, nodes: None, tile: Any = None) -> Any:
            made.append(self.precision)
            if self.precision == "float32":
                raise RuntimeError("out of memory")
            return super().run(states, times, nodes, tile)

        def at(self, *, precision: str, device: str) -> "Precise":
            assert device == "cpu"
            return Large(precision)

    config = UpscaleConfig(window=10, segment=8, encode=CONFIG.encode)
    with pytest.raises(Interrupted):
        run(source, target, fn=Large("float32"), after=2, config=config)
    assert {"float32", "bfloat16"} == set(made)
    made.clear()
    assert run(source, target, fn=Large("float32"), config=config).resumed_segments == 2
    assert set(made) == {"bfloat16"}


@pytest.mark.bad_input(28)
def test_a_full_disk_keeps_the_journal_and_the_run_goes_on(
    tmp_path: Path, source: Path, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b.mp4"
    write = SegmentWriter.write

    def full(self: SegmentWriter, frame: Any) -> None:
        if frame.time >= Fraction(4, 5):
            raise OutputError(f"{self.path}: cannot be written ({OSError(errno.ENOSPC, 'No space left').strerror})")
        write(self, frame)

    monkeypatch.setattr(SegmentWriter, "write", full)
    with pytest.raises(OutputError, match=r"No space left.*2 segments are done"):
        run(source, target)
    monkeypatch.undo()
    assert run(source, target).resumed_segments == 2
    assert digest(target) == whole


@pytest.mark.bad_input(28)
def test_a_disk_that_is_far_too_small_is_refused_before_the_run(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OutputError, match=r"needs about .* and 1\.0 kB are free"):
        run(source, tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_before_the_first_segment_leaves_nothing(tmp_path: Path, source: Path) -> None:
    class Broken(Repeat):
        def run(self, *_: Any, **__: Any) -> Any:
            raise DeviceError("no memory at all")

    with pytest.raises(DeviceError):
        run(source, tmp_path / "b.mp4", fn=Broken())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_folder_that_is_no_journal_is_never_touched(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    journal_folder(target).mkdir()
    (journal_folder(target) / "thesis.txt").write_text("precious")
    for restart in (False, True):
        with pytest.raises(OutputError, match=r"holds thesis\.txt"):
            run(source, target, config=UpscaleConfig(restart=restart))
    assert (journal_folder(target) / "thesis.txt").read_text() == "precious"


def test_a_folder_of_frames_goes_on_too(tmp_path: Path, source: Path) -> None:
    whole = run(source, tmp_path / "whole").output
    with pytest.raises(Interrupted):
        run(source, tmp_path / "b", after=2)
    run(source, tmp_path / "b")
    names = [path.name for path in sorted(whole.iterdir())]
    assert len(names) == 80
    assert [digest(tmp_path / "b" / name) for name in names] == [digest(whole / name) for name in names]


def test_what_was_probed_is_read_back(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=1)
    header = json.loads((journal_folder(target) / "journal.jsonl").read_text().splitlines()[0])
    used: list[int | None] = []
    set_threads: Callable[[int | None], int] = lambda count=None: used.append(count) or 1  # noqa: E731
    monkeypatch.setattr("stinet.runtime.set_threads", set_threads)
    monkeypatch.setattr("stinet.runtime.memory_available_bytes", lambda _="cpu": 1 << 24)  # would choose other tiles
    run(source, target)
    assert used == [header["choices"]["threads"]]


def test_a_plan_tells_what_is_done_and_writes_nothing(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan = plan_upscale(source, target, fn=Repeat(), config=CONFIG)
    assert any("2 segments are done" in line for line in plan.lines())
    assert plan.to_json()["segments_done"] == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.bad_input(36)
def test_a_second_run_with_other_settings_is_told_of_the_first(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=1)
    with OutputLock(target), pytest.raises(OutputError, match="another run"):
        run(source, target, config=UpscaleConfig(fps="x3", encode=CONFIG.encode))
    assert run(source, target).resumed_segments == 1


@pytest.mark.bad_input(30)
@pytest.mark.parametrize("harm", ["gone", "short", "changed"])
@pytest.mark.parametrize("name", ["b.mp4", "frames"])
def test_a_finished_segment_that_was_damaged_is_made_again_before_the_rest(
    tmp_path: Path, source: Path, name: str, harm: str
) -> None:
    whole, target = tmp_path / "whole" / name, tmp_path / name
    run(source, whole)
    with pytest.raises(Interrupted):
        run(source, target, after=3)
    stored = sorted(path for path in journal_folder(target).rglob("*") if path.suffix in (".mkv", ".png"))
    hurt = stored[len(stored) // 2]  # of the second of three segments
    data = hurt.read_bytes()
    if harm == "gone":
        hurt.unlink()
    else:
        hurt.write_bytes(data[:100] if harm == "short" else data[:-9] + bytes(reversed(data[-9:])))
    summary = run(source, target)
    assert summary.resumed_segments == 1
    assert any("damaged" in line and line.endswith(": 2") for line in summary.warnings)
    made = [target] if target.is_file() else sorted(target.iterdir())
    wanted = [whole] if whole.is_file() else sorted(whole.iterdir())
    assert [digest(path) for path in made] == [digest(path) for path in wanted]


@pytest.mark.bad_input(30)
@pytest.mark.parametrize("header", [b"[1]\n", b'{"stinet":2}\n', b"\0" * 40 + b"\n"])
def test_a_header_that_says_nothing_is_no_journal(tmp_path: Path, source: Path, header: bytes) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=1)
    (journal_folder(target) / "journal.jsonl").write_bytes(header)
    assert run(source, target).resumed_segments == 0


@pytest.mark.bad_input(28, 29)
def test_a_y4m_file_appears_whole_or_not_at_all(tmp_path: Path, source: Path) -> None:
    config = UpscaleConfig(window=10, segment=8)
    with pytest.raises(Interrupted):
        run(source, tmp_path / "b.y4m", after=2, config=config)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    run(source, tmp_path / "b.y4m", config=config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.y4m"]
    size = (tmp_path / "b.y4m").stat().st_size
    assert size > 80 * 256 * 192 * 3 // 2


def test_limits_of_a_server_may_change_between_two_runs(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupted):
        run(source, target, after=2)
    config = UpscaleConfig(window=10, segment=8, encode=CONFIG.encode, read=ReadConfig(max_seconds=Fraction(100)))
    assert run(source, target, config=config).resumed_segments == 2
