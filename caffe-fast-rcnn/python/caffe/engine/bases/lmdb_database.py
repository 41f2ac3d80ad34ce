"""LMDB databases for reading.

The package lmdb maps a database into memory without validating it: a missing or damaged page crashes the process.
Here it only checks that a folder holds a database; the pages are read and validated one by one. Their layout is that
of mdb.c: a file of pages, the first two of which describe the B+ tree whose leaves hold the records.
"""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from ...errors import WireError

# Meta page: header (16 bytes), magic, version, map address and size; the tree of free pages (48 bytes, beginning with
# the page size), the main tree (flags, depth, pages, entries, root); the last page, the transaction id
_META = struct.Struct("<16x I I 16x I 44x 4x H H 24x Q Q Q Q")
_MAGIC = 0xBEEFC0DE
_NO_PAGE = 2**64 - 1
_PAGE = struct.Struct("<Q 2x H H H")        # page number, flags, end of the node pointers, start of the nodes
_BRANCH, _LEAF = 1, 2                       # page flags
_NODE = struct.Struct("<H H H H")           # low and high half of the value's length, flags, key length
_ELSEWHERE, _SUBTREES = 1, 6                # node flags: value on overflow pages; duplicate keys, unused by Caffe


class LmdbDatabase:
    """The LMDB database in a folder.

    Opening and reading raise WireError if there is none or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        import lmdb  # here, because the package is only needed for databases
        self.path = os.path.join(folder, "data.mdb")
        try:
            with open(self.path, "rb") as file:
                self._read_meta(file)
            lmdb.open(os.fspath(folder), readonly=True, lock=False, create=False).close()
        except (OSError, lmdb.Error) as error:
            raise WireError(getattr(error, "strerror", None) or str(error)) from None

    def _read_meta(self, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        first = file.read(_META.size)
        self.page_size = _META.unpack(first)[2] if len(first) == _META.size else 0
        file.seek(self.page_size)
        metas = [_META.unpack(data) for data in (first, file.read(_META.size)) if len(data) == _META.size]
        metas = [meta for meta in metas if meta[0] == _MAGIC and meta[2] == self.page_size]
        if not metas:
            raise WireError(f"{self.path} is no LMDB database, or a damaged one")
        *_, self._entries, self._root, last, _ = max(metas, key=lambda meta: meta[-1])
        self._pages = last + 1
        if self._pages * self.page_size > size:
            raise WireError(f"{self.path} is cut short: {size} bytes of {self._pages * self.page_size}; make it again")

    def __len__(self) -> int:
        return self._entries

    def records(self) -> Iterator[tuple[str, bytes]]:
        """The (key, value) pairs in key order."""
        pending = [self._root] if self._root != _NO_PAGE else []
        seen = found = 0
        with open(self.path, "rb") as file:
            while pending:
                number, seen = pending.pop(), seen + 1
                page = self._read(file.fileno(), number, 0, self.page_size)
                is_leaf, places = self._nodes(number, page)
                if is_leaf:
                    for place in places:
                        yield self._record(file.fileno(), number, page, place)
                    found += len(places)
                else:
                    pending += [low | high << 16 | top << 32 for low, high, top, _ in
                                (_NODE.unpack_from(page, place) for place in reversed(places))]
                if seen > self._pages:
                    self._refuse(number)        # a cycle of pages
        if found != self._entries:
            raise WireError(f"{self.path} is damaged: {found} records of {self._entries}; make it again")

    def _nodes(self, number: int, page: bytes) -> tuple[bool, tuple[int, ...]]:
        """Whether a page is a leaf, and the offsets of its nodes."""
        own_number, flags, pointers_end, nodes = _PAGE.unpack_from(page)
        if own_number != number or flags & 0xF not in (_BRANCH, _LEAF) \
                or not _PAGE.size <= pointers_end <= nodes <= len(page):
            self._refuse(number)
        places = struct.unpack_from(f"<{(pointers_end - _PAGE.size) // 2}H", page, _PAGE.size)
        if places and max(places) + _NODE.size > len(page):
            self._refuse(number)
        return bool(flags & _LEAF), places

    def _record(self, file: int, number: int, page: bytes, place: int) -> tuple[str, bytes]:
        low, high, flags, key_length = _NODE.unpack_from(page, place)
        start, length = place + _NODE.size + key_length, low | high << 16
        end = start + (8 if flags & _ELSEWHERE else length)
        if end > len(page) or flags & _SUBTREES:
            self._refuse(number)
        value = page[start:end]
        if flags & _ELSEWHERE:
            value = self._read(file, int.from_bytes(value, "little"), _PAGE.size, length)
        return page[place + _NODE.size:start].decode("utf-8", "replace"), value

    def _read(self, file: int, number: int, skipped: int, length: int) -> bytes:
        """Read `length` bytes after the first `skipped` of a page, across the following pages."""
        start = number * self.page_size + skipped
        if start + length > os.fstat(file).st_size:
            self._refuse(number)
        return os.pread(file, length, start)

    def _refuse(self, number: int) -> NoReturn:
        raise WireError(f"{self.path} is damaged at page {number}; make it again")
