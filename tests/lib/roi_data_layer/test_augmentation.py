"""Augmentation of training images: off by default, and a function of seed and pass."""
import cv2
import numpy as np
import pytest
from minibatch_helpers import assert_equal_batches, data_layer, run, scene, small_settings

from datasets.lazy_roidb import objects_roidb
from datasets.roidb import mirror
from fast_rcnn import train
from fast_rcnn.config import cfg, make_settings, plain
from fast_rcnn.schedule import epochs_in_words, iterations_of
from roi_data_layer.features import image_key
from roi_data_layer.minibatch import MinibatchSettings, get_allrois_minibatch, read_images
from roi_data_layer.roidb import add_bbox_regression_targets, prepare_roidb, upside_down_roidb
from utils.images import change_colours, image_request

pytestmark = pytest.mark.usefixtures("default_settings")


def images(folder, seed=0, **changes):
    """Pixels and scales of four images with these settings of TRAIN."""
    settings = MinibatchSettings.from_cfg(small_settings(**changes)).images
    data, _, scales = read_images(scene(folder, 4), settings, np.random.default_rng(seed))
    return data, np.array(scales)


class Scenes:
    """A data set of two photographs of noise of 40 x 56 and 64 x 40 pixels with two boxes each."""

    def __init__(self, folder):
        self.files = [entry["image"] for entry in scene(folder, 2)]
        self.roidb = objects_roidb([np.array([[2, 3, 20, 30], [5, 5, 35, 33]], np.float32)] * 2, [np.array([1, 2])] * 2)

    def image_sizes(self):
        return [(40, 56), (64, 40)]

    def image_path_at(self, index):
        return self.files[index]


def test_boxes_are_flipped_with_images_upside_down(tmp_path):
    roidb = prepare_roidb(Scenes(tmp_path))
    turned = upside_down_roidb(roidb)
    for entry, original in zip(turned, roidb, strict=True):
        assert entry["upside_down"] and not original.get("upside_down", False) and entry["image"] == original["image"]
        image = cv2.imread(entry["image"])
        settings = MinibatchSettings.from_cfg(small_settings(SCALES=[40], MAX_SIZE=80)).images
        straight, over = (read_images([each], settings, np.random.default_rng(0))[0] for each in (original, entry))
        np.testing.assert_allclose(over[:, :, ::-1], straight, atol=1e-3)
        for box, before in zip(entry["boxes"].astype(int), original["boxes"].astype(int), strict=True):
            np.testing.assert_array_equal(image[::-1][box[1]:box[3] + 1, box[0]:box[2] + 1],
                                          image[before[1]:before[3] + 1, before[0]:before[2] + 1][::-1])
        mirrored = mirror(entry, entry["width"])
        assert mirrored["upside_down"] and mirrored["flipped"]


def test_regression_targets_follow_the_turned_boxes(tmp_path):
    roidb = prepare_roidb(Scenes(tmp_path))
    roidb += upside_down_roidb(roidb)
    settings = make_settings({"TRAIN.BBOX_NORMALIZE_TARGETS": False, "TRAIN.BBOX_THRESH": 0.3}).TRAIN
    for entry in roidb:
        entry["max_overlaps"] = np.array([0.9, 1.0], np.float32)
    add_bbox_regression_targets(roidb, 3, settings)
    straight, over = roidb[0]["bbox_targets"][0], roidb[2]["bbox_targets"][0]
    assert straight[2] != 0
    np.testing.assert_allclose(over, straight * [1, 1, -1, 1, 1], atol=1e-6)


def test_a_training_adds_the_images_upside_down_if_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(Scenes, "append_flipped_images", lambda self: None, raising=False)
    assert len(train.get_training_roidb(Scenes(tmp_path))) == 2
    cfg.TRAIN.USE_UPSIDE_DOWN = True
    roidb = train.get_training_roidb(Scenes(tmp_path))
    assert [entry.get("upside_down", False) for entry in roidb] == [False, False, True, True]
    blobs = get_allrois_minibatch(roidb[:1] + roidb[2:3], 3, MinibatchSettings.from_cfg(small_settings(BBOX_REG=False)))
    assert blobs["data"].shape[0] == 2
    settings = make_settings({"TRAIN.USE_UPSIDE_DOWN": True}).TRAIN
    assert iterations_of(1, 5, settings) == 10
    assert epochs_in_words(1, 5, settings) == "1 epoch of 20 images (5 and their mirror images and images upside down)"


def test_scales_are_drawn_around_those_of_the_settings(tmp_path):
    plain_scales = images(tmp_path, SCALES=[40])[1]
    np.testing.assert_array_equal(plain_scales, 1)
    found = np.concatenate([images(tmp_path, seed, SCALES=[40], SCALE_JITTER=0.25)[1] for seed in range(20)])
    assert 0.75 <= found.min() < 0.8 and 1.2 < found.max() <= 1.25 and len(set(found.tolist())) > 10
    layer_images = MinibatchSettings.from_cfg(small_settings(SCALE_JITTER=0.25)).images
    assert layer_images.largest_sizes == [50, 70]


def test_colours_are_changed_around_those_of_the_file(tmp_path):
    before, after = (images(tmp_path, SCALES=[40], COLOUR_JITTER=jitter)[0] for jitter in (0.0, 0.5))
    assert before.shape == after.shape and not np.array_equal(before, after)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(change_colours(image, 1, 1, 1), image)
    np.testing.assert_array_equal(change_colours(image, 0.5, 1, 1), np.rint(image * np.float32(0.5)))
    grey = change_colours(image, 1, 1, 0)
    assert (grey == grey[:, :, :1]).all()
    assert np.ptp(change_colours(image, 1, 0, 0)) == 0


@pytest.mark.parametrize("changes", [{"SCALE_JITTER": 0.3}, {"COLOUR_JITTER": 0.3}])
@pytest.mark.parametrize("prefetch", [False, True])
def test_batches_depend_on_seed_and_pass_alone(tmp_path, changes, prefetch):
    small_settings(**changes, BBOX_REG=False, USE_PREFETCH=prefetch)
    cfg.NUM_WORKERS = 0
    whole = run(*data_layer(tmp_path, tops=3), 5)
    layer, bottom, top = data_layer(tmp_path, tops=3)
    layer.seek(2)
    assert_equal_batches(run(layer, bottom, top, 3), whole[2:])
    layer.close()


def test_settings_that_are_off_change_nothing():
    assert not {"USE_UPSIDE_DOWN", "SCALE_JITTER", "COLOUR_JITTER"} & plain(make_settings())["TRAIN"].keys()


def test_features_of_an_image_upside_down_have_their_own_key():
    settings = MinibatchSettings.from_cfg(make_settings()).images
    keys = {image_key(image_request("a.png", flipped, 600, settings, upside_down))
            for flipped in (False, True) for upside_down in (False, True)}
    assert len(keys) == 4


def test_ignored_boxes_are_turned_over_too():
    entry = {"boxes": np.array([[3, 4, 10, 12]], np.float32), "ignored": np.array([[0, 1, 5, 2]], np.float32),
             "image": "a.jpg", "width": 40, "height": 30, "flipped": False}
    (turned,) = upside_down_roidb([entry])
    np.testing.assert_array_equal(turned["boxes"], [[3, 17, 10, 25]])
    np.testing.assert_array_equal(turned["ignored"], [[0, 27, 5, 28]])
    assert turned["upside_down"] and entry["ignored"][0, 1] == 1
