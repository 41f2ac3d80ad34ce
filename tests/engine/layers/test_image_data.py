"""ImageData: image files written by the tests."""
import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

from caffe.engine import device
from caffe.engine.layer import TRAIN

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def source(tmp_path):
    for n, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"an image {n}.png"), image)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"an image {n}.png {10 + n}\n" for n in range(4)))
    return path


def runner(source, settings="", transform="", **options):
    folder = f"{source.parent}/"
    return Runner(f"type: 'ImageData' image_data_param {{ source: '{source}' root_folder: '{folder}' {settings} }} "
                  f"transform_param {{ {transform} }}", [], num_tops=2, **options)


def test_batches(source):
    layer = runner(source, "batch_size: 3", "mean_value: 5")
    for batch in ([0, 1, 2], [3, 0, 1]):
        data, labels = layer.forward()
        assert (data == IMAGES[batch].transpose(0, 3, 1, 2).astype(float) - 5).all()
        assert labels.tolist() == [10 + n for n in batch]


def test_a_list_may_begin_with_a_byte_order_mark(source):
    source.write_text("\ufeff" + source.read_text(), encoding="utf-8")
    assert (runner(source).forward()[0][0] == IMAGES[0].transpose(2, 0, 1)).all()


def test_grey_and_resized(source):
    data = runner(source, "is_color: false new_height: 3 new_width: 5").forward()[0]
    assert data.shape == (1, 1, 3, 5)


def test_images_of_other_sizes_one_at_a_time(source):
    cv2.imwrite(str(source.parent / "small.png"), IMAGES[0][:4])
    source.write_text("an image 1.png 1\nsmall.png 2\n\n")
    layer = runner(source)
    assert [layer.forward()[0].shape for _ in range(3)] == [(1, 3, 6, 8), (1, 3, 4, 8), (1, 3, 6, 8)]


def test_shuffle_gives_each_image_once_an_epoch(source):
    device.set_random_seed(2)
    layer = runner(source, "batch_size: 4 shuffle: true")
    epochs = [layer.forward()[1].tolist() for _ in range(6)]
    assert all(sorted(epoch) == [10, 11, 12, 13] for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) > 2


def test_the_fraction_of_a_label_is_dropped(source):
    source.write_text("an image 1.png 1.0\nan image 1.png -2.75\nan image 1.png +3.\n")
    layer = runner(source)
    assert [layer.forward()[1].tolist() for _ in range(3)] == [[1], [-2], [3]]
    source.write_text("an image 1.png one\n")
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' }}", [], ":1: expected `path label`", num_tops=2)


@pytest.mark.parametrize("content, told", [(None, "No such file"), (b"", "0 bytes"), (b"junk", "4 bytes"),
                                           (b"\x89PNG\r\n\x1a\n", "8 bytes")])
def test_a_bad_image_is_named_and_the_next_pass_continues(source, content, told):
    source.write_text("an image 1.png 1\nbad.png 2\nan image 1.png 3\n")
    if content is not None:
        (source.parent / "bad.png").write_bytes(content)
    layer = runner(source, "batch_size: 1")
    for _ in range(2):
        assert layer.forward()[1] == [1]
        with pytest.raises(ValueError, match=f"layer 'tested' .*list '.*list.txt'.*bad.png': .*{told}"):
            layer.forward()
        assert layer.forward()[1] == [3]


def test_bad_input(source):
    refused("type: 'ImageData' image_data_param { source: 'nowhere' }", [], "cannot read the list", num_tops=2)
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' new_height: 3 }}", [], "both new_height",
            num_tops=2)
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' }}", [], "cannot read the image", num_tops=2)
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' rand_skip: 90 }}", [], "cannot read|skips past",
            num_tops=2)
    source.write_text("a.png one\n")
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' }}", [], "list.txt:1: expected", num_tops=2)
    source.write_text("")
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' }}", [], "names no image", num_tops=2)


def test_each_of_several_processes_takes_its_turn(source, monkeypatch):
    monkeypatch.setattr(device._Settings, "solver_count", 3)
    monkeypatch.setattr(device._Settings, "solver_rank", 1)
    layer = runner(source, "batch_size: 2", phase=TRAIN)
    assert [layer.forward()[1].tolist() for _ in range(2)] == [[11, 10], [13, 12]]


@pytest.mark.parametrize("labels, told", [("2147483648", "32 bits"), ("-9999999999", "32 bits"),
                                          ("9" * 5000, "expected `path label`"), ("1e9 2 1e39", "at most 3.40282e.38"),
                                          ("1 2 -" + "9" * 5000, "at most 3.40282e.38")])
def test_labels_that_are_too_large_are_named(source, labels, told):
    before = " ".join(["1"] * len(labels.split()))
    source.write_text(f"an image 1.png {before}\nan image 1.png {labels}\n")
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' root_folder: '{source.parent}/' }}", [],
            f":2: .*{told}", num_tops=2)


# ---- several labels
def test_several_labels(source):
    source.write_text("an image 0.png 1 -2.5 3e1\nan image 1.png 4 5 .25\n")
    layer = runner(source, "batch_size: 3")
    assert layer.top[1].shape == (3, 3)
    data, labels = layer.forward()
    assert labels.tolist() == [[1, -2.5, 30], [4, 5, 0.25], [1, -2.5, 30]]
    assert (data == IMAGES[[0, 1, 0]].transpose(0, 3, 1, 2)).all()


def test_names_that_end_in_numbers_keep_one_label(source):
    (source.parent / "an image 0.png").rename(source.parent / "frame 12 3")
    source.write_text("frame 12 3 4\n")
    assert runner(source).forward()[1].tolist() == [4]


def test_lines_with_fewer_labels_are_named(source):
    source.write_text("an image 0.png 1 2 3\nan image 1.png 4 5\n")
    refused(f"type: 'ImageData' image_data_param {{ source: '{source}' root_folder: '{source.parent}/' }}", [],
            "list.txt:2: expected a path and 3 labels, as in the first line", num_tops=2)
