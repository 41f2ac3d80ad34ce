#!/usr/bin/env python3
"""Throughput of the data layer in minibatches per second, and how long a net that takes 30 per second waits for data.

    python experiments/benchmarks/data.py [--report] [--seconds 5]

writes JPEG files of 1000 x 600 pixels into a temporary folder and feeds them to a net with only a RoIDataLayer:
minibatches of 2 images with 2,000 RoIs each. They are prepared in line (without prefetching), by threads, or by 1 or 2
worker processes (TRAIN.USE_PREFETCH and NUM_WORKERS), and consumed in three ways: as fast as possible; every 33 ms by a
net that computes on another device (simulated by sleeping); and by a net that is busy in Python for 33 ms, and so
competes with threads for the GIL. Prints minibatches per second, the share of time that the net waits for data, and the
slowdown of the busy net. `--report` writes data.md next to this program.
"""
from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import _init_paths  # noqa: E402, F401
import caffe  # noqa: E402
from datasets.roidb import Entry  # noqa: E402
from fast_rcnn.config import cfg, reset_cfg  # noqa: E402
from measuring import add_report_option, publish  # noqa: E402

HEIGHT, WIDTH, IMAGES, ROIS, CLASSES = 600, 1000, 24, 2000, 21
PERIOD = 1 / 30             # seconds of computation per iteration
GOAL = 0.02                 # maximum share of the time spent waiting for data
WARM_UP = 1.0               # seconds for processes to start and the queue to fill
MODES = {"in line": (False, 0), "2 threads": (True, 0), "1 process": (True, 1), "2 processes": (True, 2)}
NET = """layer { name: "data" type: "Python" %s
  python_param { module: "roi_data_layer.layer" layer: "RoIDataLayer" param_str: "'num_classes': %d" } }
layer { name: "silence" type: "Silence" %s }"""
TOPS = "data", "rois", "labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights"


# ---- the data
def write_photograph(path: Path, rng: np.random.Generator) -> None:
    """Write a JPEG file of smooth noise, with about as many bytes as a photograph of its size."""
    coarse = rng.integers(0, 255, (HEIGHT // 20, WIDTH // 20, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image += rng.normal(0, 6, (HEIGHT, WIDTH, 3)).astype(np.int16)
    cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def make_roidb(folder: Path, images: int = IMAGES, rois: int = ROIS) -> list[Entry]:
    """Write images into a folder; returns their roidb with random RoIs, a tenth of them foreground."""
    rng = np.random.default_rng(0)
    roidb: list[Entry] = []
    for index in range(images):
        path = folder / f"{index:03d}.jpg"
        write_photograph(path, rng)
        corners = np.sort(rng.uniform(0, 1, (rois, 2, 2)), axis=1) * [WIDTH - 1, HEIGHT - 1]
        classes = np.where(rng.random(rois) < 0.1, rng.integers(1, CLASSES, rois), 0)
        targets = np.column_stack([classes, rng.normal(size=(rois, 4))]).astype(np.float32)
        roidb.append({"image": str(path), "width": WIDTH, "height": HEIGHT, "flipped": bool(index % 2),
                      "boxes": corners.reshape(rois, 4).astype(np.float32), "gt_classes": np.zeros(rois, np.int32),
                      "max_overlaps": np.where(classes > 0, 0.8, 0.2).astype(np.float32), "max_classes": classes,
                      "bbox_targets": targets})
    return roidb


def make_net(folder: Path, roidb: list[Entry], prefetch: bool, workers: int) -> Any:
    """A net that reads minibatches and discards them."""
    reset_cfg()
    cfg.TRAIN.USE_OHEM, cfg.TRAIN.BG_THRESH_LO = True, 0.0
    cfg.TRAIN.USE_PREFETCH, cfg.NUM_WORKERS = prefetch, workers
    path = folder / "net.pt"
    tops, bottoms = (" ".join(f'{kind}: "{name}"' for name in TOPS) for kind in ("top", "bottom"))
    path.write_text(NET % (tops, CLASSES, bottoms))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.layers[0].set_roidb(roidb)
    return net


# ---- consumers of the minibatches
def compute_elsewhere() -> None:
    """Simulate an iteration on another device."""
    time.sleep(PERIOD)


def count_to(number: int) -> None:
    """Simulate an iteration that holds the GIL."""
    while number:
        number -= 1


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def calibrate() -> tuple[int, float]:
    """The number that `count_to` counts to in PERIOD, and its median time in seconds."""
    trial = 200_000
    number = round(trial * PERIOD / min(seconds_of(lambda: count_to(trial)) for _ in range(20)))
    return number, statistics.median(seconds_of(lambda: count_to(number)) for _ in range(31))


def take(net: Any, seconds: float, compute: Callable[[], None]) -> dict[str, float]:
    """Consume minibatches for some seconds after a warm-up.

    Returns `rate`, minibatches per second; `wait`, the share of the time spent waiting for them; and the median seconds
    of the data layer's forward pass (`forward`) and of forward plus `compute` (`iteration`).
    """
    end = time.perf_counter() + WARM_UP
    while time.perf_counter() < end:
        net.forward()
        compute()
    net.layers[0].waits.take()
    forwards: list[float] = []
    iterations: list[float] = []
    while sum(iterations) < seconds:
        forwards.append(seconds_of(net.forward))
        iterations.append(forwards[-1] + seconds_of(compute))
    return {"rate": len(iterations) / sum(iterations), "wait": net.layers[0].waits.take()["wait"] / sum(iterations),
            "forward": statistics.median(forwards), "iteration": statistics.median(iterations)}


def measure(folder: Path, roidb: list[Entry], seconds: float) -> dict[str, dict[str, float]]:
    """Measure each mode.

    Returns for each `rate`, without computation; `wait` and `forward`, for a net that computes on another device; and
    `busy`, the busy net's seconds per iteration relative to its computation alone.
    """
    found = {}
    for mode, (prefetch, workers) in MODES.items():
        number, alone = calibrate()
        net = make_net(folder, roidb, prefetch, workers)
        fast, beside, busy = (take(net, seconds, compute)
                              for compute in (lambda: None, compute_elsewhere, lambda number=number: count_to(number)))
        net.layers[0].close()
        found[mode] = {"rate": fast["rate"], "wait": beside["wait"], "forward": beside["forward"],
                       "busy": busy["iteration"] / alone}
    return found


# ---- the report
def report(found: dict[str, dict[str, float]], load: float) -> str:
    rows = [f"| {mode} | {row['rate']:.0f} | {row['rate'] / found['in line']['rate']:.2f} | {row['wait']:.2%} "
            f"| {1000 * row['forward']:.2f} | {row['busy']:.2f} |" for mode, row in found.items()]
    last = found["2 processes"]
    return "\n".join([
        "# Data: prefetching minibatches", "",
        f"Minibatches of 2 images of {WIDTH} x {HEIGHT} pixels with {ROIS} RoIs each, on {os.cpu_count()} cores whose "
        f"load was {load:.1f} at the start"
        f"{': other programs ran too, so the ratios of the rows are rough' if load > 1 else ''}.", "",
        "| prepared | minibatches per second | relative to in line | wait at 30 per second | forward, ms "
        "| busy net, relative to its work alone |",
        "|---|---|---|---|---|---|", *rows, "",
        f"With 2 processes, a net that takes a minibatch every {1000 * PERIOD:.0f} ms waits for data "
        f"{last['wait']:.2%} of the time; the goal is less than {GOAL:.0%}: "
        f"{'met' if last['wait'] < GOAL else 'missed'}. 2 processes prepare "
        f"{last['rate'] / found['2 threads']['rate']:.2f} times as many minibatches as 2 threads.", "",
        "In line is without prefetching. Forward is the data layer's forward pass, including the wait. Command:", "",
        "```sh", "python experiments/benchmarks/data.py --report", "```", ""])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement (default: 5)")
    add_report_option(parser, HERE / "data.md")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = report(measure(folder, make_roidb(folder), options.seconds), load)
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
