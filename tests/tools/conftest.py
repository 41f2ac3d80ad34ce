"""A small data set, and what tests of the benchmarks share."""
import importlib
import sys
from pathlib import Path

import pytest

import caffe
from fast_rcnn.config import reset_cfg

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """The folder of the benchmarks, whose modules can be imported by their names meanwhile."""
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    yield BENCHMARKS
    sys.path[:] = before            # the programs add to it too


@pytest.fixture(scope="module")
def program(request, benchmarks):
    """The benchmark whose name the test module has in BENCHMARK."""
    return importlib.import_module(request.module.BENCHMARK)


@pytest.fixture
def clean_settings():
    """The defaults of cfg and of the engine, also afterwards."""
    reset_cfg()
    yield
    reset_cfg()
    caffe.set_precision("float32")
    caffe.set_mode_cpu()
