"""The page of a data set: images with boxes, classes, object sizes and anchors, problems, advice."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from checks.data import anchor_overlaps
from checks.data_advice import DataFigures
from commands.data_report import advice_lines, option_rows
from datasets.imdb import imdb as Imdb
from datasets.objects import ObjectTable
from datasets.problems import Problem, report
from fast_rcnn.config import Config
from reports.augmentation import augmentation_in_words, augmented_pictures
from reports.charts import COLOURS, Axis, Line, histogram, legend, line_chart
from reports.page import write_page
from reports.pictures import FOUND, Box, Colour, crop, drawn, photograph
from utils.boxes import box_sizes
from utils.draw import class_colour, montage, write_image

PAGE, SHEET = "data.html", "sheet.png"
_PICTURES = 24
_AUGMENTED = 4          # images shown with augmentation
_OUT_OF_REACH = 12      # objects shown that the anchors fit worst
_PROBLEMS = 12          # images with problems shown
_DOTS = 1500            # objects in a chart
_BINS = 24              # maximum number of bars in a histogram
_ANCHORS = "#d9322b"


@dataclass(frozen=True)
class DataStudy:
    """A data set with statistics of its objects.

    cfg       the settings
    settings  the current TRAIN.SCALES and MAX_SIZE as text
    net       name of the net whose anchors are shown
    commands  words of the commands that follow the advice
    """

    imdb: Imdb
    objects: ObjectTable
    figures: DataFigures
    cfg: Config
    settings: str
    net: str
    commands: Sequence[Sequence[str]]

    @property
    def train(self) -> Config:
        """The settings of training."""
        return self.cfg.TRAIN


def write_data_page(folder: Path, study: DataStudy) -> None:
    """Write data.html, and sheet.png with the same images in one picture."""
    shown = pictures_to_show(study.objects, _PICTURES)
    write_sheet(folder / SHEET, study, shown)
    figures, problems = study.figures, study.imdb.validate()
    overlaps = anchor_overlaps(study.objects, figures.present.layout, study.train.SCALES, study.train.MAX_SIZE)
    counts = np.bincount(study.objects.images, minlength=figures.images)
    write_page(folder / PAGE, "data.html", title=study.imdb.name, settings=study.settings, net=study.net,
               figures=figures, per_image=figures.objects / max(figures.images, 1), empty=int((counts == 0).sum()),
               classes=sorted(figures.classes, key=lambda each: -each.objects),
               most=max(each.objects for each in figures.classes),
               sheet=[_picture(study, index) for index in shown], colours=list(_colours(study)),
               augmentation=augmentation_in_words(study.train), augmented=_augmented(study),
               charts=list(_charts(study, counts)), reach=list(_out_of_reach(study, overlaps)),
               problems=report(problems).splitlines(), problem_pictures=list(_problem_pictures(study, problems)),
               options=option_rows(figures), advice=_advice(study))


def pictures_to_show(objects: ObjectTable, most: int) -> list[int]:
    """Indices of images for the sheet: one per class, rarest first, and others spread evenly over the data set."""
    labels, counts = np.unique(objects.labels, return_counts=True)
    chosen: list[int] = []
    for label in labels[np.argsort(counts, kind="stable")]:
        of_class = objects.images[objects.labels == label]
        if not np.isin(of_class, chosen).any():
            chosen.append(int(of_class[len(of_class) // 2]))
    chosen = chosen[:most]
    spread = np.linspace(0, len(objects.im_sizes) - 1, min(most, len(objects.im_sizes))).round().astype(int).tolist()
    return sorted([*chosen, *[index for index in spread if index not in chosen][:most - len(chosen)]])


def write_sheet(path: Path, study: DataStudy, shown: Sequence[int]) -> None:
    """Write the images of the sheet as one picture; nothing if none of them can be read."""
    drawings = [drawn(study.imdb.image_path_at(index), _boxes(study, index), 300) for index in shown]
    pictures = [picture for picture in drawings if picture is not None]
    if pictures:
        write_image(path, montage(pictures, columns=4))


def _boxes(study: DataStudy, index: int) -> list[Box]:
    mine = study.objects.images == index
    return [Box(box, class_colour(int(label)))
            for box, label in zip(study.objects.boxes[mine], study.objects.labels[mine], strict=True)]


def _picture(study: DataStudy, index: int) -> dict[str, str]:
    path, boxes = study.imdb.image_path_at(index), _boxes(study, index)
    return {"picture": photograph(path, boxes), "name": "", "note": os.path.basename(path), "title": path}


def _augmented(study: DataStudy) -> list[dict[str, str]]:
    """Pictures of some images with objects as they are augmented for training; none without augmentation."""
    if not augmentation_in_words(study.train):
        return []
    shown = [index for index in pictures_to_show(study.objects, _PICTURES) if (study.objects.images == index).any()]
    return augmented_pictures(study.imdb, shown[:_AUGMENTED], study.cfg)


def _colours(study: DataStudy) -> Iterator[Line]:
    """Legend entries: the classes with the colours of their boxes."""
    for label in np.unique(study.objects.labels):
        yield Line(study.imdb.classes[label], [], _hex(class_colour(int(label))))


def _hex(colour: Colour) -> str:
    blue, green, red = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


def _charts(study: DataStudy, counts: np.ndarray) -> Iterator[dict[str, Any]]:
    part = study.objects.every(-(-len(study.objects) // _DOTS))
    boxes, _ = part.scaled(study.train.SCALES[0], study.train.MAX_SIZE)
    width, height = box_sizes(boxes).T
    anchors = study.figures.present.layout.anchors
    lines = [Line("objects", _points(width, height), COLOURS[0], 1.6, dots=True),
             Line("anchors", _points(*box_sizes(anchors).T), _ANCHORS, 4, dots=True)]
    yield {"title": "Sizes beside the anchors", "legend": legend(lines),
           "svg": line_chart(lines, Axis("width", log=True), Axis("height", log=True), 256)}
    for title, values, axis, of, bins in (
            ("Sizes", np.sqrt(width * height), Axis("square root of the area", log=True), "objects", _BINS),
            ("Shapes", height / width, Axis("height / width", log=True), "objects", _BINS),
            ("Objects per image", counts, Axis("objects", 0), "images", min(int(counts.max()) + 1, _BINS))):
        yield {"title": title, "svg": histogram(values.tolist(), axis, of, bins), "legend": ""}


def _points(width: np.ndarray, height: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(width.tolist(), height.tolist(), strict=True))


def _out_of_reach(study: DataStudy, overlaps: np.ndarray) -> Iterator[dict[str, str]]:
    """Pictures of the objects that anchors overlap least, if by less than the last threshold; one per image."""
    seen: set[int] = set()
    for row in np.argsort(overlaps, kind="stable"):
        index = int(study.objects.images[row])
        if overlaps[row] >= study.figures.thresholds[-1] or len(seen) == _OUT_OF_REACH:
            return
        if index not in seen:
            seen.add(index)
            box, path = study.objects.boxes[row], study.imdb.image_path_at(index)
            width, height = box_sizes(box)
            yield {"picture": crop(path, box, [Box(box, FOUND)]), "title": os.path.basename(path),
                   "name": study.imdb.classes[study.objects.labels[row]],
                   "note": f"{width:.0f} x {height:.0f} pixels, IoU {overlaps[row]:.2f}"}


def _problem_pictures(study: DataStudy, problems: Sequence[Problem]) -> Iterator[dict[str, str]]:
    """Pictures of the images with problems, except those left out, with their objects."""
    places = {name: index for index, name in enumerate(study.imdb.image_index)}
    of_image: dict[int, Problem] = {}
    for problem in problems:
        if problem.image in places:
            of_image.setdefault(places[problem.image], problem)
    for index, problem in list(of_image.items())[:_PROBLEMS]:
        yield {**_picture(study, index), "name": problem.image, "note": f"{problem.what}: {problem.action}"}


def _advice(study: DataStudy) -> list[str]:
    return [line.strip() for line in advice_lines(study.figures, study.commands)]

