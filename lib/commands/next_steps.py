"""The commands that use a new detector, printed at the end of its training."""
from __future__ import annotations

import shlex
from collections.abc import Sequence


def next_steps(detector: Sequence[str], tested: bool = False, test_set: str | None = None) -> str:
    """Text that lists the commands for a detector.

    detector  its options, such as ['--run', 'output/demo']
    tested    whether the training command tests it as well
    test_set  name of a data set to test it on, if known
    """
    options = shlex.join(detector)
    lines = [f"look at detections: python tools/demo.py {options} PHOTO.jpg FOLDER",
             f"in Python: frcnn.load({', '.join(repr(word) for word in detector[1::2])})(\"PHOTO.jpg\")"]
    if not tested:
        lines.insert(0, f"test it: python tools/test_net.py {options} --imdb {shlex.quote(test_set or 'NAME')}")
    return "\n".join(["Next:", *(f"  {line}" for line in lines)])
