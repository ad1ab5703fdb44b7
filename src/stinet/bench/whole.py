"""The whole command on a generated film, in a process of its own: start, decode, network, encode, file in its place.

    overhead = seconds of the process / seconds inside the clip function - 1
    idle     = share of the time from the network's first call to its last in which it was not called

Both sides of either ratio are of the same process, so that a busy machine does not blur them. By the clock, decoder
and encoder cost nothing while they have a core of their own; in seconds of the processor every thread counts. Those
are told of one thread only: they are taken in the thread that calls the network.

The process is the command without its printing: it prepares threads, builds the clip function and hands it to the
driver, as `face.upscale_video` does. Peak memory is the process's own.

`python -m stinet.bench.whole JSON` is that process; torch is loaded there after its threads are set.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stinet import runtime
from stinet.errors import StinetError

if TYPE_CHECKING:
    from stinet.bench.subjects import Subject

__all__ = ["WholeRun", "main", "run_whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRun:
    """One run of the command."""

    seconds: float
    """From the start of the process to its end."""
    first_frame_s: float
    """Until the first frame was handed to the encoder."""
    model_s: float
    """Inside the clip function."""
    span_s: float
    """From its first call to the end of its last."""
    cpu_s: float
    """Of the processor, all threads of the process."""
    model_cpu_s: float
    """Of them inside the clip function, in the thread that calls it."""
    first_frame_cpu_s: float
    """Of them until the first frame was handed to the encoder."""
    frames_in: int
    frames_out: int
    peak_memory_bytes: int

    @property
    def overhead(self) -> float:
        """What the command adds to the model's own time."""
        return self.seconds / self.model_s - 1

    @property
    def idle(self) -> float:
        """Share of its span in which the network was not at work."""
        return 1 - self.model_s / self.span_s

    @property
    def cpu_overhead(self) -> float:
        """What the command adds to the model's own seconds of the processor, where the model has one thread."""
        return self.cpu_s / self.model_cpu_s - 1


def run_whole(subject: "Subject", film: Path, output: Path) -> WholeRun:
    """Upscale `film` in a process of its own.

    Raises:
        StinetError: the process failed; its last line is the message.

    """
    wish = {"subject": asdict(subject), "film": str(film), "output": str(output), "began": time.time()}
    begin = time.perf_counter()
    done = subprocess.run(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-m", "stinet.bench.whole", json.dumps(wish)], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StinetError(f"{subject}: the whole command ended with {done.returncode}: {last}")
    return WholeRun(seconds=seconds, **json.loads(done.stdout.splitlines()[-1]))


def main(argument: str) -> None:
    """Be the process: do one run and print its figures."""
    wish = json.loads(argument)
    runtime.prepare_process()
    runtime.fix_threads(wish["subject"]["threads"])
    print(json.dumps(_measured(wish)))


def _measured(wish: dict[str, Any]) -> dict[str, Any]:
    from stinet.bench.recorder import Recorder
    from stinet.bench.subjects import Subject, build
    from stinet.config import UpscaleConfig
    from stinet.upscale import upscale_video

    fn = Recorder(build(Subject(**wish["subject"])))
    first: list[tuple[float, float]] = []

    def hear(_: object) -> None:
        if not first:
            first.append((time.time(), time.process_time()))

    config = UpscaleConfig(overwrite=True, restart=True)
    summary = upscale_video(wish["film"], wish["output"], fn=fn, config=config, progress=hear)
    return {
        "first_frame_s": first[0][0] - wish["began"],
        "model_s": fn.spent.seconds,
        "span_s": fn.last - (fn.first or 0.0),
        "cpu_s": time.process_time(),
        "model_cpu_s": fn.spent.caller_cpu_s,
        "first_frame_cpu_s": first[0][1],
        "frames_in": summary.frames_in,
        "frames_out": summary.frames_out,
        "peak_memory_bytes": summary.peak_memory_bytes,
    }


if __name__ == "__main__":
    with runtime.ended_at_once():
        main(sys.argv[1])
