"""Our side: training stages with their data layer, proposals and detection, as the tools run them."""
from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch

import caffe
from alt_opt.nets import RunNets, find_nets
from alt_opt.settings import stage_settings, write_settings
from commands.detector import DetectorFiles, load_rpn
from datasets.roidb import merge_entries, objects_entry, proposals_entry
from fast_rcnn.config import cfg, cfg_from_file
from fast_rcnn.detector_record import detector_settings
from fast_rcnn.test import detections_per_class, im_detect
from fast_rcnn.train import SolverWrapper
from rpn.generate import im_proposals
from utils.other_caffe import has_bfloat16, keep_freed_memory
from vgg16_parts.floor import count_work
from vgg16_parts.job import NUM_CLASSES, TRAINED, Job, Missing, Scene, scenes, seconds_a_step, use_device

ROOT = Path(__file__).resolve().parents[3]
_PIXEL_SPREAD = 60          # standard deviation of an image's pixels
_MANY = 1_000_000           # iterations: so many that caching features pays off
_TINY_RATE = 1e-9           # learning rate at which random weights do not diverge; the update costs the same


def measure(job: Job) -> dict[str, float]:
    """Seconds, peak memory in MB, FLOPs and bytes per step. Raises Missing if the precision is unavailable."""
    trains = job.row in TRAINED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        apply_settings(job, folder)
        nets = find_nets(job.net, NUM_CLASSES, True, None, ROOT / "models", folder / "models")
        weights = write_weights(nets, job.row, folder)
        use_device(job)
        set_precision(job.precision)
        if job.row != "detection":          # as the tools do
            keep_freed_memory()
        net, step = (training if trains else _testing)(job, folder, nets, weights)
        seconds = seconds_a_step(step, job)
        peak = caffe.peak_memory_mb()       # read before count_work runs the step once more
        work = count_work(net, step, updates=trains)
        if trains:
            net.layers[0].close()
    return {"seconds": seconds, "peak_mb": peak, "flops": work.flops, "bytes": work.bytes(job.precision)}


def set_precision(precision: str) -> None:
    """Set caffe's precision. Raises Missing if it is unavailable."""
    choose = getattr(caffe, "set_precision", None)
    if choose is None:
        if precision != "float32":
            raise Missing("this caffe has no set_precision")
        return
    try:
        choose(precision)
    except (ValueError, RuntimeError) as error:
        raise Missing(str(error)) from None
    if precision == "bfloat16" and has_bfloat16() is False:
        raise Missing("this device has no bfloat16 instructions; ours would compute in float32")


def apply_settings(job: Job, folder: Path) -> None:
    """Set cfg to the driver's settings for the row's step, with the job's sizes."""
    stage = 1 if job.row.startswith("stage1") else 2
    kind = "rpn" if "rpn" in job.row else "proposals" if job.row == "proposals" else "fast_rcnn"
    short, long = sorted((job.height, job.width))
    settings = stage_settings(kind, stage, True, {
        "TRAIN.SCALES": (short,), "TRAIN.MAX_SIZE": long, "TEST.SCALES": (short,), "TEST.MAX_SIZE": long,
        "TRAIN.RPN_POST_NMS_TOP_N": job.rois, "NUM_WORKERS": job.workers, "TRAIN.IMS_PER_BATCH": job.images})
    write_settings(folder / "cfg.yml", detector_settings(settings) if job.row == "detection" else settings)
    cfg_from_file(folder / "cfg.yml")


def write_weights(nets: RunNets, row: str, folder: Path) -> Path:
    """Write a caffemodel for the net of a row; returns its path.

    Layers that the prototxt leaves at zero, because they get ImageNet weights, are drawn with He initialisation on the
    CPU; the first layer is scaled down for pixels, so that activations are near 1.
    """
    caffe.set_mode_cpu()
    caffe.set_random_seed(cfg.RNG_SEED)
    test_nets = {"proposals": nets.rpn_test, "detection": nets.detector_test}
    net = (caffe.Net(str(test_nets[row]), caffe.TEST) if row in test_nets else
           caffe.Net(str(nets.train_net(row)), caffe.TRAIN))
    generator = torch.Generator().manual_seed(0)
    for number, blob in enumerate(net.learnable_params):
        if blob.num_axes > 1 and not blob.tensor.any():
            deviation = math.sqrt(2 * blob.shape[0] / blob.count) / (1 if number else _PIXEL_SPREAD)
            blob.tensor = torch.empty(blob.shape).normal_(0, deviation, generator=generator)
    net.save(str(folder / "random.caffemodel"))
    return folder / "random.caffemodel"


def training(job: Job, folder: Path, nets: RunNets, weights: Path) -> tuple[Any, Callable[[], object]]:
    """The net that is trained, and a function that runs one iteration of its solver, including the data layer."""
    roidb = [roidb_entry(scene, folder / f"{index}.jpg", job) for index, scene in enumerate(scenes(job))]
    wrapper = SolverWrapper(nets.solver(job.row), roidb, folder, weights)
    if job.row.startswith("stage2"):        # as in the driver; in stage 1 this depends on the size of the data set
        wrapper.reuse_features(folder / "features", _MANY)
    wrapper.solver.param.base_lr = _TINY_RATE
    return wrapper.solver.net, lambda: wrapper.solver.step(1)


def roidb_entry(scene: Scene, path: Path, job: Job) -> dict[str, Any]:
    """Write a scene's image to `path`; returns its roidb entry."""
    cv2.imwrite(str(path), scene.image)
    objects = objects_entry(scene.boxes, scene.classes)
    entry = merge_entries(objects, proposals_entry(scene.proposals, objects)) if "fast_rcnn" in job.row else objects
    return {**entry, "image": str(path), "width": job.width, "height": job.height}


def _testing(job: Job, folder: Path, nets: RunNets, weights: Path) -> tuple[Any, Callable[[], object]]:
    """The test net, and a function that tests one image."""
    images = itertools.cycle(scene.image for scene in scenes(job))
    if job.row == "proposals":
        rpn = load_rpn(nets.rpn_test, weights)
        return rpn, lambda: im_proposals(rpn, next(images))
    net = DetectorFiles(str(nets.detector_test), str(weights)).load(NUM_CLASSES)
    return net, lambda: detections_per_class(*im_detect(net, next(images)), NUM_CLASSES, 0.05, cfg.TEST.NMS, 100)
