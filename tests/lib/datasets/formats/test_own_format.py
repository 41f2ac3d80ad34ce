"""The example of a custom format in docs/own_dataset.md: one function gets every feature of VOC's XML."""
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from folders_made import CAT, voc_folder, write_image

import datasets
from commands.data_set import find_imdb, prepare_to_train
from datasets import formats, registry
from datasets.annotated_images import AnnotatedImages
from datasets.factory import get_imdb
from datasets.source import Annotation, AnnotationError, DatasetError
from roi_data_layer.roidb import prepare_roidb
from utils.errors import UserError

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "own_dataset.md"
TRAIN = """image,class,x1,y1,x2,y2
a,cat,0,0,19,29
a,dog,4,5,59,39
b,cat,30,10,70,20
b,Cat,5,5,5,9
b,cta,1,1,9,9
empty,,,,,
lost,dog,1,1,9,9
word,dog,1,one,9,9
"""
TEST = "image,class,x1,y1,x2,y2\nc,cat,1,2,20,30\nc,dog,30,2,50,38\nc,dog,3,2,9,9\n"


@pytest.fixture
def boxes_csv(tmp_path, monkeypatch):
    """The example's module, imported as IMPORTS would."""
    code = DOCUMENT.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "boxes_csv.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(formats, "_readers", list(formats._readers))
    yield importlib.import_module("boxes_csv")
    del sys.modules["boxes_csv"]
    registry.registered.pop("own_pets", None)


@pytest.fixture
def pets_csv(tmp_path, boxes_csv):
    folder = tmp_path / "pets_csv"
    for name in ("a", "b", "empty", "word", "c"):
        write_image(folder / "images" / f"{name}.png")
    (folder / "train.csv").write_text(TRAIN)
    (folder / "test.csv").write_text(TEST)
    return folder


def test_cleaning_and_report(pets_csv):
    data = get_imdb(str(pets_csv), classes=["cat", "dog"])
    assert data.name == "pets_csv_train" and data.image_index == ["a", "b", "empty"] and data.zero_based
    assert [entry["boxes"].tolist() for entry in data.gt_roidb()] == [[[0, 0, 19, 29], [4, 5, 59, 39]],
                                                                      [[30, 10, 59, 20]], []]
    assert data.summary() == """pets_csv_train: 3 images, 2 cat, 1 dog
coordinates count from 0
1 images have no object
box clipped (1):
  b: cat (30, 10, 70, 20) extends beyond the image (60 x 40) by 11
box dropped (2):
  b: cat (5, 5, 5, 9) has no area
  unknown class 'cta' (near: 'cat'): 1 objects in 1 images: b
image left out (2):
  lost: no image file of this name
  word: could not convert string to float: 'one'
taken as 'cat' (1):
  train: 1 objects are named 'Cat'"""


def test_class_names_are_those_of_the_training_split(pets_csv):
    assert get_imdb(f"{pets_csv}:test").classes == ("__background__", "cat", "cta", "dog")
    (pets_csv / "train.csv").write_text("image,class,x1,y1,x2,y2\nempty,,,,,\n")
    with pytest.raises(DatasetError, match="train.csv: no annotated object found, so no class names"):
        get_imdb(f"{pets_csv}:test")


def test_images_that_cannot_be_decoded_are_left_out(pets_csv, capsys):
    file = pets_csv / "images" / "a.png"
    file.write_bytes(file.read_bytes()[:33] + bytes(80) + b"IEND")
    data = find_imdb(str(pets_csv))
    assert prepare_to_train(data, str(pets_csv)) == [str(file)]
    assert "a: a.png cannot be decoded" in capsys.readouterr().out and data.image_index == ["b", "empty"]


def test_training_and_evaluation(pets_csv, tmp_path):
    data = get_imdb(f"{pets_csv}:test", classes=["cat", "dog"])
    found = [[np.zeros((0, 5))], [np.array([[1, 2, 20, 30, 0.9]])], [np.array([[30, 2, 50, 38, 0.8]])]]
    result = data.evaluate_detections(found, tmp_path / "out")
    assert result.classes["cat"].ap == 1 and result.classes["dog"].recall.tolist() == [0.5]
    assert (tmp_path / "out" / "comp4_det_test_cat.txt").read_text() == "c 0.9 2 3 21 31\n"
    data.append_flipped_images()
    roidb = prepare_roidb(data)
    assert roidb[1]["boxes"].tolist()[0] == [39, 2, 58, 30] and roidb[1]["image"].endswith("c.png")


def test_joined_with_a_data_set_of_another_format(pets_csv, tmp_path):
    voc = voc_folder(tmp_path / "voc", {"x": [CAT]}, {"train": ["x"]})
    both = get_imdb(f"{pets_csv}:test+{voc}:train")
    assert both.classes == ("__background__", "cat", "cta", "dog") and both.image_index == ["c", "x"]
    assert both.gt_roidb()[1]["boxes"].tolist() == [[0, 0, 19, 29]]     # VOC's coordinates count from 1


def test_errors_are_reported_with_the_option(pets_csv, boxes_csv, tmp_path):
    with pytest.raises(UserError, match="--imdb .*pets_csv:val: .*val.csv: there is no such split"):
        find_imdb(f"{pets_csv}:val")
    with pytest.raises(DatasetError, match="there is no such folder or YAML file"):
        get_imdb(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="boxes_csv.read is registered already"):
        formats.register(boxes_csv.read)


def test_annotations_whose_lists_differ_in_length():
    with pytest.raises(AnnotationError, match="2 class names, 1 boxes, 2 flags"):
        Annotation.of(["cat", "dog"], [[1, 2, 3, 4]])


def test_a_data_set_read_by_a_custom_reader_can_be_registered(pets_csv, boxes_csv):
    datasets.register("own_pets", lambda: AnnotatedImages(boxes_csv.read(pets_csv, "train"), ["cat", "dog"]))
    assert get_imdb("own_pets").num_images == 3
    with pytest.raises(DatasetError, match="'own_pets' is registered already"):
        datasets.register("own_pets", lambda: None)
