"""Selects the layers of a net: matches its phase, level and stages against include and exclude rules."""
from __future__ import annotations

from ...proto import caffe_pb2
from ..layer import LayerError


def meets_rule(state, rule) -> bool:
    """Whether a NetState satisfies every condition of a NetStateRule.

    Conditions: equal phase, min_level <= level <= max_level, every `stage` present, no `not_stage` present.
    Source: Net::StateMeetsRule.
    """
    stages = set(state.stage)
    return not (
        (rule.HasField("phase") and rule.phase != state.phase)
        or (rule.HasField("min_level") and state.level < rule.min_level)
        or (rule.HasField("max_level") and state.level > rule.max_level)
        or not stages.issuperset(rule.stage)
        or stages.intersection(rule.not_stage))


def is_included(state, layer) -> bool:
    """Whether the layer belongs to a net in this state.

    Without rules it does. With include rules, at least one must be met; with exclude rules, none.
    Raises LayerError if a layer has both kinds.
    """
    if layer.include and layer.exclude:
        raise LayerError(f"layer '{layer.name}' has include and exclude rules; it can have only one kind", layer.name)
    if layer.include:
        return any(meets_rule(state, rule) for rule in layer.include)
    return not any(meets_rule(state, rule) for rule in layer.exclude)


def filter_layers(net_param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """A copy of the net with only the layers that its `state` includes."""
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(net_param)
    del filtered.layer[:]
    filtered.layer.extend(layer for layer in net_param.layer if is_included(net_param.state, layer))
    return filtered
