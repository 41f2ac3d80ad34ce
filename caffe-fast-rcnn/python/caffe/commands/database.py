"""Databases of records: reads LMDB and LevelDB, and writes new LMDB databases atomically."""
from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..engine.bases.databases import Database, kind_of, open_database
from ..engine.bases.datum import parse_datum
from ..errors import WireError
from ..proto import caffe_pb2
from .running import CommandError

try:
    import lmdb
except ModuleNotFoundError:     # the other commands do not need it
    lmdb = None     # type: ignore[assignment]

_FIRST_SIZE = 1 << 30       # of the memory map, in bytes; doubles when the database is full
_RECORDS_AT_ONCE = 1000


def check_backend(backend: str) -> None:
    """Raise CommandError unless the backend is one that can be written."""
    if backend.lower() != "lmdb":
        raise CommandError(f"-backend {backend}: only lmdb databases are written")


def _check_lmdb(path: str) -> None:
    if lmdb is None:
        raise CommandError(f"{path}: databases need the package lmdb: pip install lmdb")


def existing_database(path: str) -> Database:
    """Open a database of any kind for reading. Raises CaffeError if there is none or it is damaged."""
    if not os.path.isdir(path):
        raise CommandError(f"{path}: there is no such database folder")
    kind = kind_of(path)
    if kind != "LEVELDB":
        _check_lmdb(path)
    if not kind:
        raise CommandError(f"{path}: cannot be opened: it has neither the data.mdb of LMDB nor the CURRENT of LevelDB")
    return open_database(path, kind)


def records(path: str, database: Database) -> Iterator[tuple[str, caffe_pb2.Datum]]:
    """The records in the order of their keys. Raises CommandError for one that is not a Datum with a size."""
    for name, value in database.records():
        try:
            yield name, parse_datum(value)
        except WireError as error:
            raise CommandError(f"{path}: record '{name}' {error}") from None


class Writer:
    """Collects records and writes them in batches."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._pending: list[tuple[bytes, bytes]] = []
        self._longest = environment.max_key_size()

    def put(self, key: str, datum: caffe_pb2.Datum | caffe_pb2.AnnotatedDatum) -> None:
        """Add a record; keys must ascend, and are truncated to LMDB's limit."""
        encoded = key.encode("utf-8", "surrogateescape")[:self._longest]
        self._pending.append((encoded, datum.SerializeToString()))
        if len(self._pending) >= _RECORDS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the collected records."""
        while not self._written():
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._pending.clear()

    def _written(self) -> bool:
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in self._pending:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            return False
        return True


@contextlib.contextmanager
def new_database(path: str) -> Iterator[Writer]:
    """Create a database and yield its writer. It is renamed into place when complete; an exception leaves nothing.

    Raises CommandError if the name is taken, its folder is missing, or it cannot be written.
    """
    _check_lmdb(path)
    target = Path(path)
    if target.exists():
        raise CommandError(f"{path} exists already: remove it, or choose another name")
    if not target.absolute().parent.is_dir():
        raise CommandError(f"{path}: there is no folder {target.absolute().parent}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with lmdb.open(str(temporary), map_size=_FIRST_SIZE, sync=False, metasync=False) as environment:
            writer = Writer(environment)
            yield writer
            writer.flush()
            environment.sync(True)
        (temporary / "lock.mdb").unlink(missing_ok=True)
        os.rename(temporary, target)
    except lmdb.Error as error:     # such as a full disk, or a file system without memory maps
        raise CommandError(f"{path}: cannot write this database: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
