"""LabelMe's JSON: shapes, versions, where the image is, files that cannot be used."""
import json

import pytest
from folders_made import write_image

from datasets.factory import get_imdb


def write(root, name, shapes, image=True, **more):
    """An image and its file in the shape of version 5."""
    if image:
        write_image(root / f"{name}.jpg")
    root.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
               "imageHeight": 40, "imageWidth": 60, **more}
    (root / f"{name}.json").write_text(json.dumps(content, indent=2))


def shape(label, points, kind="rectangle", **more):
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {},
            "mask": None, **more}


def test_shapes(tmp_path):
    write(tmp_path / "d", "a", [
        shape("cat", [[20.5, 30], [1.5, 2]]), shape("dog", [[10, 10], [30, 5], [20, 40]], "polygon"),
        shape("cat", [[30, 20], [33, 24]], "circle"), shape("dog", [[5, 5], [9, 9]], "mask"),
        shape("dog", [[3, 3]], "point"), shape("dog", [[3, 3], [9, 9]], "linestrip"),
        shape("_background_", [[3, 3], [9, 9]]), shape("__ignore__", [[40, 0], [60, 40]]),
        shape("cat", [[1, 1], [9, 9]], flags={"difficult": True})])
    data = get_imdb(str(tmp_path / "d"))
    assert data.classes == ("__background__", "cat", "dog") and data.name == "d_all"
    entry = data.gt_roidb()[0]
    assert entry["boxes"].tolist() == [[1.5, 2, 19.5, 29], [10, 5, 29, 39], [25, 15, 34, 24], [5, 5, 9, 9]]
    assert entry["gt_classes"].tolist() == [1, 2, 1, 2] and entry["ignored"].tolist() == [[40, 0, 59, 39], [1, 1, 8, 8]]
    for line in ("1 shapes are a point, not objects", "1 shapes are a linestrip", "1 shapes are a _background_",
                 "LabelMe: 2 classes, 1 images, 6 boxes\n"):
        assert line in data.summary()


@pytest.mark.parametrize("path", ["a.jpg", "..\\d\\a.jpg", "other_name.jpg", "/home/x/a.jpg", "../../../etc/a.jpg"])
def test_where_the_image_is(tmp_path, path):
    write(tmp_path / "d", "a", [shape("cat", [[1, 2], [3, 4]])], imagePath=path)
    assert get_imdb(str(tmp_path / "d")).image_index == ["a"]


def test_older_versions_and_apart_from_the_images(tmp_path):
    """Version 3 has no shape_type, image size and flags; polygons are all it has."""
    write_image(tmp_path / "d" / "images" / "a.png")
    (tmp_path / "d" / "annotations").mkdir()
    (tmp_path / "d" / "annotations" / "a.json").write_text(json.dumps({
        "shapes": [{"label": "cat", "line_color": None, "fill_color": None, "points": [[1, 2], [9, 2], [9, 12]]}],
        "lineColor": [0, 255, 0, 128], "fillColor": [255, 0, 0, 128], "imagePath": "..\\images\\a.png",
        "imageData": "aGVsbG8="}))
    assert get_imdb(str(tmp_path / "d")).gt_roidb()[0]["boxes"].tolist() == [[1, 2, 8, 11]]


def test_splits(tmp_path):
    write(tmp_path / "d" / "train", "a", [shape("cat", [[1, 2], [3, 4]])])
    write(tmp_path / "d" / "val", "b", [shape("cat", [[1, 2], [3, 4]])])
    assert get_imdb(f"{tmp_path}/d:val").image_index == get_imdb(f"{tmp_path}/d/val").image_index == ["b"]
    assert "splits: train 1, val 1" in get_imdb(f"{tmp_path}/d").summary()


@pytest.mark.parametrize("shapes, message", [
    ([shape("", [[1, 2], [3, 4]])], "shape 1: no label"), ([shape("cat", [[1, 2]])], "at least 2 points, found 1"),
    ([shape("cat", [[1, 2], [3, "x"]])], "shape 1: could not convert"), ("many", "expected an object with shapes"),
    ([5], "shape 1: 'int' object"), ([shape("cat", [[1, 2], [float("nan"), 4]])], "not finite numbers"),
    ([{"points": []}], "shape 1: 'label'")])
def test_files_that_cannot_be_used(tmp_path, shapes, message):
    write(tmp_path / "d", "a", [shape("cat", [[1, 2], [3, 4]])])
    write(tmp_path / "d", "b", shapes)
    write_image(tmp_path / "d" / "c.jpg")
    write_image(tmp_path / "d" / "z.jpg")
    (tmp_path / "d" / "z.json").write_text("{")
    data = get_imdb(str(tmp_path / "d"))
    assert data.image_index == ["a"]
    assert message in data.summary() and "c.json: there is no such file" in data.summary()
    assert "z.json: Expecting" in data.summary()


def test_people(shared_data):
    data = get_imdb(f"{shared_data}/formats/labelme")
    assert data.classes[1:] == ("bus", "car", "person") and data.num_images == 3 and data.problems == []
