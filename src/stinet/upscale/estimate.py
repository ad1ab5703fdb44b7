"""How long a run will take, from a moment of the same work on a small picture."""

import time
from dataclasses import replace

import torch

from stinet.config import ClipFunction
from stinet.infer.calls import run_whole
from stinet.infer.ladder import context_factor
from stinet.upscale.plan import Plan

__all__ = ["with_seconds"]

_SIDE_PX = 96
"""Of the small picture: large enough that a pixel costs what it costs in a large one."""

_SOURCES = 4


def with_seconds(plan: Plan, fn: ClipFunction) -> Plan:
    """The plan with an estimate of the work in `seconds`; it takes about a second.

    Decoding and encoding go on beside the network and are not in it. None where the length is not known.
    """
    if plan.frames_expected is None:
        return plan
    height, width = min(plan.info.height, _SIDE_PX), min(plan.info.width, _SIDE_PX)
    frames = [torch.rand(3, height, width, generator=torch.Generator().manual_seed(k)) for k in range(_SOURCES)]
    per_interval = min(plan.rule.frames_per_interval(plan.period), 8)
    times = [tuple((j + 1) / per_interval for j in range(per_interval - 1))] * (_SOURCES - 1)

    def work() -> int:
        return len(run_whole(fn, frames, times))

    with torch.inference_mode():
        work()  # threads start and memory is laid out outside the timing
        begin = time.perf_counter()
        made = work()
        spent = time.perf_counter() - begin
    area = plan.info.height * plan.info.width / (height * width)
    return replace(plan, seconds=spent / made * area * context_factor(fn) * plan.frames_expected)
