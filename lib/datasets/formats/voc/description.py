"""The YAML file that describes a custom data set."""
from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from utils.safe_yaml import NumbersAsTextLoader, load_yaml
from utils.text import has_unprintable, read_text


@dataclass(frozen=True)
class Description:
    """The file's content: its keys are these fields, all optional."""
    root: str = "."                         # folder
    images: str = "JPEGImages"              # folder
    annotations: str = "Annotations"        # folder
    image_sets: Mapping[str, str] = field(default_factory=dict)     # split -> file that lists its images
    classes: Sequence[str] | None = None
    zero_based: bool | None = None
    use_difficult: bool | None = None


def read_description(path: Path) -> Description:
    """Read a description; a key without a value is ignored.

    Raises ValueError naming the key and what was found.
    """
    try:
        text = read_text(path)
        content, written = load_yaml(text) or {}, load_yaml(text, NumbersAsTextLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not readable as YAML: {error}") from error
    if not isinstance(content, dict) or set(content) - set(_READERS):
        found = sorted(map(str, set(content) - set(_READERS))) if isinstance(content, dict) else content
        raise ValueError(f"unknown keys {found}; known are {', '.join(sorted(_READERS))}")
    return Description(**{key: read(key, (content if read is _flag else written)[key])
                          for key, read in _READERS.items() if content.get(key) is not None})


def _text(key: str, value: object) -> str:
    """Accept an unquoted number as the text that is written, but no boolean such as an unquoted true or no."""
    if not isinstance(value, str) or not value.strip():
        raise _wrong(key, "a text", value)
    return value.strip()


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, "true or false", value)
    return value


def _classes(key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise _wrong(key, "a list of names, as [cat, dog]", value)
    return [_text(f"{key}, entry {number}", name) for number, name in enumerate(value, 1)]


def _image_sets(key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong(key, "splits and the files that list their images, as {train: train.txt}", value)
    return {_split(key, name): _list_file(f"{key}, {name}", file) for name, file in value.items()}


def _split(key: str, value: object) -> str:
    """The name of a split, which becomes part of file names."""
    name = _text(key, value)
    if "/" in name or "\\" in name or has_unprintable(name):
        raise _wrong(key, "names of splits without slashes", value)
    return name


def _list_file(key: str, value: object) -> str:
    if isinstance(value, list):
        raise _wrong(key, "the name of a file that lists the images, one a line", value)
    return _text(key, value)


def _wrong(key: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{key}: expected {expected}; found {reprlib.repr(value)}")


_READERS: dict[str, Callable[[str, object], Any]] = {
    "root": _text, "images": _text, "annotations": _text, "image_sets": _image_sets, "classes": _classes,
    "zero_based": _flag, "use_difficult": _flag,
}
