"""Scale: operands on every axis, with bias, as parameters and as bottoms."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def scaled(x, scale, bias, axis):
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        own = place[axis:axis + scale.ndim]
        top[place] = x[place] * scale[own] + bias[own]
    return top


CASES = [("", 1, (3,)), ("axis: 2 num_axes: 2", 2, (4, 5)), ("axis: 0 num_axes: -1", 0, (2, 3, 4, 5)),
         ("num_axes: 0", 0, ()), ("axis: -1", 3, (5,))]


@pytest.mark.parametrize("settings, axis, shape", CASES)
def test_learned(settings, axis, shape):
    x, scale, bias = randn(2, 3, 4, 5), randn(*shape, seed=1), randn(*shape, seed=2)
    other = [x] if shape == x.shape else None
    check(f"type: 'Scale' scale_param {{ {settings} bias_term: true }}", [x],
          lambda x, s, b: scaled(x, s, b, axis), blobs=[scale, bias], other=other, in_place=True)
    check(f"type: 'Scale' scale_param {{ {settings} }}", [x],
          lambda x, s: scaled(x, s, np.zeros(shape), axis), blobs=[scale], other=other, in_place=True)


def test_two_bottoms():
    x, scale = randn(2, 3, 4, 5), randn(3, 4)
    other = [randn(6, 3, 4, 2), scale]
    check("type: 'Scale' scale_param { axis: 1 }", [x, scale],
          lambda x, s: scaled(x, s, np.zeros((3, 4)), 1), other=other)
    check("type: 'Scale' scale_param { axis: 1 bias_term: true }", [x, scale],
          lambda x, s, b: scaled(x, s, b, 1), blobs=[randn(3, 4, seed=3)], other=other)


def test_initial_values():
    plain = Runner("type: 'Scale' scale_param { bias_term: true bias_filler { value: 0.5 } }", [randn(2, 3)]).layer
    assert [blob.data.tolist() for blob in plain.blobs] == [[1, 1, 1], [0.5, 0.5, 0.5]]
    given = Runner("type: 'Scale' scale_param { filler { value: 2 } }", [randn(2, 3)]).layer
    assert given.blobs[0].data.tolist() == [2, 2, 2]


@pytest.mark.parametrize("settings, asked, in_place, left", [
    ("", False, False, True), ("", True, False, False), ("", False, True, False),
    ("axis: 0 num_axes: -1", False, False, False)])
def test_the_product_remains_in_a_gradient_that_was_not_requested(settings, asked, in_place, left):
    x, diff = randn(2, 3, 4), randn(2, 3, 4, seed=1)
    runner = Runner(f"type: 'Scale' scale_param {{ {settings} }}", [x], in_place=in_place)
    runner.forward()
    found = runner.backward([diff], [asked])
    assert (found[0] is not None) == asked
    if not in_place:
        wanted = x * diff if left else diff if asked else 0 * x
        np.testing.assert_allclose(runner.bottom[0].diff, wanted, rtol=1e-5)


def test_two_bottoms_one_gradient():
    x, scale, diff = randn(2, 3, 4), randn(3, seed=1), randn(2, 3, 4, seed=2)
    runner = Runner("type: 'Scale'", [x, scale])
    runner.forward()
    np.testing.assert_allclose(runner.backward([diff], [False, True])[1], (x * diff).sum((0, 2)), rtol=1e-5)
    found = runner.backward([diff], [True, False])[0]
    np.testing.assert_allclose(found, diff * scale[:, None], rtol=1e-5)


def test_frozen_parameters_stay():
    runner = Runner("type: 'Scale' scale_param { bias_term: true }", [randn(2, 3, 4)])
    runner.layer.param_propagate_down = [False, False]
    runner.forward()
    runner.backward([randn(2, 3, 4)], [True])
    assert not any(diff.any() for diff in runner.parameter_diffs())


def test_bad_input():
    refused("type: 'Scale' scale_param { axis: 1 num_axes: 2 }", [(2, 3)], "num_axes 2 exceed")
    refused("type: 'Scale' scale_param { num_axes: -2 }", [(2, 3)], "num_axes must be -1 or more")
    refused("type: 'Scale' scale_param { axis: 2 }", [(2, 3)], "axis 2 is outside")
    refused("type: 'Scale'", [(2, 3), (4,)], r"shape \(4,\) does not fit a bottom of shape \(2, 3\) from axis 1 on")


def test_a_changed_shape_of_the_scale_does_not_fit_the_bias():
    runner = Runner("type: 'Scale' scale_param { axis: 0 bias_term: true }", [randn(3), randn(3)])
    runner.set_bottoms([randn(2), randn(2)])
    with pytest.raises(ValueError, match=r"its bias has the shape \(3,\), .* found \(2,\)"):
        runner.forward()
