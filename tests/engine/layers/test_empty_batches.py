"""Empty batches, as from a Filter that selects nothing: every layer accepts them, forward and backward."""
import numpy as np
import pytest
from layer_checker import Runner, randn

from caffe.engine.layer import TEST, TRAIN

ONE = [(0, 3, 4, 5)]
CASES = {
    "AbsVal": ONE, "ArgMax": ONE, "BatchNorm": ONE, "Bias": ONE, "Concat": ONE * 2, "Eltwise": ONE * 2,
    "ELU": ONE, "Flatten": ONE,
    "LRN": ONE, "MVN": ONE, "PReLU": ONE, "ReLU": ONE, "ReLU6": ONE, "Scale": ONE, "Sigmoid": ONE, "Softmax": ONE,
    "Convolution convolution_param { num_output: 2 kernel_size: 3 }": ONE,
    "Deconvolution convolution_param { num_output: 2 kernel_size: 3 }": ONE,
    "InnerProduct inner_product_param { num_output: 2 }": ONE,
    "Pooling pooling_param { kernel_size: 2 }": ONE,
    "Pooling pooling_param { kernel_size: 2 pool: AVE }": ONE,
    "Reorg reorg_param { stride: 2 }": [(0, 4, 6, 8)],
    "Reorg reorg_param { stride: 2 reverse: true }": [(0, 8, 3, 5)],
    "Reshape reshape_param { shape { dim: 0 dim: -1 } }": ONE,
    "Reshape reshape_param { axis: 1 shape { dim: 4 dim: -1 } }": ONE,
    "ContrastiveLoss": [(0, 3), (0, 3), (0,)], "EuclideanLoss": [(0, 3), (0, 3)],
    "HingeLoss": [(0, 3), (0,)], "MultinomialLogisticLoss": [(0, 3), (0,)],
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


@pytest.mark.parametrize("phase, settings", [(TRAIN, ""), (TEST, "batch_norm_param { use_global_stats: false }")])
def test_statistics_are_those_of_the_other_batches(phase, settings):
    batch = randn(2, 3, 4, 5)
    runner = Runner(f"type: 'BatchNorm' {settings}", [batch], phase=phase)
    for _ in range(2):
        runner.set_bottoms([batch])
        found, = runner.forward()
        kept = [blob.data.copy() for blob in runner.layer.blobs]
        assert np.isfinite(found).all()
        runner.set_bottoms([batch[:0]])
        assert runner.forward()[0].shape == (0, 3, 4, 5)
        runner.backward([batch[:0]], [True])
        for blob, value in zip(runner.layer.blobs, kept, strict=True):
            np.testing.assert_array_equal(blob.data, value)
