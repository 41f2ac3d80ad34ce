"""InnerProduct against a loop over its outputs."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def product(x, weight, bias, axis):
    rows = x.reshape(-1, weight.shape[1])
    top = np.zeros((len(rows), len(weight)))
    for n, o in np.ndindex(top.shape):
        top[n, o] = sum(rows[n, k] * weight[o, k] for k in range(weight.shape[1])) + bias[o]
    return top.reshape(*x.shape[:axis], len(weight))


@pytest.mark.parametrize("settings, axis, inputs", [("", 1, 60), ("axis: 2", 2, 20), ("axis: -1", 3, 5)])
def test_inner_product(settings, axis, inputs):
    check(f"type: 'InnerProduct' inner_product_param {{ num_output: 6 {settings} }}", [randn(2, 3, 4, 5)],
          lambda x, w, b: product(x, w, b, axis), blobs=[randn(6, inputs), randn(6)])


def test_transpose_without_bias():
    check("type: 'InnerProduct' inner_product_param { num_output: 5 transpose: true bias_term: false }",
          [randn(4, 3, 2)], lambda x, w: product(x, w.T, np.zeros(5), 1), blobs=[randn(6, 5)])


def test_bad_input():
    refused("type: 'InnerProduct'", [(2, 3)], "num_output")
    refused("type: 'InnerProduct' inner_product_param { num_output: 2 axis: 2 }", [(2, 3)], "axis 2")
    refused("type: 'InnerProduct' inner_product_param { num_output: 2 }", [(2, 3), (2, 3)], "1 bottom")
    runner = Runner("type: 'InnerProduct' inner_product_param { num_output: 2 }", [randn(2, 3)])
    runner.bottom[0].reshape(3, 2)
    with pytest.raises(ValueError, match="expected 3 values from axis 1 on, found 2"):
        runner.forward()
