"""The error for nets that cannot be exported."""
from __future__ import annotations

from collections.abc import Mapping


class ExportError(ValueError):
    """Layers that cannot be exported; the message names all of them."""


def refuse(target: str, reasons: Mapping[str, str]) -> None:
    """Raise ExportError where there are reasons: {"layer 'data' (Data)": why}."""
    if reasons:
        lines = [f"  {layer}: {reason}" for layer, reason in reasons.items()]
        raise ExportError("\n".join([f"this net cannot become {target}:", *lines]))


def name_of(layer) -> str:
    """How messages name a layer."""
    return f"layer '{layer.name}' ({layer.type})"
