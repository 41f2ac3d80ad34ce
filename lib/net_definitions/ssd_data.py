"""Reads what SSD's nets need to know about a folder written by `tools/convert_data.py --to ssd`."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError
from utils.prototxt import read_label_map

_TRAIN, _TEST = ("trainval", "train", "training"), ("test", "val", "valid", "validation", "testing")
_MOST_AT_ONCE = 8       # images in a batch of the test net


class SsdData(NamedTuple):
    """Databases of a data set; `test` is None if there is none to test on."""

    folder: Path
    num_classes: int            # with the background
    train: str                  # split
    test: str | None            # split
    num_test: int               # images of `test`

    def database(self, split: str) -> str:
        """Folder of the database of a split."""
        return (self.folder / f"{split}_lmdb").as_posix()

    def sizes(self, split: str) -> str:
        """File of the image sizes of a split."""
        return (self.folder / f"{split}_name_size.txt").as_posix()

    @property
    def test_batch(self) -> int:
        """Largest batch size up to 8 that divides the number of test images, so that each is evaluated once."""
        return max(size for size in range(1, _MOST_AT_ONCE + 1) if self.num_test % size == 0)


def read_ssd_data(folder: str | os.PathLike) -> SsdData:
    """Inspect a folder. Raises UserError if that tool did not write it."""
    root = Path(folder).resolve()
    splits = [path.name.removesuffix("_lmdb") for path in sorted(root.glob("*_lmdb"))]
    train = next((split for split in _TRAIN if split in splits), None)
    if train is None:
        raise UserError(f"{folder}: expected databases {' or '.join(f'{split}_lmdb' for split in _TRAIN)}, as "
                        f"tools/convert_data.py --to ssd writes; found {', '.join(splits) or 'none'}")
    test = next((split for split in _TEST if split in splits), None)
    try:
        num_classes = len(read_label_map(root / "labelmap.prototxt"))
        num_test = len((root / f"{test}_name_size.txt").read_text("utf-8").splitlines()) if test else 0
    except (OSError, UserError) as error:
        raise UserError(f"{folder}: cannot read what tools/convert_data.py --to ssd writes: {error}") from None
    return SsdData(root, num_classes, train, test if num_test else None, num_test)
