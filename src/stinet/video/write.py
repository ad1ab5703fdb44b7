"""Frames to a video file in one go: one segment beside its place, then everything else of the source joined to it.

Where a run may be interrupted, segments are kept and joined by the caller; this is the short way for those who write
one small film. What is promised of times, colours and other streams stands in `encode`, `mux` and `streams`.
"""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from stinet.config import EncodeConfig
from stinet.errors import OutputError
from stinet.video.codecs import CONTAINERS, choose_encoder
from stinet.video.encode import SegmentWriter
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.mux import Muxed, mux
from stinet.video.streams import FORMATS, plan_streams

__all__ = ["VIDEO_SUFFIXES", "Writer"]

VIDEO_SUFFIXES = {suffix: CONTAINERS[suffix].name for suffix in FORMATS}
"""Suffix -> FFmpeg's container."""


class Writer:
    """One video file being written; a context manager, and leaving it with an error leaves nothing behind.

    `size` is width, height; `time_base` the tick of which every frame time is a multiple; `source` the file whose
    other streams, metadata, colour and pixel shape are kept; `seconds` cuts its other streams. The file appears whole
    or not at all.

    Raises:
        UsageError: settings that do not go together.
        OutputError: an unknown suffix, a size beyond the encoder's limit, or a file that cannot be written.

    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        source: VideoInfo | None = None,
        encode: EncodeConfig = EncodeConfig(),  # noqa: B008
        seconds: Fraction | None = None,
        notes: Notes | None = None,
    ) -> None:
        self.path, self.source, self.seconds = path, source, seconds
        self.notes = Notes() if notes is None else notes
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise OutputError(
                f"{path}: unknown suffix {path.suffix!r}; known are {', '.join(VIDEO_SUFFIXES)}, "
                "or a name without suffix for a folder of PNG images"
            )
        self.choice = choose_encoder(
            encode, path, size=size, rate=rate, time_base=time_base, info=source, notes=self.notes
        )
        self.frames = 0
        self.muxed: Muxed | None = None
        """What became of the file; None: not finished."""
        self._end = Fraction(0)

    def __enter__(self) -> "Writer":
        self._coded = SegmentWriter(self.path.with_name(f".{self.path.name}.coded"), self.choice)
        return self

    def write(self, frame: Frame) -> None:
        """Encode one frame; times must rise.

        Raises:
            OutputError: the disk or the encoder refuses it.

        """
        shape, (width, height) = frame.rgb.shape, self.choice.size
        assert shape[:2] == (height, width), f"frame of {shape}, writer of {width}x{height}"
        self._coded.write(frame)
        self._end = frame.time + (frame.duration or 1 / self.choice.rate)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            stack.callback(self._coded.path.unlink, missing_ok=True)
            stack.callback(self._coded.discard)
            if kind is not None or not self.frames:
                return
            segment = self._coded.close()
            plan = () if self.source is None else plan_streams(self.source, self.path.suffix, seconds=self.seconds)
            self.muxed = mux(
                self.path,
                [segment],
                self.choice,
                info=self.source,
                plan=plan,
                end=self._end,
                seconds=self.seconds,
                notes=self.notes,
            )
