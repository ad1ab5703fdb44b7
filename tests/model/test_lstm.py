"""The bidirectional deformable ConvLSTM: who sees whom, and the equations of one step."""

import torch
from torch import Tensor

from stinet.model.lstm import ConvLstm


def lstm(*, is_residual: bool = True) -> ConvLstm:
    torch.manual_seed(0)
    return ConvLstm(channels=4, kernel=3, groups=2, max_offset_px=4.0, is_residual=is_residual)


def test_every_frame_sees_the_frames_on_either_side() -> None:
    net, x = lstm(), torch.randn(4, 4, 5, 6)
    with torch.no_grad():
        before = net(x, 4)
        for changed, seen in ((0, 3), (3, 0)):
            other = x.clone()
            other[changed] += 1
            assert (net(other, 4)[seen] - before[seen]).abs().max() > 0


def test_clips_of_a_batch_are_kept_apart() -> None:
    net, x = lstm(), torch.randn(6, 4, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(net(x, 3)[:3], net(x[:3], 3), rtol=1e-4, atol=1e-5)


def test_a_clip_in_reverse_gives_the_output_in_reverse_where_both_directions_weigh_the_same() -> None:
    net, x = lstm(), torch.randn(3, 4, 5, 6)
    with torch.no_grad():
        net.fuse.weight[:, 4:] = net.fuse.weight[:, :4]
        torch.testing.assert_close(net(x.flip(0), 3).flip(0), net(x, 3), rtol=1e-4, atol=1e-5)


def test_residual_adds_the_clip() -> None:
    plain, residual, x = lstm(is_residual=False), lstm(), torch.randn(3, 4, 5, 6)
    residual.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(residual(x, 3) - x, plain(x, 3), rtol=1e-4, atol=1e-5)


def test_two_frames_follow_the_equations() -> None:
    net, x = lstm(is_residual=False).double(), torch.randn(2, 4, 6, 7, dtype=torch.float64)

    def step(frame: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        hidden = net.hidden.pair(net.hidden.pyramid(frame), net.hidden.pyramid(hidden))
        cell = net.cell.pair(net.cell.pyramid(frame), net.cell.pyramid(cell))
        gates = net.gates(torch.cat([frame, hidden], dim=1))
        i, f, o, g = gates[:, :4], gates[:, 4:8], gates[:, 8:12], gates[:, 12:]
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell

    with torch.no_grad():
        zero = torch.zeros(1, 4, 6, 7, dtype=torch.float64)
        first, cell = step(x[:1], zero, zero)
        ahead = [first, step(x[1:], first, cell)[0]]
        last, cell = step(x[1:], zero, zero)
        back = [step(x[:1], last, cell)[0], last]
        expected = torch.cat([net.fuse(torch.cat(pair, dim=1)) for pair in zip(ahead, back, strict=True)])
        torch.testing.assert_close(net(x, 2), expected)


def test_gradients_reach_the_states_alignment() -> None:
    net = lstm()
    net(torch.randn(4, 4, 5, 6), 4).square().sum().backward()
    for align in (net.hidden, net.cell):
        gradient = align.pair.ahead.get_submodule("deform.0.offsets").get_parameter("weight").grad
        assert gradient is not None
        assert gradient.abs().max() > 0
