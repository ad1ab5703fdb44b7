r"""The compact network written in OpenVINO's operations: what `STINet.features` and `STINet.restore` compute.

The graphs are written by hand rather than traced: feature maps then stay in the order that convolutions like
(channels last), L and H are one batch wherever they share weights, and no operation asks for a size at run time.

    features_graph   S-SR of source frames
    between_graph    ST-FI of one in-between frame, from the source frames on either side
    local_graph      ST-LR of one frame, from the frames before and after it
    heads_graph      phase 4 of one frame, its features times what ST-GR gives (relate.py, on a few numbers a frame)
    restore_graph    all after S-SR, of a whole clip: for export

Each of the first four makes one frame from what others gave: its maps stay in the processor's cache, a long clip takes
no more working memory than a short one, and the same few graphs serve every film, whatever its length, its size, its
cuts and its times.

Against the network's own code, and equal to it but for rounding:

    warps                grid_sample, which reads and writes planar maps and takes less for every coordinate
    modulated sampling   grid_sample with groups as pictures; of more than one tap a DeformableConvolution
    convolutions         those that are to be computed in 8 bits read rounded inputs, by rounded weights
    gain                 multiplied into the heads' weights

and in the graph of a whole clip

    bicubic estimate     a 5x5 convolution to all sub-pixels, added to the heads before they are unfolded
    flow of the HR grid  likewise
    shares of Compose    softmax on the small grid, then unfolded

Maps of a frame are (2 c h w), L first. Flows are (dx, dy); DeformableConvolution reads them as (dy, dx). Whatever is a
place in the picture, a frame's own colours, or a sum over many pixels is marked to stay float32 when the rest is
computed in bfloat16.

This file compiles nothing and holds no tensor of a clip.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino
import torch
from jaxtyping import Float
from openvino import opset1
from openvino import opset13 as op
from torch import Tensor, nn

from stinet.config import ModelConfig
from stinet.engines.ranges import Range, Ranges, joint_range
from stinet.model.blocks import SLOPE
from stinet.model.interpolate import enlarge_flow
from stinet.model.relate import adjacency
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.ops.resample import upsample

__all__ = [
    "between_graph", "features_graph", "heads_graph", "local_graph", "neighbour_factors", "restore_graph", "times_of",
    "unsupported",
]  # fmt: skip

Node = Any
"""An OpenVINO operation or one of its outputs."""

Pair = tuple[Node, Node]
"""Of the frame before and the frame after: flows to them, or their maps."""

_Steer = Callable[[Sequence[int]], Node]
"""Gives such output channels of the convolution to offsets and masks of L and H."""

_KEEPS = "precise_0"
"""The mark of an operation that keeps float32."""

_ENDLESS = 1e30
"""What no number of a map reaches."""

_VECTOR = 16
"""Numbers that are treated at once; of fewer channels, every one is treated by itself."""


def unsupported(config: ModelConfig) -> str:
    """What of a network this graph has no words for; empty when it has all."""
    wanted = {
        "high": "folded", "features": "compact", "branches": "both", "upsampler": "direct", "fusion": "residual",
        "branch_shared": True, "blocks_shared": True, "offsets_from": "both", "residual_base": True, "aligned": True,
        "flow_guided": True, "flow": "adapted", "branch_blocks": 0,
    }  # fmt: skip
    other = [f"{name} {value}" for name in wanted if (value := getattr(config, name)) != wanted[name]]
    return ", ".join(other + (["relate lstm"] if config.relate == "lstm" else []))


def features_graph(net: STINet, ranges: Ranges | None = None) -> openvino.Model:
    """S-SR: frames (n 3 h w) to L and H; convolutions that `ranges` names are computed in 8 bits."""
    frames = _parameter("frames", -1, 3, -1, -1)
    parts: Any = net.features_net
    conv = _Convolutions(net, ranges or {}, are_maps_short=False)
    low = conv.blocks(_leaky(conv(frames, parts.head)), parts.low)
    high = conv.blocks(_leaky(conv(low, parts.lift)), parts.high)
    return _model([low, high], [frames], "features")


@lru_cache(maxsize=8)
def neighbour_factors(line: Timeline) -> tuple[list[float], list[float]]:
    """What every output frame's flow to the one before and after it is, of a flow of its interval: Eq. (1).

    Of the source frame's flow to its source neighbour, or of the in-between frame's flow to a source frame; zero where
    a frame is its own neighbour.
    """
    before, after = [], []
    last = len(line.order) - 1
    for index, place in enumerate(line.order):
        tau = line.position(index)[1]
        left = line.position(max(index - 1, 0))[1]
        right = line.position(min(index + 1, last))[1] or 1.0
        is_made = place >= line.sources
        before.append((tau - left) / tau if is_made else (0.0 if index == 0 else 1 - left))
        after.append((right - tau) / (1 - tau) if is_made else (0.0 if index == last else right))
    return before, after


def times_of(line: Timeline) -> dict[str, Float[np.ndarray, "..."]]:
    """The inputs of `restore_graph` that only times decide: fractions, factors of Eq. (1), and E^T."""
    apart = np.abs(np.subtract.outer(line.stamps, line.stamps))
    given = {"closeness": np.tile(1 / (1 + np.exp(apart)), (2, 2)).astype(np.float32)}
    if line.sources > 1:
        before, after = neighbour_factors(line)
        given |= {"before": _column(before), "after": _column(after)}
    if line.between:
        tau = np.array([tau for _, tau in line.between])
        given |= {"tau": _column(tau), "rest": _column(1 - tau), "logit": _column(np.log(tau / (1 - tau)))}
        given |= {"log_tau": _column(np.log(tau)), "log_rest": _column(np.log(1 - tau))}
    return given


def between_graph(net: STINet, ranges: Ranges | None = None) -> openvino.Model:
    """ST-FI: one in-between frame from the source frames left and right of it.

    Inputs: left, right (1 3 h w), left_maps, right_maps (2 c h w), ahead and back (1 2 h w: flows from left to right
    and from right to left), tau, rest = 1 - tau and logit = log(tau / rest) (1 1 1 1), and by size alone `places`
    (1 2 h w: every pixel in grid_sample's coordinates) and `unit` (1 2 1 1: a pixel in them).

    Outputs: low and high (1 c h w), blend of both frames and mismatch (1 3 h w), flows to the left and to the right.
    """
    made = _Writer(net, ranges or {})
    channels = net.config.channels
    frames = [made.input(name, 1, 3, -1, -1) for name in ("left", "right")]
    maps = [made.input(f"{name}_maps", 2, channels, -1, -1) for name in ("left", "right")]
    shares = made.input("rest", 1, 1, 1, 1), made.input("tau", 1, 1, 1, 1)
    back, ahead = (made.input(name, 1, 2, -1, -1) for name in ("back", "ahead"))
    flows = _exact(op.multiply(back, shares[1])), _exact(op.multiply(ahead, shares[0]))
    between = made.between(frames, maps, flows, shares)
    return made.model([*between.maps, between.blend, between.mismatch, *between.flows], "between")


def local_graph(net: STINet, module: int = 0, ranges: Ranges | None = None) -> openvino.Model:
    """ST-LR: a frame's maps refined by those of the frame before and the frame after it.

    Inputs: own, before, after (2 c h w), to_before and to_after (1 2 h w: flows from the frame there), and `places`
    and `unit` as above. Output: maps (2 c h w).
    """
    made = _Writer(net, ranges or {})
    own, *beside = (made.input(name, 2, net.config.channels, -1, -1) for name in ("own", "before", "after"))
    before, after = (made.input(name, 1, 2, -1, -1) for name in ("to_before", "to_after"))
    modules: Any = net.local
    return made.model([made.local(modules[module], own, (beside[0], beside[1]), (before, after))], "local")


def heads_graph(net: STINet, ranges: Ranges | None = None, *, is_between: bool) -> openvino.Model:
    """Phase 4: one frame from its refined maps.

    Inputs: maps (2 c h w), factors (2 c 1 1) of ST-GR where the network has it; for an in-between frame of a network
    that composes, mismatch (1 3 h w).

    Outputs, on the LR grid: details (1 3s^2 h w; s s 3), what a frame has beyond its bicubic estimate, pixel by pixel;
    and for such an in-between frame evidence (1 2s^2 h w; 2 s s), how much more speaks for the frame before it, and for
    the one after it, than for itself, before model/compose.py's logarithms of time.
    """
    made = _Writer(net, ranges or {})
    maps = made.input("maps", 2, net.config.channels, -1, -1)
    factors = None if net.relate is None else made.input("factors", 2, net.config.channels, 1, 1)
    halves = made.modulated(maps, factors)
    outputs = [made.details(halves, innermost="colours")]
    if is_between and net.compose is not None:
        own, before, after = np.arange(3 * net.compose.fold**2).reshape(3, -1).tolist()
        more = {"outputs": before + after, "less": own + own}
        outputs.append(made.evidence(maps, factors, [0], made.input("mismatch", 1, 3, -1, -1), **more))
    return made.model(outputs, "heads")


def restore_graph(net: STINet, line: Timeline) -> openvino.Model:
    """Everything after S-SR in one graph, for clips with as many frames in every interval as `line` has; in float32.

    Inputs: frames, low, high (t c h w); for t > 1 ahead and back (t - 1 2 h w), and by frame size alone `places` and
    `unit` as above, and `per_pixel` (one by the pixels of a frame that E^P looks at); and those of `times_of`.

    Output: frames (u 3 sh sw), not clamped.
    """
    return _Clip(net, line).whole()


class _Made(NamedTuple):
    """In-between frames."""

    maps: list[Node]
    """L and H."""
    blend: Node
    mismatch: Node
    """How much the frames before and after differ once warped."""
    flows: Pair


class _Writer:
    """Writes one graph's phases, and knows its inputs."""

    def __init__(self, net: STINet, ranges: Ranges) -> None:
        self.net: Any = net
        self._conv = _Convolutions(net, ranges)
        self._inputs: dict[str, Node] = {}

    def input(self, name: str, *shape: int) -> Node:
        """The graph's input of that name; -1 is a length that may differ from call to call."""
        if name not in self._inputs:
            self._inputs[name] = _parameter(name, *shape)
        return self._inputs[name]

    def model(self, outputs: Sequence[Node], name: str) -> openvino.Model:
        """The graph."""
        return _model(outputs, list(self._inputs.values()), name)

    # phase 1, ST-FI

    def between(self, frames: Sequence[Node], maps: Sequence[Node], flows: Pair, shares: Pair) -> _Made:
        """In-between frames from both frames beside them, their maps, the flows there and what each counts."""
        if self.net.config.flow_refined:
            warped = [self._warp_cubic(image, flow) for image, flow in zip(frames, flows, strict=True)]
            motion, correction = self._motion([*flows, *warped])
            flows = tuple(
                _exact(op.add(flow, _channels(correction, [2 * side, 2 * side + 1]))) for side, flow in enumerate(flows)
            )
            count = motion.get_output_partial_shape(0)[0].get_length()
            logit = _exact(op.add(self.input("logit", count, 1, 1, 1), _channels(correction, [4])))
            shares = tuple(_exact(op.sigmoid(_exact(op.multiply(logit, _number(sign))))) for sign in (-1.0, 1.0))
        else:
            motion, _ = self._motion(list(flows))
        warped = [self._warp_cubic(image, flow) for image, flow in zip(frames, flows, strict=True)]
        mismatch = _exact(op.abs(_exact(op.subtract(*warped))))
        return _Made(self._made(motion, maps, flows, shares), _mix(warped, shares), mismatch, flows)

    def _motion(self, seen: list[Node]) -> tuple[Node, Node | None]:
        """Mnet."""
        net = self.net.interpolate.motion
        entry = _leaky(self._conv(op.concat(seen, 1), net.entry))
        motion = _leaky(self._conv(self._conv.blocks(entry, net.blocks), net.exit))
        if net.correction is None:
            return motion, None
        return motion, _exact(self._conv(motion, net.correction))

    def _made(self, motion: Node, maps: Sequence[Node], flows: Pair, shares: Pair) -> list[Node]:
        """Pnet on aligned neighbours: L and H of the in-between frames."""
        pnet = self.net.interpolate.pnet
        count = motion.get_output_partial_shape(0)[0].get_length()
        # every level by itself: what is one batch must be taken apart again
        sides = [_sample_both(x, self._grid(flow)) for x, flow in zip(maps, flows, strict=True)]
        aligned = list(zip(*sides, strict=True))
        branches = (pnet.low, pnet.high)
        entered = [
            _leaky(self._conv([self._conv.shared(motion), *sides], branch.entry))
            for sides, branch in zip(aligned, branches, strict=True)
        ]
        joint = op.concat(entered, 0)
        joined = [joint, self._conv.blocks(joint, pnet.shared)]
        out = []
        for level, branch in enumerate(branches):
            first, _ = branch.after
            parts = [self._conv.shared(_frames(part, level * count, (level + 1) * count)) for part in joined]
            half = _leaky(self._conv(parts, first))
            out.append(op.add(self._conv(half, branch.exit), _mix(aligned[level], shares, keep=_plain)))
        return out

    # phase 2, ST-LR

    def local(self, module: Any, own: Node, beside: Pair, flows: Pair | None) -> Node:
        """One module on L and H of n frames as one batch, which share its weights, and of the frames beside them."""
        x, weights = self._conv.shared(own), module.weights["shared"]
        is_narrow = own.get_output_partial_shape(0)[0] == 2 and weights.offsets.second["previous"].in_channels < _VECTOR
        aligned = []
        for side, name in enumerate(("previous", "following")):
            flow = None if flows is None else flows[side]
            grid = None if flow is None else self._grid(flow)
            found = self._narrow_offsets if is_narrow else self._offsets
            steer = found(module, name, x, beside[side], grid)
            align = weights.align[name]
            if align.kernel == 1:
                aligned.append(self._conv(self._sampled(align, beside[side], steer, grid), align.weight))
            else:
                aligned.append(self._align(align, beside[side], steer, flow))
        fused = op.add(self._conv([aligned[0], x, aligned[1]], weights.fusion.body), x)
        return self._conv.blocks(fused, weights.fusion.blocks)

    def _offsets(self, module: Any, name: str, x: Node, beside: Node, grid: Node | None) -> _Steer:
        """Motion offsets to one side: L and H one after the other."""
        weights = module.weights["shared"]
        offsets, steered = weights.offsets, weights.align[name].offsets
        neighbour = _exact(self._conv(beside, offsets.neighbour[name]))
        others = _halves(neighbour) if grid is None else _sample_both(neighbour, grid)
        centre = self._conv.rounded(x, offsets.centre[name])
        halves = []
        for half, seen in zip(_halves(centre), others, strict=True):
            both = _leaky(op.add(self._conv(half, offsets.centre[name], is_rounded=True), seen))
            halves.append(self._conv.exact(both, offsets.second[name]))
        if module.exchange is not None:
            exchange = module.exchange[name]
            joint = self._conv.exact(halves, exchange.joint, _leaky)
            layers = exchange.low, exchange.high
            halves = [self._conv([own, joint], layer) for own, layer in zip(halves, layers, strict=True)]
        s = op.concat(halves, 0)
        return lambda outputs: self._conv(s, steered, outputs=outputs)

    def _narrow_offsets(self, module: Any, name: str, x: Node, beside: Node, grid: Node | None) -> _Steer:
        """The same of one frame, L and H side by side: fewer channels than are treated at once waste the others."""
        weights = module.weights["shared"]
        offsets, steered = weights.offsets, weights.align[name].offsets
        channels, width = self.net.config.channels, steered.in_channels
        maps, motions = ([range(size), range(size, 2 * size)] for size in (channels, width))
        beside, own = _side_by_side(beside), _side_by_side(x)
        neighbour = _exact(self._conv(beside, self._conv.joint((offsets.neighbour[name], part) for part in maps)))
        seen = neighbour if grid is None else _sample(neighbour, grid)
        centre = self._conv(own, self._conv.joint((offsets.centre[name], part) for part in maps))
        both = _leaky(op.add(centre, seen))
        s = self._conv.exact(both, self._conv.joint((offsets.second[name], part) for part in motions))
        if module.exchange is not None:
            exchange, joint_at = module.exchange[name], range(2 * width, 3 * width)
            joint = self._conv.exact(s, exchange.joint, _leaky)
            layers = exchange.low, exchange.high
            reads = ((layer, [*part, *joint_at]) for layer, part in zip(layers, motions, strict=True))
            s = self._conv([s, joint], self._conv.joint(reads))
        total, steering = steered.out_channels, self._conv.joint((steered, part) for part in motions)
        return lambda outputs: self._conv(s, steering, outputs=[*outputs, *(total + place for place in outputs)])

    def _align(self, align: Any, neighbour: Node, steer: _Steer, flow: Node | None) -> Node:
        """Modulated deformable convolution of several taps; the flow is where every offset starts."""
        groups, taps = align.groups, align.kernel**2
        split, bound = 2 * groups * taps, align.max_offset_px
        raw = _exact(_both(steer(range(split)), split))
        offset = _exact(op.multiply(_exact(op.tanh(_exact(op.multiply(raw, _number(1 / bound))))), _number(bound)))
        if flow is not None:
            turned = _channels(flow, [1, 0])
            offset = _exact(op.add(offset, _exact(op.concat([_twice(turned)] * (groups * taps), 1))))
        mask = op.sigmoid(_both(steer(range(split, split + groups * taps)), groups * taps))
        made = _deformable(neighbour, offset, _values(align.weight.weight), mask, groups)
        return op.add(made, _bias(align.weight))

    def _sampled(self, align: Any, x: Node, steer: _Steer, grid: Node | None) -> Node:
        """Every group of channels at its own offset, zero outside, times its mask.

        With few channels in a group, grid_sample with groups as pictures is three times as fast as a deformable
        convolution, which looks at every offset by itself. Only the bounded offsets may be bfloat16: the flow is added
        when they are float32 again.
        """
        groups, channels = align.groups, self.net.config.channels
        split, bound = 2 * groups, align.max_offset_px
        offset = op.tanh(
            op.multiply(steer([place + 1 - 2 * (place % 2) for place in range(split)]), _number(1 / bound))
        )
        mask = op.sigmoid(steer(range(split, split + groups)))
        at = _sample_places(offset, self._starts(grid), self.input("unit", 1, 2, 1, 1), bound)
        how = {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"}
        read = op.grid_sample(_exact(_regrouped(x, channels // groups)), at, how)
        return _regrouped(op.multiply(read, _regrouped(mask, 1)), channels)

    def _starts(self, grid: Node | None) -> Node:
        """Where offsets start, (1 or 2n 2 h w): where the flow leads, or the pixels themselves."""
        if grid is None:
            return self.input("places", 1, 2, -1, -1)
        planar = _exact(op.transpose(grid, _constant(np.array([0, 3, 1, 2]))))
        return planar if grid.get_output_partial_shape(0)[0] == 1 else _twice(planar)

    # phase 4

    def modulated(self, maps: Node, factors: Node | None) -> list[Node]:
        """L and H, times what ST-GR gives."""
        if factors is None:
            return _halves(maps)
        return [op.multiply(*pair) for pair in zip(_halves(maps), _halves(factors), strict=True)]

    def details(self, halves: list[Node], *, innermost: Literal["colours", "places"]) -> Node:
        """What frames have beyond their bicubic estimates, before it is unfolded: both heads, added."""
        net = self.net.reconstruct
        order = np.arange(3 * net.scale**2).reshape(3, net.scale, net.scale)
        order = order.transpose(1, 2, 0) if innermost == "colours" else order
        return self._conv.summed(halves, (net.low[0], net.high[0]), gain=net.gain, outputs=order.ravel().tolist())

    def evidence(self, maps: Node, factors: Node | None, made: Sequence[int], mismatch: Node, **of: Any) -> Node:
        """What speaks for each of the three estimates of frames `made`, those in between, before it is unfolded."""
        net = self.net.compose
        features = _take(_halves(maps)[1], made)
        if factors is not None:  # every convolution reads a product of its own, which rounds it as well
            features = op.multiply(features, _take(_halves(factors)[1], made))
        return _exact(
            op.add(self._conv.exact(features, net.trust, **of), self._conv.exact(mismatch, net.mismatch, **of))
        )

    # sampling

    def _warp_cubic(self, image: Node, flow: Node) -> Node:
        how = {"align_corners": False, "mode": "bicubic", "padding_mode": "border"}
        return _exact(op.grid_sample(image, self._grid(flow), how))

    def _grid(self, offset: Node) -> Node:
        """grid_sample's coordinates of every pixel moved by its offset (dx, dy)."""
        places, unit = self.input("places", 1, 2, -1, -1), self.input("unit", 1, 2, 1, 1)
        at = _exact(op.add(places, _exact(op.multiply(offset, unit))))
        return _exact(op.transpose(at, _constant(np.array([0, 2, 3, 1]))))


class _Clip(_Writer):
    """Writes the graph of a whole clip, top to bottom as `STINet.restore`."""

    def __init__(self, net: STINet, line: Timeline) -> None:
        super().__init__(net, {})
        self.line = line

    def whole(self) -> openvino.Model:
        """The graph."""
        line, channels = self.line, self.net.config.channels
        frames = self.input("frames", line.sources, 3, -1, -1)
        low, high = (self.input(name, line.sources, channels, -1, -1) for name in ("low", "high"))
        x, base, flows, between = self._interpolated(frames, low, high)
        for module in self.net.local:
            x = self._refined(module, x, flows)
        factors = self._modulators(x)
        out = self._frames(self.modulated(x, factors), base)
        if self.net.compose is not None and between is not None:
            made = [place for place, which in enumerate(line.order) if which >= line.sources]
            shares = self._shares(self.evidence(x, factors, made, between.mismatch), len(made))
            out = self._composed(out, shares, between.flows)
        return self.model([out], "restore")

    def _interpolated(self, frames: Node, low: Node, high: Node) -> tuple[Node, Node, Pair | None, _Made | None]:
        """Maps of all frames as one batch of 2 u, the base of all frames, flows to the frames before and after.

        The last is of the in-between frames alone.
        """
        if self.line.sources == 1:
            return op.concat([low, high], 0), frames, None, None
        count = self.line.sources - 1
        ahead, back = (self.input(name, count, 2, -1, -1) for name in ("ahead", "back"))
        if not self.line.between:
            return op.concat([low, high], 0), frames, self._neighbour_flows(ahead, back, None), None
        left = [interval for interval, _ in self.line.between]
        right = [interval + 1 for interval in left]
        tau, rest = (self.input(name, len(left), 1, 1, 1) for name in ("tau", "rest"))
        flows = _exact(op.multiply(_picked(back, left), tau)), _exact(op.multiply(_picked(ahead, left), rest))
        pair = _picked(frames, left), _picked(frames, right)
        maps = [op.concat([_take(level, ends) for level in (low, high)], 0) for ends in (left, right)]
        made = self.between(pair, maps, flows, (rest, tau))
        x = op.concat([part for level in zip((low, high), made.maps, strict=True) for part in self._joined(*level)], 0)
        base = _picked(_exact(op.concat([frames, made.blend], 0)), self.line.order)
        return x, base, self._neighbour_flows(ahead, back, made.flows), made

    def _joined(self, given: Node, made: Node) -> list[Node]:
        """Given and in-between frames in order of time."""
        count = self.line.sources
        return [
            _frames(given, place, place + 1) if place < count else _frames(made, place - count, place - count + 1)
            for place in self.line.order
        ]

    def _neighbour_flows(self, ahead: Node, back: Node, made: Pair | None) -> Pair:
        """Flow from every output frame to the one before and after it, Eq. (1)."""
        count, last = self.line.sources - 1, len(self.line.order) - 1
        places = {"before": [], "after": []}
        for index, place in enumerate(self.line.order):
            is_made = place >= self.line.sources
            interval = self.line.position(index)[0]
            places["before"].append(count + place - self.line.sources if is_made else max(interval - 1, 0))
            places["after"].append(count + place - self.line.sources if is_made else min(interval, count - 1))
        out = []
        for side, (name, given) in enumerate((("before", back), ("after", ahead))):
            rows = given if made is None else _exact(op.concat([given, made[side]], 0))
            out.append(_exact(op.multiply(_picked(rows, places[name]), self.input(name, last + 1, 1, 1, 1))))
        return out[0], out[1]

    def _refined(self, module: Any, x: Node, flows: Pair | None) -> Node:
        """ST-LR of all frames, or of the given ones; the first and the last are neighbours of themselves."""
        count = len(self.line.order)
        centres = self.line.given if self.net.config.local_frames == "given" else range(count)

        def both(places: Sequence[int]) -> list[int]:
            return [*places, *(count + place for place in places)]

        beside = [[line[place] for place in centres] for line in (self.line.previous, self.line.following)]
        before, after = (_take(x, both(places)) for places in beside)
        if len(centres) == count:
            return self.local(module, x, (before, after), flows)
        led = None if flows is None else (_picked(flows[0], centres), _picked(flows[1], centres))
        made = self.local(module, _take(x, both(centres)), (before, after), led)
        rows = both(range(count))
        for place, row in enumerate(both(centres)):
            rows[row] = 2 * count + place
        return _take(op.concat([x, made], 0), rows)

    # phase 3, ST-GR

    def _modulators(self, x: Node) -> Node | None:
        """Factors (2u c 1 1) of all features, from the graph over all frames; None without ST-GR."""
        relate = self.net.relate
        if relate is None:
            return None
        nodes = _exact(op.reduce_mean(x, _constant(np.array([2, 3])), keep_dims=False))
        weights = self._edge_weights(relate, x, nodes)
        graph = relate.graph
        for depth, (own, others) in enumerate(zip(graph.own, graph.others, strict=True)):
            mean = _exact(op.matmul(weights, nodes, False, False))
            nodes = _exact(op.add(_linear(nodes, own), _linear(mean, others)))
            nodes = _exact(_leaky(nodes)) if depth < len(graph.own) - 1 else nodes
        factors = _exact(op.add(_number(1.0), _exact(op.multiply(nodes, _number(relate.modulation)))))
        return _exact(op.unsqueeze(factors, _constant(np.array([2, 3]))))

    def _edge_weights(self, relate: Any, x: Node, nodes: Node) -> Node:
        kept = []
        if relate.edge_frame:
            unit = _unit(nodes)
            kept.append(_half_of_one_plus(_exact(op.matmul(unit, unit, False, True))))
        if relate.edge_pixel:
            unit = _unit(_every(x, relate.edge_pixel_step))
            flat = op.reshape(unit, _constant(np.array([2 * len(self.line.order), -1])), special_zero=False)
            products = _exact(op.multiply(op.matmul(flat, flat, False, True), self.input("per_pixel")))
            kept.append(_half_of_one_plus(products))
        if relate.edge_time:
            nodes_count = 2 * len(self.line.order)
            kept.append(self.input("closeness", nodes_count, nodes_count))
        total = kept[0]
        for part in kept[1:]:
            total = _exact(op.add(total, part))
        joined = adjacency(len(self.line.order), 2).numpy().astype(np.float32) / len(kept)
        weight = _exact(op.multiply(total, _constant(joined)))
        row_sum = _exact(op.reduce_sum(weight, _constant(np.array([1])), keep_dims=True))
        return _exact(op.divide(weight, _exact(op.add(row_sum, _number(1e-6)))))

    # phase 4, and composing

    def _frames(self, halves: list[Node], base: Node) -> Node:
        scale = self.net.reconstruct.scale
        enlarged = _subpixels(base, 3, scale, lambda dots: upsample(dots, scale))
        total = _exact(op.add(self.details(halves, innermost="places"), enlarged))
        return _exact(op.depth_to_space(total, "depth_first", scale))

    def _shares(self, evidence: Node, count: int) -> list[Node]:
        """What each of the three estimates counts, on the HR grid."""
        fold = self.net.compose.fold
        parts = [_channels(evidence, range(part * fold**2, (part + 1) * fold**2)) for part in range(3)]
        for part, name in ((1, "log_rest"), (2, "log_tau")):
            parts[part] = _exact(op.add(parts[part], self.input(name, count, 1, 1, 1)))
        return [_exact(op.depth_to_space(part, "depth_first", fold)) for part in _softmax(parts)]

    def _composed(self, frames: Node, shares: Sequence[Node], flows: Pair) -> Node:
        """Every in-between frame blended with both restored neighbours, warped on the HR grid."""
        line = self.line
        made = [place for place, which in enumerate(line.order) if which >= line.sources]
        estimates = [_picked(frames, made)]
        for end, flow in enumerate(flows):
            neighbour = _picked(frames, [line.order.index(interval + end) for interval, _ in line.between])
            estimates.append(self._warp_large(neighbour, flow))
        total = _sum([_exact(op.multiply(*pair)) for pair in zip(shares, estimates, strict=True)])
        rows = [len(line.order) + made.index(place) if place in made else place for place in range(len(line.order))]
        return _picked(_exact(op.concat([frames, total], 0)), rows)

    def _warp_large(self, image: Node, flow: Node) -> Node:
        """By the cubic kernel on the HR grid, by a flow of the LR grid."""
        places, unit = self.input("places", 1, 2, -1, -1), self.input("unit", 1, 2, 1, 1)
        scale = self.net.compose.scale
        moved = _exact(op.multiply(flow, unit))
        moved = _subpixels(moved, 2, scale, lambda dots: enlarge_flow(dots.expand(-1, 2, -1, -1), scale)[:, :1] / scale)
        # a sub-pixel stands so far from its pixel's centre, in pixels: first all (dx), then all (dy)
        y, x = np.mgrid[:scale, :scale].reshape(2, -1) / scale + (0.5 / scale - 0.5)
        twice = np.repeat([0, 1], scale**2).tolist()
        beside = _constant(np.concatenate([x, y]).astype(np.float32).reshape(1, -1, 1, 1))
        inside = _exact(op.multiply(_channels(unit, twice), beside))
        at = _exact(op.add(moved, _exact(op.add(_channels(places, twice), inside))))
        at = _exact(op.depth_to_space(at, "depth_first", scale))
        how = {"align_corners": False, "mode": "bicubic", "padding_mode": "border"}
        return _exact(op.grid_sample(image, _exact(op.transpose(at, _constant(np.array([0, 2, 3, 1])))), how))


class _Layer(NamedTuple):
    """A convolution's numbers."""

    weight: Float[np.ndarray, "o c k k"]
    bias: Float[np.ndarray, "o"]
    range: Range | None
    """Of its input, where that is rounded to 8 bits."""


class _Convolutions:
    """Writes the convolutions of a network: in 8 bits those that `ranges` names, the others as they are."""

    def __init__(self, net: STINet, ranges: Ranges, *, are_maps_short: bool = True) -> None:
        """`are_maps_short` where the engine keeps maps in bfloat16: see `_rounded_map`."""
        self._ranges = {layer: ranges[name] for name, layer in net.named_modules() if name in ranges}
        self._rounded: dict[Any, Node] = {}
        self._are_maps_short = are_maps_short
        self._shared: set[str] = set()

    def __call__(
        self,
        x: Node | Sequence[Node],
        layer: Any,
        *,
        outputs: Sequence[int] | None = None,
        less: Sequence[int] | None = None,
        gain: float = 1.0,
        is_rounded: bool = False,
    ) -> Node:
        """A layer's convolution, with its output channels in another order, or some of them.

        `less` are outputs to subtract from those, one from each. Of several maps, the layer reads one after the other.
        `is_rounded`: they are what `rounded` gave. Rounding before and after is what the engine makes 8-bit
        convolutions of.
        """
        weight, bias, given = self._layer(layer)
        if outputs is not None:
            every = weight, bias
            weight, bias = (values[list(outputs)] for values in every)
            if less is not None:
                weight, bias = weight - every[0][list(less)], bias - every[1][list(less)]
        kernel = _constant(gain * weight)
        if given is not None:
            kernel = _rounded_kernel(gain * weight * np.array(given.scales, np.float32).reshape(1, -1, 1, 1))
        return _convolution(x if is_rounded else self.rounded(x, layer), kernel, gain * bias)

    def joint(self, reads: Iterable[tuple[nn.Conv2d, Sequence[int]]]) -> _Layer:
        """Layers as one: each reads those channels, and gives its outputs after those of the one before.

        In 8 bits they round alike, between ends that hold for all where theirs differ.
        """
        layers, places = zip(*reads, strict=True)
        parts = [self._layer(layer) for layer in layers]
        shape = sum(len(part.weight) for part in parts), 1 + max(map(max, places)), *parts[0].weight.shape[2:]
        weight, start = np.zeros(shape, np.float32), 0
        for part, read in zip(parts, places, strict=True):
            weight[start : start + len(part.weight), list(read)] = part.weight
            start += len(part.weight)
        ranges = [part.range for part in parts if part.range is not None]
        given = joint_range(ranges, places) if len(ranges) == len(parts) else None
        return _Layer(weight, np.concatenate([part.bias for part in parts]), given)

    def _layer(self, layer: Any) -> _Layer:
        if isinstance(layer, _Layer):
            return layer
        assert isinstance(layer, nn.Conv2d)
        weight, bias = _values(layer.weight), _values(layer.bias)  # pyright: ignore[reportArgumentType]
        return _Layer(weight, bias, self._ranges.get(layer))

    def shared(self, x: Node) -> Node:
        """The same map, noted as one that not only one convolution reads."""
        self._shared.add(x.get_friendly_name())
        return x

    def exact(
        self, x: Node | Sequence[Node], layer: Any, after: Callable[[Node], Node] | None = None, **how: Any
    ) -> Node:
        """A convolution and what comes after it; what one in 8 bits gives is float32.

        A mark alone would be lost when the engine rewrites the convolution, but not that of a clamp after it.
        """
        made = self(x, layer, **how)
        made = made if after is None else after(made)
        return _exact(op.clamp(made, -_ENDLESS, _ENDLESS)) if self._layer(layer).range is not None else made

    def rounded(self, x: Node | Sequence[Node], layer: Any) -> Node:
        """What a layer reads: its input in 8 bits, or as it is."""
        parts = list(x) if isinstance(x, Sequence) else [x]
        given = self._layer(layer).range
        if given is not None:
            scales = np.array(given.scales, np.float32).reshape(1, -1, 1, 1)
            ends = np.cumsum([part.get_output_partial_shape(0)[1].get_length() for part in parts])
            split = np.split(scales, ends[:-1], axis=1)
            parts = [self._rounded_map(part, given, some) for part, some in zip(parts, split, strict=True)]
        return parts[0] if len(parts) == 1 else op.concat(parts, 1)

    def summed(self, given: Sequence[Node], layers: Sequence[Any], *, outputs: Sequence[int], gain: float) -> Node:
        """The sum of layers, each of its own input: one convolution of all inputs where none is in 8 bits."""
        if any(layer in self._ranges for layer in layers):
            parts = [self.exact(x, layer, outputs=outputs, gain=gain) for x, layer in zip(given, layers, strict=True)]
            return op.add(*parts)
        weights = [_values(layer.weight)[list(outputs)] for layer in layers]
        bias = np.sum([_values(layer.bias)[list(outputs)] for layer in layers], axis=0)
        return _convolution(op.concat(list(given), 1), _constant(gain * np.concatenate(weights, axis=1)), gain * bias)

    def blocks(self, x: Node, blocks: Any) -> Node:
        """Residual blocks: the sum keeps its precision, whatever the convolutions beside it have."""
        for block in blocks:
            x = op.add(self(_leaky(self(self.shared(x), block.first)), block.second), x)
        return x

    def _rounded_map(self, x: Node, given: Range, scales: np.ndarray) -> Node:
        """One node for all layers that read the same numbers.

        A rounding becomes part of the operation before it, if nothing else reads that. By itself it reads float32 only,
        in an order of its own: for a bfloat16 map that others read too, an operation that changes nothing goes first.
        """
        key = (x.get_friendly_name(), given.low, given.high, scales.tobytes())
        if key not in self._rounded:
            low, high = given.low, given.high
            if self._are_maps_short and x.get_friendly_name() in self._shared and scales.size % _VECTOR == 0:
                # each has its own number: equal operations would be one, with two readers
                x = op.maximum(x, _number(-_ENDLESS * (1 + len(self._rounded) / 1024)))
            self._rounded[key] = _rounded(x, (low * scales, high * scales), (low, high), 256)
        return self._rounded[key]


def _model(outputs: Sequence[Node], inputs: Sequence[Node], name: str) -> openvino.Model:
    make: Any = openvino.Model  # its stubs contradict each other
    return make([op.result(node) for node in outputs], list(inputs), name)


def _parameter(name: str, *shape: int) -> Node:
    made = op.parameter(openvino.PartialShape(list(shape)), np.float32, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def _exact(node: Node) -> Node:
    """Mark it to stay float32."""
    node.get_rt_info()[_KEEPS] = ""
    return node


def _plain(node: Node) -> Node:
    return node


def _constant(value: np.ndarray) -> Node:
    return op.constant(np.ascontiguousarray(value))


def _number(value: float) -> Node:
    return _constant(np.array(value, np.float32))


def _column(values: Any) -> Float[np.ndarray, "n 1 1 1"]:
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


def _values(parameter: Tensor) -> Float[np.ndarray, "..."]:
    return parameter.detach().float().cpu().contiguous().numpy()


def _convolution(x: Node, kernel: Node, bias: np.ndarray) -> Node:
    side = [kernel.get_output_shape(0)[-1] // 2] * 2
    return op.add(op.convolution(x, kernel, [1, 1], side, side, [1, 1]), _constant(bias.reshape(1, -1, 1, 1)))


def _rounded(x: Node, given: tuple[Any, Any], made: tuple[Any, Any], levels: int) -> Node:
    """To the nearest of so many levels between the given ends, which become the made ones."""
    ends = [_constant(np.asarray(end, np.float32)) for end in (*given, *made)]
    return op.fake_quantize(x, *ends, levels)


def _rounded_kernel(weight: np.ndarray) -> Node:
    """To 8 bits, every output channel between its largest weight and the negative of it."""
    most = np.maximum(np.abs(weight).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    return _rounded(_constant(weight), (-most, most), (-most, most), 255)


def _bias(layer: nn.Conv2d) -> Node:
    return _constant(_values(layer.bias).reshape(1, -1, 1, 1))  # pyright: ignore[reportArgumentType]


def _linear(x: Node, layer: nn.Linear) -> Node:
    made = _exact(op.matmul(x, _constant(_values(layer.weight)), False, True))
    return made if layer.bias is None else _exact(op.add(made, _constant(_values(layer.bias))))


def _leaky(x: Node) -> Node:
    return op.prelu(x, _constant(np.array([SLOPE], np.float32)))


def _sample_both(x: Node, grid: Node) -> list[Node]:
    """L and H of a batch of both, read at the same places; outside, the nearest edge pixel.

    Of one frame both are read as one picture of twice the channels: where to read is worked out once.
    """
    count, channels = (side.get_length() for side in list(x.get_output_partial_shape(0))[:2])
    if count > 2:
        return [_sample(half, grid) for half in _halves(x)]
    read = _sample(_exact(_regrouped(x, 2 * channels)), grid)
    return [_slice(read, level * channels, (level + 1) * channels, 1) for level in range(2)]


def _sample(x: Node, grid: Node) -> Node:
    """Read at other places; outside, the nearest edge pixel."""
    return _exact(op.grid_sample(x, grid, {"align_corners": False, "mode": "bilinear", "padding_mode": "border"}))


def _sample_places(offset: Node, starts: Node, unit: Node, bound: float) -> Node:
    """grid_sample's coordinates (groups h w 2) of offsets (n 2 groups / n h w; dx, dy), in units of the bound.

    No size is asked for: a new axis in front keeps height and width where a reshape can copy them.
    """
    first, second = _constant(np.array([0])), _constant(np.array([1]))
    groups = offset.get_output_partial_shape(0)[1].get_length() // 2
    pairs = _exact(op.unsqueeze(offset, second))
    pairs = _exact(op.reshape(pairs, _constant(np.array([0, groups, 2, 0, 0])), special_zero=True))
    step = _exact(op.unsqueeze(_exact(op.multiply(unit, _number(bound))), second))
    at = _exact(op.add(_exact(op.multiply(pairs, step)), _exact(op.unsqueeze(starts, second))))
    at = _exact(op.reshape(at, _constant(np.array([1, -1, 0, 0, 0])), special_zero=True))
    return _exact(op.transpose(_exact(op.squeeze(at, first)), _constant(np.array([0, 2, 3, 1]))))


def _slice(x: Node, start: int, stop: int, axis: int) -> Node:
    return op.slice(x, *(_constant(np.array([value])) for value in (start, stop, 1, axis)))


def _every(x: Node, step: int) -> Node:
    """Every step-th pixel of every step-th row."""
    if step == 1:
        return x
    ends = (_constant(np.array([value] * 2)) for value in (0, np.iinfo(np.int64).max, step))
    return op.slice(x, *ends, _constant(np.array([2, 3])))


def _halves(x: Node) -> list[Node]:
    """L and H of a batch of both."""
    count = x.get_output_partial_shape(0)[0].get_length() // 2
    return [_frames(x, level * count, (level + 1) * count) for level in range(2)]


def _frames(x: Node, start: int, stop: int) -> Node:
    return _slice(x, start, stop, 0)


def _picked(x: Node, index: Sequence[int]) -> Node:
    """Frames in another order, in float32; slices are merged on the way to the engine, and lose their marks."""
    return _exact(op.gather(x, _constant(np.array(index)), _constant(np.array(0))))


def _channels(x: Node, index: Sequence[int]) -> Node:
    return _exact(op.gather(x, _constant(np.array(index)), _constant(np.array(1))))


def _take(x: Node, index: Sequence[int]) -> Node:
    """Frames in another order: the runs of neighbours, one after the other."""
    runs: list[list[int]] = []
    for place in index:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    parts = [_frames(x, *run) for run in runs]
    return parts[0] if len(parts) == 1 else op.concat(parts, 0)


def _side_by_side(x: Node) -> Node:
    """L and H of one frame as channels of one map."""
    return _regrouped(_exact(x), 2 * x.get_output_partial_shape(0)[1].get_length())


def _both(x: Node, channels: int) -> Node:
    """L and H one after the other, as many channels each, whichever way they come."""
    return x if x.get_output_partial_shape(0)[1] == channels else _regrouped(x, channels)


def _twice(x: Node) -> Node:
    return _exact(op.concat([x, x], 0))


def _regrouped(x: Node, channels: int) -> Node:
    """(n c h w) with so many channels each, and more or fewer of them; stays in the precision it has."""
    made = op.reshape(x, _constant(np.array([-1, channels, 0, 0])), special_zero=True)
    return _exact(made) if _KEEPS in x.get_rt_info() else made


def _deformable(x: Node, offset: Node, weight: np.ndarray, mask: Node | None, groups: int) -> Node:
    side = [weight.shape[-1] // 2] * 2
    given = {} if mask is None else {"mask": mask}
    return op.deformable_convolution(
        x, offset, _constant(weight), [1, 1], side, side, [1, 1], **given,
        auto_pad="EXPLICIT", group=1, deformable_group=groups, bilinear_interpolation_pad=True,
    )  # fmt: skip


def _mix(sides: Sequence[Node], shares: Sequence[Node], keep: Callable[[Node], Node] = _exact) -> Node:
    """A weighted sum; a difference would be rewritten on the way to the engine, and lose its mark."""
    first, second = (keep(op.multiply(side, share)) for side, share in zip(sides, shares, strict=True))
    return keep(op.add(first, second))


def _sum(parts: Sequence[Node]) -> Node:
    total = parts[0]
    for part in parts[1:]:
        total = _exact(op.add(total, part))
    return total


def _softmax(parts: Sequence[Node]) -> list[Node]:
    """Of several maps at every place."""
    largest = _exact(op.maximum(_exact(op.maximum(parts[0], parts[1])), parts[2]))
    powers = [_exact(op.exp(_exact(op.subtract(part, largest)))) for part in parts]
    total = _sum(powers)
    return [_exact(op.divide(power, total)) for power in powers]


def _unit(x: Node) -> Node:
    """Divided by its length along the channels."""
    axis = _constant(np.array([1]))
    # an axis of one channel would be the innermost, and every number be treated by itself
    length = op.maximum(op.reduce_l2(x, axis, keep_dims=False), _number(1e-6))
    return op.divide(x, op.unsqueeze(length, axis))


def _half_of_one_plus(cosine: Node) -> Node:
    return _exact(op.multiply(_exact(op.add(cosine, _number(1.0))), _number(0.5)))


def _subpixels(x: Node, channels: int, scale: int, enlarge: Callable[[Tensor], Tensor]) -> Node:
    """An enlargement before it is unfolded: scale^2 times the channels on the small grid."""
    weight = np.zeros((channels * scale**2, channels, 5, 5), np.float32)
    kernel = _kernel(scale, enlarge)
    for channel, sub in itertools.product(range(channels), range(scale**2)):
        weight[channel * scale**2 + sub, channel] = kernel[sub]
    around = _constant(np.array([0, 0, 2, 2]))
    padded = _exact(opset1.pad(x, around, around, "symmetric"))  # later ones are rewritten, and lose their marks
    return _exact(op.convolution(padded, _constant(weight), [1, 1], [0, 0], [0, 0], [1, 1]))


def _kernel(scale: int, enlarge: Callable[[Tensor], Tensor]) -> Float[np.ndarray, "sub 5 5"]:
    """What every sub-pixel takes of the 5x5 pixels around its own: read off the enlargement of single bright pixels."""
    dots = torch.eye(25).view(25, 1, 5, 5)
    padded = torch.nn.functional.pad(dots, (4, 4, 4, 4))  # far from the borders, where pixels repeat
    large = enlarge(padded)[..., 6 * scale : 7 * scale, 6 * scale : 7 * scale]
    return large.reshape(25, scale**2).T.reshape(scale**2, 5, 5).numpy()
