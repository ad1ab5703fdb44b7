"""docs/research.md: its examples run, are short, and do what it says; every name in its table is there."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluate.stand_ins import moving_clip
from stinet.catalogue import clip_function, network
from stinet.config import ClipFunction, LossConfig, Tile
from stinet.evaluate import benchmark

PAGE = (Path(__file__).parents[1] / "docs" / "research.md").read_text(encoding="utf-8")
FRAMES = torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def example(of: str) -> dict[str, Any]:
    """What the block of code under "How to add a ..." defines."""
    code = code_of(of)
    scope: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, f"docs/research.md, {of}", "exec"), scope)
    return scope


def code_of(of: str) -> str:
    return re.split(r"```(?:python)?\n", PAGE.split(f"## How to add a {of}\n")[1])[1]


@pytest.mark.parametrize("of", ["phase", "loss", "peer"])
def test_an_example_is_under_fifty_lines(of: str) -> None:
    lines = [line for line in code_of(of).splitlines() if line.strip()]
    assert 10 < len(lines) < 50


def test_a_new_phase_changes_nothing_at_first_and_takes_any_number_of_frames() -> None:
    made = example("phase")
    known, net = network("stinet-xs"), made["net"]
    with torch.no_grad():
        for count in (1, 2, 3):
            torch.testing.assert_close(net(FRAMES[:, :count]).final, known(FRAMES[:, :count]).final)


def test_a_new_phase_learns() -> None:
    net = example("phase")["grown_from"]("stinet-xs")
    truth = torch.rand(1, 5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(net.clip_mean.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = (net(FRAMES).final - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_network_with_a_new_phase_is_a_clip_function() -> None:
    made = example("phase")
    assert isinstance(made["fn"], ClipFunction)
    clip = [moving_clip(3, 1.0, size=(48, 48))]
    old = made["NetworkClip"](network("stinet-xs"), torch.device("cpu"), torch.float32)
    functions = {"new": made["fn"], "old": old}
    report = benchmark(clip, functions)
    assert report.models["new"].psnr_db == pytest.approx(report.models["old"].psnr_db, abs=1e-3)


def test_a_new_loss_is_zero_for_the_truth_and_joins_the_sum() -> None:
    made = example("loss")
    truth = torch.rand(1, 3, 3, 16, 16)
    frames = (truth + 0.1 * torch.rand_like(truth)).requires_grad_()
    assert made["edge_distance"](truth, truth) == 0
    assert made["edge_distance"](truth + 0.3, truth) < 1e-6  # brightness alone is no edge
    config = LossConfig(kind="l2")
    losses = made["WithEdges"](config, torch.device("cpu"))
    total, terms = losses.total(frames, None, None, truth, truth[..., ::4, ::4])
    assert total.item() == pytest.approx((terms["reconstruction"] + 0.05 * terms["edges"]).item())
    total.backward()
    assert frames.grad is not None
    assert frames.grad.abs().max() > 0


def test_a_new_peer_holds_each_frame_and_is_measured_like_any_other() -> None:
    peer = example("peer")["HeldThenBicubic"]()
    assert isinstance(peer, ClipFunction)
    states = [peer.prepare(frame) for frame in FRAMES[0]]
    whole = peer.run(states, ((0.5,), (0.25, 0.75)), peer.context(states, ()))
    assert whole.shape == (6, 3, 64, 64)
    torch.testing.assert_close(whole[1], whole[0])
    torch.testing.assert_close(whole[4], whole[2])
    tile = Tile(top=2, left=4, bottom=10, right=16)
    torch.testing.assert_close(peer.run(states, ((0.5,), (0.25, 0.75)), None, tile), whole[..., 8:40, 16:64])
    report = benchmark([moving_clip(5, 2.0)], {"held": peer, "blend": clip_function("blend+bicubic")})
    given, between = (report.models["held"].to_json()["mean"][part]["psnr_db"] for part in ("given", "interpolated"))
    assert given == pytest.approx(report.models["blend"].to_json()["mean"]["given"]["psnr_db"], abs=1e-6)
    assert between < given


def test_every_name_of_the_table_is_where_it_says() -> None:
    table = PAGE.split("## Where it is written\n")[1].split("\n## ")[0]
    found = 0
    for row in table.splitlines():
        cells = row.split("|")
        if len(cells) != 5 or "`" not in cells[2] or "src/stinet" in cells[2]:
            continue
        files = re.findall(r"`([\w/]+)\.py`", cells[2])
        modules = [importlib.import_module(f"stinet.{file.replace('/', '.')}") for file in files]
        for name in re.findall(r"`([\w.]+)`", cells[3]):
            assert any(has(module, name) for module in modules), f"{name} is not in {files}"
            found += 1
    assert found > 30


def test_settings_that_the_page_names_exist() -> None:
    from dataclasses import fields

    from stinet.config import ModelConfig, TrainConfig

    known = {field.name for config in (ModelConfig, LossConfig, TrainConfig) for field in fields(config)}
    named = set(re.findall(r"`(\w+): [\w.]+`", PAGE.split("## What the paper leaves open")[1].split("\n## How")[0]))
    assert {"shared_at", "modulation", "motion_limit"} <= named
    assert named <= known


def has(module: object, path: str) -> bool:
    for part in path.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True
