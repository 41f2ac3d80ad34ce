"""Binds settings to a net, so that those of another detector, read into cfg later, do not change its results."""
from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from fast_rcnn.config import ConfigError
from utils.other_caffe import Net

Value = TypeVar("Value")        # a frozen dataclass with the settings of one use of a net
_BOUND, _USED = "_settings_bound", "_settings_used"


def bind_settings(net: Net, settings: object) -> None:
    """Use a net with these settings from now on, regardless of cfg."""
    setattr(net, _BOUND, settings)


def settings_of(net: Net, current: Value) -> Value:
    """The settings bound to a net, if there are any of this type; else `current`, those of cfg.

    Raises ConfigError if nothing is bound and cfg's settings differ from those of the net's first use: they may be
    another detector's. Fields excluded from comparison, such as the NMS threshold, may change.
    """
    bound = getattr(net, _BOUND, None)
    if isinstance(bound, type(current)):
        return bound
    used = getattr(net, _USED, None)
    if isinstance(used, type(current)) and used != current:
        raise ConfigError(f"cfg has changed since this net was first used: {_differences(used, current)}. Several "
                          "detectors in one process need their own settings: pass "
                          f"settings={type(current).__name__}.from_cfg(...) with each call")
    setattr(net, _USED, current)
    return current


def _differences(before: Any, after: Any) -> str:
    """'name was x, is y' for each field that differs, those of nested dataclasses included."""
    found = []
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if dataclasses.is_dataclass(old):
            found += [_differences(old, new)] if old != new else []
        elif field.compare and old != new:
            found.append(f"{field.name} was {old}, is {new}")
    return ", ".join(found)
