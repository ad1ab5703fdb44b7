"""Which FFmpeg is at hand: its version, and what it can decode."""

import contextlib

import av
import av.codec

__all__ = ["can_decode", "ffmpeg_version"]


def ffmpeg_version() -> str:
    """FFmpeg's own version, such as 8.0.1, and PyAV's."""
    return f"FFmpeg {av.ffmpeg_version_info}, PyAV {av.__version__}"


def can_decode(codec: str) -> bool:
    """Whether a decoder of that name is built in."""
    with contextlib.suppress(av.codec.codec.UnknownCodecError):
        return not av.codec.Codec(codec, "r").is_encoder
    return False
