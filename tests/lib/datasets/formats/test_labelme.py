"""LabelMe's JSON: shapes, versions, where the image is, files that cannot be used."""
import base64
import json

import cv2
import numpy as np
import pytest
from folders_made import write_image

from datasets.decoding import broken_images
from datasets.factory import get_imdb
from datasets.writers import write as write_data
from datasets.writers.records import records_of
from utils.images import read_image


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
def test_where_the_image_is_found(tmp_path, path):
    write(tmp_path / "d", "a", [shape("cat", [[1, 2], [3, 4]])], imagePath=path)
    assert get_imdb(str(tmp_path / "d")).image_index == ["a"]


def test_older_versions_and_files_in_a_separate_folder(tmp_path):
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
    ([{"points": []}], "shape 1: 'label'"), ([shape(None, [[1, 2], [3, 4]])], "shape 1: no label")])
def test_files_that_cannot_be_used(tmp_path, shapes, message):
    write(tmp_path / "d", "a", [shape("cat", [[1, 2], [3, 4]])])
    write(tmp_path / "d", "b", shapes)
    write_image(tmp_path / "d" / "c.jpg")
    write_image(tmp_path / "d" / "z.jpg")
    (tmp_path / "d" / "z.json").write_text("{")
    data = get_imdb(str(tmp_path / "d"))
    assert data.image_index == ["a"]
    assert message in data.summary() and "c.json: there is no such file" in data.summary()
    assert f"z: {tmp_path}/d/z.json:1: not readable as JSON: Expecting" in data.summary()


# ---- images that are embedded only
def noise(ending):
    """A file of 60 x 40 pixels, as bytes."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()


def embed(root, name, data, **more):
    write(root, name, [shape("cat", [[1, 2], [11, 12]])], image=False,
          **{"imageData": base64.b64encode(data).decode(), **more})


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_embedded_images_are_read_and_written_out(tmp_path, ending):
    embed(tmp_path / "d", "a", noise(ending))
    write(tmp_path / "d", "b", [shape("dog", [[1, 2], [3, 4]])], imageData="not read, as there is a file")
    data = get_imdb(f"{tmp_path}/d")
    assert data.image_index == ["a", "b"] and data.image_sizes() == [(60, 40)] * 2
    assert data.gt_roidb()[0]["boxes"].tolist() == [[1, 2, 10, 11]]
    assert "1 images have no file but are embedded in their annotations" in data.summary()
    pixels = cv2.imdecode(np.frombuffer(noise(ending), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(data.image_path_at(0)), pixels)
    assert broken_images([data.image_path_at(0)]) == []
    write_data("voc", tmp_path / "voc", {"all": records_of(data)}, data.classes[1:])
    assert (tmp_path / "voc" / "JPEGImages" / f"a{ending}").read_bytes() == noise(ending)
    assert get_imdb(f"{tmp_path}/voc:all").gt_roidb()[0]["boxes"].tolist() == [[1, 2, 10, 11]]


def test_embedded_images_are_checked_as_files_are(tmp_path):
    embed(tmp_path / "d", "good", noise(".jpg"), imagePath="../elsewhere/good.jpg")
    embed(tmp_path / "d", "early", noise(".jpg")[:-300])
    embed(tmp_path / "d", "half_as_large", noise(".jpg"), imageWidth=120, imageHeight=80)
    embed(tmp_path / "d", "other", noise(".jpg"), imageWidth=99)
    embed(tmp_path / "d", "huge", noise(".png").replace(b"\0\0\0<\0\0\0(", b"\0\0\x80\0\0\0\x40\0"))
    embed(tmp_path / "d", "text", b"no image")
    embed(tmp_path / "d", "odd", b"", imageData="AAAAA")
    write(tmp_path / "d", "none", [shape("cat", [[1, 2], [3, 4]])], image=False)
    data = get_imdb(f"{tmp_path}/d")
    assert data.image_index == ["early", "good", "half_as_large"]
    for line in ("early: early.json ends early", "half_as_large: the LabelMe file says (120, 80)",
                 "other: the LabelMe file says (99, 40)", "that claims 32768 x 16384 pixels",
                 "text.json: not an image, or a broken one", "none: there is no such image in",
                 "odd.json: the image that it embeds, imageData, cannot be read: "):
        assert line in data.summary()


def test_people(shared_data):
    data = get_imdb(f"{shared_data}/formats/labelme")
    assert data.classes[1:] == ("bus", "car", "person") and data.num_images == 3 and data.problems == []
