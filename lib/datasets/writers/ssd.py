"""SSD: databases <split>_lmdb of AnnotatedDatum, labelmap.prototxt, and <split>_name_size.txt for DetectionEvaluate."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from google.protobuf import text_format

from caffe.proto import caffe_pb2
from datasets.records import Record
from datasets.writers.records import file_of, of_classes
from utils.errors import UserError
from utils.images import decode
from utils.other_caffe import has_message

if TYPE_CHECKING:
    import lmdb

_FIRST_SIZE = 1 << 30       # of the memory map; it doubles when the database is full


def write(folder: Path, splits: Mapping[str, Sequence[Record]], classes: Sequence[str]) -> None:
    """Write splits into a folder. Raises UserError for a Caffe that has no AnnotatedDatum."""
    if not has_message("AnnotatedDatum"):
        raise UserError("--to ssd needs a Caffe that has SSD's AnnotatedDatum; this one lacks it")
    import lmdb  # not at the top, as it may be missing with BVLC's Caffe
    labels = {name: label for label, name in enumerate(classes, 1)}
    (folder / "labelmap.prototxt").write_text(_label_map(classes), encoding="utf-8")
    for split, records in splits.items():
        with lmdb.open(str(folder / f"{split}_lmdb"), map_size=_FIRST_SIZE, sync=False, metasync=False) as environment:
            for index, record in enumerate(records):
                key = f"{index:08d}_{file_of(record)}".encode("utf-8", "surrogateescape")
                _put(environment, key[:environment.max_key_size()], _datum(record, labels).SerializeToString())
            environment.sync(True)
        (folder / f"{split}_lmdb" / "lock.mdb").unlink(missing_ok=True)
        (folder / f"{split}_name_size.txt").write_text(
            "".join(f"{'_'.join(record.name.split())} {record.size[1]} {record.size[0]}\n" for record in records),
            encoding="utf-8", errors="surrogateescape")


def _label_map(classes: Sequence[str]) -> str:
    names = [("none_of_the_above", "background"), *((name, name) for name in classes)]
    items = [caffe_pb2.LabelMapItem(name=name, label=label, display_name=shown)
             for label, (name, shown) in enumerate(names)]
    return text_format.MessageToString(caffe_pb2.LabelMap(item=items), as_utf8=True)


def _put(environment: lmdb.Environment, key: bytes, value: bytes) -> None:
    import lmdb
    while True:
        try:
            with environment.begin(write=True) as transaction:
                transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _datum(record: Record, labels: Mapping[str, int]) -> caffe_pb2.AnnotatedDatum:
    width, height = record.size
    found = caffe_pb2.AnnotatedDatum(
        datum=caffe_pb2.Datum(channels=3, height=height, width=width, encoded=True, data=_image_file(record.path)),
        type=caffe_pb2.AnnotatedDatum.BBOX)
    groups: dict[int, caffe_pb2.AnnotationGroup] = {}
    for row in of_classes(record).tolist():
        label = labels[record.names[row]]
        if label not in groups:
            groups[label] = found.annotation_group.add(group_label=label)
        edges = (record.boxes[row].astype(np.float64) + [0, 0, 1, 1]) / [width, height, width, height]
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), edges.tolist(), strict=True))
        groups[label].annotation.add(
            instance_id=len(groups[label].annotation),
            bbox=caffe_pb2.NormalizedBBox(**box, difficult=bool(record.difficult[row])))
    return found


def _image_file(path: str) -> bytes:
    """The content of an image file if it is in colour, 8 bits deep and not rotated by EXIF; else a PNG of the image."""
    data = Path(path).read_bytes()
    image = decode(path, cv2.IMREAD_COLOR)
    if np.array_equal(image, decode(path, cv2.IMREAD_UNCHANGED)):
        return data
    return cv2.imencode(".png", image)[1].tobytes()
