"""The study's report: tables, and a plot of the differences, for each data set."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from study.conditions import CONDITIONS, comparisons
from study.statistics import Difference, deviation, paired_difference
from utils.files import atomic_path

FIGURES = {"ap50": "AP50", "ap75": "AP75", "ap": "AP"}

Runs = dict[tuple[str, int], dict[str, float]]      # (condition, seed): average precisions by key of FIGURES


@dataclass
class Results:
    """The results on a data set; `setup` describes how they were obtained."""

    name: str
    setup: str
    runs: Runs = field(default_factory=dict)

    def conditions(self) -> list[str]:
        """The conditions with results, in the order of CONDITIONS."""
        found = {name for name, _ in self.runs}
        return [name for name in CONDITIONS if name in found]

    def figures(self) -> list[str]:
        """The keys of FIGURES that every run has."""
        return [figure for figure in FIGURES if all(figure in found for found in self.runs.values())]

    def of(self, condition: str, figure: str) -> dict[int, float]:
        """A condition's figure by seed."""
        return {seed: found[figure] for (name, seed), found in self.runs.items() if name == condition}

    def difference(self, condition: str, reference: str, figure: str) -> Difference | None:
        """The paired difference of condition and reference; None if they have no seed in common."""
        ours, theirs = self.of(condition, figure), self.of(reference, figure)
        return paired_difference(ours, theirs) if ours.keys() & theirs.keys() else None

    def gains(self, condition: str, reference: str, figure: str) -> dict[int, float]:
        """The differences between condition and reference by seed."""
        ours, theirs = self.of(condition, figure), self.of(reference, figure)
        return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def report(results: Sequence[Results], command: str, picture: Callable[[str], str]) -> str:
    """The report as Markdown; `picture` returns the file name of a data set's plot."""
    lines = ["# What hard example mining is worth", "",
             "All conditions of a data set share the RPN, its proposals, the initial weights and the seeds; only the "
             "Fast R-CNN stage is trained for each. It is tested on the RPN's proposals for the held-out photographs. "
             "The RPN was trained on all boxes, even where Fast R-CNN lacks some. End to end, RPN and Fast R-CNN are "
             "trained in one net, with two passes per iteration of one photograph and 128 RoIs each, background of any "
             "overlap; the net's own RPN proposes in the test. AP50 is the area under the curve at an IoU of 0.5, AP75 "
             "and AP (mean over 0.50:0.95) are COCO's; all in percent, means over the classes, ± the standard "
             "deviation over the seeds. A difference is the mean over the seeds, in points, ± its 95 % confidence "
             "interval (Student's t of the paired differences); **bold** if the interval excludes 0. The intervals "
             "account for the seeds, not for the choice of photographs, and one in twenty misses by chance. Unless a "
             "line says otherwise, a batch has 128 RoIs of 2 photographs, and OHEM ranks all RoIs, background of any "
             "overlap, by both losses and without NMS.", "",
             "| condition | settings | compared with |", "|---|---|---|"]
    chosen = [name for name in CONDITIONS if any(name in found.conditions() for found in results)]
    lines += [f"| {CONDITIONS[name].title} | {CONDITIONS[name].words()} | "
              f"{'; '.join(CONDITIONS[other].title for other in CONDITIONS[name].references) or '-'} |"
              for name in chosen]
    for found in results:
        lines += ["", f"## {found.name}", "", found.setup, "", *means_table(found), "", *differences_table(found),
                  *cost_of_missing_boxes(found)]
        if comparisons(found.conditions()):
            lines += ["", f"![differences]({picture(found.name)})"]
    return "\n".join([*lines, "", "Command:", "", "```sh", command, "```", ""])


def means_table(found: Results) -> list[str]:
    """A table with one row for each condition: mean and standard deviation over the seeds."""
    figures = found.figures()
    lines = [f"| condition | seeds | {' | '.join(FIGURES[figure] for figure in figures)} |",
             "|---|---|" + "---|" * len(figures)]
    for name in found.conditions():
        values = [found.of(name, figure) for figure in figures]
        lines.append(f"| {CONDITIONS[name].title} | {len(values[0])} | {' | '.join(map(_mean, values))} |")
    return lines


def differences_table(found: Results) -> list[str]:
    """A table with one row for each comparison: paired differences and their intervals."""
    figures = found.figures()
    lines = [f"| condition | minus | pairs | {' | '.join(FIGURES[figure] for figure in figures)} |",
             "|---|---|---|" + "---|" * len(figures)]
    for name, reference in comparisons(found.conditions()):
        differences = [found.difference(name, reference, figure) for figure in figures]
        known = [difference for difference in differences if difference]
        if known:
            lines.append(f"| {CONDITIONS[name].title} | {CONDITIONS[reference].title} | {known[0].pairs} | "
                         f"{' | '.join(map(_words, known))} |")
    return lines


def cost_of_missing_boxes(found: Results) -> list[str]:
    """A line that says how much more missing boxes change OHEM than random RoIs; empty without such runs."""
    differences = {}
    for figure in found.figures():
        ours = found.gains("ohem_missing", "ohem", figure)
        theirs = found.gains("random_missing", "random", figure)
        if ours.keys() & theirs.keys():
            differences[figure] = paired_difference(ours, theirs)
    if not differences:
        return []
    values = ", ".join(f"{FIGURES[figure]} {_words(difference)}" for figure, difference in differences.items())
    return ["", f"Missing boxes change OHEM by this much more than random RoIs: {values}."]


def _mean(values: Mapping[int, float]) -> str:
    text = f"{100 * np.mean([*values.values()]):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * deviation(values):.1f}"


def _words(difference: Difference) -> str:
    if difference.pairs == 1:
        return f"{100 * difference.mean:+.1f}"
    text = f"{100 * difference.mean:+.1f} ± {100 * difference.half_width:.1f}"
    return f"**{text}**" if difference.is_clear else text


def plot_differences(found: Results, path: Path) -> None:
    """Plot the comparisons of a data set to a PNG: means, intervals and single seeds, with a panel for each figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to load; needs no screen
    from matplotlib.figure import Figure
    pairs, figures = comparisons(found.conditions()), found.figures()
    canvas = Figure(figsize=(3 + 3 * len(figures), 1.2 + 0.4 * len(pairs)), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, len(figures), squeeze=False, sharey=True)[0]
    for axes, figure in zip(panels, figures, strict=True):
        for row, (name, reference) in enumerate(pairs):
            _draw(axes, row, found, name, reference, figure)
        axes.axvline(0, color="grey", linewidth=1)
        axes.set(xlabel=f"{FIGURES[figure]} difference, points")
    panels[0].set_yticks(range(len(pairs)), [f"{name} - {reference}" for name, reference in pairs])
    panels[0].invert_yaxis()
    canvas.suptitle(found.name)
    with atomic_path(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=100)


def _draw(axes: Any, row: int, found: Results, name: str, reference: str, figure: str) -> None:
    difference = found.difference(name, reference, figure)
    if difference is None:
        return
    seeds = [100 * gain for gain in found.gains(name, reference, figure).values()]
    width = 100 * difference.half_width if difference.pairs > 1 else 0
    axes.plot(seeds, [row] * len(seeds), ".", color="black", zorder=3)
    axes.errorbar(100 * difference.mean, row, xerr=width, fmt="o", capsize=3, color="tab:blue")
