"""Detection in one image (`im_detect`) and in a whole data set (`test_net`)."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.all_boxes import AllBoxes, evaluate_by_name, save_detections
from datasets.detection_files import DETECTIONS, safe_names
from datasets.diagnosis import known_truths
from datasets.imdb import imdb as Imdb
from fast_rcnn.bbox_transform import bbox_transform_inv, clip_boxes
from fast_rcnn.config import Config, cfg, check_one_scale, get_output_dir
from fast_rcnn.net_settings import settings_of
from fast_rcnn.nms_wrapper import nms, nms_gpu, nms_on
from roi_data_layer.pyramids import Pyramid, pyramids_ahead
from utils.blob import as_rows
from utils.boxes import box_areas
from utils.draw import draw_detections, draw_objects, write_image
from utils.errors import CheckError, NotFiniteError
from utils.images import ImageSettings, read_image
from utils.other_caffe import Net, span
from utils.profiling import profiled
from utils.timer import Progress

ROI_SIDE = 224      # with several scales, each RoI uses the one at which its area is closest to ROI_SIDE ** 2 pixels


@dataclass(frozen=True)
class DetectionSettings:
    """How a net is used for detection; names as in cfg.TEST."""

    images: ImageSettings
    has_rpn: bool
    svm: bool
    bbox_reg: bool
    nms: float = field(compare=False)                           # applied after the net: see `settings_of`
    dedup_boxes: float
    nms_gpu: int | None = field(default=None, compare=False)    # GPU for NMS; None: the CPU
    rows: str = ""              # output that lists the detections, see `detections_in_rows`; '': scores and boxes

    @classmethod
    def from_cfg(cls, settings: Config) -> DetectionSettings:
        """The settings in a cfg tree."""
        test = settings.TEST
        return cls(ImageSettings.from_cfg(settings, "TEST"), test.HAS_RPN, test.SVM, test.BBOX_REG, test.NMS,
                   settings.DEDUP_BOXES, nms_gpu(settings))

    @property
    def scores(self) -> str:
        """Name of the blob with the class scores of the RoIs."""
        return "cls_score" if self.svm else "cls_prob"

    def for_rows(self, output: str, size: tuple[int, int]) -> DetectionSettings:
        """These settings for a net whose output lists the detections; `size` is (height, width) of its input."""
        images = replace(self.images, warp=size, scales=(min(size),), max_size=max(size))
        return replace(self, images=images, has_rpn=True, rows=output)


def im_detect(net: Net, im: np.ndarray, boxes: np.ndarray | None = None,
              settings: DetectionSettings | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Detect objects in an image: returns class scores and boxes.

    net       a test net with inputs `data` and `im_info` (with `has_rpn`) or `rois`, and the outputs `cls_prob` (with
              `svm` a blob `cls_score`) and, with `bbox_reg`, `bbox_pred`: four columns per class, or eight (background,
              object) for class-agnostic boxes
    im        (height, width, 3) BGR
    boxes     (R, 4) proposals in image pixels; None with `has_rpn`
    settings  default: those bound to the net (see `net_settings`), else those of cfg
    returns   scores (R, K), boxes (R, 4K) in image pixels; class 0 is the background
    Raises NotFiniteError if the net's outputs are NaN or infinite, CheckError if their widths differ from the above.
    """
    settings = settings or settings_of(net, DetectionSettings.from_cfg(cfg))
    return _detect(net, Pyramid.of(im, settings.images), boxes, settings)


def detect_together(net: Net, ims: Sequence[np.ndarray], num_classes: int, thresh: float,
                    settings: DetectionSettings | None = None) -> list[tuple[list[np.ndarray], float]]:
    """The final detections in images of equal size (height, width, 3) BGR, in one forward pass; needs `has_rpn`.

    Returns for each image the result of `detections_per_class`, without a limit, and the highest object score.
    """
    settings = settings or settings_of(net, DetectionSettings.from_cfg(cfg))
    images = [Pyramid.of(im, settings.images) for im in ims]
    if settings.rows:
        return [(detections_in_rows(rows, image.file_size, num_classes, thresh, 0), float(rows[:, 2].max(initial=0)))
                for rows, image in zip(_listed(net, images, settings), images, strict=True)]
    return [(_final(scores, boxes, settings, num_classes, thresh, 0), float(scores[:, 1:].max(initial=0)))
            for scores, boxes in _propose_and_detect(net, images, settings)]


def _detect(net: Net, image: Pyramid, boxes: np.ndarray | None,
            settings: DetectionSettings) -> tuple[np.ndarray, np.ndarray]:
    if settings.has_rpn:
        return _propose_and_detect(net, [image], settings)[0]
    blobs = _get_blobs(image, boxes, settings)
    first, copies = find_duplicates(blobs["rois"], settings.dedup_boxes)
    scores, deltas = _outputs(net, {**blobs, "rois": blobs["rois"][first]}, settings)
    return scores[copies], _moved(np.asarray(boxes)[first], deltas, image, scores.shape[1])[copies]


def _propose_and_detect(net: Net, images: Sequence[Pyramid],
                        settings: DetectionSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and boxes of the net's own proposals in each image; all images have the same prepared size."""
    inputs = [_get_blobs(image, None, settings) for image in images]
    blobs = {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
    scores, deltas = _outputs(net, blobs, settings)
    rois, found = net.blobs["rois"].data, []
    for number, image in enumerate(images):
        rows = rois[:, 0] == number if len(images) > 1 else slice(None)
        own = rois[rows, 1:5] / np.float32(image.scales[0])
        found.append((scores[rows].copy(),
                      _moved(own, None if deltas is None else deltas[rows], image, scores.shape[1])))
    return found


def _outputs(net: Net, blobs: dict[str, np.ndarray],
             settings: DetectionSettings) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores (R, K) and, with `bbox_reg`, deltas (R, 4K) of the net's RoIs."""
    outputs = run_net(net, blobs)
    scores = net.blobs[settings.scores].data if settings.svm else outputs[settings.scores]
    scores = _finite(as_rows(scores), settings.scores)
    if not settings.bbox_reg:
        return scores, None
    return scores, _of_each_class(_finite(as_rows(outputs["bbox_pred"]), "bbox_pred"), scores.shape[1])


def _moved(rois: np.ndarray, deltas: np.ndarray | None, image: Pyramid, num_classes: int) -> np.ndarray:
    """Boxes (R, 4K) of all classes: RoIs (R, 4) in image pixels with the deltas, if any, applied."""
    if deltas is None:
        return np.tile(rois, (1, num_classes))
    return clip_boxes(bbox_transform_inv(rois, deltas), image.file_size)


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise NotFiniteError(f"the net's output {name} is NaN or infinite: its weights are bad, or PIXEL_MEANS and "
                             "PIXEL_STDS are not those it was trained with")
    return values


def _of_each_class(deltas: np.ndarray, num_classes: int) -> np.ndarray:
    """Deltas (R, 4K); class-agnostic ones, the last four of eight columns, are repeated for each class."""
    if deltas.shape[1] == 4 * num_classes:
        return deltas
    if deltas.shape[1] == 8:
        return np.tile(deltas[:, 4:], (1, num_classes))
    raise CheckError(f"bbox_pred has {deltas.shape[1]} columns, expected {4 * num_classes}, 4 for each of "
                     f"{num_classes} classes, or 8 for boxes that they share")


def find_duplicates(rois: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Find duplicate RoIs: those of the same level whose boxes are equal after round(box * factor). 0 finds none.

    rois     (R, 5) level, x1, y1, x2, y2
    returns  indices of the first RoI of each group (U,), sorted by rounded rows with the last column most significant,
             and the group of every RoI (R,)
    """
    if factor <= 0 or not len(rois):
        return np.arange(len(rois)), np.arange(len(rois))
    rows = np.column_stack([rois[:, 0], np.round(rois[:, 1:] * factor)])
    order = np.lexsort(rows.T)
    is_new = np.r_[True, (np.diff(rows[order], axis=0) != 0).any(axis=1)]
    places = np.empty(len(rois), np.int64)
    places[order] = np.cumsum(is_new) - 1
    return order[is_new], places


def _get_blobs(image: Pyramid, rois: np.ndarray | None, settings: DetectionSettings) -> dict[str, np.ndarray]:
    """The net's inputs for an image, with RoIs or (with `has_rpn`) im_info."""
    if settings.has_rpn:
        check_one_scale(settings.images.scales)
        return image.rpn_inputs()
    if rois is None:
        raise ValueError("im_detect needs boxes, or cfg.TEST.HAS_RPN and a net with a region proposal net")
    return {"data": image.data, "rois": _get_rois_blob(rois, image.scales)}


def _get_rois_blob(rois: np.ndarray, im_scales: np.ndarray) -> np.ndarray:
    """Rows (level, x1, y1, x2, y2) in pixels of the level at which the RoI's area is closest to ROI_SIDE ** 2.

    rois       (R, 4) in image pixels
    im_scales  (levels,)
    returns    (R, 5) float32
    """
    rois = rois.astype(np.float64)
    levels = np.abs(box_areas(rois)[:, None] * im_scales ** 2 - ROI_SIDE ** 2).argmin(axis=1)
    return np.column_stack([levels, rois * im_scales[levels, None]]).astype(np.float32)


def run_net(net: Net, blobs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a forward pass on inputs of any shape; returns the outputs."""
    for name, blob in blobs.items():
        net.blobs[name].reshape(*blob.shape)
    return net.forward(**{name: blob.astype(np.float32, copy=False) for name, blob in blobs.items()})


def detections_per_class(scores: np.ndarray, boxes: np.ndarray, num_classes: int, thresh: float,
                         nms_thresh: float, max_per_image: int,
                         suppress: Callable[[np.ndarray, float], list[int]] = nms) -> list[np.ndarray]:
    """The final detections of one image.

    For each class but the background, NMS is applied to the boxes that score above `thresh`. If more than
    max_per_image (0: no limit) remain over all classes, those below the max_per_image-th best score are dropped; ties
    are kept.

    scores    (R, K)
    boxes     (R, 4K)
    suppress  the NMS function; default: on the device set in cfg
    returns   for each class (n, 5) float32 x1, y1, x2, y2, score, by descending score; class 0 has none
    """
    detections = [np.zeros((0, 5), np.float32)]
    for label in range(1, num_classes):
        good = np.flatnonzero(scores[:, label] > thresh)
        dets = np.column_stack([boxes[good, 4 * label:4 * label + 4], scores[good, label]]).astype(np.float32)
        detections.append(dets[suppress(dets, nms_thresh)])
    return _best(detections, max_per_image)


def _best(detections: list[np.ndarray], max_per_image: int) -> list[np.ndarray]:
    """Drop an image's detections below the max_per_image-th best score over all classes (0: keep all)."""
    found = np.concatenate([dets[:, 4] for dets in detections])
    if 0 < max_per_image < len(found):
        cut = np.sort(found)[-max_per_image]
        detections = [dets[dets[:, 4] >= cut] for dets in detections]
    return detections


def detections_in_rows(rows: np.ndarray, size: tuple[int, int], num_classes: int, thresh: float,
                       max_per_image: int) -> list[np.ndarray]:
    """The final detections of one image, from a net that lists them.

    rows     (n, 7): image, class (0 is the background), score, x1, y1, x2, y2 relative to the image's width and height
    size     height and width of the image in pixels
    returns  as `detections_per_class`, which describes the other parameters; boxes are clipped to the image
    """
    height, width = size
    rows = rows[rows[:, 2] > thresh]
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]
    edges = rows[:, 3:].clip(0, 1) * np.array([width, height, width, height]) - (0, 0, 1, 1)
    found = np.column_stack([edges, rows[:, 2]]).astype(np.float32)
    return _best([found[rows[:, 1] == label] for label in range(num_classes)], max_per_image)


def _listed(net: Net, images: Sequence[Pyramid], settings: DetectionSettings) -> list[np.ndarray]:
    """The rows (n, 7) that the net lists for each image, see `detections_in_rows`."""
    output = run_net(net, {"data": np.concatenate([image.data for image in images])})[settings.rows]
    rows = _finite(output.reshape(-1, 7), settings.rows)
    return [rows[(rows[:, 0] == number) & (rows[:, 1] > 0)] for number in range(len(images))]   # label -1: no detection


def apply_nms(all_boxes: Sequence[Sequence[np.ndarray]], thresh: float) -> AllBoxes:
    """Apply NMS to stored detections of every class and image."""
    rows = [[np.asarray(dets, np.float32).reshape(-1, 5) for dets in images] for images in all_boxes]
    return [[dets[nms(dets, thresh, force_cpu=True)] for dets in images] for images in rows]


def test_net(net: Net, imdb: Imdb, max_per_image: int = 100, thresh: float = 0.05, vis: bool = False,
             output_dir: str | os.PathLike | None = None, profile: Path | None = None,
             settings: DetectionSettings | None = None, classes: Sequence[str] | None = None) -> Any:
    """Detect in all images of a data set, store the detections, and evaluate them.

    Writes output_dir/detections.npz (see `save_detections`), evaluation.json (see `evaluate_by_name`) and, with `vis`,
    each image with its detections and annotated objects drawn to output_dir/vis, named as the image (`safe_names`).
    max_per_image and thresh are those of `detections_per_class`; profile: see `profiled`.

    output_dir  default: get_output_dir(imdb, net)
    settings    default: those bound to the net (see `net_settings`), else those of cfg
    classes     names of the net's classes, background first; default: the data set's
    Returns what `evaluate_by_name` returns.
    """
    classes = tuple(classes or imdb.classes)
    output_dir = output_dir or get_output_dir(imdb, net)
    all_boxes: AllBoxes = [[] for _ in classes]
    settings = settings or settings_of(net, DetectionSettings.from_cfg(cfg))
    roidb = None if settings.has_rpn else imdb.roidb
    truths, names = (known_truths(imdb), safe_names(imdb.image_index)) if vis else (None, [])
    progress = Progress("im_detect", imdb.num_images)
    with pyramids_ahead(imdb, settings.images) as pyramids, profiled(net, profile, imdb.num_images) as iteration:
        for index in range(imdb.num_images):
            proposals = None if roidb is None else roidb[index]["boxes"][roidb[index]["gt_classes"] == 0]
            with iteration():
                with span("data wait"):
                    image = next(pyramids)
                detections = _detections(net, image, proposals, settings, len(classes), thresh, max_per_image)
            for of_class, dets in zip(all_boxes, detections, strict=True):
                of_class.append(dets)
            if vis:
                picture = read_image(imdb.image_path_at(index))
                if truths:
                    picture = draw_objects(picture, truths[index].boxes)
                write_image(Path(output_dir, "vis", f"{names[index]}.png"),
                            draw_detections(picture, detections, classes, thresh=0.3))
            progress.step()
    save_detections(Path(output_dir, DETECTIONS), all_boxes, imdb.image_index, classes)
    return evaluate_by_name(imdb, all_boxes, classes, output_dir)


def _detections(net: Net, image: Pyramid, proposals: np.ndarray | None, settings: DetectionSettings, num_classes: int,
                thresh: float, max_per_image: int) -> list[np.ndarray]:
    """The detections of each class in one image; none if it has no proposals (None: the net generates them)."""
    if proposals is not None and not len(proposals):
        return [np.zeros((0, 5), np.float32)] * num_classes
    if settings.rows:
        [rows] = _listed(net, [image], settings)
        return detections_in_rows(rows, image.file_size, num_classes, thresh, max_per_image)
    return _final(*_detect(net, image, proposals, settings), settings, num_classes, thresh, max_per_image)


def _final(scores: np.ndarray, boxes: np.ndarray, settings: DetectionSettings, num_classes: int, thresh: float,
           max_per_image: int) -> list[np.ndarray]:
    with span("NMS of classes"):
        return detections_per_class(scores, boxes, num_classes, thresh, settings.nms, max_per_image,
                                    partial(nms_on, settings.nms_gpu))
