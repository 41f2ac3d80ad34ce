#!/usr/bin/env python3
"""Overhead of an iteration beyond its arithmetic: training stages of VGG16 with 4 channels, on one CPU thread.

    python experiments/benchmarks/overhead.py --report

The nets have all layers of VGG16, but so few channels, pixels and RoIs that there is almost nothing to compute. What
remains is the time to dispatch layers, look up arrays and call PyTorch. A GPU stays busy only if this takes less time
than its own work. For comparison, the same step is measured in plain PyTorch (eager, autograd; vgg16_parts/plain.py)
with images prepared beforehand; ours includes its data layer. Prints a table; --report writes overhead.md.
"""
from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from cpu import processor
from vgg16_parts import ours, plain
from vgg16_parts.job import NUM_CLASSES, Job

import caffe
from alt_opt.nets import RunNets, find_nets
from caffe.proto import prototxt
from measuring import add_report_option, positive, publish, seconds

HERE = Path(__file__).resolve().parent
ROWS = {"stage1_rpn": "stage 1 RPN, 1 image", "stage1_fast_rcnn": "stage 1 Fast R-CNN with OHEM, 1 image"}
WIDE, CHANNELS = (64, 128, 256, 512, 4096), 4       # num_output of a layer that is one of WIDE becomes CHANNELS
STEPS = 20          # timed together


def narrow_nets(row: str, folder: Path) -> RunNets:
    """Write VGG16's nets for a stage into a folder, with CHANNELS channels."""
    def nets(models: str | None) -> RunNets:
        return find_nets("VGG16", NUM_CLASSES, True, models, ours.ROOT / "models", folder)

    for path in nets(None).train_net(row).parent.glob("*.pt"):
        if "solver" in path.name:
            param = prototxt.read_solver(path)
            param.train_net = str(folder / Path(param.train_net).name)
        else:
            param = prototxt.read_net(path)
            for layer in param.layer:
                for outputs in (layer.convolution_param, layer.inner_product_param):
                    if outputs.num_output in WIDE:
                        outputs.num_output = CHANNELS
        (folder / path.name).write_text(prototxt.to_text(param), encoding="utf-8")
    return nets(str(folder))


def milliseconds(row: str, options: argparse.Namespace) -> list[float]:
    """Milliseconds per step of plain PyTorch and of our engine."""
    height, width = options.size
    job = Job("ours", row, "float32", "VGG16", height, width, options.rois, 0, options.iterations, 0, True, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nets = narrow_nets(row, folder)
        ours.apply_settings(job, folder)
        net, step = ours.training(job, folder, nets, ours.write_weights(nets, row, folder))
        other = plain.make_step(job, lambda: plain.Detector([CHANNELS] * 5, CHANNELS))
        found = seconds(options.iterations, repeated(other), repeated(step))
        net.layers[0].close()
    return [1000 * time / STEPS for time in found]


def repeated(step: Callable[[], object]) -> Callable[[], None]:
    """A function that runs STEPS steps."""
    def steps() -> None:
        for _ in range(STEPS):
            step()
    return steps


def report(options: argparse.Namespace) -> str:
    """The report as Markdown."""
    lines = [f"# Overhead of an iteration: VGG16 with {CHANNELS} channels, {options.size[0]} x "
             f"{options.size[1]} pixels, {options.rois} RoIs", "",
             f"{processor()}, one thread, load {os.getloadavg()[0]:.1f}. Milliseconds per step, the minimum of "
             f"{options.iterations} means over {STEPS} steps; the ratio is plain PyTorch's time over ours.", "",
             "| step | plain PyTorch | ours | ratio |", "|---|---|---|---|"]
    for row, title in ROWS.items():
        other, own = milliseconds(row, options)
        lines.append(f"| {title} | {other:.2f} | {own:.2f} | {other / own:.2f} |")
    command = "python experiments/benchmarks/overhead.py --report"
    return "\n".join([*lines, "", "Command:", "", "```sh", command, "```", ""])


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", type=positive, nargs=2, default=[64, 96], metavar=("HEIGHT", "WIDTH"),
        help="of the images, in pixels (default: 64 96)")
    add("--rois", type=positive, default=16, metavar="N", help="proposals per image (default: 16)")
    add("--iterations", type=positive, default=10, metavar="N",
        help=f"number of measurements, of {STEPS} steps each (default: 10)")
    add_report_option(parser, HERE / "overhead.md")
    options = parser.parse_args(argv)
    caffe.set_mode_cpu()
    torch.set_num_threads(1)
    text = report(options)
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
