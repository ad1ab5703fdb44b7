"""What figures say of the inside of a network: the graph's edges and the offsets' fields."""

from pathlib import Path

import pytest
import torch

from figures.small_clips import small_weights, write_clip
from stinet.catalogue import network
from stinet.errors import ModelError, UsageError
from stinet.figures.graph import draw_graph, graph_of, summary
from stinet.figures.offsets import draw_offsets, fields_of
from stinet.model.local import Local
from stinet.model.relate import edge_weights
from stinet.model.stinet import STINet

FRAMES = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net(tmp_path: Path) -> STINet:
    torch.manual_seed(0)
    net = network(str(small_weights(tmp_path / "small.safetensors")))
    for parameter in net.parameters():  # offsets and modulators start at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


def test_the_graph_is_the_one_that_the_network_used(net: STINet) -> None:
    graph = graph_of(net, FRAMES)
    assert graph.joined.shape == (10, 10)
    torch.testing.assert_close(graph.edges.frame.diagonal(), torch.ones(10), atol=1e-4, rtol=0)  # pyright: ignore
    weights = edge_weights(graph.edges, graph.joined)
    torch.testing.assert_close(graph.shares, weights * graph.joined.sum(dim=-1, keepdim=True), atol=1e-4, rtol=1e-4)
    assert (graph.shares[~graph.joined] == 0).all()
    torch.testing.assert_close(graph.frames, net(FRAMES[None]).final[0].clamp(0, 1).detach())
    assert "E^T 0." in summary(graph)


def test_a_network_without_st_gr_has_no_graph(tmp_path: Path) -> None:
    net = network(str(small_weights(tmp_path / "none.safetensors", relate="none")))
    with pytest.raises(ModelError, match="no graph"):
        graph_of(net, FRAMES)


def test_without_inet_fields_are_those_of_a_network_whose_inet_passes_on_what_it_gets(net: STINet) -> None:
    without = fields_of(net, FRAMES, 2)["previous"].direct
    local = net.local[0]
    assert isinstance(local, Local)
    local.exchange = None
    bare = fields_of(net, FRAMES, 2)["previous"]
    assert bare.exchanged == {}
    for branch in ("low", "high"):
        assert without[branch].shape == (16, 24, 2)
        torch.testing.assert_close(bare.direct[branch], without[branch])


def test_inet_changes_the_fields(net: STINet) -> None:
    found = fields_of(net, FRAMES, 2)["following"]
    assert found.flow is not None
    assert found.flow.shape == (16, 24, 2)
    assert (found.exchanged["low"] - found.direct["low"]).abs().max() > 1e-4


def test_frames_in_between_have_fields_where_st_lr_refines_them(net: STINet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frame 1 lies in between"):
        fields_of(net, FRAMES, 1)
    every = network(str(small_weights(tmp_path / "all.safetensors", local_frames="all")))
    assert fields_of(every, FRAMES, 1)["following"].exchanged["low"].shape == (16, 24, 2)


def test_fields_are_right_and_down(net: STINet) -> None:
    local = net.local[0]
    assert isinstance(local, Local)
    for weights in local.weights.values():
        offsets = weights.align["previous"].offsets  # pyright: ignore
        offsets.weight.data.zero_()
        offsets.bias.data.zero_()
        offsets.bias.data[0 : 2 * local.weights["shared"].align["previous"].groups : 2] = 0.5  # pyright: ignore (dy)
    field = fields_of(net, FRAMES, 2)["previous"].exchanged["low"]
    assert field[..., 0].abs().max() == 0
    assert (field[..., 1] > 0.4).all()


def test_maps_are_drawn(tmp_path: Path) -> None:
    weights = str(small_weights(tmp_path / "a.safetensors"))
    clip = write_clip(tmp_path / "clip")
    assert "E^F" in draw_graph(clip, weights, 5, tmp_path / "graph.png")
    assert "with Inet" in draw_offsets(clip, weights, 5, tmp_path / "offsets.webp", without=weights)
    assert (tmp_path / "graph.png").stat().st_size > 5000
    assert (tmp_path / "offsets.webp").stat().st_size > 2000
    with pytest.raises(UsageError, match="no frame 9"):
        draw_offsets(clip, weights, 5, tmp_path / "offsets.png", frame=9)
