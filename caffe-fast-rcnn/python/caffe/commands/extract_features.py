"""`caffe extract_features`: write blobs of a net, for every image, into LMDB databases."""
from __future__ import annotations

import argparse
import contextlib
import difflib

import numpy as np

from .. import pycaffe
from ..engine.net import Net
from ..proto import caffe_pb2
from .database import Writer, check_backend, new_database
from .flags import Flags, names, positive, stages
from .running import CommandError, Progress, existing_file, log, use_device

SUMMARY = "write the values of blobs, image by image, into LMDB databases"
EXAMPLES = """\
  caffe extract_features net.caffemodel val.prototxt fc7,prob fc7_lmdb,prob_lmdb 100 lmdb -gpu 0

The data layer of val.prototxt reads the images; 100 batches are run.
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("weights", metavar="WEIGHTS", help="caffemodel")
    flags.add_argument("model", metavar="MODEL", help="net prototxt with a data layer")
    flags.add_argument("blobs", metavar="BLOBS", help="names of blobs, separated by commas")
    flags.add_argument("databases", metavar="DBS", help="folders to write, one for each blob")
    flags.add_argument("batches", type=positive, metavar="BATCHES", help="number of batches to run")
    flags.add_argument("rest", nargs="*", metavar="WORD",
                       help="lmdb, CPU or GPU, DEVICE_ID=N, as in Caffe; optional")
    flags.add_gpu()
    flags.add_state()


def run(args: argparse.Namespace) -> int:
    """Extract."""
    check_backend(args.rest[0] if args.rest else "lmdb")
    blobs, databases = names(args.blobs), names(args.databases)
    if len(blobs) != len(databases):
        raise CommandError(f"there are {len(blobs)} blobs and {len(databases)} databases; give one for each blob")
    weights, model = existing_file(args.weights, "WEIGHTS"), existing_file(args.model, "MODEL")
    use_device(args.gpu or _gpu_of(args.rest[1:]))
    net = pycaffe.Net(model, pycaffe.TEST, level=args.level or 0, stages=stages(args), weights=weights)
    for name in blobs:
        _check_blob(net, name)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(new_database(path))
                   for name, path in zip(blobs, databases, strict=True)}
        counts = extract(net, writers, args.batches)
    for name, path in zip(blobs, databases, strict=True):
        log.info("wrote %d records of %s to %s", counts[name], name, path)
    return 0


def _gpu_of(words: list[str]) -> str:
    """The GPU of `GPU DEVICE_ID=N`, Caffe's positional form."""
    if not words or words[0].upper() == "CPU":
        return ""
    if words[0].upper() != "GPU":
        raise CommandError(f"unexpected '{words[0]}': expected CPU or GPU")
    return words[1].upper().removeprefix("DEVICE_ID=") if len(words) > 1 else "0"


def _check_blob(net: Net, name: str) -> None:
    if name not in net.blobs:
        near = difflib.get_close_matches(name, net.blobs, n=3) or list(net.blobs)
        raise CommandError(f"the net has no blob '{name}'; did you mean: {', '.join(near)}?")
    if not 1 <= net.blobs[name].num_axes <= 4:
        raise CommandError(f"blob '{name}' has the shape {net.blobs[name].shape}; a record takes one image of "
                           "a batch, with up to 3 axes")


def extract(net: Net, writers: dict[str, Writer], batches: int) -> dict[str, int]:
    """Run the net and write each image's values, with keys counted from 0; returns the number of records per blob."""
    counts, progress = dict.fromkeys(writers, 0), Progress(batches, "batches")
    for _ in range(batches):
        net.forward_with_loss()
        for name, writer in writers.items():
            for values in net.blobs[name].data:
                writer.put(f"{counts[name]:010d}", to_datum(values))
                counts[name] += 1
        progress.step()
    return counts


def to_datum(values: np.ndarray) -> caffe_pb2.Datum:
    """One image's values, up to three axes, as a float Datum (channels, height, width)."""
    channels, height, width = (*values.shape, 1, 1, 1)[:3]
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width)
    datum.float_data.extend(values.ravel().tolist())
    return datum
