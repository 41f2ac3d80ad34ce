"""Training curves from the logs of the stages: losses, learning rates and validation results."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alt_opt.plan import STEPS
from commands.training_files import TrainingFiles
from fast_rcnn.train_log import loss_curves, read_log
from fast_rcnn.validation import index_of_best
from reports.charts import INK, Axis, Line, Point, colour, legend, line_chart
from utils.files import read_json_lines

_WIDTH = 256        # of a chart: a row has four


@dataclass
class Stage:
    """A stage of a training."""

    name: str
    losses: dict[str, list[Point]]              # see `loss_curves`
    total: list[Point]                          # points (iteration, weighted sum of the losses)
    rates: list[Point]                          # points (iteration, learning rate)
    figures: dict[str, list[Point]]             # validation metrics; the first one selects the best
    seconds: float

    @property
    def iterations(self) -> int:
        """The last logged iteration."""
        return int(self.rates[-1][0]) if self.rates else 0


def read_stages(run: Path) -> list[Stage]:
    """Read the stages of a run from logs/*.jsonl, in the order of the plan. Raises DamagedFileError."""
    order = {step.name: index for index, step in enumerate(STEPS)}
    logs = sorted((run / "logs").glob("*.jsonl"), key=lambda log: (order.get(log.stem, len(order)), log.stem))
    stages = []
    for log in logs:
        records = read_log(log)
        if records:
            stages.append(_stage(log.stem, records, _figures(TrainingFiles(run, log.stem).validations)))
    return stages


def _figures(record: Path) -> dict[str, list[Point]]:
    found: defaultdict[str, list[Point]] = defaultdict(list)
    for line in read_json_lines(record, iteration=int, figures=dict) if record.is_file() else ():
        for name, value in line["figures"].items():
            if isinstance(value, (int, float)):
                found[name].append((line["iteration"], float(value)))
    return dict(found)


def _stage(name: str, records: list[dict[str, Any]], figures: dict[str, list[Point]]) -> Stage:
    def points(key: str) -> list[Point]:
        return [(record["iteration"], float(record[key])) for record in records]

    starts = [0, *(record["iteration"] for record in records)]
    seconds = sum(record["seconds"] * max(record["iteration"] - start, 0)
                  for record, start in zip(records, starts, strict=False))
    return Stage(name, loss_curves(records), points("loss"), points("lr"), figures, seconds)


def stage_charts(stages: list[Stage]) -> list[dict[str, Any]]:
    """For each stage charts of its losses, its learning rate and, if there are any, its validation results."""
    return [{"title": stage.name, "svg": _losses(stage), "legend": legend(_lines(stage)),
             "rate": line_chart([Line("learning rate", stage.rates)], Axis("iteration", 0), Axis("", 0), _WIDTH, 100),
             "validations": _validations(stage)} for stage in stages]


def _validations(stage: Stage) -> dict[str, Any] | None:
    lines = [Line(name, points, colour(index)) for index, (name, points) in enumerate(stage.figures.items())]
    if not lines:
        return None
    iteration, value = lines[0].points[index_of_best([value for _, value in lines[0].points])]
    return {"svg": line_chart(lines, Axis("iteration", 0), Axis("", 0), _WIDTH, 150), "legend": legend(lines),
            "best": f"best {lines[0].name} {value:.3f}, after iteration {iteration}"}


def _losses(stage: Stage) -> Markup:
    return line_chart(_lines(stage), Axis("iteration", 0), Axis("loss", 0), _WIDTH)


def _lines(stage: Stage) -> list[Line]:
    return [Line(name, points, INK if name == "sum" else colour(index))
            for index, (name, points) in enumerate(stage.losses.items())]
