"""`caffe convert_imageset`: write image files into an LMDB database for Data layers."""
from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from .. import io
from ..engine.bases.image_files import decode_image
from ..engine.bases.image_list import read_image_list
from ..errors import WireError
from ..proto import caffe_pb2
from .database import check_backend, new_database
from .flags import Flags
from .running import CommandError, Progress, log

SUMMARY = "write images and labels into an LMDB database"
EXAMPLES = """\
  caffe convert_imageset -resize_height 256 -resize_width 256 -shuffle images/ train.txt train_lmdb
  caffe convert_imageset -encoded images/ train.txt train_lmdb         (stores the image files unchanged)

train.txt has lines `path label`; each path is appended to ROOT as it is, so end ROOT with a slash.
"""
Label = TypeVar("Label")


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    add_image_flags(flags, "text file with lines `path label`")


def add_image_flags(flags: Flags, of_list: str) -> None:
    """Add the flags of commands that write images into a database."""
    flags.add_argument("root", metavar="ROOT", help="prefix of each path in the list, such as a folder/")
    flags.add_argument("list", metavar="LIST", help=of_list)
    flags.add_argument("database", metavar="DB", help="folder to write")
    flags.switch("gray", "read images as grayscale")
    flags.switch("shuffle", "write the images in random order")
    flags.switch("check_size", "refuse images of different sizes")
    flags.switch("encoded", "store image files instead of pixels")
    flags.add_argument("--encode_type", default="", metavar="ENDING",
                       help="png, jpg, ...: format of stored files; implies -encoded (default: that of each image)")
    flags.add_argument("--resize_height", type=int, default=0, metavar="N", help="0 keeps the height")
    flags.add_argument("--resize_width", type=int, default=0, metavar="N", help="0 keeps the width")
    flags.add_argument("--min_dim", type=int, default=0, metavar="N",
                       help="enlarge images whose shorter side is below N, keeping the aspect ratio; 0: never")
    flags.add_argument("--max_dim", type=int, default=0, metavar="N",
                       help="then shrink images whose longer side is above N; 0: never")
    flags.add_argument("--backend", default="lmdb", help="lmdb")


def run(args: argparse.Namespace) -> int:
    """Convert; unreadable images are reported and skipped."""
    check_image_flags(args)

    def labelled(datum: caffe_pb2.Datum, name: str, label: int) -> caffe_pb2.Datum:
        datum.label = label
        return datum
    return convert(args, read_image_list(args.list), labelled)


def check_image_flags(args: argparse.Namespace) -> None:
    """Raise CommandError for invalid sizes and unsupported backends."""
    check_backend(args.backend)
    if bool(args.resize_height) != bool(args.resize_width) or min(args.resize_height, args.resize_width) < 0:
        raise CommandError("give both -resize_height and -resize_width, above 0")
    if min(args.min_dim, args.max_dim) < 0 or (args.min_dim or args.max_dim) and args.resize_height:
        raise CommandError("give either -min_dim and -max_dim, above 0, or -resize_height and -resize_width")


def convert(args: argparse.Namespace, lines: Sequence[tuple[str, Label]],
            record_of: Callable[[caffe_pb2.Datum, str, Label], caffe_pb2.Datum | caffe_pb2.AnnotatedDatum]) -> int:
    """Write the images of a list; unreadable ones are reported and skipped. Returns the exit status.

    lines      pairs (path, label), with labels of the type that `record_of` takes
    record_of  (image, path, label) -> record of the database
    """
    lines = random.sample(lines, len(lines)) if args.shuffle else lines
    progress, written, shapes = Progress(len(lines), "images"), 0, set()
    with new_database(args.database) as database:
        for index, (name, label) in enumerate(lines):
            progress.step()
            try:
                datum = read_datum(args.root + name, args)
            except (OSError, WireError) as error:
                log.warning("skipped: %s is no image that OpenCV can read: %s", args.root + name,
                            getattr(error, "strerror", error))
                continue
            shapes.add((datum.channels, datum.height, datum.width))
            if args.check_size and len(shapes) > 1:
                raise CommandError(f"{args.root + name}: its size differs from that of earlier images; "
                                   f"found (channels, height, width) {sorted(shapes)}")
            database.put(f"{index:08d}_{name}", record_of(datum, name, label))
            written += 1
        if not written:
            raise CommandError(f"none of the {len(lines)} images of {args.list} can be read; is ROOT right? "
                               f"The first was searched for at {args.root + lines[0][0]}")
    log.info("wrote %d images to %s; skipped: %d", written, args.database, len(lines) - written)
    return 0


def read_datum(path: str, args: argparse.Namespace) -> caffe_pb2.Datum:
    """Read an image as the flags say; returns a Datum without a label.

    A file is stored unchanged if its size, format and number of channels would not change.
    Raises OSError or WireError if it cannot be read.
    Source: ReadImageToDatum in src/caffe/util/io.cpp.
    """
    data = Path(path).read_bytes()
    image = decode_image(data, "GRAYSCALE" if args.gray else "COLOR")
    width, height = stored_size(image.shape[1], image.shape[0], args)
    is_resized = (height, width) != image.shape[:2]
    if is_resized:
        image = cv2.resize(image, (width, height))
    if not (args.encoded or args.encode_type):
        return io.array_to_datum(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))
    channels = 1 if image.ndim == 2 else image.shape[2]
    datum = caffe_pb2.Datum(channels=channels, height=image.shape[0], width=image.shape[1], encoded=True)
    ending = (args.encode_type or Path(path).suffix).lower().lstrip(".")
    is_kept = not is_resized and _is_kept(data, path, ending, args)
    datum.data = data if is_kept else _encoded(image, ending, path)
    return datum


def stored_size(width: int, height: int, args: argparse.Namespace) -> tuple[int, int]:
    """(width, height) of an image in the database."""
    if args.resize_height:
        return args.resize_width, args.resize_height
    factor = max(1.0, args.min_dim / min(width, height))
    if args.max_dim and int(factor * max(width, height)) > args.max_dim:
        factor = args.max_dim / max(width, height)
    return max(1, round(factor * width)), max(1, round(factor * height))


def _is_kept(data: bytes, path: str, ending: str, args: argparse.Namespace) -> bool:
    """Whether the file of an image that keeps its size can be stored unchanged."""
    same = {"jpeg": "jpg"}
    own = Path(path).suffix.lower().lstrip(".")
    if same.get(ending, ending) != same.get(own, own):
        return False
    stored = decode_image(data, "UNCHANGED")
    return stored.dtype == np.uint8 and stored.ndim == (2 if args.gray else 3) and stored.shape[2:] in ((), (3,))


def _encoded(image: np.ndarray, ending: str, path: str) -> bytes:
    try:
        return cv2.imencode(f".{ending}", image)[1].tobytes()
    except cv2.error:
        raise CommandError(f"{path}: OpenCV cannot write images of type '{ending}'; choose another -encode_type, "
                           "such as png") from None
