"""Reverse."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


def backwards(x, axis):
    top = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        from_end = list(place)
        from_end[axis] = x.shape[axis] - 1 - place[axis]
        top[place] = x[tuple(from_end)]
    return top


@pytest.mark.parametrize("settings, axis", [("", 0), ("axis: 0", 0), ("axis: 2", 2), ("axis: -2", 1)])
def test_values_and_gradients(settings, axis):
    check(f"type: 'Reverse' reverse_param {{ {settings} }}", [randn(3, 2, 4)], lambda x: backwards(x, axis))


def test_bad_input():
    refused("type: 'Reverse' reverse_param { axis: 2 }", [(2, 3)], "axis 2 is outside a blob of 2 axes")
    refused("type: 'Reverse'", [()], "axis 0 is outside a blob of 0 axes")
    refused("type: 'Reverse'", [(2, 3), (2, 3)], "takes 1 bottom")
