"""The report of gpu.py: tables of the speeds of both sides and of the floor."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.files import read_json, write_json
from vgg16_parts.job import HARD_ROIS, IMAGES_A_STEP, PRECISIONS, TRAINED

GOAL_RATIO, GOAL_SHARE = 2.0, 0.5       # of torchvision's speed in training; of the floor in stage 1 with bfloat16
_HEADER = ("row", "per second", "ours", "torchvision", "ratio", "peak MB", "torchvision's", "TFLOP per step",
           "GB per step", "floor", "of the floor")


@dataclass
class Results:
    """The measurements.

    settings  net, height, width, rois, workers, iterations
    rates     of the machine
    found     results of measure() by side, row and precision
    """

    settings: dict[str, Any]
    rates: dict[str, Any]
    found: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        write_json(path, {"settings": self.settings, "rates": self.rates,
                          "found": [[*key, result] for key, result in self.found.items()]})

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote, except for what could not be measured."""
        kept = read_json(path)
        return cls(kept["settings"], {} if "missing" in kept["rates"] else kept["rates"],
                   {tuple(key): result for *key, result in kept["found"] if "missing" not in result})

    def speed(self, side: str, row: str, precision: str) -> float | None:
        """Iterations per second of a training stage, images per second of the other rows."""
        seconds = self.found.get((side, row, precision), {}).get("seconds")
        return 1 / seconds if seconds else None

    def ratio(self, row: str, precision: str) -> float | None:
        """Our speed over torchvision's."""
        ours, theirs = self.speed("ours", row, precision), self.speed("torchvision", row, precision)
        return ours / theirs if ours and theirs else None

    def floor(self, row: str, precision: str) -> float | None:
        """The speed at which the FLOPs alone, or the bytes alone, would take all the time."""
        ours, rate = self.found.get(("ours", row, precision), {}), self.rates.get("matrix", {}).get(precision)
        if "flops" not in ours or not rate:
            return None
        return 1 / max(ours["flops"] / rate, ours["bytes"] / self.rates["copy"])

    def share(self, row: str, precision: str) -> float | None:
        """Our speed over the floor's."""
        ours, floor = self.speed("ours", row, precision), self.floor(row, precision)
        return ours / floor if ours and floor else None

    def line(self, row: str, precision: str) -> str:
        """A row as text, for progress messages."""
        return f"{precision} {row}: " + ", ".join(
            f"{side} {_number(self.speed(side, row, precision), '.2f')}/s" for side in ("ours", "torchvision"))


def report(results: Results, command: str) -> str:
    """The report as Markdown."""
    settings = results.settings
    precisions = [name for name in PRECISIONS if any(precision == name for _, _, precision in results.found)]
    lines = [f"# {settings['net']} at {settings['height']}x{settings['width']}: training, proposals, detection", "",
             f"{results.rates.get('machine', 'Unknown machine')}. {settings['iterations']} steps after a warm-up, each "
             f"row in a separate process; {settings['rois']} proposals per image, of which hard example mining selects "
             f"{HARD_ROIS} per step to train Fast R-CNN. Our training reads JPEG files in {settings['workers']} worker "
             "processes; torchvision gets images in memory. The steps cycle through a few images, so that cached "
             "features of a frozen trunk are available after the warm-up.", "",
             "The floor is the larger of two times: the FLOPs of the layers that ran, over the rate of a product of "
             "large matrices in the same precision; and the minimum of bytes that the layers and the update read and "
             "write, over the rate of a copy.", ""]
    for precision in precisions:
        lines += [f"## {precision}", "", _rates(results, precision), "", *_table(results, precision), ""]
    return "\n".join([*lines, *_goals(results, precisions), *_missing(results), "Command:", "", "```sh", command,
                      "```", ""])


def _rates(results: Results, precision: str) -> str:
    return (f"Measured rates: {_number(results.rates.get('matrix', {}).get(precision), '.3g', 1e-12)} TFLOP/s, "
            f"{_number(results.rates.get('copy'), '.4g', 1e-9)} GB/s.")


def _table(results: Results, precision: str) -> Iterator[str]:
    yield "| " + " | ".join(_HEADER) + " |"
    yield "|" + "---|" * len(_HEADER)
    for row in IMAGES_A_STEP:
        ours, theirs = (results.found.get((side, row, precision)) for side in ("ours", "torchvision"))
        if ours is None or theirs is None:
            continue
        unit = ("images" if row not in TRAINED else
                "iterations" if IMAGES_A_STEP[row] == 1 else f"iterations of {IMAGES_A_STEP[row]} images")
        yield "| " + " | ".join([
            row, unit, _number(results.speed("ours", row, precision), ".2f"),
            _number(results.speed("torchvision", row, precision), ".2f"),
            _number(results.ratio(row, precision), ".2f"), _number(ours.get("peak_mb"), ".0f"),
            _number(theirs.get("peak_mb"), ".0f"), _number(ours.get("flops"), ".3g", 1e-12),
            _number(ours.get("bytes"), ".3g", 1e-9), _number(results.floor(row, precision), ".2f"),
            _number(results.share(row, precision), ".0%")]) + " |"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:{form}}"


def _goals(results: Results, precisions: list[str]) -> list[str]:
    """A sentence for each goal that was measured."""
    ratios = [(ratio, row, precision) for precision in precisions for row in TRAINED
              if (ratio := results.ratio(row, precision))]
    shares = [(share, row, "bfloat16") for row in TRAINED if row.startswith("stage1")
              if (share := results.share(row, "bfloat16"))]
    lines = []
    for worst, goal, what in ((min(ratios, default=None), GOAL_RATIO, "times torchvision's speed in training"),
                              (min(shares, default=None), GOAL_SHARE, "of the floor in stage 1 with bfloat16")):
        if worst:
            lines += [f"The goal is {goal:g} {what}: {'met' if worst[0] >= goal else 'missed'}, the minimum is "
                      f"{worst[0]:.2f} ({worst[1]}, {worst[2]}).", ""]
    return lines


def _missing(results: Results) -> list[str]:
    """What was not measured, and why."""
    reasons: dict[str, list[str]] = {}
    for (side, row, precision), result in results.found.items():
        if "missing" in result:
            reasons.setdefault(f"{side}, {precision}: {result['missing']}", []).append(row)
    if "missing" in results.rates:
        reasons[f"the rates of the machine: {results.rates['missing']}"] = []
    lines = [f"* {reason}" + (f" ({', '.join(rows)})" if rows else "") for reason, rows in reasons.items()]
    return ["Not measured:", "", *lines, ""] if lines else []
