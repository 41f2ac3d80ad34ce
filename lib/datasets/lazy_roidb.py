"""Roidb entries that are computed on access, so that data sets of any size fit into memory.

Per image only a row in a few arrays is stored: its objects, its size, and the position of its proposals in a
memory-mapped file. Overlaps, classes, mirrored boxes and regression targets are computed from these in a tenth of a
millisecond, and discarded after use. A roidb may also hold plain dictionaries: they stay plain, and entries derived
from them are computed immediately.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from datasets.roidb import Entry, completed, merge_entries, mirror, objects_entry, proposals_entry
from datasets.source import OF_A_CACHE, DatasetError

Fields = Mapping[str, Any]

_NOTHING: Fields = MappingProxyType({})
_REMEMBERED = 4     # entries cached per recipe, for callers that read several entries field by field


class Recipe:
    """How the entries of a roidb are computed.

    make     returns all fields of an entry, given its row
    quick    fields that are available without `make`: functions of the row, by name
    objects  returns an entry's annotated objects (of the image before mirroring), given its row; if set, the entry's
             other RoIs have no other classes
    """

    def __init__(self, make: Callable[[int], Fields], quick: Mapping[str, Callable[[int], Any]] = _NOTHING,
                 objects: Callable[[int], Fields] | None = None) -> None:
        self.make = lru_cache(_REMEMBERED)(lambda row: _read_only(make(row)))
        self.quick, self.objects = quick, objects


def _read_only(fields: Fields) -> Fields:
    """The fields with read-only views of their arrays: changes to the arrays would be lost."""
    views = {key: value.view() for key, value in fields.items()
             if isinstance(value, np.ndarray) and value.flags.writeable}
    for view in views.values():
        view.flags.writeable = False
    return {**fields, **views}


class LazyEntry(Entry):
    """An entry of a roidb whose fields are computed by a recipe on access.

    Fields that are assigned are stored; the arrays of all others are read-only.
    """

    __slots__ = ("_recipe", "_row", "_own", "_deferred")

    def __init__(self, recipe: Recipe, row: int) -> None:
        self._recipe, self._row = recipe, row
        self._own: Fields = _NOTHING
        self._deferred: Mapping[str, Callable[[Entry], Any]] = _NOTHING

    def __getitem__(self, key: str) -> Any:
        if key in self._own:
            return self._own[key]
        if key in self._deferred:
            return self._deferred[key](self)
        quick = self._recipe.quick.get(key)
        return quick(self._row) if quick else self._recipe.make(self._row)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._own = {**self._own, key: value}

    def __delitem__(self, key: str) -> None:
        fields = self.fields()
        del fields[key]
        self._recipe, self._deferred, self._own = _EMPTY, _NOTHING, fields

    def __iter__(self) -> Iterator[str]:
        return iter({**self._recipe.make(self._row), **self._deferred, **self._own})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return (key in self._own or key in self._deferred or key in self._recipe.quick
                or key in self._recipe.make(self._row))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are plain dictionaries."""
        return dict, (self.fields(),)

    def defer(self, functions: Mapping[str, Callable[[Entry], Any]]) -> None:
        """From now on compute these fields with functions of the entry, on each access."""
        self._deferred = {**self._deferred, **functions} if self._deferred else functions
        if self._own:
            self._own = {key: value for key, value in self._own.items() if key not in functions}

    def fields(self) -> dict[str, Any]:
        """All fields as a plain dictionary, each computed once."""
        fields = {**self._recipe.make(self._row), **self._own}
        return {**fields, **{key: function(fields) for key, function in self._deferred.items() if key not in self._own}}

    def objects(self) -> Fields:
        """The fields of the annotated objects, see `Recipe`; all fields if they cannot be told from proposals."""
        return self if self._own or not self._recipe.objects else self._recipe.objects(self._row)


_EMPTY = Recipe(lambda row: {})


def as_dict(entry: Entry) -> dict[str, Any]:
    """An entry as a plain dictionary with all fields, see `completed`; one that has them is returned as it is."""
    if isinstance(entry, LazyEntry):
        return entry.fields()
    fields = completed(entry)
    return fields if isinstance(fields, dict) else dict(fields)


def annotated(entry: Entry) -> Fields:
    """The fields of an entry's annotated objects, without its proposals if possible.

    Use only max_overlaps and max_classes: other fields may be those of the image before mirroring. The entry's other
    RoIs have no other classes.
    """
    return entry.objects() if isinstance(entry, LazyEntry) else as_dict(entry)


# ---- roidbs
def objects_roidb(boxes: Sequence[np.ndarray], classes: Sequence[np.ndarray],
                  ignored: Sequence[np.ndarray] | None = None) -> list[Entry]:
    """Entries of annotated objects: boxes (N, 4), classes (N,) and ignored boxes of each image; see `objects_entry`."""
    def make(row: int) -> Entry:
        return objects_entry(boxes[row], classes[row], None if ignored is None else ignored[row])

    return _entries(len(boxes), Recipe(make, {"flipped": lambda row: False}, make))


def proposals_roidb(boxes: Sequence[np.ndarray], objects: Sequence[Entry] | None) -> list[Entry]:
    """Entries of proposals only: boxes (N, 4) of each image, labelled by its objects; see `proposals_entry`."""
    known = list(objects) if objects is not None else [None] * len(boxes)
    _check_lengths(known, boxes)
    return _entries(len(boxes), Recipe(lambda row: proposals_entry(boxes[row], known[row]),
                                       {"flipped": lambda row: False}))


def with_proposals(objects: Sequence[Entry], boxes: Sequence[np.ndarray]) -> list[Entry]:
    """Entries of objects followed by proposals: boxes (N, 4) of each image."""
    known = list(objects)
    _check_lengths(known, boxes)

    def make(row: int) -> Entry:
        entry = as_dict(known[row])
        return merge_entries(entry, proposals_entry(boxes[row], entry))

    return _entries(len(known), Recipe(make, {"flipped": lambda row: known[row]["flipped"]},
                                       lambda row: annotated(known[row])))


def merged_roidb(first: Sequence[Entry], second: Sequence[Entry]) -> list[Entry]:
    """Join the RoIs of two roidbs image by image."""
    pairs = list(zip(first, second, strict=True))

    def make(row: int) -> Entry:
        return merge_entries(*map(as_dict, pairs[row]))

    recipe = Recipe(make)
    return [LazyEntry(recipe, row) if any(isinstance(entry, LazyEntry) for entry in pair) else make(row)
            for row, pair in enumerate(pairs)]


def mirrored_roidb(entries: Sequence[Entry], widths: np.ndarray) -> list[Entry]:
    """Entries of the mirrored images; `widths` (I,) in pixels."""
    known = list(entries)
    _check_lengths(known, widths)
    return derived_roidb(known, lambda entry, row: mirror(entry, int(widths[row])),
                         {"flipped": lambda row: not known[row]["flipped"]})


def derived_roidb(entries: list[Entry], change: Callable[[dict[str, Any], int], Entry],
                  quick: Mapping[str, Callable[[int], Any]]) -> list[Entry]:
    """Apply `change(entry, row)`, which must keep max_overlaps and max_classes, to each entry.

    quick  as in `Recipe`; used for lazy entries
    """
    recipe = Recipe(lambda row: change(as_dict(entries[row]), row), quick, lambda row: annotated(entries[row]))
    return [LazyEntry(recipe, row) if isinstance(entry, LazyEntry) else change(as_dict(entry), row)
            for row, entry in enumerate(entries)]


def _check_lengths(entries: Sequence[object], others: Sequence[object] | np.ndarray) -> None:
    if len(entries) != len(others):
        raise DatasetError(f"{len(entries)} entries of a roidb, but data for {len(others)} images{OF_A_CACHE}")


def _entries(count: int, recipe: Recipe) -> list[Entry]:
    return [LazyEntry(recipe, row) for row in range(count)]
