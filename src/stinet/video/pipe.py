"""A film that comes through standard input: y4m, or any stream that FFmpeg reads without going back in it.

It is opened once and read once. Its first picture, which tells size and colour, is kept for the frames.
"""

from collections.abc import Iterator

from av.container import InputContainer
from av.video.frame import VideoFrame

from stinet.config import PIPE, ReadConfig
from stinet.errors import InputError
from stinet.video.container import Readable, kind_of_text, open_stream
from stinet.video.frame import Frame, Notes, VideoInfo
from stinet.video.read import frames_of, note_facts, probe_opened

__all__ = ["Piped"]

_HEAD_BYTES = 4_096


class Piped:
    """An open stream of film.

    Raises:
        InputError: nothing comes, it is text, or it is no stream that can be read.
        DecodeError: no frame in it can be decoded.

    """

    def __init__(self, stream: Readable, config: ReadConfig | None = None) -> None:
        self.config = config or ReadConfig()
        if self.config.start:
            raise InputError("standard input: cannot begin at a later time; cut the stream before it is sent")
        head = _head_of(stream)
        if not head:
            raise InputError("standard input: nothing came")
        if what := kind_of_text(head):
            raise InputError(f"standard input: {what}, not a video")
        self.container: InputContainer = open_stream(_Forward(head, stream), "standard input")
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


def _head_of(stream: Readable) -> bytes:
    """The first bytes, as many as are looked at, or all there are."""
    head = b""
    while len(head) < _HEAD_BYTES and (more := stream.read(_HEAD_BYTES - len(head))):
        head += more
    return head


class _Forward:
    """A stream whose head was looked at, and that offers nothing but reading on."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head, self._stream = head, stream

    def read(self, count: int = -1, /) -> bytes:
        if not self._head:
            return self._stream.read(count)
        given = self._head if count < 0 else self._head[:count]
        self._head = self._head[len(given) :]
        return given
