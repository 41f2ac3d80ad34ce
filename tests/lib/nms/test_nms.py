"""cpu_nms and py_cpu_nms against recorded results and a slow loop; gpu_nms if there is a GPU."""
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from nms.cpu_nms import cpu_nms
from nms.gpu_nms import gpu_nms
from nms.py_cpu_nms import py_cpu_nms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "engine"))
import kernel_oracles as oracle

BOTH = pytest.mark.parametrize(("function", "prefix"), [(cpu_nms, "cpu"), (py_cpu_nms, "py")])


def at_every_threshold(function, case):
    return [function(case.inputs["dets"], threshold) for threshold in case.inputs["thresholds"].tolist()]


def check(case, kept, prefix):
    case.check(f"{prefix}_counts", [len(keep) for keep in kept])
    case.check(f"{prefix}_keep", np.array(sum(kept, []), np.int64))


@BOTH
@golden("nms", "contract")
def test_recorded_results(case, function, prefix):
    check(case, at_every_threshold(function, case), prefix)


@BOTH
@golden("nms", "quirk", name="nms_exact_threshold")
def test_an_iou_equal_to_the_threshold(case, function, prefix):
    """cpu_nms drops the box, py_cpu_nms keeps it, as in the originals."""
    check(case, at_every_threshold(function, case), prefix)


@BOTH
@golden("nms", "quirk", name="nms_threshold_0_and_1")
def test_thresholds_of_0_and_1(case, function, prefix):
    check(case, at_every_threshold(function, case), prefix)


@BOTH
@golden("nms", "quirk", name="nms_tied_scores")
def test_equal_scores_are_taken_in_the_order_of_the_input(case, function, prefix):
    """The originals had no documented order."""
    dets, kept = case.inputs["dets"], at_every_threshold(function, case)
    for keep, threshold in zip(kept, case.inputs["thresholds"].astype(np.float32), strict=True):
        assert keep == oracle.nms(dets, lambda iou, limit=threshold: iou > limit)
        assert keep == sorted(keep, key=lambda i: (-dets[i, 4], i))
    if "disjoint" in case.name:
        assert sorted(sum(kept, [])) == sorted(case.outputs[f"{prefix}_keep"])


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1), count=st.integers(0, 90), threshold=st.floats(0, 1))
def test_against_the_loop(seed, count, threshold):
    dets = oracle.random_dets(np.random.default_rng(seed), count)
    assert cpu_nms(dets, threshold) == oracle.nms(dets, lambda iou: float(iou) >= threshold)
    assert py_cpu_nms(dets, threshold) == oracle.nms(dets, lambda iou: iou > np.float32(threshold))


@pytest.mark.parametrize("function", [cpu_nms, py_cpu_nms])
def test_odd_input(function):
    assert function(np.zeros((0, 5), np.float32), 0.5) == []
    scores = np.array([np.nan, 0.5, np.nan, -np.inf, np.inf])
    apart = np.column_stack([np.arange(5) * 10, np.zeros(5), np.arange(5) * 10 + 5, np.full(5, 5), scores])
    assert function(apart, 0.5) == [4, 1, 3]
    assert function(apart.astype(np.float64), 0.5) == [4, 1, 3]
    no_area = np.array([[5, 5, 4, 4, 0.9], [5, 5, 4, 4, 0.8]], np.float32)
    assert function(no_area, 0.5) == [0, 1]


def test_wrong_input():
    with pytest.raises(ValueError, match=r"\(N, 5\), got \(2, 4\)"):
        cpu_nms(np.zeros((2, 4)), 0.5)
    with pytest.raises(ValueError, match="thresh is NaN"):
        cpu_nms(np.zeros((2, 5)), float("nan"))


def test_max_keep_limits_the_list():
    dets = oracle.random_dets(np.random.default_rng(0), 200)
    everything = cpu_nms(dets, 0.5)
    assert len(everything) > 7
    assert cpu_nms(dets, 0.5, max_keep=7) == everything[:7]
    assert cpu_nms(dets, 0.5, max_keep=1000) == everything


@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 1 / 3, 0.7, 1, -1, 2, math.inf])
def test_a_caffe_without_nms_keeps_the_same_boxes(monkeypatch, threshold):
    dets = oracle.random_dets(np.random.default_rng(2), 83)
    with_engine = [cpu_nms(dets, threshold, max_keep) for max_keep in (0, 5)]
    monkeypatch.setattr("nms.cpu_nms.has_nms", lambda: False)
    assert [cpu_nms(dets, threshold, max_keep) for max_keep in (0, 5)] == with_engine


def test_gpu_nms_calls_the_engine(monkeypatch):
    calls = []

    def nms(dets, thresh, max_keep, device):
        calls.append((dets.dtype, thresh, max_keep, device))
        return np.array([2, 0])

    monkeypatch.setattr("nms.gpu_nms.caffe", types.SimpleNamespace(nms=nms))
    assert gpu_nms(np.zeros((3, 5)), 0.7, device_id=1) == [2, 0]
    assert calls == [(np.float32, 0.7, 0, "cuda:1")]


def test_gpu_nms_without_the_extension_says_what_to_do(monkeypatch):
    monkeypatch.setattr("nms.gpu_nms.has_nms", lambda: False)
    with pytest.raises(RuntimeError, match="set USE_GPU_NMS to False"):
        gpu_nms(np.zeros((3, 5)), 0.7)


def test_gpu_nms_equals_py_cpu_nms():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    dets = oracle.random_dets(np.random.default_rng(1), 500, spread=200)
    for threshold in (0.3, 0.5, 0.7):
        assert gpu_nms(dets, threshold) == py_cpu_nms(dets, threshold)
