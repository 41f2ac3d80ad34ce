"""Where a training run keeps what it resumes from, and fingerprints of what it was made from.

Equal fingerprints mean an equal result.
"""
from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fast_rcnn.config import Settings, cfg, flatten, plain
from utils import other_caffe, parallel, prototxt
from utils.files import read_record, sha256_file, sha256_json, write_json

# Without influence on results: where things are, how fast, how often something is written
_IRRELEVANT = {"ROOT_DIR", "DATA_DIR", "MODELS_DIR", "EXP_DIR", "MATLAB", "GPU_ID", "USE_GPU_NMS", "NUM_WORKERS",
               "FEATURE_MEMORY_MB", "FEATURE_DISK_MB", "TRAIN.USE_PREFETCH", "TRAIN.SNAPSHOT_ITERS", "IMPORTS_DIR"}
# Beginnings of the names of settings that a step never reads
_UNREAD = {
    "rpn": ("TEST.", "TRAIN.OHEM_", "TRAIN.BATCH_SIZE", "TRAIN.FG_FRACTION", "TRAIN.BBOX_"),
    "fast_rcnn": ("TEST.", "TRAIN.RPN_"),
    "proposals": ("TRAIN.",),
    "both": ("TEST.",),
}


class Checkpoints:
    """The newest checkpoint of a run, in a folder of its own. Of several processes the first one writes it.

    `checkpoint.json` names the files and is written last, so it is never about files that are not complete.

    folder    where they are kept; made when the first one is written
    run_hash  fingerprint of what the run was made from; a checkpoint of another run is not used
    """

    def __init__(self, folder: str | os.PathLike, run_hash: str = "") -> None:
        self.folder, self.run_hash = Path(folder), run_hash
        self._note = self.folder / "checkpoint.json"

    def write(self, solver: Any) -> None:
        """Keep weights, history and iteration of a solver, and remove the checkpoint before.

        Other Caffes do not let us say where: there is no checkpoint then.
        """
        if parallel.is_first():
            self._write(solver)
        parallel.wait()     # nobody leaves, and so ends the run, before it is complete

    def _write(self, solver: Any) -> None:
        target = self.folder / f"iter_{solver.iter}"
        state = other_caffe.snapshot_to(solver, target.resolve() / "checkpoint")
        if state is None:
            return
        write_json(self._note, {"iteration": solver.iter, "run": self.run_hash, "seed": cfg.RNG_SEED,
                                "state": f"{target.name}/{state.name}"})
        for other in self.folder.glob("iter_*"):
            if other != target:
                shutil.rmtree(other)

    def newest(self) -> Path | None:
        """The solver state to go on from; None if there is none of this run."""
        if not self._note.exists():
            return None
        note = read_record(self._note, self.how_to_begin_anew, run=str, state=str)
        state = self.folder / note["state"]
        return state if note["run"] == self.run_hash and state.exists() else None

    @property
    def how_to_begin_anew(self) -> str:
        """What to do about checkpoints that are damaged."""
        return f"delete the folder {self.folder} to train from the start"

    def remove(self) -> None:
        """Delete all of them."""
        if parallel.is_first():
            shutil.rmtree(self.folder, ignore_errors=True)


def net_fingerprint(path: str | os.PathLike) -> str:
    """Fingerprint of what a net's prototxt says; comments and layout do not count."""
    return hashlib.sha256(prototxt.read_net(path).SerializeToString(deterministic=True)).hexdigest()


def solver_fingerprint(path: str | os.PathLike) -> str:
    """Fingerprint of a solver's settings; where its net lies does not count."""
    param = prototxt.read_solver(path)
    param.ClearField("train_net")
    param.ClearField("net")
    return hashlib.sha256(param.SerializeToString(deterministic=True)).hexdigest()


def data_digest(imdb: Any) -> str:
    """Fingerprint of the images' names and their annotated objects."""
    digest = hashlib.sha256("\n".join([*imdb.classes, "", *imdb.image_index]).encode())
    for entry in imdb.gt_roidb():
        digest.update(np.ascontiguousarray(entry["boxes"], np.float32).tobytes())
        digest.update(np.ascontiguousarray(entry["gt_classes"], np.int32).tobytes())
    return digest.hexdigest()


def run_fingerprint(solver: str | os.PathLike, weights: str | os.PathLike | None,
                    proposals: str | os.PathLike | None, imdb: Any, processes: int = 1) -> str:
    """Fingerprint of what one solver trains from: files, data set, cfg as it is now, and the number of processes."""
    files = [sha256_file(path) for path in (weights, proposals) if path]
    return sha256_json([solver_fingerprint(solver), net_fingerprint(prototxt.net_of_solver(solver)), *files,
                        data_digest(imdb), relevant_settings(plain(cfg), "both"),
                        *([processes] if processes > 1 else [])])


def relevant_settings(settings: Settings, kind: str) -> dict[str, Any]:
    """The settings that can change the result of a step ('both': of RPN and Fast R-CNN in one), by full name."""
    return {key: value for key, value in flatten(settings)
            if key not in _IRRELEVANT and not key.startswith(_UNREAD[kind])}
