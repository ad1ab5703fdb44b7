"""What a model is shown, what is counted, what is measured, and how means are taken."""

import gc
import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from evaluate.stand_ins import Broken, Oracle, Repeat, flat_clip, grey_step_db, moving_clip, textured_clip
from stinet.data.benchmarks import find_clips
from stinet.data.clip import Clip
from stinet.data.degrade import STRENGTHS, degrade, seed_of
from stinet.errors import InputError, ModelError, UsageError
from stinet.evaluate import Measures, ModelReport, Protocol, Shown, benchmark
from stinet.metrics import luma
from stinet.ops.resample import downsample_uint8, quantize, resize
from stinet.peers.pairs import PEERS

KEYS = {"psnr_db", "ssim", "given", "interpolated", "frames", "given_frames", "identical_frames"}


def measure(clips: Sequence[Clip], function: Repeat, protocol: Protocol | None = None, *names: str) -> ModelReport:
    report = benchmark(clips, {"repeat": function}, protocol or Protocol(), measures=Measures(names))
    return report.models["repeat"]


def test_given_frames_are_scored_apart_from_interpolated_ones() -> None:
    report = measure([flat_clip([10, 20, 30, 40, 50, 60, 70])], Repeat(error=1)).to_json()
    scores = report["clips"]["flat"]
    assert scores["given"]["psnr_db"] == pytest.approx(grey_step_db(1))
    assert scores["interpolated"]["psnr_db"] == pytest.approx(grey_step_db(9))
    assert scores["psnr_db"] == pytest.approx((4 * grey_step_db(1) + 3 * grey_step_db(9)) / 7)
    assert (scores["frames"], scores["given_frames"]) == (7, 4)


def test_the_mean_is_over_clips_and_not_over_all_frames() -> None:
    clips = [flat_clip([50] * 7, "one"), flat_clip([90, 99] * 9 + [90], "two")]
    report = measure(clips, Repeat(error=1)).to_json()
    expected = [report["clips"][name]["psnr_db"] for name in ("one", "two")]
    assert report["mean"]["psnr_db"] == pytest.approx(sum(expected) / 2)
    assert report["mean"]["frames"] == 26


def test_identical_frames_count_as_100_db_and_are_reported() -> None:
    report = measure([flat_clip([50, 50, 50, 60, 60])], Repeat()).to_json()
    assert report["clips"]["flat"]["identical_frames"] == 4
    assert report["clips"]["flat"]["psnr_db"] == pytest.approx((4 * 100 + grey_step_db(10)) / 5)
    json.dumps(report, allow_nan=False)


def test_an_error_below_half_a_level_is_rounded_away() -> None:
    assert measure([flat_clip([50] * 3)], Repeat(error=0.4)).to_json()["mean"]["identical_frames"] == 3


@pytest.mark.parametrize("scale", [2, 4])
def test_a_model_is_shown_every_other_frame_cropped_made_small_and_rounded(scale: int) -> None:
    function, clip = Repeat(scale), textured_clip(9)
    measure([clip], function)
    frames = torch.from_numpy(np.stack(list(clip.read()))).permute(0, 3, 1, 2).double() / 255
    height, width = 26 // scale, 31 // scale
    small = quantize(resize(frames[:, :, : height * scale, : width * scale], (height, width)))
    for shown, indices in zip(function.shown, [(0, 2, 4, 6), (2, 4, 6, 8)], strict=True):
        torch.testing.assert_close(torch.stack(shown), small[list(indices)].float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [9, 10])
def test_a_degraded_clip_is_a_film_of_the_given_frames(count: int) -> None:
    """Of 10 frames the last window shows 3, 5, 7, 9: frames of another film, which begins with frame 1."""
    function, clip = Repeat(), textured_clip(count)
    measure([clip], function, Protocol(degradation="moderate"))
    frames = [frame[:24, :28] for frame in clip.read()]
    films = [
        np.stack(list(degrade(frames[first::2], STRENGTHS["moderate"], 4, seed_of(clip.name, first))))
        for first in (0, 1)
    ]
    last = films[0][1:5] if count == 9 else films[1][1:5]
    for shown, expected in zip(function.shown, (films[0][:4], last), strict=True):
        made = torch.stack(shown).permute(0, 2, 3, 1).numpy() * 255
        np.testing.assert_allclose(made, expected, atol=1e-3)


def test_all_models_are_shown_the_same_degraded_pixels_every_time() -> None:
    functions = {"one": Repeat(), "other": Repeat()}
    for _ in range(2):
        benchmark([textured_clip(7)], functions, Protocol(degradation="strong"))
    first, *others = (torch.stack(shown) for function in functions.values() for shown in function.shown)
    assert all(torch.equal(first, other) for other in others)


def test_the_truth_of_a_degraded_clip_is_sharp() -> None:
    clip = moving_clip(7, 2)
    protocol = Protocol(degradation="strong")
    report = measure([clip], Oracle(clip), protocol).to_json()
    assert report["clips"]["moving"]["identical_frames"] == 7
    assert report["protocol"]["degradation"] == "strong"
    assert "strong degradation" in report["protocol"]["name"]
    assert "mpeg4 qmin=4" in report["protocol"]["low_resolution"]


def test_psnr_equals_scikit_images_on_the_cropped_frame() -> None:
    function, clip = Repeat(), textured_clip(1)
    (score,) = measure([clip], function).clips["texture"]
    truth = torch.from_numpy(next(iter(clip.read()))[:24, :28].copy()).permute(2, 0, 1).double() / 255
    made = function.run(function.shown[0], (), None)[0]
    expected = peak_signal_noise_ratio(luma(truth).numpy(), luma(made).numpy(), data_range=255)
    assert score.psnr_db == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 10, 34])
def test_each_frame_is_scored_once_in_order(count: int) -> None:
    scores = measure([flat_clip([50] * count)], Repeat(error=1)).clips["flat"]
    assert [score.index for score in scores] == list(range(count))


def test_a_clip_of_one_frame_has_no_interpolated_score_and_does_not_weigh_on_its_mean() -> None:
    clips = [flat_clip([50], "still"), flat_clip([50, 53, 50], "pair")]
    report = measure(clips, Repeat(error=1)).to_json()
    assert report["clips"]["still"]["interpolated"] == {"psnr_db": None, "ssim": None}
    assert report["mean"]["interpolated"]["psnr_db"] == pytest.approx(grey_step_db(2))


def test_the_json_has_the_agreed_form() -> None:
    report = measure([flat_clip([50] * 8)], Repeat(error=1)).to_json()
    assert list(report) == ["mean", "clips", "protocol", "model"]
    assert set(report["mean"]) == set(report["clips"]["flat"]) == KEYS
    assert report["protocol"] | {"window": 7, "step": 2, "variant": "all"} == report["protocol"]
    assert report["model"]["name"] == "repeat"
    assert report["model"]["output_frames"] == 14
    assert report["model"]["frames_per_second"] == pytest.approx(14 / report["model"]["seconds"])


def test_several_models_are_measured_on_the_same_frames_each_at_its_scale() -> None:
    functions = {"two": Repeat(2, 1), "four": Repeat(4, 2)}
    report = benchmark([flat_clip([50] * 3)], functions).to_json()
    assert report["models"]["two"]["mean"]["psnr_db"] == pytest.approx(grey_step_db(1))
    assert report["models"]["four"]["mean"]["psnr_db"] == pytest.approx(grey_step_db(2))
    assert report["models"]["four"]["protocol"]["low_resolution"].startswith("bicubic x1/4")


def test_variant_160_counts_no_tail() -> None:
    assert len(measure([flat_clip([50] * 10)], Repeat(), Protocol(variant="160")).clips["flat"]) == 7


def test_progress_reaches_the_whole_of_every_clip() -> None:
    heard: list[tuple[str, str, float]] = []
    benchmark([flat_clip([50] * 19)], {"m": Repeat()}, progress=lambda *news: heard.append(news))
    assert [share for _, _, share in heard] == pytest.approx([1 / 3, 2 / 3, 1])


def test_nothing_is_kept_for_training_in_inference_mode() -> None:
    """Cached resampling weights must stay fit for a backward pass."""
    measure([flat_clip([50], size=(44, 36))], Repeat())
    image = torch.rand(1, 3, 44, 36, dtype=torch.float64, requires_grad=True)
    resize(image, (11, 9)).sum().backward()
    assert image.grad is not None


def test_the_truth_has_no_motion_error_and_no_flicker() -> None:
    clip = moving_clip(7, 2)
    report = measure([clip], Oracle(clip), None, "motion", "flicker").to_json()["clips"]["moving"]
    assert report["identical_frames"] == 7
    for part in (report, report["interpolated"]):
        assert (part["motion_px"], part["flicker"]) == (0, 0)


def test_frames_that_stand_still_while_the_truth_moves_err_by_its_motion() -> None:
    """Made frames move by 0 and 4 px in turn, the true ones by 2 each."""
    clip = moving_clip(7, 2)
    report = measure([clip], Oracle(clip, stutters=True), None, "motion").to_json()["clips"]["moving"]
    assert report["interpolated"]["motion_px"] == pytest.approx(2, rel=0.1)
    assert report["motion_px"] == report["interpolated"]["motion_px"]
    assert report["given"]["motion_px"] is None


def test_flicker_is_the_error_of_temporal_differences_in_levels_of_luma() -> None:
    """Made greys step by 0 and 20 in turn, the true ones by 10 each; an error that all frames share is not seen."""
    clip = flat_clip([10, 20, 30, 40, 50, 60, 70])
    report = measure([clip], Repeat(error=5), None, "flicker").to_json()["clips"]["flat"]
    assert report["interpolated"]["flicker"] == pytest.approx(10 * 219 / 255)


def test_pairs_are_neighbours_across_windows_and_the_first_frame_has_none() -> None:
    frames = measure([flat_clip([50] * 14)], Repeat(), None, "flicker").clips["flat"]
    assert ["flicker" in frame.figures for frame in frames] == [False, *[True] * 13]


def test_a_pair_counts_as_given_only_where_both_frames_are() -> None:
    """Of 8 frames the last window shows 1 to 7: frame 6 is given in the first, 7 in the last."""
    frames = measure([flat_clip([50] * 7 + [53])], Repeat(), None, "flicker")
    scores = frames.to_json()["clips"]["flat"]
    assert [frame.index for frame in frames.clips["flat"] if frame.is_pair_given] == [7]
    assert (scores["given_frames"], scores["given"]["flicker"]) == (5, pytest.approx(0))


def test_rgb_figures_are_scikit_images() -> None:
    function, clip = Repeat(), textured_clip(1)
    (score,) = measure([clip], function, None, "rgb").clips["texture"]
    truth = next(iter(clip.read()))[:24, :28]
    made = (function.run(function.shown[0], (), None)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert score.figures["rgb_psnr_db"] == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=255))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    full = structural_similarity(truth, made, data_range=255, channel_axis=-1, full=True, **gaussian)[1]
    assert score.figures["rgb_ssim"] == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def test_lpips_without_its_files_is_said_to_be_not_measured() -> None:
    report = measure([flat_clip([50] * 3)], Repeat(), None, "lpips").to_json()
    assert report["mean"]["lpips"] is None
    assert "name the files" in report["not_measured"]["lpips"]


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="vmaf"):
        Measures(("vmaf",))


def test_groups_have_their_own_means_over_clips() -> None:
    clips = [replace(flat_clip([50] * 7, name), group=group) for name, group in (("a", "fast"), ("b", "slow"))]
    clips += [replace(flat_clip([50, 60] * 3 + [50], "c"), group="fast"), flat_clip([50] * 3, "d")]
    report = measure(clips, Repeat(error=1)).to_json()
    assert list(report["groups"]) == ["fast", "slow"]
    both = [report["clips"][name]["psnr_db"] for name in ("a", "c")]
    assert report["groups"]["fast"]["psnr_db"] == pytest.approx(sum(both) / 2)
    assert report["groups"]["slow"]["psnr_db"] == report["clips"]["b"]["psnr_db"]
    assert (report["clips"]["c"]["group"], "group" in report["clips"]["d"]) == ("fast", False)


def test_the_four_clips_of_vid4_are_its_group_and_three_are_none() -> None:
    clips = [flat_clip([50] * 3, name) for name in ("calendar", "city", "foliage", "walk")]
    assert measure(clips, Repeat()).to_json()["groups"]["vid4"]["frames"] == 12
    assert "groups" not in measure(clips[1:], Repeat()).to_json()


def test_two_clips_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="flat"):
        measure([flat_clip([50]), flat_clip([60])], Repeat())


def test_one_clip_is_in_memory_at_a_time() -> None:
    kept: list[weakref.ref[np.ndarray]] = []

    def read() -> Iterator[np.ndarray]:
        gc.collect()
        assert all(reference() is None for reference in kept)
        for _ in range(9):
            frame = np.full((24, 28, 3), 50, dtype=np.uint8)
            kept.append(weakref.ref(frame))
            yield frame

    measure([Clip(name, read) for name in "abc"], Repeat(), None, "flicker", "motion")
    assert len(kept) == 27


def test_whoever_watches_sees_every_frame_that_counts_with_its_truth() -> None:
    seen: list[Shown] = []
    benchmark([textured_clip(9)], {"one": Repeat(), "two": Repeat(error=3)}, watch=seen.append)
    truth = list(textured_clip(9).read())
    for name in ("one", "two"):
        mine = [shown for shown in seen if shown.model == name]
        assert [shown.score.index for shown in mine] == list(range(9))
        for shown, frame in zip(mine, truth, strict=True):
            np.testing.assert_allclose(shown.truth.permute(1, 2, 0) * 255, frame[:24, :28])
            assert shown.made.shape == shown.truth.shape
            assert shown.low.shape == (3, 6, 7)


@pytest.mark.parametrize(("break_it", "says"), [("number", "is due"), ("value", "not finite")])
def test_a_broken_model_is_an_error_and_not_a_low_score(break_it: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        measure([flat_clip([50] * 7)], Broken(break_it))


@pytest.mark.parametrize("clips", [[], [flat_clip([])], [flat_clip([1], size=(8, 40))]])
def test_what_cannot_be_measured_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(InputError):
        measure(clips, Repeat())


def test_a_folder_of_clips_is_measured_by_name(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (16, 12), (40, 40, 40)).save(tmp_path / name / f"{index}.png")
    assert list(measure(find_clips(tmp_path), Repeat()).clips) == ["a", "b"]


def test_the_8_bit_road_to_low_resolution_is_matlabs(data: Path) -> None:
    benchmarks = data / "benchmarks"
    (truth,), (low,) = find_clips(benchmarks / "vid4" / "calendar"), find_clips(benchmarks / "vid4_lr_reference")
    for frame, expected in zip(truth.read(), low.read(), strict=False):
        made = downsample_uint8(torch.from_numpy(frame).permute(2, 0, 1)[None], 4)[0].permute(1, 2, 0)
        np.testing.assert_array_equal(made.numpy(), expected)


def test_city_of_vid4_scores_what_it_is_known_to(data: Path) -> None:
    """Measured once beside the published means over all four clips: 23.78, 23.34 and 23.44 dB."""
    functions = {name: PEERS[name](4) for name in ("blend+bicubic", "flow+bicubic")}
    report = benchmark(find_clips(data / "benchmarks" / "vid4" / "city"), functions).to_json()
    for name, interpolated_db, similarity in (("blend+bicubic", 24.818, 0.5877), ("flow+bicubic", 24.877, 0.5890)):
        scores = report["models"][name]["clips"]["city"]
        assert (scores["frames"], scores["given_frames"]) == (34, 18)
        assert scores["given"]["psnr_db"] == pytest.approx(25.161, abs=0.002)
        assert scores["interpolated"]["psnr_db"] == pytest.approx(interpolated_db, abs=0.002)
        assert scores["ssim"] == pytest.approx(similarity, abs=1e-4)
