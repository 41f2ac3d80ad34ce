"""Evaluates the records of hard RoIs (see roi_data_layer/gallery.py): which images and places stay hard."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alt_opt.plan import STEPS
from roi_data_layer.gallery import HARD_ROIS
from utils.cython_bbox import bbox_overlaps
from utils.files import DamagedFileError, read_json_lines

_SAME_PLACE = 0.5       # minimum IoU of RoIs that show the same place
_OBJECT = 0.7           # minimum IoU of a RoI that surely shows its object
_BACKGROUND = 0.3       # IoU below which it surely shows none; between the two, high losses are to be expected
_OFTEN = 0.5            # minimum share of an image's visits in which a place is among the hardest


@dataclass(frozen=True)
class HardRoI:
    """A recorded RoI: `box` in pixels of the image file; `label` is its class in training."""

    file: str
    box: tuple[float, float, float, float]
    label: int
    loss: float
    iou: float


@dataclass(frozen=True)
class Pass:
    """A recorded forward pass."""

    stage: str
    iteration: int
    kept: Mapping[str, tuple[int, float]]       # by image file: see `_kept_by_file`
    classes: Mapping[int, int]                  # by class: number of RoIs kept
    rois: Sequence[HardRoI]                     # the hardest, by descending loss


@dataclass
class HardPhotograph:
    """How hard an image was in training."""

    file: str
    visits: int         # passes with the image
    kept: float         # RoIs per visit
    loss: float         # mean loss of the RoIs kept


@dataclass
class HardPlace:
    """A place in an image that stays among the hardest."""

    worst: HardRoI
    visits: int                                                 # recorded visits of the image
    losses: dict[int, float] = field(default_factory=dict)      # highest loss in each visit, if recorded

    @property
    def loss(self) -> float:
        """The mean over all visits; visits in which the place was not recorded count as 0."""
        return sum(self.losses.values()) / self.visits

    @property
    def rank(self) -> float:
        """The loss, lowered if there are few visits."""
        return self.loss * self.visits / (self.visits + 1)


def read_passes(run: Path) -> list[Pass]:
    """The records of a run, by stage and iteration. Raises DamagedFileError."""
    order = {step.name: index for index, step in enumerate(STEPS)}
    files = sorted((run / "logs" / HARD_ROIS).glob("*.jsonl"),
                   key=lambda file: (order.get(file.stem, len(order)), file.stem))
    return [each for file in files for each in _passes_of(file)]


def _passes_of(file: Path) -> Iterator[Pass]:
    for record in read_json_lines(file, iteration=int, images=list, classes=dict, rois=list):
        try:
            yield _pass(file.stem, record)
        except (KeyError, IndexError, TypeError, ValueError):
            raise DamagedFileError(f"{file}: damaged, its record of iteration {record['iteration']} is not complete; "
                                   "remove this file") from None


def _pass(stage: str, record: Mapping[str, Any]) -> Pass:
    files = [str(image["file"]) for image in record["images"]]
    rois = []
    for roi in record["rois"]:
        x1, y1, x2, y2 = map(float, roi["box"])
        if np.isfinite([x1, y1, x2, y2, roi["loss"]]).all():
            rois.append(HardRoI(files[roi["image"]], (x1, y1, x2, y2), int(roi["class"]), float(roi["loss"]),
                                float(roi["iou"])))
    return Pass(stage, record["iteration"], _kept_by_file(record["images"]),
                {int(label): int(count) for label, count in record["classes"].items()}, rois)


def _kept_by_file(images: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    """The number of RoIs kept in each image file, and their mean loss.

    Copies of an image in one minibatch, such as its mirror image, count together.
    """
    found: dict[str, tuple[int, float]] = {}
    for image in images:
        before, mean = found.get(str(image["file"]), (0, 0.0))
        count = before + int(image["kept"])
        total = before * mean + int(image["kept"]) * float(image["loss"])
        found[str(image["file"])] = count, total / count if count else 0.0
    return found


def stages_of(passes: Sequence[Pass]) -> list[str]:
    """The names of the stages, in their order."""
    return list(dict.fromkeys(each.stage for each in passes))


def chosen_passes(passes: Sequence[Pass], count: int) -> list[Pass]:
    """`count` passes of a stage, spread evenly from the first to the last."""
    if not passes:
        return []
    return [passes[place] for place in np.unique(np.linspace(0, len(passes) - 1, count).round().astype(int))]


def hard_photographs(passes: Sequence[Pass]) -> list[HardPhotograph]:
    """The images by descending total loss of the RoIs kept per visit."""
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for each in passes:
        for file, kept in each.kept.items():
            found[file].append(kept)
    result = []
    for file, visits in found.items():
        total = sum(count for count, _ in visits)
        loss = sum(count * mean for count, mean in visits) / total if total else 0.0
        result.append(HardPhotograph(file, len(visits), total / len(visits), loss))
    return sorted(result, key=lambda each: -each.kept * each.loss)


def class_shares(passes: Sequence[Pass], parts: int) -> dict[int, list[tuple[float, float]]]:
    """For each class its share of the kept RoIs in `parts` equal parts of a stage, as points (iteration, share)."""
    if not passes:
        return {}
    edges = np.linspace(0, max(each.iteration for each in passes), parts + 1)
    counts: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(parts))
    for each in passes:
        part = min(int(np.searchsorted(edges, each.iteration, side="left")) - 1, parts - 1)
        for label, count in each.classes.items():
            counts[label][part] += count
    totals = np.sum(list(counts.values()), axis=0)
    return {label: [(float(edges[part + 1]), float(of_class[part] / totals[part])) for part in range(parts)
                    if totals[part]] for label, of_class in sorted(counts.items())}


def lasting_places(passes: Sequence[Pass]) -> list[HardPlace]:
    """Places among the hardest RoIs in at least half of the visits in the second half of each stage, hardest first.

    RoIs of one class in an image are at the same place if their IoU is at least 0.5. Only RoIs that clearly show an
    object or clearly show none, by their IoU, are used: for these a high loss contradicts the annotation.
    """
    late = _second_halves(passes)
    visits: defaultdict[str, int] = defaultdict(int)
    for each in late:
        for file in each.kept:
            visits[file] += 1
    places: defaultdict[tuple[str, int], list[HardPlace]] = defaultdict(list)
    everything = [(roi, visit) for visit, each in enumerate(late) for roi in each.rois
                  if (roi.iou >= _OBJECT if roi.label else roi.iou < _BACKGROUND)]
    for roi, visit in sorted(everything, key=lambda item: -item[0].loss):
        place = _place_of(roi, places[roi.file, roi.label])
        if place is None:
            place = HardPlace(roi, visits[roi.file])
            places[roi.file, roi.label].append(place)
        place.losses.setdefault(visit, roi.loss)
    lasting = [place for of_file in places.values() for place in of_file
               if len(place.losses) >= _OFTEN * place.visits]
    return sorted(lasting, key=lambda place: -place.rank)


def _second_halves(passes: Sequence[Pass]) -> list[Pass]:
    last: dict[str, int] = {}
    for each in passes:
        last[each.stage] = max(each.iteration, last.get(each.stage, 0))
    return [each for each in passes if 2 * each.iteration > last[each.stage]]


def _place_of(roi: HardRoI, places: Sequence[HardPlace]) -> HardPlace | None:
    if not places:
        return None
    overlaps = bbox_overlaps(np.array([roi.box]), np.array([place.worst.box for place in places]))[0]
    return places[int(overlaps.argmax())] if overlaps.max() >= _SAME_PLACE else None
