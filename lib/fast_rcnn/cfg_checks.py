"""Finds settings that cannot work, alone or together, before training starts."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fast_rcnn.config import ALL_ROIS, Config, ConfigError, cfg, get, type_problems

_SHARES = ("TRAIN.FG_FRACTION TRAIN.FG_THRESH TRAIN.BG_THRESH_HI TRAIN.BG_THRESH_LO TRAIN.BBOX_THRESH "
           "TRAIN.RPN_POSITIVE_OVERLAP TRAIN.RPN_NEGATIVE_OVERLAP TRAIN.RPN_FG_FRACTION TRAIN.RPN_NMS_THRESH "
           "TRAIN.OHEM_NMS_THRESH TRAIN.OHEM_RANDOM_SHARE TRAIN.IGNORED_OVERLAP TRAIN.SCALE_JITTER TRAIN.COLOUR_JITTER "
           "TEST.NMS TEST.RPN_NMS_THRESH").split()
_AT_LEAST_ONE = ("TRAIN.MAX_SIZE TRAIN.IMS_PER_BATCH TRAIN.SNAPSHOT_ITERS "
                 "TRAIN.RPN_BATCHSIZE TEST.MAX_SIZE").split()
_AT_LEAST_ZERO = ("TRAIN.RPN_MIN_SIZE TEST.RPN_MIN_SIZE DEDUP_BOXES RNG_SEED EPS GPU_ID NUM_WORKERS "
                  "FEATURE_MEMORY_MB FEATURE_DISK_MB TRAIN.OHEM_WARMUP TRAIN.OHEM_GALLERY TRAIN.WARMUP_ITERS "
                  "TRAIN.BBOX_INSIDE_WEIGHTS TRAIN.RPN_BBOX_INSIDE_WEIGHTS").split()
_POSITIVE = "TRAIN.SCALES TEST.SCALES TRAIN.BBOX_NORMALIZE_STDS PIXEL_STDS".split()
_CHOICES = {
    "TRAIN.PROPOSAL_METHOD": ("selective_search", "gt", "rpn"),
    "TEST.PROPOSAL_METHOD": ("selective_search", "gt", "rpn"),
    "PRECISION": ("float32", "tf32", "bfloat16"),
}
_LENGTHS = {key: 4 for key in ("TRAIN.BBOX_INSIDE_WEIGHTS", "TRAIN.RPN_BBOX_INSIDE_WEIGHTS",
                               "TRAIN.BBOX_NORMALIZE_MEANS", "TRAIN.BBOX_NORMALIZE_STDS")}


def check_cfg(settings: Config = cfg) -> None:
    """Raise one ConfigError that lists every wrong type and every combination that cannot work."""
    problems = list(type_problems(settings))
    if not problems:
        problems = [*_range_problems(settings), *_combination_problems(settings.TRAIN)]
    if problems:
        raise ConfigError("\n".join(problems))


def _range_problems(settings: Config) -> Iterator[str]:
    rules: list[tuple[list[str], Callable[[Any], Any], str]] = [
        (_SHARES, lambda v: 0 <= v <= 1, "lie in 0..1"),
        (_AT_LEAST_ONE, lambda v: v >= 1, "be at least 1"),
        (["TRAIN.BATCH_SIZE"], lambda v: v >= 1 or v == ALL_ROIS, f"be at least 1, or {ALL_ROIS} for all RoIs"),
        (_AT_LEAST_ZERO, lambda v: np.all(np.asarray(v) >= 0), "not be negative"),
        (["TRAIN.CROP"], lambda v: 0 <= v < 1, "be at least 0 and below 1"),
        (_POSITIVE, lambda v: np.size(v) > 0 and np.all(np.asarray(v) > 0),
         "not be empty and hold positive numbers only")]
    for keys, holds, demand in rules:
        yield from (f"{key} is {get(settings, key)}: it must {demand}" for key in keys if not holds(get(settings, key)))
    for key, choices in _CHOICES.items():
        value = get(settings, key)
        # Data sets of user modules may have a method <value>_roidb; if not, they say so
        if value not in choices and not (settings.IMPORTS and key.endswith("PROPOSAL_METHOD") and value.isidentifier()):
            yield f"{key} is {value!r}: choose one of {', '.join(choices)}" + (
                ", or a method of a data set in IMPORTS" if key.endswith("PROPOSAL_METHOD") else "")
    for key, length in _LENGTHS.items():
        if len(get(settings, key)) != length:
            yield f"{key} has {len(get(settings, key))} numbers, {length} are needed (dx, dy, dw, dh)"


def _combination_problems(train: Config) -> Iterator[str]:
    if train.BATCH_SIZE == ALL_ROIS:
        if train.USE_OHEM:
            yield (f"TRAIN.BATCH_SIZE is {ALL_ROIS}, all RoIs: with TRAIN.USE_OHEM it is the number of hard ones to "
                   "choose, such as 128")
    elif train.IMS_PER_BATCH >= 1 and train.BATCH_SIZE % train.IMS_PER_BATCH:
        yield (f"TRAIN.BATCH_SIZE ({train.BATCH_SIZE}) must be a multiple of TRAIN.IMS_PER_BATCH "
               f"({train.IMS_PER_BATCH}): each image gives the same number of RoIs")
    if train.BG_THRESH_LO > train.BG_THRESH_HI:
        yield f"TRAIN.BG_THRESH_LO ({train.BG_THRESH_LO}) is above TRAIN.BG_THRESH_HI ({train.BG_THRESH_HI})"
    if train.RPN_NEGATIVE_OVERLAP > train.RPN_POSITIVE_OVERLAP:
        yield (f"TRAIN.RPN_NEGATIVE_OVERLAP ({train.RPN_NEGATIVE_OVERLAP}) is above "
               f"TRAIN.RPN_POSITIVE_OVERLAP ({train.RPN_POSITIVE_OVERLAP})")
    if train.RPN_POSITIVE_WEIGHT >= 0 and not 0 < train.RPN_POSITIVE_WEIGHT < 1:
        yield (f"TRAIN.RPN_POSITIVE_WEIGHT is {train.RPN_POSITIVE_WEIGHT}: it must lie between 0 and 1, "
               "or be -1 for equal weights")
    means, stds = train.RPN_NORMALIZE_MEANS, train.RPN_NORMALIZE_STDS
    if (len(means), len(stds)) not in ((0, 0), (4, 4)):
        yield (f"TRAIN.RPN_NORMALIZE_MEANS and TRAIN.RPN_NORMALIZE_STDS have {len(means)} and {len(stds)} numbers: "
               "give four each (dx, dy, dw, dh), or none for the statistics of the training set")
    if any(std <= 0 for std in stds):
        yield f"TRAIN.RPN_NORMALIZE_STDS is {stds}: it must hold positive numbers only"
    if "/" in train.SNAPSHOT_INFIX:
        yield f"TRAIN.SNAPSHOT_INFIX is {train.SNAPSHOT_INFIX!r}: it becomes part of a file's name, without '/'"
    if train.USE_OHEM and train.BG_THRESH_LO != 0:
        yield (f"TRAIN.BG_THRESH_LO is {train.BG_THRESH_LO}: with TRAIN.USE_OHEM all background takes part, "
               "set it to 0.0")
    if (train.HAS_RPN and train.BBOX_REG and train.BBOX_NORMALIZE_TARGETS
            and not train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED):
        yield ("TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED must be True with TRAIN.HAS_RPN and TRAIN.BBOX_REG: "
               "RoIs made while training have no statistics to compute beforehand")
