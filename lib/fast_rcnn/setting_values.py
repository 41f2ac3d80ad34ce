"""Values of settings: parsed from command lines, and converted to the type of a key's default."""
from __future__ import annotations

import ast
import difflib
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import yaml

from utils.errors import UserError
from utils.safe_yaml import load_yaml


class ConfigError(UserError, ValueError):
    """A setting is unknown, has the wrong type, or conflicts with another one."""


def convert(key: str, value: Any, default: Any, item: type | None = None) -> Any:
    """`value` in the type of the key's default: a list for a tuple, an int for a float (never a bool).

    item  type of the items where the default is an empty tuple

    Raises ConfigError that names the key, the type expected and the value found.
    """
    if isinstance(default, np.ndarray):
        return _to_pixel_array(key, value)
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(key, "a list", value)
        wanted = type(default[0]) if default else item
        assert wanted is not None, key
        return tuple(_to_type(f"{key}[{i}]", item, wanted) for i, item in enumerate(value))
    return _to_type(key, value, type(default))


def _to_type(key: str, value: Any, wanted: type) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if wanted is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value) is wanted:
        return value
    if wanted is float:
        if type(value) is int and abs(value) <= sys.float_info.max:
            return float(value)
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
            return float(value)         # YAML 1.1 reads 1e-3 as text
    raise _wrong_type(key, wanted.__name__, value)


def _to_pixel_array(key: str, value: Any) -> np.ndarray:
    """One number or three (B, G, R), however nested, as a (1, 1, 3) array."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        raise _wrong_type(key, "one or three numbers", value) from None
    if numbers.size not in (1, 3) or not np.isfinite(numbers).all() or np.asarray(value).dtype == bool:
        raise _wrong_type(key, "one or three numbers", value)
    return np.broadcast_to(numbers.reshape(1, 1, -1), (1, 1, 3)).copy()


def parse(text: Any, default: Any) -> Any:
    """Parse a command line argument: a Python literal, true or false, or unquoted text for keys that hold text."""
    if not isinstance(text, str) or isinstance(default, str):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return _parse_texts(text) if isinstance(default, tuple) and not default else text


def _parse_texts(text: str) -> Any:
    """A list of unquoted strings in YAML's notation: [a, b]."""
    try:
        return load_yaml(text)
    except yaml.YAMLError:
        return text


def _wrong_type(key: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"{key}: expected {expected}, found {describe(value)}")


def describe(value: object) -> str:
    """The type and the value, for messages."""
    return f"{type(value).__name__} {value!r}"


def nearest(key: str, names: Iterable[str]) -> str:
    """' (did you mean X?)' for the name closest to the key, or else to its last part; '' if none is close."""
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in names}
    near = difflib.get_close_matches(key, list(names), n=1) or [
        by_last_part[name] for name in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_last_part, n=1)]
    return f" (did you mean {near[0]}?)" if near else ""
