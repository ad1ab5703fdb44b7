"""A rounded stage computes what the int8 engine computes, and leaves nothing behind but better weights."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import data_of, first_batch, quiet, settings, weights
from torch import Tensor, nn

from model.small_networks import COMPACT, build, clip
from stinet import runtime
from stinet.checkpoint import load_model, read_header
from stinet.config import TrainConfig
from stinet.engines.calibrate import Seen, fit_range, fit_ranges, look_at_inputs
from stinet.engines.ranges import Range, ranges_file, read_ranges
from stinet.errors import ConfigError
from stinet.model.stinet import STINet
from stinet.train.fit import fit
from stinet.train.machine import open_machine
from stinet.train.rounding import compute_exactly, compute_rounded, ranges_of
from stinet.train.state import begin
from stinet.train.step import Stepper, offset_px, term_gradients

ENTRY, LIFT, HEAD = "interpolate.pnet.low.entry", "features_net.lift", "reconstruct.low.0"


def seen_range(name: str, x: Tensor, net: STINet) -> Range:
    """The range of one layer that was given `x`."""
    pixels = x.movedim(1, -1).flatten(0, -2).double().numpy()
    seen = Seen(pixels, pixels.min(0), pixels.max(0), len(pixels))
    return fit_range(seen, net.get_parameter(f"{name}.weight").detach().double().numpy())[0]


def given_to(layer: Any, seed: int = 0) -> Tensor:
    """What leaks through a leaky ReLU, in channels of different size."""
    sizes = torch.logspace(-1, 1, layer.in_channels).view(-1, 1, 1)
    x = torch.randn(2, layer.in_channels, 12, 16, generator=torch.Generator().manual_seed(seed)) * sizes
    return nn.functional.leaky_relu(x, 0.1)


def rounded_layer(name: str, seed: int = 0) -> tuple[STINet, Any, Tensor, Range]:
    net = build(COMPACT)
    layer, given = net.get_submodule(name), given_to(net.get_submodule(name), seed)
    found = seen_range(name, given, net)
    compute_rounded(net, {name: found})
    return net, layer, given, found


@pytest.mark.skipif(not runtime.has_int8(), reason="needs a CPU with VNNI")
@pytest.mark.parametrize("name", [ENTRY, LIFT, HEAD])
def test_a_rounded_layer_has_the_numbers_of_the_engine_in_8_bits(name: str) -> None:
    openvino = pytest.importorskip("openvino", reason="needs openvino: pip install 'stinet[cpu]'")
    from stinet.engines import graph

    net, layer, x, found = rounded_layer(name)
    entry = graph._parameter("x", *x.shape)
    made = graph._model([graph._Convolutions(net, {name: found})(entry, layer)], [entry], "layer")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    with runtime.kept_signal_stack():
        compiled = openvino.Core().compile_model(made, "CPU", hints)
    kinds = [
        str(op.get_rt_info()["runtimePrecision"].astype(str))
        for op in compiled.get_runtime_model().get_ops()
        if "Convolution" in str(op.get_rt_info()["layerType"].astype(str))
    ]
    assert kinds in (["u8"], ["i8"])
    theirs = torch.from_numpy(np.array(compiled([x.numpy()])[0]))
    ours = layer(x).detach()
    # a sum of whole numbers has no error; an input halfway between two levels may go either way
    step = (found.high - found.low) / 255 * torch.tensor(found.scales).view(1, -1, 1, 1)
    one_level = float((step * layer.weight.detach().abs()).max())
    assert float((ours - theirs).abs().max()) < 1.01 * one_level
    assert float(((ours - theirs).abs() > 1e-5 * ours.abs().max()).float().mean()) < 1e-3
    compute_exactly(net)
    assert float((layer(x).detach() - theirs).abs().mean()) > 100 * float((ours - theirs).abs().mean())


def test_bfloat16_changes_nothing_of_the_rounding() -> None:
    _, layer, x, _ = rounded_layer(ENTRY)
    x = x.bfloat16()
    exact = layer(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.bfloat16
    # the result alone is rounded, twice
    bias = layer.bias.detach().view(1, -1, 1, 1).abs()
    assert ((made.float() - exact).abs() <= 2**-7 * ((exact - layer.bias.view(1, -1, 1, 1)).abs() + bias)).all()


def test_a_gradient_goes_through_as_if_nothing_were_rounded_and_stops_outside() -> None:
    _, layer, x, found = rounded_layer(LIFT)
    ends = [torch.tensor(found.scales).view(1, -1, 1, 1) * end for end in (found.low, found.high)]
    half_a_level = (ends[1] - ends[0]) / 510
    x[0, :, 0, 0] = (2 * ends[1])[0, :, 0, 0]
    x.requires_grad_()
    layer(x).sum().backward()
    reached, by_weight = x.grad, layer.weight.grad.clone()
    assert reached is not None
    inside = (x > ends[0] - half_a_level) & (x < ends[1] + half_a_level)
    assert not inside[0, :, 0, 0].any()
    assert (reached[~inside] == 0).all()
    # the same layer, exact, at the weights that it was rounded to
    scales = torch.tensor(found.scales).view(1, -1, 1, 1)
    unit = (layer.weight * scales).abs().amax((1, 2, 3), keepdim=True) / 127
    near = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
    near.weight.data = ((layer.weight * scales / unit).round() * unit / scales).detach()
    step = (found.high - found.low) / 255 * scales
    y = ((x / step).round() * step).clamp(*ends).detach().requires_grad_()
    near(y).sum().backward()
    assert y.grad is not None
    assert near.weight.grad is not None
    torch.testing.assert_close(reached[inside], y.grad[inside], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_weight, near.weight.grad, rtol=1e-4, atol=1e-3)


def test_rounding_adds_no_weights_and_can_be_undone() -> None:
    net = build(COMPACT).eval()
    frames = clip(3, (16, 20))
    names, exact = list(net.state_dict()), net(frames).final
    seen = look_at_inputs(net, [list(frames[0])])
    compute_rounded(net, fit_ranges(net, seen))
    assert list(net.state_dict()) == names
    assert 0 < float((net(frames).final - exact).detach().abs().max()) < 0.1
    compute_exactly(net)
    assert torch.equal(net(frames).final, exact)


def test_ranges_are_of_all_convolutions_that_a_clip_goes_through_but_mnet(config: TrainConfig) -> None:
    net = build(COMPACT)
    found = ranges_of(net, data_of(config).training, config.frames)
    used = {name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
    left = ("draft_heads", "interpolate.motion")
    assert {name for name in used - set(found) if not name.startswith(left) and ".align." not in name} == set()
    assert not any(name.startswith(left) for name in found)


def test_a_stage_is_rounded_by_its_own_ranges_and_the_next_one_exact(video: Path, tmp_path: Path) -> None:
    stages = ({"steps": 1}, {"steps": 1, "rounded": True}, {"steps": 1})
    config = settings(video, tmp_path / "run", stages=stages)
    data = data_of(config).training
    stepper = Stepper(begin(config, open_machine(config), quiet), data)
    layers, known = [], []
    for _ in range(3):
        stepper(data.draw(config, 0, range(2)))
        layers.append(sum("forward" in layer.__dict__ for layer in stepper.run.net.modules()))
        known.append(len(stepper.run.ranges))
    assert layers == known
    assert layers[0] == layers[2] == 0
    assert layers[1] > 10
    assert stepper.run.net.state_dict().keys() == stepper.run.average.keys()


def test_what_is_looked_at_sees_a_rounded_network(video: Path, tmp_path: Path) -> None:
    config = settings(video, tmp_path / "run", rounded=True)
    stepper = Stepper(begin(config, open_machine(config), quiet), data_of(config).training)
    batch = first_batch(config)
    assert np.isfinite(offset_px(stepper, batch))
    assert term_gradients(stepper, batch)["reconstruction"] > 0


def test_a_rounded_run_that_was_stopped_goes_on_by_the_same_ranges_bit_for_bit(video: Path, tmp_path: Path) -> None:
    config = settings(video, tmp_path / "whole", rounded=True)
    whole = fit(config, quiet)
    halved = dataclasses.replace(config, out=str(tmp_path / "halved"))
    calls = itertools.count(1)

    def stop(_: object) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(dataclasses.replace(halved, save_every=2), quiet, stop)
    part = read_header(tmp_path / "halved" / "state.safetensors")
    assert part["done"] == 2
    resumed = fit(dataclasses.replace(halved, save_every=100), quiet)
    assert resumed.ranges == whole.ranges
    made = tmp_path / "whole" / "latest.safetensors"
    beside = read_ranges(ranges_file(made), load_model(made))
    assert beside is not None
    assert beside.keys() == whole.ranges.keys()
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(resumed)[name], tensor), name
    exact = fit(dataclasses.replace(config, rounded=False, out=str(tmp_path / "exact")), quiet)
    assert not ranges_file(tmp_path / "exact" / "latest.safetensors").exists()
    assert not torch.equal(exact.average["features_net.lift.weight"], whole.average["features_net.lift.weight"])


def test_a_published_network_is_not_rounded() -> None:
    with pytest.raises(ConfigError, match="tmnet has no int8: leave rounded out"):
        TrainConfig(rival="tmnet", rounded=True)
