"""Damaged files by the hundred: how they are made, and what `stinet upscale` does with each.

A mutation is drawn from a seed alone: bits flipped anywhere or in the headers, a field of a header set to an extreme
value, the file cut off, two blocks swapped or one lost, and (written anew by FFmpeg, so that the container is whole)
packets swapped, emptied or doubled. Every file goes through the command line in a worker process that is killed after
`LIMIT_S`. Beside it another worker decodes the same file by PyAV alone: a frame that this one shows and the result
lacks is a lost frame.

    ok        0, and nothing to warn of
    repaired  0, and the report says what was wrong
    refused   3 or 4 or 6, in one line, nothing left behind, and PyAV shows no frame either
    FFmpeg    the plain decode crashes or hangs as well
    lost      fewer frames than PyAV shows, or a refusal although it shows some
    bug       a traceback or an exit code that says nothing
    crash     the process died by a signal
    hang      not done after LIMIT_S
"""

import contextlib
import io
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from bad_files import CODECS, ordinary

__all__ = ["BAD", "LIMIT_S", "Fate", "Worker", "films", "fuzz", "mutate"]

LIMIT_S = 20.0
"""A file that takes longer counts as a hang."""

BAD = ("lost", "bug", "crash", "hang")
"""Fates that no file may have."""

MEMORY_BYTES = 12 << 30
"""Address space of a worker: a header may ask for more than the machine has."""

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Fate:
    """What became of one damaged file."""

    name: str
    mutation: str
    kind: str
    code: int | None
    """Exit code of the command; None: it gave none."""
    said: str
    """The error line, or the warnings."""
    frames_shown: int
    """Frames that PyAV decodes."""
    frames_out: int
    seconds: float


def films(folder: Path) -> list[Path]:
    """The six ordinary films, one for each container."""
    return [ordinary(folder / f"film.{suffix}", count=12, width=48, height=32) for suffix in CODECS]


def mutate(source: Path, target: Path, seed: int) -> str:
    """Write a damaged copy; gives what was done. The same seed does the same."""
    draw = random.Random(seed)
    kinds = (_flip, _flip_header, _set_field, _truncate, _swap_blocks, _lose_block)
    number = seed % (len(kinds) + 1)
    if number == len(kinds):
        return _change_packets(source, target, draw)
    data = bytearray(source.read_bytes())
    what = kinds[number](data, draw)
    target.write_bytes(data)
    return what


def _flip(data: bytearray, draw: random.Random) -> str:
    count = draw.choice((1, 8, 64))
    for _ in range(count):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return f"{count} bits flipped"


def _header(data: bytearray, draw: random.Random) -> tuple[int, int]:
    """Where a header stands: the first bytes, or an MP4's index."""
    index = data.find(b"moov")
    return (index, len(data)) if index > 0 and draw.random() < 0.8 else (0, min(1024, len(data)))


def _flip_header(data: bytearray, draw: random.Random) -> str:
    first, end = _header(data, draw)
    count = draw.choice((1, 4, 16))
    for _ in range(count):
        data[draw.randrange(first, end)] ^= 1 << draw.randrange(8)
    return f"{count} bits of a header flipped"


def _set_field(data: bytearray, draw: random.Random) -> str:
    first, end = _header(data, draw)
    size, value = draw.choice((1, 2, 4)), draw.choice(EXTREMES)
    place = draw.randrange(first, end - size)
    data[place : place + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, draw.choice(("big", "little")))
    return f"{size} bytes of a header set to {value:#x}"


def _truncate(data: bytearray, draw: random.Random) -> str:
    share = draw.uniform(0.02, 0.98)
    del data[int(len(data) * share) :]
    return f"cut off at {share:.0%}"


def _swap_blocks(data: bytearray, draw: random.Random) -> str:
    size = draw.choice((16, 188, 1024))
    a, b = sorted(draw.sample(range(0, len(data) - 2 * size, size), 2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return f"two blocks of {size} bytes swapped"


def _lose_block(data: bytearray, draw: random.Random) -> str:
    size = draw.choice((1, 188, 1024))
    place = draw.randrange(len(data) - size)
    if draw.random() < 0.5:
        data[place : place + size] = bytes(size)
        return f"{size} bytes set to zero"
    del data[place : place + size]
    return f"{size} bytes lost"


def _change_packets(source: Path, target: Path, draw: random.Random) -> str:
    """The same streams with the contents of video packets exchanged, emptied or doubled."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        packets = [packet for packet in given.demux() if packet.size]
        pictures = [k for k, packet in enumerate(packets) if packet.stream.type == "video"]
        contents = [bytes(packet) for packet in packets]
        a, b = draw.sample(pictures, 2)
        what = draw.choice(("swapped", "cut short", "doubled"))
        if what == "swapped":
            contents[a], contents[b] = contents[b], contents[a]
        elif what == "cut short":
            contents[a] = contents[a][: len(contents[a]) // 2]
            contents[b] = contents[b][:1]
        else:
            contents[a] *= 2
        for packet, content in zip(packets, contents, strict=True):
            made = av.Packet(content)
            made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration or 0
            made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
            made.stream = streams[packet.stream.index]
            out.mux(made)
    return f"packets {what}"


def fuzz(folder: Path, numbers: Sequence[int], limit_s: float = LIMIT_S) -> Iterator[Fate]:
    """Damage a film for every number, upscale it, and tell its fate."""
    given = films(folder)
    with Worker("stinet", limit_s) as command, Worker("plain", limit_s) as plain:
        whole = {path.suffix: _upscale(path, command)[1] for path in given}
        for number in numbers:
            source = given[number % len(given)]
            target = folder / f"damaged_{number:03d}{source.suffix}"
            mutation = mutate(source, target, number)
            yield _fate(target, mutation, command, plain, known=_warnings(whole[source.suffix]))
            target.unlink()


def _upscale(path: Path, command: "Worker") -> tuple[dict[str, Any], str]:
    """What the command line answers for one file, and all that it printed."""
    output = path.with_name("out.mkv")
    answer = command.ask(["upscale", path, "-o", output, "--model", "blend+bicubic", "--preset", "ultrafast", "-y"])
    return answer, str(answer.get("said", ""))


def _fate(path: Path, mutation: str, command: "Worker", plain: "Worker", known: set[str]) -> Fate:
    """Upscale one file; `known` are the warnings that the undamaged film gives, too."""
    output = path.with_name("out.mkv")
    output.unlink(missing_ok=True)
    before = set(path.parent.iterdir())
    began = time.monotonic()
    answer, said = _upscale(path, command)
    seconds = time.monotonic() - began
    shown = plain.ask([path])
    made = plain.ask([output]) if output.exists() else {"frames": 0}
    output.unlink(missing_ok=True)
    left = set(path.parent.iterdir()) - before
    code, warned = answer.get("code"), _warnings(said) - known
    frames_shown, frames_out = int(shown.get("frames", 0)), int(made.get("frames", 0))
    if "ended" in answer:
        kind = "FFmpeg" if "ended" in shown else str(answer["ended"])
    elif code not in (0, 3, 4, 6) or "Traceback" in said:
        kind = "bug"
    elif left:
        kind, said = "bug", f"left behind: {', '.join(sorted(p.name for p in left))}"
    elif code:
        kind = "lost" if frames_shown else "refused"
    elif frames_out < 2 * frames_shown - 1:
        kind = "lost"
    else:
        kind = "repaired" if warned else "ok"
    for rest in left:
        if rest.is_dir():
            shutil.rmtree(rest)
        else:
            rest.unlink()
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    told = "; ".join(sorted(warned)) if code == 0 else (lines[-1] if lines else "")
    return Fate(path.name, mutation, kind, code, told, frames_shown, frames_out, seconds)


def _warnings(said: str) -> set[str]:
    """Those of a report."""
    lines = [" ".join(line.split()) for line in said.splitlines()]
    return {line.removeprefix("warning ") for line in lines if line.startswith("warning ")}


class Worker:
    """A process that does one thing after the other for us, and is started anew when it dies or hangs."""

    def __init__(self, kind: str, limit_s: float) -> None:
        self.kind, self.limit_s = kind, limit_s
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def ask(self, words: Sequence[object]) -> dict[str, Any]:
        """What the worker answers, or {"ended": "crash" | "hang", "said": ...}."""
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([str(word) for word in words]).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.limit_s)
        if not ready:
            self._end()
            return {"ended": "hang", "said": f"not done after {self.limit_s:.0f} s"}
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            name = signal.Signals(-code).name if code < 0 else f"exit {code}"
            return {"ended": "crash", "said": f"the process died: {name}"}
        return json.loads(line)

    def _start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.ask_ready()
        return self.process

    def ask_ready(self) -> None:
        """Wait for the imports, which count for no file."""
        assert self.process is not None
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the {self.kind} worker did not start")

    def _end(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process = None


def _serve(kind: str) -> None:
    """Answer questions on stdin, one line each, by one line of JSON on what was stdout."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answer = _run_command if kind == "stinet" else _count_frames
    if kind == "stinet":
        import torch  # now, so that its time counts for no file

        torch.set_num_threads(1)
    print("ready", file=out)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out)


def _run_command(words: list[str]) -> dict[str, Any]:
    """Exit code and all that was printed."""
    import traceback

    from stinet.__main__ import main

    said = io.StringIO()
    sys.argv = ["stinet", *words]
    code: Any = 1
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            said.write(traceback.format_exc())
    return {"code": code, "said": said.getvalue()[-4000:]}


def _count_frames(words: list[str]) -> dict[str, Any]:
    """Frames of the film that PyAV decodes; 0 where it opens nothing."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    frames = 0
    try:
        with av.open(f"file:{words[0]}", metadata_errors="replace") as file:
            track = next(s for s in file.streams.video if s.disposition & Disposition.attached_pic == 0)
            for packet in file.demux(track):
                try:
                    frames += len(packet.decode())
                except EndOfFile:
                    break
                except (FFmpegError, ValueError):
                    continue
    except (FFmpegError, OSError, ValueError, StopIteration, AttributeError) as error:
        return {"frames": frames, "said": str(error)}
    return {"frames": frames}


if __name__ == "__main__":
    _serve(sys.argv[1])
