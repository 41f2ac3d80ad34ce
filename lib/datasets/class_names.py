"""The class names of a data set, and their matching with names in annotations."""
from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from datasets.source import ANY_CLASS, DatasetError, Source
from utils.text import has_unprintable, printable

BACKGROUND = "__background__"


class ClassNames:
    """Finds the class of a name: the exact match, or else the first that differs only in spelling.

    Spellings may differ in case and in the Unicode normalisation of accents.

    respelled  number of matches of each (name, class) that differ in spelling
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._by_spelling = {_spelling(name): name for name in reversed(self.classes)}
        self.respelled: Counter[tuple[str, str]] = Counter()

    def find(self, name: str) -> str:
        """The class of a name; the name itself if there is none."""
        found = name if name in self.classes else self._by_spelling.get(_spelling(name), name)
        if found != name:
            self.respelled[name, found] += 1
        return found


def find_classes(sources: Sequence[Source]) -> list[str]:
    """Sorted names of the annotated classes in the training splits of data sets. Raises DatasetError if there are none.

    If a name has several spellings (see `ClassNames`), the most frequent one is used. The background does not count.
    """
    counts: Counter[str] = Counter()
    for source in sources:
        counts.update(source.training_names())
    for name in (BACKGROUND, ANY_CLASS):
        counts.pop(name, None)
    if not counts:
        raise DatasetError(f"{sources[0].training_in}: no annotated object found, so no class names; give the classes")
    return merge_spellings(counts)


def merge_spellings(counts: Mapping[str, int]) -> list[str]:
    """Sorted names, each in its most frequent spelling (see `ClassNames`)."""
    by_spelling: dict[str, str] = {}
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        by_spelling.setdefault(_spelling(name), name)
    return sorted(by_spelling.values())


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def with_background(classes: Sequence[str]) -> tuple[str, ...]:
    """The names, background first. Raises DatasetError unless they are a list of distinct, printable names."""
    if isinstance(classes, str):
        raise DatasetError(f"classes: expected a list of names, found the text {classes!r}")
    names = [str(name).strip() for name in classes]
    names = names if names and names[0] == BACKGROUND else [BACKGROUND, *names]
    if len(set(names)) < len(names):
        raise DatasetError(f"class names must differ: {', '.join(names)}")
    for name in filter(has_unprintable, names):
        raise DatasetError(f"the class name '{printable(name)}' has control characters; rename the class")
    if len(names) == 1:
        raise DatasetError("classes: no name but the background's; name at least one class")
    return tuple(names)
