"""What a finished training prints last: the commands that use its detector."""
from __future__ import annotations

import shlex
from collections.abc import Sequence


def next_steps(detector: Sequence[str], tested: bool = False, test_set: str | None = None) -> str:
    """Commands for a detector.

    detector  its options, such as ['--run', 'output/demo']
    tested    whether it is being tested anyway
    test_set  name of a data set to test it on, if one is known
    """
    options = shlex.join(detector)
    lines = [f"look at detections: python tools/demo.py {options} PHOTO.jpg FOLDER",
             f"in Python: frcnn.load({', '.join(repr(word) for word in detector[1::2])})(\"PHOTO.jpg\")"]
    if not tested:
        lines.insert(0, f"test it: python tools/test_net.py {options} --imdb {shlex.quote(test_set or 'NAME')}")
    return "\n".join(["Next:", *(f"  {line}" for line in lines)])
