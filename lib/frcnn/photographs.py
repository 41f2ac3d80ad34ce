"""The photographs that a user names: files, folders, patterns."""
from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError
from utils.image_header import IMAGE_SUFFIXES


def image_files(names: Sequence[str | os.PathLike], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The named files, those that match patterns such as 'photos/**/*.jpg', and those with a suffix in named folders.

    Raises UserError for a name that is none of these, and if there are no files.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
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
