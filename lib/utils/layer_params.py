"""Parses the `param_str` of a Python layer, a YAML mapping such as "'feat_stride': 16", and its usual entries."""
from __future__ import annotations

from typing import Any

import yaml

from utils.safe_yaml import load_yaml

Params = dict[str, Any]
ANCHOR_BASE_SIZE = 16                               # pixels
ANCHOR_SCALES: tuple[float, ...] = (8, 16, 32)      # times ANCHOR_BASE_SIZE
ANCHOR_RATIOS: tuple[float, ...] = (0.5, 1, 2)      # height / width


class _Loader(yaml.SafeLoader):
    """Constructs plain values and the tagged tuples in py-faster-rcnn's prototxts for COCO."""


_Loader.add_constructor("tag:yaml.org,2002:python/tuple",
                        lambda loader, node: tuple(loader.construct_sequence(node)))  # type: ignore[arg-type]


def parse_param_str(text: str) -> Params:
    """The entries of a `param_str`, one per line, or in braces with commas; {} for an empty text.

    Raises ValueError, with the text, for anything else.
    """
    try:
        params = load_yaml(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"param_str {text!r} is not YAML: {error}") from None
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise ValueError(f"param_str {text!r} must be entries such as 'feat_stride': 16")
    return params


def class_count(params: Params) -> int:
    """The entry 'num_classes', with the background. Raises ValueError if it is missing or not an integer >= 2."""
    value = _required(params, "num_classes")
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise ValueError(f"'num_classes' in param_str is {value!r}, expected a whole number of at least 2, with the "
                         "background")
    return value


def anchor_layout(params: Params) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """The entries 'feat_stride' (pixels), 'scales' (default 8, 16, 32) and 'ratios' (default 0.5, 1, 2).

    Raises ValueError if feat_stride is missing or not a positive number, or the others are not lists of these.
    """
    stride = _required(params, "feat_stride")
    if not _is_number(stride) or stride <= 0:
        raise ValueError(f"'feat_stride' in param_str is {stride!r}, expected a number above 0")
    return stride, _sizes(params, "scales", ANCHOR_SCALES), _sizes(params, "ratios", ANCHOR_RATIOS)


def allowed_border(params: Params) -> float:
    """The entry 'allowed_border' (default 0): pixels by which anchors may leave the image. Raises ValueError."""
    value = params.get("allowed_border", 0)
    if not _is_number(value):
        raise ValueError(f"'allowed_border' in param_str is {value!r}, expected a number")
    return value


def _required(params: Params, key: str) -> Any:
    if key not in params:
        raise ValueError(f"param_str needs '{key}', it has {', '.join(map(str, params)) or 'no entries'}")
    return params[key]


def _sizes(params: Params, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    values = params.get(key, default)
    if not isinstance(values, list | tuple) or not values or not all(_is_number(x) and x > 0 for x in values):
        raise ValueError(f"'{key}' in param_str is {values!r}, expected a list of numbers above 0, as [8, 16, 32]")
    return tuple(values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
