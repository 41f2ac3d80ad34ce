"""Reads the annotated objects of one image: PASCAL VOC's XML, COCO's JSON split by image, or plain text."""
from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CaffeError

_MOST = 2 ** 31             # pixels, and labels
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class AnnotationError(CaffeError, ValueError):
    """An annotation file that cannot be read. The message names it."""


class AnnotatedObject(NamedTuple):
    """An object: its class name or label, its corners in pixels, and whether it is difficult or a crowd."""

    name: str | int
    box: tuple[float, ...]
    is_difficult: bool


class Annotation(NamedTuple):
    """The objects of an image, and its (width, height) if the file states it."""

    size: tuple[float, ...] | None
    objects: list[AnnotatedObject]


def read_annotation(path: str, kind: str) -> Annotation:
    """Read an annotation file; `kind` is a key of READERS. Raises AnnotationError."""
    try:
        found = READERS[kind](Path(path).read_bytes())
    except OSError as error:
        raise AnnotationError(f"cannot read the objects in '{path}': {error.strerror}") from None
    except (ElementTree.ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: not readable as {kind}: {error}") from None
    except RecursionError:
        raise AnnotationError(f"{path}: not readable as {kind}: too deeply nested") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnnotationError(f"{path}: expected {_EXPECTED[kind]}: {_reason(error)}") from None
    for item in found.objects:
        if not all(abs(value) < _MOST for value in item.box):       # false for nan
            raise AnnotationError(f"{path}: the box {item.box} of an object '{item.name}' is no box")
        if isinstance(item.name, int) and not -_MOST <= item.name < _MOST:
            raise AnnotationError(f"{path}: a label is a whole number of 32 bits, found {item.name}")
    if found.size is not None and not all(1 <= value < _MOST for value in found.size):
        raise AnnotationError(f"{path}: the image has the size {' x '.join(f'{value:g}' for value in found.size)}")
    return found


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _read_xml(data: bytes) -> Annotation:
    root = ElementTree.fromstring(data)
    objects = [AnnotatedObject(_text(item, "name"), _numbers(_child(item, "bndbox"), _CORNERS),
                               (item.findtext("difficult") or "").strip() == "1") for item in root.findall("object")]
    size = root.find("size")
    return Annotation(None if size is None else _numbers(size, ("width", "height")), objects)


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(tag)
    if found is None:
        raise KeyError(tag)
    return found


def _text(element: ElementTree.Element, tag: str) -> str:
    return (_child(element, tag).text or "").strip()


def _numbers(element: ElementTree.Element, tags: Iterable[str]) -> tuple[float, ...]:
    return tuple(float(_text(element, tag)) for tag in tags)


def _read_json(data: bytes) -> Annotation:
    content = json.loads(data)
    image = content.get("image", {})
    size = (float(image["width"]), float(image["height"])) if {"width", "height"} <= set(image) else None
    return Annotation(size, [_from_json(item) for item in content["annotation"]])


def _from_json(item: dict[str, Any]) -> AnnotatedObject:
    """`bbox` is x, y, width, height."""
    left, top, width, height = map(float, item["bbox"])
    return AnnotatedObject(str(item["category_id"]), (left, top, left + width, top + height),
                           bool(item.get("iscrowd", 0)))


def _read_text(data: bytes) -> Annotation:
    objects = []
    for line in filter(str.strip, data.decode("utf-8-sig").splitlines()):
        label, *corners = line.split()
        if len(corners) != len(_CORNERS):
            raise ValueError(f"found '{line}'")
        objects.append(AnnotatedObject(int(label), tuple(map(float, corners)), False))
    return Annotation(None, objects)


READERS: dict[str, Callable[[bytes], Annotation]] = {"xml": _read_xml, "json": _read_json, "txt": _read_text}
_EXPECTED = {"xml": "<object> with <name> and <bndbox> with <xmin>, <ymin>, <xmax>, <ymax>",
             "json": '{"image": {"width", "height"}, "annotation": [{"category_id", "bbox": [x, y, width, height]}]}',
             "txt": "lines `label xmin ymin xmax ymax`"}
