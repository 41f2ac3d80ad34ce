"""The parts of a page that show results: precision-recall curves, confusion matrix, pictures of mistakes."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from datasets.coco_ap import AREAS
from datasets.diagnosis import Mistake
from reports.charts import Axis, Line, colour, legend, line_chart
from reports.pictures import FOUND, TRUTH, Box, crop
from reports.results import ClassScores, TestResults

_MOST_CURVES = 10       # classes with a curve: those of lowest average precision
_MOST_PICTURES = 12     # per kind of mistake
_MOST_MATRIX = 30       # classes in the matrix


def result_parts(results: TestResults) -> dict[str, Any]:
    """Template data of the results on a data set."""
    curves = _curves(results)
    return {"name": results.imdb.name, "images": results.imdb.num_images,
            "objects": sum(each.objects for each in results.classes), "classes": results.classes,
            "sizes": list(AREAS), "means": {of: results.mean(of) for of in ("ap50", "ap75", "ap", "voc")},
            "by_size": results.mean_by_size(), "score": results.diagnosis.score,
            "curves": line_chart(curves, Axis("recall", 0, 1), Axis("precision", 0, 1), 460, 300),
            "curve_names": legend(curves), "shown": len(curves),
            "left_out": len(results.classes) - len(curves), "without_curves": _without_curves(curves),
            "matrix": _matrix(results), "mistakes": list(_mistakes(results))}


def _without_curves(curves: Sequence[Line]) -> str:
    """Why there are no curves; '' if there are any."""
    if not curves:
        return "There are no objects to find: all of them are difficult, or of other classes."
    if not any(line.points for line in curves):
        return "There are no detections: no score exceeds the threshold of the test."
    return ""


def _curves(results: TestResults) -> list[Line]:
    with_objects = [each for each in results.classes if not np.isnan(each.voc)]
    worst = sorted(with_objects, key=lambda each: each.voc)[:_MOST_CURVES]
    return [Line(f"{each.name} {each.voc:.3f}", _curve(results, each), colour(index))
            for index, each in enumerate(worst)]


def _curve(results: TestResults, scores: ClassScores) -> list[tuple[float, float]]:
    """Points (recall, precision) from recall 0 on, without repeated ones."""
    result = results.evaluation.classes[scores.name]
    if not len(result.recall):
        return []
    points = [(0.0, float(result.precision[0])), *zip(result.recall.tolist(), result.precision.tolist(), strict=True)]
    return [point for index, point in enumerate(points)
            if index in (0, len(points) - 1) or point != points[index - 1]]


def _matrix(results: TestResults) -> dict[str, Any] | None:
    """Names and rows of the confusion matrix; None for too many classes."""
    matrix, names = results.diagnosis.matrix, list(results.imdb.classes[1:])
    if len(names) > _MOST_MATRIX:
        return None
    order = [*range(1, len(matrix)), 0]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [{"name": [*names, "no object"][number],
             "cells": [{"count": int(matrix[row, column]), "share": float(shares[row, column]) if row else 0.0,
                        "right": row == column, "void": row == column == 0} for column in order]}
            for number, row in enumerate(order)]
    return {"names": [*names, "missed"], "rows": rows}


def _mistakes(results: TestResults) -> Iterator[dict[str, Any]]:
    diagnosis, names = results.diagnosis, results.imdb.classes
    kinds: list[tuple[str, str, Sequence[Mistake], Callable[[Mistake], tuple[str, str]]]] = [
        ("False alarms", "highest scores first", diagnosis.false_alarms,
         lambda mistake: (f"{names[mistake.label]} {mistake.score:.2f}", mistake.reason)),
        ("Missed objects", "largest first", diagnosis.missed,
         lambda mistake: (names[mistake.truth], f"best score here {mistake.score:.2f}" if mistake.score
                          else "no detection here")),
        ("Confusions", "highest scores first", diagnosis.confused,
         lambda mistake: (f"{names[mistake.label]} {mistake.score:.2f}", f"is {names[mistake.truth]}"))]
    for title, order, mistakes, words in kinds:
        marked = "missed object" if mistakes is diagnosis.missed else "detection"
        yield {"title": title, "order": order, "marked": marked, "count": len(mistakes),
               "pictures": [_picture(results, mistake, *words(mistake)) for mistake in mistakes[:_MOST_PICTURES]]}


def _picture(results: TestResults, mistake: Mistake, name: str, note: str) -> dict[str, str]:
    path = results.imdb.image_path_at(mistake.image)
    boxes = [Box(box, TRUTH) for box in results.truths[mistake.image].boxes]
    boxes.append(Box(mistake.box, FOUND))
    return {"picture": crop(path, mistake.box, boxes), "name": name, "note": note, "title": os.path.basename(path)}
