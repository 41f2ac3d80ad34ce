"""Reads one annotation file in PASCAL VOC's XML."""
from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree

from datasets.source import FARTHEST, Annotation, AnnotationError
from utils.text import TextError, read_text

_BOXES = {"bndbox", "robndbox", "box", "polygon", "xmin", "xtl"}     # tags of boxes in VOC's and other formats
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def read_annotation(path: str | os.PathLike) -> Annotation:
    """Read an XML file. Raises AnnotationError naming the object and what is wrong with it."""
    root = _read_xml(path)
    try:
        objects = _objects(root)
        boxes = [_box(thing) for thing in objects]
        names = [_text(thing, "name") for thing in objects]
        difficult = [_is_difficult(thing) for thing in objects]
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from None
    return Annotation.of(names, boxes, difficult, _size(root))


def has_zero(path: str | os.PathLike) -> bool:
    """Whether an xmin or ymin in the file is 0, so that its coordinates count from 0, not from 1."""
    try:
        text = read_text(path)
    except (TextError, OSError):        # the image is left out later
        return False
    return re.search(r"<(?:[\w.-]+:)?[xy]min(?:\s[^<>]*)?>\s*[+-]?0+(\.0*)?\s*<", text) is not None


def _read_xml(path: str | os.PathLike) -> ElementTree.Element:
    """The root of an XML file; namespaces are removed from tags."""
    try:
        root = ElementTree.fromstring(read_text(path))
    except FileNotFoundError:
        raise AnnotationError(f"{path}: there is no such file") from None
    except TextError as error:
        raise AnnotationError(str(error)) from None
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise AnnotationError(f"{path}: not readable as XML: {error}") from error
    for element in root.iter():
        if isinstance(element.tag, str):        # neither a comment nor a processing instruction
            element.tag = element.tag.rpartition("}")[2]
    return root


def _objects(root: ElementTree.Element) -> list[ElementTree.Element]:
    """The objects of an annotation. Raises ValueError for XML of another kind."""
    if root.tag.lower() != "annotation":
        raise ValueError(f"expected an <annotation> of PASCAL VOC, found <{root.tag}>")
    objects = list(root.iter("object"))
    other = next((element.tag for element in root.iter() if element.tag in _BOXES), None)
    if other and not objects:
        raise ValueError(f"has a <{other}>, but no <object>; it is in another format than PASCAL VOC's")
    return objects


def _is_difficult(thing: ElementTree.Element) -> bool:
    text = (thing.findtext("difficult") or "0").strip().lower() or "0"
    if text in _WORDS:
        return _WORDS[text]
    try:
        return float(text) != 0
    except ValueError:
        raise ValueError(f"difficult of object {thing.findtext('name')!r} is {text!r}, expected 0 or 1") from None


def _box(thing: ElementTree.Element) -> list[float]:
    """The corners in the `bndbox` directly below the object, as its parts have their own."""
    frames = thing.findall("bndbox")
    if len(frames) != 1:
        found = ", ".join(child.tag for child in thing if isinstance(child.tag, str))
        number = f"{len(frames)} times a bndbox" if frames else "no bndbox"
        raise ValueError(f"object {thing.findtext('name')!r} has {number}; it has: {found or 'nothing'}")
    frame = frames[0]
    values = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(frame, key)
        try:
            values.append(float(text))
        except ValueError:
            name = thing.findtext("name")
            raise ValueError(f"{key} of object {name!r} is {text!r}, not a number") from None
    if not all(abs(value) <= FARTHEST for value in values):
        raise ValueError(f"the box of object {thing.findtext('name')!r} is {values}, not finite numbers")
    return values


def _text(element: ElementTree.Element, key: str) -> str:
    text = " ".join((element.findtext(key) or "").split())
    if not text:
        raise ValueError(f"<{element.tag}> has no <{key}>")
    return text


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height; None if unknown, for which many programs write 0 or nothing."""
    try:
        width, height = (int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
