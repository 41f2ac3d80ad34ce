"""Images with valid headers but broken data: detected once, left out, reported."""
import os

import cv2
import numpy as np
import pytest

from commands.data_set import check_images, prepare_to_train
from datasets import decoding
from datasets.decoding import broken_images
from datasets.factory import get_imdb
from datasets.imdb import imdb
from datasets.problems import Problem, report
from datasets.source import DatasetError
from utils.errors import UserError

XML = ("<annotation><object><name>{}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
       "</object></annotation>")


def spoil(path):
    """Keep the header of a PNG file, with nothing decodable after it."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + bytes(len(data) - 33 - 12) + data[-12:])


@pytest.fixture
def photos(tmp_path):
    """Four images with an object 'cat' each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcd":
        cv2.imwrite(str(folder / f"{name}.png"), np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8))
        (folder / f"{name}.xml").write_text(XML.format("cat"))
    return folder


def test_broken_images_are_detected(photos):
    spoil(photos / "b.png")
    paths = [str(photos / f"{name}.png") for name in ("a", "b", "b", "c", "none")]
    assert broken_images(paths) == [paths[1], paths[4]]
    assert broken_images([]) == []


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "ppm"])
@pytest.mark.parametrize("height, width", [(1, 1), (3, 60), (40, 2)])
def test_images_of_a_few_pixels_can_be_decoded(tmp_path, suffix, height, width):
    path = str(tmp_path / f"a.{suffix}")
    cv2.imwrite(path, np.full((height, width, 3), 99, np.uint8))
    assert broken_images([path]) == []


def test_images_are_decoded_once_and_again_when_they_change(photos, tmp_path, monkeypatch, capsys):
    record, paths, seen = tmp_path / "record.json", [str(photos / f"{name}.png") for name in "abcd"], []
    real = decoding.can_be_decoded
    monkeypatch.setattr(decoding, "can_be_decoded", lambda path: bool(seen.append(path)) or real(path))
    spoil(photos / "d.png")
    assert broken_images(paths, record) == [paths[3]] and sorted(seen) == paths
    assert "decoding images once: 4/4" in capsys.readouterr().out
    seen.clear()
    assert broken_images(paths, record) == [paths[3]] and seen == [paths[3]]
    os.utime(paths[0], (1, 1))
    seen.clear()
    assert broken_images(paths, record) == [paths[3]] and sorted(seen) == [paths[0], paths[3]]


def test_broken_images_are_left_out_and_reported_with_other_problems(photos, capsys):
    spoil(photos / "b.png")
    (photos / "c.xml").write_text("<annotation>")
    data = get_imdb(str(photos))
    assert data.image_index == ["a", "b", "d"]
    assert prepare_to_train(data, str(photos)) == [str(photos / "b.png")]
    text = capsys.readouterr().out
    assert "image left out (2):\n  b: b.png cannot be decoded\n  c: " in text and "2 images, 2 cat" in text
    assert data.image_index == ["a", "d"] and len(data.roidb) == 2
    assert [os.path.basename(data.image_path_at(i)) for i in range(2)] == ["a.png", "d.png"]


def test_broken_images_are_left_out_of_joined_data_sets(photos, tmp_path):
    import shutil
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    spoil(other / "a.png")
    both = get_imdb(f"{photos}+{other}")
    assert both.num_images == 8
    both.leave_out(broken_images([both.image_path_at(i) for i in range(8)]))
    assert both.num_images == len(both.gt_roidb()) == 7 and both.image_path_at(4) == str(other / "b.png")


def test_nothing_left_or_leaving_out_not_supported(photos):
    for path in photos.glob("*.png"):
        spoil(path)
    with pytest.raises(UserError, match="no usable image.*\n.*\n *a: a.png cannot be decoded"):
        prepare_to_train(get_imdb(str(photos)), "photos")
    with pytest.raises(UserError, match="--test_imdb photos: images that cannot be decoded.*\n.*a.png\n"):
        check_images(get_imdb(str(photos)), "--test_imdb", "photos")
    imdb("mine").leave_out([])
    with pytest.raises(DatasetError, match="mine: images that cannot be decoded: x.png"):
        imdb("mine").leave_out(["x.png"])


def test_a_data_set_without_objects_to_train_on(photos):
    description = photos.parent / "cats.yml"
    (photos.parent / "all.txt").write_text("a\nb\nc\nd\n")
    description.write_text("images: photos\nannotations: photos\nimage_sets: {train: all.txt}\nclasses: [cats]\n")
    with pytest.raises(UserError, match=r"no image has an object to train on\nbox dropped \(4\):\n"
                                        r"  unknown class 'cat' \(near: 'cats'\): 4 objects in 4 images: a, b, c, d"):
        prepare_to_train(get_imdb(f"{description}:train"), "cats")
    with pytest.raises(DatasetError, match="(?s)no image has an object.*no image has an object"):
        get_imdb(f"{description}:train+{description}:train").validate()


def test_unknown_classes_are_reported_once():
    problems = [Problem(f"i{n // 2}", "unknown class 'x'", "box dropped", "x") for n in range(20)]
    assert report([Problem("z", "no area", "box dropped"), *problems]) == (
        "box dropped (21):\n  z: no area\n"
        "  unknown class 'x': 20 objects in 10 images: i0, i1, i2, i3, i4, i5, i6, i7, ...")
