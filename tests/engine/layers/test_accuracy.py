"""Accuracy against a loop over positions."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


def accuracy(scores, labels, axis=1, top_k=1, ignore=None):
    rows = np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis])
    right, counts = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for row, label in zip(rows, labels.ravel().astype(int), strict=True):
        if label != ignore:
            better = sum(row[k] >= row[label] for k in range(len(row)) if k != label)
            right[label] += better < top_k
            counts[label] += 1
    return right.sum() / max(counts.sum(), 1), right / np.maximum(counts, 1)


def labels(*shape):
    return np.random.default_rng(1).integers(0, 4, shape).astype(float)


@pytest.mark.parametrize("top_k, ignore", [(1, None), (2, 3), (4, 0)])
def test_accuracy(top_k, ignore):
    text = f"top_k: {top_k}" + (f" ignore_label: {ignore}" if ignore is not None else "")
    check(f"type: 'Accuracy' accuracy_param {{ {text} }}", [distinct(3, 4, 5, 2), labels(3, 5, 2)],
          lambda x, y: accuracy(x, y, 1, top_k, ignore), num_tops=2, gradient=False)


def test_axis():
    check("type: 'Accuracy' accuracy_param { axis: -1 }", [distinct(3, 5, 4), labels(3, 5)],
          lambda x, y: accuracy(x, y, 2)[0], gradient=False)


def test_ties_count_against_the_true_class():
    runner = Runner("type: 'Accuracy'", [np.array([[1.0, 1, 0], [2, 1, 0]]), np.zeros(2)])
    assert runner.forward()[0] == 0.5


def test_all_ignored_is_zero_and_an_invalid_label_is_wrong():
    text = "type: 'Accuracy' accuracy_param { ignore_label: 0 }"
    assert Runner(text, [np.eye(3), np.zeros(3)]).forward()[0] == 0
    assert Runner("type: 'Accuracy'", [np.eye(3), np.array([0.0, -1, 7])]).forward()[0] == np.float32(1 / 3)


def test_bad_input():
    refused("type: 'Accuracy'", [(2, 3), (3,)], "need 2 labels, found 3")
    refused("type: 'Accuracy' accuracy_param { top_k: 4 }", [(2, 3), (2,)], "top_k 4 is more than the 3 classes")
    refused("type: 'Accuracy' accuracy_param { axis: 2 }", [(2, 3), (2,)], "axis 2")
