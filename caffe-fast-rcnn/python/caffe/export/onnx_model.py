"""A net as an ONNX model, converted layer by layer, not through another framework."""
from __future__ import annotations

import os

from ..atomic import atomic_path
from ..engine.layer import TEST
from ..errors import CaffeError
from .shared_memory import changed_by_layers
from .unsupported import ExportError, name_of, reason_against, refuse

OPSET = 18
_LARGEST_FILE = 2_000_000_000       # protobuf holds no more than 2 GiB in one message


class OnnxMissing(CaffeError, ImportError):
    """The package onnx is not installed."""


def _converters() -> dict:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise OnnxMissing("export to ONNX needs the package onnx: pip install onnx") from error
    from . import (  # noqa: F401  (they register their conversions)
        onnx_items,
        onnx_losses,
        onnx_regions,
        onnx_sequences,
        onnx_shapes,
        onnx_sums,
        onnx_values,
        onnx_windows,
    )
    from .onnx_graph import CONVERTERS
    return CONVERTERS


def onnx_model(net):
    """The net as an onnx.ModelProto; see `to_onnx`."""
    converters = _converters()
    from onnx import checker, helper

    from .onnx_graph import Graph
    if net.phase != TEST:
        raise ValueError("export to ONNX takes a net in the TEST phase")
    if not net.outputs:
        raise ExportError("this net has no outputs: there is nothing that an ONNX model of it could compute")
    graph = Graph()
    inputs = {index: graph.unique(net._blob_names[index]) for index in net._inputs}
    outputs = {index: graph.unique(name) for index, name in zip(net._outputs, net.outputs, strict=True)}
    values = _convert_layers(net, graph, converters, inputs, outputs)
    for index, name in outputs.items():
        if values[index] != name:       # a value that layers only pass through
            graph.nodes.append(helper.make_node("Identity", [values[index]], [name], f"{name}:node"))
    model = helper.make_model(
        helper.make_graph(graph.nodes, net.name or "net", _infos(net, inputs, set()),
                          _infos(net, outputs, {index for index in outputs if values[index] in graph.varying}),
                          graph.initializers),
        producer_name="caffe", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    if _size(model) < _LARGEST_FILE:
        checker.check_model(model)
    return model


def _convert_layers(net, graph, converters, inputs: dict[int, str], outputs: dict[int, str]) -> dict[int, str]:
    """The name of each blob's last value. Raises ExportError naming all layers that have no conversion."""
    from .onnx_graph import Step, Unsupported
    from .onnx_items import check_items
    blobs, values, reasons = net._blobs, dict(inputs), {}
    changed = changed_by_layers(net)
    last_writer = {index: number for number, pairs in enumerate(changed)
                   for index in (*net._top_ids(number), *(index for index, _ in pairs))}
    for number, layer in enumerate(net.engine_layers):
        bottoms, tops = net._bottom_ids(number), net._top_ids(number)
        if layer.type == "Input":
            continue
        step = Step(graph, layer, [values[index] for index in bottoms], [blobs[index] for index in bottoms],
                    [blobs[index] for index in tops])
        try:
            if layer.type not in converters or reason_against(layer):
                step.refuse(reason_against(layer) or "its type has no conversion")
            check_items(step)
            found = converters[layer.type](step)
        except Unsupported as error:
            reasons[name_of(layer)] = str(error)
            found = ["missing"] * len(tops)         # to check the layers after it too
        for index, name in zip(tops, found, strict=True):
            values[index] = name
            if step.makes(name):
                is_output = index in outputs and last_writer[index] == number
                values[index] = outputs[index] if is_output else graph.unique(net._blob_names[index])
                step.rename(name, values[index])
        for index, top in changed[number]:
            values[index] = step.restored(values[top], blobs[top].shape, blobs[index].shape)
    refuse("an ONNX model", reasons)
    return values


def _infos(net, names: dict[int, str], varying: set[int]) -> list:
    """Names and shapes; the first dimension of varying blobs is symbolic."""
    from onnx import TensorProto, helper
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"items of {name}", *net._blobs[index].shape[1:]]
                                          if index in varying else net._blobs[index].shape)
            for index, name in names.items()]


def _size(model) -> int:
    return sum(len(array.raw_data) for array in model.graph.initializer)


def to_onnx(net, path: str | os.PathLike) -> None:
    """Write a net in the TEST phase as an ONNX model (operators of version 18), with its weights.

    Inputs and outputs have the names and current shapes of the net's blobs, all float32; an output that is also an
    input gets a number appended to its name. Sizes follow Caffe's rules: windows that Caffe rounds up get explicit
    padding. The number of items that a Filter lets through is dynamic, as is what follows it. Recurrent layers begin
    every run with a state of zero, unless `expose_hidden` makes it an input. An invalid label makes a loss NaN.
    HDF5Output is omitted: a model writes no files. Weights of 2 GB and more go into a second file, <path>.data.

    Raises OnnxMissing without the package onnx, and ExportError for a net without outputs and for Python layers,
    layers that read data and DummyData with random values; it names all of them.
    """
    model = onnx_model(net)
    import onnx
    if _size(model) >= _LARGEST_FILE:
        onnx.save_model(model, os.fspath(path), save_as_external_data=True,
                        location=os.path.basename(os.fspath(path)) + ".data")
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
