"""Writes data sets as PASCAL VOC, COCO, YOLO and SSD's databases.

A writer is a function of a folder, the splits and the class names. Images are copied as they are.
"""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets.records import Record
from datasets.writers import coco, ssd, voc, yolo
from datasets.writers.records import plain_names
from utils.errors import UserError
from utils.files import naming

Splits = Mapping[str, Sequence[Record]]
Writer = Callable[[Path, Splits, Sequence[str]], None]

WRITERS: Mapping[str, Writer] = {"voc": voc.write, "coco": coco.write, "yolo": yolo.write, "ssd": ssd.write}


def write(format_name: str, folder: str | os.PathLike, splits: Splits, classes: Sequence[str]) -> None:
    """Write splits into a new or empty folder, atomically: if writing fails, there is no folder.

    format_name  a key of WRITERS
    splits       the images by split, see `records_of`
    classes      class names, without the background
    Raises UserError if the folder is not empty.
    """
    check_free(folder)
    target = Path(os.path.abspath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming(target):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        with naming(target):
            WRITERS[format_name](temporary, {split: plain_names(records) for split, records in splits.items()}, classes)
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(folder: str | os.PathLike) -> None:
    """Raise UserError unless a path is free: it does not exist, or is an empty folder."""
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise UserError(f"{folder} exists, and is not an empty folder: name another one, nothing is overwritten")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
