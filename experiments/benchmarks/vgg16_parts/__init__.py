"""The parts of gpu.py and cpu.py: what is measured on either side, the floor beneath it, and the report."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))

import _init_paths  # noqa: E402, F401
