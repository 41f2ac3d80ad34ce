"""Boxes that are not trained on, from annotations to the entries of a roidb."""
import numpy as np
import pytest
from folders_made import CAT, DOG, voc_folder

from datasets.factory import get_imdb
from datasets.lazy_roidb import objects_roidb
from fast_rcnn.checkpoints import data_digest
from fast_rcnn.config import cfg
from roi_data_layer.roidb import prepare_roidb

pytestmark = pytest.mark.usefixtures("default_settings")


def test_from_annotations_to_mirrored_entries(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [CAT, (*DOG, 1)], "b": [DOG]}, {"train": ["a", "b"]})
    data = get_imdb(str(root))
    before = data_digest(data)
    data.append_flipped_images()
    roidb = prepare_roidb(data)
    assert [entry["ignored"].tolist() for entry in roidb] == [[[4, 5, 59, 39]], [], [[0, 5, 55, 39]], []]
    proposals = get_imdb(str(root)).with_proposals([np.array([[1, 2, 9, 9]])] * 2)
    assert proposals[0]["ignored"].tolist() == [[4, 5, 59, 39]] and len(proposals[0]["boxes"]) == 2
    cfg.TRAIN.IGNORED_OVERLAP = 0.5
    assert data_digest(get_imdb(str(root))) != before
    assert "ignored" not in objects_roidb([np.ones((1, 4))], [np.array([1])])[0]


def test_the_name_of_a_region_is_not_a_class(tmp_path):
    any_class = ("__any__", 1, 2, 30, 30)
    root = voc_folder(tmp_path / "d", {"a": [CAT, any_class], "b": [CAT, (*any_class, 1)]}, {"train": ["a", "b"]})
    data = get_imdb(str(root))
    assert data.classes == ("__background__", "cat") and [len(entry["boxes"]) for entry in data.gt_roidb()] == [1, 1]
    assert "'__any__' is the name of a region to ignore, not of a class: 1 objects in 1 images: a" in data.summary()
    assert data.gt_roidb()[1]["ignored"].tolist() == [[0, 1, 29, 29]]
    data.use_difficult = True
    assert data.gt_roidb()[1]["gt_classes"].tolist() == [1] and len(data.gt_roidb()[1]["ignored"]) == 1


def test_objects_that_move_to_another_image_change_the_fingerprint(tmp_path):
    names = {"train": ["a", "b"]}
    digests = {data_digest(get_imdb(str(voc_folder(tmp_path / name, {"a": [], "b": [], name: [CAT]}, names))),
                           tmp_path / "digests.json") for name in ("a", "b")}
    assert len(digests) == 2
