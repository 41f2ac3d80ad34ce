"""The recall of a run's proposals: the share of the training objects that they overlap."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alt_opt.files import StepFiles
from alt_opt.manifest import DONE, Manifest
from alt_opt.plan import STEPS
from commands.data_set import find_imdb
from datasets.proposals_file import load_proposals
from datasets.recall import evaluate_recall
from reports.charts import Axis, Line, colour, legend, line_chart
from utils.errors import UserError
from utils.files import read_record


@dataclass(frozen=True)
class ProposalRecall:
    """The recall of the proposals of a step."""

    name: str
    images: int
    count: float            # mean number of proposals per image
    thresholds: np.ndarray  # IoU thresholds
    recalls: np.ndarray     # recall at each threshold

    @property
    def mean(self) -> float:
        """Mean recall over all thresholds."""
        return float(self.recalls.mean())


def proposal_recalls(run: Path) -> Iterator[ProposalRecall]:
    """The recall of each step's proposals on the training set. Steps without files or data set are left out."""
    manifest = Manifest(run)
    for step in STEPS:
        job = StepFiles(run, step.name).job
        if not step.trains and manifest.state(step.name) == DONE and job.is_file():
            parts = read_record(job, "train the step again", imdb=str, left_out=list)
            try:
                imdb = find_imdb(parts["imdb"])
                imdb.leave_out(parts["left_out"])
                boxes, _ = load_proposals(manifest.output(step.name, step.output), imdb.image_index)
            except (UserError, ValueError, OSError) as error:
                print(f"{step.name}: recall of its proposals is not shown: {error}", flush=True)
                continue
            found = evaluate_recall(imdb.gt_roidb(), boxes)
            yield ProposalRecall(step.name, imdb.num_images, float(np.mean([len(rows) for rows in boxes])),
                                 np.asarray(found["thresholds"]), np.asarray(found["recalls"]))


def recall_parts(recalls: Sequence[ProposalRecall]) -> dict[str, Any] | None:
    """Template data of the recalls; None without proposals."""
    if not recalls:
        return None
    lines = [Line(each.name, list(zip(each.thresholds.tolist(), each.recalls.tolist(), strict=True)), colour(index))
             for index, each in enumerate(recalls)]
    rows = [{"name": each.name, "images": each.images, "count": each.count, "at50": float(each.recalls[0]),
             "at70": float(each.recalls[4]), "mean": each.mean} for each in recalls]
    return {"svg": line_chart(lines, Axis("IoU", 0.5, 0.95), Axis("recall", 0, 1)), "legend": legend(lines),
            "rows": rows}
