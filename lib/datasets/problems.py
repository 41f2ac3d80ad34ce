"""Problems in the files of a data set, and the report of them."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from utils.text import printable

LEFT_OUT, DROPPED, CLIPPED = "image left out", "box dropped", "box clipped"
EXCHANGED, SCALED, TURNED = "corners exchanged", "boxes scaled with the image", "boxes turned with the image"
_NAMED = 8      # maximum number of images named in one line, and of lines for one kind of problem


@dataclass
class Problem:
    """One problem in a data set."""
    image: str      # name of the image
    what: str
    action: str     # how it is handled
    label: str = ""     # the unknown class, reported once for all images
    kind: str = ""      # the same for problems that differ only in names and numbers; default: derived from `what`


def report(problems: Iterable[Problem], limit: int | None = _NAMED) -> str:
    """Problems grouped by action, one per line; one line per unknown class, however many objects it has.

    limit  maximum number of lines for one kind of problem, the rest is counted; None: no limit
    """
    by_action: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_action[problem.action].append(problem)
    groups = [[f"{action} ({len(group)}):", *_lines(group, limit), *_class_lines(group)]
              for action, group in by_action.items()]
    return "\n".join(printable(line) for group in groups for line in group)


def is_shortened(problems: Sequence[Problem]) -> bool:
    """Whether `report` leaves out some of the problems."""
    return report(problems) != report(problems, None)


def _lines(problems: Sequence[Problem], limit: int | None) -> Iterator[str]:
    """A line for each problem that is not about an unknown class."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if not problem.label:
            kinds[_kind(problem)].append(f"  {problem.image}: {problem.what}")
    for lines in kinds.values():
        yield from lines[:limit]
        if limit is not None and len(lines) > limit:
            yield f"  ... and {len(lines) - limit} more like these"


def _kind(problem: Problem) -> str:
    """The kind of a problem, by default its text without names and numbers."""
    image = rf"(?<!\w){re.escape(problem.image)}(?!\w)"
    return problem.kind or re.sub(rf"{image}|'[^']*'|\(.*?\)|\S*[/\d]\S*", "#", problem.what)


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
