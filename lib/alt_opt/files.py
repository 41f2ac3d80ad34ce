"""The files of a run in its output folder."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from alt_opt.plan import STEPS, Run, Step
from commands.curves import LOSS_CURVES
from commands.training_files import TrainingFiles
from fast_rcnn.detector_record import RUN_RECORD, RUN_SETTINGS, record_of
from fast_rcnn.snapshots import snapshot_name, snapshots_to_come
from fast_rcnn.validation import best_files
from utils import prototxt
from utils.profiling import profile_files


class StepFiles(TrainingFiles):
    """Paths of a step's files and folders, apart from its model or proposals.

    job, settings, solver, result             input and result of its child process
    text                                      what the child prints
    validation_net, validation_proposals      what it validates with
    """

    def __init__(self, output: Path, step: str) -> None:
        super().__init__(output, step)
        steps = output / "steps"
        self.job, self.settings = steps / f"{step}.json", steps / f"{step}_cfg.yml"
        self.solver, self.result = steps / f"{step}_solver.pt", steps / f"{step}_result.json"
        self.text = self.log.with_suffix(".log")
        self.validation_net, self.validation_proposals = self.validation / "test.pt", self.validation / "proposals.npz"


def training_logs(output: Path) -> list[Path]:
    """The logs of a run's training steps, in order."""
    return [StepFiles(output, step.name).log for step in STEPS if step.trains]


def proposals_name(model: str) -> str:
    """File name of an RPN's proposals."""
    return f"{model.removesuffix('.caffemodel')}_proposals.npz"


def detector_files(run: Run) -> list[str]:
    """Names of the finished detector's weights, test net and settings."""
    return [run.final_name, run.nets.detector_test.name, RUN_SETTINGS]


def file_names(run: Run) -> list[str]:
    """Names of the files that the run writes in the output folder, apart from those with their own records."""
    names = [*detector_files(run), LOSS_CURVES, RUN_RECORD]
    for step in STEPS:
        files = StepFiles(run.output, step.name)
        names += files.names(*_paths(run, step, files))
        if step.trains:
            names += _models(run, step)
    return names


def name_problems(run: Run) -> Iterator[str]:
    """Solvers whose models would have the names of those of another step, and replace them."""
    owners: dict[str, str] = {}
    for step in STEPS:
        if not step.trains:
            continue
        solver, name = run.nets.solver(step.name), snapshot_name(
            run.nets.solver_param(step.name), run.settings[step.name].TRAIN, 0).removesuffix("_0.caffemodel")
        owner = owners.setdefault(name, step.name)
        if owner != step.name:
            yield (f"{solver}:{prototxt.line_with(solver, 'snapshot_prefix')}: its models would be named {name}_N, as "
                   f"those of {owner}: give it a snapshot_prefix of its own")


def _paths(run: Run, step: Step, files: StepFiles) -> Iterator[Path]:
    yield from (files.text, files.job, files.settings, files.result)
    if run.profile:
        yield from profile_files(files.profile)
    if step.trains:
        yield from (files.log, files.hard_rois, files.solver)
        if run.validation:
            yield files.validations
            if step.kind != "rpn":
                yield from (files.validation_net, files.validation_proposals, *files.validation_results)


def _models(run: Run, step: Step) -> list[str]:
    """Names of the snapshots of a step, and of what belongs to them."""
    solver, train, max_iters = (
        run.nets.solver_param(step.name), run.settings[step.name].TRAIN, run.nets.max_iters[step.name])
    final = snapshot_name(solver, train, max_iters)
    return [*snapshots_to_come(solver, train, max_iters, os.listdir(run.output)), final, record_of(final).name,
            proposals_name(final), *(best_files(final) if run.validation else [])]
