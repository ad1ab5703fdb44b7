"""Kill an upscaling process again and again, let it finish, and compare its file with that of a run left alone.

A run is killed by SIGKILL, which no process can hear. The moments are drawn from a seed:

    start    while Python and torch are being loaded, or the source is opened
    work     some time after one or two more segments are in the journal
    again    after work has begun and before another segment is done, so that one segment is killed twice
    end      while the final file is being written or moved

A run that was faster than its killer is counted, its file removed, and the work begun anew.
"""

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from films import film, pictures

__all__ = ["Job", "Kill", "clip", "kill_again", "moments"]

_RUN = """
import sys
from stinet import runtime
runtime.prepare_threads()
from stinet.config import EncodeConfig, UpscaleConfig
from stinet.face import upscale_video
source, output, model, segment = sys.argv[1:]
config = UpscaleConfig(segment=int(segment), encode=EncodeConfig(preset="ultrafast"))
print(upscale_video(source, output, model=model, device="cpu", config=config).line())
"""

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Kill:
    """One kill."""

    moment: str
    after_s: float
    """Since the process began."""
    segments: int
    """Finished ones in the journal when it died."""


@dataclass(frozen=True)
class Job:
    """What is run again and again."""

    source: Path
    output: Path
    model: str = "blend+bicubic"
    segment: int = 8
    """Source frames."""

    def start(self) -> subprocess.Popen[bytes]:
        """The process, about to begin."""
        words = [str(self.source), str(self.output), self.model, str(self.segment)]
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )  # fmt: skip

    def finish(self) -> str:
        """Run to the end; gives the SHA-256 of the file.

        Raises:
            RuntimeError: the run fails.

        """
        process = self.start()
        _, said = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            raise RuntimeError(f"the run ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")
        return hashlib.sha256(self.output.read_bytes()).hexdigest()

    @property
    def journal(self) -> Path:
        """The folder beside the output."""
        return self.output.with_name(f"{self.output.name}.stinet")

    def segments(self) -> int:
        """Finished segments that the journal holds."""
        try:
            lines = (self.journal / "journal.jsonl").read_bytes().splitlines(keepends=True)
        except OSError:
            return 0
        return sum(line.endswith(b"\n") and "segment" in json.loads(line) for line in lines[1:])

    def is_working(self, since: float = 0) -> bool:
        """Pictures of an unfinished segment are on the disk, written after `since` (a killed run leaves some)."""
        return _any_after(since, (self.journal / "segments").glob("*.part"))

    def is_ending(self, since: float = 0) -> bool:
        """The final file is being written."""
        return _any_after(since, self.journal.glob("*result*"))


def _any_after(since: float, paths: Iterable[Path]) -> bool:
    for path in paths:
        with suppress(FileNotFoundError):  # moved since it was listed
            if path.stat().st_mtime >= since:
                return True
    return False


def clip(path: Path, frames: int, width: int = 48, height: int = 32) -> Path:
    """A film with sound, every frame of it different."""
    return film(path, pictures(frames, width, height), rate=Fraction(25), sound_s=frames / 25)


def moments(count: int, seed: int) -> list[str]:
    """Kinds of kills in the order in which they can happen: the end comes last."""
    draw = random.Random(seed)
    ends, starts = max(count // 8, 1), max(count // 8, 1)
    pairs = max(count // 6, 0)
    middle = ["start"] * starts + ["work"] * (count - ends - starts - pairs)
    draw.shuffle(middle)
    for _ in range(pairs):  # each "again" follows a kill at work, in the same segment
        places = [k for k, kind in enumerate(middle) if kind == "work" and middle[k + 1 : k + 2] != ["again"]]
        middle.insert(draw.choice(places) + 1, "again")
    return middle + ["end"] * ends


def kill_again(job: Job, kinds: list[str], seed: int) -> Iterator[Kill]:
    """Kill the job once for every kind; afterwards `job.finish()` completes it."""
    draw = random.Random(seed)
    for kind in kinds:
        while True:
            kill = _kill(job, kind, draw)
            if kill is not None:
                break
            job.output.unlink()
        yield kill


def _kill(job: Job, kind: str, draw: random.Random) -> Kill | None:
    """Start the job, wait for the moment, kill. None: it had finished before."""
    began, since, before = time.monotonic(), time.time(), job.segments()
    further, delay_s = before + draw.choice((1, 2)), draw.uniform(0, 0.15)
    process = job.start()
    if kind == "start":
        time.sleep(draw.uniform(0.05, 2.0))
    else:
        is_due = {
            "work": lambda: job.segments() >= further or job.is_ending(since),
            "again": lambda: job.is_working(since),
            "end": lambda: job.is_ending(since),
        }[kind]
        while not is_due() and process.poll() is None:
            if time.monotonic() - began > PATIENCE_S:
                process.kill()
                raise RuntimeError(f"the run came to no {kind} in {PATIENCE_S:.0f} s")
            time.sleep(0.001)
        if kind == "work":
            time.sleep(delay_s)
    process.kill()
    _, said = process.communicate()
    if process.returncode == 0:
        return None
    if process.returncode > 0:
        raise RuntimeError(f"the run ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")
    return Kill(kind, time.monotonic() - began, job.segments())
