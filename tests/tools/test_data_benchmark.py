"""experiments/benchmarks/data.py with small data; its results are in data.md."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "data"


@pytest.fixture
def program(program, monkeypatch):
    monkeypatch.setattr(program, "HEIGHT", 60)
    monkeypatch.setattr(program, "WIDTH", 100)
    monkeypatch.setattr(program, "WARM_UP", 0.01)
    return program


def test_every_mode_gives_the_same_minibatches(program, tmp_path):
    roidb, batches = program.make_roidb(tmp_path, images=4, rois=10), []
    for prefetch, workers in program.MODES.values():
        net = program.make_net(tmp_path, roidb, prefetch, workers)
        net.forward()
        batches.append({name: net.blobs[name].data.copy() for name in program.TOPS})
        net.layers[0].close()
    assert batches[0]["data"].shape == (2, 3, 600, 1000) and len(batches[0]["rois"]) == 20
    for batch in batches[1:]:
        for name in program.TOPS:
            np.testing.assert_array_equal(batch[name], batches[0][name])


def test_what_is_measured(program, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "PERIOD", 0.002)
    found = program.measure(tmp_path, program.make_roidb(tmp_path, images=4, rois=10), 0.02)
    assert list(found) == list(program.MODES)
    for row in found.values():
        assert row["rate"] > 0 and 0 < row["wait"] < 1 and row["forward"] > 0 and row["busy"] > 0


def test_the_report(program):
    found = {mode: {"rate": 20.0 * (index + 1), "wait": 0.5 / (1 + 9 * index) ** 2, "forward": 0.012, "busy": 1.5}
             for index, mode in enumerate(program.MODES)}
    text = program.report(found, 0.25)
    assert "| 2 processes | 80 | 4.00 | 0.06% | 12.00 | 1.50 |" in text and "load was 0.2 at the start." in text
    assert "0.06% of the time; the goal is less than 2%: met" in text and "2.00 times as many" in text
    found["2 processes"]["wait"] = 0.021
    text = program.report(found, 3.0)
    assert "missed" in text and "the ratios of the rows are rough" in text
