"""Warnings about objects that no anchor or proposal matches, and about learning rates that never fall."""
from pathlib import Path

import numpy as np
import pytest

from checks.data import data_warnings, object_size_warning, train_anchors
from checks.solver import rate_warning
from datasets.imdb import imdb
from datasets.objects import ObjectTable
from fast_rcnn.config import make_settings

TINY = Path(__file__).resolve().parents[3] / "models" / "Tiny" / "faster_rcnn_alt_opt"
RPN = TINY / "stage1_rpn_train.pt"      # anchors of 22 to 184 pixels


def boxes(*sides, label=1):
    return {"boxes": np.array([[10, 10, 9 + width, 9 + height] for width, height in sides], np.uint16).reshape(-1, 4),
            "gt_classes": np.full(len(sides), label)}


def warning(roidb, least=0.0, classes=("__background__", "cell"), **train):
    changes = {f"TRAIN.{key}": value for key, value in {"SCALES": (300,), "MAX_SIZE": 900, **train}.items()}
    objects = ObjectTable.from_roidb(roidb, [(600, 600)] * len(roidb))
    return object_size_warning(train_anchors(RPN), objects, classes, make_settings(changes).TRAIN,
                               ("TEST.RPN_MIN_SIZE", least), "python tools/look_at_data.py --imdb X")


def test_objects_smaller_or_larger_than_all_anchors():
    text = warning([boxes((12, 12), (100, 100)), boxes(), boxes((590, 590), (200, 100))])
    assert text.startswith("Warning: 2 of 4 objects overlap every anchor (from 22 x 24 to 184 x 176 pixels) by less")
    assert "TRAIN.RPN_NEGATIVE_OVERLAP 0.3 at TRAIN.SCALES [300] and TRAIN.MAX_SIZE 900" in text
    assert text.endswith(": they will hardly be found. No anchor reaches 2 at an IoU of 0.5 and 3 at an IoU of 0.7. "
                         "Better anchors and settings: python tools/look_at_data.py --imdb X")
    assert warning([boxes((100, 100))]) == "" and warning([boxes()]) == ""
    assert warning([boxes((40, 40))], SCALES=(100, 600)) == ""         # one of the scales suffices


def test_some_objects_may_be_out_of_reach():
    assert warning([boxes((12, 12), *[(100, 100)] * 9)]) == ""
    assert "2 of 10 objects" in warning([boxes((12, 12), (12, 12), *[(100, 100)] * 8)])


def test_a_class_out_of_reach_is_reported_even_if_rare():
    classes = ("__background__", "cell", "platelet")
    cells = boxes(*[(100, 100)] * 138)
    platelets = [(12, 12)] * 6 + [(100, 100)] * 4
    text = warning([cells, boxes(*platelets, label=2)], classes=classes)
    assert text.startswith("Warning: 6 of 148 objects") and "The most are platelet: 6 of 10." in text
    assert warning([cells, boxes(*platelets[1:], (100, 100), label=2)], classes=classes) == ""      # half of them
    assert warning([cells, boxes(*platelets[:9], label=2)], classes=classes) == ""                  # too few to tell


def test_objects_whose_proposals_are_dropped():
    """Sides count in pixels of the original image."""
    (line,) = warning([boxes((60, 15), (100, 100))], 16.0, SCALES=(600,)).splitlines()
    assert line.startswith("Warning: 1 of 2 objects have a side shorter than TEST.RPN_MIN_SIZE 16, and proposals of")
    assert warning([boxes((60, 16))], 16.0, SCALES=(600,)) == ""
    assert len(warning([boxes((8, 8))], 16.0).splitlines()) == 2


def test_a_net_without_anchor_targets_has_no_such_objects():
    assert train_anchors(TINY / "stage1_fast_rcnn_train.pt") is None
    assert warning([boxes((2, 2))], 16.0) != ""
    assert data_warnings(TINY / "stage1_fast_rcnn_train.pt", Boxes([boxes((2, 2))]), make_settings().TRAIN,
                         ("TEST.RPN_MIN_SIZE", 16.0), "look") == []


def test_all_warnings_about_a_data_set():
    found = data_warnings(RPN, Boxes([boxes((2, 2))]), make_settings({"TRAIN.SCALES": (16,)}).TRAIN,
                          ("TEST.RPN_MIN_SIZE", 16.0), "look")
    assert [text.count("\n") for text in found] == [0, 1]       # small images; objects and proposals
    assert "1 of 1 images" in found[0] and "1 of 1 objects overlap" in found[1] and "a side shorter" in found[1]


class Boxes(imdb):
    """Images of 600 x 600 pixels with the boxes of `roidb`."""

    def __init__(self, entries):
        super().__init__("boxes", ("__background__", "cell"))
        self.gt_roidb, self.image_sizes = lambda: entries, lambda: [(600, 600)] * len(entries)


@pytest.mark.parametrize("policy, max_iters, message", [
    ("lr_policy: 'step' gamma: 0.1\nstepsize: 100", 100,
     ":2: the learning rate falls for the first time after 100 iterations, but training ends after 100: it never falls."
     " Set stepsize to 75"),
    ("lr_policy: 'step' gamma: 0.1\nstepsize: 100", 101, ""),
    ("lr_policy: 'step' gamma: 1\nstepsize: 100", 100, ""),
    ("lr_policy: 'step' gamma: 0.1\nstepsize: 1", 1, ""),
    ("lr_policy: 'multistep' gamma: 0.1\nstepvalue: 200\nstepvalue: 300", 150, ":2: the learning rate falls for the"),
    ("lr_policy: 'multistep' gamma: 0.1\nstepvalue: 100\nstepvalue: 300", 150, ""),
    ("lr_policy: 'poly' power: 1\nmax_iter: 100", 150,
     ":2: the learning rate is 0 after max_iter = 100 iterations, but training ends after 150"),
    ("lr_policy: 'poly' power: 1\nmax_iter: 100", 100, ""), ("lr_policy: 'fixed'", 100, "")])
def test_learning_rates_that_never_fall(tmp_path, policy, max_iters, message):
    path = tmp_path / "solver.pt"
    path.write_text(f"base_lr: 0.1 {policy}\n")
    text = rate_warning(path, max_iters)
    assert text.startswith(f"Warning: {path}{message}") if message else text == ""
