"""CTCLoss and CtcLoss against the sum over all paths."""
import numpy as np
import pytest
import torch
from ctc_paths import difference_quotients, loss_of
from layer_checker import Runner, check, randn, refused

from caffe.engine import device
from caffe.engine.layer import LayerError

BEGINS = np.array([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1]], float)      # lengths 4, 3, 4, 1
LABELS = np.array([[1, 0, -1, 0], [1, 0, 5, -1], [-1, 1, 9, -1]], float)                # 1 1; 0 0 1; none; 0


def mean_loss(scores, begins, labels, blank=2, collapse=False):
    total = 0.0
    for n in range(scores.shape[1]):
        steps = next((t for t in range(1, len(scores)) if begins[t, n] == 0), len(scores))
        row = []
        for place, label in enumerate(labels[:, n]):
            if label < 0 or label == blank:
                break
            if not (collapse and place and labels[place - 1, n] == label):
                row.append(int(label))
        total += loss_of(scores[:steps, n], row, blank) if row else 0
    return total / scores.shape[1]


@pytest.mark.parametrize("collapse", [False, True])
def test_items_of_different_lengths(collapse):
    scores = randn(4, 4, 3)
    settings = f"ctc_loss_param {{ preprocess_collapse_repeated: {str(collapse).lower()} }}"
    with device.use_float_type(torch.float64):
        runner = Runner(f"type: 'CTCLoss' {settings}", [scores, BEGINS, LABELS])
        assert runner.forward()[0] == pytest.approx(mean_loss(scores, BEGINS, LABELS, 2, collapse), rel=1e-12)
        found = runner.backward([np.array(1.0)], [True, False, False])[0]
        wanted = difference_quotients(lambda x: 4 * mean_loss(x, BEGINS, LABELS, 2, collapse), scores)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("blank", [0, 1])
def test_one_item(blank):
    check(f"type: 'CTCLoss' ctc_loss_param {{ blank_index: {blank} }}",
          [randn(4, 1, 3), np.array([[0.0], [1], [1], [0]]), np.array([[2.0], [1 - blank], [-1]])],
          lambda *arrays: mean_loss(*arrays, blank), learns=[0],
          other=[randn(3, 1, 3), np.array([[0.0], [1], [1]]), np.array([[2.0], [2]])])


@pytest.mark.parametrize("settings, shapes, match", [
    ("output_delay: 1", [(4, 3, 5), (4, 3), (4, 3)], "only output_delay 0 is supported, found 1"),
    ("ctc_merge_repeated: false", [(4, 3, 5), (4, 3), (4, 3)], "only ctc_merge_repeated true is supported"),
    ("blank_index: 5", [(4, 3, 5), (4, 3), (4, 3)], "blank_index 5 is none of the classes 0..4"),
    ("", [(4, 3, 5), (3, 4), (4, 3)], r"expected indicators of shape \(4, 3\), found \(3, 4\)"),
    ("", [(4, 3, 5), (4, 3), (4, 2)], r"expected labels of shape \(L, 3\), found \(4, 2\)"),
    ("", [(4, 3, 5), (4, 3)], "takes 3 bottom"),
])
def test_bad_input(settings, shapes, match):
    refused(f"type: 'CTCLoss' ctc_loss_param {{ {settings} }}", shapes, match)


def test_invalid_labels():
    with pytest.raises(LayerError, match=r"\(CTCLoss\): labels must be in 0..2, found 7"):
        Runner("type: 'CTCLoss'", [randn(4, 1, 3), np.ones((4, 1)), np.array([[1.0], [7]])]).forward()


# ---- CtcLoss
def padded_loss(scores, labels, blank, steps):
    return sum(loss_of(scores[:steps, n], row[row != blank], blank) for n, row in enumerate(labels)) / len(labels)


@pytest.mark.parametrize("settings, blank, steps", [
    ("", 0, 4), ("blank_label: 2 alphabet_size: 3 time_step: 4", 2, 4), ("blank_label: 1 time_step: 3", 1, 3)])
def test_ctc_loss_of_crnn_caffe(settings, blank, steps):
    scores, labels = randn(4, 2, 3), np.array([[0, 2, 1, 0, 0], [1, 1, 1, 2, 1]], float)
    labels = np.where(labels == 0, blank, np.where(labels == blank, 0, labels))
    text = f"type: 'CtcLoss' ctc_loss_param {{ {settings} }}"
    with device.use_float_type(torch.float64):
        runner = Runner(text, [scores, labels])
        assert runner.forward()[0] == pytest.approx(padded_loss(scores, labels, blank, steps), rel=1e-12)
        found = runner.backward([np.array(1.0)], [True, False])[0]
        wanted = difference_quotients(lambda x: 2 * padded_loss(x, labels, blank, steps), scores)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("settings, match", [
    ("alphabet_size: 4", "alphabet_size is 4, but the scores have 3 classes"),
    ("time_step: 5", "time_step is 5, but the scores have 4 time steps"),
    ("blank_label: 3", "blank_label 3 is none of the classes 0..2")])
def test_bad_input_of_crnn_caffe(settings, match):
    refused(f"type: 'CtcLoss' ctc_loss_param {{ {settings} }}", [(4, 2, 3), (2, 5)], match)
    refused("type: 'CtcLoss'", [(4, 2, 3), (5, 2)], r"expected labels of shape \(2, L\)")
