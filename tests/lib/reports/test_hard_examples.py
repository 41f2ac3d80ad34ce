"""The evaluation of recorded hard RoIs, on records made by hand."""
import json

import pytest

from reports.hard_examples import (
    HardRoI,
    Pass,
    chosen_passes,
    class_shares,
    hard_photographs,
    lasting_places,
    read_passes,
)
from utils.files import DamagedFileError

RECORD = {"iteration": 7, "pass": 6, "images": [{"file": "a", "flipped": False, "kept": 3, "loss": 0.5}],
          "classes": {"0": 2, "1": 1}, "rois": [{"image": 0, "box": [0, 1, 9, 8], "class": 1, "loss": 2.0, "iou": 0.7}]}


def written(folder, stage, *records):
    path = folder / "logs" / "hard_rois" / f"{stage}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_records_are_read_by_stage(tmp_path):
    assert read_passes(tmp_path) == []
    for stage in ("other", "stage2_fast_rcnn", "stage1_fast_rcnn"):
        written(tmp_path, stage, RECORD)
    first, *others = read_passes(tmp_path)
    assert [first.stage, *(each.stage for each in others)] == ["stage1_fast_rcnn", "stage2_fast_rcnn", "other"]
    hardest = HardRoI("a", (0, 1, 9, 8), 1, 2.0, 0.7)
    assert first == Pass("stage1_fast_rcnn", 7, {"a": (3, 0.5)}, {0: 2, 1: 1}, [hardest])


def test_an_image_and_its_mirror_image_in_a_minibatch_count_together(tmp_path):
    images = [{"file": "a", "flipped": False, "kept": 3, "loss": 0.5}, {"file": "b", "flipped": False, "kept": 0,
              "loss": 0.0}, {"file": "a", "flipped": True, "kept": 1, "loss": 2.5}]
    written(tmp_path, "s", {**RECORD, "images": images})
    assert read_passes(tmp_path)[0].kept == {"a": (4, 1.0), "b": (0, 0.0)}


@pytest.mark.parametrize("change", [{"rois": [{}]}, {"images": [1]}, {"classes": {"x": 1}}, {"classes": {"1": None}},
                                    {"rois": [{**RECORD["rois"][0], "image": 3}]},
                                    {"rois": [{**RECORD["rois"][0], "box": [1]}]}])
def test_damaged_records_are_named(tmp_path, change):
    written(tmp_path, "s", {**RECORD, **change})
    with pytest.raises(DamagedFileError, match=r"s.jsonl: damaged, its record of iteration 7"):
        read_passes(tmp_path)


def visit(iteration, *rois, stage="s", **kept):
    return Pass(stage, iteration, kept or {"a": (10, 1.0)}, {0: 6, 1: 4}, rois)


def roi(x, loss, label=0, file="a"):
    return HardRoI(file, (x, 0, x + 9, 9), label, loss, 0.0)


def test_places_that_stay_hard_to_the_end():
    passes = [visit(1, roi(0, 9.0)), visit(6, roi(50, 3.0), roi(100, 2.5), roi(51, 2.0)),
              visit(8, roi(51, 4.0), roi(0, 1)), visit(10, roi(100, 2.0, label=1), roi(100, 1.5))]
    first, second = lasting_places(passes)
    assert (first.worst.box[0], first.visits, sorted(first.losses.values())) == (51, 3, [3.0, 4.0])
    assert (second.worst.box[0], second.worst.label, second.loss) == (100, 0, pytest.approx(4 / 3))
    assert first.rank == pytest.approx(7 / 4)


def test_passes_of_one_iteration_are_different_visits():
    (place,) = lasting_places([visit(4, roi(0, 3.0)), visit(4, roi(1, 2.0)), visit(4)])
    assert (place.visits, sorted(place.losses.values())) == (3, [2.0, 3.0])


def test_photographs_and_classes():
    passes = [visit(10, a=(4, 2.0), b=(16, 1.0)), visit(20, a=(8, 1.0), c=(2, 1.0))]
    assert [(each.file, each.visits, each.kept) for each in hard_photographs(passes)] == [("b", 1, 16), ("a", 2, 6),
                                                                                        ("c", 1, 2)]
    assert hard_photographs(passes)[1].loss == pytest.approx(16 / 12)
    assert class_shares(passes, 2) == {0: [(10, 0.6), (20, 0.6)], 1: [(10, 0.4), (20, 0.4)]}
    assert class_shares([], 2) == {} and class_shares(passes, 8)[1] == [(10, 0.4), (20, 0.4)]


def test_passes_to_show():
    passes = [visit(number) for number in range(10)]
    assert [each.iteration for each in chosen_passes(passes, 4)] == [0, 3, 6, 9]
    assert chosen_passes(passes[:2], 4) == passes[:2] and chosen_passes([], 4) == []
