"""A small data set, and fixtures shared by the tests of the benchmarks."""
import importlib
import sys
from pathlib import Path

import pytest

import caffe

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """The folder of the benchmarks, temporarily on sys.path."""
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    yield BENCHMARKS
    sys.path[:] = before            # the programs extend it too


@pytest.fixture(scope="module")
def program(request, benchmarks):
    """The benchmark named by the test module's BENCHMARK."""
    return importlib.import_module(request.module.BENCHMARK)


@pytest.fixture
def clean_settings(default_settings):
    """Defaults of cfg and of the engine, also restored afterwards."""
    yield
    caffe.set_precision("float32")
    caffe.set_mode_cpu()
