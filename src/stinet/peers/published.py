"""What is published of the rival networks: papers, sizes, and where their authors keep the weights.

Plain facts, no tensors: the command line reads them before torch is loaded. `networks` builds the networks themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One network as its authors describe it."""

    title: str
    paper: str
    millions: float
    """Parameters, in millions."""
    kilo_macs: int
    """Thousands of multiply-adds per output pixel and frame, counted here on frames of 32x32 and held by a test."""
    project: str
    """GitHub project of the authors; its README says where the weights are."""
    file: str
    """What the authors call the file, or what tells it from their others."""
    kind: Literal["clip", "interpolator", "enlarger"] = "clip"
    """Takes whole clips, or is one of two stages."""

    def where(self) -> str:
        """A clause for messages: where the file is to be had."""
        return f"the authors publish {self.file} through the GitHub project {self.project}"


PUBLISHED: Mapping[str, Published] = {
    "zooming-slow-mo": Published(
        title="Zooming Slow-Mo",
        paper="Xiang et al., CVPR 2020",
        millions=11.10,
        kilo_macs=631,
        project="Mukosame/Zooming-Slow-Mo-CVPR-2020",
        file="the pretrained model",
    ),
    "tmnet": Published(
        title="TMNet",
        paper="Xu et al., CVPR 2021",
        millions=12.26,
        kilo_macs=678,
        project="CS-GangXu/TMNet",
        file="tmnet_single_frame.pth (trained for the frame in the middle) and the one for several frames",
    ),
    **{
        f"rstt-{size.lower()}": Published(
            title=f"RSTT-{size}",
            paper="Geng et al., CVPR 2022",
            millions=millions,
            kilo_macs=kilo_macs,
            project="llmpass/RSTT",
            file=f"RSTT-{size}",
        )
        for size, millions, kilo_macs in (("S", 4.49, 179), ("M", 6.08, 210), ("L", 7.67, 240))
    },
    "videoinr": Published(
        title="VideoINR",
        paper="Chen et al., CVPR 2022",
        millions=11.31,
        kilo_macs=898,
        project="Picsart-AI-Research/VideoINR-Continuous-Space-Time-Super-Resolution",
        file="latest_G.pth",
    ),
    "sepconv": Published(
        title="SepConv",
        paper="Niklaus et al., ICCV 2017",
        millions=21.7,
        kilo_macs=396,
        project="sniklaus/sepconv-slomo",
        file="network-l1.pytorch and network-lf.pytorch (for academic purposes only, they say)",
        kind="interpolator",
    ),
    "rcan": Published(
        title="RCAN",
        paper="Zhang et al., ECCV 2018",
        millions=15.6,
        kilo_macs=995,
        project="yulunzhang/RCAN",
        file="RCAN_BIX4.pt",
        kind="enlarger",
    ),
    "edvr-l": Published(
        title="EDVR-L, 5 frames",
        paper="Wang et al., CVPRW 2019",
        millions=20.6,
        kilo_macs=1903,
        project="XPixelGroup/BasicSR",
        file="EDVR_L_x4_SR_REDS_official",
        kind="enlarger",
    ),
    "edvr-l7": Published(
        title="EDVR-L, 7 frames",
        paper="Wang et al., CVPRW 2019",
        millions=20.7,
        kilo_macs=2260,
        project="XPixelGroup/BasicSR",
        file="EDVR_L_x4_SR_Vimeo90K_official",
        kind="enlarger",
    ),
}
"""Name, as `--config` of `stinet convert` takes it -> what is published of the network."""
