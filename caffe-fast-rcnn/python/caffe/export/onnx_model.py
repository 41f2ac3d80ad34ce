"""A net as an ONNX model, converted layer by layer, not through another framework."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from ..atomic import atomic_path
from ..engine.layer import TEST
from ..errors import CaffeError
from .shared_memory import changed_by_layers
from .unsupported import ExportError, name_of, reason_against, refuse

# The first has all operators that are used; from 22 on onnxruntime lacks those for RoIs
OPSET, NEWEST_OPSET = 18, 21
_LARGEST_FILE = 2_000_000_000       # protobuf holds no more than 2 GiB in one message


class OnnxMissing(CaffeError, ImportError):
    """The package onnx is not installed."""


def _converters() -> dict:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise OnnxMissing("export to ONNX needs the package onnx: pip install onnx") from error
    from . import (  # noqa: F401  (they register their conversions)
        onnx_detections,
        onnx_items,
        onnx_losses,
        onnx_proposals,
        onnx_regions,
        onnx_sequences,
        onnx_shapes,
        onnx_sums,
        onnx_values,
        onnx_windows,
        onnx_yolo,
    )
    from .onnx_graph import CONVERTERS, python_layer
    return {**CONVERTERS, "Python": python_layer}


def onnx_model(net, shapes=None, opset: int = OPSET, before: Callable | None = None, after: Callable | None = None,
               metadata: Mapping[str, str] | None = None):
    """The net as an onnx.ModelProto; see `to_onnx`."""
    converters = _converters()
    from onnx import checker, helper, numpy_helper

    from .onnx_free_axes import FreeAxes, merged
    _check(net, opset)
    axes = FreeAxes(net, shapes or {})
    with axes.sizes() as sizes:
        made = [_graph(net, axes, converters, before, after) for _ in sizes]
        graph = merged(made)
        constants = [numpy_helper.from_array(blob if isinstance(blob, np.ndarray) else blob.data, name)
                     for name, blob in graph.constants.items()]
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, net.name or "net", graph.inputs, graph.outputs, constants),
        producer_name="caffe", opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    helper.set_model_props(model, dict(metadata or {}))
    if _size(model) < _LARGEST_FILE:
        checker.check_model(model)
    return model


def _check(net, opset: int) -> None:
    from onnx import defs
    if net.phase != TEST:
        raise ValueError("export to ONNX takes a net in the TEST phase")
    if not net.outputs:
        raise ExportError("this net has no outputs: there is nothing that an ONNX model of it could compute")
    newest = min(NEWEST_OPSET, defs.onnx_opset_version())
    if not OPSET <= opset <= newest:
        raise ExportError(f"opset: expected {OPSET} to {newest}, found {opset}")


def _graph(net, axes, converters: dict, before: Callable | None, after: Callable | None):
    """The net, at its current size, between what a program adds before and after it."""
    from onnx import helper

    from .onnx_part import Graph, Part
    graph = Graph()
    graph.begin_section("the part before the net")
    given = before(Part(graph, "before")) if before else {}
    own = [index for index in net._inputs if net._blob_names[index] not in given]
    names = {index: graph.unique(net._blob_names[index]) for index in own}
    inputs = {index: names.get(index) or given[net._blob_names[index]] for index in net._inputs}
    outputs = {} if after else {index: graph.unique(name)
                                for index, name in zip(net._outputs, net.outputs, strict=True)}
    values = _convert_layers(net, graph, axes, converters, inputs, outputs)
    graph.begin_section("the part after the net")
    graph.inputs += _infos(axes, names, {})
    graph.outputs += _infos(axes, outputs, {index: graph.varying[values[index]] for index in outputs
                                            if values[index] in graph.varying})
    for index, name in outputs.items():
        if values[index] != name:       # a value that layers only pass through
            graph.nodes.append(helper.make_node("Identity", [values[index]], [name], f"{name}:node"))
    if after:
        after(Part(graph, "after"), {**given, **{net._blob_names[index]: name for index, name in values.items()}})
    return graph


def _convert_layers(net, graph, axes, converters, inputs: dict[int, str], outputs: dict[int, str]) -> dict[int, str]:
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
        graph.begin_section(name_of(layer))
        step = Step(graph, layer, [values[index] for index in bottoms], [blobs[index] for index in bottoms],
                    [blobs[index] for index in tops], [axes.free(index) for index in bottoms])
        try:
            reason = None if layer.type == "Python" else reason_against(layer)
            if reason or layer.type not in converters:
                step.refuse(reason or "its type has no conversion")
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


def _infos(axes, names: Mapping[int, str], varying: Mapping[int, int]) -> list:
    """Names and shapes; the axis of each varying blob is symbolic."""
    from onnx import TensorProto, helper
    infos = []
    for index, name in names.items():
        dims = axes.dims(index, name)
        if index in varying:
            dims[varying[index]] = f"items of {name}"
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return infos


def _size(model) -> int:
    return sum(len(array.raw_data) for array in model.graph.initializer)


def to_onnx(net, path: str | os.PathLike, shapes=None, opset: int = OPSET, before: Callable | None = None,
            after: Callable | None = None, metadata: Mapping[str, str] | None = None) -> None:
    """Write a net in the TEST phase as an ONNX model, with its weights.

    Inputs and outputs have the names and current shapes of the net's blobs, all float32; an output that is also an
    input gets a number appended to its name. Sizes follow Caffe's rules: windows that Caffe rounds up get explicit
    padding. The number of items that a Filter lets through is dynamic, as is what follows it. Recurrent layers begin
    every run with a state of zero, unless `expose_hidden` makes it an input. An invalid label makes a loss NaN.
    HDF5Output is omitted: a model writes no files. Weights of 2 GB and more go into a second file, <path>.data.
    A Python layer is converted by a method `to_onnx(self, step)` of its class.

    shapes    other shapes of inputs, such as {"data": (1, 3, "height", "width")}: a word is an axis of any length,
              and axes with the same word are equally long. The net keeps its own shapes
    opset     version of ONNX's operators
    before    a function of a `Part` of the graph that adds operations and inputs in front of the net; it returns the
              names of values by the names of the net's inputs that they replace
    after     a function of a `Part` and the names of all blobs' values, and of what `before` has returned; it adds the
              model's outputs in place of the net's
    metadata  texts stored in the model

    Raises OnnxMissing without the package onnx, and ExportError for a net without outputs, shapes and opsets that are
    not possible, layers that read data, DummyData with random values, Python layers without that method, and layers
    that cannot be converted for free axes; it names all of them.
    """
    model = onnx_model(net, shapes, opset, before, after, metadata)
    import onnx
    if _size(model) >= _LARGEST_FILE:
        onnx.save_model(model, os.fspath(path), save_as_external_data=True,
                        location=os.path.basename(os.fspath(path)) + ".data")
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
