"""Fingerprints of what a training run is made from: equal ones mean an equal result."""
from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from fast_rcnn.checks import net_of_solver
from fast_rcnn.config import cfg
from fast_rcnn.stage_cfg import plain, relevant_settings
from utils import prototxt
from utils.files import sha256_file, sha256_json


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
    return sha256_json([solver_fingerprint(solver), net_fingerprint(net_of_solver(solver)), *files,
                        data_digest(imdb), relevant_settings(plain(cfg), "both"),
                        *([processes] if processes > 1 else [])])
