"""Tile."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_tile(axis):
    check(f"type: 'Tile' tile_param {{ axis: {axis} tiles: 3 }}", [randn(2, 3, 4, 5)],
          lambda x: np.concatenate([x, x, x], axis))


def test_bad_input():
    refused("type: 'Tile'", [(2, 3)], "tiles must be given")
    refused("type: 'Tile' tile_param { tiles: 2 axis: 2 }", [(2, 3)], "axis 2")
