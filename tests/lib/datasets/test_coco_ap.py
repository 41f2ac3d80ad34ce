"""COCO's average precision against its definition, one detection at a time, and against pycocotools where installed."""
import contextlib
import io

import numpy as np
import pytest

from datasets.average_precision import Detections, Objects
from datasets.coco_ap import AREAS, IOU_THRESHOLDS, coco_aps, match
from datasets.evaluation import evaluate

SIDE = 90


def scene(seed, images=7, difficult=0.3, copies=12):
    """Objects of one class, and detections near them, with equal scores, equal boxes and false alarms."""
    rng = np.random.default_rng(seed)
    objects, names, boxes = {}, [], []
    for number in range(images):
        count = rng.integers(0, 6)
        corners = rng.integers(0, SIDE, (count, 2)).astype(np.float32)
        things = np.hstack([corners, corners + rng.integers(5, 40, (count, 2))]).astype(np.float32)
        if count > 2:
            things[1] = things[0]
        objects[f"{number:03d}"] = Objects(things, rng.random(count) < difficult)
        near = things[rng.integers(0, count, copies)] + rng.integers(-4, 5, (copies, 4)) if count else things
        lone = rng.integers(0, SIDE, (3, 2))
        found = np.concatenate([near, np.hstack([lone, lone + 20])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        boxes.append(found.astype(np.float32))
        names += [f"{number:03d}"] * len(found)
    scores = np.round(rng.random(len(names)), 1 if seed % 2 else 6).astype(np.float32)
    return Detections(names, scores, np.concatenate(boxes)), objects


def iou(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    inter = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
    return inter / (sum(areas) - inter)


def slow_ap(detections, objects, threshold):
    """One threshold, one detection at a time."""
    order = sorted(range(len(detections.scores)), key=lambda row: -detections.scores[row])
    seen, taken, right, wrong, curve = {}, set(), 0, 0, []
    positives = sum((~things.difficult).sum() for things in objects.values())
    for row in order:
        name, box = detections.images[row], detections.boxes[row].astype(float)
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 100:
            continue
        things = objects[name]
        best = None
        for wanted in (False, True):            # first those that are not difficult
            for index in range(len(things.boxes)):
                if things.difficult[index] == wanted and (name, index) not in taken:
                    overlap = iou(box, things.boxes[index].astype(float))
                    if overlap >= (threshold if best is None else best[0]):
                        best = overlap, index
            if best is not None:
                break
        if best is not None:
            taken.add((name, best[1]))
            right += not things.difficult[best[1]]
        else:
            wrong += 1
        curve.append((right / positives, right / max(right + wrong, 1)))
    return np.mean([max([precision for recall, precision in curve if recall >= wanted], default=0)
                    for wanted in np.linspace(0, 1, 101)])


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_definition(seed):
    detections, objects = scene(seed)
    expected = [slow_ap(detections, objects, threshold) for threshold in IOU_THRESHOLDS]
    np.testing.assert_allclose(coco_aps(detections, objects), expected, atol=1e-12)
    assert len(set(expected)) > 5


def test_only_the_best_hundred_of_an_image_count():
    detections, objects = scene(3, images=2, copies=150)
    expected = [slow_ap(detections, objects, threshold) for threshold in IOU_THRESHOLDS]
    np.testing.assert_allclose(coco_aps(detections, objects), expected, atol=1e-12)


def pycocotools_aps(detections, objects, area="all"):
    """pycocotools' results; difficult objects get an area outside of all ranges, so that it ignores them."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    numbers = {name: number for number, name in enumerate(objects, 1)}

    def xywh(box):
        x1, y1, x2, y2 = (float(value) for value in box)
        return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]

    annotations = [{"image_id": numbers[name], "category_id": 1, "iscrowd": 0, "bbox": xywh(box),
                    "area": 1e11 if is_difficult else np.prod(xywh(box)[2:])}
                   for name, things in objects.items()
                   for box, is_difficult in zip(things.boxes, things.difficult, strict=True)]
    truth, rows = coco.COCO(), zip(detections.images, detections.scores, detections.boxes, strict=True)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {"images": [{"id": number} for number in numbers.values()], "categories": [{"id": 1}],
                         "annotations": [{**entry, "id": number} for number, entry in enumerate(annotations, 1)]}
        truth.createIndex()
        found = truth.loadRes([{"image_id": numbers[name], "category_id": 1, "score": float(score), "bbox": xywh(box)}
                               for name, score, box in rows])
        run = evaluation.COCOeval(truth, found, "bbox")
        run.evaluate()
        run.accumulate()
    np.testing.assert_allclose(run.params.iouThrs, IOU_THRESHOLDS, atol=1e-12)
    place = run.params.areaRngLbl.index(area)
    return run.eval["precision"][:, :, 0, place, 2].mean(axis=1)      # thresholds, recalls, classes, areas, limits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"seed": seed} for seed in range(12)] + [
    {"seed": 20, "images": 60}, {"seed": 21, "images": 3, "copies": 150}, {"seed": 22, "difficult": 0}])
def test_agrees_with_pycocotools(options):
    detections, objects = scene(**options)
    np.testing.assert_allclose(coco_aps(detections, objects), pycocotools_aps(detections, objects), atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("area", ["small", "medium"])
@pytest.mark.parametrize("seed", range(6))
def test_areas_agree_with_pycocotools(seed, area):
    detections, objects = scene(seed, images=20)
    expected = pycocotools_aps(detections, objects, area)
    assert 0 < expected.mean() < 1
    np.testing.assert_allclose(coco_aps(detections, objects, AREAS[area]), expected, atol=1e-12)


def test_an_object_that_is_not_difficult_is_preferred():
    """Even if the difficult one overlaps more; a difficult object is matched only once, like any other."""
    found, ignored = match(np.array([[0.9, 0.6], [0.9, 0.6], [0.9, 0.6]]), np.array([True, False]))
    assert found[:, 0].tolist() == [True, True, False] and ignored[:, 0].tolist() == [False, True, False]
    assert found[:, 4].tolist() == [True, False, False] and ignored[:, 4].tolist() == [True, False, False]


def test_without_objects_or_detections():
    nothing = Detections([], np.zeros(0), np.zeros((0, 4)))
    box = np.array([[1.0, 1, 9, 9]])
    assert coco_aps(nothing, {"a": Objects(box, np.array([False]))}).tolist() == [0] * 10
    for objects in ({}, {"a": Objects(box, np.array([True]))}, {"a": Objects(np.zeros((0, 4)), np.zeros(0, bool))}):
        assert np.isnan(coco_aps(Detections(["a"], np.ones(1), box), objects)).all()


def test_figures_of_a_data_set():
    """One class is found at IoU 0.6, the other exactly, and the third has nothing to find."""
    objects = {"cat": {"a": Objects(np.array([[0.0, 0, 9, 9]]), np.array([False]))},
               "dog": {"a": Objects(np.array([[20.0, 0, 39, 9]]), np.array([False]))}, "emu": {}}
    detections = {"cat": Detections(["a"], np.array([0.9]), np.array([[0.0, 0, 5, 9]])),
                  "dog": Detections(["a"], np.array([0.8]), np.array([[20.0, 0, 39, 9]])),
                  "emu": Detections(["a"], np.array([0.7]), np.array([[1.0, 1, 5, 5]]))}
    result = evaluate(detections, objects)
    assert result.classes["cat"].coco.tolist() == [1, 1, 1] + [0] * 7
    assert result.coco_means() == pytest.approx({"ap50": 1, "ap75": 0.5, "ap": 0.65})
    assert result.report().endswith("mAP as COCO defines it: 1.0000 at IoU 0.5, 0.5000 at 0.75, 0.6500 over 0.50:0.95")
    values = result.as_json()
    assert values["classes"]["cat"] == pytest.approx({"ap50": 1, "ap75": 0, "ap": 0.3, "voc_area": 1,
                                                      "voc_11_points": 1})
    assert set(values["classes"]["emu"].values()) == {None} and values["mean"]["ap"] == pytest.approx(0.65)
