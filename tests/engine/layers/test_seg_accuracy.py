"""SegAccuracy against loops over pixels."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused

from caffe.engine.layer import LayerError


def measured(pairs, classes):
    """The expected top from pairs (label, predicted class) of the pixels that count."""
    right = [sum(label == found == c for label, found in pairs) for c in range(classes)]
    labels, found = ([sum(pair[side] == c for pair in pairs) for c in range(classes)] for side in (0, 1))
    recalls = [right[c] / labels[c] for c in range(classes) if labels[c]]
    unions = [labels[c] + found[c] - right[c] for c in range(classes)]
    overlaps = [right[c] / unions[c] if unions[c] else 1 for c in range(classes)]
    return np.array([sum(right) / max(1, len(pairs)), sum(recalls) / max(1, len(recalls)),
                     sum(overlaps) / classes]).reshape(1, 1, 1, 3)


def pairs_of(scores, labels, ignored=()):
    return [(int(labels[n, 0, y, x]), int(scores[n, :, y, x].argmax()))
            for n, _, y, x in np.ndindex(labels.shape) if labels[n, 0, y, x] not in ignored]


def labels(*shape, classes):
    return (np.arange(np.prod(shape)).reshape(shape) * 7 % classes).astype(float)


@pytest.mark.parametrize("settings, ignored", [("", ()), ("ignore_label: 3", (3,)), ("ignore_label: 0 ignore_label: 2",
                                                                                      (0, 2))])
def test_values(settings, ignored):
    scores, true = distinct(2, 6, 3, 5), labels(2, 1, 3, 5, classes=4)       # classes 4 and 5 have no pixels
    check(f"type: 'SegAccuracy' seg_accuracy_param {{ {settings} }}", [scores, true],
          lambda x, y: measured(pairs_of(x, y, ignored), 6), gradient=False)


def test_ignored_labels_outside_the_classes_and_no_valid_pixel():
    scores, true = distinct(2, 4, 3, 5), labels(2, 1, 3, 5, classes=4)
    true[0] = 255
    text = "type: 'SegAccuracy' seg_accuracy_param { ignore_label: 255 metric: PixelIOU }"
    np.testing.assert_allclose(Runner(text, [scores, true]).forward()[0], measured(pairs_of(scores, true, (255,)), 4),
                               rtol=1e-6)
    assert Runner(text, [scores, 0 * true + 255]).forward()[0].ravel().tolist() == [0, 0, 1]


def test_ties_and_accumulation_over_passes():
    scores, true = np.zeros((2, 3, 2, 4)), labels(2, 1, 2, 4, classes=3)
    runner = Runner("type: 'SegAccuracy' seg_accuracy_param { reset: false }", [scores, true])
    first = [(int(label), 0) for label in true.ravel()]
    np.testing.assert_allclose(runner.forward()[0], measured(first, 3), rtol=1e-6)
    scores[:, 1] = 1
    runner.set_bottoms([scores, true])
    np.testing.assert_allclose(runner.forward()[0], measured(first + [(label, 1) for label, _ in first], 3), rtol=1e-6)


def test_bad_input():
    for shape in ((2, 4, 3, 6), (2, 2, 3, 5), (2, 3, 5)):
        refused("type: 'SegAccuracy'", [(2, 4, 3, 5), shape], r"labels \(N, 1, H, W\), found \(2, 4, 3, 5\) and")
    for label in (4, -1):
        with pytest.raises(LayerError, match=rf"tested.*: labels must be in 0..3 or an ignore_label, found {label}"):
            Runner("type: 'SegAccuracy'", [distinct(2, 4, 3, 5), np.full((2, 1, 3, 5), label)]).forward()
