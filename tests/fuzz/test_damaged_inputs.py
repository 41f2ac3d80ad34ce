"""Runs a few inputs of run.py for every kind, reads the valid inputs, and checks how failures are detected."""
import signal
import time
from types import SimpleNamespace

import pytest
import worker
from readers import KINDS, make_target
from run import report, run_kind

from fast_rcnn.config import reset_cfg
from utils.errors import UserError

COUNT = 50          # of each kind


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes the target and the valid inputs of a kind, in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    yield lambda kind: make_target(kind, tmp_path / "work")
    reset_cfg()


@pytest.mark.parametrize("kind", KINDS)
def test_valid_inputs_are_read(kind, make):
    target, valid = make(kind)
    for data in valid:
        target.path.write_bytes(data)
        target.read()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs_end_in_user_errors(kind, tmp_path):
    failures = run_kind(kind, seed=0, count=COUNT, out=tmp_path)
    assert not failures, report(failures)


def test_an_input_depends_only_on_seed_and_number(make):
    target, valid = make("xml")
    made = [worker.make_input("xml", seed, number, valid, target.mutations) for seed in (0, 1) for number in range(20)]
    again = worker.make_input("xml", 1, 7, valid, target.mutations)
    assert again == made[27] and len(set(made)) > 30


def raising(error):
    def read():
        raise error
    return SimpleNamespace(read=read)


@pytest.mark.parametrize("error, found", [(UserError("a"), None), (FileNotFoundError(2, "no", "file"), None),
                                          (OSError(22, "Invalid argument"), "OSError"), (ValueError("b"), "ValueError"),
                                          (SystemExit(0), "SystemExit"), (RecursionError(), "RecursionError")])
def test_only_user_errors_are_accepted(error, found):
    failure = worker.read(raising(error))
    assert (failure and failure["error"]) == found


def test_what_takes_too_long_is_a_failure(monkeypatch):
    monkeypatch.setattr(worker, "SECONDS", 0.2)
    previous = signal.signal(signal.SIGALRM, worker._too_long)
    try:
        failure = worker.read(SimpleNamespace(read=lambda: time.sleep(5)))
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert failure["error"] == "TooLong"
