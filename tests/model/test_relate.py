"""ST-GR: the graph and its weights as the paper draws them, safe for any features; and what Table IV compares with."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from stinet.model.relate import Edges, GraphSage, Relate, adjacency, edge_weights


def relate(**edit: Any) -> Relate:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"channels": 4, "inner": 6, "layers": 4, "modulation": 0.1}
    kept = {"edge_frame": True, "edge_pixel": True, "edge_time": True}
    return Relate(**{**settings, **kept, **edit})


def edges_of(net: Relate, maps: Sequence[Tensor], stamps: tuple[float, ...]) -> Edges:
    grid = (maps[0].shape[-2], maps[0].shape[-1])
    return net.edges([net.look(x, 1, grid) for x in maps], stamps)


@given(st.integers(1, 7), st.integers(1, 2))
def test_nodes_are_joined_to_their_twin_and_to_every_frame_of_their_own_resolution(frames: int, levels: int) -> None:
    joined = adjacency(frames, levels)
    for a in range(frames * levels):
        for b in range(frames * levels):
            same_level, same_frame = a // frames == b // frames, a % frames == b % frames
            assert joined[a, b] == (same_level != same_frame)


def test_every_edge_attribute_is_the_papers() -> None:
    low, high, stamps = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 20, 24), (0.0, 1.0, 4.0)
    edges = edges_of(relate(), (low, high), stamps)
    small = [*low, *functional.avg_pool2d(high, 4)]
    full = [*low, *high]
    assert edges.frame is not None
    assert edges.pixel is not None
    assert edges.time is not None
    for a in range(6):
        for b in range(6):
            frame = functional.cosine_similarity(full[a].mean((1, 2)), full[b].mean((1, 2)), dim=0)
            pixel = functional.cosine_similarity(small[a], small[b], dim=0).mean()
            time = 1 - torch.sigmoid(torch.tensor(abs(stamps[a % 3] - stamps[b % 3])))
            torch.testing.assert_close(edges.frame[0, a, b], frame, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(edges.pixel[0, a, b], pixel, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(edges.time[a, b], time)


def test_twins_have_the_closeness_of_zero_distance() -> None:
    low, high = torch.randn(2, 5, 4, 3, 3)
    time = edges_of(relate(), (low, high), (0.0, 1.0, 2.0, 3.0, 4.0)).time
    assert time is not None
    assert torch.equal(time.diagonal(5), torch.full((5,), 0.5))
    assert time[0, 1] == pytest.approx(1 - 1 / (1 + 2.718281828**-1), abs=1e-6)


def test_weights_are_the_mean_of_the_kept_attributes_over_the_rows_sum() -> None:
    frame, pixel = (torch.rand(1, 4, 4) * 2 - 1 for _ in range(2))
    time, joined = torch.rand(4, 4), adjacency(2, 2)
    got = edge_weights(Edges(frame, pixel, time), joined)[0]
    for a in range(4):
        mean = [(float((1 + frame[0, a, b]) / 2 + (1 + pixel[0, a, b]) / 2 + time[a, b]) / 3) for b in range(4)]
        total = sum(value for b, value in enumerate(mean) if joined[a, b])
        for b in range(4):
            assert float(got[a, b]) == pytest.approx(mean[b] / (total + 1e-6) if joined[a, b] else 0, abs=1e-6)
    alone = edge_weights(Edges(None, None, time), joined)
    torch.testing.assert_close(alone.sum(-1), torch.ones(4))


@given(st.integers(0, 100), st.integers(1, 5), st.integers(1, 2), st.sampled_from([0.0, 1e-12, 1.0, 1e6]))
def test_weights_stay_finite_in_0_to_1_and_rows_sum_to_one_or_nothing(
    seed: int, frames: int, levels: int, size: float
) -> None:
    torch.manual_seed(seed)
    nodes = size * torch.randn(1, frames * levels, 4)
    nodes[:, ::2] = -nodes[:, :1]  # opposite features
    maps = tuple(nodes[0].view(levels, frames, 4, 1, 1).expand(-1, -1, -1, 2, 3))
    edges = edges_of(relate(), maps, tuple(2.0 * i for i in range(frames)))
    for kept in (edges, edges._replace(time=None), edges._replace(time=None, pixel=None)):
        weights = edge_weights(kept, adjacency(frames, levels))
        assert ((weights >= 0) & (weights <= 1)).all()
        for total in weights.sum(-1).flatten().tolist():
            assert total == pytest.approx(1, abs=1e-4) or abs(total) < 1e-6


def test_rows_of_cosines_that_sum_to_zero_are_safe() -> None:
    """Two neighbours, one alike and one opposite; and all of them opposite."""
    for cosines in ([1.0, -1.0], [-1.0, -1.0]):
        frame = torch.eye(3).unsqueeze(0)
        frame[0, 0, 1:] = torch.tensor(cosines)
        frame[0, 1:, 0] = torch.tensor(cosines)
        weights = edge_weights(Edges(frame, None, None), adjacency(3, 1))
        assert weights.isfinite().all()
        assert weights.max() <= 1


def test_gradients_of_zero_features_are_finite() -> None:
    low = torch.zeros(2, 4, 3, 3, requires_grad=True)
    out, _ = relate()(low, None, (0.0, 2.0))
    assert out is not None
    out.sum().backward()
    assert low.grad is not None
    assert low.grad.isfinite().all()


def test_graphsage_adds_the_weighted_mean_of_the_neighbours_in_four_layers() -> None:
    torch.manual_seed(0)
    net = GraphSage(4, 6, 4)
    nodes, weights = torch.randn(1, 3, 4), torch.rand(1, 3, 3)
    x = nodes[0]
    for depth in range(4):
        mean = torch.stack([sum(weights[0, a, b] * x[b] for b in range(3)) for a in range(3)])  # pyright: ignore
        x = x @ net.own[depth].weight.T + net.own[depth].bias + mean @ net.others[depth].weight.T  # pyright: ignore
        x = functional.leaky_relu(x, 0.1) if depth < 3 else x
    torch.testing.assert_close(net(nodes, weights)[0], x, rtol=1e-4, atol=1e-5)
    assert [layer.out_features for layer in net.own] == [6, 6, 6, 4]


def test_a_feature_is_modulated_by_its_own_node() -> None:
    net = relate(modulation=0.3)
    low, high, stamps = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 6, 10), (0.0, 2.0)
    made_low, made_high = net(low, high, stamps)
    nodes = torch.cat([low.mean(dim=(2, 3)), high.mean(dim=(2, 3))]).unsqueeze(0)
    g = net.graph(nodes, edge_weights(edges_of(net, (low, high), stamps), adjacency(2, 2)))[0]
    torch.testing.assert_close(made_low, low + 0.3 * low * g[:2, :, None, None])
    torch.testing.assert_close(made_high, high + 0.3 * high * g[2:, :, None, None])


def test_the_order_of_frames_does_not_matter_to_the_graph() -> None:
    net, order = relate(), [2, 0, 3, 1]
    low, high, stamps = torch.randn(4, 4, 3, 5), torch.randn(4, 4, 6, 10), (0.0, 1.0, 2.5, 4.0)
    straight = net(low, high, stamps)
    mixed = net(low[order], high[order], tuple(stamps[i] for i in order))
    for a, b in zip(straight, mixed, strict=True):
        torch.testing.assert_close(a[order], b)
