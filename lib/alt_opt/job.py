"""The job of a step's child process: everything that it needs, in a JSON file."""
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from alt_opt.files import StepFiles, training_logs
from alt_opt.manifest import DONE, Manifest
from alt_opt.plan import STEPS, Run, Step
from alt_opt.settings import write_settings
from fast_rcnn.train_log import StepOfRun
from utils.files import write_json


class Job(TypedDict):
    """What every step gets. Paths are strings; None: none.

    run_hash   fingerprint of the step's inputs
    cfg        file of its settings
    output     folder of the run
    result     file for the path of the step's output (see step.py)
    proposals  to train on
    features   folder for cached features
    left_out   image files of the data set that are left out
    """

    name: str
    kind: str
    run_hash: str
    imdb: str
    cfg: str
    gpu_id: int | None
    output: str
    result: str
    proposals: str | None
    log: str
    checkpoints: str
    end_state: str
    features: str
    left_out: list[str]
    profile: str | None


class ProposalsJob(Job):
    """Proposal generation; `net` is the RPN's test net."""

    net: str
    weights: str


class TrainingJob(Job):
    """Training of an RPN or Fast R-CNN.

    weights  to start from; None: random ones
    has_rpn  whether its model has a trained RPN
    step     the fields of the step's `StepOfRun`
    curves   the logs whose losses are plotted
    """

    solver: str
    weights: str | None
    max_iters: int
    has_rpn: bool
    validation: ValidationJob | None
    skip_unfitting: bool
    step: dict[str, Any]
    curves: list[str]
    tensorboard: str | None


class ValidationJob(TypedDict):
    """Validation of a training step: RPNs by their own proposals, detectors on those of the RPN `rpn`.

    data  fingerprint of the data set
    log   file of the results
    """

    imdb: str
    data: str
    every: int
    patience: int | None
    log: str
    rpn_net: str
    detector: str
    rpn: str | None


def write_job(run: Run, step: Step, manifest: Manifest, run_hash: str) -> Path:
    """Write a child's job file and settings file; returns the path of the job file."""
    files = StepFiles(run.output, step.name)
    write_settings(files.settings, run.settings[step.name])
    weights = manifest.output(step.init, "model") if step.init else run.weights
    job: Job = {
        "name": step.name, "kind": step.kind, "run_hash": run_hash, "imdb": run.imdb_name,
        "cfg": str(files.settings), "gpu_id": run.gpu_id, "output": str(run.output), "result": str(files.result),
        "proposals": str(manifest.output(step.proposals, "proposals")) if step.proposals else None,
        "log": str(files.log), "checkpoints": str(files.checkpoints), "end_state": str(files.end_state),
        "features": str(files.features), "left_out": list(run.left_out),
        "profile": str(files.profile) if run.profile else None,
    }
    write_json(files.job, _training_job(job, weights, run, step, manifest) if step.trains else
               ProposalsJob(**job, net=str(run.nets.rpn_test), weights=str(weights)))
    return files.job


def _training_job(job: Job, weights: Path | None, run: Run, step: Step, manifest: Manifest) -> TrainingJob:
    files, logs = StepFiles(run.output, step.name), training_logs(run.output)
    return {**job, "solver": str(run.nets.solver_to_run(step.name, files.solver)),
            "weights": str(weights) if weights else None, "max_iters": run.nets.max_iters[step.name],
            "has_rpn": step.has_rpn, "validation": _validation_job(run, step, manifest),
            "skip_unfitting": run.skip_unfitting, "step": asdict(_step_of_run(run, step, manifest)),
            "curves": [str(path) for path in logs[:logs.index(files.log) + 1]],
            "tensorboard": str(files.tensorboard) if run.tensorboard else None}


def _validation_job(run: Run, step: Step, manifest: Manifest) -> ValidationJob | None:
    if not run.validation:
        return None
    files = StepFiles(run.output, step.name)
    rpn = next((each.init for each in STEPS if each.name == step.proposals), None)
    return {"imdb": run.validation.imdb_name, "data": run.validation.digest,
            "every": run.validation.interval(run.nets.max_iters[step.name]),
            "patience": run.validation.patience, "log": str(files.validations),
            "rpn_net": str(run.nets.rpn_test), "detector": str(run.nets.detector_test),
            "rpn": str(manifest.output(rpn, "model")) if rpn else None}


def _step_of_run(run: Run, step: Step, manifest: Manifest) -> StepOfRun:
    done = {each.kind: manifest.steps[each.name]["seconds"] / max(_iterations(run, each), 1)
            for each in STEPS if manifest.state(each.name) == DONE}
    number = STEPS.index(step) + 1
    later = STEPS[number:]
    return StepOfRun(number, len(STEPS),
                     sum(done[each.kind] * _iterations(run, each) for each in later if each.kind in done),
                     sum(_iterations(run, each) for each in later if each.kind not in done))


def _iterations(run: Run, step: Step) -> int:
    """Iterations of a training step; for a proposal step an image counts as half an iteration."""
    return run.nets.max_iters[step.name] if step.trains else (run.num_images + 1) // 2
