"""Exports a loaded detector to ONNX, for tools/export_detector.py and `frcnn.Detector.export`."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from commands.detector import DetectorFiles
from commands.options import writable_folder
from fast_rcnn.config import cfg
from fast_rcnn.detector_record import detector_settings
from fast_rcnn.test import DetectionSettings
from onnx_export.detector import ExportSettings, export_detector
from utils.errors import UserError
from utils.other_caffe import Net


def onnx_file(files: DetectorFiles, given: str | os.PathLike | None, option: str) -> Path:
    """The file to write, `given` by `option`; by default the caffemodel's name with the suffix .onnx.

    Raises UserError if it cannot be written or would overwrite another kind of file, and for nets that list detections.
    """
    path = Path(given or Path(files.weights).with_suffix(".onnx"))
    if files.lists_detections:
        raise UserError(f"{files.net}: lists its detections itself: "
                        f"python -m caffe export {files.net} {files.weights} {path} makes it one model")
    writable_folder(path.parent, option)
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder, expected the name of a file")
    if path.exists() and path.suffix != ".onnx":
        raise UserError(f"{option} {path}: is there already, and its name is not that of an ONNX model, *.onnx")
    return path


def write_onnx(net: Net, path: Path, classes: Sequence[str], export: ExportSettings) -> None:
    """`export_detector` with the settings of cfg. Prints a note if the detector's precision is not float32."""
    if cfg.PRECISION != "float32":
        print(f"Note: the model computes in float32, the detector in {cfg.PRECISION}: scores differ", flush=True)
    export_detector(net, path, classes, DetectionSettings.from_cfg(cfg), export, detector_settings(cfg))
