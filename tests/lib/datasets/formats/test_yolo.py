"""YOLO's text files: data.yaml, darknet's files, folders, polygons, backgrounds, lines that cannot be used."""
import shutil

import numpy as np
import pytest
from folders_made import write_split

from datasets.factory import get_imdb
from datasets.source import DatasetError

CAT = "0 0.5 0.5 0.5 0.25\n"      # in 60 x 40: edges 15, 15, 45, 25
DOG = "1 0.25 0.25 0.1 0.1\n"


@pytest.fixture
def ultralytics(tmp_path):
    root = write_split(tmp_path / "pets", "images/train", "labels/train", {"a": CAT + DOG, "empty": "", "none": None})
    write_split(root, "images/val", "labels/val", {"b": CAT})
    (root / "data.yaml").write_text("path: pets  # as in a folder of data sets\ntrain: images/train\nval: images/val\n"
                                    "test:\nnames:\n  0: cat\n  1: dog\n")
    return root


def test_ultralytics(ultralytics):
    for name in (ultralytics, ultralytics / "data.yaml", f"{ultralytics}:train", ultralytics / "images" / "train"):
        data = get_imdb(str(name))
        assert data.name == "pets_train" and data.image_index == ["a", "empty", "none"] and data.zero_based
        assert data.classes == ("__background__", "cat", "dog") and data.problems == []
        assert data.gt_roidb()[0]["boxes"].tolist() == [[15, 15, 44, 24], [12, 8, 17, 11]]
        assert [len(entry["boxes"]) for entry in data.gt_roidb()] == [2, 0, 0]
    assert data.summary().startswith("YOLO: 2 classes, 3 images, 2 boxes in train; splits: train 3, val 1\n")
    assert get_imdb(f"{ultralytics}:val").image_index == ["b"]
    yaml = ultralytics / "data.yaml"        # a folder that was not unpacked
    yaml.write_text(yaml.read_text().replace("test:", "test: images/nowhere"))
    assert "splits: train 3, val 1\n" in get_imdb(str(ultralytics)).summary()
    with pytest.raises(DatasetError, match="data.yaml: images/nowhere: there is no such file or folder"):
        get_imdb(f"{ultralytics}:test")
    yaml.write_text(yaml.read_text().replace("test: images/nowhere", "test:"))
    assert get_imdb(f"{ultralytics}/data.yaml:valid").classes == ("__background__", "cat", "dog")
    with pytest.raises(DatasetError, match="no split 'test'; there are: train, val"):
        get_imdb(f"{ultralytics}:test")


@pytest.mark.parametrize("yaml", [
    "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",      # Roboflow's, whose .. is wrong
    "train: train/images\nval: valid/images\nnames: {0: cat, 1: dog}\n",
    "path: /datasets/elsewhere\ntrain: [train/images]\nval: valid/images\nnames: [cat, dog]\n",
    "train: train.txt\nval: valid/images\nnames: [cat, dog]\n"])
def test_paths_in_a_yaml_file(tmp_path, yaml):
    root = write_split(tmp_path / "d", "train/images", "train/labels", {"a": CAT})
    write_split(root, "valid/images", "valid/labels", {"b": DOG})
    (root / "data.yaml").write_text(yaml)
    (root / "train.txt").write_text("./train/images/a.jpg\n")
    assert get_imdb(str(root)).gt_roidb()[0]["boxes"].tolist() == [[15, 15, 44, 24]]
    assert get_imdb(f"{root}:val", classes=["dog"]).image_path_at(0) == str(root / "valid" / "images" / "b.jpg")


def test_folders_with_a_file_of_names(tmp_path):
    root = write_split(tmp_path / "d", "images", "labels", {"a": CAT, "day/b": None})
    (root / "labels" / "day").mkdir()
    (root / "labels" / "day" / "b.txt").write_text(DOG)
    with pytest.raises(DatasetError, match="numbers for classes, and there is no file with their names: put classes.t"):
        get_imdb(str(root))
    (root / "classes.txt").write_text("cat\nhot dog\n")
    data = get_imdb(str(root))
    assert data.name == "d_all" and data.image_index == ["a", "day/b"] and data.classes[1:] == ("cat", "hot dog")
    flat = write_split(tmp_path / "flat", ".", ".", {"a": CAT})       # LabelImg
    shutil.copy(root / "classes.txt", flat)
    assert get_imdb(str(flat)).image_index == ["a"]


def test_darknet(tmp_path):
    root = write_split(tmp_path / "d", "obj_train_data", "obj_train_data", {"a": CAT, "b": DOG})     # CVAT's YOLO 1.1
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "train.txt").write_text("data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n")
    data = get_imdb(str(root))
    assert data.image_index == ["a", "b"] and data.classes[1:] == ("cat", "dog")


def test_polygons_and_key_points(ultralytics):
    file = ultralytics / "labels" / "train" / "a.txt"
    file.write_text("0 0.5 0.25 1 0.5 0.75 1\n1.0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n")
    assert get_imdb(str(ultralytics)).gt_roidb()[0]["boxes"].tolist() == [[30, 10, 59, 39], [6, 4, 29, 19]]
    yaml = ultralytics / "data.yaml"
    yaml.write_text(yaml.read_text() + "kpt_shape: [2, 2]\n")
    file.write_text("0 0.5 0.5 0.5 0.25 0.9 0.9 0.1 0.1\n")
    assert get_imdb(str(ultralytics)).gt_roidb()[0]["boxes"].tolist() == [[15, 15, 44, 24]]


@pytest.mark.parametrize("line, message", [
    ("0 0.5 0.5 0.5", "found 3 numbers"), ("0 0.5 0.5 0.5 0.2 0.9", "found 5 numbers"),
    ("0 30 20 10 10", "30 is not a fraction of the image's size"), ("cat 0.5 0.5 0.5 0.5", "could not convert"),
    ("-1 0.5 0.5 0.5 0.5", "expected the number of a class, found '-1'"),
    ("0 nan 0.5 0.5 0.5", "nan is not a fraction"),
    ("0.5 0.5 0.5 0.5 0.5", "expected the number of a class"), ("0 a b c d", "could not convert")])
def test_lines_that_cannot_be_used(ultralytics, line, message):
    (ultralytics / "labels" / "train" / "a.txt").write_text(f"{CAT}{line}\n")
    data = get_imdb(str(ultralytics), classes=["cat"])
    assert data.image_index == ["empty", "none"] and "a.txt: object 2: " in data.summary()
    assert message in data.summary()


def test_class_numbers_without_a_name(ultralytics):
    (ultralytics / "labels" / "train" / "a.txt").write_text(CAT + "7 0.5 0.5 0.5 0.5\n")
    assert "unknown class 'class 7'" in get_imdb(str(ultralytics)).summary()
    (ultralytics / "labels" / "train" / "a.txt").write_text("7 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DatasetError, match="the label files have the classes 7, the names those of 0, 1"):
        get_imdb(str(ultralytics))


@pytest.mark.parametrize("yaml, message", [
    ("names: [a]\n", "expected folders or lists of images under train"),
    ("train: images/train\nnames: 5\n", "names: exp"),
    ("train: nowhere\nnames: [a]\n", "nowhere: there is no such file or folder"),
    ("train: [/dev/zero]\nnames: [a]\n", "/dev/zero: there is no such file or folder"),
    ("train: ..\nnames: [a]\n", r"\.\.: is a folder above"),
    ("path: .\ntrain: /\nnames: [a]\n", "/: is a folder above"),
    ("train: 5\nnames: [a]\n", "train: expected a path or a list of them"),
    ("train: images/train\nnc: 2\n", "names: expected the class names"),
    ("train: images/train\nnames: {a: b}\n", "names: expected the class names"),
    ("train: images/train\nnames: ['']\n", "names: expected the class names"),
    ("train: images/train\nnc: 3\nnames: [cat, dog]\n", "nc is 3, but names has 2: cat, dog")])
def test_yaml_files_that_cannot_be_used(ultralytics, yaml, message):
    (ultralytics / "data.yaml").write_text(yaml)
    with pytest.raises(DatasetError, match=f"data.yaml: .*{message}"):
        get_imdb(str(ultralytics / "data.yaml"))


@pytest.mark.parametrize("names, classes", [
    ("[no, 'yes']", ("no", "yes")), ("{0: 0603, 1: 0402}", ("0402", "0603")), ("[2.50, 12:30]", ("12:30", "2.50")),
    ("\n- Off\n- 2020-01-01", ("2020-01-01", "Off"))])
def test_class_names_are_as_written(ultralytics, names, classes):
    (ultralytics / "data.yaml").write_text(f"train: images/train\nnc: '2'\nnames: {names}\n")
    assert get_imdb(str(ultralytics)).classes[1:] == classes


def test_invalid_yaml_is_reported(ultralytics):
    (ultralytics / "data.yaml").write_text("names: [a, b\n  c: d")
    with pytest.raises(DatasetError, match="data.yaml: not readable as YAML: "):
        get_imdb(str(ultralytics))


def test_vegetables(shared_data, tmp_path):
    """Without class names the data set is refused; data.yaml provides them and the paths."""
    folder = shared_data / "formats" / "yolo"
    with pytest.raises(DatasetError, match="no file with their names"):
        get_imdb(str(folder))
    names = ", ".join(f"v{number}" for number in range(12))
    (tmp_path / "data.yaml").write_text(f"path: {folder}\ntrain: train/images\nval: valid/images\nnames: [{names}]\n")
    data = get_imdb(str(tmp_path / "data.yaml"))
    assert (data.num_images, data.classes[1:]) == (10, ("v3", "v7"))
    width, height = data.image_sizes()[0]
    box = data.gt_roidb()[0]["boxes"][0]
    expected = np.array([0.446239 - 0.051329 / 2, 0.381504 - 0.030495 / 2]) * [width, height]
    np.testing.assert_allclose(box[:2], expected, atol=2e-3)
