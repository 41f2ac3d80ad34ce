"""The options shared by the programs of all peers; see `runs.peer_command`."""
from __future__ import annotations

import argparse
from pathlib import Path

from commands.options import positive


def peer_parser(description: str) -> argparse.ArgumentParser:
    """A parser with options for data sets, weights, length of training, precision and output."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--imdb", required=True, metavar="NAME", help="data set to train on")
    add("--test_imdb", required=True, metavar="NAME", help="data set to test on")
    add("--weights", type=Path, required=True, metavar="FILE", help="caffemodel with VGG16's convolutions")
    add("--images", type=positive, required=True, metavar="N", help="total number of images to train on")
    add("--points", type=positive, default=8, metavar="N",
        help="number of tests during training, the last at its end (default: 8)")
    add("--seed", type=int, default=3, help="random seed (default: 3)")
    add("--precision", choices=("float32", "bfloat16"), default="float32",
        help="precision of the training (default: float32)")
    add("--output", type=Path, required=True, metavar="DIR", help="output folder")
    return parser
