"""Motion error and flicker: zero for the truth, and known where the film is made by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stinet.metrics.fidelity import luma
from stinet.metrics.motion import flicker, flow_expansion, motion, motion_error


def moving(shift_px: float, height: int = 96, width: int = 128) -> Tensor:
    """A soft pattern in [0, 1], moved to the right by so many pixels."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    x = x - shift_px
    wave = torch.sin(x / 5) + torch.cos(y / 6) + torch.sin((x + 2 * y) / 9)
    return (0.5 + wave / 8).expand(3, height, width).float()


def error_of(made: list[Tensor], truth: list[Tensor]) -> float:
    flows = [motion(*(flow_expansion(frame) for frame in pair)) for pair in (made, truth)]
    return motion_error(*flows).item()


def test_the_truth_moves_as_the_truth() -> None:
    film = [moving(0), moving(2)]
    assert error_of(film, film) == 0
    assert flicker((luma(film[0]), luma(film[1])), (luma(film[0]), luma(film[1]))).item() == 0


@pytest.mark.parametrize(("made_px", "true_px"), [(0, 2), (1, 2), (2, -1), (3, 2)])
def test_a_wrong_shift_is_an_error_of_the_pixels_it_is_wrong_by(made_px: float, true_px: float) -> None:
    error = error_of([moving(0), moving(made_px)], [moving(0), moving(true_px)])
    assert error == pytest.approx(abs(made_px - true_px), rel=0.08)


def test_an_end_point_difference_is_euclidean_and_averaged_over_pixels() -> None:
    made, truth = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)
    made[:, 0, 0] = torch.tensor([3.0, -4.0])
    truth[0, 1, 1] = 2.0
    assert motion_error(made, truth).item() == pytest.approx((5 + 2) / 4)


def test_motion_is_that_of_opencv_on_the_8_bit_frames() -> None:
    cv2 = pytest.importorskip("cv2")
    first, second = (torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grays = [np.tensordot(weights, (frame * 255 + 0.5).floor().numpy(), 1) for frame in (first, second)]
    expected = cv2.calcOpticalFlowFarneback(*grays, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    made = motion(flow_expansion(first), flow_expansion(second)).permute(1, 2, 0).numpy()
    assert np.abs(made - expected).mean() < 1e-3


def test_flicker_by_hand() -> None:
    truth = (torch.full((2, 2), 100.0).double(), torch.full((2, 2), 110.0).double())
    after = truth[1].clone()
    after[0, 0] += 8  # one pixel of four is 8 levels off, and only in the second frame
    assert flicker((truth[0], after), truth).item() == pytest.approx(8 / 4)


def test_an_error_that_rests_does_not_flicker_and_one_that_takes_turns_does() -> None:
    film = [luma(moving(shift)) for shift in (0, 1)]
    rests = (film[0] + 5, film[1] + 5)
    turns = (film[0] + 5, film[1] - 5)
    assert flicker(rests, (film[0], film[1])).item() == pytest.approx(0, abs=1e-12)
    assert flicker(turns, (film[0], film[1])).item() == pytest.approx(10)


def test_a_batch_of_pairs_is_measured_pair_by_pair() -> None:
    made, truth = torch.rand(3, 2, 5, 6), torch.rand(3, 2, 5, 6)
    alone = torch.stack([motion_error(a, b) for a, b in zip(made, truth, strict=True)])
    torch.testing.assert_close(motion_error(made, truth), alone)
