"""Which class of a data set a name in an annotation means."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


class ClassNames:
    """Finds the class of a name: the one that is written so, or else the first one that differs in case alone.

    respelled  how often each (name, class) that differ were found
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._by_lower = {name.lower(): name for name in reversed(self.classes)}
        self.respelled: Counter[tuple[str, str]] = Counter()

    def find(self, name: str) -> str:
        """The class meant by a name; the name itself where there is none."""
        found = name if name in self.classes else self._by_lower.get(name.lower(), name)
        if found != name:
            self.respelled[name, found] += 1
        return found


def merge_spellings(counts: Mapping[str, int]) -> list[str]:
    """Sorted names; of those that differ in case alone the most frequent one."""
    by_lower: dict[str, str] = {}
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        by_lower.setdefault(name.lower(), name)
    return sorted(by_lower.values())
