"""ONNX conversions of layers that combine values: matrix products, sums, means, normalisation, sorting."""
from __future__ import annotations

import math

import numpy as np

from .onnx_graph import Step, converts

_ELTWISE = {"SUM": "Sum", "PROD": "Mul", "MAX": "Max"}
_REDUCTIONS = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


@converts("ArgMax")
def arg_max(step: Step):
    """Sorts the reversed axis, because Caffe's ties go to the larger index, and TopK's to the smaller one."""
    layer, param, value = step.layer, step.layer.param.argmax_param, step.inputs[0]
    axis, shape = layer.along, step.shape
    if axis is None:
        axis, shape = 1, (shape[0], math.prod(shape[1:]))
        value = step.reshaped(value, step.shape, shape)
    backwards = step.cut(value, [-1], [-shape[axis] - 1], [axis], step=-1)
    largest, places = step.nodes("TopK", [backwards, step.ints(param.top_k)], 2, axis=axis)
    last = step.array(np.array(shape[axis] - 1, np.int64))
    indices = step.as_floats(step.node("Sub", last, places))
    if layer.along is not None:
        return largest if param.out_max_val else indices
    found = step.node("Concat", indices, largest, axis=1) if param.out_max_val else indices
    return step.restored(found, (), step.top_shape)


@converts("Axpy")
def axpy(step: Step):
    scale, value, addend = step.inputs
    wanted = (*step.bottoms[1].shape[:2], *(1,) * (len(step.bottoms[1].shape) - 2))
    return step.node("Add", step.node("Mul", step.reshaped(scale, step.shape, wanted), value), addend)


@converts("BatchNorm")
def batch_norm(step: Step):
    layer, value = step.layer, step.inputs[0]
    mean, variance, weight, *learned = (blob.data for blob in layer.blobs)
    if not layer.stored:
        normalised = _normalised(step, value, layer.averaged, layer.param.batch_norm_param.eps)[0]
        for operation, array in zip(("Mul", "Add"), learned, strict=False):
            normalised = step.node(operation, normalised, step.array(array.reshape(layer.spread)))
        return normalised
    factor = 0 if weight[0] == 0 else 1 / weight[0]
    scale, bias = (*learned, *(np.ones_like(mean), np.zeros_like(mean))[len(learned):])
    return _batch_normalization(step, scale, bias, mean * factor, variance * factor, layer.param.batch_norm_param.eps)


def _batch_normalization(step: Step, scale, bias, mean, variance, eps: float) -> str:
    """BatchNormalization, which takes at least two axes, the first of which is the batch."""
    shape = step.shape if len(step.shape) > 1 else (*step.shape, 1)
    arrays = [step.array(np.asarray(array, np.float32).ravel(), name) for name, array in
              (("scale", scale), ("offset", bias), ("mean", mean), ("variance", variance))]
    value = step.reshaped(step.inputs[0], step.shape, shape)
    return step.reshaped(step.node("BatchNormalization", value, *arrays, epsilon=eps), shape, step.shape)


def _normalised(step: Step, value: str, axes, eps: float) -> tuple[str, str, str]:
    """(value - mean) / sqrt(variance + eps) over the axes; also returns mean and variance."""
    mean = step.reduced("ReduceMean", value, axes)
    centred = step.node("Sub", value, mean)
    variance = step.reduced("ReduceMean", step.node("Mul", centred, centred), axes)
    return step.node("Div", centred, step.node("Sqrt", step.plus(variance, eps))), mean, variance


@converts("BN")
def bn(step: Step):
    layer = step.layer
    if layer.source == "stored":
        slope, offset, mean, variance = (blob.data for blob in layer.blobs)
        return _batch_normalization(step, slope, offset, mean, variance, layer.eps)
    value, *statistics = _normalised(step, step.inputs[0], layer.averaged, layer.eps) if layer.source == "batch" \
        else step.inputs
    slope, offset = (step.array(blob.data.reshape(layer.spread)) for blob in layer.blobs[:2])
    return [step.node("Add", step.node("Mul", value, slope), offset),
            *(step.reshaped(found, layer.spread, top.shape)
              for found, top in zip(statistics, step.tops[1:], strict=False))]


@converts("Bias")
def bias(step: Step):
    operand, blob = (step.inputs[1], step.bottoms[1]) if len(step.inputs) > 1 else (step.weight(0), step.layer.blobs[0])
    return step.node("Add", step.inputs[0], step.spread(operand, blob, step.layer.param.bias_param.axis))


@converts("Eltwise")
def eltwise(step: Step):
    layer, values = step.layer, step.inputs
    if layer.operation == "SUM":
        values = [step.times(value, factor) for value, factor in zip(values, layer.coefficients, strict=True)]
    if layer.operation != "PROD":
        return step.node(_ELTWISE[layer.operation], *values)
    product = values[0]
    for value in values[1:]:
        product = step.node("Mul", product, value)
    return product


@converts("Embed")
def embed(step: Step):
    rows = step.node("Gather", step.weight(0), step.as_ints(step.inputs[0]), axis=0)
    return step.node("Add", rows, step.weight(1)) if len(step.layer.blobs) > 1 else rows


@converts("InnerProduct")
def inner_product(step: Step):
    layer = step.layer
    rows = (math.prod(step.shape) // layer.num_inputs, layer.num_inputs)
    found = step.node("Gemm", step.reshaped(step.inputs[0], step.shape, rows), *step.weights(),
                      transB=int(not layer.param.inner_product_param.transpose))
    return step.restored(found, (rows[0], layer.param.inner_product_param.num_output), step.top_shape)


@converts("MVN")
def mvn(step: Step):
    layer, param = step.layer, step.layer.param.mvn_param
    rows = step.reshaped(step.inputs[0], step.shape, layer.rows_shape)
    rows = step.node("Sub", rows, step.reduced("ReduceMean", rows, [1]))
    if param.normalize_variance:
        variance = step.reduced("ReduceMean", step.node("Mul", rows, rows), [1])
        rows = step.node("Div", rows, step.plus(step.node("Sqrt", variance), param.eps))
    return step.restored(rows, (), step.top_shape)


@converts("Normalize")
def normalize(step: Step):
    param, blob, axes = step.layer.param.norm_param, step.layer.blobs[0], len(step.shape)
    squares = step.reduced("ReduceSumSquare", step.inputs[0], range(1, axes) if param.across_spatial else (1,))
    unit = step.node("Div", step.inputs[0], step.node("Sqrt", step.plus(squares, param.eps)))
    return step.node("Mul", unit, step.spread(step.weight(0), blob, 1))


@converts("Reduction")
def reduction(step: Step):
    layer, axes = step.layer, range(step.layer.start, len(step.shape))
    total = step.reduced(_REDUCTIONS[layer.operation], step.inputs[0], axes, keepdims=False)
    return step.times(total, layer.param.reduction_param.coeff)


@converts("Scale")
def scale(step: Step):
    layer, param = step.layer, step.layer.param.scale_param
    operand, blob = (step.inputs[1], step.bottoms[1]) if len(step.inputs) > 1 else (step.weight(0), layer.blobs[0])
    product = step.node("Mul", step.inputs[0], step.spread(operand, blob, param.axis))
    if not param.bias_term:
        return product
    last = len(layer.blobs) - 1
    return step.node("Add", product, step.spread(step.weight(last), layer.blobs[last], param.axis))


@converts("Softmax")
def softmax(step: Step):
    return step.node("Softmax", step.inputs[0], axis=step.layer.softmax_axis)
