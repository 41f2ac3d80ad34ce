"""LabelsequenceAccuracy against loops over paths."""
import numpy as np
import pytest
from ctc_paths import labels_of
from layer_checker import Runner, check, distinct, refused


def share(scores, labels, blank):
    right = [labels_of(score.argmax(1), blank) == [label for label in row if label != blank]
             for score, row in zip(scores, labels, strict=True)]
    return np.array(sum(right) / len(right))


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("steps, length", [(2, 3), (4, 1)])
def test_values(blank, steps, length):
    scores = distinct(40, steps, 3)
    labels = np.random.default_rng(0).integers(0, 3, (40, length)).astype(float)
    assert 0 < share(scores, labels, blank) < 1
    check(f"type: 'LabelsequenceAccuracy' labelsequence_accuracy_param {{ blank_label: {blank} }}", [scores, labels],
          lambda x, y: share(x, y, blank), gradient=False)


def test_repetitions_and_items_without_labels():
    paths = np.eye(3)[[[1, 1, 0, 1], [0, 0, 0, 0], [2, 2, 1, 1], [2, 0, 0, 0]]]
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 2, 1], [2, 2, 0]])
    assert Runner("type: 'LabelsequenceAccuracy'", [paths, labels]).forward()[0] == 0.75


def test_bad_input():
    refused("type: 'LabelsequenceAccuracy'", [(2, 4), (2, 3)], r"expected scores of shape \(N, T, C\), found \(2, 4\)")
    refused("type: 'LabelsequenceAccuracy'", [(2, 4, 5), (4, 2)], r"expected labels of shape \(2, L\), found \(4, 2\)")
    refused("type: 'LabelsequenceAccuracy' labelsequence_accuracy_param { blank_label: 5 }", [(2, 4, 5), (2, 3)],
            "blank_label 5 is none of the classes 0..4")
