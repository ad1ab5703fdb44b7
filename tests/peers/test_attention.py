"""Attention in windows against a pixel-by-pixel reading of its definition, and RSTT's windows of a long clip."""

import pytest
import torch
from torch import Tensor

from stinet.peers.attention import WINDOW, WindowAttention, _attend
from stinet.peers.rstt import Rstt, RsttConfig


def by_definition(net: WindowAttention, x: Tensor, keys: Tensor, shift: int) -> Tensor:
    """Every pixel on its own; `x` (u h w c), `keys` (t h w c), sides multiples of a window."""
    height, width, channels = x.shape[1:]
    down, right = (shift if side > WINDOW else 0 for side in (height, width))

    def place(frame: int, y: int, x_: int) -> tuple[int, int, int, int, int]:
        """Row and column in the shifted picture, its window, and whether it came round an edge."""
        row, column = (y - down) % height, (x_ - right) % width
        return row, column, row // WINDOW * width + column // WINDOW, y < down, x_ < right

    out = torch.empty_like(x)
    d = channels // net.heads
    k, v = net.key_value(keys).split(channels, dim=-1)
    q = net.query(x)
    pixels = [(f, y, c) for f in range(keys.shape[0]) for y in range(height) for c in range(width)]
    span = 2 * WINDOW - 1
    for frame in range(x.shape[0]):
        for y in range(height):
            for column in range(width):
                mine = place(frame, y, column)
                scores, values = [], []
                for f, ky, kx in pixels:
                    theirs = place(f, ky, kx)
                    if theirs[2] != mine[2]:
                        continue
                    apart = (frame - net.step * f, mine[0] - theirs[0], mine[1] - theirs[1])
                    index = ((apart[0] + net.frames - 1) * span + apart[1] + WINDOW - 1) * span + apart[2] + WINDOW - 1
                    score = (q[frame, y, column].view(-1, d) * k[f, ky, kx].view(-1, d)).sum(-1) / d**0.5
                    hidden = -100.0 if theirs[3:] != mine[3:] else 0.0
                    scores.append(score + net.bias[index] + hidden)
                    values.append(v[f, ky, kx].view(-1, d))
                share = torch.stack(scores).softmax(dim=0).unsqueeze(-1)
                out[frame, y, column] = net.out((share * torch.stack(values)).sum(0).flatten())
    return out


@pytest.mark.parametrize(("queries", "keys", "step"), [(2, 2, 1), (3, 2, 2)])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 8)])
@pytest.mark.parametrize("shift", [0, 2])
@torch.no_grad()
def test_attention_is_its_definition(queries: int, keys: int, step: int, height: int, width: int, shift: int) -> None:
    torch.manual_seed(0)
    net = WindowAttention(4, 2, frames=4, step=step).double()
    net.bias.normal_()
    x = torch.randn(queries, height, width, 4, dtype=torch.float64)
    other = x if keys == queries else torch.randn(keys, height, width, 4, dtype=torch.float64)
    made = _attend(net, x[None], x[None] if other is x else other[None], shift)
    torch.testing.assert_close(made[0], by_definition(net, x, other, shift))


def test_a_shorter_clip_is_seen_as_the_beginning_of_a_long_one_would_be() -> None:
    torch.manual_seed(0)
    net = Rstt(RsttConfig(channels=16, depth=2)).eval()
    frames = torch.rand(1, 6, 3, 8, 8)
    with torch.no_grad():
        long, last = net(frames).final, net(frames[:, 2:]).final
        torch.testing.assert_close(long[:, :7], net(frames[:, :4]).final)
        torch.testing.assert_close(long[:, 7:], last[:, 3:])


def test_without_weights_of_the_exit_only_the_trilinear_estimate_is_left() -> None:
    net = Rstt(RsttConfig(channels=16, depth=1)).eval()
    torch.nn.init.zeros_(net.enlarge.last.weight)
    frames = torch.rand(1, 1, 3, 8, 8)
    with torch.no_grad():
        enlarged = torch.nn.functional.interpolate(frames[0], scale_factor=4, mode="bilinear")
        torch.testing.assert_close(net(frames).final[0], enlarged)
