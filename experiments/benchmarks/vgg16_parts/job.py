"""One measurement: the step, its images, and its timing."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

import caffe
from caffe.spans import Recorder
from measuring import ProcessFailed, in_a_process

# Images per step of each row, as lib/alt_opt/settings.py sets them for alternating optimisation
IMAGES_A_STEP = {"stage1_rpn": 1, "stage1_fast_rcnn": 2, "stage2_rpn": 1, "stage2_fast_rcnn": 2,
                 "proposals": 1, "detection": 1}
TRAINED = tuple(row for row in IMAGES_A_STEP if row.startswith("stage"))
PRECISIONS = ("float32", "tf32", "bfloat16")
NUM_CLASSES = 21
HARD_ROIS = 128         # RoIs that train Fast R-CNN per step, over all images
_SCENES = 8             # distinct images
_OBJECTS = 5            # per image


class Missing(Exception):
    """A measurement is not possible here; the message says why."""


@dataclass(frozen=True)
class Job:
    """What to measure, and how.

    side           'ours', 'torchvision', 'plain', or 'rates' of the machine
    height, width  of an image, in pixels
    rois           RoIs per image
    workers        worker processes that read images
    iterations     number of measured steps, after `warm_up` others
    batch          images per step; 0: as in IMAGES_A_STEP
    """

    side: str
    row: str
    precision: str
    net: str
    height: int
    width: int
    rois: int
    workers: int
    iterations: int
    warm_up: int
    cpu: bool
    batch: int = 0

    @property
    def images(self) -> int:
        """Images per step."""
        return self.batch or IMAGES_A_STEP[self.row]


@dataclass(frozen=True)
class Scene:
    """A synthetic image (H, W, 3), uint8 BGR; boxes (N, 4) and classes (N,) of its objects; proposals (R, 4)."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    proposals: np.ndarray


def scenes(job: Job) -> list[Scene]:
    """Synthetic images, equal for all jobs of the same size; half of the proposals are near objects."""
    rng = np.random.default_rng(0)
    return [_scene(rng, job.height, job.width, job.rois) for _ in range(_SCENES)]


def _scene(rng: np.random.Generator, height: int, width: int, rois: int) -> Scene:
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).astype(np.uint8)
    boxes = _random_boxes(rng, _OBJECTS, height, width)
    near = boxes[rng.integers(0, _OBJECTS, rois // 2)]
    jitter = rng.normal(0, 0.15, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
    proposals = _sorted_inside(np.concatenate([near + jitter, _random_boxes(rng, rois - len(near), height, width)]),
                               height, width)
    return Scene(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), boxes,
                 rng.integers(1, NUM_CLASSES, _OBJECTS), proposals)


def _random_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    return _sorted_inside(rng.uniform(0, 1, (count, 4)) * (width, height, width, height), height, width)


def _sorted_inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 4) float32 boxes inside the image, at least 16 pixels wide and high."""
    low = np.minimum(boxes[:, :2], boxes[:, 2:]).clip(0, (width - 17, height - 17))
    high = np.maximum(np.maximum(boxes[:, :2], boxes[:, 2:]), low + 16).clip(0, (width - 1, height - 1))
    return np.hstack([low, high]).astype(np.float32)


def measured(program: str, job: Job) -> dict[str, Any]:
    """Result of `program --job` in a separate process; {"missing": reason} if it fails."""
    try:
        found = in_a_process(program, "--job", json.dumps(asdict(job)), interval=0.05)
    except ProcessFailed as failed:
        return {"missing": failed.reason}
    return {key: value for key, value in found.items() if key != "peak"}      # jobs report peak_mb themselves


def use_device(job: Job) -> None:
    """Select caffe's device for the job. Raises Missing if there is no GPU."""
    if job.cpu:
        caffe.set_mode_cpu()
    elif caffe.has_gpu():
        caffe.set_device(0)
        caffe.set_mode_gpu()
    else:
        raise Missing("PyTorch sees no CUDA GPU here; --cpu runs on the CPU")


def seconds_a_step(step: Callable[[], object], job: Job) -> float:
    """Mean seconds per step over consecutive steps after the warm-up; timed with CUDA events on a GPU."""
    for _ in range(job.warm_up):
        step()
    recorder = Recorder()
    for _ in range(job.iterations):
        with recorder.span("step"):
            step()
    steps = recorder.take()
    return (steps[-1].stop - steps[0].start) / len(steps)
