"""WIDER FACE's lists: for each image its path, the number of faces, and a line of 10 numbers per face.

These are x y width height blur expression illumination invalid occlusion pose. An image without faces has a line of
zeros.

  wider_face_split/wider_face_<split>_bbx_gt.txt, WIDER_<split>/images/

x, y, width and height are measured from the upper left edge of the image. Faces marked invalid are difficult.
"""
from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from datasets.box_table import BoxTable, table_source
from datasets.ds_utils import extents_to_corners
from datasets.folders import file_names
from datasets.source import DatasetError, Source
from datasets.splits import find_split, split_of_classes, split_sizes
from utils.text import TextError, read_lines

FACE = "face"       # the only class
_INVALID = 7        # column


def read(path: Path, split: str | None) -> Source | None:
    """A split of a folder, or a list file; None for paths without such lists."""
    root = path
    files = _files_in(path) or _files_in(path / "wider_face_split")
    if path.is_file():
        split = split or _split_of(path)
        root = path.parent.parent if path.parent.name == "wider_face_split" else path.parent
        files = {**_files_in(path.parent), split: path} if split else {}
    if not files:
        return None
    table = lru_cache(maxsize=None)(_read_table)
    chosen = find_split(split, files, root)
    folders = [root / name for name in (f"WIDER_{chosen}/images", f"WIDER_{chosen}", f"images/{chosen}", chosen,
                                        "images", ".")]
    training = files[split_of_classes(files, chosen)]
    return table_source(
        table(files[chosen]), "WIDER FACE", root, chosen, [folder for folder in folders if folder.is_dir()],
        extents_to_corners, files[chosen], training=lambda: table(training),
        split_sizes=split_sizes(files, lambda file: len(table(file).images)))


def _split_of(file: Path) -> str | None:
    found = re.fullmatch(r"wider_face_(\w+)_bbx_gt\.txt", file.name)
    return found[1] if found else None


def _files_in(folder: Path) -> dict[str, Path]:
    found = {_split_of(folder / name): folder / name for name in file_names(folder)}
    return {split: file for split, file in found.items() if split}


def _read_table(path: Path) -> BoxTable:
    """The images and faces of a list. Raises DatasetError naming the wrong entry."""
    try:
        lines = iter(read_lines(path))
    except TextError as error:
        raise DatasetError(str(error)) from None
    table = BoxTable()
    for image in lines:
        count = next(lines, "")
        if not count.isdecimal():
            raise DatasetError(f"{path}: {image}: expected the number of faces in the next line, found {count!r}")
        row = table.add_image(image)
        for _ in range(max(int(count), 1)):
            words = next(lines, "").split()
            try:
                if len(words) < 4:
                    raise ValueError(f"expected a line of a face, found {' '.join(words)!r}")
                numbers = [float(word) for word in words]
                if int(count):
                    table.add(row, FACE, numbers[:4], bool(numbers[_INVALID]) if len(numbers) > _INVALID else False)
            except ValueError as error:
                raise DatasetError(f"{path}: {image}: {error}") from None
    return table
