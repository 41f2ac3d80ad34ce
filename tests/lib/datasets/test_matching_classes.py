"""Classes of a detector and a data set are matched by name."""
import json

import numpy as np
import pytest
from folders_made import CAT, DOG, OX, flat_folder, voc_folder

from commands.data_set import find_inputs, load_imdb
from datasets.all_boxes import evaluate_by_name
from datasets.factory import get_imdb
from datasets.imdb import imdb
from datasets.registry import register
from datasets.source import NothingToEvaluateError
from utils.errors import UserError

DETECTOR = ("__background__", "dog", "emu", "cat")


@pytest.fixture(autouse=True)
def no_registered_names(monkeypatch):
    monkeypatch.setattr("datasets.factory.registered", registered := {})
    monkeypatch.setattr("datasets.registry.registered", registered)


def found(data, classes=DETECTOR):
    """Every object, as detections [class][image] of a detector with these classes."""
    entries = data.gt_roidb()
    return [[np.array([[*box, 1] for box, label in zip(entry["boxes"], entry["gt_classes"], strict=True)
                       if data.classes[label].lower() == name], np.float32).reshape(-1, 5) for entry in entries]
            for name in classes]


def test_a_data_set_takes_the_names_of_the_detector(pets, tmp_path, capsys):
    for path in (f"{pets}:train", f"{pets}:test", f"{pets}:train+{pets}:test"):
        data = load_imdb(path, DETECTOR)
        assert data.classes == DETECTOR
        result = evaluate_by_name(data, found(data), DETECTOR, tmp_path / "out")
        assert list(result.classes) == ["dog", "emu", "cat"] and result.mean_ap == 1
    text = capsys.readouterr().out
    assert "1 dog, 0 emu" not in text and "unknown class 'ox': 1 objects in 1 images: c" in text
    assert "not in the mean, no objects to find: emu" in result.report()


class Zoo(imdb):
    """A data set in the style of py-faster-rcnn, with its own classes and order."""

    def __init__(self, classes=("__background__", "cat", "Dog", "ox")):
        super().__init__("zoo", classes)
        self.image_index = ["a", "b"]

    def evaluate_detections(self, all_boxes, output_dir):
        return [[len(dets) for dets in images] for images in all_boxes]


def test_a_data_set_that_keeps_its_own_classes(capsys):
    register("zoo", Zoo)
    data = load_imdb("zoo", DETECTOR)
    boxes = [[np.zeros((10 * label + image, 5)) for image in range(2)] for label in range(4)]
    assert evaluate_by_name(data, boxes, DETECTOR, "out") == [[0, 1], [30, 31], [10, 11], [0, 0]]
    text = capsys.readouterr().out
    assert "not evaluated, the detector has no such classes: ox" in text
    assert "not evaluated, the data set has no such classes: emu" in text
    same = [[np.zeros((label, 5))] * 2 for label in range(4)]
    assert evaluate_by_name(data, same, data.classes, "out") == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_classes_that_the_detector_lacks_do_not_count(tmp_path, pets):
    data = get_imdb(f"{pets}:test")     # cat, dog, ox in its own order
    result = evaluate_by_name(data, found(data), DETECTOR, tmp_path)
    assert list(result.classes) == ["cat", "dog"] and result.mean_ap == 1
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(record["classes"]) == ["cat", "dog"] and record["mean"] == dict.fromkeys(record["mean"], 1)


def test_a_registered_data_set_is_matched_too(pets):
    register("mine", lambda: get_imdb(f"{pets}:train"))
    data = get_imdb("mine", DETECTOR)
    assert data.classes == DETECTOR and [entry["gt_classes"].tolist() for entry in data.gt_roidb()] == [[3, 1], [1]]
    assert get_imdb(f"mine+{pets}:test", DETECTOR).classes == DETECTOR
    assert get_imdb("mine").classes == ("__background__", "cat", "dog")


@pytest.mark.parametrize("name", ["zoo", "path", "both"])
def test_a_data_set_of_other_things_is_refused(tmp_path, name):
    register("zoo", lambda: Zoo(("__background__", "ox")))
    path = str(flat_folder(tmp_path / "oxen", {"a": [OX], "b": []}))
    words = {"zoo": "zoo", "path": path, "both": f"{path}+{path}"}[name]
    with pytest.raises(UserError, match="none of its objects has a class of the detector, .* emu, cat; they are ox"):
        load_imdb(words, DETECTOR)


def test_photographs_without_annotations_need_no_names(tmp_path):
    root = voc_folder(tmp_path / "bare", {"a": [CAT]}, {"test": ["a"]})
    (root / "Annotations" / "a.xml").unlink()
    data = load_imdb(f"{root}:test", DETECTOR)
    assert data.classes == DETECTOR and data.num_images == 1
    with pytest.raises(NothingToEvaluateError, match="nothing to evaluate against"):
        evaluate_by_name(data, [[np.zeros((0, 5))]] * 4, DETECTOR, tmp_path / "out")
    nothing = flat_folder(tmp_path / "empty", {"a": []})        # annotated: there is no object
    assert load_imdb(str(nothing), DETECTOR).classes == DETECTOR


def test_the_data_set_for_the_test_after_training_has_the_names_of_the_training(tmp_path, pets):
    other = flat_folder(tmp_path / "other", {"a": [DOG, OX]})
    train, test = find_inputs(f"{pets}:train", None, str(other))
    assert train.classes == test.classes == ("__background__", "cat", "dog")
    assert test.gt_roidb()[0]["gt_classes"].tolist() == [2]
