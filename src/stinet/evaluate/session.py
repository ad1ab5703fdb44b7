"""`stinet evaluate` from clips and names to a report: find, measure, time, and write what was asked for.

Where a clip fails, the figures of those before it are written beside the files asked for, as NAME.incomplete.json and
.csv: nobody takes them for the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stinet import runtime
from stinet.catalogue import clip_function, weights_file
from stinet.config import EvaluateConfig
from stinet.data.benchmarks import all_clips
from stinet.errors import StinetError
from stinet.evaluate.files import write_csv, write_json
from stinet.evaluate.measuring import Measures, benchmark
from stinet.evaluate.pages import Album, write_report
from stinet.evaluate.protocol import Protocol
from stinet.evaluate.provenance import provenance, sha256
from stinet.evaluate.scores import Report
from stinet.evaluate.speed import papers_speed
from stinet.metrics.lpips import read_lpips
from stinet.peers.pairs import PEERS

__all__ = ["Outputs", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files to write; None: not that one."""

    json: Path | None = None
    csv: Path | None = None
    html: Path | None = None


def evaluate(
    folders: Sequence[Path],
    models: Sequence[str],
    config: EvaluateConfig,
    *,
    device: str = "auto",
    outputs: Outputs = Outputs(),
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Measure models, by their names or files, on the clips of folders; `progress` hears of hundredths done.

    Raises:
        StinetError: what `all_clips`, `clip_function`, `read_lpips` and `benchmark` refuse.

    """
    measures = _measures(config)
    clips = all_clips(folders)
    functions = {name: clip_function(name, device=device) for name in models}
    files = _digests(models, config)
    torch.manual_seed(config.seed)
    runtime.use_fastest_threads()
    whole = len(clips) * len(functions)
    done, shares = 0.0, dict.fromkeys(functions, 0.0)

    def hear(_: str, name: str, share: float) -> None:
        nonlocal done
        done += share - shares[name]
        shares[name] = share if share < 1 else 0.0
        progress(round(100 * done / whole), 100)

    album = Album()
    watch = album if outputs.html else None
    kept: list[Path] = []

    def rescue(part: Report) -> None:
        kept.extend(_keep(replace(part, run=provenance(runtime.device(device), config.seed, files)), outputs))

    try:
        report = benchmark(clips, functions, Protocol.of(config), hear, measures=measures, watch=watch, rescue=rescue)
    except StinetError as error:
        if kept:
            raise type(error)(f"{error}; what was measured before is in {' and '.join(map(str, kept))}") from error
        raise
    for name, function in functions.items():
        if config.forwards:
            report.models[name].speed = papers_speed(function, config.forwards)
    report = replace(report, run=provenance(runtime.device(device), config.seed, files))
    if outputs.json:
        write_json(report, outputs.json)
    if outputs.csv:
        write_csv(report, outputs.csv)
    if outputs.html:
        title = f"{', '.join(models)} on {', '.join(folder.resolve().name for folder in folders)}"
        write_report(report, album, title, outputs.html)
    return report


def _keep(part: Report, outputs: Outputs) -> Iterator[Path]:
    """Write a report that lacks clips, under names that say so."""
    for write, path in ((write_json, outputs.json), (write_csv, outputs.csv)):
        if path is not None:
            beside = path.with_name(f"{path.stem}.incomplete{path.suffix}")
            with suppress(OSError):  # the error that brought us here is the one to tell
                write(part, beside)
                yield beside


def _measures(config: EvaluateConfig) -> Measures:
    names = config.measures
    if config.lpips_net is None or config.lpips_heads is None:
        return Measures(names)
    return Measures((*names, "lpips"), read_lpips(config.lpips_net, config.lpips_heads))


def _digests(models: Sequence[str], config: EvaluateConfig) -> dict[str, str]:
    """SHA-256 of every file of weights that is measured, or measures."""
    files = {name: weights_file(name) for name in models if name not in PEERS}
    if config.lpips_net is not None and config.lpips_heads is not None:
        files |= {"LPIPS net": config.lpips_net, "LPIPS heads": config.lpips_heads}
    return {name: sha256(file) for name, file in files.items()}
