"""Cached features: which images are read, what is reported to the net, and that training is unaffected."""
import contextlib
import dataclasses
import os

import cv2
import numpy as np
import pytest
from golden.record_trajectories import set_up

from fast_rcnn.config import cfg, reset_cfg
from roi_data_layer.features import FeatureReader, FeatureSettings, KnownImages, image_key, reuse_features
from utils.images import ImageRequest, read_in_line


class Prefix:
    """Has the features that a test sets."""

    reads_image = False

    def __init__(self, *keys):
        self.keys = set(keys)

    def has(self, key):
        return key in self.keys


@pytest.fixture
def requests(tmp_path):
    found = []
    for number, shape in enumerate(((30, 40), (36, 24))):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 255, (*shape, 3), dtype=np.uint8))
        found.append(ImageRequest(str(path), False, 20, 50, [100.0], [1.0]))
    return found


@contextlib.contextmanager
def refusing(requests):
    assert not requests, "an image is read that nobody needs"
    yield []


def test_images_with_cached_features_are_not_read_again(requests):
    prefix = Prefix()
    known = KnownImages(prefix)
    reader = FeatureReader(read_in_line, known)
    with reader(requests) as images:
        first = [image.pixels.copy() for image in images]
    assert reader.sizes == [(20, 27), (30, 20)] and reader.keys == [image_key(request) for request in requests]
    prefix.keys.update(reader.keys)
    again = FeatureReader(refusing, known)
    with again(requests[::-1]) as images:
        for image, pixels in zip(images, first[::-1], strict=True):
            assert image.pixels.shape == pixels.shape and not image.pixels.any()
        assert [image.scale for image in images] == [20 / 24, 20 / 30]
    assert again.sizes == reader.sizes[::-1]
    assert reader.absent == [] and again.absent == [0, 1]


@pytest.mark.parametrize("why", ["not kept", "read by others", "seen first here"])
def test_other_images_are_read(requests, why):
    prefix = Prefix(*map(image_key, requests)) if why != "not kept" else Prefix()
    prefix.reads_image = why == "read by others"
    known = KnownImages(prefix)
    for _ in range(1 if why == "seen first here" else 2):
        with FeatureReader(read_in_line, known)(requests) as images:
            assert all(image.pixels.any() for image in images)


def test_the_key_distinguishes_images(requests):
    request = requests[0]
    others = [request._replace(**change) for change in (
        {"path": requests[1].path}, {"flipped": True}, {"size": 21}, {"max_size": 51})]
    assert len({image_key(each) for each in (request, *others)}) == 5
    before = image_key(request)
    os.utime(request.path, ns=(1, 1))
    assert image_key(request) != before


def test_features_can_be_turned_off(tmp_path):
    class Net:
        def reuse_frozen_prefix(self, cache, preprocessing, images):
            return preprocessing, images, cache.disk_mb

    assert reuse_features(object(), tmp_path, 3, FeatureSettings.from_cfg(cfg)) is None       # another Caffe
    text, images, disk_mb = reuse_features(Net(), tmp_path, 3, FeatureSettings.from_cfg(cfg))
    assert "102.9801" in text and (images, disk_mb) == (3, cfg.FEATURE_DISK_MB)
    cfg.REUSE_FEATURES = False
    try:
        assert reuse_features(Net(), tmp_path, 3, FeatureSettings.from_cfg(cfg)) is None
    finally:
        reset_cfg()


@pytest.mark.parametrize("stage", ["stage2_rpn", "stage2_fast_rcnn"])
@pytest.mark.slow
def test_training_is_unaffected(tmp_path, stage):
    """With one image per batch there is no padding, and the results are equal bit for bit."""
    weights = []
    for reuse in (False, True):
        solver = set_up(stage)
        try:
            data = solver.net.layers[0]
            data._settings = dataclasses.replace(data._settings, ims_per_batch=1)
            data.set_roidb(data._roidb)
            if reuse:
                prefix = reuse_features(solver.net, tmp_path, 6, FeatureSettings.from_cfg(cfg))
                data.use_features(prefix)
            solver.step(10)
            data.close()
        finally:
            reset_cfg()
        weights.append([blob.data.copy() for blob in solver.net.learnable_params])
    assert prefix.blob == "conv5_2" and not prefix.reads_image
    assert (prefix.hits, prefix.misses) == (4, 6)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
