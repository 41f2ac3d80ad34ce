"""Runs the steps of alternating optimisation of Faster R-CNN.

    stage 1  train an RPN from the given weights, generate its proposals
             train Fast R-CNN from the given weights on these proposals
    stage 2  train an RPN from stage 1's Fast R-CNN, generate its proposals
             train Fast R-CNN from stage 2's RPN on these proposals

In stage 2 the convolutions are frozen, so that RPN and Fast R-CNN share them in the end.
Source: Ren et al., "Faster R-CNN", section 3.2; with hard example mining, Shrivastava et al. 2016.

Each step runs in a child process (step.py), so that its GPU memory is freed when it ends; in a parallel run each
process has its own child (team.py). The manifest records the inputs of each step, so that an interrupted run can be
resumed.
"""
from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alt_opt.dry_run import dry_run
from alt_opt.files import StepFiles, detector_files, file_names, name_problems, training_logs
from alt_opt.job import write_job
from alt_opt.manifest import CONTINUES_FROM, DONE, PENDING, RUNNING, Manifest
from alt_opt.plan import STEPS, Run, Step
from alt_opt.settings import write_settings
from alt_opt.team import run_step
from checks.net_file import NetFile
from checks.nets import NO_OHEM, check_frozen, check_test_net, check_train_net
from checks.shared import check_shared
from checks.solver import check_solver
from commands.curves import LOSS_CURVES, plot_losses
from commands.data_set import DECODED, DECODED_TEST, DECODED_VAL
from fast_rcnn.checkpoints import (
    IMAGE_DIGESTS,
    Checkpoints,
    net_fingerprint,
    param_fingerprint,
    relevant_settings,
)
from fast_rcnn.config import flatten, plain
from fast_rcnn.detector_record import RUN_RECORD, detector_settings, write_run_record
from roi_data_layer.features import FEATURES
from utils.errors import raise_all
from utils.files import (
    DamagedFileError,
    atomic_path,
    copy_file,
    read_json,
    read_record,
    sha256_file,
    sha256_json,
)
from utils.folder_lock import FolderLock, RunError, folder_is_taken
from utils.other_caffe import clear_features
from utils.own_files import OwnFiles


def check_run(run: Run) -> None:
    """Check all prototxts against settings and data set. Raises CheckError that lists every problem."""
    nets, num_classes = run.nets, len(run.classes)
    anchors = NetFile(nets.train_net("stage1_rpn")).num_anchors()
    problems: list[str] = []
    for step in STEPS:
        if step.trains:
            path = nets.train_net(step.name)
            problems += check_train_net(path, run.settings[step.name].TRAIN, num_classes, anchors)
            problems += check_frozen(path, step.kind, step.stage)
            problems += check_solver(nets.solver(step.name), nets.solver_param(step.name))
    for path in (nets.rpn_test, nets.detector_test):
        problems += check_test_net(path, num_classes, anchors)
    problems += check_shared([nets.train_net(step.name) for step in STEPS if step.trains],
                             [nets.rpn_test, nets.detector_test])
    others = [problem for problem in problems if NO_OHEM not in problem]     # the latter say what to do
    problems += name_problems(run)
    raise_all(problems, "To make nets for other classes or anchors: tools/make_models.py "
                               f"--net {nets.net_name} --classes {num_classes} --out DIR, then --models DIR"
                               if others else "")


def open_folder(output: Path, may_hold_a_run: bool) -> FolderLock:
    """Lock an output folder before anything is written to it.

    Raises RunError if it is in use, or holds a run although it may not.
    """
    lock = FolderLock(output)
    try:
        manifest = Manifest(output)
        if manifest.steps and not may_hold_a_run:
            raise _other_run(manifest, output)
    except BaseException:
        lock.release()
        raise
    return lock


def train_alt_opt(run: Run, restart: bool = False) -> Path:
    """Run the steps that are not done yet; returns the path of the final model.

    Steps whose inputs have changed are repeated. Before the first step all nets are built in a dry run. An earlier
    detector is kept until the new one replaces it.

    restart  discard the results of the run in the output folder
    Raises UserError if a file would be overwritten that was not written by a run, CheckError for nets that do not work
    or do not fit together, ChildDied if a step fails, KeyboardInterrupt if stopped.
    """
    with run.lock:
        manifest = Manifest(run.output)
        _claim_files(run, manifest)
        _take_over_version_1(run, manifest)
        todo = STEPS if restart else tuple(itertools.dropwhile(lambda step: _is_kept(run, step, manifest), STEPS))
        if todo:
            dry_run(run, STEPS)
        if restart:
            _throw_away(run, manifest)
        for step in todo:
            if not _is_kept(run, step, manifest):
                _do_step(run, step, manifest)
        return _finish(run, manifest)


def _claim_files(run: Run, manifest: Manifest) -> None:
    """Record the files that the run will write, and delete temporary files left by killed writers."""
    own, names = OwnFiles(run.output), file_names(run)
    if manifest.existed and not own.exists:     # a run of version 1.0.0, which kept no record
        own.adopt(names)
    own.claim(*names)
    own.sweep(manifest.path.name, IMAGE_DIGESTS, DECODED, DECODED_TEST, DECODED_VAL)


def _take_over_version_1(run: Run, manifest: Manifest) -> None:
    """Add the images' content to the data set fingerprints of version 1.0.0, so that its finished steps are kept.

    As in that version, images that were replaced before this resume are not noticed.
    """
    for step in STEPS:
        before = manifest.steps.get(step.name, {}).get("inputs", {})
        if before.get("data set") == run.annotation_digest:
            after = {**before, "data set": run.data_digest}
            _checkpoints(run, step, sha256_json(after)).take_over(sha256_json(before))
            manifest.replace_inputs(step.name, after)


def _other_run(manifest: Manifest, output: Path) -> RunError:
    states = ", ".join(f"{step.name} {manifest.state(step.name)}" for step in STEPS)
    return folder_is_taken(output, states)


def _throw_away(run: Run, manifest: Manifest) -> None:
    manifest.forget(*(step.name for step in STEPS))
    for step in STEPS:
        _checkpoints(run, step).remove()
        _end_state(run, step).remove()
    clear_features(run.output / FEATURES)


def _checkpoints(run: Run, step: Step, run_hash: str = "") -> Checkpoints:
    return Checkpoints(StepFiles(run.output, step.name).checkpoints, run_hash)


def _end_state(run: Run, step: Step, run_hash: str = "") -> Checkpoints:
    return Checkpoints(StepFiles(run.output, step.name).end_state, run_hash)


def step_inputs(run: Run, step: Step, manifest: Manifest) -> dict[str, str]:
    """Everything that a step's result depends on: fingerprints of files, and the settings that it reads."""
    inputs = {f"cfg.{key}": str(value)
              for key, value in relevant_settings(plain(run.settings[step.name]), step.kind).items()}
    inputs["data set"] = run.data_digest
    if step.trains:
        inputs["max_iters"] = str(run.nets.max_iters[step.name])
        inputs["solver"] = param_fingerprint(run.nets.solver_param(step.name))
        if run.processes > 1:       # each adds its passes to an iteration; proposals do not depend on their number
            inputs["processes"] = str(run.processes)
        inputs |= _stopping_inputs(run, step)
    inputs["net"] = net_fingerprint(run.nets.train_net(step.name) if step.trains else run.nets.rpn_test)
    if step.init:
        inputs["weights"] = manifest.output_hash(step.init, "model")
    else:
        inputs["weights"] = sha256_file(run.weights) if run.weights else "none"
    if step.proposals:
        inputs["proposals"] = manifest.output_hash(step.proposals, "proposals")
    return inputs


def _stopping_inputs(run: Run, step: Step) -> dict[str, str]:
    """What decides when a step stops early: data, interval, settings and net of its validation; {} if it never does."""
    if not (run.validation and run.validation.patience):
        return {}
    net = run.nets.rpn_test if step.kind == "rpn" else run.nets.detector_test
    return {"val_imdb": run.validation.digest, "patience": str(run.validation.patience),
            "val_every": str(run.validation.interval(run.nets.max_iters[step.name])),
            "val_net": net_fingerprint(net),
            **{f"cfg.{key}": str(value) for key, value in flatten(plain(run.settings[step.name]))
               if key.startswith("TEST.")}}


def _inputs_and_history(run: Run, step: Step, manifest: Manifest) -> dict[str, str]:
    """`step_inputs`, and the iterations where the step ended before, if it was extended."""
    inputs = step_inputs(run, step, manifest)
    return {**inputs, **manifest.history(step.name, inputs)}


def _solver_settings(run: Run, step: Step) -> dict[str, str]:
    """The settings of a step's solver as text; {} for a step that trains nothing."""
    if not step.trains:
        return {}
    fields = run.nets.solver_param(step.name).ListFields()
    return {field.name: _as_text(value) for field, value in fields if field.name not in ("net", "train_net")}


def _as_text(value: Any) -> str:
    """A prototxt field's value, or values, as text."""
    if hasattr(value, "append"):
        return " ".join(map(_as_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_kept(run: Run, step: Step, manifest: Manifest) -> bool:
    inputs = step_inputs(run, step, manifest)
    if manifest.state(step.name) != DONE or any(_reasons_to_repeat(run, step, manifest, inputs)):
        return False
    print(f"{step.name}  is done ({manifest.steps[step.name]['seconds']:.0f} s): kept", flush=True)
    return True


def _do_step(run: Run, step: Step, manifest: Manifest) -> None:
    inputs = _inputs_and_history(run, step, manifest)
    reasons = list(_reasons_to_repeat(run, step, manifest, inputs))
    if reasons:
        place = "end" if manifest.state(step.name) == DONE else "checkpoint"
        changed = _with_other_length(run, step, manifest, inputs)
        how = (f"continues from its {place}, iteration {changed[CONTINUES_FROM].split()[-1]}" if changed
               else "is repeated")
        print(f"{step.name}  {how}: {'; '.join(reasons)}", flush=True)
        inputs = changed or inputs
    run_hash = sha256_json(inputs)
    result = _unrecorded_result(run, step, run_hash) if manifest.state(step.name) == RUNNING and not reasons else None
    files, is_stopped = StepFiles(run.output, step.name), False
    manifest.start(step.name, inputs, _solver_settings(run, step), run.imdb_name)
    if result is None:
        job = write_job(run, step, manifest, run_hash)
        start = time.monotonic()
        try:
            is_stopped = run_step(run.command, job, step.name, files.text, keep_open=[run.lock.fileno()])
        finally:
            manifest.add_seconds(step.name, time.monotonic() - start)
        result = Path(read_json(files.result)["path"])
    manifest.finish(step.name, {step.output: result})
    _checkpoints(run, step).remove()
    if is_stopped:
        raise KeyboardInterrupt


def _with_other_length(run: Run, step: Step, manifest: Manifest, inputs: dict[str, str]) -> dict[str, str] | None:
    """Let a step continue if only its iterations and learning rate steps have changed, to more than it has done.

    A finished step continues from its end, an interrupted one from its newest checkpoint. The result differs from that
    of a single training, whose learning rate would have fallen at other iterations, so the inputs record the
    iterations where the step was when its length changed. Returns the inputs; None if the step must be repeated.
    """
    if not {"max_iters"} <= set(manifest.changed(step.name, inputs)) <= {"max_iters", "solver"}:
        return None
    before, solver = manifest.steps[step.name]["inputs"], manifest.steps[step.name].get("solver", {})
    found, is_done = _solver_settings(run, step), manifest.state(step.name) == DONE
    if is_done and int(before["max_iters"]) >= int(inputs["max_iters"]) or any(
            solver.get(key) != found.get(key) for key in {*solver, *found} - {"stepsize", "stepvalue", "max_iter"}):
        return None
    source = (_end_state if is_done else _checkpoints)(run, step, sha256_json(before))
    try:
        if source.newest() is None or source.iteration >= int(inputs["max_iters"]):
            return None
        changed = {**inputs, CONTINUES_FROM: f"{before.get(CONTINUES_FROM, '')} {source.iteration}".strip()}
        checkpoints = _checkpoints(run, step, sha256_json(changed))
        if is_done:
            checkpoints.copy_newest(source)
        else:
            checkpoints.take_over(source.run_hash)
    except DamagedFileError as error:
        print(f"{step.name}  cannot continue: {error}", flush=True)
        return None
    return changed


def _unrecorded_result(run: Run, step: Step, run_hash: str) -> Path | None:
    """The output of a step that finished when the driver was already killed; None if it did not finish."""
    file = StepFiles(run.output, step.name).result
    if not file.is_file():
        return None
    result = read_record(file, "delete it", path=str)
    path = run.output / Path(result["path"]).name       # the folder may have been moved
    is_complete = result.get("run") == run_hash and path.is_file() and sha256_file(path) == result.get("sha256")
    if is_complete:
        print(f"{step.name}  had ended when the run was killed: kept", flush=True)
    return path if is_complete else None


def _reasons_to_repeat(run: Run, step: Step, manifest: Manifest, inputs: dict[str, str]) -> Iterator[str]:
    if manifest.state(step.name) == PENDING:
        return
    yield from manifest.differences(step.name, inputs, _solver_settings(run, step), run.imdb_name)
    if manifest.state(step.name) == DONE:
        yield from manifest.damaged_outputs(step.name)


def _finish(run: Run, manifest: Manifest) -> Path:
    """Assemble the detector: final model, test net, settings, a list of these files, and the loss curves."""
    final, net, settings = (run.output / name for name in detector_files(run))
    note = run.output / RUN_RECORD
    with contextlib.ExitStack() as replacements:        # all files are complete before an old one is replaced
        for source, target in ((manifest.output("stage2_fast_rcnn", "model"), final), (run.nets.detector_test, net)):
            copy_file(source, replacements.enter_context(atomic_path(target)))
        write_settings(replacements.enter_context(atomic_path(settings)),
                       detector_settings(run.settings["stage2_fast_rcnn"]))
        note.unlink(missing_ok=True)                    # so that no detector mixes old and new files
    write_run_record(final, net, run.classes, NetFile(net).anchors(), run.imdb_name)
    plot_losses(training_logs(run.output), run.output / LOSS_CURVES)
    clear_features(run.output / FEATURES)
    return final


