"""CTCGreedyDecoder against loops over paths."""
import numpy as np
import pytest
from ctc_paths import labels_of
from layer_checker import Runner, check, distinct, refused

from caffe.engine.layers.ctc_greedy_decoder import edit_distance


def scores_of(paths, classes):
    """Scores (T, N, C) with a given best path for each item."""
    paths = np.array(paths).T
    scores = 0.1 * distinct(*paths.shape, classes) / (1 + abs(distinct(*paths.shape, classes)).max())
    np.put_along_axis(scores, paths[..., None], 1, 2)
    return scores


def decoded(scores, blank, merge=True):
    top = np.full((scores.shape[1], len(scores), 1, 1), -1.0)
    for n in range(scores.shape[1]):
        labels = labels_of(scores[:, n].reshape(len(scores), -1).argmax(1), blank, merge)
        top[n, :len(labels), 0, 0] = labels
    return top


def distance(first, second):
    """Levenshtein distance by recursion."""
    if not (first and second):
        return len(first) + len(second)
    return min(distance(first[1:], second) + 1, distance(first, second[1:]) + 1,
               distance(first[1:], second[1:]) + (first[0] != second[0]))


@pytest.mark.parametrize("settings, blank, merge", [
    ("", 0, True), ("blank_index: 2", 2, True), ("blank_index: -1", 3, True), ("ctc_merge_repeated: false", 0, False)])
def test_labels_of_the_best_path(settings, blank, merge):
    check(f"type: 'CTCGreedyDecoder' ctc_decoder_param {{ {settings} }}", [distinct(9, 3, 4)],
          lambda x: decoded(x, blank, merge), gradient=False)


def test_repetitions_blanks_and_ties():
    scores = scores_of([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [2, 1, 2, 2, 0, 0]], 3)
    assert Runner("type: 'CTCGreedyDecoder'", [scores]).forward()[0][..., 0, 0].tolist() == [
        [1, 1, 2, -1, -1, -1], [-1] * 6, [2, 1, 2, -1, -1, -1]]
    assert Runner("type: 'CTCGreedyDecoder'", [np.zeros((2, 1, 3, 1))]).forward()[0].ravel().tolist() == [-1, -1]
    assert Runner("type: 'CTCGreedyDecoder' ctc_decoder_param { blank_index: 2 }",
                  [np.zeros((2, 1, 3))]).forward()[0].ravel().tolist() == [0, -1]


def test_no_items():
    assert Runner("type: 'CTCGreedyDecoder'", [np.zeros((4, 0, 3))]).forward()[0].shape == (0, 4, 1, 1)
    assert Runner("type: 'CTCGreedyDecoder'", [np.zeros((4, 0, 3)), np.zeros((0, 2))]).forward()[0].ravel().tolist() \
        == [1, 0]


def test_accuracy_of_labels():
    paths = [[1, 1, 0, 1, 2], [0, 0, 0, 0, 0], [2, 0, 2, 1, 1], [0, 0, 0, 3, 0]]    # 1 1 2; none; 2 2 1; 3
    labels = np.array([[1, 1, 2, 0], [0, 0, 0, 0], [0, 2, 1, 3], [1, 2, -1, 3]], float)
    top = Runner("type: 'CTCGreedyDecoder'", [scores_of(paths, 4), labels]).forward()[0]
    assert top.shape == (1, 2, 1, 1)
    # 2 2 1 and 2 1 3: two edits for three labels; 3 and 1 2: two for two. Items without any labels do not count
    np.testing.assert_allclose(top.ravel(), [1 - (2 / 3 + 2 / 2) / 4, 1 / 4], rtol=1e-6)


def test_edit_distance():
    random = np.random.default_rng(0)
    for _ in range(50):
        first, second = (random.integers(0, 3, random.integers(0, 5)).tolist() for _ in range(2))
        assert edit_distance(first, second) == distance(first, second)


def test_bad_input():
    refused("type: 'CTCGreedyDecoder'", [(4, 5)], r"expected scores of shape \(T, N, C\)")
    refused("type: 'CTCGreedyDecoder'", [(4, 5, 3), (4, 5)], r"expected labels of shape \(5, L\), found \(4, 5\)")
    refused("type: 'CTCGreedyDecoder' ctc_decoder_param { blank_index: 3 }", [(4, 5, 3)], "none of the classes 0..2")
    refused("type: 'CTCGreedyDecoder'", [(4, 5, 3)] * 3, "at most 2 bottom")
    refused("type: 'CTCGreedyDecoder'", [(4, 5, 3)], "takes 1 top", num_tops=2)
