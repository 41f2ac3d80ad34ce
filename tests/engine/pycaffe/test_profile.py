"""caffe.Profile and caffe.span: measurements with a clock that the tests set."""
import itertools
import json
import re
import threading

import numpy as np
import pytest

import caffe
from caffe import spans
from caffe.profile import LayerTimes
from caffe.spans import GpuClock, Recorder, observe

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
        shape { dim: 2 dim: 3 } shape { dim: 2 dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


class FakeClock:
    """Consecutive marks are different numbers of seconds apart."""

    def __init__(self, steps=(1,)):
        self.now, self.marks, self._steps = 0.0, 0, itertools.cycle(steps)

    def mark(self):
        self.now += next(self._steps)
        self.marks += 1
        return self.now

    def seconds(self, marks):
        return list(marks)


@pytest.fixture
def solver(tmp_path):
    caffe.set_random_seed(1)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed" '
                                              'random_seed: 7 iter_size: 2')
    return caffe.get_solver(str(tmp_path / "solver.prototxt"))


def measure(source, step, iterations=8, **options):
    with caffe.Profile(source, **options) as profile:
        for _ in range(iterations):
            with profile.iteration():
                step()
    return profile


# ---------------------------------------------------------------------------------------------- spans
def test_the_own_time_of_a_span_excludes_inner_spans():
    recorder = Recorder(FakeClock(steps=(1, 2, 4, 8, 16, 32)))
    with recorder.span("outer"):                # begins at 1
        with recorder.span("first"):            # 3 .. 7
            pass
        with recorder.span("second"):           # 15 .. 31
            pass
    outer, first, second = recorder.take()      # .. 63
    assert [(span.start, span.stop, span.own, span.outer) for span in (outer, first, second)] == [
        (1, 63, 62 - 4 - 16, 0), (3, 7, 4, 1), (15, 31, 16, 1)]
    assert recorder.take() == []


def test_open_spans_cannot_be_taken_but_discarded():
    recorder = Recorder(FakeClock())
    with recorder.span("kept"):
        pass
    recorder.begin("outer")
    recorder.begin("inner")
    with pytest.raises(RuntimeError, match="'inner' has not ended"):
        recorder.take()
    recorder.discard()
    assert [span.name for span in recorder.take()] == ["kept"]


def test_a_span_closes_those_left_open_by_an_exception():
    recorder = Recorder(FakeClock())
    with recorder.span("outer"):
        recorder.begin("layer that fails")
    assert [(span.name, span.stop) for span in recorder.take()] == [("outer", 4), ("layer that fails", 3)]


def test_observing_ends(solver):
    recorder = Recorder(FakeClock())
    stop = observe(solver.net, recorder)
    solver.net.forward()
    stop()
    solver.net.forward()
    solver.net.backward()
    assert [(span.name, span.kind) for span in recorder.take()] == [
        ("data", "forward"), ("fc", "forward"), ("loss", "forward")]


def test_gpu_times_are_read_from_events_with_one_synchronisation(monkeypatch):
    waits, clock = [], itertools.count(start=5, step=250)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            self.ms = next(clock)

        def elapsed_time(self, other):
            return float(other.ms - self.ms)

    monkeypatch.setattr(spans.torch.cuda, "Event", Event)
    monkeypatch.setattr(spans.torch.cuda, "current_stream", lambda device: "stream")
    monkeypatch.setattr(spans.torch.cuda, "synchronize", waits.append)
    recorder = Recorder(GpuClock())
    for _ in range(2):
        with recorder.span("work"):
            assert not waits
    assert [(span.start, span.seconds) for span in recorder.take()] == [(0, 0.25), (0.5, 0.25)]
    assert len(waits) == 1


# ---------------------------------------------------------------------------------------------- profiles
def test_rows_add_up_to_the_whole(solver):
    profile = measure(solver, lambda: solver.step(1), first=2, count=3, clock=FakeClock(steps=(0.25, 0.5, 3, 0.125)))
    times = LayerTimes(profile.layers)
    times.add(profile.spans)
    whole = sum(span.seconds for span in profile.spans if span.name == "iteration")
    assert times.whole == whole > 0
    printed = profile.table()
    layers = re.findall(r"^(\w+) +\w+ +([\d.]+) +([\d.]+) +([\d.]+) %$", printed, re.M)
    others = re.findall(r"^(\w+) +([\d.]+) +([\d.]+) %$", printed, re.M)
    assert [row[0] for row in layers] == ["data", "fc", "loss"] and [row[0] for row in others] == ["update", "other"]
    numbers = [float(value) for row in layers for value in row[1:3]] + [float(row[1]) for row in others]
    assert sum(numbers) == pytest.approx(1000 * whole / 3, abs=0.001 * len(numbers))
    assert sum(float(row[-1]) for row in [*layers, *others]) == pytest.approx(100, abs=0.3)
    assert f"Iteration: {1000 * whole / 3:.3f} ms, the mean of 3" in printed


def test_only_a_bounded_window_is_measured(solver):
    clock, marks, done = FakeClock(), [], []
    measure(solver, lambda: (solver.step(1), marks.append(clock.marks)), iterations=8, first=3, count=2,
            clock=clock, done=lambda profile: done.append((profile.iterations, len(marks))))
    assert marks[:3] == [0, 0, 0] and 0 < marks[3] < marks[4]
    assert marks[5:] == [marks[4] + 1] * 3 == [clock.marks] * 3     # the end of iteration 4 was the last
    assert done == [(2, 5)]         # at once, not at the end of the run


@pytest.mark.parametrize("iterations, measured", [(2, []), (4, [2])])
def test_a_run_that_is_shorter_than_the_window(solver, iterations, measured):
    done = []
    measure(solver, lambda: solver.step(1), iterations, first=2, count=9,
            done=lambda profile: done.append(profile.iterations))
    assert done == measured


def test_an_iteration_that_fails_is_not_counted(solver):
    def fail():
        raise KeyError("stop")

    done = []
    with pytest.raises(KeyError), caffe.Profile(solver, first=0, clock=FakeClock(),
                                                done=lambda profile: done.append(profile)) as profile:
        with profile.iteration():
            solver.step(1)
        solver.add_callback(lambda: None, fail)
        with profile.iteration():
            solver.step(1)
    assert done == [profile] and profile.iterations == 1
    assert sum(span.name == "iteration" for span in profile.spans) == 1


def test_training_is_the_same_with_and_without(solver, tmp_path):
    other = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    for mine, theirs in zip(other.net.learnable_params, solver.net.learnable_params, strict=True):
        mine.data[...] = theirs.data
    other.step(6)
    measure(solver, lambda: solver.step(1), iterations=6, first=1, count=3)
    for mine, theirs in zip(other.net.learnable_params, solver.net.learnable_params, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)


def test_a_net_without_a_solver_and_named_spans(solver):
    def step():
        with caffe.span("read"):
            pass
        solver.net.forward()

    profile = measure(solver.net, step, first=0, count=2, clock=FakeClock())
    assert re.findall(r"^(read|other) ", profile.table(), re.M) == ["read", "other"]
    assert [span.name for span in profile.spans] == ["iteration", "read", "data", "fc", "loss"] * 2


def test_span_does_nothing_without_a_profile_and_in_other_threads(solver):
    def elsewhere():
        with caffe.span("thread"):
            pass

    def step():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    elsewhere()
    profile = measure(solver.net, step, first=0, count=1, clock=FakeClock())
    assert [span.name for span in profile.spans] == ["iteration"]


def test_the_trace_is_json_of_ordered_and_nested_spans(solver):
    profile = measure(solver, lambda: solver.step(1), first=1, count=2, clock=FakeClock(steps=(1e-6, 3e-6)))
    trace = json.loads(json.dumps(profile.trace()))
    [name, *events] = trace["traceEvents"]
    assert name["ph"] == "M" and {event["ph"] for event in events} == {"X"}
    assert {event["name"]: event["cat"] for event in events} == {
        "iteration": "other", "update": "other",
        **{f"{layer} {kind}": kind for layer in ("data", "fc", "loss") for kind in ("forward", "backward")}}
    assert next(event for event in events if event["name"] == "fc backward")["args"] == {"type": "InnerProduct"}
    assert events[0]["ts"] == 0 and [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    around = []
    for event in events:
        while around and event["ts"] >= around[-1]["ts"] + around[-1]["dur"]:
            around.pop()
        if around:
            assert event["ts"] + event["dur"] <= around[-1]["ts"] + around[-1]["dur"]
        assert event["dur"] > 0 and (event["name"] == "iteration") == (not around)
        around.append(event)
