"""Explains what was found at a path that no reader understands, and what to do."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from datasets.folders import subfolders
from utils.errors import message_of
from utils.image_header import IMAGE_SUFFIXES
from utils.text import TextError, load_json, printable

_KNOWN = ("expected PASCAL VOC, COCO, YOLO, LabelMe, CVAT, CSV, KITTI or WIDER FACE, in the layouts that "
          "docs/own_dataset.md lists, where a reader of your own format is a function")
_SEARCHED = 10_000      # files after which the search stops
_NAMED = 6              # kinds of files and folders that a message names
_TRIED = 3              # JSON files that are read
_ANNOTATIONS = (".json", ".xml", ".csv", ".tsv", ".txt", ".data")
_HINTS = {
    ".tfrecord": "TFRecords hold the images too: export the data set as COCO or VOC",
    ".parquet": "Parquet holds tables of any kind: export the data set as COCO or VOC",
    ".mat": "MATLAB's boxes have no common form: write them as CSV (filename,width,height,class,xmin,ymin,xmax,ymax)",
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack the archive"),
}


def not_understood(path: Path) -> str:
    """The rest of an error message that starts with the path."""
    if not path.exists():
        return f"there is no such {'file' if path.suffix.lower() in _ANNOTATIONS else 'folder or YAML file'}"
    if path.is_file():
        hint = _HINTS.get(path.suffix.lower())
        return _broken_json([path]) or f"is no annotation file of a known format; {hint or _KNOWN}"
    kinds, images, shown = _seen(path)
    seen = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_NAMED))
    inside = f"; its folders: {', '.join(shown)}" if shown else ""
    hints = list(dict.fromkeys(_HINTS[kind] for kind in kinds if kind in _HINTS))
    if images and len(kinds) == 1:
        hints.append("the images have no annotations there")
    broken = _broken_json(islice(path.glob("*.json"), _TRIED))
    if broken:
        hints.append(broken)
    return printable(f"no annotations in a known format; seen: {seen or 'nothing'}{inside}; "
                     f"{'; '.join([*hints, _KNOWN])}")


def _broken_json(files: Iterable[Path]) -> str:
    """The error in the first JSON file that cannot be read; '' if there is none."""
    for file in files:
        if file.suffix.lower() == ".json":
            try:
                load_json(file)
            except (TextError, OSError) as error:
                return message_of(error)
    return ""


def _seen(path: Path) -> tuple[Counter[str], int, list[str]]:
    """Number of files below a folder by extension, number of images among them, and the names of its subfolders."""
    files = islice((name for _, _, names in os.walk(path) for name in names if not name.startswith(".")), _SEARCHED)
    endings = Counter(os.path.splitext(name)[1].lower() or "without ending" for name in files)
    images = sum(count for ending, count in endings.items() if ending in IMAGE_SUFFIXES)
    kinds = Counter({ending: count for ending, count in endings.items() if ending not in IMAGE_SUFFIXES})
    kinds.update({"images": images} if images else {})
    return kinds, images, [entry.name for entry in subfolders(path)][:_NAMED]
