"""The tasks that growth.py runs in separate processes: synthetic data sets, start-up, training iterations."""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.imdb import imdb
from datasets.lazy_roidb import objects_roidb
from datasets.roidb import Entry
from measuring import anonymous_mb
from utils.ragged import Ragged, Spool

ROOT = Path(__file__).resolve().parents[2]
SOLVER = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "stage1_fast_rcnn_solver30k40k.pt"
CLASSES = ("__background__", *(f"class{label}" for label in range(1, 21)))      # as many as in the shipped nets
OBJECTS = 3                     # per image
WIDTH, HEIGHT = 1000, 600       # of the synthetic images, in pixels
ITERATIONS, SECONDS = 10, 4.0   # limits for timing iterations: their number, and total seconds


def box_pool(count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(count, 4) boxes scattered around twenty places in turn, so that objects and proposals drawn from them overlap.
    """
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.7, (20, 2))
    places = np.hstack([corners, corners + rng.uniform(0.05, 0.3, (20, 2))]) * [width, height, width, height]
    moved = places[np.arange(count) % 20] + rng.uniform(-0.01, 0.01, (count, 4)) * width
    return np.clip(moved, 0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)


def image_names(count: int) -> list[str]:
    return [f"image_{index:06d}" for index in range(count)]


class SyntheticImages(imdb):
    """A data set of images without files, with OBJECTS objects each."""

    def __init__(self, count: int) -> None:
        super().__init__("synthetic", CLASSES)
        self.image_index = image_names(count)
        rng, counts = np.random.default_rng(1), np.full(count, OBJECTS)
        self._boxes = Ragged(box_pool(20000)[rng.integers(0, 20000, count * OBJECTS)], counts)
        self._labels = Ragged(rng.integers(1, len(CLASSES), count * OBJECTS).astype(np.int32), counts)

    def image_path_at(self, i: int) -> str:
        return f"/data/images/{self.image_index[i]}.jpg"

    def image_sizes(self) -> list[tuple[int, int]]:
        return [(WIDTH, HEIGHT)] * self.num_images

    def gt_roidb(self) -> list[Entry]:
        return objects_roidb(self._boxes, self._labels)


class Steps:
    """Measures the seconds of consecutive named steps, and the memory that they add."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before, self._last = anonymous_mb(), time.perf_counter()

    def done(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now

    def result(self) -> dict[str, Any]:
        """`steps`, total `seconds`, and the MB added since construction (`memory`)."""
        return {"steps": self.seconds, "seconds": sum(self.seconds.values()), "memory": anonymous_mb() - self._before}


def use_tiny_settings(side: int) -> None:
    """Set cfg to train Fast R-CNN with OHEM on one image per batch, `side` pixels on its shorter side."""
    import caffe
    from fast_rcnn.config import cfg_from_file, cfg_from_list, reset_cfg
    reset_cfg()
    cfg_from_file(ROOT / "experiments" / "cfgs" / "tiny.yml")
    cfg_from_list(["TRAIN.SCALES", f"[{side}]", "TRAIN.MAX_SIZE", str(2 * side), "TRAIN.IMS_PER_BATCH", "1",
                   "TRAIN.USE_OHEM", "True", "TRAIN.HAS_RPN", "False", "TRAIN.PROPOSAL_METHOD", "rpn"])
    caffe.set_mode_cpu()
    caffe.set_random_seed(0)


def write(folder: Path, images: int, proposals: int) -> dict[str, Any]:
    """Collect proposals for SyntheticImages and write their file, as tools/rpn_generate.py does."""
    from datasets.proposals_file import save_proposals
    pool, scores = box_pool(20000 + proposals), np.zeros(proposals, np.float32)
    starts = np.random.default_rng(2).integers(0, 20000, images)
    steps = Steps()
    with Spool((4,), np.float32) as boxes:
        for first in starts:
            boxes.append(pool[first:first + proposals])
        steps.done("gather")
        save_proposals(folder / "proposals.npz", list(boxes.ragged()), [scores] * images, image_names(images))
    steps.done("save")
    return steps.result()


def start(folder: Path, images: int) -> dict[str, Any]:
    """Start up Fast R-CNN training; also measures the median time of a minibatch entry."""
    from commands.data_set import use_proposals
    from fast_rcnn.checkpoints import run_fingerprint
    from fast_rcnn.train import SolverWrapper, filter_roidb, get_training_roidb
    use_tiny_settings(600)
    file, steps = folder / "proposals.npz", Steps()
    data = SyntheticImages(images)
    steps.done("data set")
    run_fingerprint(SOLVER, None, file, data)
    steps.done("fingerprint")
    use_proposals(data, "rpn", str(file))
    steps.done("proposals")
    roidb = get_training_roidb(data)
    steps.done("mirror, prepare")
    roidb = filter_roidb(roidb)
    steps.done("filter")
    layer = SolverWrapper(SOLVER, roidb, folder).solver.net.layers[0]
    steps.done("solver, targets")
    return {**steps.result(), "entry": median_seconds(lambda number: layer.batch_entries(number), 200)}


def files(folder: Path, images: int) -> dict[str, Any]:
    """Read, check and fingerprint a data set in VOC layout whose files are in the page cache."""
    from datasets.factory import get_imdb
    from fast_rcnn.checkpoints import data_digest
    write_voc_folder(folder / "voc", images)
    steps = Steps()
    data = get_imdb(f"{folder / 'voc'}:trainval")
    data.validate()
    data.summary()
    steps.done("read, check")
    data_digest(data)
    steps.done("fingerprint")
    return steps.result()


def write_voc_folder(folder: Path, images: int) -> None:
    """Write small PNG files, and annotations with OBJECTS objects each."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    image = cv2.imencode(".png", np.zeros((60, 100, 3), np.uint8))[1].tobytes()
    names = image_names(images)
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names))
    for number, name in enumerate(names):
        objects = "".join(
            f"<object><name>{CLASSES[1 + (number + k) % 20]}</name><difficult>0</difficult><bndbox><xmin>{1 + k}</xmin>"
            f"<ymin>2</ymin><xmax>{50 + number % 50}</xmax><ymax>60</ymax></bndbox></object>" for k in range(OBJECTS))
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        (folder / "JPEGImages" / f"{name}.png").write_bytes(image)


def iterate(folder: Path, side: int, rois: int) -> dict[str, Any]:
    """Train the Tiny net with OHEM on one image of side x 4/3 side pixels with `rois` RoIs; the median iteration."""
    from datasets.lazy_roidb import with_proposals
    from fast_rcnn.train import SolverWrapper
    use_tiny_settings(side)
    width, path = side * 4 // 3, folder / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(3).integers(0, 256, (side, width, 3)).astype(np.uint8))
    pool = box_pool(rois, width, side)
    objects = objects_roidb([pool[:OBJECTS]], [np.arange(1, OBJECTS + 1, dtype=np.int32)])
    [entry] = with_proposals(objects, [pool[OBJECTS:]])
    entry.update(image=str(path), width=width, height=side)
    solver = SolverWrapper(SOLVER, [entry], folder).solver
    seconds = median_seconds(lambda number: solver.step(1), ITERATIONS)
    return {"seconds": seconds, "rois": solver.net.blobs["rois"].shape[0]}


def median_seconds(do: Callable[[int], object], most: int) -> float:
    """Median time of do(0), do(1), ..., after two warm-up calls, over at most `most` calls and SECONDS."""
    for number in range(2):
        do(number)
    times: list[float] = []
    while len(times) < most and sum(times) < SECONDS:
        begin = time.perf_counter()
        do(len(times))
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"write": write, "start": start, "files": files, "iterate": iterate}
