"""Parts of gpu.py and cpu.py: the steps measured on both sides, the hardware's floor, and the report."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))

import _init_paths  # noqa: E402, F401
