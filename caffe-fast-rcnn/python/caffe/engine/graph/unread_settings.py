"""Finds settings without effect: those that their layer does not read."""
from __future__ import annotations

from ...proto.layer_settings import settings_field
from .. import layers as _catalogue
from ..layer import Layer


def unread_settings(layer: Layer) -> list[str]:
    """The settings of a layer that it does not read: messages of other types, and fields without effect.

    Empty for users' layers: what they read is unknown.
    """
    cls = type(layer)
    if not cls.__module__.startswith(f"{_catalogue.__name__}.") or layer.type == "Python":
        return []
    read = {settings_field(layer.type), *cls.other_settings}
    found = []
    for field, message in layer.param.ListFields():
        if field.is_extension or not field.name.endswith("_param"):
            continue
        if field.name not in read:
            found.append(field.name)
        else:
            paths = [f"{field.name}.{inner.name}" for inner, _ in message.ListFields()]
            found += [path for path in paths if path in cls.unread_settings]
    return found
