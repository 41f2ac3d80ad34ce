"""The Python layers of training nets: `RoIDataLayer` feeds minibatches, `OHEMDataLayer` picks the hard RoIs.

They are adapters: the computations are in minibatch.py, order.py and ohem.py. Custom mining rules derive from
`HardRoIMiner`. Layers read cfg when the net is built; later changes to cfg do not affect them.
"""
from __future__ import annotations

import copy
import math
import time
from collections.abc import Collection, Sequence

import numpy as np

import caffe
from datasets.lazy_roidb import annotated, as_dict
from datasets.roidb import Entry
from fast_rcnn.bbox_transform import num_box_classes
from fast_rcnn.config import cfg
from fast_rcnn.nms_wrapper import nms_gpu
from roi_data_layer import ohem_tensors
from roi_data_layer.crops import crop_entries, size_seen
from roi_data_layer.features import FeatureReader, KnownImages
from roi_data_layer.gallery import Choice
from roi_data_layer.minibatch import Blobs, MinibatchSettings, draw_sizes, get_allrois_minibatch, get_minibatch
from roi_data_layer.ohem import add_random_rois, roi_losses, select_hard_rois
from roi_data_layer.order import BatchOrder
from roi_data_layer.prefetch import ImageFeed, Waits
from roi_data_layer.sampling import RoISettings
from utils.blob import as_rows, im_scale_for
from utils.images import Reader, most_pixels, read_in_line
from utils.layer_params import class_count
from utils.names import BOX_BLOBS, HARD, ROI_BLOBS, RPN_BLOBS
from utils.other_caffe import (
    Blob,
    FrozenPrefix,
    SettingError,
    Tensor,
    as_tensor,
    blob_list,
    blob_shape,
    is_on_gpu,
    set_blobs,
    set_tensors,
    span,
)
from utils.python_layer import RandomLayer, check_count, layer_name, layer_setting, pass_number


class RoIDataLayer(caffe.Layer):
    """Minibatches of images and RoIs. No bottoms; param_str "'num_classes': K", or 2 with TRAIN.AGNOSTIC.

    Tops, in this order:
      with TRAIN.HAS_RPN  data, im_info, gt_boxes
      otherwise           data, rois, labels and, if TRAIN.BBOX_REG, bbox_targets, bbox_inside_weights,
                          bbox_outside_weights; sampled RoIs, or all of them with TRAIN.USE_OHEM
    Their contents are described in roi_data_layer/minibatch.py.

    `set_roidb` must be called before the first forward. Minibatch i depends on cfg.RNG_SEED, i and the roidb only;
    `seek(i)` makes it the next one. TRAIN.USE_PREFETCH prepares minibatches in the background, with NUM_WORKERS
    processes for the images; `waits` records how long forward waited for them. With N training processes, process r
    takes minibatches r, N + r, 2N + r, ...; each numbers its own.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._num_classes = layer_setting(self, class_count)
        self._settings = MinibatchSettings.from_cfg(cfg)
        self._feed: ImageFeed[Blobs] | None = None
        self._order: BatchOrder | None = None
        self.iteration = 0      # number of the minibatch of the next forward pass
        self.waits = Waits()
        self._known: KnownImages | None = None
        shapes = _data_shapes(self._settings, self._num_classes)
        _check_count(self, "tops", top, shapes)
        self._tops = list(shapes)
        for blob, shape in zip(blob_list(top), shapes.values(), strict=True):
            blob.reshape(*shape)

    def set_roidb(self, roidb: Sequence[Entry]) -> None:
        """Train on these entries, from minibatch 0. Raises ValueError for a class beyond num_classes."""
        highest = max((int(annotated(entry)["max_classes"].max(initial=0)) for entry in roidb), default=0)
        if highest >= self._num_classes and not self._settings.agnostic:
            raise SettingError(f"{layer_name(self)}: the roidb has a RoI of class {highest}, but num_classes "
                             f"is {self._num_classes}: in the prototxt, set it to the data set's number of "
                             "classes, background included")
        settings, images = self._settings, self._settings.images
        wide = np.array([entry["width"] >= entry["height"] for entry in roidb], bool)
        self._roidb = list(roidb)
        self._order = BatchOrder(len(roidb), settings.ims_per_batch, settings.seed,
                                 wide if settings.aspect_grouping else None)
        self.close()
        if settings.use_prefetch:
            self._feed = ImageFeed(self._make_own, images.workers, settings.ims_per_batch,
                                   most_pixels(images.largest_sizes, images.max_size))
        self.seek(0)

    def seek(self, iteration: int) -> None:
        """Make `iteration` the next minibatch; to resume training."""
        self.iteration = iteration
        if self._feed:
            self._feed.seek(iteration)

    def use_features(self, prefix: FrozenPrefix) -> None:
        """Report the images of each minibatch to the net's `prefix` (see features.py), and do not read cached ones.

        To be called before the first forward.
        """
        self._known = KnownImages(prefix)

    def batch_entries(self, iteration: int) -> list[Entry]:
        """The roidb entries of a minibatch; with TRAIN.CROP those of the crops."""
        return list(self._cropped(iteration, self._rng(iteration)))

    def _entries(self, iteration: int) -> list[Entry]:
        if self._order is None:
            raise RuntimeError(f"{layer_name(self)}: no training data; call set_roidb before forward")
        return [as_dict(self._roidb[index]) for index in self._order[iteration]]

    def _cropped(self, iteration: int, rng: np.random.Generator) -> Sequence[Entry]:
        return crop_entries(self._entries(iteration), self._settings.crop, rng)

    def batch_scales(self, iteration: int) -> list[float]:
        """The scale of each image of a minibatch: pixels of the net's input per pixel of the file."""
        rng, images = self._rng(iteration), self._settings.images
        entries = self._cropped(iteration, rng)
        sizes = draw_sizes(len(entries), images, rng)
        return [im_scale_for(*size_seen(entry), size, images.max_size)
                for entry, size in zip(entries, sizes, strict=True)]

    def _rng(self, iteration: int) -> np.random.Generator:
        return np.random.default_rng([self._settings.seed, 1, iteration])

    def make_minibatch(self, iteration: int, read: Reader = read_in_line) -> Blobs:
        """Blobs of any minibatch, with images prepared by `read`; does not change the layer."""
        all_rois = self._settings.use_ohem and not self._settings.has_rpn
        make = get_allrois_minibatch if all_rois else get_minibatch
        rng = self._rng(iteration)
        entries = self._entries(iteration)
        if self._known is None:
            return make(entries, self._num_classes, self._settings, rng, read)
        reader = FeatureReader(read, self._known)
        blobs = make(entries, self._num_classes, self._settings, rng, reader)
        return {**blobs, "image_keys": np.array(reader.keys), "image_sizes": np.array(reader.sizes),
                "absent_images": np.array(reader.absent, np.int64)}

    def _make_own(self, iteration: int, read: Reader = read_in_line) -> Blobs:
        """Blobs of this process's minibatch `iteration`."""
        return self.make_minibatch(pass_number(iteration), read)

    def close(self) -> None:
        """Stop background work; later minibatches are prepared synchronously."""
        if self._feed:
            self._feed.close()
            self._feed = None

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Shapes depend on the minibatch: forward sets them."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        ready, start = self._feed.ready if self._feed else 0, time.perf_counter()
        with span("data wait"):
            blobs = self._feed.next() if self._feed else self._make_own(self.iteration)
        self.waits.add(time.perf_counter() - start, ready)
        self.iteration += 1
        set_blobs(top, [blobs[name] for name in self._tops])
        if self._known:
            self._known.prefix.next_batch(*(blobs[name].tolist()
                                            for name in ("image_keys", "image_sizes", "absent_images")))

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Data has no gradient."""


class HardRoIMiner(RandomLayer, caffe.Layer):
    """Base of the layers that choose the RoIs to train on. A mining rule is a subclass with one method, `choose`.

    Bottoms: cls_prob (R, K), bbox_pred (R, 4K), rois (R, 5), labels (R,) and, if TRAIN.BBOX_REG, bbox_targets,
    bbox_inside_weights, bbox_outside_weights (R, 4K); with TRAIN.AGNOSTIC boxes have 8 columns. Tops: rois_hard,
    labels_hard and, if TRAIN.BBOX_REG, bbox_targets_hard, bbox_inside_weights_hard, bbox_outside_weights_hard: the
    chosen rows of the bottoms.
    param_str "'num_classes': K"; a rule may read other entries, after the setup of this class.
    There is no gradient: the prototxt must set `propagate_down: false` for every bottom.

    batch_size       TRAIN.BATCH_SIZE: number of RoIs to choose, from all images together
    iter_size        forward passes per iteration of the solver; SolverWrapper sets it
    has_tensor_rule  whether there is a `choose_tensors`, which avoids fetching values from the GPU
    choices          if a list, each forward pass appends its `Choice` (see gallery.py)
    """

    batch_size: int
    iter_size = 1
    has_tensor_rule = False
    choices: list[Choice] | None = None
    _losses: tuple[np.ndarray | Tensor, ...] = ()       # of all and of hard RoIs in the last forward

    def choose(self, losses: np.ndarray, rois: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The mining rule: indices of the RoIs to train on, in the order of the tops' rows.

        losses  (R,) float64, the loss of each RoI (see `ohem.roi_losses`)
        rois    (R, 5) image index, x1, y1, x2, y2 in pixels of the scaled image
        labels  (R,) classes, 0 for the background
        """
        raise NotImplementedError

    def choose_tensors(self, losses: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
        """As `choose`, on the GPU and without synchronising with it."""
        raise NotImplementedError

    @property
    def iteration(self) -> int:
        """Number of the solver iteration that this forward pass belongs to, from 0."""
        return self._passes // self.iter_size

    @property
    def stats(self) -> dict[str, float]:
        """Mean loss of all RoIs and of the hard ones in the last minibatch, for the training log.

        It synchronises with the GPU, so the log reads it only when it prints a line.
        """
        return {name: float(losses.mean()) for name, losses in zip(("all RoIs", "hard"), self._losses, strict=False)
                if len(losses)}

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        num_classes = layer_setting(self, class_count)
        train = copy.deepcopy(cfg.TRAIN)
        self.batch_size, self._seed = train.BATCH_SIZE, cfg.RNG_SEED
        roi_shapes = _roi_shapes(train.BBOX_REG, num_box_classes(num_classes, train.AGNOSTIC))
        shapes = {f"{name}{HARD}": shape for name, shape in roi_shapes.items()}
        _check_count(self, "tops", top, shapes)
        self.bottom_names = ["cls_prob", "bbox_pred", *roi_shapes]
        _check_count(self, "bottoms", bottom, self.bottom_names)
        for blob, shape in zip(blob_list(top), shapes.values(), strict=True):
            blob.reshape(*shape)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Shapes depend on the selection: forward sets them."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        _check_rows(self, bottom)
        if self.has_tensor_rule and is_on_gpu(bottom[0]):
            self._forward_on_gpu(bottom, top)
        else:
            self._forward_on_host(bottom, top)
        self._passes += 1

    def _forward_on_host(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        cls_prob, bbox_pred, *rows = (blob.data for blob in blob_list(bottom))
        rois, labels, *boxes = rows
        losses = roi_losses(cls_prob, labels, *([bbox_pred, *boxes] if boxes else []))
        hard = _as_indices(self, self.choose(losses, as_rows(rois), labels.reshape(-1)), len(losses))
        self._losses = (losses, losses[hard])
        set_blobs(top, [values[hard] for values in rows])
        if self.choices is not None:
            self.choices.append(Choice(self._passes, self._losses[1], as_rows(rois)[hard], labels.reshape(-1)[hard]))

    def _forward_on_gpu(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        cls_prob, bbox_pred, *rows = (blob.tensor for blob in blob_list(bottom))
        rois, labels, *boxes = rows
        losses = ohem_tensors.roi_losses(cls_prob, labels, *([bbox_pred, *boxes] if boxes else []))
        hard = self.choose_tensors(losses, rois.flatten(1), labels.flatten())
        self._losses = (losses, losses.index_select(0, hard))
        set_tensors(top, [values.index_select(0, hard) for values in rows])
        if self.choices is not None:
            self.choices.append(Choice(self._passes, self._losses[1], rois.flatten(1).index_select(0, hard),
                                       labels.flatten().index_select(0, hard)))

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """The choice of RoIs has no gradient."""


class OHEMDataLayer(HardRoIMiner):
    """Keeps the TRAIN.BATCH_SIZE RoIs of highest loss, highest first; tops and bottoms are those of HardRoIMiner.

    With TRAIN.OHEM_USE_NMS, NMS at an IoU of TRAIN.OHEM_NMS_THRESH first removes near-duplicates. NMS forms its groups
    on the host; without it, RoIs on a GPU are chosen there without synchronisation.

    A share TRAIN.OHEM_RANDOM_SHARE of the RoIs, and all of them in the first TRAIN.OHEM_WARMUP iterations, is drawn at
    random instead, at most TRAIN.FG_FRACTION of these foreground: see `ohem.add_random_rois`.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        train = cfg.TRAIN
        self._nms_thresh = train.OHEM_NMS_THRESH if train.OHEM_USE_NMS else None
        self._nms_gpu = nms_gpu(cfg)
        self._warmup, self._random_share = train.OHEM_WARMUP, train.OHEM_RANDOM_SHARE
        self._most_foreground = RoISettings.from_cfg(train).most_foreground
        self.has_tensor_rule = self._nms_thresh is None

    @property
    def _random_count(self) -> int:
        """Number of random RoIs in this pass."""
        share = 1 if self.iteration < self._warmup else self._random_share
        return round(share * self.batch_size)

    def choose(self, losses: np.ndarray, rois: np.ndarray, labels: np.ndarray) -> np.ndarray:
        count = self._random_count
        hard = select_hard_rois(losses, rois, labels, self.batch_size - count, self._nms_thresh, self._nms_gpu)
        if not count:
            return hard
        order = self.rng().permutation(len(losses))
        return add_random_rois(hard, labels, count, self._most_foreground(count), order)

    def choose_tensors(self, losses: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
        count = self._random_count
        hard = ohem_tensors.select_hard_examples(losses, self.batch_size - count)
        if not count:
            return hard
        order = as_tensor(self.rng().permutation(len(losses))).long()
        return ohem_tensors.add_random_rois(hard, labels, count, self._most_foreground(count), order)


def _as_indices(layer: HardRoIMiner, chosen: object, count: int) -> np.ndarray:
    """Validate a mining rule's choice as indices of `count` RoIs. Raises SettingError for anything else."""
    indices, problem = np.asarray(chosen), ""
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        problem = f"{indices.dtype} values of shape {indices.shape}"
    elif indices.size and not 0 <= indices.min() <= indices.max() < count:
        problem = f"whole numbers from {indices.min()} to {indices.max()}"
    if problem:
        raise SettingError(f"{layer_name(layer)}.choose gave {problem}, expected (n,) whole numbers from 0 to "
                           f"{count - 1}: indices of RoIs, such as those of np.flatnonzero(mask)")
    return indices


def _data_shapes(settings: MinibatchSettings, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Names of RoIDataLayer's tops with placeholder shapes for building the net; the data sets the real ones."""
    count = settings.ims_per_batch
    images = (count, 3, max(settings.images.scales), settings.images.max_size)
    if settings.has_rpn:
        return dict(zip(RPN_BLOBS, (images, (count, 3), (1, 5 + (count > 1))), strict=True))
    box_classes = num_box_classes(num_classes, settings.agnostic)
    return {"data": images, **_roi_shapes(settings.inside_weights is not None, box_classes)}


def _roi_shapes(bbox_reg: bool, box_classes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = dict(zip(ROI_BLOBS, ((1, 5), (1,)), strict=True))
    return shapes | (dict.fromkeys(BOX_BLOBS, (1, 4 * box_classes)) if bbox_reg else {})


def _check_count(layer: object, kind: str, blobs: Sequence[Blob], names: Collection[str]) -> None:
    check_count(layer, kind, blobs, names, wanted="cfg asks for",
                note=f" (TRAIN.HAS_RPN is {cfg.TRAIN.HAS_RPN}, TRAIN.BBOX_REG is {cfg.TRAIN.BBOX_REG})")


def _check_rows(layer: HardRoIMiner, bottom: Sequence[Blob]) -> None:
    """Raise SettingError unless all bottoms have the same number of rows, and those of boxes as many columns."""
    shapes = dict(zip(layer.bottom_names, map(blob_shape, blob_list(bottom)), strict=True))
    widths = {math.prod(shapes[name][1:]) for name in ("bbox_pred", *BOX_BLOBS) if name in shapes}
    if len({shape[0] for shape in shapes.values()}) > 1 or len(widths) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise SettingError(f"{layer_name(layer)}: expected a row for each RoI in every bottom, and as many columns in "
                           f"box targets and their weights as in bbox_pred; found {found}")
