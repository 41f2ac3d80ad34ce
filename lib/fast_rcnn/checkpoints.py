"""Checkpoints from which a training run resumes, and fingerprints of its inputs.

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

# Without effect on results: locations, speed, how often files are written
_IRRELEVANT = {"ROOT_DIR", "DATA_DIR", "MODELS_DIR", "EXP_DIR", "MATLAB", "GPU_ID", "USE_GPU_NMS", "NUM_WORKERS",
               "FEATURE_MEMORY_MB", "FEATURE_DISK_MB", "TRAIN.USE_PREFETCH", "TRAIN.SNAPSHOT_ITERS", "IMPORTS_DIR"}
# Prefixes of the settings that a step never reads
_UNREAD = {
    "rpn": ("TEST.", "TRAIN.OHEM_", "TRAIN.BATCH_SIZE", "TRAIN.FG_FRACTION", "TRAIN.BBOX_"),
    "fast_rcnn": ("TEST.", "TRAIN.RPN_"),
    "proposals": ("TRAIN.",),
    "both": ("TEST.",),
}


class Checkpoints:
    """The newest checkpoint of a run, in its own folder. In a parallel run the first process writes it.

    `checkpoint.json` names the files and is written last, so that it never names incomplete files.

    folder    where checkpoints are kept; created with the first one
    run_hash  fingerprint of the run's inputs; checkpoints of other runs are not used
    """

    def __init__(self, folder: str | os.PathLike, run_hash: str = "") -> None:
        self.folder, self.run_hash = Path(folder), run_hash
        self._note = self.folder / "checkpoint.json"

    def write(self, solver: Any) -> None:
        """Save weights, history and iteration of a solver, and remove the previous checkpoint.

        No checkpoint is written on other Caffes, which do not allow choosing the folder.
        """
        if parallel.is_first():
            self._write(solver)
        parallel.wait()     # no process may leave, which would end the run, before it is complete

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
        """The solver state to resume from; None if there is none of this run."""
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
    """Fingerprint of a net's prototxt, ignoring comments and layout."""
    return hashlib.sha256(prototxt.read_net(path).SerializeToString(deterministic=True)).hexdigest()


def solver_fingerprint(path: str | os.PathLike) -> str:
    """Fingerprint of a solver's settings, ignoring the path of its net."""
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
    """Fingerprint of the inputs of a solver's run: files, data set, the current cfg, and the number of processes."""
    files = [sha256_file(path) for path in (weights, proposals) if path]
    return sha256_json([solver_fingerprint(solver), net_fingerprint(prototxt.net_of_solver(solver)), *files,
                        data_digest(imdb), relevant_settings(plain(cfg), "both"),
                        *([processes] if processes > 1 else [])])


def relevant_settings(settings: Settings, kind: str) -> dict[str, Any]:
    """The settings that can change the result of a step ('both': of RPN and Fast R-CNN in one), by full name."""
    return {key: value for key, value in flatten(settings)
            if key not in _IRRELEVANT and not key.startswith(_UNREAD[kind])}
