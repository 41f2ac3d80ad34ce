"""One step of alternating optimisation, in a child process of its own.

The job file is JSON, written by driver.py. The path of the step's output is written to the job's `result` file, also
JSON: {"path": ...}.
"""
from __future__ import annotations

import faulthandler
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands.options import tool, use_device
from datasets.imdb import imdb as Imdb
from fast_rcnn.config import cfg, file_changes, make_settings, set_cfg
from utils import parallel
from utils.child_process import INTERRUPTED, end_with_parent
from utils.files import read_json, write_json
from utils.user_modules import import_modules

Job = dict[str, Any]     # parsed JSON, see driver._write_job


@tool
def run_step(argv: Sequence[str] | None = None) -> int:
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
        write_json(job["result"], {"path": path})
    parallel.wait()
    return 0


def _train(job: Job) -> str:
    """Train an RPN or Fast R-CNN; returns the path of its model. Snapshots of other iterations are removed."""
    from fast_rcnn.checkpoints import Checkpoints
    from fast_rcnn.train import get_training_roidb, train_net
    from fast_rcnn.train_log import TrainLog
    imdb = _imdb(job)
    roidb = get_training_roidb(imdb)
    print(f"{job['name']}  trains on {len(roidb)} images of {imdb.name}, from "
          f"{job['weights'] or 'random weights'}", flush=True)
    paths = train_net(job["solver"], roidb, job["output"], job["weights"], job["max_iters"],
                      log=TrainLog(job["name"], job["max_iters"], job["log"] if parallel.is_first() else None),
                      checkpoints=Checkpoints(job["checkpoints"], job["run_hash"]), resume=True,
                      features=job["features"], profile=_profile(job))
    final = Path(paths[-1])
    for other in final.parent.glob(final.name.rsplit("_iter_", 1)[0] + "_iter_*.caffemodel"):
        if other != final and parallel.is_first():
            other.unlink()
    return str(final)


def _generate_proposals(job: Job) -> str:
    """Run the RPN over the data set; returns the path of the proposals."""
    from commands.detector import load_rpn
    from rpn.generate import imdb_proposals, save_proposals
    imdb = _imdb(job)
    boxes, scores = imdb_proposals(load_rpn(job["net"], job["weights"]), imdb, _profile(job), job["features"])
    path = Path(job["output"], f"{Path(job['weights']).stem}_proposals.npz")
    if parallel.is_first():
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
