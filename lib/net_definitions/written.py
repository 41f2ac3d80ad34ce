"""Writes generated prototxts, but keeps those that the user has edited since."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from utils.errors import CheckError
from utils.files import read_table, write_json, write_text

RECORD = "written.json"     # fingerprints of the generated files, as written


def write_files(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write texts by file name, but keep files that were edited after the same text was written to them.

    Kept files are printed. Returns the paths of all. Raises CheckError, and writes nothing, if an edited file was
    written with another text, or not by this function.
    """
    record = folder / RECORD
    written = read_table(record, "delete it, and the nets beside it, to regenerate them", str)
    edited: list[Path] = []
    lost: list[Path] = []
    for name, text in texts.items():
        path, wanted = folder / name, _digest(text.encode())
        found = _digest(path.read_bytes()) if path.is_file() else None
        if found not in (None, wanted, written.get(name)):
            (edited if written.get(name) == wanted else lost).append(path)
    if lost:
        raise CheckError("\n".join(f"{path}: was edited since it was written" for path in lost)
                         + "\nThis command would write something else there. To train these files as they are, give "
                         f"--models {folder}; to regenerate them, remove them")
    for name, text in texts.items():
        if folder / name not in edited:
            write_text(folder / name, text)
    write_json(record, {**written, **{name: _digest(text.encode()) for name, text in texts.items()}})
    for path in edited:
        print(f"Kept as you have edited it: {path}", flush=True)
    return [folder / name for name in texts]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
