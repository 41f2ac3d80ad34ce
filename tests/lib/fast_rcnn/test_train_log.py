"""Log lines: text for people, JSON for programs."""
import io
import json
from types import SimpleNamespace

import pytest

from fast_rcnn.train_log import LossError, StepOfRun, TrainLog, loss_curves, read_log
from utils.files import read_json_lines
from utils.other_caffe import peak_memory_mb


def make(tmp_path, **options):
    return TrainLog("stage1_fast_rcnn", 400, tmp_path / "logs" / "a.jsonl", stream=io.StringIO(), **options)


def test_a_report_is_printed_and_recorded(tmp_path):
    log = make(tmp_path)
    log.start(100)
    log.report(120, {"loss_cls": 0.5, "loss_bbox": 0.33}, 0.83, 0.01,
               {"OHEMDataLayer": {"all RoIs": 0.31, "hard": 1.92}}, peak_mb=812.4)
    line = log.stream.getvalue()
    assert line.startswith("stage1_fast_rcnn  iter 120/400  loss 0.83 (all RoIs 0.31, hard 1.92)  lr 0.01  ")
    assert "s/iter  ETA 0:00:00  peak 812 MB" in line
    (record,) = read_json_lines(log.path)
    assert record["iteration"] == 120 and record["losses"] == {"loss_cls": 0.5, "loss_bbox": 0.33}
    assert record["stats"]["OHEMDataLayer"]["hard"] == 1.92 and record["lr"] == 0.01


def test_loss_curves_have_a_weighted_sum_if_there_are_several_losses(tmp_path):
    log = make(tmp_path)
    log.report(20, {"loss_cls": 0.5, "loss_bbox": 0.25}, 1.0, 0.001)
    log.report(40, {"loss_cls": 0.25, "loss_bbox": 0.125}, 0.5, 0.001)
    assert loss_curves(read_log(log.path)) == {
        "loss_cls": [(20, 0.5), (40, 0.25)], "loss_bbox": [(20, 0.25), (40, 0.125)], "sum": [(20, 1.0), (40, 0.5)]}
    assert loss_curves([{"iteration": 20, "losses": {"loss": 0.5}, "loss": 1.0}]) == {"loss": [(20, 0.5)]}


def test_losses_are_reported_if_no_layer_has_statistics(tmp_path):
    log = make(tmp_path)
    log.report(20, {"loss_cls": 0.5, "loss_bbox": 0.25}, 0.75, 0.001)
    assert "loss 0.75 (loss_cls 0.5, loss_bbox 0.25)" in log.stream.getvalue()


def test_seconds_are_per_iteration_since_the_previous_line(tmp_path, monkeypatch):
    times = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr("fast_rcnn.train_log.time.perf_counter", lambda: next(times))
    log = TrainLog("s", 100, tmp_path / "a.jsonl", stream=io.StringIO())
    log.report(20, {"l": 1.0}, 1.0, 0.1)
    log.report(30, {"l": 1.0}, 1.0, 0.1)
    assert [record["seconds"] for record in read_json_lines(log.path)] == [0.2, 0.1]
    assert "ETA 0:00:16" in log.stream.getvalue() and "ETA 0:00:07" in log.stream.getvalue()


def test_a_stage_of_a_run_reports_when_the_run_will_be_done(tmp_path, monkeypatch):
    times = iter([0.0, 10.0, 14.0])
    monkeypatch.setattr("fast_rcnn.train_log.time.perf_counter", lambda: next(times))
    log = make(tmp_path, step=StepOfRun(number=2, of=6, seconds=100.0, iterations=50))
    log.start(360)
    log.leave_out(2.0)      # a validation, say
    log.report(380, {"a": 1.0}, 1.0, 0.01)
    assert "  0.10 s/iter  ETA 0:00:02  step 2 of 6, all done in 0:01:47" in log.stream.getvalue()


def test_listeners_receive_what_is_reported(tmp_path):
    calls = []
    listener = SimpleNamespace(start=lambda iteration: calls.append(iteration),
                               report=lambda record: calls.append(record["loss"]))
    log = make(tmp_path, listeners=[listener])
    log.start(360)
    log.report(380, {"a": 1.0}, 1.5, 0.01)
    assert calls == [360, 1.5]


def test_waiting_for_data_is_reported_as_a_fraction_of_the_time(tmp_path, monkeypatch):
    times = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr("fast_rcnn.train_log.time.perf_counter", lambda: next(times))
    log = make(tmp_path)
    log.report(20, {"l": 1.0}, 1.0, 0.1, data={"wait": 0.012, "queue": 5.25})
    log.report(30, {"l": 1.0}, 1.0, 0.1)
    first, second = read_json_lines(log.path)
    assert first["data"] == {"wait": 0.003, "queue": 5.25} and "data" not in second
    first, second = log.stream.getvalue().splitlines()
    assert "  0.20 s/iter  data 0.3% queue 5.2  ETA" in first and "data" not in second


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path, loss):
    log = make(tmp_path)
    with pytest.raises(LossError, match="stage1_fast_rcnn: the loss is (nan|inf) at iteration 60.*base_lr"):
        log.report(60, {"l": loss}, loss, 0.02)
    assert len(read_json_lines(log.path)) == 1


def test_resuming_removes_later_lines_of_a_killed_run(tmp_path):
    log = make(tmp_path)
    for iteration in (20, 40, 60):
        log.report(iteration, {"l": 1.0}, 1.0, 0.1)
    with open(log.path, "a") as file:
        file.write('{"iteration": 8')          # incomplete
    again = make(tmp_path)
    again.start(40)
    again.report(60, {"l": 2.0}, 2.0, 0.1)
    assert [(r["iteration"], r["loss"]) for r in map(json.loads, log.path.read_text().splitlines())] == [
        (20, 1.0), (40, 1.0), (60, 2.0)]


def test_without_a_file_only_text_is_written():
    log = TrainLog("s", 10, stream=io.StringIO())
    log.report(1, {"l": 1.0}, 1.0, 0.1)
    log.say("a remark")
    assert log.stream.getvalue().endswith("s  a remark\n")


def test_peak_memory_is_plausible():
    assert 5 < peak_memory_mb() < 100_000
