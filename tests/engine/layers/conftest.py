"""Lets the layer tests import `layer_checker` from the parent folder."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
