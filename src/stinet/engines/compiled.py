"""What every engine does that computes the graphs of graph.py: clips in, numpy in between, frames out.

A clip is made frame by frame, by small graphs: S-SR of a source frame, ST-FI of an in-between frame, ST-LR of a
frame and its neighbours, and the heads. Flows stay as they are in PyTorch, and so does ST-GR, which looks at a few
numbers of every frame. What has been made of whole frames stays with their states as long as these live, so that
windows that overlap make nothing twice; it depends on a frame and its neighbours alone, never on what was made before,
and a film that was stopped goes on to the same bytes. Several frames are made at once (lanes.py). An engine only says
how a graph is computed (`_infer`).
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import openvino
import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile
from stinet.engines.graph import between_graph, features_graph, heads_graph, local_graph, neighbour_factors
from stinet.engines.lanes import Lanes
from stinet.engines.ranges import Ranges
from stinet.model.clip import FrameState, NetworkClip
from stinet.model.compose import FULL_WEIGHT, compose_frame
from stinet.model.interpolate import Between, Flows
from stinet.model.relate import Relate, Seen
from stinet.model.stinet import Features, STINet
from stinet.model.timeline import Timeline
from stinet.ops.farneback import expand
from stinet.ops.pictures import exp, interleave
from stinet.ops.resample import add_resized

__all__ = ["GraphClip", "graph_kinds", "write_graph"]

_LEAST_PX = 2
"""The mirrored border of the bicubic estimate is as wide; a thinner picture is PyTorch's."""

_CLEAR = 70.0
"""Exponentials of more are near the end of what float32 holds."""

_number = itertools.count().__next__


def graph_kinds(net: STINet) -> tuple[str, ...]:
    """The kinds of graphs that make a film, in the order in which they are needed."""
    return "features", "between", *(f"local {module}" for module in range(len(net.local))), "heads", "heads between"


def write_graph(net: STINet, kind: str, ranges: Ranges | None = None) -> openvino.Model:
    """The graph of one of `graph_kinds`."""
    match kind.split():
        case ["features"]:
            return features_graph(net, ranges)
        case ["between"]:
            return between_graph(net, ranges)
        case ["local", module]:
            return local_graph(net, int(module), ranges)
        case ["heads", *place]:
            return heads_graph(net, ranges, is_between=bool(place))
    raise ValueError(f"no graph is called {kind!r}")


class _Refined(NamedTuple):
    """A frame's maps after ST-LR, or those that it leaves as they are."""

    beside: tuple[int, ...]
    """Numbers of the moments before and after: other neighbours make other maps; none where they do not count."""
    maps: Float[Tensor, "2 c h w"]
    seen: list[Seen]
    """What ST-GR sees of L and H."""


@dataclass(slots=True, eq=False)
class _Moment:
    """An output frame before ST-LR, and after it."""

    maps: Float[Tensor, "2 c h w"]
    """L and H."""
    base: Float[Tensor, "1 3 h w"]
    between: Between | None = None
    """Of an in-between frame."""
    number: int = field(default_factory=_number)
    refined: _Refined | None = None


@dataclass(slots=True, eq=False)
class _GraphState(FrameState):
    """A source frame, and what has been made of it and the one after it."""

    moment: _Moment | None = None
    made: dict[tuple[int, float], _Moment] = field(default_factory=dict, repr=False)
    """In-between frames of the last clip, by the number of the frame after them and their time."""


class _OwnFlows(Flows):
    """As `context` gave them: what is made by others is not kept."""


class GraphClip:
    """A network that fulfils `config.Selective`, computed on the CPU by something else than PyTorch."""

    _spare_lanes = 0
    """Of `Lanes`."""

    def __init__(self, net: STINet, name: str, threads: int | None, *, lane_bytes_per_pixel: int) -> None:
        """`threads` None: as many as torch is set to when the first frame comes.

        `lane_bytes_per_pixel` is the memory of a frame while it is made, per source pixel.
        """
        self.net = net.eval()
        self.name = name
        self.threads = threads
        self.scale: int = net.config.scale
        self.reach: int = net.reach
        self._lane_bytes_per_pixel = lane_bytes_per_pixel
        # the same network in PyTorch: for flows, and for what is too thin
        self._torch = NetworkClip(net, torch.device("cpu"), torch.float32, name)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return self._torch.device

    @cached_property
    def lanes(self) -> Lanes:
        """Where frames are made."""
        return Lanes(self.threads or torch.get_num_threads(), spare=self._spare_lanes)

    @property
    def _leaves_between(self) -> bool:
        return self.net.config.local_frames == "given"

    @property
    def working_bytes_per_pixel(self) -> int:
        """Memory of the frames that are made at once, per source pixel."""
        return self.lanes.count * self._lane_bytes_per_pixel

    @torch.no_grad()
    def prepare(self, frame: Float[Tensor, "3 h w"]) -> FrameState:
        """Features and polynomial expansion of one source frame in [0, 1]."""
        return self.prepare_all([frame])[0]

    @torch.no_grad()
    def prepare_all(self, frames: Sequence[Float[Tensor, "3 h w"]]) -> list[FrameState]:
        """The same of several frames."""
        return self.lanes.each(self._prepared, frames)

    def each(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What a function makes of the first of everything given, of the second, and so on, in order."""
        return self.lanes.each(function, *given)

    def _prepared(self, frame: Tensor) -> FrameState:
        image = frame.to("cpu", torch.float32).unsqueeze(0).contiguous()
        maps = torch.empty(2, self.net.config.channels, *image.shape[-2:])
        self._infer("features", {"frames": image}, [maps[:1], maps[1:]])
        return _GraphState(image, Features(maps[:1], maps[1:]), expand(image), moment=_Moment(maps, image))

    def context(self, states: Sequence[FrameState], times: Sequence[Sequence[float]]) -> Flows | None:
        """Flows between neighbouring whole frames, both ways."""
        self.lanes.each(self._torch.flows, states[:-1], states[1:])
        flows = self._torch.context(states, times)
        return None if flows is None else _OwnFlows(*flows)

    def run(
        self,
        states: Sequence[FrameState],
        times: Sequence[Sequence[float]],
        nodes: Flows | None,
        tile: Tile | None = None,
    ) -> Float[Tensor, "u 3 sh sw"]:
        """The clip's frames in order of time, whole or one tile of them, in [0, 1]."""
        count = len(states) + (sum(map(len, times)) if len(states) > 1 else 0)
        return self.run_some(range(count), states, times, nodes, tile)

    @torch.no_grad()
    def run_some(
        self,
        wanted: Sequence[int],
        states: Sequence[FrameState],
        times: Sequence[Sequence[float]],
        nodes: Flows | None,
        tile: Tile | None = None,
    ) -> Float[Tensor, "k 3 sh sw"]:
        """Of the frames that `run` gives, those at `wanted`; the others are not finished."""
        if min(states[0].frame.shape[-2:] if tile is None else (tile.height, tile.width)) < _LEAST_PX:
            return self._torch.run(states, times, nodes, tile)[list(wanted)]
        line = Timeline.of(len(states), [tuple(row) for row in times] if len(states) > 1 else ())
        assert nodes is not None
        flows = [_cut(side[0], tile) for side in nodes]
        is_kept = tile is None and isinstance(nodes, _OwnFlows)
        moments, maps = self._refined(states, line, flows, tile, is_kept=is_kept)
        final = self._finished(wanted, moments, maps, self._factors(moments, maps, line), line)
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)

    def _infer(self, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        """Fill `out` by the graph of that kind (`write_graph`); of what is given it may need a part."""
        raise NotImplementedError

    def _refined(
        self, states: Sequence[Any], line: Timeline, flows: Sequence[Tensor], tile: Tile | None, *, is_kept: bool
    ) -> tuple[list[_Moment], list[Tensor]]:
        """All frames of the clip in order of time, and their maps after ST-LR."""
        given: list[_Moment] = [
            state.moment if is_kept else _Moment(_cut(state.moment.maps, tile), _cut(state.moment.base, tile))
            for state in states
        ]
        made: list[_Moment | None] = [None] * len(line.between)
        if is_kept:
            made = [states[interval].made.get((given[interval + 1].number, tau)) for interval, tau in line.between]
        modules = len(self.net.local)
        centres = line.given if self._leaves_between else range(len(line.order))
        with self.lanes.work() as work:
            ends = [
                moment
                or work.begin(
                    self._between, *given[interval : interval + 2], [side[interval, None] for side in flows], tau
                )
                for moment, (interval, tau) in zip(made, line.between, strict=True)
            ]
            both = [*given, *ends]
            ordered = [both[place] for place in line.order]
            if modules == 1:  # a frame can be refined as soon as its neighbours are there
                for place in centres:
                    work.begin(self._refine, ordered, place, line, flows)
        moments = [_known(one) for one in ordered]
        if is_kept:
            for state in states:
                state.made = {}
            for end, (interval, tau) in zip(ends, line.between, strict=True):
                states[interval].made[given[interval + 1].number, tau] = _known(end)
        maps = [moment.maps if moment.refined is None else moment.refined.maps for moment in moments]
        if modules > 1:
            maps = [moment.maps for moment in moments]
            for module in range(modules):
                level = self.lanes.each(lambda place, module=module, maps=maps: self._local(
                    module, moments, maps, place, line, flows
                ), centres)  # fmt: skip
                maps = [*maps]
                for place, refined in zip(centres, level, strict=True):
                    maps[place] = refined
        return moments, maps

    def _refine(
        self, moments: Sequence["_Moment | Future[_Moment]"], place: int, line: Timeline, flows: Sequence[Tensor]
    ) -> None:
        """ST-LR of one frame by a network of one module, unless it has been refined between the same neighbours."""
        beside = {index: _known(moments[index]) for index in (line.previous[place], place, line.following[place])}
        own = beside[place]
        numbers = beside[line.previous[place]].number, beside[line.following[place]].number
        if own.refined is None or own.refined.beside != numbers:
            maps = {index: moment.maps for index, moment in beside.items()}
            made = self._local(0, beside, maps, place, line, flows)
            own.refined = _Refined(numbers, made, self._seen(made))

    def _between(self, left: _Moment, right: _Moment, flows: Sequence[Tensor], tau: float) -> _Moment:
        """ST-FI of one in-between frame."""
        height, width = left.maps.shape[-2:]
        maps = torch.empty_like(left.maps)
        blend, mismatch = torch.empty(2, 1, 3, height, width)
        to_left, to_right = torch.empty(2, 1, 2, height, width)
        given = {
            "left": left.base, "right": right.base, "left_maps": left.maps, "right_maps": right.maps,
            "ahead": flows[0], "back": flows[1],
            "tau": _single(tau), "rest": _single(1 - tau), "logit": _single(np.log(tau / (1 - tau))),
        }  # fmt: skip
        out = [maps[:1], maps[1:], blend, mismatch, to_left, to_right]
        self._infer("between", given | _grids(height, width), out)
        made = _Moment(maps, blend, Between(to_left, to_right, mismatch))
        if self._leaves_between and len(self.net.local) == 1:
            made.refined = _Refined((), maps, self._seen(maps))
        return made

    def _local(
        self, module: int, moments: Any, maps: Any, place: int, line: Timeline, flows: Sequence[Tensor]
    ) -> Float[Tensor, "2 c h w"]:
        """ST-LR of the frame at a place; `moments` and `maps` hold it and its neighbours by their places."""
        before, after = line.previous[place], line.following[place]
        made = torch.empty_like(maps[place])
        to_before, to_after = _neighbour_flows(moments[place], place, line, flows)
        given = {
            "own": maps[place], "before": maps[before], "after": maps[after],
            "to_before": to_before, "to_after": to_after,
        }  # fmt: skip
        self._infer(f"local {module}", given | _grids(*made.shape[-2:]), [made])
        return made

    def _seen(self, maps: Float[Tensor, "2 c h w"]) -> list[Seen]:
        """What ST-GR sees of a frame's L and H."""
        if not isinstance(self.net.relate, Relate):
            return []
        grid = (maps.shape[-2], maps.shape[-1])
        return [self.net.relate.look(level, 1, grid) for level in maps.split(1)]

    def _factors(
        self, moments: Sequence[_Moment], maps: Sequence[Tensor], line: Timeline
    ) -> Float[Tensor, "u 2 c 1 1"] | None:
        """What ST-GR multiplies every frame's maps by."""
        if not isinstance(self.net.relate, Relate):
            return None
        is_there = len(self.net.local) == 1
        seen = [moment.refined.seen for moment in moments if is_there and moment.refined is not None]
        seen = seen or self.lanes.each(self._seen, maps)
        levels = [_joined([one[level] for one in seen]) for level in range(2)]
        factors = torch.cat(self.net.relate.factors(levels, line.stamps))  # (2 u c)
        return factors.transpose(0, 1)[..., None, None].contiguous()

    def _finished(
        self,
        wanted: Sequence[int],
        moments: Sequence[_Moment],
        maps: Sequence[Tensor],
        factors: Tensor | None,
        line: Timeline,
    ) -> Float[Tensor, "k 3 sh sw"]:
        """Phase 4, and composing: the wanted frames, channels_last."""
        height, width = moments[0].base.shape[-2:]
        scale, is_composed = self.scale, self.net.compose is not None
        out = torch.empty(len(wanted), scale * height, scale * width, 3)
        pixels = {place: out[k] for k, place in enumerate(wanted)}
        made = [place for place in wanted if is_composed and moments[place].between is not None]
        beside = {place: _sources_beside(line, place) for place in made}
        for place in (place for pair in beside.values() for place in pair):
            if place not in pixels:
                pixels[place] = torch.empty_like(out[0])

        def heads(place: int, *evidence: Tensor) -> None:
            details = torch.empty(1, 3 * scale**2, height, width)
            given = {"maps": maps[place]}
            if factors is not None:
                given["factors"] = factors[place]
            between = moments[place].between
            if evidence and between is not None:
                given["mismatch"] = between.mismatch
            self._infer("heads between" if evidence else "heads", given, [details, *evidence])
            rows = pixels[place].view(height, scale, width, 3 * scale)
            for row, maps_of_row in enumerate(details[0].chunk(scale)):
                interleave(maps_of_row, rows[:, row])
            add_resized(pixels[place], moments[place].base[0])

        def compose(place: int) -> None:
            between, tau = moments[place].between, line.position(place)[1]
            assert between is not None
            evidence = torch.empty(1, 2 * scale**2, height, width)
            heads(place, evidence)
            weights = _weights(evidence.view(2, scale, scale, height, width), tau)
            for neighbour in beside[place]:
                begun[neighbour].result()
            own, *others = (pixels[one].permute(2, 0, 1)[None] for one in (place, *beside[place]))
            compose_frame(own, others, (between.to_left, between.to_right), weights)

        with self.lanes.work() as work:
            begun = {place: work.begin(heads, place) for place in pixels if place not in beside}
            for place in made:
                work.begin(compose, place)
        return out.permute(0, 3, 1, 2)


def _cut(x: Tensor, tile: Tile | None) -> Float[Tensor, "..."]:
    return (x if tile is None else x[..., tile.top : tile.bottom, tile.left : tile.right]).contiguous()


def _known(moment: "_Moment | Future[_Moment]") -> _Moment:
    return moment if isinstance(moment, _Moment) else moment.result()


def _neighbour_flows(moment: _Moment, place: int, line: Timeline, flows: Sequence[Tensor]) -> list[Tensor]:
    """From a frame to the ones before and after it: Eq. (1), refined flows where there are some."""
    interval = line.position(place)[0]
    if moment.between is not None:
        given = moment.between.to_left, moment.between.to_right
    else:
        ahead, back = flows
        none = moment.base.new_zeros(1, 2, *moment.base.shape[-2:])
        given = (
            none if place == 0 else back[interval - 1, None],
            none if place == len(line.order) - 1 else ahead[interval, None],
        )
    factors = [side[place] for side in neighbour_factors(line)]
    return [flow if factor == 1 else flow * factor for flow, factor in zip(given, factors, strict=True)]


def _joined(seen: Sequence[Seen]) -> Seen:
    """Of all frames at one resolution."""
    units = [one.units for one in seen if one.units is not None]
    return Seen(torch.cat([one.nodes for one in seen], dim=1), torch.cat(units, dim=1) if units else None)


def _sources_beside(line: Timeline, place: int) -> tuple[int, int]:
    """Where the source frames before and after an in-between frame stand in the output."""
    interval = line.position(place)[0]
    return line.order.index(interval), line.order.index(interval + 1)


def _weights(evidence: Float[Tensor, "2 s s h w"], tau: float) -> list[Float[Tensor, "1 1 sh sw"]]:
    """What each of the three estimates of a frame counts, itself as much everywhere."""
    scale, height, width = evidence.shape[2:]
    odds = exp(evidence.clamp_(max=_CLEAR))
    weights = torch.empty(3, 1, 1, scale * height, scale * width)
    weights[0] = FULL_WEIGHT
    for weight, maps, share in zip(weights[1:], odds, (FULL_WEIGHT * (1 - tau), FULL_WEIGHT * tau), strict=True):
        rows = weight.view(height, scale, width, scale)
        for row, maps_of_row in enumerate(maps * share):
            interleave(maps_of_row, rows[:, row])
    return list(weights)


def _single(value: float) -> Float[Tensor, "1 1 1 1"]:
    return torch.full((1, 1, 1, 1), float(value))


@lru_cache(maxsize=8)
def _grids(height: int, width: int) -> dict[str, Float[Tensor, "..."]]:
    """The inputs that only the size decides."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1])[None]
    unit = np.array([2 / width, 2 / height], np.float32).reshape(1, 2, 1, 1)
    return {"places": torch.from_numpy(places), "unit": torch.from_numpy(unit)}
