"""All settings of training and testing: their defaults, and how files and command lines change them.

Settings are a tree of `Config` nodes read as attributes (`cfg.TRAIN.BATCH_SIZE`). The keys are those of
py-faster-rcnn and of its OHEM fork; those marked "ours" exist only here. `make_settings` returns frozen settings.
`cfg` is the one object that users import and change; it is read at the edges (tools, train.py, a Python layer's setup,
and functions of py-faster-rcnn that are called without settings). All other code takes plain arguments.

Every change is checked against the default of the same key: an unknown key or a wrong type raises
`ConfigError` with the key's full name. Before training, `check_cfg` (cfg_checks.py) reports settings that cannot work.
"""
from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from easydict import EasyDict

from fast_rcnn.setting_values import ConfigError, convert, describe, nearest, parse
from utils.safe_yaml import load_yaml
from utils.text import TextError, read_text

ALL_ROIS = -1                  # as TRAIN.BATCH_SIZE: all RoIs that are foreground or background
MOST_ITERATIONS = 2**31 - 1    # Caffe counts them in 32 bits
Settings = dict[str, Any]      # a tree of settings as plain values, see `plain`
Changes = dict[str, Any]       # checked values by full key, such as 'TRAIN.BATCH_SIZE'


class Named(Protocol):
    """Anything with a name, such as a data set or a net."""

    @property
    def name(self) -> str: ...


class Config(EasyDict):
    """Dictionary whose keys are read and assigned as attributes; attributes cannot add new keys.

    Once frozen, every change raises ConfigError; copies can be changed.
    """

    _frozen = False

    def __init__(self, *values: Any, **keys: Any) -> None:
        dict.__init__(self, *values, **keys)        # EasyDict's would add methods as keys

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):        # Python looks for optional methods, such as __deepcopy__
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"cfg has no key {key!r}{nearest(key, self)}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in self:
            raise ConfigError(f"cfg has no key {key!r}{nearest(key, self)}")
        self[key] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self),)

    def freeze(self) -> Config:
        """Make the settings read-only, sections and arrays included; returns itself."""
        for value in self.values():
            if isinstance(value, Config):
                value.freeze()
            elif isinstance(value, np.ndarray):
                value.flags.writeable = False
        object.__setattr__(self, "_frozen", True)
        return self


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a mutating method of dict for `Config`: it raises ConfigError if the settings are frozen."""
    @functools.wraps(method)
    def change(self: Config, *args: Any, **keys: Any) -> Any:
        if self._frozen:
            key = args[0] if args and isinstance(args[0], str) else ", ".join(self)
            raise ConfigError(f"{key} cannot be changed: these settings are frozen; change a copy.deepcopy of them")
        return method(self, *args, **keys)
    return change


# dict's own methods: EasyDict's keep a second copy of each value as an instance attribute
for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(Config, _name, _guarded(getattr(dict, _name)))


# The checkout; the working directory if lib is installed as part of a package (lib/frcnn/_modules.py)
_ROOT = str(Path(__file__).resolve().parents[2]) if __package__ == "fast_rcnn" else ""

_TRAIN = dict(
    # Images: lengths of the shorter side in pixels (one is drawn per image), limit of the longer side, images per batch
    SCALES=(600,), MAX_SIZE=1000, IMS_PER_BATCH=2,
    # Add a mirrored copy of every image
    USE_FLIPPED=True,
    # Ours: add a vertically flipped copy of every image, mirrored ones included; multiply the length of the shorter
    # side by a factor drawn from 1 - SCALE_JITTER .. 1 + SCALE_JITTER; brightness, contrast and saturation by factors
    # from 1 - COLOUR_JITTER .. 1 + COLOUR_JITTER
    USE_UPSIDE_DOWN=False, SCALE_JITTER=0.0, COLOUR_JITTER=0.0,
    # Ours: train on random crops, 1 - CROP .. 1 of an image's width and height, that contain an object; an object keeps
    # most of its area or is entirely outside. 0: whole images
    CROP=0.0,
    # Batch wide images with wide ones and tall images with tall ones, to reduce padding
    ASPECT_GROUPING=True,
    # Prefetch minibatches in the background, see NUM_WORKERS
    USE_PREFETCH=True,
    # RoIs per batch, over all images (-1: all RoIs, from which R-FCN's nets with OHEM select), maximum fraction of
    # foreground, IoU thresholds: fg >= FG_THRESH, bg in [BG_THRESH_LO, BG_THRESH_HI)
    BATCH_SIZE=128, FG_FRACTION=0.25, FG_THRESH=0.5, BG_THRESH_HI=0.5, BG_THRESH_LO=0.1,
    # Ours: ignore RoIs and anchors with at least this fraction of their area in an object that is not trained on
    # (difficult, crowd, DontCare), instead of labelling them background; 0: they are background
    IGNORED_OVERLAP=0.0,
    # Box regression: whether to train it; minimum IoU of an example; inside weights of dx, dy, dw, dh
    BBOX_REG=True, BBOX_THRESH=0.5, BBOX_INSIDE_WEIGHTS=(1.0, 1.0, 1.0, 1.0),
    # Class-agnostic boxes (R-FCN): bbox_pred has eight columns, four for the background and four for any object
    AGNOSTIC=False,
    # Normalise regression targets: by the numbers below if PRECOMPUTED, else by the training set's statistics
    BBOX_NORMALIZE_TARGETS=True, BBOX_NORMALIZE_TARGETS_PRECOMPUTED=False,
    BBOX_NORMALIZE_MEANS=(0.0, 0.0, 0.0, 0.0), BBOX_NORMALIZE_STDS=(0.1, 0.1, 0.2, 0.2),
    # Iterations between snapshots, and a word inserted into their file names (before stage1 or stage2, if any)
    SNAPSHOT_ITERS=10000, SNAPSHOT_INFIX="",
    # Source of RoIs: 'selective_search', 'gt', 'rpn' (a file of proposals), or NAME for a method NAME_roidb of your own
    # data set
    PROPOSAL_METHOD="selective_search",
    # Region proposal network: whether the net has one; IoU thresholds of its labels; let negatives override positives
    HAS_RPN=False, RPN_POSITIVE_OVERLAP=0.7, RPN_NEGATIVE_OVERLAP=0.3, RPN_CLOBBER_POSITIVES=False,
    # RPN minibatch: maximum fraction of positives, anchors per image
    RPN_FG_FRACTION=0.5, RPN_BATCHSIZE=256,
    # RPN proposals: NMS threshold, number before and after NMS, minimum side in pixels of the original image
    RPN_NMS_THRESH=0.7, RPN_PRE_NMS_TOP_N=12000, RPN_POST_NMS_TOP_N=2000, RPN_MIN_SIZE=16,
    # RPN loss: inside weights of dx, dy, dw, dh; total weight p of positives (negatives 1 - p), or -1 for equal weights
    RPN_BBOX_INSIDE_WEIGHTS=(1.0, 1.0, 1.0, 1.0), RPN_POSITIVE_WEIGHT=-1.0,
    # Normalise RPN regression targets, in nets that train an RPN alone (R-FCN): by these means and standard deviations
    # of dx, dy, dw, dh; if empty, by the training set's statistics
    RPN_NORMALIZE_TARGETS=False, RPN_NORMALIZE_MEANS=(), RPN_NORMALIZE_STDS=(),
    # Online hard example mining: whether to use it (alternating optimisation does, unless a file or --set says False);
    # whether to remove near-duplicate RoIs first, by NMS on the loss at this threshold
    USE_OHEM=False, OHEM_USE_NMS=True, OHEM_NMS_THRESH=0.7,
    # Ours: iterations on randomly sampled RoIs before mining begins; fraction of randomly sampled RoIs in each mined
    # minibatch. At most FG_FRACTION of a random sample is foreground
    OHEM_WARMUP=0, OHEM_RANDOM_SHARE=0.0,
    # Ours: number of iterations whose hard RoIs are recorded for the run's report; 0: none
    OHEM_GALLERY=200,
    # Ours: iterations of linear warm-up to the learning rate of the solver's policy
    WARMUP_ITERS=0,
)

_TEST = dict(
    # Images as in TRAIN; several scales form an image pyramid
    SCALES=(600,), MAX_SIZE=1000,
    # NMS threshold of final detections; scores from SVMs instead of softmax; apply box regression
    NMS=0.3, SVM=False, BBOX_REG=True,
    HAS_RPN=False, PROPOSAL_METHOD="selective_search",
    RPN_NMS_THRESH=0.7, RPN_PRE_NMS_TOP_N=6000, RPN_POST_NMS_TOP_N=300, RPN_MIN_SIZE=16,
    # Accepted for R-FCN's files; unused: the width of bbox_pred shows whether boxes are class-agnostic
    AGNOSTIC=False,
)

_MISC = dict(
    # Two boxes are duplicates if round(scaled box * DEDUP_BOXES) is equal (1/16: cells of the feature map); 0: off
    DEDUP_BOXES=1.0 / 16.0,
    # Pixels (B, G, R) are normalised: (pixel - mean) / std. PIXEL_STDS is ours: nets trained from scratch need inputs
    # near 1; Caffe's ImageNet nets need stds of 1, that is, no division
    PIXEL_MEANS=np.array([[[102.9801, 115.9465, 122.7717]]]), PIXEL_STDS=np.array([[[1.0, 1.0, 1.0]]]),
    # Ours: worker processes that prefetch (read and scale) images, in training (with TRAIN.USE_PREFETCH) and in tests;
    # 0: threads instead
    NUM_WORKERS=2,
    # Ours: cache each image's outputs of the frozen layers, in memory first, then on disk, instead of computing them in
    # every epoch. For images that are padded in a batch, values next to the padding then differ. Under torchrun the
    # budgets are divided equally among the processes
    REUSE_FEATURES=True, FEATURE_MEMORY_MB=2048, FEATURE_DISK_MB=20480,
    RNG_SEED=3,
    # Folders: parent of output/; data sets and initial weights; nets for --net_name
    ROOT_DIR=_ROOT, DATA_DIR=os.path.join(_ROOT, "data"), MODELS_DIR=os.path.join(_ROOT, "models"),
    # Folder in output/ for the results of an experiment
    EXP_DIR="default",
    USE_GPU_NMS=True, GPU_ID=0,
    # Accepted for older files; unused
    EPS=1e-14, MATLAB="matlab",
    # Ours: arithmetic of convolutions and matrix products: 'float32', 'tf32' (CUDA) or 'bfloat16'; weights and losses
    # stay float32
    PRECISION="float32",
    # Ours: names of user modules to import (docs/plugins.md), and the folder to search besides PYTHONPATH: that of the
    # settings file that names them, set when it is read
    IMPORTS=(), IMPORTS_DIR="",
)
_ITEMS = {"IMPORTS": str, "TRAIN.RPN_NORMALIZE_MEANS": float, "TRAIN.RPN_NORMALIZE_STDS": float}    # default is ()
# Keys that files and fingerprints of older versions lack
_ADDED_LATER = ("IMPORTS", "IMPORTS_DIR", "OHEM_WARMUP", "OHEM_RANDOM_SHARE", "IGNORED_OVERLAP", "WARMUP_ITERS",
                "USE_UPSIDE_DOWN", "SCALE_JITTER", "COLOUR_JITTER", "CROP", "AGNOSTIC", "RPN_NORMALIZE_TARGETS",
                "RPN_NORMALIZE_MEANS", "RPN_NORMALIZE_STDS")

_DEFAULTS = Config(TRAIN=Config(_TRAIN), TEST=Config(_TEST), **_MISC).freeze()

cfg = copy.deepcopy(_DEFAULTS)


def reset_cfg() -> None:
    """Reset every key to its default in place: nodes stay the same objects."""
    for name, default in _DEFAULTS.items():
        node = cfg.get(name)
        if isinstance(default, Config) and isinstance(node, Config):
            node.clear()
            node.update(copy.deepcopy(default))
        else:
            cfg[name] = copy.deepcopy(default)
    for name in set(cfg) - set(_DEFAULTS):
        del cfg[name]


def set_cfg(settings: Config) -> None:
    """Set all of `cfg` to these settings in place: nodes stay the same objects."""
    _assign(cfg, dict(flatten(copy.deepcopy(settings))))


def make_settings(*changes: Mapping[str, Any]) -> Config:
    """Frozen settings: the defaults, changed by each mapping of full keys in turn. Raises ConfigError."""
    settings = copy.deepcopy(_DEFAULTS)
    for each in changes:
        _assign(settings, _checked(each.items()))
    return settings.freeze()


def cfg_from_file(filename: str | os.PathLike) -> None:
    """Update `cfg` from a YAML file with any subset of the keys; all its errors are reported together."""
    _assign(cfg, file_changes(filename))


def cfg_from_list(pairs: Sequence[Any]) -> None:
    """Update `cfg` from the KEY VALUE pairs of --set: ['TRAIN.SCALES', '(400,)', ...]."""
    _assign(cfg, pair_changes(pairs))


def file_changes(filename: str | os.PathLike) -> Changes:
    """The changes in a YAML file with any subset of the keys; all its errors are reported together."""
    try:
        content = load_yaml(read_text(filename))
    except OSError as error:
        raise ConfigError(f"--cfg: {filename} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except TextError as error:
        raise ConfigError(str(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{filename}: cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{filename}: expected keys and values, found {describe(content)}")
    try:
        changes = _checked(flatten(content))
    except ConfigError as error:
        raise ConfigError(f"{filename}: {error}") from None
    if changes.get("IMPORTS"):
        changes.setdefault("IMPORTS_DIR", str(Path(filename).resolve().parent))
    return changes


def pair_changes(pairs: Sequence[Any]) -> Changes:
    """The changes in the KEY VALUE pairs of --set: ['TRAIN.SCALES', '(400,)', ...]."""
    if len(pairs) % 2:
        raise ConfigError(f"--set takes KEY VALUE pairs; {pairs[-1]!r} has no partner")
    return _checked((key, parse(value, _default(key))) for key, value in zip(pairs[::2], pairs[1::2], strict=True))


def checked_changes(settings: Mapping[str, Any]) -> Changes:
    """The changes in a tree of settings with any subset of the keys. Raises ConfigError that lists all problems."""
    return _checked(flatten(settings))


def change_cfg(changes: Changes) -> None:
    """Update `cfg` by checked changes, such as those of `file_changes`."""
    _assign(cfg, changes)


def get_output_dir(imdb: Named | str, net: Named | str | None = None) -> str:
    """Folder output/<EXP_DIR>/<data set>[/<net>] of the project, created if missing.

    `imdb` and `net` are a data set and a net, or their names; characters that are unsafe in a folder name become '_'.
    """
    name = re.sub(r"[^\w.+-]+", "_", _name_of(imdb)).strip("_") or "data"
    folder = Path(cfg.ROOT_DIR, "output", cfg.EXP_DIR, name, *([_name_of(net)] if net is not None else []))
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _name_of(thing: Named | str) -> str:
    return thing if isinstance(thing, str) else thing.name


def check_one_scale(scales: Sequence[int]) -> None:
    """Raise ConfigError for several TEST.SCALES: a net with an RPN has one set of anchors."""
    if len(scales) != 1:
        raise ConfigError(f"TEST.SCALES is {list(scales)}: a region proposal network takes one scale")


def get(settings: Mapping[str, Any], key: str) -> Any:
    """Value of a key given by its full name, such as 'TRAIN.BATCH_SIZE'."""
    value: Any = settings
    for part in key.split("."):
        value = value[part]
    return value


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (full name, value) for each leaf of a tree of dictionaries."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plain(value: Any) -> Any:
    """A tree of settings in types that JSON and YAML support: dictionaries, lists, numbers, strings.

    Keys that older versions lack are left out if they are not set.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in _ADDED_LATER or item}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


_KNOWN = dict(flatten(_DEFAULTS))


def type_problems(settings: Config) -> Iterator[str]:
    """Yield a message for each value of a wrong type: assignments to `cfg` in Python are not checked."""
    for key, value in flatten(settings):
        try:
            _convert(key, value)
        except ConfigError as error:
            yield str(error)


def _checked(pairs: Iterable[tuple[str, Any]]) -> Changes:
    """Full names and values in the types of the defaults. Raises ConfigError that reports every problem at once."""
    values, problems = {}, []
    for key, value in pairs:
        try:
            values[key] = _convert(key, value)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return values


def _assign(settings: Config, changes: Changes) -> None:
    for key, value in changes.items():
        *section, name = key.split(".")
        (settings[section[0]] if section else settings)[name] = value


def _default(key: str) -> Any:
    if key not in _KNOWN:
        if isinstance(_DEFAULTS.get(key), Config):
            raise ConfigError(f"{key} is a section: set its keys, such as {key}.{next(iter(_DEFAULTS[key]))}")
        raise ConfigError(f"unknown key {key}{nearest(key, _KNOWN)}")
    return _KNOWN[key]


def _convert(key: str, value: Any) -> Any:
    return convert(key, value, _default(key), _ITEMS.get(key))
