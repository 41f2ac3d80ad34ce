"""The error for nets that cannot be exported, and the layers that no format supports."""
from __future__ import annotations

from collections.abc import Mapping

from ..errors import CaffeError

_DATA = ("AnnotatedData", "Data", "HDF5Data", "ImageData", "ImageLabelmapData", "ImageSegData", "MemoryData",
         "WindowData")


class ExportError(CaffeError, ValueError):
    """A net cannot be exported; the message names all layers that prevent it."""


def reason_against(layer) -> str | None:
    """Why a layer cannot be exported, or None. A layer must be a function of its bottoms and parameters."""
    if layer.type == "Python":
        return "its code is not ours"
    if layer.type in _DATA:
        return "it reads data; give the net an Input layer instead"
    if layer.type == "DummyData" and layer.is_random:
        return "its values are random; give the net an Input layer instead"
    return None


def refuse(target: str, reasons: Mapping[str, str]) -> None:
    """Raise ExportError with all reasons, if there are any: {"layer 'data' (Data)": why}."""
    if reasons:
        lines = [f"  {layer}: {reason}" for layer, reason in reasons.items()]
        raise ExportError("\n".join([f"this net cannot become {target}:", *lines]))


def name_of(layer) -> str:
    """How messages name a layer."""
    return f"layer '{layer.name}' ({layer.type})"
