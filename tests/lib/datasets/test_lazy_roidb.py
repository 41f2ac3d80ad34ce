"""Entries that are built on access: the same numbers as plain dictionaries, in a fraction of the memory."""
import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from layer_runner import make_layer, set_config

from datasets.imdb import imdb
from datasets.lazy_roidb import LazyEntry, annotated, as_dict, objects_roidb
from datasets.proposals_file import save_proposals
from datasets.roidb import merge_entries, mirror, objects_entry, proposals_entry
from fast_rcnn.config import cfg
from fast_rcnn.train import filter_roidb, get_training_roidb
from roi_data_layer.layer import RoIDataLayer
from roi_data_layer.roidb import add_bbox_regression_targets, compute_targets, prepare_roidb, target_statistics
from utils import images
from utils.ragged import Ragged

CLASSES = ("background", "cat", "dog", "ox")
pytestmark = pytest.mark.usefixtures("default_settings")


def random_boxes(rng, count, width=90, height=70):
    corners = rng.uniform(0, [width - 30, height - 30], (count, 2))
    return np.hstack([corners, corners + rng.uniform(4, 29, (count, 2))]).astype(np.float32)


def proposals_near(rng, objects, count):
    """Some at random, some around objects, and one equal to an object."""
    boxes = random_boxes(rng, count)
    if len(objects) and count > 1:
        near = rng.integers(0, len(objects), count // 2)
        boxes[:count // 2] = objects[near] + rng.uniform(-4, 4, (count // 2, 4))
        boxes[0] = objects[0]
    return boxes


class Photographs(imdb):
    """Images without files: the k-th has k % 4 objects and `proposals` boxes."""

    def __init__(self, count, path, proposals=12, plain=False):
        super().__init__("photographs", CLASSES)
        self.image_index = [f"image{index}" for index in range(count)]
        self.count, self.plain = count, plain
        rng = np.random.default_rng(4)
        counts = np.arange(count) % 4
        self.objects = Ragged(random_boxes(rng, counts.sum()), counts)
        self.labels = Ragged(rng.integers(1, 4, counts.sum()).astype(np.int32), counts)
        if not path.exists():
            save_proposals(path, [proposals_near(rng, objects, proposals) for objects in self.objects],
                           [np.zeros(proposals)] * count, self.image_index)
        self.config["rpn_file"] = path
        self.set_proposal_method("rpn")

    def image_path_at(self, i):
        return f"/photographs/{self.image_index[i]}.jpg"

    def image_sizes(self):
        return [(90 + index % self.count % 3, 70) for index in range(self.num_images)]

    def gt_roidb(self):
        if not self.plain:
            return objects_roidb(self.objects, self.labels)
        return [objects_entry(*pair) for pair in zip(self.objects, self.labels, strict=True)]


@pytest.fixture
def photographs(tmp_path):
    return Photographs(30, tmp_path / "proposals.npz")


def plain_roidb(data):
    """What training reads of these images, with every entry built immediately as a dictionary."""
    objects = [objects_entry(*pair) for pair in zip(data.objects, data.labels, strict=True)]
    boxes = Photographs.rpn_roidb(data)
    proposals = [proposals_entry(entry["boxes"][len(own["boxes"]):], own)
                 for entry, own in zip(boxes, objects, strict=True)]
    roidb = [merge_entries(*pair) for pair in zip(objects, proposals, strict=True)]
    sizes = data.image_sizes()
    roidb += [mirror(entry, width) for entry, (width, _) in zip(roidb, sizes, strict=True)]
    return [{**entry, "image": data.image_path_at(index % len(sizes)), "width": sizes[index % len(sizes)][0],
             "height": 70} for index, entry in enumerate(roidb)]


def assert_equal(lazy, plain):
    assert set(lazy) == set(plain) and len(lazy) == len(plain)
    for key, value in plain.items():
        np.testing.assert_array_equal(lazy[key], value, err_msg=key)
        assert np.asarray(lazy[key]).dtype == np.asarray(value).dtype, key
        assert type(lazy[key]) is type(value) and key in lazy


@pytest.mark.parametrize("settings", [{}, {"BBOX_NORMALIZE_TARGETS": False},
                                      {"BBOX_NORMALIZE_TARGETS_PRECOMPUTED": True}])
def test_entries_are_those_of_plain_dictionaries_bit_by_bit(photographs, settings):
    set_config({f"TRAIN.{key}": value for key, value in settings.items()})
    plain = plain_roidb(photographs)
    lazy = get_training_roidb(photographs)
    assert all(isinstance(entry, LazyEntry) for entry in lazy) and len(lazy) == 60
    for entry, expected in zip(lazy, plain, strict=True):
        assert_equal(entry, expected)
        assert annotated(entry)["max_overlaps"].tolist() == [1] * (entry["gt_classes"] > 0).sum()
    cfg.TRAIN.BG_THRESH_LO = 0.1
    kept = filter_roidb(lazy)
    assert [id(entry) for entry in kept] == [id(entry) for entry, own in zip(lazy, plain, strict=True)
                                             if (own["max_overlaps"] >= 0.1).any()]
    cfg.TRAIN.BG_THRESH_LO = 0.0
    numbers = [add_bbox_regression_targets(roidb, 4, cfg.TRAIN) for roidb in (lazy, plain)]
    np.testing.assert_array_equal(numbers[0], numbers[1])
    for entry, expected in zip(lazy, plain, strict=True):
        assert_equal(entry, expected)
        assert_equal(as_dict(entry), expected)


def test_user_data_sets_may_give_plain_entries(tmp_path):
    lazy = get_training_roidb(Photographs(12, tmp_path / "p.npz"))
    other = get_training_roidb(Photographs(12, tmp_path / "p.npz", plain=True))
    for entry, expected in zip(lazy, other, strict=True):
        assert_equal(entry, as_dict(expected))


@pytest.mark.parametrize("per_class", [[0, 1, 2, 700], [0, 40000, 3, 0]])
def test_statistics_are_numpys_bit_by_bit(per_class):
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(5), [900, *per_class]))
    targets = np.column_stack([labels, rng.normal(3, 1, (len(labels), 4))]).astype(np.float32)
    parts = np.split(targets, np.sort(rng.integers(0, len(targets), 40)))
    means, stds = target_statistics(lambda what: parts, 5)
    for label in range(1, 5):
        values = targets[labels == label, 1:].astype(np.float64)
        if len(values):
            np.testing.assert_array_equal(means[label], values.mean(axis=0))
            np.testing.assert_array_equal(stds[label], values.std(axis=0))
    assert not means[labels.max() + 1:].any() and not stds[0].any()


def test_entries_behave_like_dictionaries(photographs):
    entry = photographs.roidb[3]
    assert "boxes" in entry and "image" not in entry and entry.get("image") is None
    with pytest.raises(KeyError, match="image"):
        entry["image"]
    entry["image"], entry["flipped"] = "a.jpg", True
    assert photographs.roidb[3]["image"] == "a.jpg" and {**entry}["flipped"] is True
    assert set(entry) == {"boxes", "gt_classes", "max_overlaps", "max_classes", "seg_areas", "flipped", "image"}
    with pytest.raises(ValueError, match="read-only"):
        entry["boxes"][0] = 0
    entry["boxes"] = entry["boxes"] + 1
    assert entry["boxes"].flags.writeable and len(entry["boxes"]) == 15
    assert entry.pop("seg_areas").shape == (15,) and "seg_areas" not in entry and entry["image"] == "a.jpg"
    assert "seg_areas" in photographs.roidb[7]


def test_copies_are_plain_dictionaries(photographs):
    entry = photographs.roidb[3]
    for twin in (copy.copy(entry), copy.deepcopy(entry), pickle.loads(pickle.dumps(entry))):
        assert type(twin) is dict
        assert_equal(entry, twin)


def test_lists_of_entries_can_be_joined_and_changed(photographs):
    """As py-faster-rcnn's users do: roidb.extend, own entries, targets over all of them."""
    roidb = get_training_roidb(photographs)
    own = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in roidb[2].items()}
    roidb.extend([own])
    roidb[5]["boxes"] = roidb[5]["boxes"] + np.float32(1)
    add_bbox_regression_targets(roidb, 4, cfg.TRAIN)
    np.testing.assert_array_equal(roidb[2]["bbox_targets"], own["bbox_targets"])
    assert type(own) is dict
    cfg.TRAIN.BBOX_NORMALIZE_TARGETS = False
    add_bbox_regression_targets(roidb, 4, cfg.TRAIN)
    moved = roidb[5]
    np.testing.assert_array_equal(moved["bbox_targets"], compute_targets(
        moved["boxes"], moved["max_overlaps"], moved["max_classes"], cfg.TRAIN.BBOX_THRESH))


def test_the_roidb_of_older_code_is_mirrored_and_prepared(photographs):
    overlaps = np.array([[0, 0.7, 0, 0], [0, 0, 0, 0]], np.float32)
    photographs._roidb = [{"boxes": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), "gt_overlaps": overlaps,
                           "gt_classes": np.zeros(2, np.int32), "flipped": False} for _ in range(30)]
    photographs.append_flipped_images()
    entry = prepare_roidb(photographs)[30]
    assert type(entry) is dict and entry["flipped"] and entry["boxes"].tolist() == [[86, 2, 88, 4], [82, 6, 84, 8]]
    assert entry["max_classes"].tolist() == [1, 0] and "gt_overlaps" not in entry
    photographs.image_index.append("one more")
    with pytest.raises(ValueError, match="60 entries of a roidb, but data for 61 images"):
        photographs.append_flipped_images()
    with pytest.raises(ValueError, match="the roidb has 60 entries, the data set 61 images"):
        prepare_roidb(photographs)


def test_the_layer_takes_lazy_entries(photographs, monkeypatch):
    """The minibatches are the same, and each computes its entries once."""
    set_config({"TRAIN.SCALES": [35], "TRAIN.MAX_SIZE": 50, "TRAIN.USE_OHEM": True, "TRAIN.BG_THRESH_LO": 0})
    monkeypatch.setattr(images, "read_image", lambda path, flipped: np.zeros((70, 90, 3), np.uint8))
    plain, lazy, blobs = plain_roidb(photographs), get_training_roidb(photographs), []
    for roidb in (plain, lazy):
        add_bbox_regression_targets(roidb, 4, cfg.TRAIN)
        layer, _, _ = make_layer(RoIDataLayer, "'num_classes': 4", [], 6)
        layer.set_roidb(roidb)
        blobs.append([layer.make_minibatch(iteration) for iteration in range(25)])
    for first, second in zip(*blobs, strict=True):
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name])
    recipe = lazy[0]._recipe
    before = recipe.make.cache_info().misses
    layer.make_minibatch(30)
    assert recipe.make.cache_info().misses - before <= cfg.TRAIN.IMS_PER_BATCH
    layer._num_classes = 3
    with pytest.raises(ValueError, match="class 3, but num_classes is 3"):
        layer.set_roidb(lazy)


def test_memory_stays_below_four_kilobytes_an_image(tmp_path):
    """From the proposals file to the layer's roidb, including mirrored images and regression targets."""
    def kept(count):
        path = tmp_path / f"{count}.npz"
        Photographs(count, path, 2000)                  # writes the file
        tracemalloc.start()
        try:
            data = Photographs(count, path)
            roidb = filter_roidb(get_training_roidb(data))
            add_bbox_regression_targets(roidb, 4, cfg.TRAIN)
            layer, _, _ = make_layer(RoIDataLayer, "'num_classes': 4", [], 6)
            layer.set_roidb(roidb)
            assert len(layer.batch_entries(0)[0]["bbox_targets"]) >= 2000
            return tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    (few, few_at_most), (many, many_at_most) = kept(40), kept(240)
    assert (many - few) / 200 < 1000
    assert (many_at_most - few_at_most) / 200 < 4096
