"""Runs clips in the memory that there is, and goes down a ladder when it does not suffice.

    smaller tiles, down to the halo's size
    half precision, where the function is in float32 and can be had in it
    the CPU, for a function on another device

Each rung is said in a warning and kept for all clips that follow; the clip is made again from its source frames, so
no frame is lost and none comes twice. Below the last rung memory does not suffice: an error.

Tile size and length of the windows are chosen once, from the memory at hand. After that nothing is probed, and `state`
holds all that was chosen: a runner that is given it makes the same frames, bit for bit.

A frame with NaN or Inf (half precision overflows) is made again in float32, on the same device, and counted. If it is
none there either, the weights are at fault, and the time of the frame is in the error.

This file knows the clip function only as the protocols of `config.py`.
"""

import gc
import math
import weakref
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from stinet import runtime
from stinet.config import ClipFunction, Movable, Selective, TileConfig
from stinet.errors import DeviceError, ModelError
from stinet.infer.calls import prepare, run
from stinet.infer.tiles import BYTES_PER_PIXEL, by_tiles, fitting_size_px, smallest_size_px
from stinet.ops.pictures import load as load_opencv
from stinet.video.frame import Notes

__all__ = ["CORE", "LONG_CORE", "Picture", "Runner", "context_factor"]

CORE = 8
"""Source intervals of a window when nobody says: more repeat less context and relate more frames, for more memory."""

LONG_CORE = 16
"""The same where memory is plenty: 3 frames of context to 32 in place of 3 to 16, which is a twelfth of the time."""

_PLENTY = 0.2
"""Part of the memory that a long window may take."""

_OUTPUT_SHARE = 0.25
"""Part of the memory that the finished frames of a window may take."""


_HOLES = 1.15
"""Memory may be so many times what it was after one of the first windows before what is free of it is given back."""

_FIRST = 4
"""Windows after which everything has had its full size once; the first one may be shorter."""


def context_factor(fn: ClipFunction) -> float:
    """How many times the work of its own frames a window of `CORE` intervals is, with its context; roughly."""
    # a selective function refines the first and the last frame of the context once more, and finishes one of them
    return 1 + 1.5 / (2 * CORE) if isinstance(fn, Selective) else 1 + 2 * fn.reach / CORE


class Picture:
    """A source picture and what a clip function has prepared of it, once and only when it is needed."""

    def __init__(self, pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]) -> None:
        self.pixels = pixels
        self._state: tuple[ClipFunction, Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height, width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @staticmethod
    def states(pictures: "Sequence[Picture]", fn: ClipFunction) -> list[Any]:
        """What `fn` has prepared of all of them; anew where it was another function before."""
        new = [picture for picture in pictures if picture._state is None or picture._state[0] is not fn]
        for picture in new:
            picture._state = None  # the old one is freed before the new one is made
        for picture, state in zip(new, prepare(fn, [picture._scaled() for picture in new]), strict=True):
            picture._state = (fn, state)
        return [picture._state[1] for picture in pictures if picture._state is not None]

    def _scaled(self) -> Float[Tensor, "3 h w"]:
        scaled = np.divide(self.pixels, np.iinfo(self.pixels.dtype).max, dtype=np.float32)
        return torch.from_numpy(scaled).permute(2, 0, 1).contiguous()

    def forget(self) -> None:
        """Free what was prepared."""
        self._state = None


class _Rung(NamedTuple):
    """Where clips are made."""

    fn: ClipFunction
    tile_px: int


class Runner:
    """Makes clips with a clip function, by tiles, on the rung of the ladder that memory allows."""

    def __init__(
        self,
        fn: ClipFunction,
        tile: TileConfig,
        notes: Notes,
        *,
        budget_bytes: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """`budget_bytes` is the memory that can be taken, `state` that of an earlier runner to go on like it."""
        load_opencv()
        self.tile, self.notes, self.budget_bytes = tile, notes, budget_bytes
        self.core = 0
        """Source intervals of a window; 0: not yet chosen."""
        self._rung = _Rung(fn, tile.size_px)
        self._exact: ClipFunction | None = None
        self._resident = self._windows = 0  # bytes after one of the first windows, and how many there were
        self._prepared: weakref.WeakSet[Picture] = weakref.WeakSet()
        if state is not None:
            self.core = state["core"]
            self._rung = _Rung(_moved(fn, state), state["tile_px"])

    @property
    def fn(self) -> ClipFunction:
        """The clip function as it is used now."""
        return self._rung.fn

    @property
    def scale(self) -> int:
        """Output pixels per source pixel and side."""
        return self.fn.scale

    @property
    def reach(self) -> int:
        """Source frames of context on either side."""
        return self.fn.reach

    @property
    def ahead(self) -> int:
        """Source frames of context behind a window.

        An in-between frame may be composed of the source frame after it, which has a neighbour of its own that way;
        where context costs next to nothing, it is there.
        """
        return max(self.reach, 1) + isinstance(self.fn, Selective)

    @property
    def tile_px(self) -> int:
        """Side of a tile in source pixels; 0: not yet chosen."""
        return self._rung.tile_px

    def finishes_singly(self, size: tuple[int, int]) -> bool:
        """Whether two runs of one clip for some frames each make nothing twice: what tiles make is not kept."""
        return isinstance(self.fn, Selective) and max(size) <= self.tile_px

    @property
    def state(self) -> dict[str, Any]:
        """What was chosen, and the rung: plain values for a journal."""
        precision = self.fn.precision if isinstance(self.fn, Movable) else None
        return {"tile_px": self.tile_px, "core": self.core, "precision": precision, "device": str(_device(self.fn))}

    def choose(self, size: tuple[int, int], *, per_interval: int = 2, window: int = 0) -> int:
        """Fix tile size and window length for a film of `size` = (h, w) source pixels; gives the core of a window.

        `per_interval` output frames come of a source interval; `window` is a wish for the source frames of a clip with
        its context. What has been chosen already stays.
        """
        if not self.core and window:
            self.core = max(window - self.reach - self.ahead, 1)
        elif not self.core:
            frame_bytes = 12 * size[0] * size[1] * self.scale**2
            self.core = int(self.budget_bytes * _OUTPUT_SHARE / (frame_bytes * max(per_interval, 2)))
            self.core = min(max(self.core, 1), CORE)
            plenty = self.budget_bytes * _PLENTY / (size[0] * size[1]) - _working_bytes_per_pixel(self.fn)
            plenty /= _bytes_per_pixel(self.fn)
            if self.core == CORE and plenty > CORE:
                sources = int(plenty * 2 / max(per_interval, 2)) - self.reach - self.ahead
                self.core = min(max(sources, CORE), LONG_CORE)
        if not self.tile_px:
            sources = self._counted(self.core + self.reach + self.ahead, per_interval)
            self._rung = _Rung(self.fn, self._fitting(self.fn, size, sources, self.budget_bytes))
        return self.core

    def tidy(self) -> None:
        """Call it between two windows: memory that is free is kept for the next one, as long as no holes add up.

        Giving it back costs the next window a tenth of its time and more: the system clears every page anew.
        """
        now = runtime.resident_memory_bytes()
        self._windows += 1
        if now is not None and self._windows <= _FIRST:
            self._resident = max(self._resident, now)
        elif now is None or now > self._resident * _HOLES:
            runtime.release_memory()

    def clip_bytes(self, size: tuple[int, int], *, per_interval: int = 2) -> int:
        """Estimated memory of a window at its peak: a tile's features and the finished frames. Chooses first."""
        core = self.choose(size, per_interval=per_interval)
        tile = min(self.tile_px, size[0]) * min(self.tile_px, size[1])
        sources = self._counted(core + self.reach + self.ahead, per_interval)
        finished = 12 * size[0] * size[1] * self.scale**2 * core * per_interval
        return tile * (sources * _bytes_per_pixel(self.fn) + _working_bytes_per_pixel(self.fn)) + finished

    def run(
        self, clip: Sequence[Picture], times: Sequence[Sequence[float]], stamps: Mapping[int, Fraction]
    ) -> Float[Tensor, "k 3 sh sw"]:
        """Output frames of a clip, on the CPU, float32: those whose places in the function's output have a stamp.

        Raises:
            DeviceError: memory does not suffice on the last rung.
            ModelError: a frame has NaN or Inf in float32.

        """
        if not self.tile_px:
            self.choose(clip[0].size)
        while True:
            try:
                with torch.inference_mode():
                    return self._finite(clip, times, stamps)
            except Exception as error:  # of torch, the engine, OpenCV: each has a kind of its own
                if not _is_out_of_memory(error):
                    raise
            self._descend(clip[0].size, len(clip) + sum(map(len, times)))

    def _finite(
        self, clip: Sequence[Picture], times: Sequence[Sequence[float]], stamps: Mapping[int, Fraction]
    ) -> Float[Tensor, "k 3 sh sw"]:
        self._prepared.update(clip)
        frames = _made(self._rung, clip, times, list(stamps), self.tile.halo_px)
        broken = [k for k, frame in enumerate(frames) if not _is_finite(frame)]
        if not broken:
            return frames
        places = list(stamps)
        exact = self._in_float32()
        if exact is not None:
            rung = _Rung(exact, self.tile_px)
            frames[broken] = self._redone(rung, clip, times, [places[k] for k in broken])
            self.notes.count("frames redone in float32", len(broken))
            broken = [k for k in broken if not _is_finite(frames[k])]
        if broken:
            at_s = float(stamps[places[broken[0]]])
            raise ModelError(
                f"the model gave NaN or Inf in the frame at {at_s:.3f} s, in float32 too; use other weights"
                if exact is not None or _precision(self.fn) == "float32"
                else f"the model gave NaN or Inf in the frame at {at_s:.3f} s; run it in float32 or with other weights"
            )
        return frames

    def _redone(
        self, rung: _Rung, clip: Sequence[Picture], times: Sequence[Sequence[float]], keep: Sequence[int]
    ) -> Float[Tensor, "k 3 sh sw"]:
        """The same clip in float32, which takes more memory: by smaller tiles or on the CPU for this once."""
        fresh = [Picture(picture.pixels) for picture in clip]
        while True:
            try:
                return _made(rung, fresh, times, keep, self.tile.halo_px)
            except Exception as error:  # of torch, the engine, OpenCV: each has a kind of its own
                if not _is_out_of_memory(error):
                    raise
            for picture in fresh:
                picture.forget()
            rung, _ = self._below(rung, clip[0].size, len(clip) + sum(map(len, times)), halves=False)

    def _in_float32(self) -> ClipFunction | None:
        if self._exact is None and isinstance(self.fn, Movable) and self.fn.precision != "float32":
            self._exact = self.fn.at(precision="float32", device=str(self.fn.device))
        return self._exact

    def _descend(self, size: tuple[int, int], outputs: int) -> None:
        """Go down one rung, for good."""
        rung, said = self._below(self._rung, size, outputs, halves=True)
        self.notes.warn(f"out of memory: {said}")
        if rung.fn is not self.fn:
            self._exact = None
            for picture in self._prepared:
                picture.forget()
        self._rung = rung
        gc.collect()
        runtime.release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _below(self, rung: _Rung, size: tuple[int, int], outputs: int, *, halves: bool) -> tuple[_Rung, str]:
        """The rung below and what is said of it, for a clip that gives `outputs` frames."""
        side = min(rung.tile_px, max(size))
        if side // 2 >= smallest_size_px(self.tile.halo_px):
            return _Rung(rung.fn, side // 2), f"tiles made smaller, {side // 2} px"
        if isinstance(rung.fn, Movable):
            kind = rung.fn.device.type
            half = _half(kind)
            if halves and rung.fn.precision == "float32":
                moved = rung.fn.at(precision=half, device=str(rung.fn.device))
                return _Rung(moved, side), f"half precision ({half}) from here on"
            if kind != "cpu":
                keeps_half = halves and rung.fn.precision != "float32" and runtime.has_bfloat16("cpu")
                moved = rung.fn.at(precision="bfloat16" if keeps_half else "float32", device="cpu")
                budget = runtime.memory_available_bytes("cpu")
                tile_px = self._fitting(moved, size, math.ceil(outputs / 2), budget)
                return _Rung(moved, tile_px), f"on the CPU from here on, tiles of {tile_px} px"
        raise DeviceError(
            f"out of memory with a tile of {side} px, and one below {smallest_size_px(self.tile.halo_px)} px is nearly "
            "all halo; close other programs, or use a smaller model"
        )

    def _fitting(self, fn: ClipFunction, size: tuple[int, int], sources: int, budget_bytes: int) -> int:
        return fitting_size_px(
            size, sources, self.tile.halo_px, budget_bytes,
            bytes_per_pixel=_bytes_per_pixel(fn), working_bytes_per_pixel=_working_bytes_per_pixel(fn),
        )  # fmt: skip

    @staticmethod
    def _counted(sources: int, per_interval: int) -> int:
        """Source frames that a clip's memory is reckoned by; it was measured at two frames out for one in."""
        return max(sources, math.ceil((sources + (sources - 1) * (per_interval - 1)) / 2))


def _made(
    rung: _Rung, clip: Sequence[Picture], times: Sequence[Sequence[float]], keep: Sequence[int], halo_px: int
) -> Float[Tensor, "k 3 sh sw"]:
    fn = rung.fn
    states = Picture.states(clip, fn)
    nodes = fn.context(states, times)
    return by_tiles(
        lambda tile: run(fn, keep, states, times, nodes, tile),
        clip[0].size,
        scale=fn.scale,
        side_px=rung.tile_px,
        halo_px=halo_px,
        count=len(keep),
    )


def _moved(fn: ClipFunction, state: Mapping[str, Any]) -> ClipFunction:
    """The function in the precision and on the device of a runner's state."""
    if not isinstance(fn, Movable) or (fn.precision, str(fn.device)) == (state["precision"], state["device"]):
        return fn
    return fn.at(precision=state["precision"], device=state["device"])


def _half(kind: str) -> str:
    """The half precision of a kind of device; a CPU without instructions for bfloat16 is slow in it, but does it."""
    return "bfloat16" if kind == "cpu" or runtime.has_bfloat16(kind) else "float16"


def _device(fn: ClipFunction) -> torch.device:
    """A function that does not say works on the CPU."""
    return getattr(fn, "device", torch.device("cpu"))


def _precision(fn: ClipFunction) -> str | None:
    return fn.precision if isinstance(fn, Movable) else None


def _bytes_per_pixel(fn: ClipFunction) -> int:
    return getattr(fn, "bytes_per_pixel", BYTES_PER_PIXEL)


def _working_bytes_per_pixel(fn: ClipFunction) -> int:
    return fn.working_bytes_per_pixel if isinstance(fn, Selective) else 0


def _is_finite(frame: Float[Tensor, "3 h w"]) -> bool:
    """Without a copy where all is well: a sum of finite pixels is finite."""
    return bool(frame.sum().isfinite()) or bool(frame.isfinite().all())


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in said for sign in _SIGNS)


_SIGNS = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc",
          "alloc_failed", "could not create a memory", "insufficient memory")  # fmt: skip
"""What torch, CUDA, cuBLAS, oneDNN and OpenCV say when memory is short, in lower case."""
