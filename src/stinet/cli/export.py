"""`stinet export`: a network as a file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from stinet.cli.printing import must_be_writable, say
from stinet.errors import DeviceError, ModelError, OutputError, UsageError

__all__ = ["export"]

_SUFFIXES = {".onnx": "onnx", ".xml": "openvino"}


def export(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="see `stinet models`")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="FILE.onnx, or FILE.xml with FILE.bin")],
    kind: Annotated[str, typer.Option("--format", metavar="onnx|openvino", help="default: by the name of --out")] = "",
    frames: Annotated[int, typer.Option(metavar="T", min=1, help="source frames that the graph takes")] = 4,
    times: Annotated[
        str, typer.Option(metavar="TAU,..|none", help="frames between two source frames, at 0 < TAU < 1")
    ] = "0.5",
    flow: Annotated[
        str, typer.Option(metavar="input|inside", help="optical flow is given to the graph, or computed in it")
    ] = "input",
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="replace existing files")] = False,
) -> None:
    """Write a network as ONNX or OpenVINO, to be run without Python.

    Frame sizes are free; the number of frames and their times are fixed in the file. docs/export.md says what goes
    in and comes out.
    """
    of_name = _SUFFIXES.get(out.suffix.lower())
    kind = kind or of_name or ""
    if not kind:
        raise UsageError(f"{out}: name it .onnx or .xml, or say --format")
    if kind not in _SUFFIXES.values():
        raise UsageError(f"--format {kind!r} is unknown: choose from {', '.join(_SUFFIXES.values())}")
    if of_name != kind:
        ending = next(suffix for suffix, name in _SUFFIXES.items() if name == kind)
        raise UsageError(f"{out}: a file of format {kind} is named {ending}")
    if flow not in ("input", "inside"):
        raise UsageError(f"--flow {flow!r} is unknown: choose from input, inside")
    taus = _times(times)
    for file in (out, out.with_suffix(".bin")) if kind == "openvino" else (out,):
        if file.exists() and not overwrite:
            raise OutputError(f"{file}: exists already; overwrite it with -y, or choose another file")
        must_be_writable(file)

    from stinet.catalogue import TRAININGS, network
    from stinet.model.timeline import Timeline
    from stinet.peers.pairs import PEERS

    line = Timeline.of(frames, taus)
    if model in PEERS:
        raise ModelError(f"{model} is no network: there is nothing to export")
    net = network(model)
    try:
        from stinet.engines.export import export as run
    except ImportError as error:
        raise DeviceError("openvino is not installed: run pip install 'stinet[onnx]'") from error
    licence = "Apache-2.0" if model in TRAININGS else "that of the weights, which their file does not state"
    about = {"name": Path(model).stem, "kind": kind, "licence": licence}
    made = run(net, line, out, **about, flow_inside=flow == "inside")
    size = sum(file.stat().st_size for file in made.files)
    say(
        f"{' and '.join(map(str, made.files))}: {size / 1e6:.1f} MB, {made.operations} operations, "
        f"{line.sources} frames to {len(line.order)}"
    )
    if flow == "inside" and line.sources > 1 and net.config.flow_by != "farneback":
        say("the flow inside is Farneback's, not the one of these weights: where things move fast, give flows instead")


def _times(text: str) -> tuple[float, ...]:
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"--times {text!r} are no numbers: give 0.5, or 0.25,0.5,0.75, or none") from None
