"""HingeLoss."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


def hinge(scores, labels, power):
    total = 0.0
    for n, k in np.ndindex(scores.shape):
        sign = 1 if k == int(labels.ravel()[n]) else -1
        total += max(0, 1 - sign * scores[n, k]) ** power
    return np.array(total / len(scores))


@pytest.mark.parametrize("norm, power", [("L1", 1), ("L2", 2)])
def test_hinge_loss(norm, power):
    labels = np.array([0.0, 3, 1, 2, 2])
    check(f"type: 'HingeLoss' hinge_loss_param {{ norm: {norm} }}", [distinct(5, 4), labels],
          lambda x, y: hinge(x, y, power), learns=[0])


def test_forward_leaves_the_margins_in_the_gradient():
    runner = Runner("type: 'HingeLoss' hinge_loss_param { norm: L2 }", [np.array([[0.5, 2, -3]]), np.array([1.0])])
    runner.forward()
    np.testing.assert_allclose(runner.bottom[0].diff, [[1.5, 0, 0]])
    runner.bottom[0].diff[...] = 9
    np.testing.assert_allclose(runner.backward([np.ones(())], [True, False])[0], [[3, 0, 0]])


def test_bad_input():
    runner = Runner("type: 'HingeLoss'", [distinct(2, 3), np.array([0.0, 3])])
    with pytest.raises(ValueError, match=r"labels must be in 0..2, found 3"):
        runner.forward()
    refused("type: 'HingeLoss'", [(2, 3), (3,)], "first dimension")
    refused("type: 'HingeLoss'", [(), ()], "first dimension")
    runner = Runner("type: 'HingeLoss'", [distinct(2, 3), np.zeros((2, 4))])
    with pytest.raises(ValueError, match="expected 2 labels, found 8"):
        runner.forward()


@pytest.mark.parametrize("norm, power", [("L1", 1), ("L2", 2)])
def test_scores_of_one_class_without_an_axis_for_it(norm, power):
    check(f"type: 'HingeLoss' hinge_loss_param {{ norm: {norm} }}", [np.array([0.5, -2, 3]), np.zeros(3)],
          lambda x, y: hinge(x[:, None], y, power), learns=[0])
