"""Random crop windows for images with objects, as in SSD."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...proto import caffe_pb2
from ..layer import Layer
from .box_areas import overlaps, shares_within

_MOST_TRIALS = 10_000       # bounds memory: all windows of a sampler are compared with all objects at once


def check_samplers(layer: Layer, samplers: Sequence[caffe_pb2.BatchSampler]) -> None:
    """Raise LayerError for samplers with invalid settings."""
    for number, batch_sampler in enumerate(samplers):
        said, sampler = f"batch_sampler {number} (from 0): ", batch_sampler.sampler
        if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
            layer.fail(f"{said}expected 0 < min_scale <= max_scale <= 1, found {sampler.min_scale:g} and "
                       f"{sampler.max_scale:g}")
        if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio:
            layer.fail(f"{said}expected 0 < min_aspect_ratio <= max_aspect_ratio, found "
                       f"{sampler.min_aspect_ratio:g} and {sampler.max_aspect_ratio:g}")
        if batch_sampler.max_trials > _MOST_TRIALS:
            layer.fail(f"{said}max_trials must be at most {_MOST_TRIALS}, found {batch_sampler.max_trials}")


def sampled_windows(boxes: np.ndarray, samplers: Sequence[caffe_pb2.BatchSampler], numbers: np.random.Generator
                    ) -> np.ndarray:
    """The windows (W, 4) of all samplers for an image with boxes (G, 4): x1, y1, x2, y2 normalised by the image."""
    found = [np.empty((0, 4))]
    for sampler in samplers:
        if sampler.use_original_image:
            windows = random_windows(sampler.sampler, sampler.max_trials, numbers)
            windows = windows[satisfying(windows, boxes, sampler.sample_constraint)]
            found.append(windows[:sampler.max_sample] if sampler.HasField("max_sample") else windows)
    return np.concatenate(found)


def random_windows(sampler: caffe_pb2.Sampler, count: int, numbers: np.random.Generator) -> np.ndarray:
    """Random windows (count, 4) within the image: scale, aspect ratio and position are uniformly distributed.

    The aspect ratio is clipped to scale^2..1 / scale^2, so that no side is above 1.
    """
    scale = numbers.uniform(sampler.min_scale, sampler.max_scale, count)
    ratio = numbers.uniform(sampler.min_aspect_ratio, sampler.max_aspect_ratio, count).clip(scale ** 2, scale ** -2)
    sides = np.stack([scale * np.sqrt(ratio), scale / np.sqrt(ratio)], 1).clip(max=1)
    corner = numbers.uniform(size=(count, 2)) * (1 - sides)
    return np.hstack([corner, corner + sides])


def satisfying(windows: np.ndarray, boxes: np.ndarray, constraint: caffe_pb2.SampleConstraint) -> np.ndarray:
    """Whether each window (W, 4) satisfies the constraint with at least one box (G, 4); all do without a constraint."""
    if not constraint.ListFields():
        return np.ones(len(windows), bool)
    meets: np.ndarray = np.ones((len(windows), len(boxes)), bool)
    for name, measure in _MEASURES.items():
        values = measure(windows[:, None], boxes[None]).astype(np.float32)      # the limits' type
        if constraint.HasField(f"min_{name}"):
            meets &= values >= getattr(constraint, f"min_{name}")
        if constraint.HasField(f"max_{name}"):
            meets &= values <= getattr(constraint, f"max_{name}")
    return meets.max(1, initial=False)


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "jaccard_overlap": overlaps,
    "sample_coverage": shares_within,
    "object_coverage": lambda windows, boxes: shares_within(boxes, windows),
}
