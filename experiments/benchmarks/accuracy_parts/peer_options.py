"""The options that the programs of all peers take; see `runs.peer_command`."""
from __future__ import annotations

import argparse
from pathlib import Path

from commands.options import positive


def peer_parser(description: str) -> argparse.ArgumentParser:
    """A parser of what to train on, from which weights, for how long, and where results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--imdb", required=True, metavar="NAME", help="data set to train on")
    add("--test_imdb", required=True, metavar="NAME", help="data set to test on")
    add("--weights", type=Path, required=True, metavar="FILE", help="caffemodel with VGG16's convolutions")
    add("--images", type=positive, required=True, metavar="N", help="images to read in all")
    add("--points", type=positive, default=8, metavar="N", help="tests on the way, the last at the end (default: 8)")
    add("--seed", type=int, default=3)
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of the training (default: float32)")
    add("--output", type=Path, required=True, metavar="DIR")
    return parser
