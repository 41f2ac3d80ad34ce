"""Checkpoints from which a training run resumes, and fingerprints of its inputs.

Equal fingerprints mean equal results.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from caffe.proto.caffe_pb2 import SolverParameter
from fast_rcnn.config import Settings, cfg, flatten, plain
from fast_rcnn.schedule import change_solver
from fast_rcnn.train_log import check_weights
from utils import other_caffe, parallel, prototxt
from utils.file_digests import content_digests
from utils.files import DamagedFileError, copy_file, inside, read_record, sha256_file, sha256_json, write_json
from utils.other_caffe import Solver
from utils.own_files import remove_leftovers

END_STATES = "end_states"                   # folder in an output folder: the last checkpoint of each finished training
IMAGE_DIGESTS = "image_digests.json"        # file in an output folder: the record for `data_digest`
# Settings without effect on results: locations, speed, what is recorded, how often files are written
_IRRELEVANT = {"ROOT_DIR", "DATA_DIR", "MODELS_DIR", "EXP_DIR", "MATLAB", "GPU_ID", "USE_GPU_NMS", "NUM_WORKERS",
               "FEATURE_MEMORY_MB", "FEATURE_DISK_MB", "TRAIN.USE_PREFETCH", "TRAIN.SNAPSHOT_ITERS",
               "TRAIN.OHEM_GALLERY", "IMPORTS_DIR"}
# Prefixes of the settings that a step never reads
_UNREAD = {
    "rpn": ("TEST.", "TRAIN.OHEM_", "TRAIN.BATCH_SIZE", "TRAIN.FG_FRACTION", "TRAIN.BBOX_", "TRAIN.AGNOSTIC"),
    "fast_rcnn": ("TEST.", "TRAIN.RPN_"),
    "proposals": ("TRAIN.",),
    "both": ("TEST.",),
}


class Checkpoints:
    """The two newest checkpoints of a run, in their own folder. In a parallel run the first process writes them.

    `checkpoint.json` names the files of the newest one, with their fingerprints, and under `previous` those of the one
    before. It is written last, so that it never names incomplete files. Other files in the folder are never deleted.

    folder    where checkpoints are kept; created with the first one
    run_hash  fingerprint of the run's inputs; checkpoints of other runs are not used
    damage    problems found by `newest`, in words
    """

    def __init__(self, folder: str | os.PathLike, run_hash: str = "") -> None:
        self.folder, self.run_hash = Path(folder), run_hash
        self.damage: list[str] = []
        self._note = self.folder / "checkpoint.json"
        self._good: dict[str, Any] | None = None        # the newest entry that was read or written

    def write(self, solver: Solver) -> None:
        """Save weights, history and iteration of a solver, and remove the checkpoint before the previous one.

        Other Caffes, where the folder cannot be chosen, write none.
        Raises LossError if the weights are not finite.
        """
        if parallel.is_first():
            self._write(solver)
        parallel.wait()     # a process that ends earlier would end the run before the checkpoint is complete

    def _write(self, solver: Solver) -> None:
        check_weights(solver.net, f"after iteration {solver.iter}")
        previous = self._good
        if previous and previous["iteration"] == solver.iter:       # written again
            previous = previous.get("previous")
        if previous:        # remove the one before it now: its disk space may be needed
            previous.pop("previous", None)
            self._remove_all_but(previous["iteration"], solver.iter)
        target = self.folder / f"iter_{solver.iter}"
        state = other_caffe.snapshot_to(solver, target.resolve() / "checkpoint")
        if state is None:
            return
        files = [f"{target.name}/{name}" for name in (state.name, weights_of(state).name)]
        entry = {"iteration": solver.iter, "run": self.run_hash, "seed": cfg.RNG_SEED, "state": files[0],
                 "files": {name: sha256_file(self.folder / name) for name in files}}
        if previous:
            entry["previous"] = previous
        write_json(self._note, entry)
        self._good = entry
        self._remove_all_but(solver.iter, *([previous["iteration"]] if previous else []))

    @property
    def exist(self) -> bool:
        """Whether there are checkpoints."""
        return self._note.exists()

    def are_of_another_run(self) -> bool:
        """Whether there are checkpoints, but of a run with other inputs. Raises DamagedFileError."""
        return self.exist and self._read()["run"] != self.run_hash

    def take_over(self, run_hash: str) -> None:
        """Adopt the checkpoints in the folder if they are of the run with fingerprint `run_hash`."""
        if self.exist and (note := self._read())["run"] == run_hash:
            write_json(self._note, {**note, "run": self.run_hash})

    @property
    def iteration(self) -> int:
        """Iteration of the checkpoint that `newest` has found."""
        return int(self._good["iteration"]) if self._good else 0

    def copy_newest(self, source: Checkpoints) -> None:
        """Copy the newest checkpoint of another folder, if any, as this run's only one. Raises DamagedFileError."""
        if source.newest() is None:
            return
        entry = source._good or {}
        self.remove()
        for name in entry.get("files", {}):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source.folder / name, self.folder / name)
        write_json(self._note, {**{key: entry[key] for key in ("iteration", "seed", "state", "files") if key in entry},
                                "run": self.run_hash})

    def newest(self) -> Path | None:
        """The newest solver state that is not damaged, to resume from; None if this run has no checkpoints.

        Raises DamagedFileError if all are damaged.
        """
        self._good, self.damage = None, []
        if not self.exist or self.are_of_another_run():
            return None
        note = self._read()
        for entry in (note, note.get("previous")):
            problem = self._problem(entry) if entry else ""
            if entry and not problem:
                self._good = entry
                return self.folder / entry["state"]
            self.damage += [problem] if problem else []
        raise DamagedFileError("; ".join([*self.damage, self.how_to_restart]))

    def _read(self) -> dict[str, Any]:
        return read_record(self._note, self.how_to_restart, run=str, state=str)

    def _problem(self, entry: object) -> str:
        """What is wrong with a checkpoint; '' if nothing is."""
        damaged = f"{self._note}: damaged"
        if not (isinstance(entry, dict) and isinstance(entry.get("state"), str)
                and isinstance(entry.get("files", {}), dict)):
            return damaged
        files = entry.get("files", {entry["state"]: None})      # version 1.0.0 recorded no fingerprints
        try:
            paths = {name: inside(self.folder, name) for name in [entry["state"], *files]}
        except DamagedFileError as error:
            return f"{damaged}, {error}"
        if entry["state"] not in files or iteration_of(paths[entry["state"]]) != entry.get("iteration"):
            return damaged
        for name, wanted in files.items():
            if not paths[name].is_file():
                return f"{paths[name]}: is missing"
            if wanted is not None and sha256_file(paths[name]) != wanted:
                return f"{paths[name]}: damaged, its content is not what was written"
        return ""

    @property
    def how_to_restart(self) -> str:
        """What to do about damaged checkpoints, for messages."""
        return f"delete the folder {self.folder} to train from the start"

    def remove(self) -> None:
        """Delete all checkpoints."""
        if parallel.is_first() and self.folder.is_dir():
            self._remove_all_but()
            remove_leftovers(self._note)
            self._note.unlink(missing_ok=True)
            _remove_if_empty(self.folder)

    def _remove_all_but(self, *iterations: int) -> None:
        """Delete the checkpoints of other iterations, incomplete ones included."""
        for folder in self.folder.glob("iter_*"):
            iteration = folder.name.removeprefix("iter_")
            ours = re.compile(rf"\.?checkpoint_iter_{re.escape(iteration)}\.(caffemodel|solverstate)(\.h5)?"
                              r"(\.\d+\.tmp)?")
            if iteration.isdecimal() and folder.is_dir() and not folder.is_symlink():
                for path in folder.iterdir():
                    is_kept = int(iteration) in iterations and not path.name.endswith(".tmp")
                    if ours.fullmatch(path.name) and not is_kept:
                        path.unlink()
                _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def weights_of(state: Path) -> Path:
    """The file with the weights of a solver state, beside it."""
    return state.with_name(state.name.replace(".solverstate", ".caffemodel"))


def iteration_of(state: Path) -> int | None:
    """The iteration in the name of a checkpoint's solver state."""
    found = re.search(r"_iter_(\d+)\.solverstate", state.name)
    return int(found[1]) if found else None


def net_fingerprint(path: str | os.PathLike) -> str:
    """Fingerprint of a net's prototxt, ignoring comments and layout."""
    return hashlib.sha256(prototxt.read_net(path).SerializeToString(deterministic=True)).hexdigest()


def solver_fingerprint(path: str | os.PathLike) -> str:
    """Fingerprint of the settings in a solver's file, ignoring the path of its net."""
    return param_fingerprint(prototxt.read_solver(path))


def param_fingerprint(solver: SolverParameter) -> str:
    """Fingerprint of a SolverParameter, ignoring the path of its net."""
    param = type(solver)()
    param.CopyFrom(solver)
    param.ClearField("train_net")
    param.ClearField("net")
    return hashlib.sha256(param.SerializeToString(deterministic=True)).hexdigest()


def data_digest(imdb: Any, record: str | os.PathLike | None = None) -> str:
    """Fingerprint of the images' names, their annotated objects and, given a record for it, their content.

    record  see `content_digests`
    """
    digest, lengths = hashlib.sha256("\n".join([*imdb.classes, "", *imdb.image_index]).encode()), []
    for entry in imdb.gt_roidb():
        arrays = [(entry["boxes"], np.float32), (entry["gt_classes"], np.int32)]
        if cfg.TRAIN.IGNORED_OVERLAP:
            arrays.append((entry.get("ignored", ()), np.float32))
        for values, kind in arrays:
            digest.update(np.ascontiguousarray(values, kind).tobytes())
            lengths.append(len(values))
    if record is not None:      # without one, the digest is that of version 1.0.0, which has no lengths
        digest.update(str(lengths).encode())
        paths = [imdb.image_path_at(index) for index in range(imdb.num_images)]
        found = content_digests(paths, record)
        digest.update("".join(found[path] for path in paths).encode())
    return digest.hexdigest()


def run_fingerprint(solver: str | os.PathLike, weights: str | os.PathLike | None,
                    proposals: str | os.PathLike | None, imdb: Any, processes: int = 1,
                    record: str | os.PathLike | None = None, lr: float | None = None) -> str:
    """Fingerprint of the inputs of a solver's run: files, data set, the current cfg, and the number of processes.

    The number of iterations, and the learning rate steps that follow from it, do not count: a training can be extended.

    record  of the images' content, see `data_digest`
    lr      initial learning rate, if not the solver's
    """
    param = prototxt.read_solver(solver)
    change_solver(param, lr=lr)
    files = [sha256_file(path) for path in (weights, proposals) if path]
    return sha256_json([param_fingerprint(param), net_fingerprint(prototxt.net_of_solver(solver)), *files,
                        data_digest(imdb, record), relevant_settings(plain(cfg), "both"),
                        *([processes] if processes > 1 else [])])


def relevant_settings(settings: Settings, kind: str) -> dict[str, Any]:
    """The settings that can change the result of a step ('both': RPN and Fast R-CNN in one), by full name."""
    return {key: value for key, value in flatten(settings)
            if key not in _IRRELEVANT and not key.startswith(_UNREAD[kind])}
