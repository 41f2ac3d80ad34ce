"""PASCAL VOC 2007 and later, from its development kit."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.annotated_images import AnnotatedImages
from datasets.class_names import BACKGROUND
from datasets.ds_utils import filter_small_boxes, unique_boxes
from datasets.formats.voc import read_folder
from datasets.roidb import Entry
from datasets.source import DatasetError
from fast_rcnn.config import cfg
from utils.ragged import Spool

CLASSES = (BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
           "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
           "tvmonitor")
FETCHED = ("2007", "2012")      # years with a download script


class pascal_voc(AnnotatedImages):
    """One image set of one year.

    image_set    'train', 'val', 'trainval', 'test'
    year         '2007', '2012', ...
    devkit_path  the folder that holds VOC<year>; default: data/VOCdevkit<year>, else data/VOCdevkit
    classes      default: VOC's 20, after the background
    """

    def __init__(self, image_set: str, year: str | int, devkit_path: str | os.PathLike | None = None,
                 classes: Sequence[str] | None = None):
        year = str(year)
        devkit = Path(devkit_path) if devkit_path else default_devkit(year)
        folder = devkit / f"VOC{year}"
        if not folder.is_dir():
            how = f"to fetch it: data/scripts/fetch_voc{year}.sh" if year in FETCHED else "see data/README.md"
            raise DatasetError(f"{folder}: VOC {year} is not there; {how}")
        super().__init__(read_folder(folder, image_set), classes or CLASSES, zero_based=False,
                         use_07_metric=int(year) < 2010)
        self.name = f"voc_{year}_{image_set}"

    def selective_search_roidb(self) -> list[Entry]:
        """Objects and Fast R-CNN's selective search boxes, data/selective_search_data/<name>.mat."""
        file = Path(cfg.DATA_DIR, "selective_search_data", f"{self.name}.mat")
        if not file.is_file():
            raise DatasetError(f"{file}: no selective search boxes; choose the proposal method 'rpn' or 'gt'")
        with Spool((4,), np.float32) as spool:
            return self.with_proposals(spool.extend(
                map(clean_selective_search_boxes, read_selective_search(file, self.image_index))).ragged())


def read_selective_search(file: Path, image_index: Sequence[str]) -> list[np.ndarray]:
    """Rows y1, x1, y2, x2 of each image, counted from 1, from a .mat file's `boxes`.

    Its `images` name the images; without them the boxes are those of `image_index`, in order, as in py-faster-rcnn.
    Raises DatasetError for any other file, or if an image is missing.
    """
    from scipy.io import loadmat  # slow to import, and rarely needed
    try:
        content = loadmat(file)
    except Exception as error:      # SciPy raises its own, ValueError, NotImplementedError for version 7.3, ...
        raise DatasetError(f"{file}: cannot be read as a .mat file: {error}") from None
    if "boxes" not in content:
        raise DatasetError(f"{file}: has no 'boxes', only {', '.join(name for name in content if name[0] != '_')}")
    boxes = content["boxes"].ravel()
    names = [str(name[0]) for name in content["images"].ravel()] if "images" in content else list(image_index)
    missing = set(image_index).difference(names)
    if len(names) != len(boxes) or missing:
        example = f", and lacks {len(missing)}, such as {min(missing)}" if missing else ""
        raise DatasetError(f"{file}: holds boxes of {len(boxes)} images for {len(names)} names{example}")
    of_image = dict(zip(names, boxes, strict=True))
    return [of_image[name] for name in image_index]


def clean_selective_search_boxes(raw: np.ndarray, min_size: int = 2) -> np.ndarray:
    """Boxes (N, 4) in a roidb's coordinates, from rows y1, x1, y2, x2 that count from 1.

    Drops duplicates and boxes smaller than `min_size` (see ds_utils.filter_small_boxes).
    """
    boxes = raw.reshape(-1, 4)[:, (1, 0, 3, 2)].astype(np.float64) - 1      # MATLAB's [] is (0, 0)
    boxes = boxes[unique_boxes(boxes)]
    return boxes[filter_small_boxes(boxes, min_size)]


def default_devkit(year: str) -> Path:
    """The development kit below cfg.DATA_DIR."""
    own = Path(cfg.DATA_DIR, f"VOCdevkit{year}")
    return own if own.is_dir() else Path(cfg.DATA_DIR, "VOCdevkit")
