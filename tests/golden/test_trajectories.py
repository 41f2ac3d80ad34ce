"""Twenty iterations of each training stage give the recorded losses and weights.

Measured on one machine against the record: with two threads, without oneDNN and in float64 losses differ by up to
1.0e-6 of their value and norms of weights by up to 1.2e-7, in the last iterations no more than in the first. The
tolerances are ten to twenty times that, and ten times larger again on a GPU, which sums in another order. Counts of
training examples must agree exactly.
"""
import json

import numpy as np
import pytest
import torch
from golden.record_trajectories import FOLDER, STAGES, train

LOSS_RTOL, NORM_RTOL = 1e-5, 2e-6
WIDER = {"cpu": 1, "gpu": 10}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=needs_gpu)])
def where(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=STAGES)
def records(request, where) -> tuple[dict, dict]:
    """The record of a stage, and the result of training it now."""
    recorded = json.loads((FOLDER / f"{request.param}.json").read_text())
    return recorded, train(request.param, on_gpu=where == "gpu")


def compare(recorded: dict, now: dict, rtol: float, what: str) -> None:
    assert sorted(now) == sorted(recorded)
    for name, value in recorded.items():
        np.testing.assert_allclose(now[name], value, rtol=rtol, err_msg=f"{what}, {name}")


def test_it_starts_from_the_same_weights(records, where):
    compare(*(record["norms_before"] for record in records), WIDER[where] * NORM_RTOL, "before training")


def test_batches_hold_the_same_examples(records):
    """If this fails from the first iteration on, sampling changed (or NumPy's random numbers), not the engine."""
    recorded, now = records
    assert now["examples"] == recorded["examples"]


def test_losses_of_every_iteration(records, where):
    for iteration, pair in enumerate(zip(*(record["losses"] for record in records), strict=True)):
        compare(*pair, WIDER[where] * LOSS_RTOL, f"iteration {iteration}")


def test_weights_after_the_last_iteration(records, where):
    compare(*(record["norms_after"] for record in records), WIDER[where] * NORM_RTOL, "after training")


def test_the_record_can_show_changes(records):
    """Losses fall, and every parameter either moves by more than the tolerance or is frozen and does not move."""
    recorded, _ = records
    assert sum(recorded["losses"][-1].values()) < 0.8 * sum(recorded["losses"][0].values())
    for name, before in recorded["norms_before"].items():
        moved = abs(recorded["norms_after"][name] / before - 1)
        assert moved == 0 or moved > 10 * NORM_RTOL, name
