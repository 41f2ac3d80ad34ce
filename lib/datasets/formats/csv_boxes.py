"""CSV with one line per object, and a line with empty fields for an image without objects. There are two forms:

  with header     filename,width,height,class,xmin,ymin,xmax,ymax in any order, or other common names; width and height
                  may be missing. As in VOC's XML, from which such files are usually made, coordinates count from 0 if
                  any xmin or ymin is 0, and from 1 otherwise
  without header  image,x1,y1,x2,y2,class, as RetinaNet reads it; coordinates count from 0

Corners are inclusive. A folder has one file, or one per split: train.csv or train_labels.csv, or a CSV file in each
folder of images (train/_annotations.csv). Fields may be separated by commas, semicolons or tabs.
"""
from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

from datasets.box_table import BoxTable, as_corners, table_source
from datasets.folders import file_names, subfolders
from datasets.source import DatasetError, Source
from datasets.splits import (
    ALL,
    find_split,
    is_same_split,
    is_split_name,
    split_folders,
    split_of_classes,
    split_sizes,
)
from utils.text import TextError, printable, read_text

_COLUMNS = {        # names of columns in lower case, without spaces and underscores
    "image": ("filename", "image", "imagename", "imagepath", "imageid", "filepath", "file", "path", "img", "name"),
    "class": ("class", "label", "classname", "labelname", "category", "categoryname", "object"),
    "x1": ("xmin", "x1", "left", "xtl", "bboxxmin"), "y1": ("ymin", "y1", "top", "ytl", "bboxymin"),
    "x2": ("xmax", "x2", "right", "xbr", "bboxxmax"), "y2": ("ymax", "y2", "bottom", "ybr", "bboxymax"),
    "width": ("width", "imagewidth", "imgwidth"), "height": ("height", "imageheight", "imgheight"),
}
_CORNERS = ("x1", "y1", "x2", "y2")
_HEADLESS = ["image", *_CORNERS, "class"]
_SUFFIXES = (".csv", ".tsv")
_START = 4096       # bytes that contain the first line
_SHOWN = 80         # characters of the first line that a message shows


def read(path: Path, split: str | None) -> Source | None:
    """A split of a CSV file or folder; without `split` the one to train on, or the only one. None for other tables."""
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES or _columns(path) is None:
            return None
        beside = _files_of(path.parent)
        names = [name for name, file in beside.items() if file == path]
        files = beside if len(beside) > 1 else {ALL: path}
        return _source(path.parent, files, split or (names[0] if len(beside) > 1 else None))
    if not path.is_dir():
        return None
    root, split, folders = split_folders(path, split, lambda folder: bool(_files_of(folder)))
    if folders:
        tables = {file.name for folder in folders.values() for file in _files_of(folder).values()}
        _refuse_other_forms(file for folder in subfolders(root) if folder.name not in folders
                            and is_split_name(folder.name) for file in _tables_in(folder) if file.name in tables)
        return _source(root, {name: next(iter(_files_of(folder).values())) for name, folder in folders.items()}, split)
    files = _files_of(path)
    if any(map(is_split_name, files)):      # there may also be a table of test images without boxes, which is allowed
        _refuse_other_forms(file for file in _tables_in(path) if is_same_split("train", _split_of(file)))
    return _source(path, files, split) if files else None


def _files_of(folder: Path) -> dict[str, Path]:
    """The files with boxes in a folder, by split."""
    found = {_split_of(file): file for file in _tables_in(folder) if _columns(file)}
    return found if len(found) != 1 else {ALL: next(iter(found.values()))} if ALL in found else found


def _tables_in(folder: Path) -> list[Path]:
    return [folder / name for name in file_names(folder) if name.lower().endswith(_SUFFIXES)]


def _refuse_other_forms(files: Iterable[Path]) -> None:
    """Raise DatasetError for a file that is named like that of a split, but has other columns."""
    for file in files:
        if _columns(file) is None:
            raise DatasetError(_other_form(file))


def _split_of(file: Path) -> str:
    """train_labels.csv: train; _annotations.csv: all."""
    stem = re.sub(r"[._-]?(annotations|annotation|labels|boxes|bboxes|bbox|data)(?=$|[._-])", "", file.stem, flags=re.I)
    return stem.strip("._-") or ALL


def _columns(path: Path) -> tuple[str, list[str], bool] | None:
    """Delimiter, columns (see `_COLUMNS`; '' for others) and whether there is a header; None for another table."""
    with open(path, "rb") as file:
        first = _first_line(file.read(_START))
    for delimiter in (",", ";", "\t"):
        words = next(csv.reader([first], delimiter=delimiter), [])
        keys = [next((key for key, names in _COLUMNS.items() if re.sub(r"[\W_]", "", word.lower()) in names), "")
                for word in words]
        if {"image", "class", *_CORNERS} <= set(keys):
            return delimiter, keys, True
        numbers = words[1:5]
        if len(words) == 6 and words[0] and (all(map(_is_number, numbers)) or not any(words[1:])):
            return delimiter, _HEADLESS, False
    return None


def _first_line(start: bytes) -> str:
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = start[:len(start) // 2 * 2].decode(encoding, "ignore")
    return next((line for line in text.splitlines() if line.strip()), "")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _source(root: Path, files: Mapping[str, Path], split: str | None) -> Source:
    table = lru_cache(maxsize=None)(_read_table)
    chosen = find_split(split, files, root)
    file, training = files[chosen], files[split_of_classes(files, chosen)]
    folders = [base / part for base in dict.fromkeys((file.parent, root))
               for part in (f"images/{chosen}", chosen, "images", ".")]

    def is_zero_based() -> bool:
        return not _has_header(file) or any(table(each).has_zero for each in files.values())

    return table_source(
        table(file), "CSV", root, chosen, [folder for folder in folders if folder.is_dir()], as_corners, file,
        training=lambda: table(training), is_zero_based=is_zero_based, limits=root.parent,
        split_sizes=split_sizes(files, lambda each: len(table(each).images)))


def _has_header(file: Path) -> bool:
    found = _columns(file)
    return found is not None and found[2]


def _read_table(path: Path) -> BoxTable:
    table = BoxTable()
    for number, row in _rows(path):
        where = f"{path.name}:{number}"
        if not row["image"]:
            table.faults["{} lines name no image", "left out"] += 1
            continue
        index = table.add_image(row["image"], (row.get("width"), row.get("height")))
        values = [row[key] for key in _CORNERS]
        if not any(values) and row["class"] in ("", "background"):
            continue        # an image without objects
        try:
            if not row["class"]:
                raise ValueError("no class name")
            table.add(index, row["class"], [_number(value) for value in values])
        except ValueError as error:
            table.fail(index, f"{where}: {error}")
    if table.farthest is not None and table.farthest <= 1:
        raise DatasetError(f"{path}: no coordinate is above 1: they are fractions of the image's size; expected pixels")
    return table


def _number(text: str) -> float:
    if not _is_number(text):
        raise ValueError(f"{printable(text)!r} is not a number")
    return float(text)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the fields by column of each row. Raises DatasetError."""
    found = _columns(path)
    if found is None:
        raise DatasetError(_other_form(path))
    delimiter, keys, has_header = found
    try:
        reader = csv.reader(read_text(path).split("\n"), delimiter=delimiter)
        rows = ((reader.line_num, words) for words in reader if any(words))
        for number, words in islice(rows, 1 if has_header else 0, None):
            yield number, _fields(keys, words)
    except TextError as error:
        raise DatasetError(str(error)) from None
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: not readable as CSV: {error}") from None


def _other_form(path: Path) -> str:
    with open(path, "rb") as file:
        first = _first_line(file.read(_START))
    return (f"{path}: expected the columns filename, class, xmin, ymin, xmax, ymax, or lines image,x1,y1,x2,y2,class; "
            f"found {printable(first[:_SHOWN])!r}")


def _fields(keys: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """Fields by column; missing ones are empty. If two columns have the same key, the first one counts."""
    fields = dict.fromkeys(keys, "")
    for key, word in reversed([*zip(keys, words, strict=False)]):
        fields[key] = " ".join(word.split())
    return fields
