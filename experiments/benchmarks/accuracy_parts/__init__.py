"""Parts of accuracy.py: recipes and goals, data sets and their splits, runs and their clock, the peers, the report."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))

import _init_paths  # noqa: E402, F401
