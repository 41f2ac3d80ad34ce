"""LMDB and LevelDB databases, opened for reading."""
from __future__ import annotations

import importlib
import os
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from ...errors import CaffeError, WireError
from ...proto.binary import LFS_POINTER, is_lfs_pointer
from .lmdb_database import LmdbDatabase

_open: weakref.WeakValueDictionary[str, _LevelDatabase] = weakref.WeakValueDictionary()     # by real path


class DatabaseError(CaffeError, ValueError):
    """A database cannot be opened. The message names the folder and the reason."""


class Database(Protocol):
    """A database open for reading."""

    def records(self) -> Iterator[tuple[str, bytes]]:
        """The (key, value) pairs in key order. Raises WireError for a damaged database."""

    def __len__(self) -> int:
        """The number of records."""


class _LevelDatabase:
    """A LevelDB database. Only one process can open it, and only once; opening it may rewrite its files."""

    def __init__(self, path: str) -> None:
        if not os.path.isdir(path):
            raise DatabaseError(f"cannot open the LevelDB database '{path}': there is no such folder; LMDB databases "
                                "need `backend: LMDB`")
        plyvel = _package("plyvel", "LevelDB", path)
        self._path, self._errors = path, (plyvel.Error, OSError)
        try:
            self._database = plyvel.DB(path, create_if_missing=False)
        except self._errors as error:
            raise DatabaseError(f"cannot open the LevelDB database '{path}': {_text(error)}") from None

    def records(self) -> Iterator[tuple[str, bytes]]:
        try:
            for key, value in self._database.iterator():
                yield key.decode("utf-8", "replace"), value
        except self._errors as error:
            raise WireError(f"cannot read the LevelDB database '{self._path}': {_text(error)}") from None

    def __len__(self) -> int:
        return sum(1 for _ in self._database.iterator(include_value=False))


def kind_of(path: str) -> str:
    """LMDB or LEVELDB, by the files in a folder; empty for any other path."""
    if os.path.exists(os.path.join(path, "CURRENT")):
        return "LEVELDB"
    return "LMDB" if os.path.exists(os.path.join(path, "data.mdb")) else ""


def open_database(path: str, kind: str) -> Database:
    """Open a database of a kind, LMDB or LEVELDB. Raises DatabaseError."""
    found = kind_of(path)
    for name in ("data.mdb", "CURRENT"):
        if is_lfs_pointer(os.path.join(path, name)):
            raise DatabaseError(f"{os.path.join(path, name)}: this is {LFS_POINTER}, not a database")
    if found and found != kind:
        raise DatabaseError(f"'{path}' is a database of the other kind: set `backend: {found}`")
    return _lmdb_database(path) if kind == "LMDB" else _level_database(path)


def _lmdb_database(path: str) -> LmdbDatabase:
    _package("lmdb", "lmdb", path)
    try:
        return LmdbDatabase(path)
    except WireError as error:
        raise DatabaseError(f"cannot open the LMDB database '{path}': {error}") from None


def _level_database(path: str) -> _LevelDatabase:
    key = os.path.realpath(path)
    database = _open.get(key)
    if database is None:
        database = _open[key] = _LevelDatabase(path)
    return database


def _package(name: str, kind: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        what = "package lmdb" if name == kind else f"package {name} for {kind} databases"
        raise DatabaseError(f"reading the database '{path}' needs the {what}: pip install {name}") from None


def _text(error: Exception) -> str:
    """The message of a plyvel error, whose arguments are bytes."""
    said = error.args[0] if error.args else error
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
