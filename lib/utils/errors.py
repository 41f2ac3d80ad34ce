"""Errors that the user can fix, and how they are reported.

They all derive from UserError; those of a single module are defined there. Our engine's derive from caffe.CaffeError,
which has the same attribute `is_user_error`, so that they are recognised without importing caffe.
"""
from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """An error that the user of a tool can fix; the message says how."""

    is_user_error = True


class CheckError(UserError, ValueError):
    """Prototxts, settings and data set are inconsistent; the message lists every problem."""


class NotFiniteError(UserError, FloatingPointError):
    """Weights, or what a net computes from them, are NaN or infinite; the message names the layer or blob."""


def raise_all(problems: Iterable[str], hint: str = "") -> None:
    """Raise one CheckError that lists all problems (each once), then `hint`; return if there are none."""
    lines = list(dict.fromkeys(problems))
    if lines:
        raise CheckError("\n".join([*lines, *([hint] if hint else [])]))


def is_user_error(error: Exception) -> bool:
    """Whether the cause is outside the program: a UserError, NaN, or an OSError about a file."""
    return (getattr(error, "is_user_error", False) or isinstance(error, FloatingPointError)
            or (isinstance(error, OSError) and error.filename is not None))


def message_of(error: Exception) -> str:
    """The text of an error; for an OSError about a file, the file's name and the reason."""
    if isinstance(error, OSError) and error.filename is not None:
        text = "no such file or folder" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        return f"{error.filename}: {text}"
    return str(error)
