"""Writes the record of a trained net beside each of its snapshots."""
from __future__ import annotations

import os
from collections.abc import Sequence

from caffe.proto.caffe_pb2 import TRAIN
from checks.net_file import NetFile
from fast_rcnn.config import Settings
from fast_rcnn.detector_record import record_of, write_model_record
from fast_rcnn.hooks import Hook, Training
from utils import parallel
from utils.own_files import OwnFiles


class RecordHook(Hook):
    """Writes a record (see detector_record.py) with every snapshot.

    net       the prototxt that is trained
    classes   names, background first; settings  those of `detector_settings`
    """

    def __init__(self, net: str | os.PathLike, classes: Sequence[str], settings: Settings) -> None:
        self._anchors, self._classes, self._settings = NetFile(net, TRAIN).anchors(), classes, settings

    def at_start(self, training: Training) -> None:
        save = training.save

        def save_with_record() -> str:
            path = save()
            if parallel.is_first():
                record = record_of(path)
                OwnFiles(record.parent).claim(record.name)
                write_model_record(path, self._settings, self._classes, self._anchors)
            return path
        training.save = save_with_record
