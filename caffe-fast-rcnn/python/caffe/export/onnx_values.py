"""ONNX conversions of elementwise layers."""
from __future__ import annotations

import math

from .onnx_graph import Step, converts


@converts("AbsVal")
def abs_val(step: Step):
    return step.node("Abs", *step.inputs)


@converts("BNLL")
def bnll(step: Step):
    return step.node("Softplus", *step.inputs)


@converts("Clip")
def clip(step: Step):
    param = step.layer.param.clip_param
    return step.node("Clip", *step.inputs, step.floats(param.min), step.floats(param.max))


@converts("Dropout")
def dropout(step: Step):
    param = step.layer.param.dropout_param
    return step.times(step.inputs[0], 1 if param.scale_train else 1 - param.dropout_ratio)


@converts("ELU")
def elu(step: Step):
    return step.node("Elu", *step.inputs, alpha=step.layer.param.elu_param.alpha)


@converts("Exp")
def exp(step: Step):
    scaled = step.node("Exp", step.times(step.inputs[0], step.layer.scale))
    return step.times(scaled, math.exp(step.layer.shift))


@converts("Log")
def log(step: Step):
    param = step.layer.param.log_param
    argument = step.plus(step.times(step.inputs[0], param.scale), param.shift)
    return step.times(step.node("Log", argument), step.layer.factor)


@converts("Power")
def power(step: Step):
    param = step.layer.param.power_param
    if param.power * param.scale == 0:
        return step.filled(step.shape, step.layer.constant)
    base = step.plus(step.times(step.inputs[0], param.scale), param.shift)
    return base if param.power == 1 else step.node("Pow", base, step.floats(param.power))


@converts("PReLU")
def prelu(step: Step):
    blob = step.layer.blobs[0]
    return step.node("PRelu", step.inputs[0], step.spread(step.weight(0), blob, 1))


@converts("ReLU")
def relu(step: Step):
    slope = step.layer.param.relu_param.negative_slope
    return step.node("LeakyRelu", *step.inputs, alpha=slope) if slope else step.node("Relu", *step.inputs)


@converts("ReLU6")
def relu6(step: Step):
    layer = step.layer
    value = step.node("LeakyRelu", *step.inputs, alpha=layer.slope) if layer.slope else step.inputs[0]
    return step.node("Clip", value, "" if layer.slope else step.floats(0), step.floats(layer.most))


@converts("Sigmoid")
def sigmoid(step: Step):
    return step.node("Sigmoid", *step.inputs)


@converts("Swish")
def swish(step: Step):
    value = step.inputs[0]
    return step.node("Mul", value, step.node("Sigmoid", step.times(value, step.layer.param.swish_param.beta)))


@converts("TanH")
def tanh(step: Step):
    return step.node("Tanh", *step.inputs)


@converts("Threshold")
def threshold(step: Step):
    above = step.node("Greater", *step.inputs, step.floats(step.layer.param.threshold_param.threshold))
    return step.as_floats(above)
