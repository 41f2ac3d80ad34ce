"""The base class of mining rules: what a rule is given, and how its choice is used."""
import numpy as np
import pytest

import caffe
from fast_rcnn.config import cfg, reset_cfg
from roi_data_layer import layer as layers
from roi_data_layer.layer import HardRoIMiner


@pytest.fixture(autouse=True)
def settings():
    cfg.TRAIN.HAS_RPN = False
    yield
    reset_cfg()


class Rule(HardRoIMiner):
    """Chooses what the test sets."""

    chosen = np.arange(3)

    def choose(self, losses, rois, labels):
        assert losses.dtype == np.float64 and rois.shape == (len(losses), 5) and labels.shape == (len(losses),)
        return self.chosen


def blobs_of_a_miner(count=7, classes=3):
    rng = np.random.default_rng(4)
    shapes = {"cls_prob": (count, classes), "bbox_pred": (count, 4 * classes), "rois": (count, 5), "labels": (count, 1)}
    bottom = [caffe.Blob() for _ in range(7)]
    for blob, shape in zip(bottom, [*shapes.values(), *[(count, 4 * classes)] * 3], strict=True):
        blob.set_data(rng.random(shape).astype(np.float32))
    return bottom, [caffe.Blob() for _ in range(5)]


def made(rule):
    layer, (bottom, top) = rule(), blobs_of_a_miner()
    layer.param_str = "'num_classes': 3"
    layer.setup(bottom, top)
    return layer, bottom, top


@pytest.mark.parametrize("chosen", [[6, 0, 2, 2], [3], np.array([], int)])
def test_tops_are_the_chosen_rows(chosen, monkeypatch):
    monkeypatch.setattr(Rule, "chosen", chosen)
    layer, bottom, top = made(Rule)
    layer.forward(bottom, top)
    for source, rows in zip(bottom[2:], top, strict=True):
        np.testing.assert_array_equal(rows.data, source.data[np.array(chosen, int)])


@pytest.mark.parametrize("chosen, found", [
    (np.ones(7, bool), r"bool values of shape \(7,\)"), ([1, 7], r"whole numbers from 1 to 7"), ([-1], "from -1 to -1"),
    ([0.5], "float64 values"), ([[1], [2]], r"shape \(2, 1\)"), (None, "object values")])
def test_a_choice_that_is_not_indices_is_an_error(chosen, found, monkeypatch):
    monkeypatch.setattr(Rule, "chosen", chosen)
    layer, bottom, top = made(Rule)
    with pytest.raises(ValueError, match=rf"Rule.choose gave .*{found}.*expected .* from 0 to 6"):
        layer.forward(bottom, top)


@pytest.mark.parametrize("short", range(7))
def test_bottoms_of_other_lengths_are_refused(short):
    layer, bottom, top = made(Rule)
    bottom[short].set_data(np.array(bottom[short].data[:6]))
    with pytest.raises(ValueError, match=r"Rule: expected a row for each RoI in every bottom.* cls_prob .*\(6, "):
        layer.forward(bottom, top)


class TensorRule(Rule):
    """The same, on the device."""

    has_tensor_rule = True

    def choose_tensors(self, losses, rois, labels):
        assert rois.shape == (7, 5) and labels.shape == (7,)
        return labels.long().new_tensor(list(self.chosen))


def test_on_a_gpu_values_are_fetched_once_unless_the_rule_is_for_tensors(monkeypatch):
    """With CPU tensors in place of a GPU's."""
    fetched, data = [], caffe.Blob.data
    monkeypatch.setattr(layers, "is_on_gpu", lambda blob: True)
    tops = {}
    for rule, wanted in ((Rule, 7), (TensorRule, 0)):
        layer, bottom, top = made(rule)
        with monkeypatch.context() as patch:
            patch.setattr(caffe.Blob, "data", property(lambda blob: fetched.append(blob) or data.__get__(blob)))
            layer.forward(bottom, top)
        assert len(fetched) == len(set(fetched)) == wanted
        fetched.clear()
        tops[rule] = [blob.data for blob in top]
    for mine, theirs in zip(tops[TensorRule], tops[Rule], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("index, shape, found", [
    (0, (6, 3), "cls_prob .6, 3."), (3, (8,), "labels .8,."), (1, (7, 8), "bbox_pred .7, 8."),
    (6, (7, 9), "outside_weights .7, 9.")])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_bottoms_of_other_lengths(index, shape, found, on_gpu, monkeypatch):
    monkeypatch.setattr(layers, "is_on_gpu", lambda blob: on_gpu)
    layer, bottom, top = made(TensorRule)
    bottom[index].set_data(np.zeros(shape, np.float32))
    with pytest.raises(caffe.LayerError, match=f"TensorRule: expected a row for each RoI .*found .*{found}"):
        layer.forward(bottom, top)
