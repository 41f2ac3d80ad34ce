"""ShuffleChannel."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


def shuffled(x, group):
    top = np.zeros(x.shape)
    column = x.shape[1] // group
    for i in range(group):
        for j in range(column):
            top[:, j * group + i] = x[:, i * column + j]
    return top


@pytest.mark.parametrize("shape, group", [((2, 6, 3, 4), 2), ((2, 6, 3, 4), 3), ((2, 12, 5), 4), ((3, 6), 2),
                                          ((2, 5, 3, 4), 1)])
def test_values_and_gradients(shape, group):
    check(f"type: 'ShuffleChannel' shuffle_channel_param {{ group: {group} }}", [randn(*shape)],
          lambda x: shuffled(x, group))


def test_bad_input():
    refused("type: 'ShuffleChannel' shuffle_channel_param { group: 4 }", [(2, 6)], "divide the 6 channels, found 4")
    refused("type: 'ShuffleChannel' shuffle_channel_param { group: 0 }", [(2, 6)], "found 0")
    refused("type: 'ShuffleChannel'", [(6,)], "at least 2 axes")
