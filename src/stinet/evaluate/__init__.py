"""The papers' protocol: sharp clips -> low resolution -> a clip function, window by window -> figures.

`protocol` says how clips are shown, `measuring` shows and measures them, `scores` keeps and averages, `speed` takes the
papers' time, `session` is the whole of `stinet evaluate`, `files` and `pages` write what it found.
"""

from stinet.evaluate.measuring import Measures, Shown, benchmark
from stinet.evaluate.protocol import Protocol
from stinet.evaluate.scores import FrameScore, ModelReport, Report

__all__ = ["FrameScore", "Measures", "ModelReport", "Protocol", "Report", "Shown", "benchmark"]
