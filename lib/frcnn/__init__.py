"""Detectors and data sets in Python, from anywhere.

    import frcnn
    detector = frcnn.load("output/demo")
    for found in detector("street.jpg", thresh=0.5):
        print(found.label, found.score, found.box)

Every user error raises `UserError` with a message that says what to do.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from frcnn._modules import prepare

if TYPE_CHECKING:
    from frcnn.data import Dataset
    from frcnn.detector import Detector, load
    from frcnn.pictures import Picture
    from frcnn.results import Detection, Results
    from utils.errors import UserError

__path__ += prepare()
_HOMES = {"Dataset": "frcnn.data", "Detection": "frcnn.results", "Detector": "frcnn.detector", "load": "frcnn.detector",
          "Picture": "frcnn.pictures", "Results": "frcnn.results", "UserError": "frcnn.errors"}
__all__ = ["Dataset", "Detection", "Detector", "Picture", "Results", "UserError", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use, as processes that only prepare images need none of these."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
