"""Slice."""
import pytest
from layer_checker import Runner, check, randn, refused


def test_points():
    check("type: 'Slice' slice_param { slice_point: 1 slice_point: 3 }", [randn(2, 6, 3, 4)],
          lambda x: (x[:, :1], x[:, 1:3], x[:, 3:]), num_tops=3)


@pytest.mark.parametrize("settings", ["axis: -1", "slice_dim: 2"])
def test_equal_parts(settings):
    check(f"type: 'Slice' slice_param {{ {settings} }}", [randn(2, 3, 4)], lambda x: (x[..., :2], x[..., 2:]),
          num_tops=2)


def test_axis_0():
    check("type: 'Slice' slice_param { axis: 0 slice_point: 2 }", [randn(3, 4)], lambda x: (x[:2], x[2:]), num_tops=2)


def test_tops_are_copies_except_a_single_one_which_is_shared():
    runner = Runner("type: 'Slice' slice_param { axis: 0 }", [randn(2, 3)], num_tops=2)
    runner.forward()
    runner.top[0].data[...] = 9
    assert (runner.bottom[0].data != 9).all()
    runner = Runner("type: 'Slice'", [randn(2, 3)])
    assert runner.top[0].shares_data_with(runner.bottom[0])


@pytest.mark.parametrize("settings, num_tops, match", [
    ("slice_point: 1", 3, "need 2 slice_points"),
    ("slice_point: 2 slice_point: 2", 3, "must increase"),
    ("slice_point: 6", 2, "stay inside axis 1 of length 6"),
    ("axis: 0", 3, "3 equal parts"),
    ("axis: 1 slice_dim: 1", 2, "not both"),
])
def test_bad_input(settings, num_tops, match):
    refused(f"type: 'Slice' slice_param {{ {settings} }}", [(2, 6, 3)], match, num_tops=num_tops)
