"""The report on finished runs: tables, goals, curves and pictures."""
from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accuracy_parts.recipes import BFLOAT16, DataSet, Peer, Recipe
from accuracy_parts.runs import Run
from accuracy_parts.trainings import LAST_STAGE_POINTS, peer_images, training_of
from commands.curves import plot_losses
from datasets.all_boxes import load_detections, stored_classes
from datasets.factory import get_imdb
from measuring import processor
from utils.draw import draw_detections, montage, write_image
from utils.files import atomic_path, write_text
from utils.images import read_image

Result = dict[str, Any]
Results = Mapping[str, Sequence[Result]]    # of one data set: for each net, a result for each seed

FIGURES = {"ap50": "AP50", "ap75": "AP75", "ap": "AP"}
# of AP50
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98)
PICTURES, SCORE = 6, 0.5        # number of photographs shown, and the minimum score of the detections drawn


def write_report(path: Path, known: Mapping[str, DataSet], runs: Sequence[Run], is_choice: bool) -> None:
    """Write the report on finished runs, and its pictures next to it.

    is_choice  whether the runs were trained and tested on parts of trainval (--choose)
    """
    text = [f"# Accuracy{', on a part of trainval' if is_choice else ''}", "", *_introduction(runs, is_choice)]
    of_data_set: dict[str, list[Run]] = {name: [run for run in runs if run.split.name == name] for name in known}
    for name, mine in of_data_set.items():
        if mine:
            text += [f"## {name}", "", *_section(path, known[name], mine, is_choice)]
    shown, nets = [name for name, mine in of_data_set.items() if mine], dict.fromkeys(run.net for run in runs)
    is_complete = all(net in nets for name in shown for net in known[name].nets)
    words = ["python experiments/benchmarks/accuracy.py", *shown, *([] if is_complete else ["--nets", *nets]),
             "--seeds", *(str(seed) for seed in sorted({run.seed for run in runs})), *["--choose"] * is_choice]
    text += ["Command:", "", "```sh", " ".join(words), "```", ""]
    write_text(path, "\n".join(text))


def _introduction(runs: Sequence[Run], is_choice: bool) -> list[str]:
    loads = [result["load"] for run in runs if (result := run.result())]
    cores = os.cpu_count() or 1
    busy = " Other programs ran too: minutes are upper bounds." if loads and max(loads) > cores + 1 else ""
    split = ("Trained on three quarters of `trainval`, tested on the rest; `test` is not read." if is_choice else
             "Trained on `trainval`, tested on `test`.")
    load = f", load {min(loads):.1f} to {max(loads):.1f} during the runs" if loads else ""
    return [f"{processor()}, {cores} cores{load}.{busy}", "",
            f"{split} Minutes are the wall time of all training steps, without tests. AP50, AP75 and AP (mean over IoU "
            "0.50:0.95) are COCO's; the columns of classes are AP50.", ""]


def _section(path: Path, data_set: DataSet, runs: Sequence[Run], is_choice: bool) -> list[str]:
    results: dict[str, list[Result]] = defaultdict(list)
    for run in runs:
        results[run.net].append(run.result() or {})
    compared = replace(data_set, published=(), goals=()) if is_choice else data_set
    return [*table(results), *comparisons(compared, results), *precisions(results), *times(results),
            *recipes({run.net: run for run in runs}), *_images(path, data_set, runs, results)]


# ---- tables
def table(results: Results) -> list[str]:
    """A table with one row for each run, then the mean and standard deviation of each net."""
    classes = list(next(iter(results.values()))[0]["classes"])
    head = ["net", "seed", "minutes", *FIGURES.values(), *classes]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for net, found in results.items():
        lines += [_row(net, str(result["seed"]), [result], classes) for result in found]
    for net, found in results.items():
        if len(found) > 1:
            lines += [_row(net, "**mean**", found, classes), _row(net, "deviation", found, classes, _deviation)]
    return [*lines, ""]


def _row(net: str, seed: str, results: Sequence[Result], classes: Sequence[str],
         over: Callable[[list[float]], float] = np.mean) -> str:
    figures = [[result["mean"][key] for result in results] for key in FIGURES]
    figures += [[result["classes"][name]["ap50"] for result in results] for name in classes]
    columns = [net, seed, f"{over([result['seconds'] / 60 for result in results]):.1f}",
               *(_figure(over([np.nan if value is None else value for value in values])) for values in figures)]
    return f"| {' | '.join(columns)} |"


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1))


def _figure(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def recipes(runs: Mapping[str, Run]) -> list[str]:
    """A line for each net: how it was trained."""
    return [*(f"* {net}: {_peer_words(run, run.peer) if run.peer else _words(run.recipe)}"
              for net, run in runs.items()), ""]


def _words(recipe: Recipe) -> str:
    return f"{recipe.words('experiments/cfgs')}, from {recipe.weights or 'random weights'}"


def _peer_words(run: Run, peer: Peer) -> str:
    return (f"`accuracy_parts/{shlex.join([peer.program, *peer.options])}`, from {run.recipe.weights}; "
            f"{peer_images(run, peer):,} images seen{'' if peer.images else f', as many as by {peer.like}'}")


# ---- goals
def best_within(results: Results, minutes: float | None) -> tuple[float, str]:
    """(AP50, net) of the best net after `minutes` of training, mean over its seeds; None: of the finished detectors.

    The AP50 is that of the last test by then, 0 if there was none.
    """
    limit = 60 * (np.inf if minutes is None else minutes)

    def reached(result: Result) -> float:
        return [0.0, *(point["ap50"] for point in result["points"] if point["seconds"] <= limit)][-1]

    means = {net: float(np.mean([reached(result) for result in found])) for net, found in results.items()}
    net = max(means, key=lambda name: means[name])
    return means[net], net


def comparisons(data_set: DataSet, results: Results) -> list[str]:
    """A table that compares the best net with published results and with the goals, and says whether they are met."""
    rows = [[whose, figure, "", "{:.3f} ({})".format(*best_within(results, None)), ""]
            for whose, figure in data_set.published]
    for goal in data_set.goals:
        value, net = best_within(results, goal.minutes)
        outcome = [f"{value:.3f} ({net})", _met(value >= goal.ap50)] if value else ["not tested by then", ""]
        rows.append(["goal", f"{goal.ap50:.3f}", f"{goal.minutes:g}" if goal.minutes else "", *outcome])
    for peer, ours in rivals(data_set, results):
        theirs, mine = ([float(np.mean(values)) for values in zip(*(
            (result["mean"]["ap50"], result["seconds"] / 60) for result in results[net]), strict=True)]
            for net in (peer, ours))
        rows.append([f"goal: as good as {peer} in half of its {theirs[1]:.1f} minutes", f"{theirs[0]:.3f}",
                     f"{theirs[1] / 2:.1f}", f"{mine[0]:.3f} in {mine[1]:.1f} minutes ({ours})",
                     _met(mine[0] >= theirs[0] and mine[1] <= theirs[1] / 2)])
    head = ["compared with", "AP50", "minutes", "ours", ""]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""] if rows else []


def rivals(data_set: DataSet, results: Results) -> list[tuple[str, str]]:
    """Pairs of a peer to beat and one of our nets: both from the same weights, by as many images, in one precision."""
    def images(net: str) -> int:
        return results[net][0]["points"][-1]["images"]

    return [(name, ours) for name, peer in data_set.peers.items() if peer.is_goal and name in results
            for ours, recipe in data_set.recipes.items() if ours in results and images(ours) == images(name)
            and recipe.weights == data_set.recipes[peer.like].weights
            and ours.endswith(BFLOAT16) == peer.like.endswith(BFLOAT16)]


def _met(is_met: bool) -> str:
    return "**met**" if is_met else "**missed**"


def precisions(results: Results) -> list[str]:
    """For each net trained in both precisions: whether bfloat16 changes the AP50 by more than the noise of seeds."""
    lines = []
    for net, low in results.items():
        full = results.get(net.removesuffix(BFLOAT16), []) if net.endswith(BFLOAT16) else []
        if min(len(full), len(low)) > 1:
            values = [[result["mean"]["ap50"] for result in found] for found in (low, full)]
            difference = float(np.mean(values[0]) - np.mean(values[1]))
            noise = 2 * float(np.sqrt(sum(np.var(found, ddof=1) / len(found) for found in values)))
            within = "within" if abs(difference) <= noise else "beyond"
            lines.append(f"* bfloat16 changes {net.removesuffix(BFLOAT16)}'s AP50 by {difference:+.3f}, {within} the "
                         f"noise of its seeds ({noise:.3f}, two standard errors)")
    return [*lines, ""] if lines else []


def times(results: Results) -> list[str]:
    """A table of the minutes until each net first reached an AP50, mean over its seeds."""
    reached = [(level, [_minutes_to(level, found) for found in results.values()]) for level in LEVELS]
    rows = [[f"{level:g}", *("" if value is None else f"{value:.1f}" for value in minutes)]
            for level, minutes in reached if any(value is not None for value in minutes)]
    if not rows:
        return []
    return ["Minutes of training until a test first reached each AP50; empty unless all seeds reached it. Nets of four "
            "stages are tested before the last stage, when RPN and Fast R-CNN first share their convolutions, and "
            f"{LAST_STAGE_POINTS} times during it; the others at equal distances (`--points`).", "",
            f"| AP50 | {' | '.join(results)} |", "|---" * (len(results) + 1) + "|",
            *(f"| {' | '.join(row)} |" for row in rows), ""]


def _minutes_to(level: float, results: Sequence[Result]) -> float | None:
    firsts = [min((point["seconds"] for point in result["points"] if (point["ap50"] or 0) >= level), default=None)
              for result in results]
    known = [first for first in firsts if first is not None]
    return float(np.mean(known)) / 60 if len(known) == len(firsts) else None


# ---- curves and pictures
def _images(path: Path, data_set: DataSet, runs: Sequence[Run], results: Results) -> list[str]:
    name = runs[0].split.name
    curves = path.with_name(f"{path.stem}_{name}_curves.png")
    plot_curves(results, curves)
    lines = ["AP50 over time:", "", f"![curves]({curves.name})", ""]
    first = {run.net: run for run in reversed(runs) if not run.peer}
    for net, run in first.items():
        losses = path.with_name(f"{path.stem}_{name}_{net}_losses.png")
        logs = [log for log in training_of(run).logs() if log.is_file()]
        if logs:
            plot_losses(logs, losses)
            lines += [f"Losses, {net}, seed {run.seed}:", "", f"![losses]({losses.name})", ""]
    best = first.get(best_within({net: results[net] for net in first}, None)[1]) if first else None
    if best is None:
        return lines
    shown = path if data_set.is_shown else best.folder / path.name       # else not to be published
    picture = shown.with_name(f"{path.stem}_{name}_detections.jpg")
    if not draw_examples(best, picture) or not data_set.is_shown:
        return lines
    return [*lines, f"Detections of {best.net}, seed {best.seed}, with scores of at least {SCORE}, on photographs that "
                    "it was not trained on:", "", f"![detections]({picture.name})", ""]


def plot_curves(results: Results, path: Path) -> None:
    """Plot AP50 over minutes of training: a line for each run, a colour for each net."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to load; needs no screen
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (net, found) in enumerate(results.items()):
        for index, result in enumerate(found):
            axes.plot([point["seconds"] / 60 for point in result["points"]],
                      [point["ap50"] for point in result["points"]], color=f"C{number % 10}", marker="o",
                      markersize=3, linewidth=1, label=net if not index else None)
    axes.set(xlabel="minutes of training", ylabel="AP50", xlim=(0, None), ylim=(0, 1))
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def draw_examples(run: Run, path: Path) -> bool:
    """Draw the final detections on a few evenly spaced photographs; returns False if no detections are stored."""
    found = sorted((run.folder / "tests").glob("*/detections.npz"), key=lambda file: int(file.parent.name))
    if not found:
        return False
    classes = stored_classes(found[-1])
    imdb = get_imdb(run.split.test, classes)
    detections = load_detections(found[-1], imdb.image_index, classes)
    chosen = np.unique(np.linspace(0, imdb.num_images - 1, PICTURES).astype(int))
    write_image(path, montage([draw_detections(read_image(imdb.image_path_at(index)), [of[index] for of in detections],
                                               classes, SCORE) for index in chosen]))
    return True
