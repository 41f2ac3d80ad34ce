"""Content fingerprints of many files, recomputed only for files that have changed."""
from __future__ import annotations

import os
from collections.abc import Sequence

from utils.files import read_table, sha256_file, write_json
from utils.timer import with_progress


def content_digests(paths: Sequence[str], record: str | os.PathLike) -> dict[str, str]:
    """SHA-256 of each file; "" for files that cannot be read.

    record  JSON file, path -> [size, modification time in ns, SHA-256]; a file that still has the recorded size and
            time is not read again
    """
    known = read_table(record, "delete it to have the images read again", list)
    found: dict[str, list] = {}
    for path in with_progress("reading images", list(dict.fromkeys(paths))):
        try:
            status = os.stat(path)
            stamp = [status.st_size, status.st_mtime_ns]
            old = known.get(path, [])
            found[path] = old if old[:2] == stamp and len(old) == 3 else [*stamp, sha256_file(path)]
        except OSError:         # reported when the image is decoded
            found[path] = [0, 0, ""]
    if found != known:
        write_json(record, found)
    return {path: entry[2] for path, entry in found.items()}
