#!/usr/bin/env python3
"""Trains SSD300 on VGG16's convolutions with `caffe train`, and tests it on the way; continues where it stopped.

The nets are those of tools/make_models.py --net SSD300, with the published settings but for the batch and, so that the
rate falls at the same shares of a shorter training, the schedule (docs/published_nets.md). Convolutions 1 and 2 learn
as the others do.

Writes to --output: points.json (see runs.py), tests/<images seen>/, and in training/ databases, nets and snapshots.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3] / "tools")]
import numpy as np  # noqa: E402
from google.protobuf import text_format  # noqa: E402

import _init_paths  # noqa: E402, F401
import caffe  # noqa: E402
from accuracy_parts.clock import Clock  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from commands.options import positive, tool, writable_folder  # noqa: E402
from datasets.factory import get_imdb  # noqa: E402
from datasets.imdb import imdb as Imdb  # noqa: E402
from datasets.writers import write  # noqa: E402
from datasets.writers.records import records_of  # noqa: E402
from fast_rcnn.schedule import change_solver  # noqa: E402
from fast_rcnn.test import EVALUATION, evaluate_by_name, save_detections  # noqa: E402
from net_definitions import SSD, ssd_files  # noqa: E402
from net_definitions.ssd_data import SsdData, read_ssd_data  # noqa: E402
from utils.child_process import INTERRUPTED, run_child  # noqa: E402
from utils.files import read_json, write_json  # noqa: E402
from utils.folder_lock import FolderLock  # noqa: E402

BATCH = 8           # images; published: 32


# ---- before the training
def databases(args: argparse.Namespace, imdb: Imdb, test_imdb: Imdb) -> SsdData:
    """The databases of both splits, written unless they are there."""
    folder = args.output / "training" / "data"
    if not folder.is_dir():
        write("ssd", folder, {"trainval": records_of(imdb), "test": records_of(test_imdb)}, imdb.classes[1:])
    return read_ssd_data(folder)


def write_nets(args: argparse.Namespace, data: SsdData) -> Path:
    """Write nets and solver; returns the folder of them and of the snapshots."""
    root = args.output / "training"
    folder = root / SSD / "ssd"
    folder.mkdir(parents=True, exist_ok=True)
    files = {Path(name).name: text for name, text in ssd_files(data, str(root)).items()}
    net = text_format.Parse(files["train.pt"], caffe_pb2.NetParameter())
    net.layer[0].data_param.batch_size = BATCH
    solver = text_format.Parse(files["solver.pt"], caffe_pb2.SolverParameter())
    scale_schedule(solver, max(args.images // BATCH, args.points), args.points)
    solver.random_seed = args.seed
    files |= {"train.pt": text_format.MessageToString(net), "solver.pt": text_format.MessageToString(solver)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def scale_schedule(solver: caffe_pb2.SolverParameter, iterations: int, points: int) -> None:
    """Let a solver train for so many iterations, the rate falling at its shares of them, with `points` snapshots."""
    change_solver(solver, iterations)
    solver.max_iter, solver.snapshot = iterations, -(-iterations // points)
    for name in ("test_net", "test_iter", "test_interval", "test_initialization"):
        solver.ClearField(name)         # tests are made of the snapshots


# ---- training and tests
def snapshots(folder: Path, suffix: str) -> dict[int, Path]:
    """The snapshots in a folder by iteration, the first one first."""
    found = {int(path.stem.rpartition("_")[2]): path for path in folder.glob(f"*_iter_*.{suffix}")}
    return dict(sorted(found.items()))


def training_command(args: argparse.Namespace, folder: Path) -> list[str]:
    """`caffe train` from the weights, or from the last snapshot."""
    states = list(snapshots(folder, "solverstate").values())
    start = ["-snapshot", states[-1]] if states else ["-weights", args.weights]
    words = [sys.executable, "-m", "caffe", "train", "-solver", folder / "solver.pt", *start, "-precision",
             args.precision]
    return [str(word) for word in words]


def detect(net: caffe.Net, data: SsdData, imdb: Imdb) -> list[list[np.ndarray]]:
    """Detections [class][image] as ours are: (n, 5) inclusive corners and score."""
    rows = []
    for batch in range(data.num_test // data.test_batch):
        net.forward()
        of_batch = net.blobs["detection_out"].data.reshape(-1, 7).copy()
        of_batch[:, 0] += batch * data.test_batch * (of_batch[:, 0] >= 0)       # -1: no detection in the batch
        rows.append(of_batch)
    return by_class(np.concatenate(rows), imdb.image_sizes(), imdb.num_classes)


def by_class(rows: np.ndarray, sizes: Sequence[Sequence[int]], num_classes: int) -> list[list[np.ndarray]]:
    """DetectionOutput's rows (n, 7), image, class, score and corners as shares of the image, as `detect` gives them.

    sizes  (width, height) of the images in pixels
    """
    images, classes = rows[:, 0].astype(int), rows[:, 1].astype(int)
    edges = rows[:, 3:].clip(0, 1) * np.tile(np.asarray(sizes, np.float32), 2)[images] - (0, 0, 1, 1)
    found = np.column_stack([edges, rows[:, 2]]).astype(np.float32)
    return [[found[(images == image) & (classes == label)] for image in range(len(sizes))]
            for label in range(num_classes)]


def test(model: Path, folder: Path, data: SsdData, imdb: Imdb, output: Path) -> dict[str, Any]:
    """Detect with a snapshot and evaluate, unless that is done; returns the means."""
    if not (output / EVALUATION).is_file():
        detections = detect(caffe.Net(str(folder / "test.pt"), str(model), caffe.TEST), data, imdb)
        output.mkdir(parents=True, exist_ok=True)
        save_detections(output / "detections.npz", detections, imdb.image_index, imdb.classes)
        evaluate_by_name(imdb, detections, imdb.classes, output)
    return read_json(output / EVALUATION)["mean"]


def train(args: argparse.Namespace) -> int:
    """Train, then test the snapshots; returns the exit status."""
    imdb = get_imdb(args.imdb)
    test_imdb = get_imdb(args.test_imdb, imdb.classes)
    data, clock = databases(args, imdb, test_imdb), Clock(args.output / "training")
    folder = write_nets(args, data)
    total = text_format.Parse((folder / "solver.pt").read_text(), caffe_pb2.SolverParameter()).max_iter
    if total not in snapshots(folder, "caffemodel"):
        with clock.running():
            run_child(training_command(args, folder), SSD, args.output / "ssd.log")
    models = snapshots(folder, "caffemodel")
    if total not in models:
        return INTERRUPTED
    points = [{"seconds": clock.seconds(model.stat().st_mtime), "images": iteration * BATCH,
               **test(model, folder, data, test_imdb, args.output / "tests" / str(iteration * BATCH))}
              for iteration, model in models.items()]
    write_json(args.output / "points.json", points)
    return 0


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--imdb", required=True, metavar="NAME", help="data set to train on")
    add("--test_imdb", required=True, metavar="NAME", help="data set to test on")
    add("--weights", type=Path, required=True, metavar="FILE", help="caffemodel with VGG16's convolutions")
    add("--images", type=positive, required=True, metavar="N", help="images to read in all")
    add("--points", type=positive, default=8, metavar="N", help="snapshots to test, the last at the end (default: 8)")
    add("--precision", default="float32", help="of `caffe train` (default: float32)")
    add("--seed", type=int, default=3)
    add("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    args.output = writable_folder(args.output, "--output").resolve()
    with FolderLock(args.output):
        return train(args)


if __name__ == "__main__":
    sys.exit(main())
