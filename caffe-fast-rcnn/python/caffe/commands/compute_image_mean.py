"""`caffe compute_image_mean`: the mean image of a database."""
from __future__ import annotations

import argparse

import numpy as np

from ..atomic import atomic_path
from ..engine.bases.datum import datum_pixels
from ..errors import WireError
from ..proto import caffe_pb2
from .database import existing_database, records
from .flags import Flags
from .running import CommandError, Progress, log

SUMMARY = "the mean image of a database, for mean_file, and the mean of each channel"
EXAMPLES = """\
  caffe compute_image_mean train_lmdb mean.binaryproto
  caffe compute_image_mean train_lmdb                      (only prints the channel means)
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("database", metavar="DB", help="LMDB or LevelDB folder with images of one size")
    flags.add_argument("output", metavar="OUT", nargs="?", help="binaryproto to write")
    flags.add_argument("--backend", default="lmdb", help="lmdb or leveldb; ignored, since it is detected")


def run(args: argparse.Namespace) -> int:
    """Compute, write and print."""
    mean = mean_image(args.database)
    if args.output:
        with atomic_path(args.output) as temporary:
            temporary.write_bytes(_message(mean).SerializeToString())
        log.info("wrote %s", args.output)
    print(f"Number of channels: {len(mean)}")
    for channel, plane in enumerate(mean):
        print(f"mean_value channel [{channel}]: {plane.mean():.6g}")
    return 0


def mean_image(path: str) -> np.ndarray:
    """The mean (channels, height, width), float64, of all records. Raises CommandError if sizes differ."""
    database = existing_database(path)
    count = len(database)
    if not count:
        raise CommandError(f"{path}: the database is empty")
    total, progress = np.zeros(()), Progress(count, "images")
    for key, datum in records(path, database):
        image = _pixels(path, key, datum).astype(np.float64)
        if total.shape not in ((), image.shape):
            raise CommandError(f"{path}: record '{key}' has the shape {image.shape}, earlier ones "
                               f"{total.shape}; only images of one size have a mean image: convert_imageset "
                               "has -resize_height and -resize_width")
        total = total + image
        progress.step()
    return total / count


def _pixels(path: str, key: str, datum: caffe_pb2.Datum) -> np.ndarray:
    """The (channels, height, width) values of a record. Raises CommandError if they cannot be decoded."""
    try:
        return datum_pixels(datum)
    except WireError as error:
        raise CommandError(f"{path}: record '{key}' {error}") from None


def _message(mean: np.ndarray) -> caffe_pb2.BlobProto:
    """The mean as a BlobProto with a four-number shape, as Caffe's tool writes it and every version reads it."""
    blob = caffe_pb2.BlobProto(num=1, channels=mean.shape[0], height=mean.shape[1], width=mean.shape[2])
    blob.data.extend(mean.astype(np.float32).ravel())
    return blob
