"""What was measured, frame by frame, and its means: over the frames of a clip, then over clips.

Given and interpolated frames are averaged apart, too. What belongs to a pair of neighbours (motion error, flicker)
counts as interpolated where either of the two is, and as given where both are. Identical frames count as 100 dB.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stinet.errors import InputError
from stinet.evaluate.protocol import Protocol
from stinet.evaluate.speed import Speed
from stinet.metrics import PSNR_CAP_DB

__all__ = ["PAIR_KEYS", "VID4", "FrameScore", "ModelReport", "Report"]

VID4 = frozenset({"calendar", "city", "foliage", "walk"})
"""Clips that are the group "vid4" where all four are there."""

PAIR_KEYS = frozenset({"motion_px", "flicker"})
"""Figures of a frame and the one before it."""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One counted frame of a clip."""

    index: int
    is_given: bool
    psnr_db: float
    """Infinite for a frame that is identical to the truth."""

    ssim: float
    extras: Mapping[str, float] = field(default_factory=dict)
    """rgb_psnr_db, rgb_ssim and lpips, where asked for; and of the pair with the frame before motion_px and flicker."""

    is_pair_given: bool = False
    """Whether this frame and the one before it were both given."""

    @property
    def figures(self) -> dict[str, float]:
        """All figures by name."""
        return {"psnr_db": self.psnr_db, "ssim": self.ssim, **self.extras}

    def counts_as_given(self, key: str) -> bool:
        """Whether a figure is one of given frames: of this one, or of it and the frame before."""
        return self.is_pair_given if key in PAIR_KEYS else self.is_given


@dataclass
class ModelReport:
    """What one clip function reached, clip by clip."""

    name: str
    scale: int
    protocol: Protocol
    extras: tuple[str, ...] = ()
    """Figures beyond PSNR and SSIM on Y that were asked for."""

    clips: dict[str, list[FrameScore]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    """Clip -> part of a benchmark, of clips that have one."""

    seconds: float = 0.0
    output_frames: int = 0
    """Frames that the model made in these seconds, counted or not."""

    parameters: int | None = None
    """Numbers that were learned; None for a pipeline without a network."""

    precision: str = "float32"
    """The type of number that it computes with."""

    speed: Speed | None = None
    """The papers' fps, where it was measured."""

    not_measured: Mapping[str, str] = field(default_factory=dict)
    """What was asked for and could not be measured, with what it takes."""

    def open(self, clip: str, group: str) -> None:
        """Begin a clip.

        Raises:
            InputError: there was one of this name.

        """
        if clip in self.clips:
            raise InputError(f"{clip}: two clips have this name")
        self.clips[clip] = []
        if group:
            self.groups[clip] = group

    def keep(self, clips: Collection[str]) -> None:
        """Forget all other clips."""
        self.clips = {name: frames for name, frames in self.clips.items() if name in clips}
        self.groups = {name: group for name, group in self.groups.items() if name in clips}

    @property
    def psnr_db(self) -> float:
        """The benchmark's one number: mean over frames, then over clips."""
        return self.to_json()["mean"]["psnr_db"]

    def to_json(self) -> dict[str, Any]:
        """Plain values: mean, clips, protocol, model. None stands where there is nothing to average."""
        keys = ("psnr_db", "ssim", *self.extras)
        clips = {name: _clip_scores(frames, keys) for name, frames in self.clips.items()}
        groups = self._groups()
        rate = self.output_frames / self.seconds if self.seconds else None
        about: dict[str, Any] = {
            "name": self.name,
            "scale": self.scale,
            "parameters": self.parameters,
            "precision": self.precision,
            "seconds": self.seconds,
            "output_frames": self.output_frames,
            "frames_per_second": rate,
        }
        if self.speed is not None:
            about["papers_fps"] = self.speed.to_json()
        report: dict[str, Any] = {
            "mean": _mean_scores(list(clips.values()), keys),
            "clips": {name: {**scores, **_named("group", groups.get(name))} for name, scores in clips.items()},
            "protocol": self.protocol.to_json(self.scale),
            "model": about,
        }
        if groups:
            report["groups"] = {
                group: _mean_scores([clips[name] for name, of in groups.items() if of == group], keys)
                for group in dict.fromkeys(groups.values())
            }
        if self.not_measured:
            report["not_measured"] = dict(self.not_measured)
        return report

    def _groups(self) -> dict[str, str]:
        """Groups of clips; Vid4 is known by its names."""
        is_vid4 = set(self.clips) - set(self.groups) >= VID4
        return {**self.groups, **(dict.fromkeys(sorted(VID4), "vid4") if is_vid4 else {})}


@dataclass(frozen=True)
class Report:
    """What every clip function reached on the same clips."""

    models: Mapping[str, ModelReport]
    run: Mapping[str, Any] = field(default_factory=dict)
    """Where it was measured: commit, versions, device, seed, date."""

    incomplete: str = ""
    """Why clips are missing, and how many; empty where all were measured."""

    def to_json(self) -> dict[str, Any]:
        """The object of the one model, or `{"models": {name: object}}` of several; `run` beside it if it is known.

        `incomplete` stands first where clips are missing.
        """
        objects = {name: model.to_json() for name, model in self.models.items()}
        report = next(iter(objects.values())) if len(objects) == 1 else {"models": objects}
        marked = {**_named("incomplete", self.incomplete), **report}
        return {**marked, **({"run": dict(self.run)} if self.run else {})}


def _named(key: str, value: str | None) -> dict[str, str]:
    return {key: value} if value else {}


def _clip_scores(frames: Sequence[FrameScore], keys: Sequence[str]) -> dict[str, Any]:
    return {
        **_frame_means(frames, keys),
        "given": _frame_means(frames, keys, is_given=True),
        "interpolated": _frame_means(frames, keys, is_given=False),
        "frames": len(frames),
        "given_frames": sum(frame.is_given for frame in frames),
        "identical_frames": sum(frame.psnr_db == float("inf") for frame in frames),
    }


def _frame_means(
    frames: Sequence[FrameScore], keys: Sequence[str], *, is_given: bool | None = None
) -> dict[str, float | None]:
    """Mean of every figure over the frames (or pairs) that are given, are not, or over all."""
    means: dict[str, float | None] = {}
    for key in keys:
        kept = [frame.figures for frame in frames if is_given in (None, frame.counts_as_given(key))]
        means[key] = _mean(_capped(key, figures[key]) for figures in kept if key in figures)
    return means


def _capped(key: str, value: float) -> float:
    return min(value, PSNR_CAP_DB) if key.endswith("psnr_db") else value


def _mean_scores(clips: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    def over(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        return {key: _mean(row[key] for row in rows if row[key] is not None) for key in keys}

    return {
        **over(clips),
        "given": over([clip["given"] for clip in clips]),
        "interpolated": over([clip["interpolated"] for clip in clips]),
        **{key: sum(clip[key] for clip in clips) for key in ("frames", "given_frames", "identical_frames")},
    }


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return sum(kept) / len(kept) if kept else None
