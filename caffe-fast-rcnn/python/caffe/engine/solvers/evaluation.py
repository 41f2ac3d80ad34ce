"""Evaluates the outputs of a test net over several batches: their means, or mean average precisions."""
from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
import torch

from ...errors import SolverError
from ...proto import caffe_pb2
from .average_precision import AP_VERSIONS, average_precision

log = logging.getLogger("caffe")
_ROW = 5        # DetectionEvaluate's rows: image, class, score, right, wrong; or -1, class, number of objects, -1, -1


class Evaluation(Protocol):
    """Accumulates the values of outputs by name."""

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add the value of an output in the next batch. Raises SolverError if it is unsuitable."""

    def results(self) -> dict[str, torch.Tensor]:
        """The result for each output, after all batches."""


class Means:
    """The mean of each output over `count` batches."""

    def __init__(self, count: int) -> None:
        self._totals: dict[str, torch.Tensor] = {}
        self._count = count

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add a value. Raises SolverError if its shape is not that of the output in the first batch."""
        total = self._totals.get(name)
        if total is None:
            self._totals[name] = value.clone()
        elif total.shape == value.shape:
            self._totals[name] = total + value
        else:
            raise SolverError(f"a test takes the mean of each output; '{name}' has shape {tuple(total.shape)} in the "
                              f"first batch and {tuple(value.shape)} in a later one: pass it to a layer of type "
                              "Silence, or set test_iter: 1")

    def results(self) -> dict[str, torch.Tensor]:
        """The means."""
        return {name: total / self._count for name, total in self._totals.items()}


class MeanAveragePrecisions:
    """SSD's mean average precision for each output, which must be a top of DetectionEvaluate.

    All classes count; a class without objects or detections has average precision 0. Detections that are neither right
    nor wrong are ignored.
    """

    def __init__(self, version: str, shows_classes: bool) -> None:
        self._version, self._shows_classes = version, shows_classes
        self._rows: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add the rows (..., 5) of a batch. Raises SolverError for other outputs."""
        if value.shape[-1:] != (_ROW,):
            raise SolverError(f"eval_type: \"detection\" needs outputs of DetectionEvaluate only; the output '{name}' "
                              f"has the shape {tuple(value.shape)}: pass it to a layer of type Silence")
        self._rows.setdefault(name, []).append(value.detach().cpu().numpy().reshape(-1, _ROW))

    def results(self) -> dict[str, torch.Tensor]:
        """The means over the classes; with `shows_classes`, the average precision of each class is logged."""
        return {name: torch.tensor(self._mean(np.concatenate(rows))) for name, rows in self._rows.items()}

    def _mean(self, rows: np.ndarray) -> float:
        counts, detections = rows[rows[:, 0] == -1], rows[rows[:, 0] != -1]
        detections = detections[(detections[:, 3] != 0) | (detections[:, 4] != 0)]
        values = []
        for label in np.unique(counts[:, 1]):
            own = detections[detections[:, 1] == label]
            number = int(counts[counts[:, 1] == label, 2].sum())
            values.append(average_precision(own[:, 2], own[:, 3] == 1, number, self._version))
            if self._shows_classes:
                log.info("class%d: %.6g", label, values[-1])
        return float(np.mean(values)) if values else 0.0


def check_evaluation(param: caffe_pb2.SolverParameter) -> None:
    """Raise SolverError for an unknown eval_type or ap_version."""
    if param.eval_type not in ("classification", "detection"):
        raise SolverError(f"eval_type must be \"classification\" or \"detection\", found \"{param.eval_type}\"")
    if param.ap_version not in AP_VERSIONS:
        raise SolverError(f"ap_version must be one of {', '.join(AP_VERSIONS)}; found \"{param.ap_version}\"")


def make_evaluation(param: caffe_pb2.SolverParameter, count: int) -> Evaluation:
    """The evaluation that a solver's settings select, for a test of `count` batches."""
    if param.eval_type == "detection":
        return MeanAveragePrecisions(param.ap_version, param.show_per_class_result)
    return Means(count)
