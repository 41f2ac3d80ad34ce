"""experiments/benchmarks/parallel.py with one iteration in one process; its results are in parallel.md."""
import argparse

import pytest

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "parallel"


def test_what_is_measured(program, tmp_path):
    program.write_files(tmp_path, "Tiny")
    found = program.measure(tmp_path, "Tiny", 1)
    assert found["images"] == 1 and found["seconds"] > 0 and 0.1 < found["megabytes"] < 10


def test_the_report(program):
    options = argparse.Namespace(processes=2, net="Tiny", iterations=30)
    found = {1: {"threads": 2, "seconds": 0.1, "rate": 10.0, "megabytes": 1.5},
             2: {"threads": 1, "seconds": 0.16, "rate": 12.5, "megabytes": 1.5}}
    text = program.report(found, options)
    assert "| 2 | 1 | 0.160 | 12.50 |" in text and "1.25 times that of one process" in text and "1.5 MB" in text
