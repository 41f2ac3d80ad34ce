"""Resolves `from utils.draw import x` in the modules of lib to frcnn.utils.draw where they are installed below `frcnn`.

In the checkout lib is on sys.path, and its packages have the names that py-faster-rcnn gave them. Other projects have a
`utils` and a `datasets` too, so outside the checkout only `frcnn` is importable, and the packages of lib are below it:
frcnn.utils, frcnn.datasets. Their modules are loaded with a modified `__import__` that redirects imports of these
packages; the imports of other modules are not affected.
"""
from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).resolve().parent
LIB = _HERE if (_HERE / "fast_rcnn").is_dir() else _HERE.parent        # installed, or in the checkout
_PACKAGES = {path.parent.name for path in LIB.glob("*/__init__.py")} - {__package__}


def prepare() -> list[str]:
    """Make the packages of lib importable, unless they are already; returns the folders to add to frcnn's path."""
    if any(entry and Path(entry).resolve() == LIB for entry in sys.path):
        return []
    sys.meta_path.insert(0, _Finder())
    return [] if LIB == _HERE else [str(LIB)]


class _Finder(MetaPathFinder):
    """Finds modules below `frcnn`, and has `_Loader` load them."""

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith(f"{__package__}.") else None
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loads a module with `_import` as its `__import__`."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


def _import(name: str, globals: Mapping[str, Any] | None = None, locals: Mapping[str, Any] | None = None,
            fromlist: Sequence[str] | None = (), level: int = 0) -> ModuleType:
    """`builtins.__import__` that looks up the packages of lib below `frcnn`."""
    first = name.partition(".")[0]
    if level or first not in _PACKAGES:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    full_name = f"{__package__}.{name}"
    if fromlist:
        return builtins.__import__(full_name, globals, locals, fromlist)
    importlib.import_module(full_name)      # `import utils.draw` binds utils
    return sys.modules[f"{__package__}.{first}"]
