"""Suggests anchors and image sizes for a data set, from statistics of its objects."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from checks.data import OUT_OF_REACH, anchor_overlaps
from datasets.objects import ObjectTable
from fast_rcnn.config import Changes, Config
from rpn.anchor_choice import choose_anchors
from rpn.anchor_reach import AnchorLayout
from utils.blob import im_scale_for
from utils.boxes import box_sizes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SIDES = (200, 300, 400, 500, 600, 800, 1000, 1200, 1600)      # values of TRAIN.SCALES to try
_STEP = 1.15            # minimum ratio between two of them
_ENLARGED = 2           # maximum enlargement of the original images: beyond it they show no more detail
_MISSED = 0.05          # fraction of objects below an IoU of 0.5 that does not justify larger images
_NO_WORSE = 0.01        # reduction of this fraction that does not justify larger images
_SAME = 0.02            # below this gain in mean IoU the present anchors are kept
_SAMPLE = 5000          # number of objects from which anchors are chosen


@dataclass(frozen=True)
class ClassFigures:
    """Statistics of a class; sizes are in pixels of the scaled images."""

    name: str
    objects: int
    images: int
    width: float            # medians
    height: float
    below: tuple[int, ...]  # for each threshold, objects whose IoU with every anchor is below it


@dataclass(frozen=True)
class SizeOption:
    """A choice of TRAIN.SCALES with anchors."""

    scales: tuple[int, ...]
    max_size: int
    layout: AnchorLayout
    below: tuple[int, ...]  # for each threshold, objects whose IoU with every anchor is below it
    missed: float           # fraction of objects below an IoU of 0.5: the mean over classes
    fit: float              # mean over classes of the mean of min(IoU with the best anchor, last threshold)
    pixels: float           # of an image, relative to the present settings


@dataclass(frozen=True)
class DataFigures:
    """Result of `study`: statistics of a data set, and advice."""

    images: int
    objects: int
    thresholds: tuple[float, ...]               # of IoU: TRAIN.RPN_NEGATIVE_OVERLAP, 0.5 and 0.7
    classes: tuple[ClassFigures, ...]
    quantiles: tuple[float, ...]
    sizes: dict[str, tuple[float, ...]]         # quantiles of width, height and height / width of the scaled objects
    present: SizeOption                         # the present anchors and settings
    options: tuple[SizeOption, ...]             # the best anchors for each of some TRAIN.SCALES
    advised: SizeOption
    settings: Changes                           # advised changes of cfg, by key

    @property
    def keeps_anchors(self) -> bool:
        """Whether the present anchors are advised."""
        return self.advised.layout == self.present.layout


def study(objects: ObjectTable, classes: Sequence[str], layout: AnchorLayout, settings: Config) -> DataFigures:
    """Compute statistics of objects and anchors, and choose fitting anchors, TRAIN.SCALES and RPN_MIN_SIZE.

    The present TRAIN.SCALES are kept unless, even with the best anchors for them, more than 5 % of the objects (mean
    over the classes) are below an IoU of 0.5. Then the smallest larger scales are advised for which that fraction is at
    most 5 %, or hardly above the lowest one.

    objects   at least one
    classes   names, background first
    layout    the present anchors
    settings  cfg
    """
    train = settings.TRAIN
    thresholds = tuple(sorted({train.RPN_NEGATIVE_OVERLAP, *OUT_OF_REACH}))
    trial = _Trial(objects, thresholds, tuple(train.SCALES), train.MAX_SIZE)
    present = trial.option(layout, tuple(train.SCALES))
    best = trial.best_anchors(layout, tuple(train.SCALES))
    options = sorted([best, *(trial.best_anchors(layout, (side,)) for side in _sides_to_try(objects, train.SCALES))],
                     key=lambda option: option.pixels)
    advised = _advised(options, best)
    kept = trial.option(layout, advised.scales)
    if advised.fit - kept.fit < _SAME:
        advised = kept
    overlaps = anchor_overlaps(objects, layout, train.SCALES, train.MAX_SIZE)
    return DataFigures(len(objects.im_sizes), len(objects), thresholds,
                       tuple(_class_figures(objects, classes, overlaps, thresholds, train)),
                       QUANTILES, _size_quantiles(objects, train), present, tuple(options), advised,
                       _changes(settings, present, advised, smallest_proposal(objects)))


def smallest_proposal(objects: ObjectTable) -> int:
    """A value for RPN_MIN_SIZE: half the 0.5 % quantile of the objects' shorter sides, at least 1."""
    shorter = box_sizes(objects.boxes).min(axis=1)
    return max(1, int(np.quantile(shorter, 0.005) / 2))


@dataclass(frozen=True)
class _Trial:
    """Evaluates anchors and scales on the objects of a data set."""

    objects: ObjectTable
    thresholds: tuple[float, ...]
    scales: tuple[int, ...]     # present ones
    max_size: int

    def best_anchors(self, layout: AnchorLayout, scales: tuple[int, ...]) -> SizeOption:
        """The option with the best anchors for these TRAIN.SCALES."""
        part = self.objects.every(-(-len(self.objects) // _SAMPLE))
        scaled = [part.scaled(scale, self.max_size_for(scales)) for scale in scales]
        chosen = choose_anchors(np.concatenate([boxes for boxes, _ in scaled]),
                                np.concatenate([sizes for _, sizes in scaled]),
                                np.tile(_weights(part), len(scales)), layout, self.thresholds[-1])
        return self.option(chosen, scales)

    def option(self, layout: AnchorLayout, scales: tuple[int, ...]) -> SizeOption:
        """The option of these anchors and TRAIN.SCALES."""
        max_size = self.max_size_for(scales)
        overlaps = anchor_overlaps(self.objects, layout, scales, max_size)
        pixels = self._pixels(scales, max_size) / self._pixels(self.scales, self.max_size)
        weights = _weights(self.objects)
        missed = float((overlaps < 0.5) @ weights)
        fit = float(np.minimum(overlaps, self.thresholds[-1]) @ weights)
        return SizeOption(scales, max_size, layout, _below(overlaps, self.thresholds), missed, fit, pixels)

    def max_size_for(self, scales: tuple[int, ...]) -> int:
        """TRAIN.MAX_SIZE, a multiple of 10, in proportion to TRAIN.SCALES, but large enough for 95 % of the images."""
        if scales == self.scales:
            return self.max_size
        long, short = self.objects.im_sizes.max(axis=1), self.objects.im_sizes.min(axis=1)
        ratio = max(self.max_size / max(self.scales), np.quantile(long / short, 0.95))
        return int(np.ceil(round(max(scales) * ratio / 10, 6)) * 10)

    def _pixels(self, scales: tuple[int, ...], max_size: int) -> float:
        """Mean number of pixels of a scaled image."""
        sizes, counts = np.unique(self.objects.im_sizes, axis=0, return_counts=True)
        factors = np.array([[im_scale_for(height, width, scale, max_size) for width, height in sizes]
                            for scale in scales])
        return float((factors ** 2 * sizes.prod(axis=1) * counts).sum() / (counts.sum() * len(scales)))


def _weights(objects: ObjectTable) -> np.ndarray:
    """(G,) weights of the objects, with sum 1: all classes count the same, as in mean average precision."""
    weights = 1 / np.bincount(objects.labels)[objects.labels]
    return weights / weights.sum()


def _sides_to_try(objects: ObjectTable, scales: Sequence[int]) -> list[int]:
    """Further values of TRAIN.SCALES to try: from the images' original size to twice that."""
    own = float(np.median(objects.im_sizes.min(axis=1)))
    sides: list[int] = []
    for side in _SIDES:
        lowest, highest = min(own, *scales), max(own * _ENLARGED, *scales)
        if lowest <= side <= highest and all(max(side / other, other / side) >= _STEP for other in [*scales, *sides]):
            sides.append(side)
    return sides


def _advised(options: Sequence[SizeOption], present: SizeOption) -> SizeOption:
    """The good enough option with the fewest pixels, but not fewer than at present; see `study`."""
    larger = [option for option in options if option.pixels >= present.pixels]
    enough = max(_MISSED, min(option.missed for option in larger) + _NO_WORSE)
    return next(option for option in larger if option.missed <= enough)


def _class_figures(objects: ObjectTable, classes: Sequence[str], overlaps: np.ndarray, thresholds: Sequence[float],
                   train: Config) -> list[ClassFigures]:
    boxes, _ = objects.scaled(train.SCALES[0], train.MAX_SIZE)
    sides = box_sizes(boxes)
    figures = []
    for label, name in enumerate(classes):
        mine = objects.labels == label
        if mine.any():
            width, height = np.median(sides[mine], axis=0).tolist()
            figures.append(ClassFigures(name, int(mine.sum()), len(np.unique(objects.images[mine])), width, height,
                                        _below(overlaps[mine], thresholds)))
    return figures


def _below(overlaps: np.ndarray, thresholds: Sequence[float]) -> tuple[int, ...]:
    return tuple(int(np.count_nonzero(overlaps < limit)) for limit in thresholds)


def _size_quantiles(objects: ObjectTable, train: Config) -> dict[str, tuple[float, ...]]:
    boxes, _ = objects.scaled(train.SCALES[0], train.MAX_SIZE)
    width, height = box_sizes(boxes).T
    return {name: tuple(np.quantile(values, QUANTILES).tolist())
            for name, values in (("width", width), ("height", height), ("height / width", height / width))}


def _changes(settings: Config, present: SizeOption, advised: SizeOption, smallest: int) -> Changes:
    changes: Changes = {}
    if advised.scales != present.scales:
        changes = {f"{phase}.{key}": value for phase in ("TRAIN", "TEST")
                   for key, value in (("SCALES", advised.scales), ("MAX_SIZE", advised.max_size))}
    changes |= {f"{phase}.RPN_MIN_SIZE": smallest for phase in ("TRAIN", "TEST")
                if settings[phase].RPN_MIN_SIZE > smallest}
    return changes
