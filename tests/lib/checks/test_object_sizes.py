"""Objects that no anchor or no proposal resembles, and learning rates that never fall."""
from pathlib import Path

import numpy as np
import pytest

from checks.data import object_size_warning
from checks.solver import rate_warning
from fast_rcnn.config import make_settings

TINY = Path(__file__).resolve().parents[3] / "models" / "Tiny" / "faster_rcnn_alt_opt"
RPN = TINY / "stage1_rpn_train.pt"      # anchors of 22 to 184 pixels


def boxes(*sides):
    return {"boxes": np.array([[10, 10, 9 + width, 9 + height] for width, height in sides], np.uint16).reshape(-1, 4)}


def warning(roidb, least=0.0, **train):
    changes = {f"TRAIN.{key}": value for key, value in {"SCALES": (300,), "MAX_SIZE": 900, **train}.items()}
    return object_size_warning(RPN, [(600, 600)] * len(roidb), roidb, make_settings(changes).TRAIN,
                               ("TEST.RPN_MIN_SIZE", least))


def test_objects_smaller_or_larger_than_all_anchors():
    text = warning([boxes((12, 12), (100, 100)), boxes(), boxes((590, 590), (200, 100))])
    assert text.startswith("Warning: 2 of 4 objects overlap every anchor (from 22 x 24 to 184 x 176 pixels) by less")
    assert "TRAIN.RPN_NEGATIVE_OVERLAP 0.3 at TRAIN.SCALES [300] and TRAIN.MAX_SIZE 900" in text
    assert warning([boxes((100, 100))]) == "" and warning([boxes()]) == ""
    assert warning([boxes((40, 40))], SCALES=(100, 600)) == ""         # one of the scales suffices


def test_some_objects_may_be_out_of_reach():
    assert warning([boxes((12, 12), *[(100, 100)] * 9)]) == ""
    assert "2 of 10 objects" in warning([boxes((12, 12), (12, 12), *[(100, 100)] * 8)])


def test_objects_whose_proposals_are_dropped():
    """Sides count in pixels of the original image."""
    (line,) = warning([boxes((60, 15), (100, 100))], 16.0, SCALES=(600,)).splitlines()
    assert line.startswith("Warning: 1 of 2 objects have a side shorter than TEST.RPN_MIN_SIZE 16, and proposals of")
    assert warning([boxes((60, 16))], 16.0, SCALES=(600,)) == ""
    assert len(warning([boxes((8, 8))], 16.0).splitlines()) == 2


def test_a_net_without_anchor_targets_has_no_such_objects():
    settings = make_settings()
    assert object_size_warning(TINY / "stage1_fast_rcnn_train.pt", [(600, 600)], [boxes((2, 2))], settings.TRAIN,
                               ("TEST.RPN_MIN_SIZE", 16.0)) == ""


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
