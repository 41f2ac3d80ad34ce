"""The mistakes of a detector, counted by hand."""
import numpy as np
import pytest
from folders_made import CAT, voc_folder

from datasets.coco_ap import AREAS, coco_aps
from datasets.diagnosis import Found, Truth, assign, best_score, diagnose, found_in_images, truths_of
from datasets.evaluation import Detections, Objects
from datasets.factory import get_imdb


def box(x, y=0, side=10):
    return [x, y, x + side - 1, y + side - 1]


def truth(*things):
    """Things are (box, label) or (box, label, difficult)."""
    return Truth(np.array([thing[0] for thing in things], float).reshape(-1, 4),
                 np.array([thing[1] for thing in things], int),
                 np.array([len(thing) > 2 for thing in things], bool))


def found(*things):
    """Things are (box, label, score), by descending score."""
    return Found(np.array([thing[0] for thing in things], float).reshape(-1, 4),
                 np.array([thing[1] for thing in things], int), np.array([thing[2] for thing in things], float))


def test_a_detection_takes_an_object_of_its_class_before_one_of_another():
    detections = found((box(0), 2, 0.9), (box(1), 1, 0.8))
    np.testing.assert_array_equal(assign(detections, truth((box(0), 1), (box(1), 2))), [1, 0])
    np.testing.assert_array_equal(assign(detections, truth((box(0), 1))), [-1, 0])
    np.testing.assert_array_equal(assign(detections, truth((box(0), 3))), [0, -1])
    np.testing.assert_array_equal(assign(detections, truth()), [-1, -1])


def test_the_matrix_and_the_mistakes():
    truths = [truth((box(0), 1), (box(100, side=30), 2), (box(300, side=40), 2), (box(500), 1, "difficult")), truth()]
    founds = [found((box(0), 1, 0.9), (box(1), 1, 0.8), (box(500), 1, 0.75), (box(101, side=30), 1, 0.7),
                    (box(314, 16, side=40), 2, 0.6), (box(300, side=40), 2, 0.1)), found((box(7), 2, 0.95))]
    result = diagnose(founds, truths, 3, 0.5)
    np.testing.assert_array_equal(result.matrix, [[0, 1, 2], [0, 1, 0], [1, 1, 0]])
    assert [(each.image, each.label, each.score) for each in result.false_alarms] == [(1, 2, 0.95), (0, 1, 0.8),
                                                                                     (0, 2, 0.6)]
    assert [each.reason for each in result.false_alarms] == ["no object", "found twice", "poor box, IoU 0.24"]
    [missed], [confused] = result.missed, result.confused
    assert (missed.truth, missed.score, confused.label, confused.truth) == (2, 0.1, 1, 2)


def test_the_best_score_has_the_highest_f1():
    truths = [truth((box(0), 1), (box(100), 1))]
    detections = found((box(0), 1, 0.9), (box(50), 1, 0.8), (box(100), 1, 0.7), (box(200), 1, 0.6))
    assert best_score([detections], truths) == 0.7
    assert best_score([found((box(0), 1, 0.9), (box(50), 1, 0.8))], truths) == 0.9
    tied = found((box(0), 1, 0.9), (box(100), 1, 0.5), *[(box(200 + 20 * place), 1, 0.5) for place in range(5)])
    assert best_score([tied], truths) == 0.9        # F1 is 2/3; 4/9 with all of score 0.5
    assert best_score([found((box(50), 1, 0.9))], truths) == 0 == best_score([found()], [truth()])


def test_detections_in_regions_without_annotations_are_no_mistakes():
    region = np.array([box(100, side=200)], float), np.array([1])
    detections = found((box(120), 1, 0.9), (box(200), 1, 0.8), (box(150), 2, 0.7), (box(0), 1, 0.6))
    objects = truth((box(0), 1), (box(200), 2))
    result = diagnose([detections], [Truth(objects.boxes, objects.labels, objects.difficult, *region)], 3, 0.5)
    np.testing.assert_array_equal(result.matrix, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert [each.label for each in result.false_alarms] == [2] and not result.confused

    detections = found((box(0), 1, 0.9), (box(120), 1, 0.8), (box(140), 1, 0.7), (box(50), 1, 0.6))
    objects = truth((box(0), 1), (box(50), 1))
    assert best_score([detections], [objects]) == 0.9
    assert best_score([detections], [Truth(objects.boxes, objects.labels, objects.difficult, *region)]) == 0.6


def test_the_regions_of_a_data_set_are_known(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [CAT, ("__any__", 1, 2, 30, 30, 1)]}, {"train": ["a"]})
    [found] = truths_of(get_imdb(str(root)))
    assert found.regions.tolist() == [[0, 1, 29, 29]] and found.region_labels.tolist() == [1]


def test_detections_of_an_image_are_sorted_over_all_classes():
    rows = [[np.zeros((0, 5))], [np.array([[1, 2, 3, 4, 0.2], [1, 2, 3, 4, 0.1]])], [np.array([[5, 6, 7, 8, 0.15]])]]
    [detections] = found_in_images(rows)
    assert detections.labels.tolist() == [1, 2, 1] and detections.scores.tolist() == [0.2, 0.15, 0.1]


def test_average_precision_of_an_area_ignores_objects_and_detections_of_others():
    objects = {"a": Objects(np.array([box(0, side=20), box(100, side=50)], float), np.zeros(2, bool))}
    detections = Detections(["a"] * 3, np.array([0.9, 0.8, 0.7]),
                            np.array([box(300, side=60), box(0, side=20), box(100, side=50)], float))
    aps = {size: coco_aps(detections, objects, area)[0] for size, area in AREAS.items()}
    assert aps["small"] == pytest.approx(1) and aps["medium"] == pytest.approx(0.5) and np.isnan(aps["large"])
