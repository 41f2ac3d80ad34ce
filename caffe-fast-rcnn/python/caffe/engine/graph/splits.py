"""Split layers: a blob that several layers read gets one copy, and thus one gradient, per reader."""
from __future__ import annotations

import difflib
from collections import Counter

from ...proto import caffe_pb2
from ..layer import LayerError

Source = tuple[int, int]        # (layer index, top index) that produced a blob


def split_layer_name(blob: str, layer: str, top_index: int) -> str:
    """`<blob>_<layer>_<top index>_split`: Caffe's name for the layer, and the stem of the names of its tops."""
    return f"{blob}_{layer}_{top_index}_split"


def insert_splits(net_param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """A copy of the net with a Split layer after each top that is used more than once.

    A loss weight other than zero counts as a use: it moves to the first top of the split. With in-place
    layers, the split follows the last layer that wrote the blob. Raises LayerError for a bottom that no
    earlier layer produces. Source: src/caffe/util/insert_splits.cpp.
    """
    sources, uses, loss_weights = _trace(net_param)
    result = caffe_pb2.NetParameter()
    result.CopyFrom(net_param)
    del result.layer[:]
    next_copy: Counter[Source] = Counter()
    for index, original in enumerate(net_param.layer):
        layer = result.layer.add()
        layer.CopyFrom(original)
        for position, blob in enumerate(original.bottom):
            source = sources[index, position]
            if uses[source] > 1:
                stem = split_layer_name(blob, net_param.layer[source[0]].name, source[1])
                layer.bottom[position] = f"{stem}_{next_copy[source]}"
                next_copy[source] += 1
        for position, blob in enumerate(original.top):
            top = (index, position)
            if uses[top] > 1:
                weight = loss_weights.get(top, 0.0)
                _add_split(result, blob, original.name, position, uses[top], weight)
                if weight:
                    layer.ClearField("loss_weight")
                    next_copy[top] += 1
    return result


def _trace(net_param) -> tuple[dict[tuple[int, int], Source], Counter[Source], dict[Source, float]]:
    """The source of each bottom, the number of uses of each top, and the loss weights of tops."""
    last_writer: dict[str, Source] = {}
    sources: dict[tuple[int, int], Source] = {}
    uses: Counter[Source] = Counter()
    loss_weights: dict[Source, float] = {}
    for index, layer in enumerate(net_param.layer):
        for position, blob in enumerate(layer.bottom):
            if blob not in last_writer:
                near = difflib.get_close_matches(blob, last_writer, n=3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise LayerError(f"layer '{layer.name}': no layer before it produces its bottom '{blob}'{hint}",
                                 layer.name)
            sources[index, position] = last_writer[blob]
            uses[last_writer[blob]] += 1
        for position, blob in enumerate(layer.top):
            last_writer[blob] = (index, position)
        for blob, weight in zip(layer.top, layer.loss_weight, strict=False):
            loss_weights[last_writer[blob]] = weight
            uses[last_writer[blob]] += weight != 0
    return sources, uses, loss_weights


def _add_split(net_param, blob: str, layer_name: str, top_index: int, copies: int, loss_weight: float) -> None:
    name = split_layer_name(blob, layer_name, top_index)
    split = net_param.layer.add(name=name, type="Split", bottom=[blob])
    split.top.extend(f"{name}_{copy}" for copy in range(copies))
    if loss_weight:
        split.loss_weight.extend([loss_weight] + [0.0] * (copies - 1))
