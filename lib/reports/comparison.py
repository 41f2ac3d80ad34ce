"""Compares several runs: results, losses, and the settings in which they differ."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alt_opt.manifest import Manifest
from alt_opt.plan import STEPS
from commands.data_set import data_set_of_results
from datasets.detection_files import EVALUATION
from reports.charts import Axis, Line, colour, legend, line_chart
from reports.page import figure, write_page
from reports.training import Stage, read_stages
from utils.files import DamagedFileError, read_record

MEASURES = {"ap50": "AP50", "ap75": "AP75", "ap": "AP50:95", "voc_area": "VOC"}
MAYBE_OTHERS = "these may be different data sets of one name"
_HASH = 64              # length of a fingerprint
_SHOWN = 10             # characters of a fingerprint that the page shows
_SOLVER = "solver."     # prefix of the solver's settings
_FROM_STEPS = {"weights", "proposals"}      # inputs that are outputs of other steps, except for the first step

Figures = dict[str, float | None]       # by the keys of MEASURES


@dataclass(frozen=True)
class TestFigures:
    """The metrics of a test: means over the classes, and those of each class.

    data_set  where the data set was; '' if unknown
    """

    mean: Figures = field(default_factory=dict)
    classes: dict[str, Figures] = field(default_factory=dict)
    data_set: str = ""


@dataclass(frozen=True)
class RunResults:
    """The stored results, logs and inputs of a run.

    tests      metrics by test set
    inputs     inputs of each step, and settings of its solver (solver.base_lr) if they are recorded
    data_sets  names of data sets by fingerprint
    """

    name: str
    tests: dict[str, TestFigures]
    stages: list[Stage]
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    data_sets: dict[str, str] = field(default_factory=dict)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a training run or its test results."""
    return (folder / Manifest.FILE).is_file() or (folder / "logs").is_dir() or any(_tests_of(folder))


def _tests_of(run: Path) -> list[Path]:
    return sorted((run / "test").glob(f"*/{EVALUATION}"))


def read_run(run: Path, name: str) -> RunResults:
    """Read the results of a run from its folder. Raises DamagedFileError."""
    steps = Manifest(run).steps
    tests = {file.parent.name: _figures(file) for file in _tests_of(run)}
    return RunResults(name, tests, read_stages(run), {step: _inputs(record) for step, record in steps.items()},
                      {record["inputs"].get("data set", ""): str(record["imdb"]) for record in steps.values()
                       if "imdb" in record})


def _inputs(record: Mapping[str, Any]) -> dict[str, str]:
    return {**record["inputs"], **{_SOLVER + key: str(value) for key, value in record.get("solver", {}).items()}}


def _figures(file: Path) -> TestFigures:
    hint = "test again, or use tools/reval.py"
    parts = read_record(file, hint, classes=dict, mean=dict)
    for of_class in (parts["mean"], *parts["classes"].values()):
        if not isinstance(of_class, dict) or not all(
                of_class.get(key) is None or isinstance(of_class[key], (int, float)) for key in MEASURES):
            raise DamagedFileError(f"{file}: damaged; {hint}")
    return TestFigures(parts["mean"], parts["classes"], data_set_of_results(file.parent))


def run_names(runs: Sequence[Path]) -> list[str]:
    """Distinct names for runs: as many of the last parts of their paths as are needed."""
    paths = [run.resolve() for run in runs]
    for count in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{index}: {path}" for index, path in enumerate(paths, start=1)]


def setting_differences(runs: Sequence[RunResults]) -> list[tuple[str, str, list[str]]]:
    """The inputs that differ: setting, steps, and the value in each run; '' if a run lacks it.

    A step is compared only between the runs that reached it. Outputs of other steps, which always differ, are left out.
    """
    names = {key: name for run in runs for key, name in run.data_sets.items()}
    reached_by_any = {step for run in runs for step in run.inputs}
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for step in [each.name for each in STEPS if each.name in reached_by_any]:
        reached = [run.inputs[step] for run in runs if step in run.inputs]
        left_out = _FROM_STEPS if step != STEPS[0].name else set()
        for key in sorted({key for inputs in reached for key in inputs} - left_out - _other_form(reached)):
            if len({inputs.get(key, "") for inputs in reached}) > 1:
                values = tuple(run.inputs.get(step, {}).get(key, "") for run in runs)
                found.setdefault((key, values), []).append(step)
    return [(key.removeprefix("cfg."), ", ".join(of_steps), _in_words(values, names))
            for (key, values), of_steps in found.items()]


def _other_form(inputs: Sequence[Mapping[str, str]]) -> set[str]:
    """Keys to leave out: the solver's fingerprint, or the solver's settings if a run does not record them."""
    settings = {key for each in inputs for key in each if key.startswith(_SOLVER)}
    return {"solver"} if all(settings.intersection(each) for each in inputs) else settings


def _in_words(values: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Replace fingerprints by names; if different data sets have the same name, show both."""
    words = [names.get(value, _short(value)) for value in values]
    if len({*words}) == len({*values}):
        return words
    return [f"{word} ({_short(value)})" if value in names else word for value, word in zip(values, words, strict=True)]


def _short(value: str) -> str:
    is_hash = len(value) == _HASH and not value.strip("0123456789abcdef")
    return f"{value[:_SHOWN]}…" if is_hash else value


def test_tables(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """For each test set: the metrics of each run with their difference from the first run's, and AP50:95 by class.

    "data_sets" are where the data sets of this name were, if in different places: (run, place).
    """
    tables = []
    for test in dict.fromkeys(name for run in runs for name in run.tests):
        of_runs = [run.tests.get(test, TestFigures()) for run in runs]
        classes = sorted({name for of_run in of_runs for name in of_run.classes})
        means = [[_cell(of_run.mean.get(key), of_runs[0].mean.get(key)) for key in MEASURES] for of_run in of_runs]
        places = [(run.name, of_run.data_set) for run, of_run in zip(runs, of_runs, strict=True) if of_run.data_set]
        tables.append({"name": test, "data_sets": places if len({place for _, place in places}) > 1 else [],
                       "rows": list(zip([run.name for run in runs], means, strict=True)),
                       "classes": [(name, [_cell(_ap(of_run, name), _ap(of_runs[0], name)) for of_run in of_runs])
                                   for name in classes]})
    return tables


def runs_without_tests(runs: Sequence[RunResults]) -> list[str]:
    """The names of the runs without stored test results."""
    return [run.name for run in runs if not run.tests]


def _ap(test: TestFigures, name: str) -> float | None:
    return test.classes.get(name, {}).get("ap")


def _cell(value: float | None, first: float | None) -> dict[str, Any]:
    difference = 0.0 if value is None or first is None else value - first
    return {"value": value, "difference": difference if abs(difference) >= 0.0005 else 0.0}


def loss_charts(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """For each stage a chart of the total loss of all runs."""
    names = dict.fromkeys(stage.name for run in runs for stage in run.stages)
    charts = []
    for name in names:
        lines = [Line(run.name, stage.total, colour(index))
                 for index, run in enumerate(runs) for stage in run.stages if stage.name == name]
        charts.append({"title": name, "legend": legend(lines),
                       "svg": line_chart(lines, Axis("iteration", 0), Axis("loss", 0), 256)})
    return charts


def text_report(runs: Sequence[RunResults]) -> str:
    """The comparison as text."""
    lines: list[str] = []
    width = max(len(run.name) for run in runs)
    for table in test_tables(runs):
        lines += [table["name"], f"  {'':<{width}}" + "".join(f"{name:>18}" for name in MEASURES.values())]
        lines += [f"  {name:<{width}}" + "".join(f"{_as_text(cell):>18}" for cell in cells)
                  for name, cells in table["rows"]]
        if table["data_sets"]:
            lines.append(f"  {MAYBE_OTHERS}: " + ", ".join(f"{name}: {place}" for name, place in table["data_sets"]))
    for key, steps, values in setting_differences(runs):
        lines.append(f"{key} ({steps}): {' | '.join(value or '-' for value in values)}")
    untested = runs_without_tests(runs)
    return "\n".join([*lines, *([f"no test results: {', '.join(untested)}"] if untested else [])])


def _as_text(cell: dict[str, Any]) -> str:
    return figure(cell["value"]) + (f" ({cell['difference']:+.3f})" if cell["difference"] else "")


def write_comparison(path: Path, runs: Sequence[RunResults]) -> None:
    """Write the comparison as a page."""
    write_page(path, "compare.html", title=f"{len(runs)} runs side by side", runs=[run.name for run in runs],
               measures=list(MEASURES.values()), tests=test_tables(runs), maybe_others=MAYBE_OTHERS,
               charts=loss_charts(runs), differences=setting_differences(runs),
               untested=runs_without_tests(runs))
