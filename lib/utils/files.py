"""Atomic writing of files, and their fingerprints."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError


class DamagedFileError(UserError, ValueError):
    """A file's content is damaged; the message names it."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its extension; on success that file replaces `path` atomically.

    The content reaches the disk before the name does, so that after a power cut there is the old file or the new one.
    On an exception the temporary file is removed and the old file stays. Missing folders are created; the target of a
    symbolic link is replaced, not the link.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Content of a JSON file. Raises DamagedFileError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFileError(f"{path}: damaged JSON: {error}") from error


def read_record(path: str | os.PathLike, hint: str, **types: type) -> dict[str, Any]:
    """A JSON object from a file, with values of these types under these keys.

    Raises DamagedFileError, whose message ends in `hint`, if it is anything else.
    """
    try:
        record = read_json(path)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}; {hint}") from error
    for key, kind in types.items():
        if not (isinstance(record, dict) and isinstance(record.get(key), kind)):
            raise DamagedFileError(f"{path}: damaged, its '{key}' is missing or of another type; {hint}")
    return record


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """One value per line; a line cut off by the death of its writer is skipped."""
    values = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            values.append(json.loads(line))
    return values


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of dictionary keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
