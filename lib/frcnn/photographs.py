"""Reads the images that a user passes: files, folders, patterns, arrays, bytes, and lists of these."""
from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np

from utils.errors import UserError
from utils.image_header import IMAGE_SUFFIXES
from utils.images import decode_bytes, read_image

_CONTENTS = (bytes, bytearray, memoryview)

Photograph = tuple[np.ndarray, str]     # (height, width, 3) uint8 BGR, and its file or ''


def is_one_photograph(given: object) -> bool:
    """Whether the argument is a single image: an array, the content of a file, or the path of a file."""
    if isinstance(given, np.ndarray):
        return given.ndim != 4
    return isinstance(given, _CONTENTS) or isinstance(given, str | os.PathLike) and Path(given).is_file()


def photographs(given: object) -> Iterator[Photograph]:
    """All images of an argument, read one at a time.

    given  a file, its content as bytes, an array as cv2.imread returns, a folder, a pattern, or a list of these
    Raises UserError naming the file.
    """
    if isinstance(given, _CONTENTS):
        yield decode_bytes(bytes(given)), ""
    elif isinstance(given, np.ndarray) and given.ndim != 4:
        yield _checked(given), ""
    elif isinstance(given, str | os.PathLike):
        for path in image_files([given]):
            yield read_image(str(path)), str(path)
    elif isinstance(given, np.ndarray) or _is_list(given):
        for each in given:
            yield from photographs(each)
    else:
        raise UserError("expected an image: a file, a folder, a pattern, an array as cv2.imread returns, or a list "
                        f"of these; got {type(given).__name__}. For a PIL image, pass "
                        "numpy.asarray(image.convert('RGB'))[..., ::-1]")


def _is_list(given: object) -> TypeGuard[Iterable[object]]:
    """Whether an argument lists images; open files and tensors can be iterated over, too, but are no lists."""
    return isinstance(given, Iterable) and not hasattr(given, "read") and getattr(given, "ndim", 1) == 1


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UserError(f"expected an image (height, width, 3) uint8 BGR, as cv2.imread returns; got "
                        f"{pixels.shape} {pixels.dtype}")
    return pixels


def batches(images: Iterable[Photograph], most: int) -> Iterator[list[Photograph]]:
    """Group consecutive images of one size, at most `most`; a full batch is yielded before the next image is read."""
    batch: list[Photograph] = []
    for image in images:
        if batch and image[0].shape != batch[0][0].shape:
            yield batch
            batch = []
        batch.append(image)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def image_files(names: Sequence[str | os.PathLike], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Expand names of files, patterns such as 'photos/**/*.jpg' and folders (files with one of the suffixes).

    Raises UserError for a name that is none of these, and if no files are found.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if name == "":
            raise UserError("the name of a photograph or folder is empty; '.' is the current folder")
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
        elif path.is_file():
            files.append(path)
        elif glob.has_magic(str(name)):
            files += _matching(str(name))
        else:
            raise UserError(f"{path}: there is no such photograph or folder")
    if not files:
        raise UserError(f"no photographs in {', '.join(map(str, names))}; looked for {' '.join(suffixes)}")
    return files


def _matching(pattern: str) -> list[Path]:
    files = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())
    if not files:
        raise UserError(f"{pattern}: no file matches")
    return files
