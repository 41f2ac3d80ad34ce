#!/usr/bin/env python3
"""Converts a data set of any format to PASCAL VOC, COCO or YOLO, or to the databases that SSD is trained on.

Writes all splits, or the one that is named, and copies the images. The objects are those that training would use:
invalid ones are reported, and fixed or dropped. Existing files are never overwritten.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401
from commands.options import add_cfg_options, add_split_options, apply_cfg, make_parser, share_of, tool
from utils.errors import UserError

if TYPE_CHECKING:
    from datasets.imdb import imdb as Imdb
    from datasets.records import Record

EXAMPLES = """\
  tools/convert_data.py --imdb path/to/yolo/data.yaml --to coco path/to/new_folder
  tools/convert_data.py --imdb path/to/BCCD:test --to yolo path/to/new_folder
  tools/convert_data.py --imdb path/to/labelme --split 0.8 --to voc path/to/new_folder
  tools/convert_data.py --imdb path/to/VOC2007 --to ssd path/to/new_folder
      an LMDB of AnnotatedDatum for each split, and a label map
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    result.add_argument("--imdb", required=True, metavar="NAME",
                        help="name of a data set, or its path: folder[:split]")
    result.add_argument("--to", required=True, nargs=2, metavar=("FORMAT", "DIR"),
                        help="voc, coco, yolo or ssd, and the folder to write, which must be new or empty")
    add_split_options(result, "Writes both")
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    apply_cfg(args)
    from datasets.writers import WRITERS, check_free, write
    from datasets.writers.records import records_of
    format_name, folder = args.to
    if format_name not in WRITERS:
        raise UserError(f"--to {format_name}: choose one of {', '.join(WRITERS)}")
    check_free(folder)
    found = _with_all_classes(_find_splits(args))
    for imdb in found.values():
        print(imdb.summary(), flush=True)
    splits = {split: records_of(imdb) for split, imdb in found.items()}
    classes = next(iter(found.values())).classes[1:]
    write(format_name, folder, splits, classes)
    for line in _losses(format_name, splits):
        print(line, flush=True)
    counts = ", ".join(f"{split} {len(records)}" for split, records in splits.items())
    print(f"{folder}: {counts} images", flush=True)
    return 0


def _find_splits(args: argparse.Namespace) -> dict[str, Imdb]:
    """The data set of each split to write."""
    from commands.data_set import find_imdb
    from datasets.annotated_images import AnnotatedImages
    from datasets.factory import splits_of, with_share
    if share := share_of(args):
        return {split: find_imdb(with_share(args.imdb, share, split)) for split in ("train", "test")}
    first = find_imdb(args.imdb)
    names = splits_of(args.imdb)
    if not names:
        return {first.source.split if isinstance(first, AnnotatedImages) else "all": first}
    return _distinct({split: find_imdb(f"{args.imdb}:{split}") for split in names})


def _distinct(splits: Mapping[str, Imdb]) -> dict[str, Imdb]:
    """Drop splits all of whose images are in other splits: trainval is considered first, then larger splits."""
    files = {split: {imdb.image_path_at(index) for index in range(imdb.num_images)} for split, imdb in splits.items()}
    kept = dict(files)
    for split in sorted(reversed(files), key=lambda name: (name != "trainval", -len(files[name]))):
        others = set().union(*(kept[name] for name in kept if name != split))
        if files[split] <= others:
            print(f"{split} has only images of other splits: not written", flush=True)
            del kept[split]
    return {split: splits[split] for split in kept}


def _with_all_classes(splits: dict[str, Imdb]) -> dict[str, Imdb]:
    """Give all splits the union of their classes: a split may have objects of a class that train lacks."""
    from datasets.class_names import BACKGROUND, merge_spellings
    from datasets.source import ANY_CLASS
    parts = [part for imdb in splits.values() for part in getattr(imdb, "parts", [imdb])]
    unknown = [problem.label for part in parts for problem in getattr(part, "problems", ())]
    names = [name for part in parts for name in part.classes[1:]] + [name for name in unknown if name]
    classes = merge_spellings(dict.fromkeys((name for name in names if name not in (BACKGROUND, ANY_CLASS)), 1))
    for imdb in splits.values():
        if list(imdb.classes[1:]) != classes:
            imdb.use_classes([BACKGROUND, *classes])
    return splits


def _losses(format_name: str, splits: Mapping[str, Sequence[Record]]) -> list[str]:
    """Messages about objects that the format cannot represent."""
    from datasets.source import ANY_CLASS
    records = [record for each in splits.values() for record in each]
    regions = sum(record.names.count(ANY_CLASS) for record in records)
    difficult = sum(int(record.difficult.sum()) for record in records) - regions
    lines = [f"{regions} regions of any class are left out: {format_name} has none"] if regions else []
    if difficult and format_name == "yolo":
        lines.append(f"{difficult} objects that are marked as difficult are left out: yolo cannot mark them")
    return lines


if __name__ == "__main__":
    sys.exit(main())
