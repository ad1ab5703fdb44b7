"""Ranges are found from what a network computes, kept in a file beside the weights, and refused for other weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.small_networks import COMPACT, build, clip
from stinet.catalogue import network
from stinet.engines.calibrate import Seen, fit_range, fit_ranges, look_at_inputs
from stinet.engines.ranges import Range, joint_range, ranges_file, read_ranges, write_ranges
from stinet.errors import CheckpointError
from stinet.weights import FOLDER

RANGES = {"a.first": Range(-0.125, 3.5, (1.0, 0.25)), "b": Range(0.0, 1.0, (2.0,))}


def seen_of(pixels: np.ndarray) -> Seen:
    return Seen(pixels, pixels.min(0), pixels.max(0), len(pixels))


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rounded(pixels: np.ndarray, given: Range) -> np.ndarray:
    step = (given.high - given.low) / 255
    scaled = pixels / np.array(given.scales)
    return (np.clip(np.round((scaled - given.low) / step), 0, 255) * step + given.low) * np.array(given.scales)


def test_ranges_are_read_as_they_were_written(tmp_path: Path) -> None:
    net = build(COMPACT)
    write_ranges(tmp_path / "x.int8.json", net, RANGES, {"clips": 3})
    assert read_ranges(tmp_path / "x.int8.json", net) == RANGES


def test_ranges_of_other_weights_or_none_are_none(tmp_path: Path) -> None:
    net = build(COMPACT)
    write_ranges(tmp_path / "x.int8.json", net, RANGES, {})
    assert read_ranges(tmp_path / "y.int8.json", net) is None
    with torch.no_grad():
        net.get_parameter("features_net.head.weight")[0, 0, 0, 0] += 1e-3
    assert read_ranges(tmp_path / "x.int8.json", net) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights": 1, "layers": ['])
def test_a_damaged_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.int8.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"x\.int8\.json: no ranges, or damaged"):
        read_ranges(tmp_path / "x.int8.json", build(COMPACT))


@pytest.mark.parametrize("name", [file.name.partition(".")[0] for file in sorted(FOLDER.glob("*.int8.json"))])
def test_shipped_ranges_are_those_of_the_shipped_weights(name: str) -> None:
    net = network(name)
    ranges = read_ranges(ranges_file(FOLDER / f"{name}.safetensors"), net)
    assert ranges, f"run: python benchmarks/calibrate.py {name} --clips CORPUS"
    layers = dict(net.named_modules())
    for layer, given in ranges.items():
        assert len(given.scales) == layers[layer].in_channels
        assert given.low <= 0 < given.high


def test_every_convolution_of_a_clip_is_seen_with_all_its_pixels() -> None:
    net = build(COMPACT)
    clips = [clip(2, (12, 16), seed=seed)[0] for seed in (2, 5)]
    seen = look_at_inputs(net, [list(frames) for frames in clips])
    used = {name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
    unseen = {name for name in used - set(seen) if not name.startswith("draft_heads") and ".align." not in name}
    assert unseen == set()
    head = seen["features_net.head"]
    assert head.count == 4 * 12 * 16
    np.testing.assert_allclose(head.highest, torch.cat(clips).amax((0, 2, 3)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(head.lowest, torch.cat(clips).amin((0, 2, 3)).numpy(), rtol=1e-6)
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_zero_is_a_level() -> None:
    for scale in (0.01, 3.0):
        given, _ = fit_range(seen_of(scale * normal(500, 4)), normal(8, 4, 3, 3))
        place = -given.low / (given.high - given.low) * 255
        assert place == pytest.approx(round(place), abs=1e-6)


def test_an_input_without_negative_numbers_keeps_all_levels_for_the_others() -> None:
    given, _ = fit_range(seen_of(np.abs(normal(500, 4))), normal(8, 4, 3, 3))
    assert given.low == 0


def test_channels_of_different_size_are_kept_equally_well() -> None:
    pixels = normal(2000, 6) * np.array([0.02, 0.05, 0.2, 1.0, 3.0, 9.0])
    weight = normal(8, 6, 3, 3, seed=1) / pixels.std(0)[:, None, None]  # all count as much
    given, error = fit_range(seen_of(pixels), weight)
    alike = (pixels - rounded(pixels, given)).std(0) / pixels.std(0)
    assert alike.max() < 0.03
    assert error < 1e-3
    one_for_all = Range(-30.0, 30.0, (1.0,) * 6)
    assert ((pixels - rounded(pixels, one_for_all)).std(0) / pixels.std(0)).max() > 1


def test_a_few_outliers_do_not_cost_the_others_their_levels() -> None:
    pixels = normal(4000, 3)
    pixels[:2] *= 30
    given, _ = fit_range(seen_of(pixels), normal(8, 3, 3, 3))
    assert given.high - given.low < 0.7 * np.ptp(pixels)


def test_what_is_said_to_go_wrong_does_go_wrong() -> None:
    pixels, weight = normal(4000, 5), normal(7, 5, 1, 1, seed=2)
    given, error = fit_range(seen_of(pixels), weight)
    scaled = weight[:, :, 0, 0] * np.array(given.scales)
    step = np.abs(scaled).max(1, keepdims=True) / 127
    ours = rounded(pixels, given) / np.array(given.scales) @ (np.round(scaled / step) * step).T
    exact = pixels @ weight[:, :, 0, 0].T
    assert ((ours - exact) ** 2).sum() / (exact**2).sum() == pytest.approx(error, rel=0.3)


def test_layers_that_read_the_same_numbers_share_a_range() -> None:
    net = build(COMPACT)
    seen = look_at_inputs(net, [list(clip(2, (12, 16))[0])])
    offsets = "local.0.weights.shared.offsets"
    ranges = fit_ranges(net, {name: one for name, one in seen.items() if name.startswith(offsets)})
    same = {ranges[f"{offsets}.centre.{side}"] for side in ("previous", "following")}
    assert len(same) == 1
    assert ranges[f"{offsets}.second.previous"] not in same


def test_a_joint_range_holds_what_each_of_its_parts_holds() -> None:
    first, second = Range(-1.0, 2.0, (1.0, 0.5, 3.0)), Range(-0.1, 0.9, (2.0, 4.0))
    made = joint_range([first, second], [[0, 1, 2], [3, 2]])
    ends = np.outer((made.low, made.high), made.scales)
    for given, read in ((first, [0, 1, 2]), (second, [3, 2])):
        for place, scale in zip(read, given.scales, strict=True):
            slack = (ends[1, place] - ends[0, place]) / 255  # zero was brought to a level
            assert ends[0, place] <= given.low * scale + slack
            assert ends[1, place] >= given.high * scale - slack
    levels = -made.low / ((made.high - made.low) / 255)
    assert levels == pytest.approx(round(levels), abs=1e-6)


def test_parts_with_the_same_ends_keep_them() -> None:
    made = joint_range([Range(-1.0, 2.0, (1.0, 0.5)), Range(-1.0, 2.0, (0.5, 3.0))], [[0, 1], [1, 2]])
    assert made == Range(-1.0, 2.0, (1.0, 0.5, 3.0))
