"""Offset fields of ST-LR: where a frame looks into its neighbours, with Inet's exchange between L and H and without.

A field is the mean over offset groups and kernel taps of the learned, bounded offsets, in pixels of the grid on which
they are used, (h w 2) with channel 0 = dx (right), channel 1 = dy (down). In a flow-guided network the flow is added
to them when features are read; it is given apart.

"Without" is the same network with Inet passed by: s^L and s^H go straight into their deformable convolutions. That
shows what Inet changes in a trained network. What a network learns that never had one, that network itself shows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.catalogue import network
from stinet.errors import ModelError, UsageError
from stinet.figures.films import as_levels, chosen_clips, name_of, small_frames
from stinet.model.local import Align, Local, Side
from stinet.model.stinet import STINet, clip_flows
from stinet.ops.deform_conv import bound_offsets
from stinet.report.maps import Arrows, draw_fields

__all__ = ["Field", "Fields", "draw_offsets", "fields_of", "mean_length_px"]

Field = Float[Tensor, "h w 2"]

SIDES: tuple[Side, Side] = ("previous", "following")


class Fields(NamedTuple):
    """Offset fields of one output frame to one neighbour; by branch, low and high, as far as they are there."""

    frame: Float[Tensor, "3 sh sw"]
    """As the network made it."""
    flow: Field | None
    """The flow to the neighbour, in low-resolution pixels."""
    exchanged: dict[str, Field]
    """With Inet; empty where the network has none."""
    direct: dict[str, Field]
    """Without it."""


def fields_of(net: STINet, frames: Float[Tensor, "t 3 h w"], index: int) -> dict[Side, Fields]:
    """The fields of output frame `index` (source frames are the even ones), of the first ST-LR module.

    Raises:
        ModelError: a network without ST-LR.
        UsageError: a frame that ST-LR of this network leaves as it is.

    """
    if not net.local:
        raise ModelError("this network has no ST-LR, so no offsets: its local_modules is 0")
    place = _place(net, index)
    local = net.local[0]
    assert isinstance(local, Local)
    flows: dict[Side, Tensor] = {}
    used: dict[Side, list[Tensor]] = {side: [] for side in SIDES}
    raw: dict[Side, tuple[Tensor, ...]] = {}

    def began(_: object, given: tuple[object, object, dict[Side, Tensor] | None, object, object]) -> None:
        flows.update(given[2] or {})

    def used_by(side: Side) -> Callable[[object, tuple[Tensor, ...]], None]:
        return lambda _, given: used[side].append(given[1])

    def given_to(side: Side) -> Callable[[object, tuple[Tensor, ...]], None]:
        return lambda _, given: raw.__setitem__(side, given)

    hooks = [local.register_forward_pre_hook(began)]
    for side in SIDES:
        hooks += [_align(local, name, side).register_forward_pre_hook(used_by(side)) for name in local.weights]
        if local.exchange is not None:
            hooks.append(local.exchange[side].register_forward_pre_hook(given_to(side)))
    try:
        with torch.no_grad():
            final = net(frames[None]).final[0].clamp(0, 1)
            found: dict[Side, Fields] = {}
            for side in SIDES:
                with_inet = _fields(local, side, used[side], place)
                without = _fields(local, side, raw[side], place) if side in raw else with_inet
                flow = flows[side][index].permute(1, 2, 0).cpu() if flows else None
                found[side] = Fields(final[index].cpu(), flow, with_inet if side in raw else {}, without)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def draw_offsets(
    source: Path, model: str, count: int, path: Path, *, frame: int | None = None, without: str = ""
) -> str:
    """Draw the fields of one output frame (default: one that moves most, in between if these have any); gives lengths.

    `without` names a network that was trained without Inet; empty: `model` itself, with Inet passed by.

    Raises:
        StinetError: what the catalogue says of a model, or the reader of the clip; a network without ST-LR or Inet.

    """
    net = network(model)
    clip = chosen_clips([source])[0]
    small = small_frames(clip, count, net.config.scale)
    outputs = 2 * len(small) - 1
    index = _fastest(small) - (net.config.local_frames == "given") if frame is None else frame
    if not 0 <= index < outputs:
        raise UsageError(f"{clip.name} has no frame {index}: its frames are 0 to {outputs - 1}")
    found = fields_of(net, small, index)
    if not found["previous"].exchanged:
        raise ModelError(f"{model} has no Inet: there is nothing to compare")
    other = fields_of(network(without), small, index) if without else found
    rows, told = [], []
    for side in SIDES:
        here = found[side]
        row = [Arrows(title=f"to the {side} frame", picture=as_levels(here.frame))]
        if here.flow is not None:
            row.append(Arrows(title="flow", field=here.flow.numpy(), scale="flow"))
        for fields, how in ((here.exchanged, "with Inet"), (other[side].direct, "without")):
            for branch, field in fields.items():
                title = f"{branch[0].upper()}, {how}: {mean_length_px(field):.2f} px"
                row.append(Arrows(title=title, field=field.numpy(), scale="learned offsets"))
                told.append(f"{side} {title}")
        rows.append(row)
    name = f"{name_of(model)}, without: {name_of(without) if without else 'the same, Inet passed by'}"
    draw_fields(rows, path, f"offsets of ST-LR on {clip.name}, frame {index}; {name}")
    return "; ".join(told)


def mean_length_px(field: Field) -> float:
    """Mean length of a field's arrows."""
    return field.norm(dim=-1).mean().item()


def _fastest(small: Float[Tensor, "t 3 h w"]) -> int:
    """The output frame in the middle of the interval with the longest flow."""
    flow = clip_flows(small[None], "farneback").forward[0]
    return 2 * int(flow.norm(dim=1).mean(dim=(1, 2)).argmax()) + 1


def _place(net: STINet, index: int) -> int:
    """Of an output frame among those that ST-LR refines."""
    if net.config.local_frames == "all":
        return index
    if index % 2:
        raise UsageError(f"frame {index} lies in between, and this network refines given frames: take an even one")
    return index // 2


def _fields(local: Local, side: Side, offsets: tuple[Tensor, ...] | list[Tensor], index: int) -> dict[str, Field]:
    """The field of every branch, of its motion offsets s."""
    found: dict[str, Field] = {}
    for branch, s in zip(local.branches, offsets, strict=True):
        align = _align(local, branch if branch in local.weights else "shared", side)
        taps = align.groups * align.kernel * align.kernel
        moved = bound_offsets(align.offsets(s[index : index + 1])[:, : 2 * taps].float(), align.max_offset_px)
        mean = moved[0].unflatten(0, (taps, 2)).mean(dim=0)  # dy, dx
        found[branch] = mean.flip(0).permute(1, 2, 0).cpu()
    return found


def _align(local: Local, name: str, side: Side) -> Align:
    """The deformable convolution of one set of weights."""
    align = local.weights[name].get_submodule(f"align.{side}")
    assert isinstance(align, Align)
    return align
