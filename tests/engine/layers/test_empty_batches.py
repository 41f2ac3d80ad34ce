"""Batches without items, as from a Filter that selects nothing: every layer accepts them, forward and backward."""
import numpy as np
import pytest
from layer_checker import Runner

ONE = [(0, 3, 4, 5)]
CASES = {
    "AbsVal": ONE, "ArgMax": ONE, "Bias": ONE, "Concat": ONE * 2, "Eltwise": ONE * 2, "ELU": ONE, "Flatten": ONE,
    "LRN": ONE, "MVN": ONE, "PReLU": ONE, "ReLU": ONE, "Scale": ONE, "Sigmoid": ONE, "Softmax": ONE,
    "Convolution convolution_param { num_output: 2 kernel_size: 3 }": ONE,
    "Deconvolution convolution_param { num_output: 2 kernel_size: 3 }": ONE,
    "InnerProduct inner_product_param { num_output: 2 }": ONE,
    "Pooling pooling_param { kernel_size: 2 }": ONE,
    "Pooling pooling_param { kernel_size: 2 pool: AVE }": ONE,
    "EuclideanLoss": [(0, 3), (0, 3)], "HingeLoss": [(0, 3), (0,)], "MultinomialLogisticLoss": [(0, 3), (0,)],
    "SigmoidCrossEntropyLoss": [(0, 3), (0, 3)], "SmoothL1Loss": [(0, 3), (0, 3)], "SoftmaxWithLoss": [(0, 3), (0,)],
}


@pytest.mark.parametrize("text", CASES)
def test_empty(text):
    kind, _, settings = text.partition(" ")
    runner = Runner(f"type: '{kind}' {settings}", [np.zeros(shape) for shape in CASES[text]])
    tops = runner.forward()
    asked = [index not in runner.layer.no_backward_to for index in range(len(runner.bottom))]
    if any(asked):
        runner.backward([np.ones(top.shape) for top in tops], asked)
    assert not any(diff.any() for diff in runner.parameter_diffs())
