"""`caffe convert_annoset`: write images with objects into an LMDB database for AnnotatedData layers."""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..engine.bases.image_files import decode_image
from ..engine.bases.image_list import read_image_list, read_pairs
from ..proto import caffe_pb2, prototxt
from .annotation_files import READERS, AnnotatedObject, AnnotationError, read_annotation
from .convert_imageset import add_image_flags, check_image_flags, convert
from .flags import Flags
from .running import CommandError, existing_file, log

SUMMARY = "write images with objects into an LMDB database"
EXAMPLES = """\
  caffe convert_annoset -anno_type=detection -label_map_file=labelmap.prototxt -encoded VOCdevkit/ train.txt train_lmdb
  caffe convert_annoset -anno_type=detection -label_type=txt -encoded data/ train.txt train_lmdb

train.txt has lines `image annotations`, for classification `image label`; each path is appended to ROOT as it is, so
end ROOT with a slash. Annotations are PASCAL VOC's XML, COCO's JSON split by image, or text with lines
`label xmin ymin xmax ymax` in pixels. An image without an annotation file has no objects.
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    add_image_flags(flags, "text file with lines `image annotations`")
    flags.add_argument("--anno_type", default="classification", choices=("classification", "detection"),
                       help="(default: classification)")
    flags.add_argument("--label_type", default="xml", choices=tuple(READERS), help="kind of annotations (default: xml)")
    flags.add_argument("--label_map_file", default="", metavar="FILE",
                       help="prototxt of a LabelMap, which maps the class names in annotations to labels")
    flags.switch("check_label", "refuse a label map with duplicate names; otherwise the last one counts")


def run(args: argparse.Namespace) -> int:
    """Convert; unreadable images are reported and skipped, invalid annotations are errors."""
    check_image_flags(args)
    if args.anno_type == "classification":
        return convert(args, read_image_list(args.list), _with_label)
    labels = {} if args.label_type == "txt" else _read_labels(args)
    without: list[str] = []

    def annotated(datum: caffe_pb2.Datum, name: str, annotations: str) -> caffe_pb2.AnnotatedDatum:
        path = args.root + annotations
        if os.path.exists(path):
            return _with_objects(datum, args, name, path, labels)
        without.append(path)
        return caffe_pb2.AnnotatedDatum(datum=datum, type=caffe_pb2.AnnotatedDatum.BBOX)
    lines = read_pairs(args.list)
    if not any(os.path.exists(args.root + annotations) for _, annotations in lines):
        raise CommandError(f"none of the {len(lines)} annotation files in {args.list} exists; is ROOT right? The first "
                           f"was searched for at {args.root + lines[0][1]}")
    status = convert(args, lines, annotated)
    if without:
        log.warning("%d images have no annotation file and thus no objects; the first is %s", len(without), without[0])
    return status


def _read_labels(args: argparse.Namespace) -> dict[str, int]:
    """The labels of the classes by name."""
    path = existing_file(args.label_map_file, "-label_map_file")
    items = prototxt.read_message(path, caffe_pb2.LabelMap()).item
    labels = {item.name: item.label for item in items}
    if not labels:
        raise CommandError(f"-label_map_file: {path} names no class")
    if args.check_label and len(labels) < len(items):
        raise CommandError(f"-check_label: {path} has a name twice")
    return labels


def _with_label(datum: caffe_pb2.Datum, name: str, label: int) -> caffe_pb2.AnnotatedDatum:
    datum.label = label
    return caffe_pb2.AnnotatedDatum(datum=datum)


def _with_objects(datum: caffe_pb2.Datum, args: argparse.Namespace, name: str, path: str, labels: dict[str, int]
                  ) -> caffe_pb2.AnnotatedDatum:
    """An image with the objects of its annotation file, grouped by class. Raises AnnotationError."""
    size, objects = read_annotation(path, args.label_type)
    width, height = size or _size_of(args.root + name)
    record = caffe_pb2.AnnotatedDatum(datum=datum, type=caffe_pb2.AnnotatedDatum.BBOX)
    groups: dict[int, caffe_pb2.AnnotationGroup] = {}
    for item in objects:
        label = _label_of(item, path, labels)
        if label not in groups:
            groups[label] = record.annotation_group.add(group_label=label)
        x1, y1, x2, y2 = item.box
        if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
            log.warning("%s: the box %s of '%s' is not within its image of %g x %g", path, item.box, item.name, width,
                        height)
        groups[label].annotation.add(
            instance_id=len(groups[label].annotation),
            bbox=caffe_pb2.NormalizedBBox(xmin=x1 / width, ymin=y1 / height, xmax=x2 / width, ymax=y2 / height,
                                          difficult=item.is_difficult))
    return record


def _size_of(path: str) -> tuple[int, int]:
    """(width, height) of an image file that was read before."""
    height, width = decode_image(Path(path).read_bytes(), "COLOR").shape[:2]
    return width, height


def _label_of(item: AnnotatedObject, path: str, labels: dict[str, int]) -> int:
    if isinstance(item.name, int):
        return item.name
    if item.name not in labels:
        raise AnnotationError(f"{path}: the class '{item.name}' is not in the label map, which has {', '.join(labels)}")
    return labels[item.name]
