"""Selects the layers of a net: matches its phase, level and stages against include and exclude rules."""
from __future__ import annotations

import contextlib
from collections import Counter, defaultdict

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


def numbers_in_file(net_param, state) -> dict[str, list[int]]:
    """For each name, which of the layers of that name in a net as written belong to it in this state.

    Often two data layers share a name, one for each phase.
    """
    found: dict[str, list[int]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for layer in (*net_param.layer, *net_param.layers):
        is_v0 = isinstance(layer, caffe_pb2.V1LayerParameter) and layer.HasField("layer")
        name = layer.layer.name if is_v0 else layer.name
        with contextlib.suppress(LayerError):               # reported where the layers are filtered
            if is_v0 or is_included(state, layer):      # the upgrade drops the rules of V0
                found[name].append(seen[name])
        seen[name] += 1
    return found


def filter_layers(net_param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """A copy of the net with only the layers that its `state` includes."""
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(net_param)
    del filtered.layer[:]
    filtered.layer.extend(layer for layer in net_param.layer if is_included(net_param.state, layer))
    return filtered
