"""ImageLabelmapData: images and binary label images written by the tests."""
import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

from caffe.engine import device
from caffe.engine.layer import TRAIN

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
EDGES = np.random.default_rng(1).integers(0, 256, (3, 6, 8), dtype=np.uint8)
EDGES[:, 0, :2] = 127, 128


@pytest.fixture
def source(tmp_path):
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"{n}.png"), IMAGES[n])
        cv2.imwrite(str(tmp_path / f"{n}_edges.png"), EDGES[n])
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{n}.png {n}_edges.png\n" for n in range(3)))
    return path


def text(source, settings="", transform=""):
    return (f"type: 'ImageLabelmapData' image_data_param {{ source: '{source}' root_folder: '{source.parent}/' "
            f"{settings} }} transform_param {{ {transform} }}")


def test_batches(source):
    layer = Runner(text(source, "batch_size: 2", "mean_value: 5"), [], 2)
    for batch in ([0, 1], [2, 0]):
        images, labels = layer.forward()
        np.testing.assert_array_equal(images, IMAGES[batch].transpose(0, 3, 1, 2).astype(float) - 5)
        np.testing.assert_array_equal(labels, np.rint(EDGES[batch] / 255)[:, None])


def test_images_of_other_sizes_one_at_a_time(source):
    for name, array in (("small.png", IMAGES[0][:4]), ("small_edges.png", EDGES[0][:4])):
        cv2.imwrite(str(source.parent / name), array)
    source.write_text("0.png 0_edges.png\nsmall.png small_edges.png\n")
    layer = Runner(text(source), [], 2)
    assert [layer.forward()[1].shape for _ in range(3)] == [(1, 1, 6, 8), (1, 1, 4, 8), (1, 1, 6, 8)]


def test_crops_and_mirrored_images_have_their_labels(source):
    source.write_text("0_edges.png 0_edges.png\n")     # the image is its own label image
    device.set_random_seed(1)
    layer = Runner(text(source, "is_color: false", "crop_size: 3 mirror: true"), [], 2, TRAIN)
    found = set()
    for _ in range(20):
        images, labels = layer.forward()
        np.testing.assert_array_equal(labels, images > 127)
        found.add(images.tobytes())
    assert len(found) > 8


def test_new_size(source):
    images, labels = Runner(text(source, "new_height: 3 new_width: 4"), [], 2).forward()
    assert images.shape == (1, 3, 3, 4)
    np.testing.assert_array_equal(labels[0, 0], np.rint(cv2.resize(EDGES[0], (4, 3)) / 255))


@pytest.mark.parametrize("lines, match", [
    ("0.png\n", "list.txt:1: expected two paths without blanks, `image labels`, found '0.png'"),
    ("0.png 1_edges.png\n1.png one two\n", "list.txt:2: expected two paths"), ("", "names no image"),
    ("0.png nowhere.png\n", "cannot read the image '.*nowhere.png'"),
    ("0.png small.png\n", "'0.png' has 6 x 8 pixels, its labels 'small.png' has 5 x 8 pixels")])
def test_bad_input(source, lines, match):
    cv2.imwrite(str(source.parent / "small.png"), EDGES[0][:5])
    source.write_text(lines)
    refused(text(source), [], match, num_tops=2)


def test_labels_need_a_top(source):
    refused(text(source), [], "takes 2 top")


def test_labels_are_not_resized(source):
    resized = text(source, transform="resize_param { height: 4 width: 4 }")
    refused(resized, [], "set new_height and new_width", num_tops=2)
