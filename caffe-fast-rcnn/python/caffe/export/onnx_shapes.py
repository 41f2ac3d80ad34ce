"""ONNX conversions of layers that move values without changing them."""
from __future__ import annotations

import numpy as np

from .onnx_graph import Step, converts


@converts("BatchReindex")
def batch_reindex(step: Step):
    return step.node("Gather", step.inputs[0], step.as_ints(step.inputs[1]), axis=0)


@converts("Concat")
def concat(step: Step):
    if len(step.inputs) == 1:
        return step.inputs[0]
    return step.node("Concat", *step.inputs, axis=step.layer.concat_axis)


@converts("Crop")
def crop(step: Step):
    parts = {axis: part for axis, part in enumerate(step.layer.part) if part.start is not None}
    return step.cut(step.inputs[0], [part.start for part in parts.values()], [part.stop for part in parts.values()],
                    list(parts))


@converts("DummyData")
def dummy_data(step: Step):
    return [step.filled(values.shape, filler.value) if filler.type == "constant" else step.array(values.numpy())
            for values, filler in zip(step.layer.fresh_values(), step.layer.fillers, strict=True)]


@converts("Flatten", "Reshape")
def reshape(step: Step):
    return step.reshaped(step.inputs[0], step.shape, step.top_shape)


@converts("Parameter")
def parameter(step: Step):
    return step.weight(0)


@converts("Permute", "Transpose")
def permute(step: Step):
    return step.node("Transpose", step.inputs[0], perm=step.layer.order)


@converts("PriorBox")
def prior_box(step: Step):
    """A constant: the boxes depend only on shapes, which are fixed here."""
    step.layer.forward(step.bottoms, step.tops)
    return step.array(step.tops[0].data, "boxes")


@converts("Reverse")
def reverse(step: Step):
    return step.cut(step.inputs[0], [-1], [np.iinfo(np.int64).min], [step.layer.along], -1)


@converts("Reorg")
def reorg(step: Step):
    layer = step.layer
    if layer.reverse:
        return step.node("DepthToSpace", step.inputs[0], blocksize=layer.stride)
    spread = step.reshaped(step.inputs[0], step.shape, layer.spread)
    return step.restored(step.node("SpaceToDepth", spread, blocksize=layer.stride), step.shape, step.top_shape)


@converts("ShuffleChannel")
def shuffle_channel(step: Step):
    apart = (step.shape[0], step.layer.group, step.shape[1] // step.layer.group, *step.shape[2:])
    dealt = step.node("Transpose", step.reshaped(step.inputs[0], step.shape, apart),
                      perm=[0, 2, 1, *range(3, len(apart))])
    return step.restored(dealt, (), step.top_shape)


@converts("HDF5Output", "Silence")
def nothing(step: Step):
    return []


@converts("Slice")
def slice_(step: Step):
    if len(step.tops) == 1:
        return step.inputs[0]
    sizes = step.ints(*step.layer.sizes)
    return step.nodes("Split", [step.inputs[0], sizes], len(step.tops), axis=step.layer.slice_axis)


@converts("Split")
def split(step: Step):
    return [step.inputs[0]] * len(step.tops)


@converts("Tile")
def tile(step: Step):
    repeats = [1] * len(step.shape)
    repeats[step.layer.along] = step.layer.param.tile_param.tiles
    return step.node("Tile", step.inputs[0], step.ints(*repeats))
