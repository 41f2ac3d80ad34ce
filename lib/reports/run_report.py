"""The page of a run: test results, training curves, recall of proposals, hard examples."""
from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets.all_boxes import load_detections, stored_classes
from datasets.detection_files import DETECTIONS
from datasets.imdb import imdb as Imdb
from fast_rcnn.detector_record import MODEL_RECORD, RUN_RECORD
from reports.hard_examples import read_passes
from reports.hard_parts import hard_parts
from reports.page import write_page
from reports.proposals import ProposalRecall, recall_parts
from reports.result_parts import result_parts
from reports.results import TestResults, has_objects, test_results
from reports.training import Stage, read_stages, stage_charts
from utils.errors import UserError
from utils.files import read_record

PAGE = "report.html"


def write_run_report(path: str | os.PathLike, title: str, run: Path | None, results: Sequence[TestResults],
                     recalls: Sequence[ProposalRecall] = ()) -> None:
    """Write the page. Raises DamagedFileError for a damaged log.

    run  folder of the run whose logs are shown; None: without logs
    """
    stages = read_stages(run) if run else []
    write_page(path, "run.html", title=title, subtitle=_subtitle(stages, results), stages=stage_charts(stages),
               results=[result_parts(each) for each in results], recalls=recall_parts(recalls),
               hard=hard_parts(read_passes(run), _classes(run)) if run else None)


def _classes(run: Path) -> Sequence[str] | None:
    """The class names of a run's detector, background first; None if there is no detector yet."""
    records = [run / RUN_RECORD] if (run / RUN_RECORD).is_file() else sorted(run.glob(f"*{MODEL_RECORD}"))
    names = read_record(records[-1], "train again").get("classes") if records else None
    return list(map(str, names)) if isinstance(names, list) else None


def write_test_report(folder: Path, imdb: Imdb, run: Path | None, recalls: Iterable[ProposalRecall] = ()) -> None:
    """Write the page of a test into its folder if the data set has objects; print its path, or why there is none.

    folder   output folder of the test
    run      folder of the detector's run; None: unknown
    recalls  recall of the run's proposals
    """
    if not has_objects(imdb):
        return
    try:
        boxes, classes = load_detections(folder / DETECTIONS), stored_classes(folder / DETECTIONS)
        write_run_report(folder / PAGE, run.resolve().name if run else imdb.name, run,
                         [test_results(imdb, boxes, classes)], list(recalls))
        print(f"Page: {folder / PAGE}", flush=True)
    except (UserError, OSError) as error:       # the results are complete without it
        print(f"there is no page of the results: {error}", flush=True)


def _subtitle(stages: Sequence[Stage], results: Sequence[TestResults]) -> str:
    time = datetime.timedelta(seconds=round(sum(stage.seconds for stage in stages)))
    iterations = sum(stage.iterations for stage in stages)
    trained = [f"{iterations} iterations in {len(stages)} stages, {time}"] if stages else []
    tested = [f"tested on {', '.join(each.imdb.name for each in results)}"] if results else ["not tested yet"]
    return "; ".join([*trained, *tested])
