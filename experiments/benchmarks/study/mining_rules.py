"""Mining rules that the study compares with the rule of `OHEMDataLayer` (docs/mining_rule.md)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roi_data_layer.layer import HardRoIMiner
from roi_data_layer.ohem import roi_losses, select_hard_examples
from utils.other_caffe import Blob, blob_list


class HardByClass(HardRoIMiner):
    """Selects the TRAIN.BATCH_SIZE RoIs with the highest cross entropy, ignoring the box loss.

    Bottoms and tops are those of HardRoIMiner.
    """

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        values = dict(zip(self.bottom_names, blob_list(bottom), strict=True))
        self._class_losses = roi_losses(values["cls_prob"].data, values["labels"].data)
        super().forward(bottom, top)

    def choose(self, losses: np.ndarray, rois: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return select_hard_examples(self._class_losses, self.batch_size)
