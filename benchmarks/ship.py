"""Ship the averaged weights of a training run, if they measure better than the shipped ones.

    python benchmarks/ship.py runs/stinet-s/latest.safetensors stinet-s --clips vid4=DIR heldout=DIR --device "2 cores"

Both are measured by `stinet evaluate`'s protocol on every set of clips; the first set decides. A training for real
footage (stinet-s-real) is measured on degraded clips, too, beside the preset's plain weights: the first set decides
under moderate degradation. The weights go to src/stinet/weights/NAME.safetensors in half size with the figures in
their header, the card to NAME.md beside them.
Ranges for int8 fit no other weights: those that a rounded stage was trained by lie beside the weights and are taken;
for others `--corpus DIR` finds new ones (calibrate.py); without it the old ones are removed.
`--force` replaces in any case (another network). The run's state lies beside its weights; it is kept as
state/NAME.safetensors, averages and moments in half size, so that the next run can start from it.
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from calibrate import calibrate

from stinet.catalogue import TRAININGS, clip_function
from stinet.checkpoint import as_half, load_model, load_tensors, read_header, save_model, save_tensors
from stinet.data.benchmarks import find_clips
from stinet.data.degrade import STRENGTHS
from stinet.engines.ranges import ranges_file, read_ranges, write_ranges
from stinet.evaluate import Protocol, benchmark
from stinet.evaluate.measuring import Measures
from stinet.report.tables import table
from stinet.weights import FOLDER

STATES = Path(__file__).parents[1] / "state"
PLACES = ("data", "out", "start", "cache")
"""Settings of a run that say where its files lay; nobody else's business."""

CARD = """# {name}

Weights of the preset `{preset}`{purpose}: {parameters:,} parameters, space-time super-resolution x4 in size, any frame rate.

| | |
|---|---|
| Data | 1,104 runs of 15 frames, 448x256, of 273 real clips from 105 public repositories; low resolution by {low} |
| Licences of the data | mixed: CC0, MIT, Apache-2.0, BSD, CC-BY, and for most clips none is stated; none of their frames is shipped |
| Recipe | {recipe}; the last stage: {steps:,} steps in {hours:.1f} h |
| Device | {device} |
| Validation (23 runs of other sources, first 7 frames) | {validation} |
| Licence of the weights | Apache-2.0 |
| Date | {today} |

## Measured by `stinet evaluate CLIPS --model {name}`

| clips | all frames | given | interpolated | motion error of interpolated frames |
|---|---|---|---|---|
{rows}

PSNR (dB) and SSIM on Y; motion error in pixels (docs/evaluation.md). {before}

{remark}
"""  # noqa: E501 (a Markdown table has no line breaks)

PLAIN = {
    "purpose": "",
    "low": "MATLAB-true bicubic",
    "remark": "Trained on bicubic low resolution, the papers' setting. Compressed or noisy video gains less, and its"
    " artefacts are sharpened\nwith everything else.",
}
REAL = {
    "purpose": ", trained for real footage",
    "low": "blur, several reductions, noise and video compression, a sixth of the runs by MATLAB-true bicubic alone",
    "remark": "Trained on degraded low resolution (docs/training-howto.md). Of clean bicubic frames, the papers'"
    " setting, the preset's\nplain weights make more.",
}


def measured(file: str, folders: dict[str, Path], degradations: list[str]) -> dict[str, dict[str, Any]]:
    """Mean figures of a model on every set of clips under every degradation, and the tables printed."""
    found = {}
    for name, folder in folders.items():
        for degradation in degradations:
            title = name if degradation == "bicubic" else f"{name} {degradation}"
            functions = {file: clip_function(file, engine="torch")}
            measures, protocol = Measures(("psnr", "ssim", "motion")), Protocol(degradation=degradation)
            report = benchmark(find_clips(folder), functions, protocol, measures=measures).to_json()
            print(f"{title}\n{table(report)}\n", flush=True)
            found[title] = report["mean"]
    return found


def line(part: dict[str, Any]) -> str:
    """PSNR and SSIM of one group of frames."""
    return f"{part['psnr_db']:.2f} / {part['ssim']:.4f}"


def keep_state(source: Path, target: Path) -> None:
    """Keep a run's state: the weights as they are, everything else in half size, no paths."""
    tensors, header = load_tensors(source)
    small = as_half({name: tensor for name, tensor in tensors.items() if not name.startswith("net.")})
    kept = {key: value for key, value in header.items() if key != "checksum"}
    kept["config"] = {name: value for name, value in header["config"].items() if name not in PLACES}
    save_tensors(target, {**tensors, **small}, kept)
    print(f"kept: {target}, step {header['done']}")


def main() -> None:
    """Measure, compare, and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("name", choices=TRAININGS)
    parser.add_argument("--clips", nargs="+", required=True, metavar="SET=DIR")
    parser.add_argument("--device", required=True, help="what it was trained on, in words")
    parser.add_argument("--recipe", help="how it was trained, in words; default: the recipe of that name")
    parser.add_argument("--corpus", type=Path, help="videos to find ranges for int8 on")
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (item.partition("=") for item in options.clips)}
    target, preset = FOLDER / f"{options.name}.safetensors", TRAININGS[options.name]
    is_real = options.name != preset
    degradations = ["bicubic", *STRENGTHS] if is_real else ["bicubic"]
    first = f"{next(iter(folders))} moderate" if is_real else next(iter(folders))
    new = measured(str(options.weights), folders, degradations)
    replaced = target if target.exists() or not is_real else FOLDER / f"{preset}.safetensors"
    old = measured(str(replaced), folders, degradations) if replaced.exists() else None
    if old and not options.force and new[first]["psnr_db"] <= old[first]["psnr_db"]:
        print(f"kept: {old[first]['psnr_db']:.3f} dB shipped, {new[first]['psnr_db']:.3f} dB new on {first}")
        return
    about = read_header(options.weights)["about"]
    net = load_model(options.weights)
    before = "They are the first."
    if old:
        words = "They replaced weights of" if replaced == target else "The preset's plain weights have"
        before = f"{words} {line(old[first])} on {first}."
    card = CARD.format(
        **(REAL if is_real else PLAIN),
        name=options.name,
        preset=preset,
        recipe=options.recipe or f"`recipes/{options.name}.yaml`",
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        steps=about["steps"],
        hours=about["seconds"] / 3600,
        device=options.device,
        validation=", ".join(f"{key.removesuffix('_db')} {value:.2f} dB" for key, value in about["validation"].items()),
        today=date.today().isoformat(),
        rows="\n".join(
            f"| {name} | {line(mean)} | {line(mean['given'])} | {line(mean['interpolated'])} |"
            f" {mean['interpolated']['motion_px']:.3f} |"
            for name, mean in new.items()
        ),
        before=before,
    )
    save_model(target, net, as_half(net.state_dict()), {**about, **new})
    target.with_suffix(".md").write_text(card, encoding="utf-8")
    print(f"shipped: {target} and its card; {before}")
    ranges_file(target).unlink(missing_ok=True)
    own = read_ranges(ranges_file(options.weights), net)
    if own:
        write_ranges(ranges_file(target), load_model(target), own, {"trained": True, "steps": about["steps"]})
        print(f"int8 as it was trained: {len(own)} convolutions")
    elif options.corpus:
        calibrate(options.name, options.corpus)
    else:
        print(f"int8 is missing now: python benchmarks/calibrate.py {options.name} --clips CORPUS")
    keep_state(options.weights.with_name("state.safetensors"), STATES / f"{options.name}.safetensors")


if __name__ == "__main__":
    main()
