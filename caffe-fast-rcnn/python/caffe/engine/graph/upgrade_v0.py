"""Converts V0 layers, `layers { layer { type: "conv" kernelsize: 3 } }`, to V1 layers.

A V0 layer is one flat message for all types. As in Caffe, only the fields listed here are kept; rules and loss weights
beside the inner `layer` are dropped.
Source: src/caffe/util/upgrade_proto.cpp (UpgradeV0LayerParameter, UpgradeV0PaddingLayers).
"""
from __future__ import annotations

import logging

from google.protobuf.message import Message

from ...proto.caffe_pb2 import NetParameter, V0LayerParameter, V1LayerParameter
from ...proto.explain import nearest
from ..layer import LayerError

log = logging.getLogger("caffe")

# V0 type: (V1 type, the message that holds its settings)
TYPES: dict[str, tuple[str, str]] = {
    "accuracy": ("ACCURACY", ""),
    "bnll": ("BNLL", ""),
    "concat": ("CONCAT", "concat_param"),
    "conv": ("CONVOLUTION", "convolution_param"),
    "data": ("DATA", "data_param"),
    "dropout": ("DROPOUT", "dropout_param"),
    "euclidean_loss": ("EUCLIDEAN_LOSS", ""),
    "flatten": ("FLATTEN", ""),
    "hdf5_data": ("HDF5_DATA", "hdf5_data_param"),
    "hdf5_output": ("HDF5_OUTPUT", "hdf5_output_param"),
    "im2col": ("IM2COL", ""),
    "images": ("IMAGE_DATA", "image_data_param"),
    "infogain_loss": ("INFOGAIN_LOSS", "infogain_loss_param"),
    "innerproduct": ("INNER_PRODUCT", "inner_product_param"),
    "lrn": ("LRN", "lrn_param"),
    "multinomial_logistic_loss": ("MULTINOMIAL_LOGISTIC_LOSS", ""),
    "pool": ("POOLING", "pooling_param"),
    "relu": ("RELU", ""),
    "sigmoid": ("SIGMOID", ""),
    "softmax": ("SOFTMAX", ""),
    "softmax_loss": ("SOFTMAX_LOSS", ""),
    "split": ("SPLIT", ""),
    "tanh": ("TANH", ""),
    "window_data": ("WINDOW_DATA", "window_data_param"),
}

_WEIGHTED = ("conv", "innerproduct")
_WINDOWED = ("conv", "pool")
_BATCHED = ("data", "hdf5_data", "images", "window_data")

# V0 field: (field of the type's message, types that have it)
_MOVED: dict[str, tuple[str, tuple[str, ...]]] = {
    "num_output": ("num_output", _WEIGHTED),
    "biasterm": ("bias_term", _WEIGHTED),
    "weight_filler": ("weight_filler", _WEIGHTED),
    "bias_filler": ("bias_filler", _WEIGHTED),
    "pad": ("pad", _WINDOWED),
    "kernelsize": ("kernel_size", _WINDOWED),
    "group": ("group", ("conv",)),
    "stride": ("stride", _WINDOWED),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", (*_BATCHED, "infogain_loss")),
    "batchsize": ("batch_size", _BATCHED),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_COPIED = ("blobs", "blobs_lr", "weight_decay")
_READ_ELSEWHERE = ("name", "type", "hdf5_output_param")


def upgrade_v0_net(net: NetParameter) -> None:
    """Convert V0 layers to V1 layers, in place; padding layers become the `pad` of the layers that read them.

    Of the net's fields, name, input, input_dim and force_backward are kept, as in Caffe.
    Raises LayerError for unknown types and for padding read by anything but one convolution or pooling input.
    """
    old = NetParameter()
    old.CopyFrom(net)
    net.Clear()
    net.input.extend(old.input)
    net.input_dim.extend(old.input_dim)
    for name in ("name", "force_backward"):
        if old.HasField(name):
            setattr(net, name, getattr(old, name))
    for connection in _without_padding(old):
        _upgrade_layer(connection, net.layers.add())


def _without_padding(net: NetParameter) -> list[V1LayerParameter]:
    writers: dict[str, V1LayerParameter] = {}       # blob: the last layer that wrote it
    kept = []
    for connection in net.layers:
        if not connection.HasField("layer"):
            raise LayerError(f"layer '{connection.name}': a net with V0 layers, `layers {{ layer {{ }} }}`, "
                             "cannot have newer ones too", connection.name)
        name = connection.layer.name
        for blob in connection.bottom:
            if blob not in writers and blob not in net.input:
                raise LayerError(f"layer '{name}': no layer before it has a top '{blob}'", name)
        layer = V1LayerParameter()
        layer.CopyFrom(connection)
        for index, blob in enumerate(connection.bottom):
            if blob in writers and writers[blob].layer.type == "padding":
                _take_padding(layer, index, writers[blob])
        writers.update(dict.fromkeys(connection.top, connection))
        if connection.layer.type != "padding":
            kept.append(layer)
    return kept


def _take_padding(layer: V1LayerParameter, index: int, padding: V1LayerParameter) -> None:
    if layer.layer.type not in _WINDOWED or len(layer.bottom) != 1 or len(padding.bottom) != 1:
        raise LayerError(f"layer '{layer.layer.name}': it reads the padding layer '{padding.layer.name}'; "
                         "only a conv or pool layer can, and both must have one bottom", layer.layer.name)
    layer.layer.pad = padding.layer.pad
    layer.bottom[index] = padding.bottom[0]


def _upgrade_layer(connection: V1LayerParameter, new: V1LayerParameter) -> None:
    old = connection.layer
    new.bottom.extend(connection.bottom)
    new.top.extend(connection.top)
    if old.HasField("name"):
        new.name = old.name
    if old.HasField("type"):
        if old.type not in TYPES:
            hint = nearest(old.type, TYPES)
            raise LayerError(f"layer '{old.name}': unknown V0 layer type '{old.type}'{hint}", old.name)
        new.type = V1LayerParameter.LayerType.Value(TYPES[old.type][0])
    if old.type == "hdf5_output" and old.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(old.hdf5_output_param)
    for entry, value in old.ListFields():
        _move_field(old, entry.name, value, new)


def _move_field(old: V0LayerParameter, name: str, value: object, new: V1LayerParameter) -> None:
    field, types = _MOVED.get(name, ("", ()))
    if name in _COPIED:
        getattr(new, name).MergeFrom(value)
    elif name in _TRANSFORM:
        setattr(new.transform_param, _TRANSFORM[name], value)
    elif old.type in types:
        put(getattr(new, TYPES[old.type][1]), field, value)
    elif name not in _READ_ELSEWHERE:
        log.warning("layer '%s': '%s' has no use for %s: left out", old.name, old.type, name)


def put(message: Message, field: str, value: object) -> None:
    """Set a field of any kind: messages and lists are copied, single values are appended to repeated fields."""
    target = getattr(message, field)
    if isinstance(value, Message):
        target.CopyFrom(value)
        target.SetInParent()
    elif hasattr(value, "MergeFrom"):
        target.MergeFrom(value)
    elif hasattr(target, "append"):
        target.append(value)
    else:
        setattr(message, field, value)
