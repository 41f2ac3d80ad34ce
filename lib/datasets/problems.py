"""What is wrong with a data set, and how it is handled."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

LEFT_OUT, DROPPED, CLIPPED = "image left out", "box dropped", "box clipped"
_NAMED = 8      # most images named in a line about several


@dataclass
class Problem:
    """One thing wrong with a data set."""
    image: str      # name of the image
    what: str
    action: str     # how it is handled
    label: str = ""     # the unknown class, reported once for all images


def report(problems: Iterable[Problem]) -> str:
    """All problems grouped by action, one per line; one line per unknown class, however many objects it has."""
    by_action: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_action[problem.action].append(problem)
    groups = [[f"{action} ({len(group)}):", *(f"  {problem.image}: {problem.what}" for problem in group
                                              if not problem.label), *_class_lines(group)]
              for action, group in by_action.items()]
    return "\n".join(line for group in groups for line in group)


def _class_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each unknown class: the numbers of objects and images, and some of the images."""
    images: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.label:
            images[problem.what].append(problem.image)
    for what, names in images.items():
        different = list(dict.fromkeys(names))
        more = ", ..." if len(different) > _NAMED else ""
        yield f"  {what}: {len(names)} objects in {len(different)} images: {', '.join(different[:_NAMED])}{more}"
