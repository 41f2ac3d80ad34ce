"""Records what is needed to use a trained net, in a file beside it: class names, anchors and input settings.

`<model>.detector.json`, beside each snapshot `<model>.caffemodel`:

    {"classes": ["__background__", "cat"],              None if unknown
     "anchors": [16, [8, 16, 32], [0.5, 1, 2]],         feat_stride, scales, ratios; None for a net without an RPN
     "settings": {"TEST": {...}, "PIXEL_MEANS": ..., ...}}

A run of alternating optimisation has `detector.json`, which names the files of its detector and its training data set,
and the settings in `test_cfg.yml`.
"""
from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_rcnn.config import Changes, Config, ConfigError, Settings, checked_changes, file_changes, plain
from utils.files import DamagedFileError, inside, read_record, write_json

RUN_RECORD, RUN_SETTINGS, MODEL_RECORD = "detector.json", "test_cfg.yml", ".detector.json"
_OF_THE_DETECTOR = ("PIXEL_MEANS", "PIXEL_STDS", "PRECISION", "IMPORTS", "IMPORTS_DIR")
_RUN_HINT = "the command that trained it, with --resume, writes it again"
_MODEL_HINT = "remove it, and give --cfg FILE and --classes NAME ... instead"

RecordedAnchors = tuple[float, tuple[float, ...], tuple[float, ...]]   # feat_stride, scales, ratios


@dataclass(frozen=True)
class DetectorRecord:
    """What is known about a trained net.

    source    the file it was read from
    settings  changes to the default settings
    classes   names, background first; None: unknown
    anchors   of its RPN; None: unknown
    net       test prototxt, and `model`, of a run's detector; None: not recorded
    data_set  name of the run's training data set; '': unknown
    """

    source: Path
    settings: Changes
    classes: tuple[str, ...] | None = None
    anchors: RecordedAnchors | None = None
    net: Path | None = None
    model: Path | None = None
    data_set: str = ""


def detector_settings(settings: Config, has_rpn: bool = True) -> Settings:
    """Settings for using a trained net, from those it was trained with."""
    return plain({"TEST": {**settings.TEST, "HAS_RPN": has_rpn},
                  **{key: settings[key] for key in _OF_THE_DETECTOR}})


def record_of(model: str | os.PathLike) -> Path:
    """The file of a model's own record."""
    return Path(model).with_suffix(MODEL_RECORD)


def write_model_record(model: str | os.PathLike, settings: Settings, classes: Sequence[str] | None,
                       anchors: RecordedAnchors | None) -> Path:
    """Write the record of a model beside it; `settings` are those of `detector_settings`. Returns its path."""
    path = record_of(model)
    write_json(path, {"classes": classes and list(classes), "anchors": anchors, "settings": settings})
    return path


def write_run_record(model: Path, net: Path, classes: Sequence[str], anchors: RecordedAnchors | None,
                     data_set: str) -> None:
    """Write the record of the finished detector in a run's folder, beside its settings in RUN_SETTINGS."""
    write_json(model.with_name(RUN_RECORD), {
        "model": model.name, "net": net.name, "cfg": RUN_SETTINGS, "classes": list(classes), "anchors": anchors,
        "data set": data_set})


def find_record(model: str | os.PathLike, net: str | os.PathLike) -> DetectorRecord | None:
    """The record of a model, else of the run whose folder holds the model, else the net; None if there is none.

    Raises DamagedFileError or ConfigError for a record that cannot be read.
    """
    own = record_of(model)
    if own.is_file():
        return _of_model(own)
    for folder in dict.fromkeys((Path(model).parent, Path(net).parent)):
        if (folder / RUN_RECORD).is_file():
            return run_record(folder)
        if (folder / RUN_SETTINGS).is_file():
            return DetectorRecord(folder / RUN_SETTINGS, file_changes(folder / RUN_SETTINGS))
    return None


def run_record(folder: Path) -> DetectorRecord:
    """The record of the finished detector in a run's folder."""
    path = folder / RUN_RECORD
    parts = read_record(path, _RUN_HINT, cfg=str, net=str, model=str, classes=list)
    files = {key: _inside(path, key, parts[key]) for key in ("cfg", "net", "model")}
    return DetectorRecord(path, file_changes(files["cfg"]), _class_names(path, parts, _RUN_HINT),
                          _anchor_layout(path, parts, _RUN_HINT), files["net"], files["model"],
                          str(parts.get("data set", "")))


def _of_model(path: Path) -> DetectorRecord:
    parts = read_record(path, _MODEL_HINT, settings=dict)
    try:
        settings = checked_changes(parts["settings"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; {_MODEL_HINT}") from None
    return DetectorRecord(path, settings, _class_names(path, parts, _MODEL_HINT),
                          _anchor_layout(path, parts, _MODEL_HINT))


def _inside(path: Path, key: str, name: str) -> Path:
    """A file that a run's record names. Raises DamagedFileError unless it is in the run's folder.

    Links that point elsewhere are refused too: in a copy of the run they would lead to the original's files.
    """
    try:
        return inside(path.parent, name)
    except DamagedFileError:
        raise DamagedFileError(f"{path}: damaged, its '{key}' {name!r} is not in this folder; {_RUN_HINT}") from None


def _class_names(path: Path, parts: Mapping[str, Any], hint: str) -> tuple[str, ...] | None:
    names = parts.get("classes")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not 1 < len(names) == len(
            set(names)):
        raise DamagedFileError(f"{path}: damaged, its 'classes' are not a list of different names; {hint}")
    return tuple(names)


def _anchor_layout(path: Path, parts: Mapping[str, Any], hint: str) -> RecordedAnchors | None:
    layout = parts.get("anchors")
    if layout is None:
        return None
    try:
        stride, scales, ratios = layout
        found = float(stride), tuple(map(float, scales)), tuple(map(float, ratios))
        if not all(map(math.isfinite, (found[0], *found[1], *found[2]))):
            raise ValueError("JSON knows infinity and NaN")
        return found
    except (OverflowError, TypeError, ValueError):
        raise DamagedFileError(f"{path}: damaged, its 'anchors' are not [stride, scales, ratios]; {hint}") from None


def defaults_in_use(settings: Config) -> Iterator[str]:
    """The settings of a net's inputs as 'KEY value', for messages."""
    for key in ("SCALES", "MAX_SIZE"):
        yield f"TEST.{key} {plain(settings.TEST[key])}"
    for key in ("PIXEL_MEANS", "PIXEL_STDS"):
        yield f"{key} {settings[key].ravel().tolist()}"
