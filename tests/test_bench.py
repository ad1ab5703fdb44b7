"""A benchmark's ratios come of one round, its counts of operations are exact, its yardsticks are always there."""

import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from films import Repeat
from stinet.bench import benchmark as bench
from stinet.bench.benchmark import BenchConfig, Benchmark, benchmark
from stinet.bench.film import moving, write_film
from stinet.bench.modeltime import Walk, WindowTime
from stinet.bench.peak import Stack, bandwidth, stacks
from stinet.bench.recorder import Recorder, Spent, features_macs, restore_macs
from stinet.bench.roofline import PHASES, Phase, furthest, roofline
from stinet.bench.rounds import in_turn, median_ratio
from stinet.bench.subjects import YARDSTICK, Subject, build, engines, on_threads, shipped
from stinet.bench.whole import WholeRun, run_whole
from stinet.bench.words import tables
from stinet.catalogue import TRAININGS, macs_per_pixel
from stinet.config import PRESETS, ModelConfig, Selective
from stinet.errors import DeviceError, StinetError, UsageError
from stinet.model.clip import NetworkClip

XS = PRESETS["stinet-xs"]


def test_every_task_runs_once_a_round_and_nobody_always_comes_second() -> None:
    order: list[str] = []
    tasks: dict[str, Callable[[], int]] = {
        name: (lambda name=name: order.append(name) or len(order)) for name in ("a", "b", "c")
    }
    figures = in_turn(tasks, 3, warm_up=1)
    assert order == list("abcbcacababc")
    assert figures == {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7, 12]}


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    slowness = [1.0, 2.0, 8.0, 3.0, 1.5]
    assert median_ratio([6 * slow for slow in slowness], [2 * slow for slow in slowness]) == pytest.approx(3)


def test_multiply_adds_agree_with_those_of_the_list_of_models() -> None:
    counted = (4 * features_macs(XS) + restore_macs(XS, (1, 1, 1))) / (7 * XS.scale**2)
    assert counted == pytest.approx(macs_per_pixel(XS))


def test_work_is_what_was_asked_for_and_not_what_came_out() -> None:
    spent = Spent(prepared_px=300, runs=[((1, 1), 100.0), ((0,), 50.0)])
    assert spent.macs(XS) == 300 * features_macs(XS) + 100 * restore_macs(XS, (1, 1)) + 50 * restore_macs(XS, (0,))


def test_features_on_the_fine_grid_are_counted_with_the_tiles_that_they_are_made_for() -> None:
    native = replace(XS, high="native", scale=2, channels=8, align_at="low")
    spent = Spent(prepared_px=300, runs=[((1,), 100.0)])
    assert spent.macs(native) == 100 * (restore_macs(native, (1,)) + 2 * features_macs(native))


def test_a_recorder_counts_the_time_inside_the_function_alone() -> None:
    ticks = itertools.count()
    fn = Recorder(Repeat(), clock=lambda: float(next(ticks)))
    states = [fn.prepare(torch.rand(3, 6, 8)) for _ in range(2)]
    made = fn.run(states, ((0.5,),), fn.context(states, ((0.5,),)))
    spent = fn.look()
    assert made.shape == (3, 3, 24, 32)
    assert spent.seconds == 4.0  # four calls of one tick each
    assert (spent.prepared_px, spent.runs) == (2 * 48, [((1,), 48)])
    assert (fn.first, fn.last) == (0.0, 7.0)
    assert fn.look() == Spent()
    assert fn.prepared == 2  # what the recorder does not have is the function's


def test_a_warm_window_prepares_its_new_frames_alone() -> None:
    walk = Walk(Repeat(), (16, 12), threads=1, core=3)
    cold, warm, again = (walk.step() for _ in range(3))
    assert cold.spent.prepared_px == 4 * 16 * 12
    for window in (warm, again):
        assert window.frames == 6
        assert window.spent.prepared_px == 3 * 16 * 12
        assert window.spent.runs == [((1, 1, 1, 1), 16 * 12)]
        assert 0 < window.spent.seconds < window.seconds
        assert window.spent.cpu_s > 0


def test_the_film_moves_and_has_no_cut(tmp_path: Path) -> None:
    first, second = (frame.rgb for frame in itertools.islice(moving(40, 32), 2))
    assert np.array_equal(first[1:, 2:], second[:-1, :-2])
    assert first.std() > 20
    from stinet.video.source import open_source

    assert open_source(write_film(tmp_path / "film.mkv", 40, 32, 3)).info.frames_declared in (3, None)


def test_peaks_are_measured_in_both_widths_and_leave_the_threads_alone() -> None:
    before = torch.get_num_threads()
    found = [stack for stack in stacks("float32", 1) if stack.engine == "torch"]
    assert [stack.channels for stack in found] == [32, 64]
    assert all(stack.rate() > 0 for stack in found)
    assert bandwidth(1) > 0
    assert torch.get_num_threads() == before


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with on_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_quantised_convolutions_of_openvino_are_near_the_exact_ones_and_not_equal() -> None:
    pytest.importorskip("openvino")
    from stinet.engines.convolutions import convolution_stack

    made = []
    for precision in ("float32", "int8"):
        work: Any = convolution_stack(32, 2, 16, precision, 1)
        made.append(next(iter(work().values())))
    exact, coarse = made
    assert 0 < np.abs(exact - coarse).max() < 0.1 * exact.max()
    assert convolution_stack(32, 2, 16, "float16", 1) is None


def test_the_torch_engine_refuses_int8_and_names_who_has_it() -> None:
    with pytest.raises(DeviceError, match="use openvino"):
        build(Subject(model="stinet-xs", precision="int8"))
    with pytest.raises(DeviceError, match="computes in float32"):
        build(Subject(model=YARDSTICK, precision="bfloat16"))
    with pytest.raises(UsageError, match="choose from torch"):
        build(Subject(model="stinet-xs", engine="abacus"))


def test_a_preset_without_weights_can_be_timed() -> None:
    name = next(
        name for name in PRESETS if name not in map(TRAININGS.get, shipped()) and PRESETS[name].high == "folded"
    )
    fn = build(Subject(model=name))
    assert isinstance(fn, NetworkClip)
    assert (fn.net.config, fn.precision) == (PRESETS[name], "float32")
    assert engines()[0] == "torch"


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Windows that take known times and do known work, on a machine of 100 multiply-adds a second that slows down."""

    class Canned:
        def __init__(self, fn: Any, size: tuple[int, int], threads: int, core: int) -> None:
            self.pace, self.slowness = fn.pace / threads, itertools.count(1)

        def step(self) -> WindowTime:
            seconds = self.pace * next(self.slowness) * 4
            return WindowTime(frames=4, spent=Spent(seconds=seconds, prepared_px=1), seconds=2 * seconds)

    def measured(precision: str, threads: int, device: str = "cpu") -> list[Stack]:
        slowness = itertools.count(1)
        return [_Slowing(precision, threads, 100.0 * threads, slowness)]  # pyright: ignore[reportReturnType]

    monkeypatch.setattr(bench, "Walk", Canned)
    monkeypatch.setattr(bench, "stacks", measured)
    monkeypatch.setattr(bench, "config_of", lambda fn: XS if isinstance(fn, _Paced) and fn.is_net else None)
    monkeypatch.setattr(Spent, "macs", lambda self, config: 10.0)
    return monkeypatch


class _Slowing:
    """A stack on a machine that slows down."""

    def __init__(self, precision: str, threads: int, rate: float, slowness: Any) -> None:
        self.precision, self.threads, self.engine, self.channels = precision, threads, "torch", 32
        self._rate, self._slowness = rate, slowness

    def rate(self) -> float:
        return self._rate / next(self._slowness)


class _Paced(Repeat):
    """A clip function that takes `pace` seconds a frame on one thread."""

    def __init__(self, pace: float, *, is_net: bool) -> None:
        super().__init__()
        self.pace, self.is_net = pace, is_net


def paced(subject: Subject) -> _Paced:
    if subject.precision == "int8":
        raise DeviceError("no int8 here")
    pace = {YARDSTICK: 0.01, "stinet-xs": 0.1}[subject.model] / (2 if subject.precision == "bfloat16" else 1)
    return _Paced(pace, is_net=subject.is_network)


def run_canned(**wish: Any) -> Benchmark:
    config = BenchConfig(models=("stinet-xs",), engines=("torch",), parts=("model",), sizes=((32, 24),), **wish)
    return benchmark(config, make=paced)


def test_the_yardstick_is_there_for_every_number_of_threads(canned: pytest.MonkeyPatch) -> None:
    result = run_canned(threads=(1, 2), precisions=("float32",))
    seen = {(row.subject.model, row.subject.threads) for row in result.models}
    assert seen == {(model, threads) for model in (YARDSTICK, "stinet-xs") for threads in (1, 2)}
    assert {(peak.precision, peak.threads) for peak in result.peaks} == {("float32", 1), ("float32", 2)}


def test_ratios_are_of_one_round_however_slow_the_machine_gets(canned: pytest.MonkeyPatch) -> None:
    result = run_canned(threads=(2,), precisions=("float32", "bfloat16"))
    rows = {(row.subject.model, row.subject.precision): row for row in result.models}
    exact, half = rows["stinet-xs", "float32"], rows["stinet-xs", "bfloat16"]
    # 10 multiply-adds in 4 frames of 0.1 / 2 s, of 200 a second; both slow down alike
    assert exact.peak_share == pytest.approx(10 / (4 * 0.05) / 200)
    assert half.peak_share == pytest.approx(2 * 10 / (4 * 0.05) / 200)
    assert exact.against_flow == pytest.approx(0.1)
    assert (exact.against_eager, half.against_eager) == (pytest.approx(1), pytest.approx(2))
    assert exact.real_time == pytest.approx(1000 / exact.ms_per_frame / 25)
    assert exact.around_share == pytest.approx(0.5)
    flow = rows[YARDSTICK, "float32"]
    assert (flow.peak_share, flow.against_eager, flow.against_flow) == (None, None, 1.0)


def test_what_is_not_there_is_named_with_the_reason(canned: pytest.MonkeyPatch) -> None:
    result = run_canned(threads=(1, 2), precisions=("float32", "int8"))
    assert result.left_out == {"stinet-xs, torch int8, 1 thread": "no int8 here"}
    assert {peak.precision for peak in result.peaks} == {"float32", "int8"}
    with pytest.raises(DeviceError, match="no int8 here"):
        run_canned(threads=(1,), precisions=("int8",))


def test_a_whole_command_that_fails_costs_no_other_figures(canned: pytest.MonkeyPatch) -> None:
    begun: list[Subject] = []

    def run(subject: Subject, film: Path, output: Path) -> WholeRun:
        assert film.exists()
        assert output.parent == film.parent
        begun.append(subject)
        if subject.precision == "bfloat16":
            raise StinetError("it ran out of memory")
        return WholeRun(
            seconds=2.0 if subject.is_network else 1.0, first_frame_s=1.0, model_s=1.0, span_s=1.0, frames_in=2,
            frames_out=4, peak_memory_bytes=5, cpu_s=1.0, model_cpu_s=1.0, first_frame_cpu_s=1.0,
        )  # fmt: skip

    canned.setattr(bench, "run_whole", run)
    heard: list[tuple[int, int]] = []
    config = BenchConfig(
        models=("stinet-xs",), engines=("torch",), parts=("whole",), sizes=((32, 24),), seconds=0.1, repeat=2,
        threads=(1,), precisions=("float32", "bfloat16"),
    )  # fmt: skip
    result = benchmark(config, make=paced, progress=lambda _, done, total: heard.append((done, total)))
    assert [(row.subject.model, row.against_flow) for row in result.whole] == [(YARDSTICK, 1.0), ("stinet-xs", 0.5)]
    assert result.left_out == {"whole commands: stinet-xs, torch bfloat16, 1 thread": "it ran out of memory"}
    assert (len(begun), heard[-1]) == (3 + 2 * 2, (7, 7))


def test_tables_have_a_cell_for_every_column(canned: pytest.MonkeyPatch) -> None:
    result = run_canned(threads=(1,), precisions=("float32", "int8"))
    run = WholeRun(
        seconds=3.0, first_frame_s=1.0, model_s=2.0, span_s=2.5, frames_in=2, frames_out=4, peak_memory_bytes=5,
        cpu_s=2.6, model_cpu_s=2.0, first_frame_cpu_s=0.9,
    )  # fmt: skip
    subject = Subject(model="stinet-xs")
    result.whole = [bench._whole_row(subject, (32, 24), {subject: [run], subject.yardstick: [run]})]
    result.rooflines = [bench.Roofline(subject=subject, size=(32, 24), phases=(_phase("flow", 2.0, 1.0),))]
    shown = list(tables(result))
    assert len(shown) == 5
    for table in shown:
        assert {len(row) for row in table.rows} == {len(table.head)}
    plain = result.to_json()
    assert plain["whole"][0]["overhead"] == pytest.approx(0.5)
    assert plain["whole"][0]["idle"] == pytest.approx(0.2)
    assert plain["whole"][0]["cpu_overhead"] == pytest.approx(0.3)
    both = Subject(model="stinet-xs", threads=2)
    assert bench._whole_row(both, (32, 24), {both: [run], both.yardstick: [run]}).cpu_overhead is None
    assert plain["rooflines"][0]["furthest"] == "flow"
    assert plain["machine"]["cores"] >= 1


@pytest.mark.parametrize(("wish", "says"), [
    ({"parts": ("speed",)}, "choose from model, whole, roofline"),
    ({"repeat": 0}, "repeat 0"),
    ({"threads": (0,)}, "must be above 0"),
    ({"sizes": ((8, 64),)}, "below 16 px"),
])  # fmt: skip
def test_what_cannot_be_timed_is_refused(wish: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        BenchConfig(**wish)


def test_quick_is_the_smallest_size_on_all_cores() -> None:
    quick = BenchConfig(sizes=((480, 270), (180, 144)), repeat=9).quick()
    assert (quick.sizes, quick.repeat, len(quick.threads)) == (((180, 144),), 3, 1)
    assert BenchConfig(threads=(3,)).quick().threads == (3,)


def test_the_phase_that_loses_most_is_not_the_one_with_the_worst_ratio() -> None:
    phases = [_phase("flow", 1.0, 0.001), _phase("ST-LR", 90.0, 30.0), _phase("around", 2.0, 0.0)]
    assert furthest(phases).name == "ST-LR"
    assert phases[2].distance == float("inf")


def _phase(name: str, seconds: float, bound_s: float) -> Phase:
    return Phase(
        name=name, macs=1.0, bytes=1.0, moved=1.0, seconds=seconds, time_share=1.0, peak_share=1.0, bound_s=bound_s
    )


@pytest.mark.parametrize("flow_by", ["opencv", "torch"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_phases_of_the_network_hold_all_of_its_work(
    precision: str, flow_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stinet.ops.inverse_search.has_opencv", lambda: flow_by == "opencv")
    fn = build(Subject(model="stinet-xs", precision=precision))
    assert isinstance(fn, NetworkClip)
    ways = [Stack(precision=precision, threads=1, engine="torch", channels=32, work=lambda: None)]
    found = {phase.name: phase for phase in roofline(fn, (48, 40), ways, threads=1, repeat=1, core=2)}
    assert tuple(found) == PHASES
    px, frames, own = 48 * 40, 4, fn.net.config  # of the weights that are shipped
    expected = (2 * px * features_macs(own) + px * restore_macs(own, (1, 1, 1))) / frames
    inside = [phase for name, phase in found.items() if name != "flow"]
    # the graph's nodes cost the same in every size, which the count per pixel spreads over a small picture
    assert sum(phase.macs for phase in inside) == pytest.approx(expected, rel=2e-3)
    assert found["S-SR"].macs == pytest.approx(2 * px * features_macs(own) / frames)
    assert found["around"].macs == 0
    assert sum(phase.time_share for phase in found.values()) == pytest.approx(1)
    for name in ("S-SR", "ST-FI", "ST-LR", "ST-GR", "reconstruction"):
        assert 0 < found[name].bytes < found[name].moved
        assert found[name].bound_s > 0
    frame_bytes = 4 * px
    assert found["reconstruction"].bytes > 4 * own.scale**2 * frame_bytes * 3 / frames  # HR frames alone


def test_the_roofline_of_a_network_without_flow_and_with_hr_features_adds_up() -> None:
    config = ModelConfig(
        channels=8, scale=2, features="compact", high="native", flow="none", low_blocks=1, high_blocks=1, relate="lstm",
        shared_blocks=1, deform_groups=4, offset_channels=8, motion_channels=4,
    )  # fmt: skip
    from stinet.model.stinet import STINet

    fn = NetworkClip(STINet(config), torch.device("cpu"), torch.float32)
    ways = [Stack(precision="float32", threads=1, engine="torch", channels=32, work=lambda: None)]
    found = {phase.name: phase for phase in roofline(fn, (24, 16), ways, threads=1, repeat=1, core=1)}
    assert found["flow"].macs == 0
    assert found["S-SR"].macs > 0
    assert sum(phase.time_share for phase in found.values()) == pytest.approx(1)


def test_a_whole_command_is_a_process_that_makes_a_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", 32, 24, 3)
    run = run_whole(Subject(model="stinet-xs"), film, tmp_path / "result.mp4")
    assert (run.frames_in, run.frames_out) == (3, 6)
    assert (tmp_path / "result.mp4").stat().st_size > 0
    assert 0 < run.model_s <= run.span_s < run.seconds
    assert 0 < run.first_frame_s <= run.seconds
    assert 0 < run.model_cpu_s < run.first_frame_cpu_s < run.cpu_s
    assert run.peak_memory_bytes > 50e6
    assert run.overhead > 0
    assert 0 <= run.idle < 1


def test_a_whole_command_that_fails_says_why(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", 32, 24, 2)
    with pytest.raises(StinetError, match="unknown model 'nonesuch'"):
        run_whole(Subject(model="nonesuch"), film, tmp_path / "result.mp4")


def test_the_command_prints_tables_and_writes_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--size 32x24 --models blend+bicubic --threads 1 --precisions float32 --parts model --repeat 1 --json"
    assert command(monkeypatch, "bench", *words.split(), tmp_path / "figures.json") == 0
    said = capsys.readouterr().out
    for heading in ("peak of 3x3 convolutions", "model time, warm windows", "x flow+bicubic"):
        assert heading in said
    plain = json.loads((tmp_path / "figures.json").read_text())
    assert [row["subject"]["model"] for row in plain["models"]] == [YARDSTICK, "blend+bicubic"]
    assert plain["models"][1]["against_flow"] > 0
    assert plain["peaks"][0]["macs_per_s"] > 0


@pytest.mark.parametrize(("words", "code", "says"), [
    (("--size", "180"), 2, "is no size"),
    (("--threads", "many"), 2, "no number of threads"),
    (("--parts", "speed"), 2, "choose from model, whole, roofline"),
    (("--engines", "abacus"), 2, "engine 'abacus' is not there"),
    (("--precisions", "float32,half"), 2, "precision 'half' is unknown"),
    (("--models", "stinet-xs,nonesuch"), 7, "unknown model 'nonesuch'"),
    (("--models", "torn.pth"), 7, "pickles are not loaded"),
])  # fmt: skip
def test_a_wrong_call_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    assert command(monkeypatch, "bench", *words) == code
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    """The exit code of a command run in this process."""
    from stinet.__main__ import main

    monkeypatch.setattr(sys, "argv", ["stinet", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0


def test_a_clip_function_needs_no_gpu_to_be_recorded() -> None:
    fn = Recorder(build(Subject(model="stinet-xs")))
    frames = [torch.rand(3, 16, 16) for _ in range(2)]
    states = [fn.prepare(frame) for frame in frames]
    made: Tensor = fn.run(states, ((0.5,),), fn.context(states, ((0.5,),)))
    assert made.shape == (3, 3, 64, 64)
    assert fn.look().macs(XS) == pytest.approx(256 * (2 * features_macs(XS) + restore_macs(XS, (1,))))


def test_of_frames_that_nobody_wants_no_work_is_counted() -> None:
    class Choosy(Repeat):
        working_bytes_per_pixel = 0

        def prepare_all(self, frames: Sequence[Any]) -> list[Any]:
            return [self.prepare(frame) for frame in frames]

        def run_some(self, wanted: Sequence[int], *given: Any) -> Tensor:
            return self.run(*given)[list(wanted)]

        def each(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
            return list(map(function, *given))

    recorder = Recorder(Choosy())
    assert isinstance(recorder, Selective)
    assert not isinstance(Recorder(Repeat()), Selective)
    states = recorder.prepare_all([torch.rand(3, 6, 8)] * 3)
    recorder.run_some([1, 2], states, [[0.5]] * 2, recorder.context(states, [[0.5]] * 2))
    spent = recorder.look()
    assert (spent.prepared_px, spent.runs) == (3 * 48, [((1, 1), 48 * 2 / 5)])
