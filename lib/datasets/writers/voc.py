"""PASCAL VOC: Annotations/*.xml, JPEGImages/*, ImageSets/Main/<split>.txt; coordinates count from 1."""
from __future__ import annotations

import dataclasses
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.records import Record
from datasets.writers.records import copy_images, file_of, of_classes, rounded


def write(folder: Path, splits: Mapping[str, Sequence[Record]], classes: Sequence[str]) -> None:
    """Write splits into a folder; different images of the same name are put into subfolders named by split."""
    files = {(record.name, record.path) for records in splits.values() for record in records}
    counts = Counter(name for name, _ in files)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, records in splits.items():
        named = [record if counts[record.name] == 1 else
                 dataclasses.replace(record, name=os.path.join(split, record.name)) for record in records]
        (lists / f"{split}.txt").write_text("".join(f"{record.name}\n" for record in named), encoding="utf-8")
        copy_images(named, folder / "JPEGImages")
        for record in named:
            file = folder / "Annotations" / f"{record.name}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_xml(record))


def _xml(record: Record) -> bytes:
    root = ElementTree.Element("annotation")
    _texts(root, folder="JPEGImages", filename=os.path.basename(file_of(record)))
    width, height = record.size
    _texts(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for row in of_classes(record).tolist():
        thing = ElementTree.SubElement(root, "object")
        _texts(thing, name=record.names[row], difficult=int(record.difficult[row]))
        corners = [rounded(value + 1) for value in record.boxes[row].tolist()]
        _texts(ElementTree.SubElement(thing, "bndbox"),
               **dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _texts(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)
