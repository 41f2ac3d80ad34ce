"""Box regression layers that are trained on normalised targets, but saved with weights that predict plain ones."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fast_rcnn.bbox_transform import normalize_weights, unnormalize_weights
from utils.other_caffe import Blob


class NormalisedLayer:
    """Weights and bias of such a layer, with the means and stds of its targets.

    means, stds  (4 K,), see `unnormalize_weights`
    """

    def __init__(self, name: str, blobs: Sequence[Blob], means: np.ndarray, stds: np.ndarray) -> None:
        self.name = name
        self._blobs, self._statistics = list(blobs), (means, stds)

    @property
    def values(self) -> list[np.ndarray]:
        """Copies of weights and bias."""
        return [blob.data.copy() for blob in self._blobs]

    def assign(self, values: Sequence[np.ndarray]) -> None:
        """Set weights and bias."""
        for blob, array in zip(self._blobs, values, strict=True):
            blob.data[...] = array

    def predict_normalised(self) -> None:
        """Convert weights that predict plain targets to predict normalised ones."""
        self._convert(normalize_weights)

    def predict_plain(self) -> None:
        """Convert weights that predict normalised targets to predict plain ones."""
        self._convert(unnormalize_weights)

    def _convert(self, rule: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
        weights, bias = self._blobs
        self.assign(rule(weights.data, bias.data, *self._statistics))
