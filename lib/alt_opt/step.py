"""Runs one step of alternating optimisation in its own child process.

job.py writes the job file. The path of the step's output is written to the job's `result` file, also
JSON: {"path": ..., "run": fingerprint of the step's inputs, "sha256": of the output}.
"""
from __future__ import annotations

import faulthandler
import sys
from collections.abc import Sequence
from pathlib import Path

from alt_opt.files import StepFiles, proposals_name
from alt_opt.job import Job, ProposalsJob, TrainingJob
from commands.options import tool, use_device
from datasets.imdb import imdb as Imdb
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, file_changes, make_settings, set_cfg
from fast_rcnn.detector_record import detector_settings
from fast_rcnn.hooks import EndStateHook, Hook
from fast_rcnn.snapshots import others_of_the_same_training
from fast_rcnn.train_log import StepOfRun, TrainLog
from fast_rcnn.validation import Measure, ValidationHook, ValidationPlan
from utils import parallel
from utils.child_process import INTERRUPTED, end_with_parent
from utils.files import DamagedFileError, read_json, sha256_file, write_json
from utils.own_files import OwnFiles
from utils.prototxt import net_of_solver
from utils.user_modules import import_modules


@tool
def run_job(argv: Sequence[str] | None = None) -> int:
    """Run the step described by the job file argv[0]; returns the exit status of the process."""
    (job_file,) = sys.argv[1:] if argv is None else argv
    faulthandler.enable()
    end_with_parent()
    job = read_json(job_file)
    set_cfg(make_settings(file_changes(job["cfg"])))
    import_modules(cfg.IMPORTS, cfg.IMPORTS_DIR)
    on_gpu = job["gpu_id"] is not None and parallel.is_wanted()
    use_device(parallel.local_rank() if on_gpu else job["gpu_id"], cfg.RNG_SEED)
    parallel.join()
    do = _generate_proposals if job["kind"] == "proposals" else _train
    from fast_rcnn.train import TrainingStopped
    try:
        path = do(job)
    except TrainingStopped as stopped:
        print(f"{job['name']}  {stopped}{'; a checkpoint is written' if stopped.has_checkpoint else ''}", flush=True)
        return INTERRUPTED
    if parallel.is_first():
        write_json(job["result"], {"path": path, "run": job["run_hash"], "sha256": sha256_file(path)})
    parallel.wait()
    return 0


def _train(job: TrainingJob) -> str:
    """Train an RPN or Fast R-CNN; returns the path of its model. Snapshots of other iterations are removed.

    Checkpoints stay until the driver has recorded the model.
    """
    from commands.curves import LOSS_CURVES, PlotHook, TensorBoard
    from commands.records import RecordHook
    from fast_rcnn.train import get_training_roidb, train_net
    imdb = _imdb(job)
    roidb = get_training_roidb(imdb)
    print(f"{job['name']}  trains on {len(roidb)} images of {imdb.name}, from "
          f"{job['weights'] or 'random weights'}", flush=True)
    checkpoints = Checkpoints(job["checkpoints"], job["run_hash"])
    listeners = [TensorBoard(Path(job["tensorboard"]))] if job["tensorboard"] and parallel.is_first() else []
    log = TrainLog(job["name"], job["max_iters"], job["log"] if parallel.is_first() else None,
                   step=StepOfRun(**job["step"]), listeners=listeners)
    paths = train_net(job["solver"], roidb, job["output"], job["weights"], job["max_iters"], log=log,
                      checkpoints=checkpoints, resume=_can_resume(checkpoints, log), features=job["features"],
                      profile=_profile(job), keep_checkpoints=True, skip_unfitting=job["skip_unfitting"],
                      hooks=[RecordHook(net_of_solver(job["solver"]), imdb.classes,
                                        detector_settings(cfg, job["has_rpn"])),
                             *_validation(job, imdb.classes, log),
                             PlotHook([Path(path) for path in job["curves"]], Path(job["output"], LOSS_CURVES), log),
                             EndStateHook(Checkpoints(job["end_state"], job["run_hash"]), log)])
    final = Path(paths[-1])
    if parallel.is_first():
        own = OwnFiles(final.parent)
        own.remove(*others_of_the_same_training(final.name, own.names()))
    return str(final)


def _validation(job: TrainingJob, classes: Sequence[str], log: TrainLog) -> list[Hook]:
    """The hook that validates, if the job asks for it.

    RPNs are measured by the recall of their proposals. Detectors are measured on proposals of the RPN that generated
    their training proposals, as the RPN in their own net is not trained in this step, and in stage 1 not at all.
    """
    job_of_val = job["validation"]
    if not job_of_val:
        return []

    def prepare() -> Measure:
        from commands.validation import DetectionMeasure, RecallMeasure, write_net_on_rois, write_proposals
        from datasets.factory import get_imdb
        imdb, files = get_imdb(job_of_val["imdb"], classes), StepFiles(Path(job["output"]), job["name"])
        if not job_of_val["rpn"]:
            return RecallMeasure(job_of_val["rpn_net"], imdb)
        proposals = write_proposals(job_of_val["rpn_net"], job_of_val["rpn"], imdb, files.validation_proposals)
        net = write_net_on_rois(job_of_val["detector"], files.validation_net)
        return DetectionMeasure(net, imdb, classes, files.validation, proposals)

    plan = ValidationPlan(job_of_val["every"], job_of_val["patience"])
    return [ValidationHook(prepare, plan, log, Path(job_of_val["log"]), cfg.TRAIN.SNAPSHOT_ITERS,
                           job_of_val["data"])]


def _can_resume(checkpoints: Checkpoints, log: TrainLog) -> bool:
    """Whether there is an undamaged checkpoint; if all are damaged, reports that the step starts over."""
    found = False
    if parallel.is_first():
        try:
            found = checkpoints.newest() is not None
        except DamagedFileError:
            damage = "; ".join(checkpoints.damage) or checkpoints.folder
            log.say(f"starts over, as its checkpoints are damaged: {damage}")
    return parallel.from_first(found)


def _generate_proposals(job: ProposalsJob) -> str:
    """Run the RPN over the data set; returns the path of the proposals."""
    from commands.detector import load_rpn
    from datasets.proposals_file import save_proposals
    from rpn.generate import imdb_proposals
    imdb = _imdb(job)
    boxes, scores = imdb_proposals(load_rpn(job["net"], job["weights"]), imdb, _profile(job), job["features"])
    path = Path(job["output"], proposals_name(Path(job["weights"]).name))
    if parallel.is_first():
        OwnFiles(path.parent).claim(path.name)      # not claimed yet if the training stopped early
        save_proposals(path, boxes, scores, imdb.image_index)
        print(f"{job['name']}  wrote {sum(map(len, boxes))} proposals for {imdb.num_images} images", flush=True)
    return str(path)


def _profile(job: Job) -> Path | None:
    return Path(job["profile"]) if job["profile"] else None


def _imdb(job: Job) -> Imdb:
    from datasets.factory import get_imdb
    imdb = get_imdb(job["imdb"])
    imdb.leave_out(job["left_out"])
    imdb.set_proposal_method(cfg.TRAIN.PROPOSAL_METHOD if job["kind"] != "proposals" else "gt")
    if job["proposals"]:
        imdb.config["rpn_file"] = job["proposals"]
    return imdb
