"""The data set of a run: found with a message that helps, and its fingerprint."""
from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from fast_rcnn.checks import net_of_solver
from fast_rcnn.cli import UserError
from fast_rcnn.config import cfg
from fast_rcnn.stage_cfg import plain, relevant_settings
from utils.files import sha256_file, sha256_json


def load_imdb(name: str) -> Any:
    """The data set of this name or path. Raises UserError that says how to get it."""
    from datasets.factory import DatasetError, get_imdb
    try:
        imdb = get_imdb(name)
    except (DatasetError, FileNotFoundError) as error:
        hint = ". To fetch it: data/scripts/fetch_voc2007.sh" if name.startswith("voc_2007") else ""
        raise UserError(f"data set {name}: {error}{hint}") from None
    if hasattr(imdb, "summary"):
        print(imdb.summary(), flush=True)
    return imdb


def data_digest(imdb: Any) -> str:
    """Fingerprint of the images' names and their annotated objects."""
    digest = hashlib.sha256("\n".join([*imdb.classes, "", *imdb.image_index]).encode())
    for entry in imdb.gt_roidb():
        digest.update(np.ascontiguousarray(entry["boxes"], np.float32).tobytes())
        digest.update(np.ascontiguousarray(entry["gt_classes"], np.int32).tobytes())
    return digest.hexdigest()


def run_fingerprint(solver: str | os.PathLike, weights: str | os.PathLike | None,
                    proposals: str | os.PathLike | None, imdb: Any) -> str:
    """Fingerprint of what one solver trains from: files, data set, and cfg as it is now."""
    files = [solver, net_of_solver(solver), *filter(None, (weights, proposals))]
    return sha256_json([*map(sha256_file, files), data_digest(imdb), relevant_settings(plain(cfg), "train")])
