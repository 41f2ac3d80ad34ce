"""Cleaning: images whose size differs from the annotation's, swapped corners, rounding; reports that stay short."""
import struct

import cv2
import numpy as np
import pytest
from folders_made import CAT, DOG, voc_folder, write_image, xml

from commands.data_set import check_images, prepare_to_train
from datasets.factory import get_imdb
from datasets.problems import Problem, is_shortened, report
from fast_rcnn.config import cfg
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("default_settings")


def one_image(tmp_path, objects, said, size, orientation=0):
    """A data set of the good image 'a' and of 'x', which has size `said` in its annotation and `size` in its file."""
    root = voc_folder(tmp_path / "d", {"a": [CAT], "x": xml(objects, said)}, {"train": ["a", "x"]})
    write_image(root / "JPEGImages" / "x.jpg", *size)
    if orientation:
        set_orientation(root / "JPEGImages" / "x.jpg", orientation)
    return get_imdb(str(root), classes=["cat"])


def set_orientation(file, orientation):
    body = b"Exif\0\0II" + struct.pack("<HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    data = file.read_bytes()
    file.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])


@pytest.mark.parametrize("orientation, box", [(5, [4, 10, 14, 50]), (6, [25, 10, 35, 50]), (7, [25, 9, 35, 49]),
                                              (8, [4, 9, 14, 49])])
def test_boxes_of_the_unrotated_image_are_rotated_with_it(tmp_path, orientation, box):
    data = one_image(tmp_path, [("cat", 11, 5, 51, 15)], (60, 40), (60, 40), orientation)
    assert data.image_sizes()[1] == (40, 60) and data.gt_roidb()[1]["boxes"].tolist() == [box]
    assert "boxes turned with the image (1)" in data.summary() and f"EXIF orientation {orientation}" in data.summary()


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_of_the_rotated_image_are_kept(tmp_path, orientation):
    size = (40, 60) if orientation == 6 else (60, 40)
    data = one_image(tmp_path, [("cat", 11, 5, 31, 15)], size, (60, 40), orientation)
    assert data.gt_roidb()[1]["boxes"].tolist() == [[10, 4, 30, 14]] and data.problems == []


@pytest.mark.parametrize("quarter, orientation, size, objects, kept", [
    (True, 2, (60, 40), [CAT], False), (True, 3, (60, 40), [CAT], False), (True, 4, (60, 40), [CAT], False),
    (True, 8, (40, 40), [CAT], False), (True, 3, (60, 40), [], True), (True, 1, (60, 40), [CAT], True),
    (False, 3, (60, 40), [CAT], True)])
def test_rotations_that_keep_the_size_if_others_were_annotated_unrotated(
        tmp_path, quarter, orientation, size, objects, kept):
    images = {"upright": [CAT], "quarter": [CAT], "x": xml(objects, size)}
    root = voc_folder(tmp_path / "d", images, {"train": list(images)})
    write_image(root / "JPEGImages" / "x.jpg", *size)
    set_orientation(root / "JPEGImages" / "x.jpg", orientation)
    if quarter:
        set_orientation(root / "JPEGImages" / "quarter.jpg", 6)
    data = get_imdb(str(root), classes=["cat"])
    assert data.image_index == ["upright", "quarter", *(["x"] if kept else [])]
    message = f"x: x.jpg is turned by its EXIF orientation {orientation} without a change of its size"
    assert (message in data.summary()) == (not kept)
    data.use_classes(["cat"])
    assert (message in data.summary()) == (not kept)


@pytest.mark.parametrize("said, size, box", [
    ((120, 80), (60, 40), [9.5, 14.5, 49, 34]), ((30, 20), (60, 40), None),
    ((1000, 667), (500, 333), [9.5, 14.478, 49, 33.948]), ((1000, 667), (500, 334), [9.5, 14.522, 49, 34.052])])
def test_boxes_of_a_resized_image_are_scaled(tmp_path, said, size, box):
    objects = [("cat", 20, 30, 100, 70)] if box else [("cat", 1, 1, 30, 20)]
    data = one_image(tmp_path, objects, said, size)
    np.testing.assert_allclose(data.gt_roidb()[1]["boxes"], [box or [0, 0, 59, 39]], atol=0.01)
    what = f"the XML file says {said}, the image's size is {size}"
    assert f"boxes scaled with the image (1):\n  x: {what}" in data.summary()


@pytest.mark.parametrize("said, size, objects", [
    ((40, 60), (60, 40), [CAT]), ((120, 60), (60, 40), [CAT]), ((66, 40), (60, 40), [CAT]),
    ((120, 80), (60, 40), [("cat", 100, 10, 140, 60)])])    # the last one has a box beyond the annotated size
def test_an_image_with_unknown_box_positions_is_left_out(tmp_path, said, size, objects):
    data = one_image(tmp_path, objects, said, size)
    (problem,) = data.problems
    assert data.image_index == ["a"] and (problem.image, problem.action) == ("x", "image left out")
    assert f"the XML file says {said}, the image's size is {size}" in problem.what


def test_a_size_difference_of_one_pixel_moves_no_box(tmp_path):
    data = one_image(tmp_path, [CAT], (61, 39), (60, 40))
    assert data.gt_roidb()[1]["boxes"].tolist() == [[0, 0, 19, 29]]


def test_swapped_corners_are_exchanged(tmp_path):
    data = one_image(tmp_path, [("cat", 30, 20, 10, 5), ("cat", 1, 20, 10, 5)], (60, 40), (60, 40))
    assert data.gt_roidb()[1]["boxes"].tolist() == [[9, 4, 29, 19], [0, 4, 9, 19]]
    what = "cat (30, 20, 10, 5) has xmin 30 > xmax 10 and ymin 20 > ymax 5"
    assert f"corners exchanged (2):\n  x: {what}" in data.summary()


def test_objects_of_the_background(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [("Cat", 1, 1, 9, 9), ("__background__", 1, 1, 20, 20)]}, {"train": ["a"]})
    data = get_imdb(str(root))
    assert data.classes == ("__background__", "Cat") and data.gt_roidb()[0]["gt_classes"].tolist() == [1]
    assert "'__background__' is the name of the background, not of a class" in data.summary()


def test_one_name_in_two_unicode_forms(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [("e\u0301", 1, 1, 9, 9), ("\u00e9", 1, 1, 9, 9), ("\u00e9", 1, 1, 9, 9)]},
                      {"train": ["a"]})
    assert get_imdb(str(root)).classes[1:] == ("\u00e9",)


def test_images_without_objects_are_counted(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [CAT], "b": [], "c": []}, {"train": ["a", "b", "c"]})
    assert "3 images, 1 cat\ncoordinates count from 1\n2 images have no object" in get_imdb(str(root)).summary()


def test_many_problems_of_a_kind_are_counted(tmp_path, capsys):
    problems = [Problem(f"im{n}", f"cat ({n}, 1, 2, 3) has no area", "box dropped") for n in range(100)]
    problems += [Problem(f"im{n}", f"/d/im{n}.xml: no such <tag>", "box dropped") for n in range(3)]
    lines = report(problems).splitlines()
    assert len(lines) == 1 + 8 + 1 + 3 and lines[0] == "box dropped (103):"
    assert lines[9] == "  ... and 92 more like these" and is_shortened(problems)
    assert len(report(problems, None).splitlines()) == 104 and not is_shortened(problems[95:])
    root = voc_folder(tmp_path / "d", {f"n{n}": [CAT, ("cat", 9, 9, 9, 9)] for n in range(20)},
                      {"train": [f"n{n}" for n in range(20)]})
    prepare_to_train(get_imdb(str(root)), str(root), tmp_path / "out" / "decoded_images.json")
    printed = capsys.readouterr().out
    assert "... and 12 more like these" in printed
    assert f"all 20 problems: {tmp_path}/out/data_set_problems.txt" in printed
    assert "n19: cat (9, 9, 9, 9) has no area" in (tmp_path / "out" / "data_set_problems.txt").read_text()


def test_all_objects_are_difficult(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [(*CAT, 1), (*DOG, 1)]}, {"train": ["a"]})
    with pytest.raises(UserError, match="all 2 objects are marked as difficult; 'use_difficult: true' in a YAML file"):
        prepare_to_train(get_imdb(str(root)), str(root))


def test_images_that_vanish_when_scaled(tmp_path, capsys):
    root = voc_folder(tmp_path / "d", {"a": [CAT], "thin": []}, {"train": ["a", "thin"]})
    write_image(root / "JPEGImages" / "thin.jpg", 2001, 2)
    (root / "Annotations" / "thin.xml").write_text(xml([], (2001, 2)))
    cfg.TRAIN.MAX_SIZE = cfg.TEST.MAX_SIZE = 500
    data = get_imdb(str(root))
    assert prepare_to_train(data, str(root)) == [str(root / "JPEGImages" / "thin.jpg")] and data.image_index == ["a"]
    assert "thin: thin.jpg has 2001 x 2 pixels, and none when scaled to TRAIN.SCALES [600]" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"d: images that cannot be tested.*\n.*thin.jpg has 2001 x 2 pixels.*TEST"):
        check_images(get_imdb(str(root)), "--imdb", "d")
    cfg.TEST.MAX_SIZE = 1000
    check_images(get_imdb(str(root)), "--imdb", "d")


def test_images_left_out_for_several_reasons_are_all_reported(tmp_path, capsys):
    root = voc_folder(tmp_path / "d", {name: [CAT] for name in ("a", "dark", "thin")}, {"train": ["a", "dark", "thin"]})
    dark = np.random.default_rng(0).integers(0, 4096, (40, 60, 3), np.uint16)
    (root / "JPEGImages" / "dark.jpg").write_bytes(cv2.imencode(".png", dark)[1].tobytes())
    write_image(root / "JPEGImages" / "thin.jpg", 5000, 2)
    (root / "Annotations" / "thin.xml").write_text(xml([], (5000, 2)))
    data = get_imdb(str(root))
    assert len(prepare_to_train(data, str(root))) == 2
    printed = capsys.readouterr().out
    assert "dark.jpg the highest of its 16-bit values is 409" in printed and "thin.jpg has 5000 x 2" in printed
