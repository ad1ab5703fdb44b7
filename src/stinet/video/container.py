"""The only place where a file is opened to be read: as a plain local file, or not at all, and then with the reason.

Promises
- A path is a local file, whatever its name looks like: it is opened as `file:<absolute path>`, by the file protocol
  only, and by no demuxer that would open other files (playlists, manifests, numbered images).
- What a file is, is told by its first bytes and never by its name. Text, pictures and playlists are refused before
  FFmpeg sees them.
- A file that cannot be opened, or of which nothing can be decoded, is looked at once more for the reason: an index
  that is missing, encryption, a decoder that this build lacks.

This file decodes nothing and knows no times.
"""

import contextlib
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av
from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream

from stinet.errors import InputError
from stinet.video.frame import StreamInfo

__all__ = [
    "Readable",
    "film_stream",
    "first_bytes",
    "is_cover",
    "is_encrypted",
    "kind_of_text",
    "open_file",
    "open_stream",
    "reads_by",
    "refuse_what_is_no_film",
    "stream_info",
]

_HEAD_BYTES = 4_096
"""What is looked at to tell text from media."""

_SEARCH_BYTES = 1 << 20
"""What is looked at for marks of encryption."""

_FOLLOWERS = frozenset(
    {
        "alsa", "concat", "dash", "fbdev", "hls", "image2", "image2pipe", "imf", "ivr", "kmsgrab", "lavfi", "oss",
        "rtp", "rtsp", "sap", "sdp", "tty", "video4linux2,v4l2", "webm_dash_manifest",
    }
)  # fmt: skip
"""Demuxers that open other files, devices or connections, or take text for a film."""

_PLAYLISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"<?xml", b"<smil", b"<asx", b"v=0\r\n", b"v=0\n", b"rtsptext")


def open_file(path: Path, options: Mapping[str, str] | None = None) -> InputContainer:
    """Open a local file for reading, its pictures or its packets.

    Raises:
        InputError: missing, empty, a folder, or no media file: says what it is.

    """
    refuse_what_is_no_film(path)
    asked = {"protocol_whitelist": "file", "format_whitelist": _demuxers(), **(options or {})}
    try:
        return av.open(f"file:{path.resolve()}", options=asked, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(path, error)}") from error


@runtime_checkable
class Readable(Protocol):
    """Something that gives its next bytes."""

    def read(self, count: int = -1, /) -> bytes:
        """At most so many; none at the end."""
        ...


def open_stream(stream: Readable, name: str) -> InputContainer:
    """Open what comes through a pipe. It can be read once, from its start.

    Raises:
        InputError: as `open_file`.

    """
    asked = {"protocol_whitelist": "pipe", "format_whitelist": _demuxers()}
    try:
        return av.open(stream, mode="r", options=asked, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name}: no stream that FFmpeg knows without going back in it; send y4m") from error


@cache
def _demuxers() -> str:
    return ",".join(sorted(av.formats_available - _FOLLOWERS))


def first_bytes(path: Path, count: int = _HEAD_BYTES) -> bytes:
    """The head of a file.

    Raises:
        InputError: it cannot be read.

    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def refuse_what_is_no_film(path: Path) -> None:
    """Errors that need no decoder: they come at once, and no playlist is ever followed.

    Raises:
        InputError: missing, empty, a folder, no plain file, text, or a playlist.

    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a video file")
    if not path.is_file():
        raise InputError(f"{path}: no plain file; send a stream through standard input (-) instead")
    head = first_bytes(path)
    if not head:
        raise InputError(f"{path}: the file is empty")
    if what := kind_of_text(head):
        raise InputError(f"{path}: {what}, not a video")


def kind_of_text(head: bytes) -> str | None:
    """What a file that begins so is, if it is text or a playlist."""
    if head.startswith((b"YUV4MPEG2", b"GIF8")):
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_PLAYLISTS):
        return "a playlist or manifest"
    if head.startswith(b"%PDF"):
        return "a PDF document"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive (unpack it first)"
    if not _is_text(head):
        return None
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page (a download that failed?)"
    return "a text file"


def _is_text(head: bytes) -> bool:
    is_cut = len(head) >= _HEAD_BYTES
    try:
        text = head[:-3].decode("utf-8", errors="ignore") if is_cut else head.decode("utf-8")
    except UnicodeDecodeError:
        return False
    is_binary = any(ord(sign) < 32 and sign not in "\t\n\r\f\x1b" for sign in text)
    return not is_binary and len(text.encode()) >= 0.98 * len(head)


def film_stream(container: InputContainer, path: Path, index: int | None = None) -> VideoStream:
    """The video stream to read: the one of this index in the file, or the first that is no cover picture.

    Raises:
        InputError: there is none, it is encrypted, or this build of FFmpeg cannot decode it.

    """
    films = [s for s in container.streams.video if not is_cover(s)]
    if index is not None:
        films = [s for s in container.streams.video if s.index == index]
        if not films:
            known = ", ".join(str(s.index) for s in container.streams.video) or "none"
            raise InputError(f"{path}: stream {index} is no video stream; video streams are: {known}")
    if not films:
        found = ", ".join(sorted({"cover" if is_cover(s) else s.type for s in container.streams})) or "nothing"
        raise InputError(f"{path}: no video stream; it has: {found}")
    return _decodable(films[0], path)


def _decodable(stream: VideoStream, path: Path) -> VideoStream:
    if stream.codec_context is None:
        if is_encrypted(path):
            raise InputError(f"{path}: {_ENCRYPTED}")
        raise InputError(
            f"{path}: this build of FFmpeg has no decoder for its video; convert it to H.264 or FFV1 first"
        )
    with contextlib.suppress(AttributeError, ValueError, TypeError):
        if stream.codec_tag in ("encv", "drmi"):
            raise InputError(f"{path}: {_ENCRYPTED}")
    return stream


_ENCRYPTED = "the video is encrypted (DRM); only unprotected files can be read"


def is_cover(stream: Any) -> bool:
    """Whether the stream is a still picture that belongs to the whole file."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def stream_info(stream: Any) -> StreamInfo:
    """What a stream is."""
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    return StreamInfo(
        index=stream.index,
        kind="cover" if is_cover(stream) else stream.type,
        codec=codec,
        language=(stream.metadata.get("language") or "").replace("und", ""),
    )


def reads_by(stream: VideoStream) -> str:
    """Name of the decoder."""
    return stream.codec_context.name


def is_encrypted(path: Path) -> bool:
    """Whether the file bears a mark of encryption: asked only of files of which nothing can be decoded."""
    head = first_bytes(path, _SEARCH_BYTES)
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # Matroska: ContentEncryption in ContentEncoding in ContentEncodings
        return _in_order(head, b"\x6d\x80", b"\x62\x40", b"\x50\x35")
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):  # ASF: the Content Encryption Object
        return b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11" in head
    if head[4:8] in (b"ftyp", b"moov"):
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _SEARCH_BYTES, 0))
            tail = file.read()
        return any(mark in part for mark in (b"encv", b"drmi") for part in (head, tail))
    scrambled = [head[k + 3] & 0xC0 for k in range(0, len(head) - 188, 188) if head[k] == 0x47]
    return head[:1] == b"\x47" and len(scrambled) > 4 and sum(map(bool, scrambled)) > len(scrambled) // 2


def _in_order(data: bytes, *marks: bytes) -> bool:
    """Whether the marks follow each other closely."""
    place = data.find(marks[0])
    while place >= 0:
        near, at = data[place : place + 64], 0
        for mark in marks:
            at = near.find(mark, at) + 1
            if not at:
                break
        else:
            return True
        place = data.find(marks[0], place + 1)
    return False


def _reason(path: Path, error: Exception) -> str:
    """Why a file that is no text cannot be opened."""
    boxes = _mp4_boxes(path)
    if b"ftyp" in boxes and b"moov" not in boxes:
        return "its index (moov) is missing: the file is not complete; copy or record it again"
    if isinstance(error, DecoderNotFoundError):
        return "this build of FFmpeg has no decoder for it"
    if isinstance(error, InvalidDataError):
        return "no media file that FFmpeg knows, or damaged at its start"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error})"


def _mp4_boxes(path: Path) -> list[bytes]:
    """Names of the top-level boxes, as far as they can be followed."""
    names: list[bytes] = []
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size_of_file and len(names) < 64:
            file.seek(place)
            size, name = struct.unpack(">I4s", file.read(8))
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            names.append(name)
            if size < 8:
                break
            place += size
    return names
