"""Filter."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("selector", [[1, 0, 0, 2, -1], [0, 0, 0, 0, 1]])
def test_filter(selector):
    check("type: 'Filter'", [randn(5, 2, 3), randn(5, 4), np.array(selector, float)],
          lambda x, y, s: (x[s != 0], y[s != 0]), num_tops=2, learns=[0, 1])


def test_full_batch_at_setup_and_nothing_selected():
    runner = Runner("type: 'Filter'", [randn(5, 2), np.zeros((5, 1))])
    assert runner.top[0].shape == (5, 2)
    assert runner.forward()[0].shape == (0, 2)
    assert (runner.backward([np.zeros((0, 2))], [True, False])[0] == 0).all()


def test_bad_input():
    refused("type: 'Filter'", [(5, 2), (5, 2)], "selector of shape")
    refused("type: 'Filter'", [(4, 2), (5,)], "does not fit")
    refused("type: 'Filter'", [(5, 2), (5,)], "2 bottoms need 1 tops", num_tops=2)
    runner = Runner("type: 'Filter'", [randn(5, 2), np.ones(5)])
    runner.forward()
    with pytest.raises(ValueError, match="no gradient for its selector"):
        runner.backward([randn(5, 2)], [True, True])
