"""KITTI's label files: columns, DontCare, layouts, lines that cannot be used."""
import numpy as np
import pytest
from folders_made import write_split

from datasets.factory import get_imdb
from datasets.source import DatasetError

CAR = "Car 0.00 0 -1.58 1.00 2.00 20.00 30.00 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
CARE = "DontCare -1 -1 -10 40.00 0.00 59.00 39.00 -1 -1 -1 -1000 -1000 -1000 -10\n"


def write(root, labels, images, files):
    return write_split(root, images, labels, files, ending=".png")


@pytest.fixture
def kitti(tmp_path):
    root = write(tmp_path / "kitti", "training/label_2", "training/image_2", {"000000": CAR + CARE, "000007": ""})
    return write(root, "testing/label_2", "testing/image_2", {"000000": None})


def test_official_layout(kitti):
    data = get_imdb(str(kitti))
    assert data.name == "kitti_training" and data.image_index == ["000000", "000007"] and data.zero_based
    assert data.classes == ("__background__", "Car") and data.problems == []
    assert data.gt_roidb()[0]["boxes"].tolist() == [[1, 2, 20, 30]]
    assert data.gt_roidb()[0]["ignored"].tolist() == [[40, 0, 59, 39]] and len(data.gt_roidb()[1]["boxes"]) == 0
    assert "1 objects are marked as difficult" in data.summary()
    test = get_imdb(f"{kitti}:test")
    assert test.num_images == 1 and not test.source.annotated and test.classes == data.classes


def test_detections_in_a_dontcare_region_are_ignored(kitti, tmp_path):
    data = get_imdb(str(kitti))
    inside, outside = [45, 5, 50, 9, 0.9], [30, 5, 44, 9, 0.95]
    found = [[], [np.array([[1, 2, 20, 30, 0.8], [40, 0, 59, 39, 0.9], inside]), np.zeros((0, 5))]]
    result = data.evaluate_detections(found, tmp_path / "out").classes["Car"]
    assert result.ap == 1 and result.coco_figures() == {"ap50": 1, "ap75": 1, "ap": 1}
    found[1][0] = np.vstack([found[1][0], outside])
    result = data.evaluate_detections(found, tmp_path / "out").classes["Car"]
    assert result.ap == result.coco_figures()["ap"] == 0.5


def test_lists_of_names_and_folders_of_other_names(kitti, tmp_path):
    (kitti / "ImageSets").mkdir()
    (kitti / "ImageSets" / "train.txt").write_text("000000\n")
    (kitti / "ImageSets" / "val.txt").write_text("000007\n")
    assert get_imdb(f"{kitti}:val").image_index == ["000007"] and get_imdb(str(kitti)).image_index == ["000000"]
    other = write(tmp_path / "tao", "labels", "images", {"a": CAR})
    assert get_imdb(str(other)).name == "tao_all"


@pytest.mark.parametrize("line, message", [
    ("Car 0 0 0 1 2 3 4\n", "object 2: expected 15 columns, found 8"),
    (CAR.replace("20.00", "x"), "object 2: could not"),
    (CAR.replace("20.00", "nan"), "object 2: the box of object 'Car'")])
def test_lines_that_cannot_be_used(kitti, line, message):
    (kitti / "training" / "label_2" / "000000.txt").write_text(CAR + line)
    (kitti / "training" / "label_2" / "000007.txt").unlink()
    write(kitti, "training/label_2", "training/image_2", {"000009": CAR})
    data = get_imdb(f"{kitti}:training")
    assert data.image_index == ["000009"] and message in data.summary()
    assert "000007.txt: there is no such file" in data.summary()


def test_an_empty_list(kitti):
    (kitti / "ImageSets").mkdir()
    (kitti / "ImageSets" / "train.txt").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DatasetError, match="train.txt:1: not text"):
        get_imdb(str(kitti))
