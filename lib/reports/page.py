"""Renders pages from templates/: each is one HTML file that embeds its style, pictures and charts."""
from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from utils.errors import UserError
from utils.files import write_text
from utils.text import printable

# Marks pages that may be replaced
_GENERATOR = Markup('<meta name="generator" content="py-faster-rcnn reports">')
_HEAD = 1024        # bytes at the start of a page that contain it


def check_page(path: str | os.PathLike) -> None:
    """Raise UserError if there is a file of this name that these tools did not write."""
    file = Path(path)
    if os.path.lexists(file):
        with open(file, "rb") as stream:
            if _GENERATOR.encode() in stream.read(_HEAD):
                return
        raise UserError(f"{file}: would be overwritten, but is not a page of these tools; move it, or choose another "
                        "--output")


def write_page(path: str | os.PathLike, template: str, **content: Any) -> None:
    """Write a page atomically. All text is escaped, including names of files and classes.

    Raises UserError as `check_page` does.
    """
    check_page(path)
    write_text(path, _environment().get_template(template).render(generator=_GENERATOR, **content))


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    environment.filters.update(figure=figure, percent=percent, shade=shade)
    return environment


def _shown(value: object) -> object:
    return printable(value, keep="\n") if isinstance(value, str) and not isinstance(value, Markup) else value


def figure(value: float | None, digits: int = 3) -> str:
    """A number with this many decimals; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def shade(value: float, colour: str = "47, 111, 181") -> str:
    """The style of a table cell, which is darker for a larger share (0 to 1)."""
    strength = 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
    ink = "; color: #fff" if strength > 0.6 else ""
    return f"background: rgba({colour}, {strength:.2f}){ink}"
