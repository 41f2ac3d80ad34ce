"""What is wrong with a data set, and what is done about it."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

LEFT_OUT, DROPPED, CLIPPED = "image left out", "box dropped", "box clipped"
_NAMED = 8      # so many images are named where a line is about several


@dataclass
class Problem:
    """One thing wrong with a data set."""
    image: str      # name of the image
    what: str
    action: str     # what is done about it
    label: str = ""     # unknown class that it is about: reported once for all images


def report(problems: Iterable[Problem]) -> str:
    """All problems by what is done about them, one a line; unknown classes a line each, however many objects they have.
    """
    by_action: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_action[problem.action].append(problem)
    groups = [[f"{action} ({len(group)}):", *(f"  {problem.image}: {problem.what}" for problem in group
                                              if not problem.label), *_class_lines(group)]
              for action, group in by_action.items()]
    return "\n".join(line for group in groups for line in group)


def _class_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each unknown class: how many objects in how many images, and some of these."""
    images: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.label:
            images[problem.what].append(problem.image)
    for what, names in images.items():
        different = list(dict.fromkeys(names))
        more = ", ..." if len(different) > _NAMED else ""
        yield f"  {what}: {len(names)} objects in {len(different)} images: {', '.join(different[:_NAMED])}{more}"
