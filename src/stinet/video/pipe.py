"""A film that comes through standard input: y4m, or any stream that FFmpeg reads without going back in it.

It is opened once and read once. Its first picture, which tells size and colour, is kept for the frames.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from av.container import InputContainer
from av.video.frame import VideoFrame

from stinet.config import ReadConfig
from stinet.errors import InputError
from stinet.video.container import kind_of_text, open_stream
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.read import frames_of, note_facts, probe_opened

__all__ = ["PIPE", "Piped"]

PIPE = Path("-")
"""The path that means standard input or output."""

_HEAD_BYTES = 4_096


class Piped:
    """An open stream of film.

    Raises:
        InputError: nothing comes, it is text, or it is no stream that can be read.
        DecodeError: no frame in it can be decoded.

    """

    def __init__(self, stream: IO[bytes], config: ReadConfig | None = None) -> None:
        self.config = config or ReadConfig()
        if self.config.start:
            raise InputError("standard input: cannot begin at a later time; cut the stream before it is sent")
        buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(_Plain(stream))
        head = buffered.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        if not head:
            raise InputError("standard input: nothing came")
        if what := kind_of_text(head):
            raise InputError(f"standard input: {what}, not a video")
        self.container: InputContainer = open_stream(_Forward(buffered), "standard input")
        self.info: VideoInfo
        self.info, self._first, self._rest = probe_opened(self.container, PIPE, self.config)
        self._is_read = False

    def frames(self, notes: Notes, *, deep: bool = True) -> Iterator[Frame]:
        """Every frame, once.

        Raises:
            InputError: it has been read before.

        """
        if self._is_read:
            raise InputError("standard input: can be read only once")
        self._is_read = True
        note_facts(self.info, self.config, notes, deep=deep)
        with self.container:
            yield from frames_of(self._pictures(), self.info, self.config, notes, deep=deep)

    def _pictures(self) -> Iterator[VideoFrame]:
        yield self._first
        yield from self._rest


class _Forward:
    """A stream that offers nothing but reading on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        return self._stream.read(count)


class _Plain(io.RawIOBase):
    """Any readable thing as the raw stream that a buffer wants."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
