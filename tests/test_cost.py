"""What models cost: figures that are known by hand, and a table of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from commands import Stinet  # pyright: ignore[reportMissingImports]
from figures.small_clips import small_weights
from stinet.bench import cost as cost_module
from stinet.bench.cost import Cost, costs
from stinet.bench.roofline import PHASES
from stinet.bench.words import cost_tables
from stinet.catalogue import macs_per_pixel, network
from stinet.config import PRESETS
from stinet.errors import ModelError
from stinet.peers import stage_nets
from stinet.peers.networks import RIVALS, build
from stinet.peers.rcan import RcanConfig
from stinet.peers.sepconv import SepConvConfig


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cost]:
    weights = str(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))
    return {c.model.split("/")[-1]: c for c in costs([weights, "blend+bicubic"], turns=2, size=(32, 48))}


def test_phases_add_up_to_the_network(measured: dict[str, Cost]) -> None:
    cost = measured["small.safetensors"]
    net = network(cost.model)
    assert [phase.name for phase in cost.phases] == list(PHASES)
    assert sum(phase.parameters for phase in cost.phases) == cost.parameters == sum(p.numel() for p in net.parameters())
    assert cost.macs_per_px == pytest.approx(sum(phase.macs_per_px for phase in cost.phases if phase.name != "flow"))
    assert cost.macs_per_px == pytest.approx(macs_per_pixel(net.config, 64))
    assert sum(phase.seconds for phase in cost.phases) == pytest.approx(cost.seconds, rel=0.5)


def test_a_pipeline_has_neither_parameters_nor_phases(measured: dict[str, Cost]) -> None:
    cost = measured["blend+bicubic"]
    assert (cost.parameters, cost.phases) == (None, ())
    assert cost.frames_per_s == pytest.approx(1 / cost.seconds)


def test_a_process_takes_more_than_the_tensors_in_it(measured: dict[str, Cost]) -> None:
    for cost in measured.values():
        assert cost.memory_bytes is not None
        assert cost.memory_bytes > cost.tensor_bytes > 7 * 3 * 128 * 192 * 4  # what comes out is held at the end


def test_tensors_that_are_let_go_of_are_not_counted() -> None:
    with cost_module._Alive() as alive:
        for _ in range(5):
            made = torch.zeros(1000)
            del made
    assert alive.most["around"] == 4000
    with cost_module._Alive() as alive:
        held = [torch.zeros(1000) for _ in range(5)]
        held += [held[0].view(10, 100)]  # the same memory
    assert alive.most["around"] == 20000


def test_a_model_that_has_had_its_share_gets_no_further_turn(
    measured: dict[str, Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured["blend+bicubic"].turns == 2
    monkeypatch.setattr(cost_module, "_process_memory", lambda *_: None)  # seconds of a process that nobody looks at
    (once,) = costs(["blend+bicubic"], turns=3, share_s=0.0001, size=(32, 48))
    assert once.turns == 1


def test_one_turn_is_the_first_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "_process_memory", lambda *_: None)
    passes: list[int] = []
    seconds = cost_module._Pass.seconds
    monkeypatch.setattr(cost_module._Pass, "seconds", lambda self: passes.append(1) or seconds(self))
    (once,) = costs(["blend+bicubic"], turns=1, size=(32, 48))
    assert (len(passes), once.turns) == (1, 1)


@pytest.mark.parametrize("name", ["tmnet", "rstt-s"])
def test_a_pixel_of_a_rival_costs_the_same_in_every_frame(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = {"channels": 16, "groups": 2, "front_blocks": 1, "back_blocks": 1}
    small = {key: value for key, value in smallest.items() if hasattr(RIVALS[name].config, key)}
    monkeypatch.setattr(cost_module, "build", lambda name: build(name, replace(RIVALS[name].config, **small)))
    fn, counted = cost_module._built(name), []
    for size in ((32, 32), (32, 64)):
        monkeypatch.setattr(cost_module, "_COUNTED_SIZE", size)
        counted.append(cost_module._macs_per_px(fn, (144, 180))["around"])
    assert counted[0] == pytest.approx(counted[1], rel=0.01)
    assert counted[0] > 1000


def test_tables_show_every_model_and_every_phase(measured: dict[str, Cost]) -> None:
    first, phases = cost_tables(list(measured.values()))
    assert [row[0] for row in first.rows] == [cost.model for cost in measured.values()]
    assert [row[0] for row in phases.rows] == list(PHASES)
    assert len({len(row) for row in (first.head, *first.rows)}) == 1


def test_the_command_prints_and_writes_what_it_measured(
    stinet: Stinet, monkeypatch: pytest.MonkeyPatch, measured: dict[str, Cost], tmp_path: Path
) -> None:
    asked: list[int] = []

    def once(models: object, turns: int, progress: object) -> list[Cost]:
        asked.append(turns)
        return [measured["blend+bicubic"]]

    monkeypatch.setattr(cost_module, "costs", once)
    ran = stinet("models", "--cost", "--models", "blend+bicubic", "--turns", 1, "--json", tmp_path / "c.json")
    assert ran.code == 0, ran.err
    assert asked == [1]
    assert "blend+bicubic" in ran.out
    assert json.loads((tmp_path / "c.json").read_text())[0]["seconds"] == measured["blend+bicubic"].seconds
    assert stinet("models", "--json", tmp_path / "c.json").code == 2


def test_flow_is_its_own_phase_whoever_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = small_weights(tmp_path / "small.safetensors", flow_by="farneback")  # whose own way has convolutions
    one = cost_module._Pass(cost_module._built(str(weights)), (32, 48))
    by_opencv, ours = cost_module._macs_per_px(one.fn, one.size), one.tensor_bytes()
    monkeypatch.setattr("stinet.ops.farneback.has_opencv", lambda: False)
    alone, held = cost_module._macs_per_px(one.fn, one.size), one.tensor_bytes()
    assert by_opencv["flow"] == by_opencv["around"] == alone["around"] == 0
    assert alone["flow"] > 0
    assert {name: macs for name, macs in alone.items() if name != "flow"} == {
        name: macs for name, macs in by_opencv.items() if name != "flow"
    }
    assert held["flow"] > ours["flow"]


@pytest.mark.parametrize("name", [name for name in cost_module.names() if name not in PRESETS])
def test_every_model_that_is_measured_unasked_makes_a_clip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = {"channels": 16, "groups": 2, "front_blocks": 1, "back_blocks": 1}
    if name in RIVALS:
        default = RIVALS[name].config
        small = {key: value for key, value in smallest.items() if hasattr(default, key)}
        monkeypatch.setattr(cost_module, "build", lambda name: build(name, replace(default, **small)))
    spent = cost_module._Pass(cost_module._built(name), (16, 16)).seconds()
    assert spent["around"] == sum(spent.values()) > 0


def test_a_pair_of_untrained_networks_has_the_parameters_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"sepconv": SepConvConfig(taps=5, widths=(4,) * 5), "rcan": RcanConfig(channels=16, groups=1, blocks=1)}
    monkeypatch.setattr(cost_module, "_process_memory", lambda *_: None)  # of a process with the whole networks
    monkeypatch.setattr(stage_nets, "build", lambda name: build(name, small[name]))
    pair, alone = costs(["sepconv+rcan", "sepconv+bicubic"], turns=1, size=(32, 32))
    counted = {name: sum(p.numel() for p in build(name, config).parameters()) for name, config in small.items()}
    assert (pair.parameters, alone.parameters) == (sum(counted.values()), counted["sepconv"])
    assert pair.macs_per_px is not None
    assert alone.macs_per_px is not None
    assert pair.macs_per_px > alone.macs_per_px > 0


@pytest.mark.parametrize("name", ["sepconv", "rcan", "edvr-l"])
def test_one_of_two_stages_has_no_cost_of_its_own(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} is one of two stages"):
        costs([name])


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown model"):
        costs(["nobody"])
