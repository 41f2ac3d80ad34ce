"""The settings of each step of alternating optimisation.

Three layers, the later one wins: what a step starts with, what the user's file and command line say, and what makes
the step what it is.
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import (
    Settings,
    cfg,
    cfg_from_file,
    cfg_from_list,
    check_one_scale,
    flatten,
    plain,
    reset_cfg,
)
from utils.files import atomic_path

# Values of the blog post and of py-faster-rcnn that differ from the defaults of cfg
_STARTS_WITH: dict[str, dict[str, Any]] = {
    "rpn": {"TRAIN.IMS_PER_BATCH": 1},
    "proposals": {},
    "fast_rcnn": {"TRAIN.IMS_PER_BATCH": 2, "TRAIN.BG_THRESH_LO": 0.0, "TRAIN.ASPECT_GROUPING": False,
                  "TRAIN.OHEM_USE_NMS": False},
}
_FIXED: dict[str, dict[str, Any]] = {
    # Regression of the RPN has its own targets; BBOX_REG is about Fast R-CNN's
    "rpn": {"TRAIN.HAS_RPN": True, "TRAIN.BBOX_REG": False, "TRAIN.USE_OHEM": False,
            "TRAIN.PROPOSAL_METHOD": "gt"},
    # Written for training: as many as TRAIN says (2000), whatever TEST says for the detector in use
    "proposals": {"TEST.RPN_PRE_NMS_TOP_N": -1},
    "fast_rcnn": {"TRAIN.HAS_RPN": False, "TRAIN.PROPOSAL_METHOD": "rpn"},
}
_SEED_OFFSET = {"rpn": 0, "proposals": 0, "fast_rcnn": 500}

def stage_settings(kind: str, stage: int, ohem: bool, cfg_file: str | None, set_cfgs: Sequence[str],
                   seed: int | None = None) -> Settings:
    """The full settings of a step ('rpn', 'proposals', 'fast_rcnn'; stage 1 or 2) as plain values.

    `cfg` itself is left at its defaults. Raises ConfigError for settings that are wrong or cannot work there.
    """
    reset_cfg()
    try:
        _assign(_STARTS_WITH[kind])
        if cfg_file:
            cfg_from_file(cfg_file)
        cfg_from_list(set_cfgs)
        _assign(_FIXED[kind])
        _assign({"TRAIN.SNAPSHOT_INFIX": "_".join(filter(None, (cfg.TRAIN.SNAPSHOT_INFIX, f"stage{stage}")))})
        if kind == "fast_rcnn":
            _assign({"TRAIN.USE_OHEM": ohem})
        if kind == "proposals":
            _assign({"TEST.RPN_POST_NMS_TOP_N": cfg.TRAIN.RPN_POST_NMS_TOP_N})
        # Another seed in each step, so that stage 2 does not repeat stage 1's minibatches
        _assign({"RNG_SEED": (cfg.RNG_SEED if seed is None else seed) + _SEED_OFFSET[kind] + 1000 * (stage - 1)})
        if kind == "proposals":         # which trains nothing: what TRAIN says need not fit together
            check_one_scale()
        else:
            check_cfg()
        return plain(cfg)
    finally:
        reset_cfg()


def _assign(values: dict[str, Any]) -> None:
    cfg_from_list([item for pair in values.items() for item in pair])


def detector_settings(settings: Settings) -> Settings:
    """Settings for using the finished detector, from those of a step that trains."""
    return {"TEST": {**settings["TEST"], "HAS_RPN": True},
            **{key: settings[key] for key in ("PIXEL_MEANS", "PIXEL_STDS", "PRECISION")}}


@contextlib.contextmanager
def settings_in_cfg(settings: Settings) -> Iterator[None]:
    """Let cfg be the full settings of a step inside the block, and what it was before afterwards."""
    before = plain(cfg)
    _assign(dict(flatten(settings)))
    try:
        yield
    finally:
        _assign(dict(flatten(before)))


def write_settings(path: str | os.PathLike, settings: Settings) -> None:
    """Write settings as a YAML file for cfg_from_file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(settings, default_flow_style=None), encoding="utf-8")
