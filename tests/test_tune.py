"""Tuning keeps to its budget, says what it did not try, and recommends by what it measured."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from films import Repeat, film, pictures
from stinet import runtime
from stinet.__main__ import main
from stinet.bench import tune as tuning
from stinet.bench.sheet import crop_of, draw_sheet, made_by
from stinet.bench.subjects import Subject
from stinet.bench.tune import Tried, Tuned, tune
from stinet.errors import DeviceError, InputError, ModelError, OutputError

WIDTH, HEIGHT, FRAMES = 96, 64, 10


@dataclass
class Clock:
    """A clock that only work moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Costly(Repeat):
    """Takes `cost` seconds for every source pixel of every output frame."""

    def __init__(self, clock: Clock, cost: float) -> None:
        super().__init__()
        self.clock, self.cost = clock, cost

    def run(self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Any = None) -> Tensor:
        made = super().run(states, times, nodes, tile)
        self.clock.now += self.cost * made.shape[0] * states[0].shape[-2] * states[0].shape[-1]
        return made


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second at 10 frames/s."""
    return film(tmp_path / "my holiday.mkv", pictures(FRAMES, WIDTH, HEIGHT), rate=Fraction(10))


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of one core with PyTorch alone."""
    monkeypatch.setattr(runtime, "cores", lambda: 1)
    monkeypatch.setattr(runtime, "probe_threads", lambda: 1)
    monkeypatch.setattr(tuning, "_engines", lambda: ("torch",))
    return monkeypatch


def costing(clock: Clock, **cost: float) -> Callable[[Subject], Costly]:
    """Models by their cost; "_" stands for "-" in a name."""
    return lambda subject: Costly(clock, cost[subject.model.replace("-", "_")])


def tuned(clip: Path, sheet: Path | None = None, *, budget_s: float = 20.0, **cost: float) -> Tuned:
    clock = Clock()
    models = [name.replace("_", "-") for name in cost]
    return tune(clip, sheet, budget_s=budget_s, device="cpu", models=models, make=costing(clock, **cost), clock=clock)


def test_speed_is_that_of_the_whole_picture_with_the_context_of_windows(
    clip: Path, one_core: pytest.MonkeyPatch
) -> None:
    (one,) = tuned(clip, stinet_xs=1e-6).tried
    expected = 1 / (1e-6 * WIDTH * HEIGHT * (1 + 2 / 8))
    assert one.frames_per_s == pytest.approx(expected)
    assert one.film_s == pytest.approx(2 * FRAMES / expected, rel=0.2)  # Matroska rounds its length
    assert one.memory_bytes > 0
    assert not one.why_not


@pytest.mark.parametrize("cost", [1e-8, 1e-6, 1e-5, 3e-5])
def test_the_budget_is_kept_whatever_a_pixel_costs(clip: Path, one_core: pytest.MonkeyPatch, cost: float) -> None:
    clock = Clock()
    make = costing(clock, stinet_s=3 * cost, stinet_xs=cost)
    # a part is made whole once begun, and a crop below 48 px shows nothing
    tune(clip, None, budget_s=20.0, device="cpu", models=("stinet-s", "stinet-xs"), make=make, clock=clock)
    assert clock.now <= 20


def test_what_there_is_no_time_for_is_named_and_not_begun(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    clock = Clock()

    def make(subject: Subject) -> Costly:
        begun.append(subject.model)
        return Costly(clock, 1e-3)

    result = tune(clip, None, device="cpu", models=("stinet-s", "stinet-xs"), make=make, clock=clock)
    assert begun == ["stinet-s"]
    first, second = result.tried
    assert first.frames_per_s == pytest.approx(1 / (1e-3 * WIDTH * HEIGHT * 1.25))
    assert first.why_not == "roughly: out of time"
    assert (second.frames_per_s, second.why_not) == (None, "not tried: out of time")
    assert result.choices["fast"] is result.choices["best"] is first


def test_a_model_that_fails_is_named_and_stops_no_other(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def make(subject: Subject) -> Costly:
        if subject.model == "stinet-s":
            raise ModelError("its weights are torn")
        return Costly(clock, 1e-6)

    result = tune(clip, None, device="cpu", models=("stinet-s", "stinet-xs"), make=make, clock=clock)
    assert [one.why_not for one in result.tried] == ["its weights are torn", ""]
    with pytest.raises(ModelError, match="torn"):
        tune(clip, None, device="cpu", models=("stinet-s",), make=make, clock=clock)


@pytest.mark.parametrize(("small", "large", "balanced"), [
    (1e-5, 1.5e-5, "stinet-s"),
    (1e-5, 3e-5, "stinet-xs"),
    (1e-7, 1e-6, "stinet-s"),  # ten times slower, but faster than the film plays
])  # fmt: skip
def test_balanced_is_the_best_that_is_not_much_slower_or_keeps_up(
    clip: Path, one_core: pytest.MonkeyPatch, small: float, large: float, balanced: str
) -> None:
    result = tuned(clip, stinet_s=large, stinet_xs=small)
    chosen = {name: one.subject.model for name, one in result.choices.items()}
    assert chosen == {"fast": "stinet-xs", "balanced": balanced, "best": "stinet-s"}


def test_all_cores_are_tried_before_fewer_and_the_faster_number_wins(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    one_core.setattr(runtime, "cores", lambda: 4)
    clock = Clock()
    cost = {4: 3e-6, 2: 1e-6, 1: 2e-6}
    made = lambda subject: Costly(clock, cost[subject.threads])  # noqa: E731
    result = tune(clip, None, device="cpu", models=("stinet-xs",), make=made, clock=clock)
    assert [one.subject.threads for one in result.tried] == [4, 2, 1]
    assert result.choices["fast"].subject.threads == 2
    assert [row[3] for row in result.rows()] == ["threads", "2", "1", "4"]
    assert result.rows()[1][-1] == "fast, balanced, best"


def test_a_command_can_be_pasted_and_names_threads_only_where_it_must(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    result = tuned(clip, stinet_xs=1e-6)
    line = result.command(Subject(model="stinet-xs", threads=1))
    assert line == f"stinet upscale '{clip}' -m stinet-xs --device cpu"  # as it was asked for
    assert replace(result, device="auto").command(Subject(model="stinet-xs", threads=1)) == line.removesuffix(
        " --device cpu"
    )
    assert result.command(Subject(model="stinet-xs", threads=2)) == f"OMP_NUM_THREADS=2 {line}"
    assert [said.split()[0] for said in result.lines()] == ["fast", "balanced", "best"]


def test_openvino_is_tried_in_8_bits_where_there_are_ranges_and_in_others(one_core: pytest.MonkeyPatch) -> None:
    one_core.setattr(tuning, "_engines", lambda: ("torch", "openvino", "onnxruntime"))
    one_core.setattr(runtime, "has_bfloat16", lambda _: True)
    one_core.setattr(runtime, "has_int8", lambda: True)
    ways = [(one.engine, one.precision) for one in tuning._candidates(("stinet-xs",), "cpu")]
    rest = [("openvino", "bfloat16"), ("torch", "auto"), ("onnxruntime", "auto")]
    assert ways == [("openvino", "int8"), *rest]
    one_core.setattr("stinet.bench.subjects.ranges_file", lambda file: file.with_suffix(".gone"))
    assert [(one.engine, one.precision) for one in tuning._candidates(("stinet-xs",), "cpu")] == rest
    one_core.undo()
    one_core.setattr(runtime, "has_int8", lambda: False)
    assert "int8" not in {one.precision for one in tuning._candidates(("stinet-xs",), "cpu")}


def test_a_command_names_what_openvino_computed_with(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    one_core.setattr(tuning, "_engines", lambda: ("torch", "openvino"))
    result = tuned(clip, stinet_xs=1e-6)
    tail = " -m stinet-xs --engine openvino --precision bfloat16 --device cpu"
    assert result.command(Subject(model="stinet-xs", engine="openvino", precision="bfloat16")).endswith(tail)
    assert "--precision" not in result.command(Subject(model="stinet-xs", precision="bfloat16"))


def test_the_device_that_is_named_is_the_one_that_is_tried(clip: Path, one_core: pytest.MonkeyPatch) -> None:
    one_core.setattr(runtime, "device", torch.device)
    one_core.setattr(tuning, "_clip_bytes", lambda *_: 0)
    result = tune(clip, None, device="cuda:1", models=("stinet-xs",), make=costing(Clock(), stinet_xs=1e-6))
    assert [one.subject.device for one in result.tried] == ["cuda:1"]
    assert "--device cuda:1" in result.lines()[0]


def test_the_sheet_has_a_column_for_bicubic_and_for_every_model(
    tmp_path: Path, clip: Path, one_core: pytest.MonkeyPatch
) -> None:
    result = tuned(clip, tmp_path / "sheet.png", stinet_s=1e-6, stinet_xs=1e-6)
    assert result.lines()[-1].endswith("sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 3 * (4 * WIDTH + 16) + 16
        assert sheet.height == 52 + 2 * (4 * 54 + 26 + 16)


def test_a_crop_is_the_same_place_in_every_column(tmp_path: Path) -> None:
    frames = pictures(4, 96, 64)
    crop = crop_of(frames, 40)
    given, between = made_by(Repeat(), crop)
    part = frames[crop.middle][crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    assert (crop.width, crop.height) == (40, 22)
    assert np.array_equal(given[::4, ::4], part)
    after = frames[crop.middle + 1][crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    assert np.abs(between[::4, ::4] - (part.astype(float) + after) / 2).max() <= 1
    with pytest.raises(OutputError, match="nowhere"):
        draw_sheet(crop, {"repeat": (given, between)}, tmp_path / "nowhere" / "sheet.png")


def test_a_single_picture_cannot_be_tuned_for(tmp_path: Path, one_core: pytest.MonkeyPatch) -> None:
    still = film(tmp_path / "still.mkv", pictures(1))
    with pytest.raises(InputError, match="less than two frames"):
        tuned(still, stinet_xs=1e-6)


def test_only_the_frames_that_there_is_time_for_are_read(clip: Path) -> None:
    info = tuning.open_source(clip).info
    assert len(tuning._second(clip, info, lambda: True)) == FRAMES
    assert len(tuning._second(clip, info, lambda: False)) == 4
    # a declared length that leads behind the end
    wrong = replace(info, duration=Fraction(1000))
    assert len(tuning._second(clip, wrong, lambda: True)) == FRAMES


def test_a_film_of_unknown_length_has_no_time_but_a_speed(clip: Path) -> None:
    info = replace(tuning.open_source(clip).info, frames_declared=None, duration=None)
    assert tuning._frames_out(info) is None
    assert tuning._duration(None) == ""
    assert [tuning._duration(seconds) for seconds in (1.0, 240.0, 90_000.0)] == ["1.0 s", "4 min", "25 h 00 min"]


def test_a_device_that_is_not_there_is_refused(clip: Path) -> None:
    with pytest.raises(DeviceError, match="abacus"):
        tune(clip, None, device="abacus")


def test_a_shipped_model_is_tried_for_real(tmp_path: Path, one_core: pytest.MonkeyPatch) -> None:
    clip = film(tmp_path / "small.mkv", pictures(6, 48, 32), rate=Fraction(10))
    heard: list[tuple[int, int]] = []
    threads = torch.get_num_threads()
    result = tune(
        clip,
        tmp_path / "sheet.png",
        budget_s=2.0,
        device="cpu",
        models=("stinet-xs",),
        progress=lambda done, total: heard.append((done, total)),
    )
    (one,) = result.tried
    assert isinstance(one, Tried)
    assert one.frames_per_s
    assert one.film_s is not None
    assert one.subject.precision in ("float32", "bfloat16")
    assert heard[-1] == (2, 2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 2 * (4 * 48 + 16) + 16
    assert torch.get_num_threads() == threads


def test_the_command_prints_a_table_and_ready_commands(
    clip: Path, one_core: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_core.setattr(tuning, "shipped", lambda: ("blend+bicubic",))
    one_core.setattr(sys, "argv", ["stinet", "tune", str(clip), "--seconds", "3", "--sheet", str(tmp_path / "s.png")])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().out
    assert not end.value.code
    assert "frames/s" in said
    assert f"best      stinet upscale '{clip}' -m blend+bicubic" in said
    assert (tmp_path / "s.png").exists()


@pytest.mark.parametrize(("words", "code"), [
    (("missing.mp4",), InputError.exit_code),
    (("{clip}", "--sheet", "{folder}"), OutputError.exit_code),
])  # fmt: skip
def test_a_wrong_call_leaves_nothing_behind(
    clip: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    given = [word.format(clip=clip, folder=clip.parent) for word in words]
    monkeypatch.setattr(sys, "argv", ["stinet", "tune", *given])
    monkeypatch.chdir(clip.parent)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert list(clip.parent.iterdir()) == [clip]
