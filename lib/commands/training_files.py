"""The files of a training in its output folder."""
from __future__ import annotations

from pathlib import Path

from datasets.detection_files import DETECTIONS, EVALUATION
from fast_rcnn.checkpoints import END_STATES
from roi_data_layer.features import FEATURES
from roi_data_layer.gallery import HARD_ROIS


class TrainingFiles:
    """Paths of a training's files and folders, apart from its models.

    log, hard_rois      the records of its losses and of hard RoIs
    validations         the results of its validations; `validation` is a folder with the files of the last
    validation_results  detections and average precisions in `validation`
    profile             without extension, see `profile_files`
    checkpoints         folder
    end_state           folder: the last checkpoint, from which a longer training continues
    tensorboard         folder
    features            folder for the cached outputs of frozen layers
    """

    def __init__(self, output: Path, name: str) -> None:
        self.output = output
        self.log = output / "logs" / f"{name}.jsonl"
        self.hard_rois = self.log.parent / HARD_ROIS / self.log.name
        self.validation = output / "validation" / name
        self.validations = self.validation.with_name(f"{name}.jsonl")
        self.validation_results = self.validation / DETECTIONS, self.validation / EVALUATION
        self.profile = output / "profile" / name
        self.checkpoints, self.end_state = output / "checkpoints" / name, output / END_STATES / name
        self.tensorboard = output / "tensorboard" / name
        self.features = output / FEATURES

    def names(self, *paths: Path) -> list[str]:
        """Paths relative to the output folder, as `OwnFiles` records them."""
        return [str(path.relative_to(self.output)) for path in paths]
