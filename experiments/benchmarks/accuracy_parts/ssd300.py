#!/usr/bin/env python3
"""Trains SSD300 from VGG16's convolutions with `caffe train`, and tests its snapshots; resumes if interrupted.

The nets are those of tools/make_models.py --net SSD300, with the published settings (docs/published_nets.md) except
for a smaller batch and a shorter schedule, in which the learning rate falls at the same fractions. Convolutions 1 and 2
are trained as well.

Writes to --output: points.json (see runs.py), tests/<images seen>/, and in training/ the database, nets and snapshots.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3] / "tools")]
from google.protobuf import text_format  # noqa: E402

import _init_paths  # noqa: E402
import caffe  # noqa: E402
from accuracy_parts.clock import Clock  # noqa: E402
from accuracy_parts.peer_options import peer_parser  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from commands.options import tool, writable_folder  # noqa: E402
from datasets.detection_files import EVALUATION  # noqa: E402
from datasets.factory import get_imdb  # noqa: E402
from datasets.imdb import imdb as Imdb  # noqa: E402
from datasets.writers import write  # noqa: E402
from datasets.writers.records import records_of  # noqa: E402
from fast_rcnn.schedule import change_solver  # noqa: E402
from net_definitions import SSD, ssd_files  # noqa: E402
from net_definitions.ssd_data import SsdData, read_ssd_data  # noqa: E402
from utils.child_process import INTERRUPTED, run_child  # noqa: E402
from utils.files import read_json, write_json  # noqa: E402
from utils.folder_lock import FolderLock  # noqa: E402

ROOT = _init_paths.ROOT
BATCH = 8           # images; published: 32


# ---- before the training
def database(args: argparse.Namespace, imdb: Imdb) -> SsdData:
    """The database of training images; written if it does not exist."""
    folder = args.output / "training" / "data"
    if not folder.is_dir():
        write("ssd", folder, {"trainval": records_of(imdb)}, imdb.classes[1:])
    return read_ssd_data(folder)


def write_nets(args: argparse.Namespace, data: SsdData, iterations: int) -> Path:
    """Write the nets and the solver; returns their folder, where the snapshots go too."""
    root = args.output / "training"
    folder = root / SSD / "ssd"
    folder.mkdir(parents=True, exist_ok=True)
    files = {Path(name).name: text for name, text in ssd_files(data, str(root)).items()}
    net = text_format.Parse(files["train.pt"], caffe_pb2.NetParameter())
    net.layer[0].data_param.batch_size = BATCH
    solver = text_format.Parse(files["solver.pt"], caffe_pb2.SolverParameter())
    change_solver(solver, iterations)     # scales the steps of the schedule
    solver.max_iter, solver.snapshot, solver.random_seed = iterations, -(-iterations // args.points), args.seed
    files |= {"train.pt": text_format.MessageToString(net), "solver.pt": text_format.MessageToString(solver)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


# ---- training and tests
def snapshots(folder: Path, suffix: str) -> dict[int, Path]:
    """The snapshots in a folder, in ascending order of iterations."""
    found = {int(path.stem.rpartition("_")[2]): path for path in folder.glob(f"*_iter_*.{suffix}")}
    return dict(sorted(found.items()))


def training_command(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of `caffe train`, starting from the initial weights or resuming from the last snapshot."""
    states = list(snapshots(folder, "solverstate").values())
    start = ["-snapshot", states[-1]] if states else ["-weights", args.weights]
    words = [sys.executable, "-m", "caffe", "train", "-solver", folder / "solver.pt", *start, "-precision",
             args.precision]
    return [str(word) for word in words]


def test(args: argparse.Namespace, model: Path, folder: Path, imdb: Imdb, images: int) -> dict[str, Any]:
    """Test a snapshot with tools/test_net.py unless results are stored; returns the mean average precisions."""
    output = args.output / "tests" / str(images)
    if not (output / EVALUATION).is_file():
        words = [sys.executable, ROOT / "tools" / "test_net.py", "--cpu", "--def", folder / "deploy.pt", "--net", model,
                 "--imdb", args.test_imdb, "--classes", *imdb.classes[1:], "--cfg",
                 ROOT / "experiments" / "cfgs" / "ssd.yml", "--thresh", "0.01", "--num_dets", "200", "--output", output]
        run_child([str(word) for word in words], f"test of {model.name}", args.output / "test.log")
    return read_json(output / EVALUATION)["mean"]


def train(args: argparse.Namespace) -> int:
    """Train, then test the snapshots; returns the exit status."""
    imdb, clock = get_imdb(args.imdb), Clock(args.output / "training")
    total = max(args.images // BATCH, args.points)
    folder = write_nets(args, database(args, imdb), total)
    if total not in snapshots(folder, "caffemodel"):
        with clock.running():
            run_child(training_command(args, folder), SSD, args.output / "ssd.log",
                      environment={"PYTHONPATH": str(Path(caffe.__path__[0]).parent), "GLOG_minloglevel": "0"})
    models = snapshots(folder, "caffemodel")
    if total not in models:
        return INTERRUPTED
    points = [{"seconds": clock.seconds(model.stat().st_mtime), "images": iteration * BATCH,
               **test(args, model, folder, imdb, iteration * BATCH)}
              for iteration, model in models.items()]
    write_json(args.output / "points.json", points)
    return 0


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = peer_parser(__doc__ or "").parse_args(argv)
    args.output = writable_folder(args.output, "--output").resolve()
    with FolderLock(args.output):
        return train(args)


if __name__ == "__main__":
    sys.exit(main())
