"""Nets that are written into a run's folder for its data set: what the user edits there afterwards is not lost.

`written.json` beside them holds a fingerprint of each file as it was written: one that has another now was edited.
"""
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fast_rcnn.checks import CheckError
from net_definitions import model_files
from utils.files import atomic_path, read_json, write_json

RECORD = "written.json"


def make_nets(net_name: str, num_classes: int, made: Path, max_iters: Sequence[int] | None) -> None:
    """Write a net's files for a data set into `made`/<net>/<method>/; files that were edited there are kept.

    max_iters  of the four stages: their learning rates fall after three quarters; None: where the definition says
    Raises CheckError if an edited file does not fit to the command any more.
    """
    falls = "; their learning rates fall after three quarters of the iterations" if max_iters else ""
    print(f"The data set has {num_classes} classes with the background, the shipped nets 21: writing nets for it "
          f"to {made}{falls}", flush=True)
    texts = model_files(net_name, num_classes, folder=made.resolve().as_posix(), iterations=max_iters)
    for path in write_files(texts, made):
        print(f"Kept as you have edited it: {path}", flush=True)


def write_files(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write texts by name, except over files that were edited since they were written by the same texts.

    Returns the files that are kept for that. Raises CheckError, and writes nothing, for edited files where the text is
    another than the one that was edited, and for those that are not from here.
    """
    record = folder / RECORD
    written = read_json(record) if record.is_file() else {}
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
                         f"--models {folder}; to have them written anew, remove them")
    for name, text in texts.items():
        if folder / name not in edited:
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    write_json(record, {name: _digest(text.encode()) for name, text in texts.items()})
    return edited


def edited_shipped_files(net_name: str, shipped: Path, method: str) -> list[Path]:
    """The files of a net in the folder of shipped ones that are not as their definition has them."""
    return [shipped / name for name, text in model_files(net_name).items()
            if name.startswith(f"{net_name}/{method}/") and (shipped / name).is_file()
            and (shipped / name).read_bytes() != text.encode()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
