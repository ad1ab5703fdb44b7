"""What every engine does that computes the graphs of graph.py: clips in, numpy in between, frames out.

A clip is made frame by frame, by four small graphs: S-SR of a source frame, ST-FI of an in-between frame, ST-LR of a
frame and its neighbours, and the heads. Flows stay as they are in PyTorch, and so does ST-GR, which looks at a few
numbers of every frame. What has been made of whole frames stays with their states as long as these live, so that
windows that overlap make nothing twice; it depends on a frame and its neighbours alone, never on what was made before,
and a film that was stopped goes on to the same bytes. Several frames are made at once (lanes.py). An engine only says
how a graph is computed (`_infer`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

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
from stinet.model.compose import compose_frame
from stinet.model.interpolate import Between, Flows
from stinet.model.relate import Relate, Seen
from stinet.model.stinet import Features, STINet
from stinet.model.timeline import Timeline
from stinet.ops.farneback import expand

__all__ = ["GraphClip", "write_graph"]

_LEAST_PX = 2
"""The mirrored border of the bicubic estimate is as wide; a thinner picture is PyTorch's."""

_number = itertools.count().__next__


def write_graph(net: STINet, kind: str, ranges: Ranges | None = None) -> openvino.Model:
    """The graph of one kind: features, between, local 0 (the first ST-LR module), heads, or heads between."""
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


@dataclass(slots=True, eq=False)
class _Refined:
    """A frame's maps after ST-LR."""

    beside: tuple[int, ...]
    """Numbers of the moments before and after: other neighbours make other maps."""
    maps: Float[Tensor, "2 c h w"]
    seen: list[Seen] = field(default_factory=list)
    """What ST-GR sees of L and H, once it has looked."""


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
        return Lanes(self.threads or torch.get_num_threads())

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
        moments = self._moments(states, line, flows, tile, is_kept=tile is None and isinstance(nodes, _OwnFlows))
        maps, factors = self._related(moments, line, flows)
        final = self._finished(wanted, moments, maps, factors, line)
        if not final.sum().isfinite():  # clamping would hide an overflow as a white pixel
            final.nan_to_num_(torch.nan, torch.nan, torch.nan)
        return final.clamp_(0, 1)

    def _infer(self, kind: str, given: dict[str, Tensor], out: Sequence[Tensor]) -> None:
        """Fill `out` by the graph of that kind (`write_graph`); of what is given it may need a part."""
        raise NotImplementedError

    def _moments(
        self, states: Sequence[Any], line: Timeline, flows: Sequence[Tensor], tile: Tile | None, *, is_kept: bool
    ) -> list[_Moment]:
        """All frames of the clip in order of time, before ST-LR."""
        given: list[_Moment] = [
            state.moment if is_kept else _Moment(_cut(state.moment.maps, tile), _cut(state.moment.base, tile))
            for state in states
        ]
        made: list[_Moment | None] = [None] * len(line.between)
        if is_kept:
            made = [states[interval].made.get((given[interval + 1].number, tau)) for interval, tau in line.between]
        missing = [place for place, moment in enumerate(made) if moment is None]
        intervals, taus = [line.between[place][0] for place in missing], [line.between[place][1] for place in missing]
        new = self.lanes.each(
            self._between,
            [given[interval] for interval in intervals],
            [given[interval + 1] for interval in intervals],
            [[side[interval : interval + 1] for side in flows] for interval in intervals],
            taus,
        )
        fresh = iter(new)
        both = [*given, *(next(fresh) if moment is None else moment for moment in made)]
        if is_kept:
            for state in states:
                state.made = {}
            for (interval, tau), moment in zip(line.between, both[len(given) :], strict=True):
                states[interval].made[given[interval + 1].number, tau] = moment
        return [both[place] for place in line.order]

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
        return _Moment(maps, blend, Between(to_left, to_right, mismatch))

    def _related(
        self, moments: Sequence[_Moment], line: Timeline, flows: Sequence[Tensor]
    ) -> tuple[list[Tensor], Float[Tensor, "u 2 c 1 1"] | None]:
        """Every frame's maps after ST-LR, and what ST-GR multiplies them by."""
        sides = self._neighbour_flows(moments, line, flows)
        numbers = [(moments[a].number, moments[b].number) for a, b in zip(line.previous, line.following, strict=True)]
        maps = [moment.maps for moment in moments]
        if modules := len(self.net.local):
            for module in range(modules - 1):
                maps = self._refined(module, maps, line, sides, range(len(maps)))
            stale = [
                index for index, (moment, beside) in enumerate(zip(moments, numbers, strict=True))
                if modules > 1 or moment.refined is None or moment.refined.beside != beside
            ]  # fmt: skip
            made = self._refined(modules - 1, maps, line, sides, stale)
            for index, part in zip(stale, made, strict=True):
                moments[index].refined = _Refined(numbers[index], part)
            maps = [moment.refined.maps for moment in moments if moment.refined is not None]
        if not isinstance(self.net.relate, Relate):
            return maps, None
        seen = self.lanes.each(self._seen, moments)
        levels = [_joined([one[level] for one in seen]) for level in range(2)]
        factors = torch.cat(self.net.relate.factors(levels, line.stamps))  # (2 u c)
        return maps, factors.transpose(0, 1)[..., None, None].contiguous()

    def _refined(
        self, module: int, maps: Sequence[Tensor], line: Timeline, sides: Sequence[Sequence[Tensor]],
        places: Sequence[int],
    ) -> list[Tensor]:  # fmt: skip
        """ST-LR of the frames at these places."""
        return self.lanes.each(
            lambda place: self._local(
                module,
                [maps[place], maps[line.previous[place]], maps[line.following[place]]],
                [side[place] for side in sides],
            ),
            places,
        )

    def _local(self, module: int, maps: Sequence[Tensor], flows: Sequence[Tensor]) -> Float[Tensor, "2 c h w"]:
        """ST-LR of one frame: its own maps, those before and after it, and the flows there."""
        made = torch.empty_like(maps[0])
        given = dict(zip(("own", "before", "after", "to_before", "to_after"), (*maps, *flows), strict=True))
        self._infer(f"local {module}", given | _grids(*made.shape[-2:]), [made])
        return made

    def _neighbour_flows(
        self, moments: Sequence[_Moment], line: Timeline, flows: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """From every frame to the ones before and after it: Eq. (1), refined flows where there are some."""
        ahead, back = flows
        none = moments[0].base.new_zeros(1, 2, *moments[0].base.shape[-2:])
        last = len(moments) - 1
        sides: tuple[list[Tensor], list[Tensor]] = [], []
        for index, (moment, *factors) in enumerate(zip(moments, *neighbour_factors(line), strict=True)):
            interval = line.position(index)[0]
            if moment.between is not None:
                given = moment.between.to_left, moment.between.to_right
            else:
                given = (
                    none if index == 0 else back[interval - 1 : interval],
                    none if index == last else ahead[interval : interval + 1],
                )
            for side, flow, factor in zip(sides, given, factors, strict=True):
                side.append(flow if factor == 1 or flow is none else flow * factor)
        return sides

    def _seen(self, moment: _Moment) -> list[Seen]:
        """What ST-GR sees of a frame's L and H."""
        relate, refined = self.net.relate, moment.refined
        assert isinstance(relate, Relate)
        if refined is not None and refined.seen:
            return refined.seen
        maps = moment.maps if refined is None else refined.maps
        grid = (maps.shape[-2], maps.shape[-1])
        seen = [relate.look(level, 1, grid) for level in maps.split(1)]
        if refined is not None:
            refined.seen.extend(seen)
        return seen

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

        def finish(place: int) -> None:
            moment, tau = moments[place], line.position(place)[1]
            given = {"maps": maps[place], "base": moment.base}
            if factors is not None:
                given["factors"] = factors[place]
            rows = pixels[place].view(1, height, scale, width, 3 * scale)
            if place not in beside or moment.between is None:
                self._infer("heads", given, [rows])
                return
            given |= {"log_tau": _single(np.log(tau)), "log_rest": _single(np.log(1 - tau))}
            shares = torch.empty(1, 3, scale * height, scale * width)
            self._infer("heads between", given | {"mismatch": moment.between.mismatch}, [rows, shares])
            own, *others = (pixels[one].permute(2, 0, 1)[None] for one in (place, *beside[place]))
            compose_frame(own, others, (moment.between.to_left, moment.between.to_right), shares)

        self.lanes.each(finish, [place for place in pixels if place not in beside])
        self.lanes.each(finish, made)  # composed of those
        return out.permute(0, 3, 1, 2)


def _cut(x: Tensor, tile: Tile | None) -> Float[Tensor, "..."]:
    return (x if tile is None else x[..., tile.top : tile.bottom, tile.left : tile.right]).contiguous()


def _joined(seen: Sequence[Seen]) -> Seen:
    """Of all frames at one resolution."""
    units = [one.units for one in seen if one.units is not None]
    return Seen(torch.cat([one.nodes for one in seen], dim=1), torch.cat(units, dim=1) if units else None)


def _sources_beside(line: Timeline, place: int) -> tuple[int, int]:
    """Where the source frames before and after an in-between frame stand in the output."""
    interval = line.position(place)[0]
    return line.order.index(interval), line.order.index(interval + 1)


def _single(value: float) -> Float[Tensor, "1 1 1 1"]:
    return torch.full((1, 1, 1, 1), float(value))


@lru_cache(maxsize=8)
def _grids(height: int, width: int) -> dict[str, Float[Tensor, "..."]]:
    """The inputs that only the size decides."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1])[None]
    unit = np.array([2 / width, 2 / height], np.float32).reshape(1, 2, 1, 1)
    return {"places": torch.from_numpy(places), "unit": torch.from_numpy(unit)}
