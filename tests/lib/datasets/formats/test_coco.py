"""COCO's JSON: the layouts that tools write, coordinates, crowds, ids, files that cannot be used."""
import json

import numpy as np
import pytest
from folders_made import write_image

from datasets.factory import get_imdb
from datasets.source import DatasetError

CATEGORIES = [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 7, "name": "cat", "supercategory": "pets"},
              {"id": 18, "name": "dog", "supercategory": "pets"}]


def content(images, objects, **more):
    """The text of a file from {id: file_name} and (image, category, bbox[, more keys]) rows."""
    return json.dumps({
        "info": {"year": "2024"}, "licenses": [], "categories": CATEGORIES,
        "images": [{"id": key, "file_name": name, "width": 60, "height": 40} for key, name in images.items()],
        "annotations": [{"id": number, "image_id": image, "category_id": category, "bbox": box, "area": 1, "iscrowd": 0,
                         "segmentation": [], **dict(*rest)}
                        for number, (image, category, box, *rest) in enumerate(objects, 1)], **more})


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def official(tmp_path):
    """As cocodataset.org has it: years, ids with gaps."""
    root = tmp_path / "coco"
    for folder, names in (("train2017", "ab"), ("val2017", "c")):
        for name in names:
            write_image(root / folder / f"00{name}.jpg")
    write(root / "annotations" / "instances_train2017.json", content(
        {139: "00a.jpg", 9: "00b.jpg"},
        [(139, 7, [1.5, 2.25, 20, 10]), (9, 18, [0, 0, 60, 40]), (139, 18, [4, 5, 6, 7], {"iscrowd": 1})]))
    write(root / "annotations" / "instances_val2017.json", content({1: "00c.jpg"}, [(1, 7, [3, 4, 5, 6])]))
    write(root / "annotations" / "captions_train2017.json", '{"images": [], "annotations": [], "categories": []}')
    return root


def test_official_layout(official):
    data = get_imdb(str(official))
    assert data.name == "coco_train2017" and data.image_index == ["00a", "00b"]
    assert data.classes == ("__background__", "cat", "dog") and data.zero_based
    assert data.gt_roidb()[0]["boxes"].tolist() == [[1.5, 2.25, 20.5, 11.25]]
    assert data.gt_roidb()[1]["boxes"].tolist() == [[0, 0, 59, 39]] and data.problems == []
    assert data.gt_roidb()[0]["ignored"].tolist() == [[4, 5, 9, 11]]
    assert data.objects_of_class("dog")["00a"].difficult.tolist() == [True]
    assert data.summary().startswith(
        "COCO: 2 classes, 2 images, 3 boxes in train2017; splits: train2017 2, val2017 1\ncoco_train2017: 2 images")


def test_detections_in_a_crowd_are_ignored(official, tmp_path):
    """If at least half of them lies in it, as in COCO's evaluation; an object marked `ignore` is a single object."""
    file = official / "annotations" / "instances_val2017.json"
    file.write_text(content({1: "00c.jpg"}, [(1, 7, [3, 4, 5, 6]), (1, 7, [10, 10, 40, 20], {"iscrowd": 1}),
                                             (1, 18, [0, 0, 30, 30], {"ignore": 1}), (1, 18, [40, 0, 9, 9])]))
    data = get_imdb(f"{official}:val")
    found = [[], [np.array([[3, 4, 7, 9, 0.5], [12, 12, 16, 18, 0.9], [20, 12, 25, 18, 0.8]])],
             [np.array([[40, 0, 48, 8, 0.5], [1, 1, 9, 9, 0.9]])]]
    result = data.evaluate_detections(found, tmp_path / "out").classes
    assert result["cat"].ap == result["cat"].coco_figures()["ap"] == 1
    assert result["dog"].ap == result["dog"].coco_figures()["ap"] == 0.5


@pytest.mark.parametrize("name", ["{}:val", "{}:val2017", "{}:valid", "{}/annotations/instances_val2017.json"])
def test_names_of_splits(official, name):
    data = get_imdb(name.format(official))
    assert data.image_index == ["00c"] and data.classes == ("__background__", "cat", "dog")     # train's


def test_a_missing_split_is_named(official):
    with pytest.raises(DatasetError, match="coco: no split 'test'; there are: train2017, val2017"):
        get_imdb(f"{official}:test")


def test_roboflow(tmp_path):
    for split, image, category in (("train", "a", 7), ("valid", "b", 18)):
        write_image(tmp_path / "chess" / split / f"{image}_jpg.rf.1.jpg")
        write(tmp_path / "chess" / split / "_annotations.coco.json",
              content({0: f"{image}_jpg.rf.1.jpg"}, [(0, category, [1, 1, 9, 9])]))
    assert get_imdb(str(tmp_path / "chess")).classes == ("__background__", "cat")       # not the super-category
    assert get_imdb(f"{tmp_path}/chess/valid").image_index == ["b_jpg.rf.1"]
    assert "unknown class 'dog'" in get_imdb(f"{tmp_path}/chess:val").summary()


@pytest.mark.parametrize("file, image, listed", [
    ("annotations/instances_default.json", "images/a.jpg", "a.jpg"),        # CVAT
    ("annotations/instances_default.json", "images/default/a.jpg", "a.jpg"),        # Datumaro
    ("result.json", "images/a.jpg", "images\\a.jpg"), ("result.json", "images/a.jpg", "../../data/upload/a.jpg"),
    ("labels.json", "data/a.jpg", "a.jpg"), ("set.json", "a.jpg", "/home/other/photos/a.jpg"),
    ("annotations.json", "day/a.jpg", "./day/a.jpg"), ("annotations.json", "a.JPG", "a.jpg"),
    ("annotations.json", "a.jpg", "https://example.org/x/a.jpg?width=3"), ("annotations.json", "images/a.jpg", "a")])
def test_where_images_are_found(tmp_path, file, image, listed):
    write_image(tmp_path / "d" / image)
    path = write(tmp_path / "d" / file, content({5: listed}, [(5, 7, [1, 2, 3, 4])]))
    for name in (tmp_path / "d", path):
        data = get_imdb(str(name))
        assert data.image_index == ["a"] and data.image_path_at(0) == str(tmp_path / "d" / image)
        assert data.summary().startswith("COCO: 1 classes, 1 images, 1 boxes\nd_all")


def test_names_that_differ_in_folder_or_extension(tmp_path):
    names = ["day/1.jpg", "night/1.jpg", "night/2.jpg", "night/2.png"]
    for name in names:
        write_image(tmp_path / "d" / name)
    write(tmp_path / "d" / "x.json", content(dict(enumerate(names)), [(k, 7, [k, 0, 5, 5]) for k in range(4)]))
    data = get_imdb(str(tmp_path / "d"))
    assert data.image_index == ["day/1", "night/1", "night/2.jpg", "night/2.png"]
    assert [entry["boxes"][0, 0] for entry in data.gt_roidb()] == [0, 1, 2, 3]


def test_errors_in_a_file_are_reported(tmp_path):
    for name in "abcde":
        write_image(tmp_path / "d" / f"{name}.jpg")
    huge = 10 ** 400
    objects = [(1, 7, [1, 2, 3, 4]), (1, 99, [1, 2, 3, 4]), (77, 7, [1, 2, 3, 4]), (2, 7, [1, 2, 3]),
               (3, 7, [1, 2, float("nan"), 4]), (4, 7, [50, 10, -20, 5]), (4, 7, [5, 5, 0, 9]), (4, 7, [50, 0, 30, 5]),
               (7, 7, [1, 2, huge, 4]), (5, 7, [], {"segmentation": [[1, 2, 11, 2, 11, 8]]})]
    write(tmp_path / "d" / "x.json", content(
        {k: f"{'-abcde'[k]}.jpg" for k in range(1, 6)} | {6: "lost.jpg", 7: "f.jpg"}, objects))
    write_image(tmp_path / "d" / "f.jpg")
    data = get_imdb(str(tmp_path / "d"))
    assert data.image_index == ["a", "d", "e"]
    assert [entry["boxes"].tolist() for entry in data.gt_roidb()] == [
        [[1, 2, 3, 5]], [[30, 10, 49, 14], [50, 0, 59, 4]], [[1, 2, 10, 7]]]
    for line in ("unknown class 'category 99'", "all: 1 annotations are of images that the file does not list",
                 "b: annotation 4: expected bbox [x, y, width, height], found [1, 2, 3]", "has no area",
                 "c: annotation 5: the box of object 'cat' is", "not finite",
                 "extends beyond the image (60 x 40) by 20", "d: cat (49, 10, 30, 14) has xmin 49 > xmax 30",
                 "lost.jpg: there is no such image in", "f: annotation 9: int too large"):
        assert line in data.summary()


@pytest.mark.parametrize("text, message", [
    ('{"images": [], "categories": [', "not readable as JSON"), ('["images", "categories"]', "expected an object with"),
    ('{"images": 3, "categories": []}', "expected a list of objects under 'images'"),
    ('{"images": [1], "categories": []}', "expected a list of objects under 'images'"),
    ('{"images": [], "annotations": [], "categories": []}', "no annotated object found, so no class names"),
    ('{"a": "' + "\\u00e9" + '", "images": [], "categories": []' + " " * 9 + "\xe9", "x.json:1: not text in utf-8")])
def test_files_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=f"x.json.*{message}" if "x.json" not in message else message):
        get_imdb(str(tmp_path / "x.json"))


def test_flags_may_be_texts(tmp_path):
    write_image(tmp_path / "d" / "a.jpg")
    flags = [{"iscrowd": "0"}, {"iscrowd": "1"}, {"ignore": "false"}, {"ignore": "True"}, {"iscrowd": None}]
    write(tmp_path / "d" / "x.json", content({1: "a.jpg"}, [(1, 7, [0, 0, 9, 9], flag) for flag in flags]))
    assert get_imdb(str(tmp_path / "d")).objects_of_class("cat")["a"].difficult.tolist() == [0, 1, 0, 1, 0]


def test_images_with_the_same_id_are_left_out(tmp_path):
    for name in "abc":
        write_image(tmp_path / "d" / f"{name}.jpg")
    text = json.loads(content({1: "a.jpg", 2: "c.jpg"}, [(1, 7, [0, 0, 9, 9]), (2, 7, [1, 1, 9, 9])]))
    text["images"] += [{"id": 1, "file_name": "b.jpg"}, {"id": 2, "file_name": "./c.jpg"}]
    write(tmp_path / "d" / "x.json", json.dumps(text))
    data = get_imdb(str(tmp_path / "d"))
    assert data.image_index == ["c"]
    assert [line for line in data.summary().splitlines() if "the same id 1" in line][1].startswith("  b: another image")


@pytest.mark.parametrize("images, category, more, message", [
    ({"1": "a.jpg"}, 7, [], "no image_id of its annotations, such as 1, is an id of its images, such as '1'"),
    ({1: "a.jpg"}, "7", [], "no category_id of its annotations, such as '7', is an id of its categories, such as 0, 7"),
    ({1: "a.jpg"}, 7, [{"id": 7, "name": "ox"}], "categories: 'cat' and 'ox' have the same id 7")])
def test_ids_that_do_not_match(tmp_path, images, category, more, message):
    write(tmp_path / "x.json", content(images, [(1, category, [0, 0, 9, 9])], categories=CATEGORIES + more))
    with pytest.raises(DatasetError, match=f"x.json: {message}"):
        get_imdb(str(tmp_path / "x.json"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_encodings(tmp_path, encoding):
    write_image(tmp_path / "d" / "a.jpg")
    (tmp_path / "d" / "x.json").write_bytes(content({1: "a.jpg"}, [(1, 7, [0, 0, 9, 9])]).encode(encoding))
    assert get_imdb(str(tmp_path / "d")).num_images == 1


def test_images_without_annotations_can_be_tested_on(tmp_path):
    write_image(tmp_path / "d" / "a.jpg")
    text = json.loads(content({1: "a.jpg"}, []))
    del text["annotations"]
    write(tmp_path / "d" / "image_info_test.json", json.dumps(text))
    data = get_imdb(str(tmp_path / "d"), classes=["cat"])
    assert data.image_index == ["a"] and not data.source.annotated


def test_chess(shared_data):
    data = get_imdb(f"{shared_data}/formats/coco_roboflow")
    assert (data.num_images, data.num_classes, data.problems) == (12, 13, [])
    assert get_imdb(f"{shared_data}/formats/coco_roboflow:val").num_images == 6
