"""`python -m caffe`, and the program `caffe`: the command line of the engine."""
from __future__ import annotations

import sys

from .commands import main

if __name__ == "__main__":
    sys.exit(main())
