#!/usr/bin/env python3
"""Time and memory to load a caffemodel of 528 MB.

    python experiments/benchmarks/load_model.py [--report] [--width 1.0]

writes a caffemodel of VGG16's size into a temporary folder. Then, each in a separate process and with the file in the
page cache, it builds the net without weights, builds it with the weights, and parses the file with protobuf alone.
Prints the seconds of each, its anonymous memory at the end and at its peak (mapped pages of the file, which the system
may drop at any time, do not count), and the ratios. `--report` writes load_model.md next to this program;
`--width 0.3` makes all layers narrower, for a quick look.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]
import _init_paths  # noqa: E402, F401
import caffe  # noqa: E402
from caffe import layers as L  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from caffe.proto.prototxt import write_message  # noqa: E402
from measuring import add_report_option, anonymous_mb, in_a_process, publish  # noqa: E402

GOAL_SECONDS = 1.5
MB = 2 ** 20


def vgg16(width: float) -> caffe_pb2.NetParameter:
    """VGG16 for 224 x 224 images, with all numbers of outputs scaled by `width`."""
    def count(outputs: int) -> int:
        return max(1, int(outputs * width))

    net = caffe.NetSpec()
    net.data = top = L.Input(shape=[{"dim": [1, 3, 224, 224]}])
    for block, (outputs, repeats) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for index in range(1, repeats + 1):
            top = L.Convolution(top, num_output=count(outputs), kernel_size=3, pad=1)
            net[f"conv{block}_{index}"] = top
            top = net[f"relu{block}_{index}"] = L.ReLU(top, in_place=True)
        top = net[f"pool{block}"] = L.Pooling(top, kernel_size=2, stride=2)
    for name, outputs in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        top = net[name] = L.InnerProduct(top, num_output=count(outputs))
    return net.to_proto()


def write_files(folder: Path, width: float) -> None:
    """Write net.pt, and net.caffemodel with random weights."""
    write_message(folder / "net.pt", vgg16(width))
    net = caffe.Net(str(folder / "net.pt"), caffe.TEST)
    for blob in net.learnable_params:
        blob.tensor.uniform_(-0.01, 0.01)
    net.save(str(folder / "net.caffemodel"))


# ---- the tasks, each run in a separate process
def net_alone(folder: Path) -> object:
    """The net as initialised by its fillers."""
    return caffe.Net(str(folder / "net.pt"), caffe.TEST)


def net_with_weights(folder: Path) -> object:
    """The net with the file's weights."""
    return caffe.Net(str(folder / "net.pt"), caffe.TEST, weights=str(folder / "net.caffemodel"))


def protobuf_alone(folder: Path) -> object:
    """The file as a protobuf message, without copying its floats into arrays."""
    return caffe_pb2.NetParameter.FromString((folder / "net.caffemodel").read_bytes())


TASKS: dict[str, Callable[[Path], object]] = {
    "net alone": net_alone, "net with weights": net_with_weights, "protobuf alone": protobuf_alone}


def measure(task: Callable[[Path], object], folder: Path) -> dict[str, float]:
    """Run a task; returns its seconds, and the MB in use before it and added by it."""
    before, start = anonymous_mb(), time.perf_counter()
    result = task(folder)
    seconds, after = time.perf_counter() - start, anonymous_mb()
    del result
    return {"seconds": seconds, "before": before, "memory": after - before}


def measured(name: str, folder: Path) -> dict[str, float]:
    """Run `measure` in a separate process; `peak` is the memory added at the peak."""
    found = in_a_process(__file__, "--task", name, "--folder", str(folder))
    return {**found, "peak": found["peak"] - found["before"]}


# ---- the report
def report(found: dict[str, dict[str, float]], size: float) -> str:
    rows = [f"| {name} | {row['seconds']:.2f} | {row['memory']:.0f} | {row['peak']:.0f} |"
            for name, row in found.items()]
    alone, loaded, parsed = (found[name] for name in TASKS)
    return "\n".join([
        f"# Loading a caffemodel of {size:.0f} MB", "",
        "| | seconds | memory, MB | peak, MB |", "|---|---|---|---|", *rows, "",
        f"Net with weights / protobuf alone: {loaded['seconds'] / parsed['seconds']:.2f} of the time, "
        f"{loaded['peak'] / max(parsed['peak'], 1):.2f} of the peak memory. The weights add "
        f"{loaded['seconds'] - alone['seconds']:.2f} s and {loaded['memory'] - alone['memory']:.0f} MB to the net "
        f"alone, {loaded['peak'] - alone['peak']:.0f} MB at the peak. The goal is {GOAL_SECONDS} s: "
        f"{'met' if loaded['seconds'] < GOAL_SECONDS else 'missed'}.", "",
        "Anonymous memory; the file is in the page cache. Command:", "",
        "```sh", "python experiments/benchmarks/load_model.py --report", "```", ""])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0,
                        help="factor for the number of outputs of all layers (default: 1.0)")
    add_report_option(parser, HERE / "load_model.md")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.task:
        print(json.dumps(measure(TASKS[options.task], options.folder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, options.width)
        size = (folder / "net.caffemodel").stat().st_size / MB
        text = report({task: measured(task, folder) for task in TASKS}, size)
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
