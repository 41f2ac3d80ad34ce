"""Imports the modules named by the setting IMPORTS, by which users add data sets, layers and mining rules."""
from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class ImportsError(UserError, ImportError):
    """A module named by IMPORTS cannot be imported."""


def import_modules(names: Sequence[str], folder: str = "") -> None:
    """Import modules by their full names, from sys.path or `folder`. Each is imported once per process.

    The folder is appended to sys.path, so that its modules can import one another but do not shadow other packages.
    Raises ImportsError that says what was searched, or where in the user's file an exception was raised.
    """
    wrong = [repr(name) for name in names if not _NAME.fullmatch(name)]
    if wrong:
        raise ImportsError(f"IMPORTS: {', '.join(wrong)}: expected names of modules, such as my_module or "
                           "my_package.data")
    if names and folder and folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    for name in names:
        _import(name, folder)


def _import(name: str, folder: str) -> None:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ImportsError(f"IMPORTS: {_reason(name, folder, error)}") from error
    inside = Path(folder, *name.split("."))
    own = [path for path in (inside.with_suffix(".py"), inside / "__init__.py") if folder and path.is_file()]
    found = getattr(module, "__file__", None)
    if own and not (found and Path(found).resolve() in [path.resolve() for path in own]):
        raise ImportsError(f"IMPORTS: {own[0]}: another module has the name {name}, {found or 'which is built in'}: "
                           "rename yours")


def _reason(name: str, folder: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        places = f"in {folder}, the folder of the settings, or on PYTHONPATH" if folder else "on PYTHONPATH"
        return f"there is no module {error.name} {places}"
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {kind}: {error.msg}"
    return f"{_place(error) or name}: {kind}: {error}"


def _place(error: BaseException) -> str:
    """file:line of the innermost frame in the folder of the module whose import failed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not frame.filename.startswith("<frozen") and frame.filename not in (__file__, importlib.__file__)]
    own = [frame for frame in frames if Path(frame.filename).parent == Path(frames[0].filename).parent]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
