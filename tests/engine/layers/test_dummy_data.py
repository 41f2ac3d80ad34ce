"""DummyData."""
import pytest
from layer_checker import Runner, refused


def test_constants_are_filled_once():
    runner = Runner("type: 'DummyData' dummy_data_param { data_filler { value: -1 } data_filler { value: 0.5 } "
                    "shape { dim: 2 dim: 3 } shape { dim: 4 } }", [], num_tops=2)
    found = runner.forward()
    assert (found[0] == -1).all() and found[0].shape == (2, 3) and (found[1] == 0.5).all() and found[1].shape == (4,)
    runner.top[0].data[...] = 7
    assert (runner.forward()[0] == 7).all()


def test_random_tops_are_drawn_in_every_forward():
    runner = Runner("type: 'DummyData' dummy_data_param { data_filler { type: 'gaussian' } shape { dim: 50 } }", [])
    assert (runner.forward()[0] != runner.forward()[0]).all()


def test_old_dimensions_and_zeros():
    runner = Runner("type: 'DummyData' dummy_data_param { num: 2 num: 1 channels: 3 height: 4 width: 1 width: 2 }", [],
                    num_tops=2)
    found = runner.forward()
    assert [array.shape for array in found] == [(2, 3, 4, 1), (1, 3, 4, 2)] and not found[0].any()


def test_bad_input():
    refused("type: 'DummyData' dummy_data_param { shape { dim: 1 } shape { dim: 2 } }", [], "shape: expected",
            num_tops=3)
    refused("type: 'DummyData' dummy_data_param { num: 1 channels: 1 height: 1 }", [], "width: expected")
    refused("type: 'DummyData' dummy_data_param { num: 1 shape { dim: 1 } }", [], "either shape, or num")
    refused("type: 'DummyData' dummy_data_param { shape { dim: 1 } data_filler {} data_filler {} }", [], "data_filler")
    with pytest.raises(ValueError, match="unknown filler type 'gauss'"):
        Runner("type: 'DummyData' dummy_data_param { shape { dim: 1 } data_filler { type: 'gauss' } }", [])
