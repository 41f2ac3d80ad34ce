"""Makes `caffe` and the detector's packages in lib/ importable: the first import of every tool."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

for folder in (ROOT / "lib", ROOT / "caffe-fast-rcnn" / "python"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
