"""The records of hard RoIs: the iterations that are drawn, and the content of a record."""
import json

import numpy as np

from roi_data_layer.gallery import MOST_ROIS, choice_record, sampled_iterations


def test_the_iterations_that_are_recorded():
    drawn = sorted(sampled_iterations(1000, 50, 3))
    assert len(drawn) == 50 and drawn[-1] == 1000 and sampled_iterations(1000, 50, 3) == frozenset(drawn)
    assert [(number - 1) // 20 for number in drawn] == list(range(50))
    assert sampled_iterations(1000, 50, 4) != frozenset(drawn)
    assert sorted(sampled_iterations(7, 50, 3)) == list(range(1, 8)) == sorted(sampled_iterations(7, 7, 3))


def entry(file, flipped, boxes, classes):
    return {"image": file, "flipped": flipped, "width": 100, "height": 50, "boxes": np.array(boxes, np.float32),
            "gt_classes": np.array(classes)}


def test_a_record_in_pixels_of_the_stored_photograph():
    entries = [entry("a.png", False, [[10, 10, 29, 29], [0, 0, 9, 9]], [2, 0]),
               entry("b.png", True, [[10, 10, 29, 29]], [1])]
    rois = np.array([[1, 20, 20, 58, 58], [0, 20, 20, 58, 58], [0, 0, 0, 18, 18]], np.float32)
    found = choice_record(entries, [2, 2], np.array([0.5, 2.0, 1.0]), rois, np.array([1, 2, 0], np.float32))
    assert found == json.loads(json.dumps(found))
    assert found["images"] == [{"file": "a.png", "flipped": False, "kept": 2, "loss": 1.5},
                               {"file": "b.png", "flipped": True, "kept": 1, "loss": 0.5}]
    assert found["classes"] == {"0": 1, "1": 1, "2": 1}
    assert found["rois"] == [{"image": 0, "box": [10, 10, 29, 29], "class": 2, "loss": 2.0, "iou": 1.0},
                             {"image": 0, "box": [0, 0, 9, 9], "class": 0, "loss": 1.0, "iou": 0.0},
                             {"image": 1, "box": [70, 10, 89, 29], "class": 1, "loss": 0.5, "iou": 1.0}]


def test_a_record_is_bounded_and_may_be_empty():
    rois = np.zeros((40, 5), np.float32)
    rois[:, 3:] = 9
    found = choice_record([entry("a.png", False, np.zeros((0, 4)), [])], [1.0], np.arange(40.0), rois, np.zeros(40))
    assert len(found["rois"]) == MOST_ROIS and found["rois"][0]["loss"] == 39 and found["images"][0]["kept"] == 40
    none = choice_record([entry("a.png", False, np.zeros((0, 4)), [])], [1.0], np.zeros(0), rois[:0], np.zeros(0))
    assert none["rois"] == [] and none["classes"] == {}
