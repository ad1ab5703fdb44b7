"""TMNet: time reaches what it makes, and the rows of Table VI are settings of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from stinet.config import LossConfig
from stinet.errors import ConfigError
from stinet.losses.total import Losses
from stinet.model.lstm import ConvLstm
from stinet.model.relate import Relate
from stinet.ops.resample import upsample
from stinet.peers.tmnet import Tmnet, TmnetConfig

CONFIG = TmnetConfig(channels=8, groups=2, front_blocks=1, back_blocks=1, high_blocks=1, graph_channels=8)

TABLE_SIX = {
    "TMNet": CONFIG,
    "TMNet w/ HR": replace(CONFIG, high="native"),
    "TMNet w/ HR, folded": replace(CONFIG, high="folded"),
    "TMNet w/ ST-GR": replace(CONFIG, relate="graph"),
    "TMNet w/ HR and ST-GR": replace(CONFIG, relate="graph", high="folded"),
}


def build(config: TmnetConfig) -> Tmnet:
    """A network in which nothing is zero: offsets and modulators, whose gradients stop there, included."""
    torch.manual_seed(0)
    net = Tmnet(config)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return net.eval()


@pytest.mark.parametrize("row", TABLE_SIX)
def test_every_row_of_table_six_runs_forward_and_back(row: str) -> None:
    net, frames = build(TABLE_SIX[row]), torch.rand(2, 3, 3, 8, 12)
    made = net(frames, ((0.25, 0.5), (0.75,))).final
    assert made.shape == (2, 6, 3, 32, 48)
    made.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_st_gr_stands_in_the_place_of_the_lstm() -> None:
    kinds = {row: {type(module) for module in build(config).modules()} for row, config in TABLE_SIX.items()}
    assert ConvLstm in kinds["TMNet"]
    assert Relate not in kinds["TMNet"]
    assert Relate in kinds["TMNet w/ ST-GR"]
    assert ConvLstm not in kinds["TMNet w/ ST-GR"]


def test_st_gr_relates_both_branches_and_sees_the_whole_clip() -> None:
    net, frames = build(TABLE_SIX["TMNet w/ HR and ST-GR"]), torch.rand(1, 5, 3, 8, 8)
    changed = frames.clone()
    changed[:, 0] += 0.5
    with torch.no_grad():
        assert (net(changed).final - net(frames).final)[:, -1].abs().max() > 1e-6
        assert isinstance(net.relate, Relate)
        net.relate.modulation = 0.0
        assert (net(changed).final - net(frames).final)[:, -1].abs().max() < 1e-6


def test_h_adds_to_the_frames() -> None:
    net, frames = build(TABLE_SIX["TMNet w/ HR"]), torch.rand(1, 2, 3, 8, 8)
    with torch.no_grad():
        both = net(frames).final
        assert net.high_frames is not None
        nn.init.zeros_(net.high_frames.head.weight)
        assert net.high_frames.head.bias is not None
        nn.init.zeros_(net.high_frames.head.bias)
        alone = net(frames).final
    assert (both - alone).abs().max() > 1e-4


def test_motion_consistency_is_a_setting_of_the_loss_and_its_gradient_reaches_tmnet() -> None:
    net, frames, truth = build(CONFIG), torch.rand(1, 2, 3, 8, 8), torch.rand(1, 3, 3, 32, 32)
    gradients = []
    for motion in (0.0, 1.0):
        losses = Losses(LossConfig(motion=motion), torch.device("cpu"))
        made = net(frames)
        loss, _ = losses.total(made.final, made.draft.low, made.draft.high, truth, truth[..., ::4, ::4])
        (gradient,) = torch.autograd.grad(loss, net.extract.entry.weight)
        gradients.append(gradient)
    assert (gradients[1] - gradients[0]).abs().max() > 0.01 * gradients[0].abs().max()


def test_with_a_residual_base_a_network_that_adds_nothing_enlarges_frames_and_their_blends() -> None:
    net, frames = build(replace(CONFIG, residual_base=True, residual_gain=0.0)), torch.rand(2, 3, 3, 8, 8)
    a, b, c = frames.unbind(1)
    with torch.no_grad():
        made = net(frames, ((0.25,), (0.5, 0.75))).final
    expected = torch.stack([a, 0.75 * a + 0.25 * b, b, 0.5 * (b + c), 0.25 * b + 0.75 * c, c], dim=1)
    torch.testing.assert_close(made, upsample(expected.flatten(0, 1), 4).unflatten(0, (2, 6)))


def test_the_correction_of_a_residual_base_is_scaled() -> None:
    frames = torch.rand(1, 2, 3, 8, 8)
    with torch.no_grad():
        none, small, large = (
            build(replace(CONFIG, residual_base=True, residual_gain=gain))(frames).final for gain in (0.0, 0.1, 0.2)
        )
    torch.testing.assert_close(large - none, 2 * (small - none), atol=1e-5, rtol=1e-3)
    assert (small - none).abs().max() > 1e-4


def test_only_frames_at_other_times_change_with_time() -> None:
    net, frames = build(CONFIG), torch.rand(1, 2, 3, 12, 12)
    with torch.no_grad():
        made = {time: net(frames, (time,)).final[:, 1] for time in (0.2, 0.5, 0.8)}
        plain = Tmnet(replace(CONFIG, modulated=False)).eval()
        plain.load_state_dict({k: v for k, v in net.state_dict().items() if ".modulators." not in k})
        middle = plain(frames).final[:, 1]
    torch.testing.assert_close(made[0.5], middle)
    assert (made[0.2] - made[0.5]).abs().max() > 1e-4
    assert (made[0.2] - made[0.8]).abs().max() > 1e-4


@pytest.mark.parametrize(("time", "learns"), [(0.5, False), (0.25, True)])
def test_modulation_learns_nothing_from_the_middle(time: float, *, learns: bool) -> None:
    net = build(CONFIG)
    weights = [weight for name, weight in net.named_parameters() if ".modulators." in name]
    made = net(torch.rand(1, 2, 3, 8, 8), (time,)).final
    gradients = torch.autograd.grad(made.square().mean(), weights)
    assert any(gradient.any() for gradient in gradients) == learns


@pytest.mark.parametrize(("changes", "said"), [
    ({"channels": 6, "groups": 4}, "6 channels cannot be divided into 4 offset groups"),
    ({"back_blocks": -1}, "too small: back_blocks -1"),
])  # fmt: skip
def test_settings_that_make_no_network_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **changes)
