"""Tables and numbers as text."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Lines of aligned columns; the columns in `numbers` are right-aligned."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.rjust(width) if column in numbers else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                     for line in lines)


def shape_text(shape: Sequence[int]) -> str:
    """'1x3x32x32'; 'scalar' for a shape without axes."""
    return "x".join(str(dim) for dim in shape) or "scalar"


def values_text(values: np.ndarray, shown: int = 10) -> str:
    """The first few numbers, followed by their count if there are more."""
    text = " ".join(f"{value:.6g}" for value in values[:shown])
    return text + (f" ... ({len(values)} values)" if len(values) > shown else "")


def memory_text(values: int, bytes_each: int = 4) -> str:
    """Memory of this many values: '12.30 MB' (2^20 bytes)."""
    return f"{values * bytes_each / 2**20:,.2f} MB"
