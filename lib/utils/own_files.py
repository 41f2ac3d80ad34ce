"""Records the files that the tools have created in an output folder; other files are never replaced or deleted."""
from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.files import read_record, write_json
from utils.text import listing

RECORD = "own_files.json"


class OwnFiles:
    """The record `own_files.json` of a folder: {"files": ["models/a.pt", ...]}, with paths relative to the folder.

    A file is recorded before it is written. The caller, or its parent process, must hold the folder's lock.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._record = self.folder / RECORD

    @property
    def exists(self) -> bool:
        """Whether there is a record."""
        return self._record.exists()

    def names(self) -> set[str]:
        """The recorded paths. Raises DamagedFileError."""
        if not self.exists:
            return set()
        files = read_record(self._record, "choose another --output", files=list)["files"]
        return {name for name in files if isinstance(name, str)}

    def claim(self, *names: str) -> None:
        """Record files that will be written. Raises UserError naming those that exist but are not recorded."""
        known = self.names()
        others = [name for name in dict.fromkeys(names) if name not in known and os.path.lexists(self.folder / name)]
        if others:
            raise UserError(f"{self.folder} holds files that would be overwritten, and that were not made by a run in "
                            f"it: {listing(others, 5)}. Choose another --output, or move them")
        self.adopt(names)

    def adopt(self, names: Iterable[str]) -> None:
        """Record files, regardless of who created them."""
        known = self.names()
        if not known.issuperset(names):
            write_json(self._record, {"files": sorted(known.union(names))})

    def remove(self, *names: str) -> None:
        """Delete these files if they are recorded."""
        for name in self.names().intersection(names):
            (self.folder / name).unlink(missing_ok=True)

    def sweep(self, *names: str) -> None:
        """Delete temporary files left by killed writers of the recorded files and of those with these names.

        See `atomic_path`, here and in caffe.
        """
        for name in {RECORD, *names, *self.names()}:
            remove_leftovers(self.folder / name)


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files left by killed writers of `path`."""
    if not path.parent.is_dir():
        return
    ours = re.compile(rf"\.({re.escape(path.stem)}\.\d+\.tmp{re.escape(path.suffix)}|{re.escape(path.name)}\.\d+\.tmp)")
    for found in path.parent.iterdir():
        if ours.fullmatch(found.name) and found.is_file():
            found.unlink()
