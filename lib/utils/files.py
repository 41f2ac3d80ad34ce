"""Atomic writing of files, JSON files, and fingerprints."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from utils.errors import UserError


class DamagedFileError(UserError, ValueError):
    """A file's content is damaged; the message names it."""


def inside(folder: str | os.PathLike, name: str) -> Path:
    """The path of a file that the record of a folder names. Raises DamagedFileError if it is not in that folder."""
    path = Path(folder, name)
    if not name or "\0" in name or not path.resolve().is_relative_to(Path(folder).resolve()):
        raise DamagedFileError(f"the file '{name}' lies outside of {folder}")
    return path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its extension; on success that file replaces `path` atomically.

    The content is flushed to disk before the rename, so that after a power failure either the old or the new file is
    there. On an exception the temporary file is removed and the old file stays. Missing folders are created; the target
    of a symbolic link is replaced, not the link. An OSError, such as that of a full disk, names the file.

    Raises IsADirectoryError if `path` is a folder.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        with naming(target):
            yield temporary
            _sync(temporary)
            os.replace(temporary, target)
            _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file in UTF-8, atomically; returns its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Add the path to every OSError of the block that names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a file's content; write errors name the target."""
    with open(source, "rb") as reader:
        copy_content(reader, target)


def copy_content(reader: BinaryIO, target: str | os.PathLike) -> None:
    """Copy the rest of a stream to a file; write errors name that file."""
    with naming(target), open(target, "wb") as writer:
        shutil.copyfileobj(reader, writer)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Content of a JSON file. Raises DamagedFileError."""
    try:
        with naming(path):
            return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:       # not UTF-8 or JSON, a number too long; too deep
        raise DamagedFileError(f"{path}: damaged JSON: {error}") from error


def read_record(path: str | os.PathLike, hint: str, /, **types: type) -> dict[str, Any]:
    """Read a JSON object that has values of these types under these keys.

    Raises DamagedFileError, whose message ends in `hint`, for any other content.
    """
    try:
        record = read_json(path)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}; {hint}") from error
    if not types and not isinstance(record, dict):
        raise DamagedFileError(f"{path}: damaged, it is no JSON object; {hint}")
    for key, kind in types.items():
        if not (isinstance(record, dict) and isinstance(record.get(key), kind)):
            raise DamagedFileError(f"{path}: damaged, its '{key}' is missing or of another type; {hint}")
    return record


def read_table(path: str | os.PathLike, hint: str, kind: type) -> dict[str, Any]:
    """Read a JSON object whose values all have the type `kind`; {} if there is no file.

    Raises DamagedFileError, whose message ends in `hint`, for any other content.
    """
    if not os.path.exists(path):
        return {}
    table = read_record(path, hint)
    for key, value in table.items():
        if not isinstance(value, kind):
            raise DamagedFileError(f"{path}: damaged, its '{key}' is of another type; {hint}")
    return table


def read_json_lines(path: str | os.PathLike, /, **types: type | tuple[type, ...]) -> list[dict[str, Any]]:
    """Read one JSON object per line, each with values of these types under these keys.

    An incomplete last line, left by a writer that was killed, is skipped. Raises DamagedFileError naming the line.
    """
    lines = Path(path).read_bytes().split(b"\n")
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise DamagedFileError(f"{path}:{number}: damaged JSON: {error}; remove this line") from error
        if value is not None:
            if not (isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in types.items())):
                raise DamagedFileError(f"{path}:{number}: damaged, this is no record; remove this line")
            values.append(value)
    return values


def write_json_lines(path: str | os.PathLike, values: Iterable[object]) -> None:
    """Write one JSON value per line, atomically."""
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def append_json_lines(path: str | os.PathLike, values: Iterable[object]) -> None:
    """Append one JSON value per line; a missing folder is created."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(value) + "\n" for value in values))


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """SHA-256 of a JSON value, independent of the order of dictionary keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
