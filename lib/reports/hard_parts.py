"""The part of a run's page that shows hard examples."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from reports.charts import Axis, Line, Point, colour, legend, line_chart
from reports.hard_examples import (
    HardPhotograph,
    HardPlace,
    HardRoI,
    Pass,
    chosen_passes,
    class_shares,
    hard_photographs,
    lasting_places,
    stages_of,
)
from reports.pictures import FOUND, Box, crop, photograph

_ITERATIONS = 4         # iterations per stage whose RoIs are shown
_ROIS = 8               # RoIs shown per iteration
_PHOTOGRAPHS = 8        # images shown
_PLACES = 16            # places shown
_PARTS = 8              # points per curve, which are averages over parts of a stage
_MOST_CLASSES = 10      # classes with a curve
_WIDTH = 340


def hard_parts(passes: Sequence[Pass], classes: Sequence[str] | None) -> dict[str, Any] | None:
    """Template data of the hard RoIs; None if none are recorded.

    classes  names, background first; None: unknown
    """
    if not passes:
        return None
    by_stage = {stage: [each for each in passes if each.stage == stage] for stage in stages_of(passes)}
    return {"count": len(passes), "stages": [_stage(*each, classes) for each in by_stage.items()],
            "photographs": [_photograph(each, passes) for each in hard_photographs(passes)[:_PHOTOGRAPHS]],
            "places": [_place(each, classes) for each in lasting_places(passes)[:_PLACES]]}


def _stage(name: str, passes: Sequence[Pass], classes: Sequence[str] | None) -> dict[str, Any]:
    shares = class_shares(passes, _PARTS)
    lines = _lines(shares, classes)
    background = [share for _, share in shares.get(0, [])] or [0.0]
    return {"name": name, "svg": line_chart(lines, Axis("iteration", 0), Axis("share of RoIs", 0), _WIDTH),
            "legend": legend(lines), "background": (background[0], background[-1]),
            "passes": [_pass(each, classes) for each in chosen_passes(passes, _ITERATIONS)]}


def _name(label: int, classes: Sequence[str] | None) -> str:
    if label == 0:
        return "background"
    return classes[label] if classes and label < len(classes) else f"class {label}"


def _lines(shares: Mapping[int, Sequence[Point]], classes: Sequence[str] | None) -> list[Line]:
    """Curves of the classes with most RoIs, without the background, whose share would dwarf theirs."""
    most = sorted((label for label in shares if label), key=lambda label: -sum(share for _, share in shares[label]))
    return [Line(_name(label, classes), shares[label], colour(index))
            for index, label in enumerate(most[:_MOST_CLASSES])]


def _pass(each: Pass, classes: Sequence[str] | None) -> dict[str, Any]:
    pictures = [_picture(roi, _name(roi.label, classes), f"loss {roi.loss:.2f}, IoU {roi.iou:.2f}")
                for roi in each.rois[:_ROIS]]
    return {"iteration": each.iteration, "pictures": pictures}


def _photograph(each: HardPhotograph, passes: Sequence[Pass]) -> dict[str, str]:
    latest = next(found for found in reversed(passes) if each.file in found.kept)
    boxes = [Box(roi.box, FOUND) for roi in latest.rois if roi.file == each.file]
    name = os.path.basename(each.file)
    return {"picture": photograph(each.file, boxes), "name": name, "title": name,
            "note": f"{each.kept:.0f} RoIs kept, mean loss {each.loss:.2f}; visits: {each.visits}"}


def _place(place: HardPlace, classes: Sequence[str] | None) -> dict[str, str]:
    roi = place.worst
    guess = "wrong class or box?" if roi.label else "unlabelled object?"
    note = f"{guess} loss {place.loss:.2f}, in {len(place.losses)} of {place.visits} visits, IoU {roi.iou:.2f}"
    return _picture(roi, _name(roi.label, classes), note, height=150)


def _picture(roi: HardRoI, name: str, note: str, height: int = 118) -> dict[str, str]:
    return {"picture": crop(roi.file, roi.box, [Box(roi.box, FOUND)], height), "name": name, "note": note,
            "title": os.path.basename(roi.file)}
