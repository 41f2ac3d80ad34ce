"""Loads stored test results, together with the data sets that were tested on."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from commands.data_set import data_set_of_results, find_imdb
from datasets.all_boxes import load_detections, stored_classes
from datasets.detection_files import DETECTIONS
from reports.results import TestResults, has_objects, test_results
from utils.errors import UserError


def stored_results(folder: Path, imdb_name: str | None = None) -> TestResults:
    """The results in an output folder of tools/test_net.py.

    imdb_name  the data set, if it was moved since the test
    Raises UserError that says why there are no results.
    """
    file = folder / DETECTIONS
    name = imdb_name or data_set_of_results(folder)
    if not name:
        raise UserError(f"{folder}: the data set of these results is not recorded; name it with --imdb")
    try:
        classes = stored_classes(file)
        imdb = find_imdb(name, classes=classes)
        boxes = load_detections(file, imdb.image_index, classes)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not has_objects(imdb):
        raise UserError(f"{imdb.name}: has no annotated objects to compare the detections with")
    return test_results(imdb, boxes, classes)


def results_of_run(run: Path, imdb_name: str | None = None) -> Iterator[TestResults]:
    """The results of all tests of a run; prints why results are left out."""
    for file in sorted((run / "test").glob(f"*/{DETECTIONS}")):
        try:
            yield stored_results(file.parent, imdb_name)
        except UserError as error:
            print(f"{file.parent.name}: its results are not shown: {error}", flush=True)
