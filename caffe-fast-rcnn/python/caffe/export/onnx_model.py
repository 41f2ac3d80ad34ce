"""Conversion of a net to an ONNX model, layer by layer, without another framework."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..atomic import atomic_path
from ..engine.layer import TEST
from ..errors import CaffeError
from .shared_memory import changed_by_layers
from .unsupported import ExportError, name_of, reason_against, refuse

# The first version with all operators used here; from 22 on, onnxruntime lacks the RoI operators
OPSET, NEWEST_OPSET = 18, 21
_LARGEST_FILE = 2_000_000_000       # protobuf limits a message to 2 GiB
_LEAST_MOVED = 1024                 # bytes of arrays that go into a second file; shape inference reads smaller ones


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
        raise ExportError("this net has no outputs: an ONNX model would have nothing to compute")
    newest = min(NEWEST_OPSET, defs.onnx_opset_version())
    if not OPSET <= opset <= newest:
        raise ExportError(f"opset: expected {OPSET} to {newest}, found {opset}")


def _graph(net, axes, converters: dict, before: Callable | None, after: Callable | None):
    """The net at its current size, between the operations that a program adds before and after it."""
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
        if values[index] != name:       # layers only passed the value through
            graph.nodes.append(helper.make_node("Identity", [values[index]], [name], f"{name}:node"))
    if after:
        after(Part(graph, "after"), {**given, **{net._blob_names[index]: name for index, name in values.items()}})
    return graph


def _convert_layers(net, graph, axes, converters, inputs: dict[int, str], outputs: dict[int, str]) -> dict[int, str]:
    """Convert all layers; returns the name of each blob's last value. Raises ExportError with all refused layers."""
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
            found = ["missing"] * len(tops)         # continue, to check the remaining layers
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
    """Names and shapes of blobs; the varying axis of a blob is symbolic."""
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
    input gets a number appended to its name. Sizes follow Caffe's rules: where Caffe rounds the number of windows up,
    the model has explicit padding. The number of items that a Filter lets through is dynamic, and so is what follows
    it. Recurrent layers start every run with zero states, unless `expose_hidden` makes them inputs. An invalid label
    makes a loss NaN. HDF5Output is omitted: a model writes no files. Weights of 2 GB and more go into a second file,
    <path>.data. A Python layer is converted by a method `to_onnx(self, step)` of its class.

    shapes    other shapes of inputs, such as {"data": (1, 3, "height", "width")}: a name is an axis of any length, and
              axes of the same name have equal lengths. The net keeps its own shapes
    opset     version of the ONNX operator set
    before    a function of a `Part` of the graph that adds operations and inputs in front of the net; returns the names
              of values, keyed by the names of the net inputs that they replace
    after     a function of a `Part` and a dict of the names of all blobs' values and of what `before` returned; adds
              the model's outputs in place of the net's
    metadata  texts stored in the model

    Raises OnnxMissing without the package onnx, and ExportError for a net without outputs, unsupported shapes and
    opsets, layers that read data, DummyData with random values, Python layers without that method, and layers that
    cannot be converted for free axes; the message names all of them.
    """
    model = onnx_model(net, shapes, opset, before, after, metadata)
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        if _size(model) >= _LARGEST_FILE:
            weights = f"{os.fspath(path)}.data"
            _move_weights(model, stack.enter_context(atomic_path(weights)), os.path.basename(weights))
        temporary.write_bytes(model.SerializeToString())


def _move_weights(model, file: Path, name: str) -> None:
    """Move the weights of a model into a new file, which the model will find under this name beside it."""
    from onnx.external_data_helper import set_external_data
    with open(file, "wb") as stream:
        for array in model.graph.initializer:
            if len(array.raw_data) >= _LEAST_MOVED:
                set_external_data(array, name, stream.tell(), len(array.raw_data))
                stream.write(array.raw_data)
                array.ClearField("raw_data")
