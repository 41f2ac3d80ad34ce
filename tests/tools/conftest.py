"""A small data set, and fixtures shared by the tests of the benchmarks."""
import importlib
import sys
from pathlib import Path

import pytest

import caffe

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """The benchmarks' folder, which is on sys.path during the test."""
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    yield BENCHMARKS
    sys.path[:] = before            # the programs also extend it


@pytest.fixture(scope="module")
def program(request, benchmarks):
    """The benchmark that the test module names in BENCHMARK."""
    return importlib.import_module(request.module.BENCHMARK)


@pytest.fixture
def clean_settings(default_settings):
    """Resets cfg and the engine to their defaults before and after the test."""
    yield
    caffe.set_precision("float32")
    caffe.set_mode_cpu()
