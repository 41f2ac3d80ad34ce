#!/usr/bin/env python3
"""Trains Tiny on BCCD (blood cells) in four stages: with and without OHEM, in two precisions, with several seeds.

    python experiments/benchmarks/bccd.py path/to/BCCD

trains on `trainval`, tests on `test`, and writes bccd.md and bccd_<kind>.png next to this program: average precisions
(11-point and area), wall time and loss curves. Finished runs in the output folder are not repeated.
"""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import _init_paths  # noqa: E402, F401
from utils.other_caffe import has_bfloat16  # noqa: E402

ITERATIONS = ["800", "400", "800", "400"]
KINDS = {"ohem": ["--set", "PRECISION", "float32"], "no_ohem": ["--no_ohem"],
         "ohem_bfloat16": ["--set", "PRECISION", "bfloat16"]}
TITLES = {"ohem": "OHEM", "no_ohem": "no OHEM", "ohem_bfloat16": "OHEM, bfloat16"}
ORIGINAL = {"RBC": 0.54, "WBC": 0.84, "Platelets": 0.15, "mean": 0.513, "seconds": 970}   # real Caffe, 2 cores


def command(data: Path, output: Path, seed: int, kind: str) -> list[str]:
    """The command line that trains and tests one detector."""
    return [sys.executable, str(ROOT / "tools" / "train_faster_rcnn_alt_opt.py"), "--net_name", "Tiny",
            "--cfg", str(ROOT / "experiments" / "cfgs" / "tiny.yml"), "--imdb", f"{data}:trainval",
            "--test_imdb", f"{data}:test", "--max_iters", *ITERATIONS, "--seed", str(seed),
            "--output", str(output), "--cpu", "--restart", *KINDS[kind]]


def run(data: Path, output: Path, seed: int, kind: str) -> dict:
    """Train and test once, unless done; returns the 11-point and area AP of each class, and the seconds."""
    note = output / "bccd.json"
    if note.is_file():
        return json.loads(note.read_text())
    words = command(data, output, seed, kind)
    print(" ".join(words), flush=True)
    start = time.monotonic()
    subprocess.run(words, check=True)
    result = {"seconds": time.monotonic() - start, **average_precisions(data, output)}
    note.write_text(json.dumps(result))
    return result


def average_precisions(data: Path, output: Path) -> dict:
    """Evaluate the detections of a run with both definitions of AP."""
    from datasets.all_boxes import load_detections, stored_classes
    from datasets.factory import get_imdb
    path = next(output.rglob("detections.npz"))
    imdb = get_imdb(f"{data}:test", stored_classes(path))
    detections = load_detections(path, imdb.image_index, imdb.classes)
    evaluation = imdb.evaluate_detections(detections, output / "test")
    return {"points": evaluation.aps(True), "area": evaluation.aps(False)}


def table(results: dict[tuple[str, int], dict]) -> list[str]:
    """Lines of a Markdown table: one row per run, then means and standard deviations."""
    classes = list(next(iter(results.values()))["points"])
    lines = [f"| kind | seed | {' | '.join(classes)} | mAP, 11 points | mAP, area | seconds |",
             "|---|---|" + "---|" * (len(classes) + 3)]
    lines += [_row(kind, str(seed), classes, [result]) for (kind, seed), result in results.items()]
    for kind in KINDS:
        chosen = [result for (other, _), result in results.items() if other == kind]
        if chosen:
            lines.append(_row(kind, "**mean**", classes, chosen))
        if len(chosen) > 1:
            lines.append(_row(kind, "deviation", classes, chosen, _deviation))
    return lines


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1))


def _row(kind: str, seed: str, classes: list[str], results: list[dict],
         over: Callable[[list[float]], float] = np.mean) -> str:
    columns = [over([result["points"][name] for result in results]) for name in classes]
    means = [over([float(np.mean(list(result[which].values()))) for result in results]) for which in ("points", "area")]
    seconds = over([result["seconds"] for result in results])
    values = " | ".join(f"{value:.3f}" for value in [*columns, *means])
    return f"| {TITLES[kind]} | {seed} | {values} | {seconds:.0f} |"


def write_report(results: dict[tuple[str, int], dict], folder: Path) -> None:
    """Write bccd.md, and the loss curves of the first run of each kind."""
    from commands.curves import plot_losses
    text = ["# BCCD with Tiny, four stages", "",
            "Trained on `trainval` (292 photographs and their flipped copies), tested on `test` (72), scale 300, "
            f"{'/'.join(ITERATIONS)} iterations, 2 images per batch, 2 CPU cores. Seconds are the wall time of all six "
            "steps and the test. Average precisions of classes are 11-point. base_lr is 0.02 for the RPN and 0.005 "
            "for Fast R-CNN; the latter was tuned by training on `train` and testing on `val` (mAP with 0.005: 0.593, "
            "mean of seeds 3 and 4; with 0.01: 0.559; with 0.0025: 0.571, seed 3 only).", "",
            *table(results), "",
            "The original on real Caffe, with the same photographs, iterations and kind of net: mAP "
            f"{ORIGINAL['mean']} (RBC {ORIGINAL['RBC']}, WBC {ORIGINAL['WBC']}, Platelets {ORIGINAL['Platelets']}) "
            f"in {ORIGINAL['seconds']} s.", "", "Command:", "", "```sh",
            "python experiments/benchmarks/bccd.py path/to/BCCD", "```", ""]
    for kind in KINDS:
        seeds = [seed for other, seed in results if other == kind]
        if seeds:
            logs = folder / f"{kind}_{seeds[0]}" / "logs"
            plot_losses([logs / f"{stage}.jsonl" for stage in
                         ("stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn")],
                        HERE / f"bccd_{kind}.png")
            text += [f"Losses, {TITLES[kind]}, seed {seeds[0]}:", "", f"![losses](bccd_{kind}.png)", ""]
    (HERE / "bccd.md").write_text("\n".join(text))


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="BCCD", help="folder of the data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5, 6, 7],
                        help="random seeds (default: 3 4 5 6 7)")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "bccd", metavar="DIR",
                        help="folder of the runs (default: output/bccd)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS),
                        help="kinds of training (default: all)")
    parser.add_argument("--restart", action="store_true", help="repeat finished runs")
    args = parser.parse_args()
    if "ohem_bfloat16" in args.kinds and has_bfloat16() is False:
        parser.error("--kinds ohem_bfloat16: this processor has no bfloat16 instructions; choose the other --kinds")
    data, folder = args.data.resolve(), args.output.resolve()
    if args.restart:
        shutil.rmtree(folder, ignore_errors=True)
    results = {}
    for kind in args.kinds:
        for seed in args.seeds:
            results[kind, seed] = run(data, folder / f"{kind}_{seed}", seed, kind)
            write_report(results, folder)
    print((HERE / "bccd.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
