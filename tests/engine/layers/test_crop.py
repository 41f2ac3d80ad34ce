"""Crop."""
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("settings, part", [
    ("", lambda x: x[:, :, :4, :2]),
    ("axis: 1 offset: 1 offset: 2 offset: 0", lambda x: x[:, 1:4, 2:6, :2]),
    ("axis: -2 offset: 2", lambda x: x[:, :, 2:6, 2:4]),
])
def test_crop(settings, part):
    check(f"type: 'Crop' crop_param {{ {settings} }}", [randn(2, 5, 7, 6), randn(1, 3, 4, 2)], lambda x, _: part(x),
          learns=[0], other=[randn(3, 5, 9, 8), randn(1, 3, 4, 2)])


def test_the_top_is_a_copy():
    runner = Runner("type: 'Crop' crop_param { axis: 0 }", [randn(2, 3), randn(1, 3)])
    runner.forward()
    runner.top[0].data[...] = 9
    assert (runner.bottom[0].data != 9).all()


def test_bad_input():
    refused("type: 'Crop' crop_param { axis: 1 offset: 1 }", [(2, 3), (2, 3)], "axis 1: offset 1 and size 3")
    refused("type: 'Crop' crop_param { axis: 0 offset: 1 offset: 1 offset: 1 }", [(2, 3), (1, 1)], "each of 2 axes")
    refused("type: 'Crop' crop_param { axis: 1 }", [(2, 3), (2, 3, 4)], "same number of axes")
    refused("type: 'Crop'", [(2, 3), (2, 3)], "axis 2 is outside")
