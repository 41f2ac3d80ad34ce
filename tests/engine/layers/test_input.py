"""Input."""
from layer_checker import Runner, refused


def test_shapes():
    runner = Runner("type: 'Input' input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } }", [], num_tops=2)
    assert [blob.shape for blob in runner.top] == [(2, 3), (4,)]
    assert all((array == 0).all() for array in runner.forward())
    runner = Runner("type: 'Input' input_param { shape { dim: 2 dim: 3 } }", [], num_tops=2)
    assert [blob.shape for blob in runner.top] == [(2, 3), (2, 3)]


def test_values_and_shapes_set_by_the_user_stay():
    runner = Runner("type: 'Input'", [], num_tops=1)
    runner.top[0].reshape(2, 5)
    runner.top[0].data[...] = 3
    assert (runner.forward()[0] == 3).all() and runner.top[0].shape == (2, 5)


def test_bad_input():
    refused("type: 'Input' input_param { shape { dim: 1 } shape { dim: 2 } }", [], "one for each of 3 tops", num_tops=3)
    refused("type: 'Input'", [(2, 3)], "0 bottom")
