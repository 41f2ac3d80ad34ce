"""Upgrades old nets and solvers by the rules of BVLC Caffe (src/caffe/util/upgrade_proto.cpp).

V0 (2013)  layers { layer { type: "conv" } }
V1 (2014)  layers { type: CONVOLUTION }
V2         layer { type: "Convolution" }, at first with `input` fields and three BatchNorm multipliers

The same functions are used for prototxts and caffemodels.
"""
from __future__ import annotations

import os

from ...errors import SolverError
from ...proto.caffe_pb2 import LayerParameter, NetParameter, ParamSpec, SolverParameter, V1LayerParameter
from ...proto.layer_settings import MOVED_TO_TRANSFORM
from ...proto.prototxt import read_net, read_solver, write_message
from ..layer import LayerError
from .upgrade_crop import align_crops
from .upgrade_v0 import put, upgrade_v0_net

LAYER_TYPES = {
    "NONE": "", "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL",
    "CONCAT": "Concat", "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "CROP": "Crop",
    "DATA": "Data", "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss", "ELTWISE": "Eltwise", "EXP": "Exp", "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData", "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "SLICE": "Slice", "TANH": "TanH",
    "WINDOW_DATA": "WindowData", "THRESHOLD": "Threshold",
}
SOLVER_TYPES = {"SGD": "SGD", "NESTEROV": "Nesterov", "ADAGRAD": "AdaGrad", "RMSPROP": "RMSProp",
                "ADADELTA": "AdaDelta", "ADAM": "Adam"}

_DATA_PARAMS = {V1LayerParameter.DATA: "data_param", V1LayerParameter.IMAGE_DATA: "image_data_param",
                V1LayerParameter.WINDOW_DATA: "window_data_param"}
_CHANGED_SINCE_V1 = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay")


# ---------------------------------------------------------------------------------------------- files
def read_net_upgraded(path: str | os.PathLike) -> NetParameter:
    """The net of a prototxt, upgraded. Raises PrototxtError, or LayerError with file and line."""
    net = read_net(path)
    try:
        upgrade_net(net)
    except LayerError as error:
        raise error.located(path) from None
    return net


def read_solver_upgraded(path: str | os.PathLike) -> SolverParameter:
    """The solver settings of a prototxt, upgraded. Raises PrototxtError, or SolverError with the file."""
    solver = read_solver(path)
    try:
        upgrade_solver(solver)
    except SolverError as error:
        raise SolverError(f"{os.fspath(path)}: {error}") from None
    return solver


def upgrade_net_text(in_path: str | os.PathLike, out_path: str | os.PathLike) -> None:
    """Write the upgraded net of one prototxt to another (or to the same)."""
    write_message(out_path, read_net_upgraded(in_path))


def upgrade_solver_text(in_path: str | os.PathLike, out_path: str | os.PathLike) -> None:
    """Write the upgraded solver settings of one prototxt to another (or to the same)."""
    write_message(out_path, read_solver_upgraded(in_path))


# ---------------------------------------------------------------------------------------------- messages
def upgrade_net(net: NetParameter) -> bool:
    """Upgrade a net in place; returns False if nothing changed.

    Raises LayerError for nets that cannot be upgraded: `layer` and `layers` in one net, unknown V0 types, inputs
    without a shape, padding layers read by anything but convolution and pooling.
    """
    steps = (_upgrade_v0, _move_transformations, _upgrade_v1, _upgrade_inputs, _upgrade_batch_norms)
    return any([step(net) for step in steps])


def upgrade_solver(solver: SolverParameter) -> bool:
    """Replace the number `solver_type` by the name `type`, in place; returns False if there is none.

    Raises SolverError if both are given.
    """
    if not solver.HasField("solver_type"):
        return False
    old = SolverParameter.SolverType.Name(solver.solver_type)
    if solver.HasField("type"):
        raise SolverError(f"solver_type: {old} and type: '{solver.type}' are both given: remove solver_type")
    solver.type = SOLVER_TYPES[old]
    solver.ClearField("solver_type")
    return True


def _upgrade_v0(net: NetParameter) -> bool:
    if not any(layer.HasField("layer") for layer in net.layers):
        return False
    _refuse_both(net)
    upgrade_v0_net(net)
    return True


def _refuse_both(net: NetParameter) -> None:
    if net.layer:
        raise LayerError(f"layer '{net.layer[0].name}': the net has `layer {{ type: \"Name\" }}` and old "
                         "`layers { type: NAME }`; write all of them in the first way", net.layer[0].name)


def _move_transformations(net: NetParameter) -> bool:
    """Move scale, mean, crop and mirror of data layers to transform_param."""
    layers = [layer for layer in net.layers if layer.type in _DATA_PARAMS]
    params = [(layer, getattr(layer, _DATA_PARAMS[layer.type])) for layer in layers]
    if not any(param.HasField(field) for _, param in params for field in MOVED_TO_TRANSFORM):
        return False
    for layer, param in params:
        param.SetInParent()                     # as in Caffe, every data layer gets both messages
        layer.transform_param.SetInParent()
        for field in MOVED_TO_TRANSFORM:
            if param.HasField(field):
                setattr(layer.transform_param, field, getattr(param, field))
                param.ClearField(field)
    return True


def _upgrade_v1(net: NetParameter) -> bool:
    if not net.layers:
        return False
    _refuse_both(net)
    for old in net.layers:
        _upgrade_v1_layer(old, net.layer.add())
    align_crops(net, {old.name for old in net.layers if old.type == V1LayerParameter.CROP and old.bottom})
    net.ClearField("layers")
    return True


def _upgrade_v1_layer(old: V1LayerParameter, new: LayerParameter) -> None:
    for entry, value in old.ListFields():
        if entry.name not in _CHANGED_SINCE_V1:
            put(new, entry.name, value)
    if old.HasField("type"):
        new.type = LAYER_TYPES[V1LayerParameter.LayerType.Name(old.type)]
    count = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    new.param.extend(ParamSpec() for _ in range(count))
    for values, field in ((old.param, "name"), (old.blob_share_mode, "share_mode"),
                          (old.blobs_lr, "lr_mult"), (old.weight_decay, "decay_mult")):
        for spec, value in zip(new.param, values, strict=False):
            setattr(spec, field, value)


def _upgrade_inputs(net: NetParameter) -> bool:
    """Turn `input` fields into an Input layer in front; names without shapes, as in old caffemodels, are dropped."""
    if not net.input:
        return False
    if net.input_shape or net.input_dim:
        layer = LayerParameter(name="input", type="Input", top=net.input)
        layer.input_param.SetInParent()
        for dims in _input_shapes(net):
            layer.input_param.shape.add().dim.extend(dims)
        net.layer.insert(0, layer)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
    return True


def _input_shapes(net: NetParameter) -> list[list[int]]:
    count = len(net.input)
    if net.input_shape:
        shapes = [list(shape.dim) for shape in net.input_shape[:count]]
    else:
        shapes = [list(net.input_dim[4 * i:4 * i + 4]) for i in range(len(net.input_dim) // 4)][:count]
    if len(shapes) < count:
        given = [f"{len(getattr(net, key))} {key}" for key in ("input_shape", "input_dim")]
        raise LayerError(f"the net has {count} inputs, {' and '.join(given)}: "
                         "give each input one input_shape or four input_dim")
    return shapes


def _upgrade_batch_norms(net: NetParameter) -> bool:
    """Set the multipliers of BatchNorm's three stored statistics to 0, since these are never learned.

    Five multipliers belong to the statistics, scale and bias.
    """
    layers = [layer for layer in net.layer if layer.type == "BatchNorm" and len(layer.param) in (3, 5)]
    specs = [spec for layer in layers for spec in layer.param[:3] if spec.lr_mult or spec.decay_mult]
    for spec in specs:
        spec.lr_mult = spec.decay_mult = 0
    return bool(specs)
