"""Runs of video to draw training crops from.

Crop j of step k depends on (seed, k, j) alone: not on the batch it is drawn with, the process that draws it, nor the
device. A place is a moment (any run, any first frame, each equally likely whatever its size) and a corner; where
`candidates` places are drawn, the one with the most detail in its first LR frame is taken, because flat crops teach
little.

Given frames stand two apart, and the one between them is made halfway. With random times they stand further apart, and
any frame between two of them is the one to make; which ones depends on (seed, k), since a batch shares its times.

Runs stand on shelves (`shelf.py`): in memory-mapped files, so that a copy for a worker process carries paths and not
frames, or, by `to`, in the memory of a device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int64, UInt8
from torch import Tensor

from stinet.config import TrainConfig
from stinet.data.shelf import Area, Shelf
from stinet.data.symmetry import Crop, Symmetry, turned
from stinet.errors import DeviceError, InputError

__all__ = ["VALIDATION_FRAMES", "Batch", "Runs"]

VALIDATION_FRAMES = 7
"""Frames of a run that are measured: the first ones, four of them given."""

WIDEST = 6
"""Frames from one given frame to the next at most, with random times: five in between, as in the paper's Table II."""

ROOM = 0.6
"""Share of a device's free memory that data may take."""


class Batch(NamedTuple):
    """Crops of one step. The even ones of the u = 2 * frames - 1 frames are the input."""

    high: UInt8[Tensor, "b u 3 sh sw"]
    low: UInt8[Tensor, "b u 3 h w"]
    forward: Float16[Tensor, "b intervals 2 h w"]
    """O_{i -> i+1} between source frames, LR pixels."""
    backward: Float16[Tensor, "b intervals 2 h w"]
    """O_{i+1 -> i}."""
    tau: Float32[Tensor, "b intervals"]
    """Where the odd frames stand between their neighbours, in (0, 1); the same for all crops; stays on the CPU."""

    @property
    def times(self) -> tuple[tuple[float, ...], ...]:
        """One tuple per interval, as a network takes them."""
        return tuple((float(tau),) for tau in self.tau[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same crops on a device."""
        moved = {name: part.to(device, non_blocking=non_blocking) for name, part in self._asdict().items()}
        return Batch(**{**moved, "tau": self.tau})


class _Spacing(NamedTuple):
    """Which frames of a stretch of video a clip has."""

    gap: int
    """From one given frame to the next."""
    between: tuple[int, ...]
    """Of every interval the frame that is made, counted from its first one."""

    @property
    def offsets(self) -> list[int]:
        """All frames of the clip, from its first one."""
        given = [self.gap * number for number in range(len(self.between) + 1)]
        made = [first + place for first, place in zip(given, self.between, strict=False)]
        return sorted(given + made)

    @property
    def mirrored(self) -> list[int]:
        """What is `offsets` when it is played backward."""
        offsets = self.offsets
        return [offsets[-1] - place for place in reversed(offsets)]

    @property
    def tau(self) -> list[float]:
        return [place / self.gap for place in self.between]


class _Place(NamedTuple):
    """Where a crop is taken."""

    shelf: int
    run: int
    first: int
    area: Area


class Runs:
    """Runs of all sizes that belong together: what is trained on, or what is measured."""

    def __init__(self, shelves: Sequence[Shelf], device: torch.device | None = None) -> None:
        self.shelves = [shelf for shelf in shelves if len(shelf.table)]
        self.on = [shelf.held(device) for shelf in self.shelves] if device is not None else self.shelves
        self._moments: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        """How many runs there are."""
        return sum(len(shelf.table) for shelf in self.shelves)

    @property
    def lengths(self) -> list[int]:
        """Frames of every run."""
        return [int(length) for shelf in self.shelves for length in shelf.table[:, 1]]

    def __getstate__(self) -> dict[str, object]:
        return {"shelves": self.shelves, "on": self.on, "_moments": {}}

    @property
    def bytes(self) -> int:
        """Memory that all frames and flows take on a device."""
        return sum(shelf.bytes for shelf in self.shelves)

    def fits(self, device: torch.device) -> bool:
        """Whether the data leaves a device enough memory to train in."""
        if device.type != "cuda":
            return False
        return self.bytes < ROOM * torch.cuda.mem_get_info(device)[0]

    def to(self, device: torch.device | str) -> "Runs":
        """The same runs with all frames and flows in the memory of a device; `draw` then gives batches there.

        Raises:
            DeviceError: the device has not enough memory.

        """
        device = torch.device(device)
        if device.type == "cuda" and not self.fits(device):
            raise DeviceError(
                f"the training data takes {self.bytes / 2**30:.1f} GiB, more than {ROOM:.0%} of the free memory of"
                f" {device}: read it in worker processes instead (workers=4)"
            )
        return Runs(self.shelves, device)

    def check(self, config: TrainConfig) -> None:
        """See whether crops of these settings can be drawn.

        Raises:
            InputError: every run is too short or too small.

        """
        span = 2 * config.frames - 1
        if not self._moments_of(span, config.crop_px)[-1]:
            length = max((int(shelf.table[:, 1].max()) for shelf in self.shelves), default=0)
            height, width = max((shelf.low_frames.shape[1:3] for shelf in self.shelves), default=(0, 0))
            raise InputError(
                f"a clip of {span} frames of {config.crop_px} x {config.crop_px} LR pixels does not fit into runs of"
                f" {length} frames of {width} x {height}: use fewer frames or a smaller crop_px"
            )

    def draw(self, config: TrainConfig, step: int, items: range) -> Batch:
        """Crops `items` of step `step`, as config's seed, frames, crop_px, candidates and symmetries say.

        Raises:
            InputError: every run is too short or too small.

        """
        self.check(config)
        seed = config.seed & 0xFFFF_FFFF_FFFF_FFFF
        spacing = self._spacing(config, np.random.default_rng((seed, step)))
        crops = []
        for item in items:
            random = np.random.default_rng((seed, step, item))
            places = [self._place(config, random, spacing.gap) for _ in range(config.candidates)]
            place = max(places, key=self._detail) if len(places) > 1 else places[0]
            symmetry = Symmetry.of(int(random.integers(8 if config.symmetries == "paper" else 16)))
            offsets = spacing.mirrored if symmetry.is_backward else spacing.offsets
            crops.append(turned(self.on[place.shelf].crop(place.run, place.first, offsets, place.area), symmetry))
        return _batch(crops, spacing.tau)

    def clip(self, number: int, frames: int = (VALIDATION_FRAMES + 1) // 2) -> Batch:
        """The beginning of run `number` as a batch of one: whole frames, as they are stored."""
        for shelf in self.on:
            if number < len(shelf.table):
                return _batch([shelf.crop(number, 0, range(2 * frames - 1))], [0.5] * (frames - 1))
            number -= len(shelf.table)
        raise IndexError(number)

    def _spacing(self, config: TrainConfig, random: np.random.Generator) -> _Spacing:
        intervals = config.frames - 1
        if config.times == "middle" or not intervals:
            return _Spacing(2, (1,) * intervals)
        gaps = [gap for gap in range(2, WIDEST + 1) if self._moments_of(intervals * gap + 1, config.crop_px)[-1]]
        gap = int(random.choice(gaps))
        return _Spacing(gap, tuple(int(place) for place in random.integers(1, gap, intervals)))

    def _place(self, config: TrainConfig, random: np.random.Generator, gap: int = 2) -> _Place:
        span, side = gap * (config.frames - 1) + 1, config.crop_px
        ends = self._moments_of(span, side)
        moment = int(random.integers(ends[-1]))
        number = int(np.searchsorted(ends, moment, side="right"))
        first = moment - int(ends[number - 1] if number else 0)
        shelf = 0
        while number >= len(self.shelves[shelf].table):
            number -= len(self.shelves[shelf].table)
            shelf += 1
        height, width = self.shelves[shelf].low_frames.shape[1:3]
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        return _Place(shelf, number, first, Area(top, left, side, side))

    def _detail(self, place: _Place) -> float:
        return self.shelves[place.shelf].detail(place.run, place.first, place.area)

    def _moments_of(self, span: int, side: int) -> Int64[np.ndarray, "runs"]:
        """How many moments the runs up to and with each one have: first frames of a clip of `span` frames."""
        if (span, side) not in self._moments:
            counts = [
                np.maximum(shelf.table[:, 1] - span + 1, 0) * (min(shelf.low_frames.shape[1:3]) >= side)
                for shelf in self.shelves
            ]
            self._moments[span, side] = np.cumsum(np.concatenate([*counts, np.zeros(0, np.int64)]), dtype=np.int64)
        return self._moments[span, side]


def _batch(crops: Sequence[Crop], tau: Sequence[float]) -> Batch:
    """Stack crops of the same times. Frames keep their channels last in memory, as they are stored."""

    def frames(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([part.movedim(1, -1) for part in parts]).movedim(-1, 2)

    return Batch(
        frames([crop.high for crop in crops]),
        frames([crop.low for crop in crops]),
        torch.stack([crop.forward for crop in crops]),
        torch.stack([crop.backward for crop in crops]),
        torch.tensor([tau] * len(crops), dtype=torch.float32).reshape(len(crops), len(tau)),
    )
