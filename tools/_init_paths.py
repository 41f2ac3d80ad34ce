"""Puts `caffe` and the detector's packages in lib/ on the import path; every tool imports this module first.

Exits with one message if a required package is not installed, or at Ctrl-C during the imports.
"""
import importlib.util
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "caffe-fast-rcnn" / "python"
# Module: the package that provides it. Our engine needs torch; another Caffe does not
_NEEDED = {"numpy": "numpy", "cv2": "opencv", "yaml": "pyyaml", "google": "protobuf",
           "utils.cython_bbox": "compiled extensions", **({"torch": "torch"} if ENGINE.is_dir() else {})}

_usual_hook = sys.excepthook


def _without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report Ctrl-C while a tool imports its modules as `commands.options.tool` does afterwards."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        _usual_hook(kind, error, trace)


sys.excepthook = _without_traceback

for folder in (ROOT / "lib", ENGINE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

if missing := [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]:
    install = "" if (ROOT / ".venv" / "bin" / "activate").is_file() else "make install && "
    sys.exit(f"error: {sys.executable} has no {', '.join(missing)}. "
             f"Run: cd {ROOT} && {install}. .venv/bin/activate")
