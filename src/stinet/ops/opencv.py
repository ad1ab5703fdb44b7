"""OpenCV: whether it is there, and how many cores it takes."""

import functools

__all__ = ["has_opencv", "opencv_version", "share_opencv"]


@functools.cache
def opencv_version() -> str | None:
    """None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2.__version__


def has_opencv(major: int = 0) -> bool:
    """Whether it is installed, in that major version or a later one."""
    version = opencv_version()
    return version is not None and int(version.split(".")[0]) >= major


def share_opencv(threads: int) -> None:
    """Let it use so many threads, if it is there: else it takes all cores, whatever was asked for."""
    if not has_opencv():
        return
    import cv2

    if cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)
