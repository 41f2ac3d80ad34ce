"""Reads one annotation file in PASCAL VOC's XML."""
from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from datasets.source import Annotation, AnnotationError


def read_annotation(path: str | os.PathLike) -> Annotation:
    """Read an XML file. Raises AnnotationError that says what is wrong with which object."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise AnnotationError(f"{path}: there is no such file") from None
    except (OSError, ElementTree.ParseError, UnicodeError) as error:
        raise AnnotationError(f"{path}: not readable as XML: {error}") from error
    objects = list(root.iter("object"))
    try:
        boxes = [_box(thing) for thing in objects]
        names = [_text(thing, "name") for thing in objects]
        difficult = [float(thing.findtext("difficult") or 0) != 0 for thing in objects]
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from None
    return Annotation.of(names, boxes, difficult, _size(root))


def has_zero(path: str | os.PathLike) -> bool:
    """Whether an xmin or ymin in the file is 0, so that its coordinates count from 0, not from 1."""
    with open(path, "rb") as file:
        return re.search(rb"<[xy]min>\s*[+-]?0+(\.0*)?\s*<", file.read()) is not None


def _box(thing: ElementTree.Element) -> list[float]:
    """The corners in the `bndbox` directly below the object (its parts have their own)."""
    frame = thing.find("bndbox")
    if frame is None:
        raise ValueError(f"object {thing.findtext('name')!r} has no bndbox")
    values = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(frame, key)
        try:
            values.append(float(text))
        except ValueError:
            name = thing.findtext("name")
            raise ValueError(f"{key} of object {name!r} is {text!r}, not a number") from None
    if not np.isfinite(values).all():
        raise ValueError(f"the box of object {thing.findtext('name')!r} is {values}, not finite numbers")
    return values


def _text(element: ElementTree.Element, key: str) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> has no <{key}>")
    return text


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height; None if unknown, for which many programs write 0, or nothing."""
    try:
        width, height = (int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
