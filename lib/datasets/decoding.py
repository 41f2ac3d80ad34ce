"""Finds the images of a data set that cannot be decoded although their headers are valid."""
from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from utils.files import read_table, write_json
from utils.images import BrokenImage, ImageError, check_file, decode
from utils.timer import Progress

MAX_THREADS = 16
_LARGE = 1 << 26            # images of more pixels are decoded one at a time, as each takes gigabytes
_LARGE_ONES = threading.Lock()


def broken_images(paths: Sequence[str], record: str | os.PathLike | None = None) -> list[str]:
    """The files among `paths` that cannot be decoded, in order.

    JPEG files are decoded at an eighth of their size, which reads all of the data in a fraction of the time.

    record  JSON file of the files decoded so far; those that are unchanged are skipped
    """
    record = Path(record) if record else None
    known = read_table(record, "delete it to have the images decoded again", list) if record else {}
    now = {path: stamp for path in dict.fromkeys(paths) if (stamp := _stamp(path))}
    new = [path for path in dict.fromkeys(paths) if path not in now or known.get(path) != now[path]]
    broken = {path for path, good in zip(new, _decode_all(new), strict=True) if not good}
    if record and new:
        write_json(record, {path: stamp for path, stamp in now.items() if path not in broken})
    return [path for path in new if path in broken]


def _stamp(path: str) -> list[int] | None:
    """Size and modification time; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _decode_all(paths: Sequence[str]) -> list[bool]:
    if not paths:
        return []
    progress, results = Progress("decoding images once", len(paths)), []
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for good in pool.map(can_be_decoded, paths):
            results.append(good)
            progress.step()
    return results


def can_be_decoded(path: str) -> bool:
    """Whether OpenCV returns an image, perhaps with parts missing."""
    return problem_with(path) is None


def problem_with(path: str) -> str | None:
    """Why a file cannot be used as an image; None if it can."""
    try:
        header = check_file(path)
        with _LARGE_ONES if header and math.prod(header.size) > _LARGE else contextlib.nullcontext():
            # OpenCV fails to reduce a side to less than half a pixel
            decode(path, cv2.IMREAD_REDUCED_COLOR_8 if header and min(header.size) >= 8 else cv2.IMREAD_COLOR)
    except BrokenImage:
        return "cannot be decoded"
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    return None
