"""The settings of each step of alternating optimisation.

They come from three sources, in ascending priority: the step's defaults, the user's file and command line, and the
step's requirements.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

from alt_opt.plan import STEPS
from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import Changes, Config, check_one_scale, make_settings, plain
from utils.files import write_text

# Values of the blog post and of py-faster-rcnn that differ from the defaults of cfg
_STARTS_WITH: dict[str, Changes] = {
    "rpn": {"TRAIN.IMS_PER_BATCH": 1},
    "proposals": {},
    "fast_rcnn": {"TRAIN.IMS_PER_BATCH": 2, "TRAIN.BG_THRESH_LO": 0.0, "TRAIN.ASPECT_GROUPING": False,
                  "TRAIN.OHEM_USE_NMS": False},
}
_FIXED: dict[str, Changes] = {
    # The RPN has its own regression targets; BBOX_REG is about those of Fast R-CNN
    "rpn": {"TRAIN.HAS_RPN": True, "TRAIN.BBOX_REG": False, "TRAIN.USE_OHEM": False,
            "TRAIN.PROPOSAL_METHOD": "gt"},
    # For training: as many as TRAIN says (2000), regardless of TEST, which is for the finished detector
    "proposals": {"TEST.RPN_PRE_NMS_TOP_N": -1},
    "fast_rcnn": {"TRAIN.HAS_RPN": False, "TRAIN.PROPOSAL_METHOD": "rpn"},
}
_SEED_OFFSET = {"rpn": 0, "proposals": 0, "fast_rcnn": 500}


def step_settings(changes: Changes, ohem: bool, seed: int | None) -> dict[str, Config]:
    """The settings of each step by name. Raises ConfigError for settings that cannot work in a step."""
    return {step.name: stage_settings(step.kind, step.stage, ohem, changes, seed) for step in STEPS}


def stage_settings(kind: str, stage: int, ohem: bool, changes: Changes, seed: int | None = None) -> Config:
    """The frozen settings of a step ('rpn', 'proposals', 'fast_rcnn'; stage 1 or 2).

    changes  the user's, from file and command line
    seed     overrides RNG_SEED
    Raises ConfigError for settings that are wrong or cannot work in this step.
    """
    user = make_settings(_STARTS_WITH[kind], changes)
    settings = make_settings(_STARTS_WITH[kind], changes, _FIXED[kind], {
        "TRAIN.SNAPSHOT_INFIX": "_".join(filter(None, (user.TRAIN.SNAPSHOT_INFIX, f"stage{stage}"))),
        # A different seed in each step, so that stage 2 does not repeat stage 1's minibatches
        "RNG_SEED": (user.RNG_SEED if seed is None else seed) + _SEED_OFFSET[kind] + 1000 * (stage - 1),
        **({"TRAIN.USE_OHEM": ohem} if kind == "fast_rcnn" else {}),
        **({"TEST.RPN_POST_NMS_TOP_N": user.TRAIN.RPN_POST_NMS_TOP_N} if kind == "proposals" else {})})
    if kind == "proposals":         # trains nothing: TRAIN need not be consistent
        check_one_scale(settings.TEST.SCALES)
    else:
        check_cfg(settings)
    return settings


def write_settings(path: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Write settings as a YAML file for cfg_from_file, atomically."""
    write_text(path, yaml.safe_dump(plain(settings), default_flow_style=None))
