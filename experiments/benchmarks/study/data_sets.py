"""The data sets of the study: a split to train on, the same with some boxes removed, and a split to test on."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from accuracy_parts.data import parts_of, write_lines
from datasets.factory import get_imdb
from utils.errors import UserError
from utils.files import write_text

SEED = 3                # for drawing the boxes to remove


@dataclass(frozen=True)
class DataSets:
    """Names of the data sets, as for --imdb; `removed` is the number of boxes removed from `incomplete`."""

    train: str
    test: str
    incomplete: str
    num_train: int
    num_test: int
    num_boxes: int
    removed: int

    def trained(self, incomplete: bool) -> str:
        """The data set to train on."""
        return self.incomplete if incomplete else self.train


def make_data_sets(source: Path, folder: Path, final: bool, share: float) -> DataSets:
    """Write YAML descriptions of the data sets into `folder`; images are not copied.

    source  data set in VOC's layout
    final   train on `trainval` and test on `test` instead of on parts of `trainval`
    share   share of the boxes to remove
    Raises UserError for another layout, DatasetError for a missing split.
    """
    if not (source / "Annotations").is_dir() or not (source / "JPEGImages").is_dir():
        raise UserError(f"{source}: expected a data set in VOC's layout: folders Annotations, JPEGImages and "
                        "ImageSets/Main")
    trained, train, test = _splits(source, final)
    sets = {"fit": write_lines(folder / "fit.txt", train), "val": write_lines(folder / "val.txt", test)}
    removed, count = remove_boxes(source / "Annotations", folder / "incomplete", train, share)
    common = {"images": str(source / "JPEGImages"), "image_sets": {name: path.name for name, path in sets.items()},
              # given, because removing boxes could change what is inferred from them
              "classes": list(trained.classes[1:]), "zero_based": trained.zero_based}
    complete = _describe(folder / "complete.yml", annotations=str(source / "Annotations"), **common)
    lacking = _describe(folder / "incomplete.yml", annotations="incomplete", **common)
    return DataSets(f"{complete}:fit", f"{complete}:val", f"{lacking}:fit", len(train), len(test), count, removed)


def _splits(source: Path, final: bool) -> tuple[Any, Sequence[str], Sequence[str]]:
    """The data set `trainval`, and the names of the images to train on and to test on."""
    imdb = get_imdb(f"{source}:trainval")
    if final:
        return imdb, imdb.image_index, get_imdb(f"{source}:test").image_index
    return imdb, *parts_of(imdb.image_index)


def remove_boxes(annotations: Path, target: Path, names: Sequence[str], share: float) -> tuple[int, int]:
    """Copy the XML files of the named images, leaving out a `share` of all objects, drawn uniformly with SEED.

    Returns the numbers of removed objects and of all objects.
    """
    trees = {name: ElementTree.parse(annotations / f"{name}.xml") for name in names}
    objects = [(tree.getroot(), element) for tree in trees.values() for element in tree.getroot().findall("object")]
    gone = np.random.default_rng(SEED).choice(len(objects), round(share * len(objects)), replace=False)
    for index in gone:
        root, element = objects[index]
        root.remove(element)
    for name, tree in trees.items():
        path, text = target / f"{name}.xml", ElementTree.tostring(tree.getroot(), encoding="unicode")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(gone), len(objects)


def evaluate(data_set: str, detections: Path, output: Path) -> dict[str, float]:
    """COCO's average precisions of stored detections, mean over the classes: `ap50`, `ap75`, and `ap` (0.50:0.95)."""
    from datasets.all_boxes import load_detections, stored_classes
    imdb = get_imdb(data_set, stored_classes(detections))
    return imdb.evaluate_detections(load_detections(detections, imdb.image_index, imdb.classes), output).coco_means()


def _describe(path: Path, **content: object) -> Path:
    return write_text(path, yaml.safe_dump(content, sort_keys=False))
