"""experiments/benchmarks/growth.py with small sizes; its results are in growth.md."""
from argparse import Namespace

import pytest

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "growth"


def test_start_up_of_a_synthetic_data_set(program, tmp_path):
    program.TASKS["write"](tmp_path, images=7, proposals=50)
    found = program.TASKS["start"](tmp_path, images=7)
    assert list(found["steps"]) == ["data set", "fingerprint", "proposals", "mirror, prepare", "filter",
                                    "solver, targets"]
    assert found["seconds"] == pytest.approx(sum(found["steps"].values())) and found["entry"] > 0


def test_data_sets_with_files_and_iterations(program, tmp_path):
    assert program.TASKS["files"](tmp_path, images=5)["seconds"] > 0
    found = program.TASKS["iterate"](tmp_path, side=60, rois=25)
    assert found["rois"] == 25 and found["seconds"] > 0


@pytest.mark.slow
def test_a_task_in_a_separate_process(program, tmp_path):
    found = program.measured("write", tmp_path, images=3, proposals=20)
    assert found["peak"] > 0 and list(found["steps"]) == ["gather", "save"]
    with pytest.raises(RuntimeError, match="measuring --task start"):
        program.measured("start", tmp_path / "none", images=3)


def test_fits(program):
    n = [100, 1000, 10000]
    assert program.line_through(n, [3 + 0.5 * x for x in n]) == pytest.approx((3, 0.5))
    assert program.exponent(n, [7 * x ** 1.5 for x in n]) == pytest.approx(1.5)
    [line, _] = program.fits([{"n": x} for x in n], {"seconds": [2e-3 * x for x in n]}, "images")
    assert line.endswith("+ 0.002 x images; exponent 1.00 over all points, 1.00 over the last two")
    assert program.fits([{"n": 1}], {"seconds": [1]}, "images") == []


def rows(bytes_an_image):
    return [{"n": n, "steps": {"data set": 1.0, "targets": 2.0}, "seconds": 3.0, "entry": 2e-4, "write": 0.5,
             "memory": 5 + n * bytes_an_image / 2**20, "write peak": 40.0} for n in (100, 100000)]


def test_the_report_says_whether_the_goal_is_met(program):
    text = "\n".join(program.report_images(rows(1024)))
    assert "| 100,000 | 1.00 | 2.00 | 3.00 | 103 | 200 | 0.50 | 40 |" in text
    assert "Each image takes 1.00 KB, including its flipped copy; the goal is below 4 KB: met" in text
    assert "4.10 KB, including its flipped copy; the goal is below 4 KB: missed" in "\n".join(
        program.report_images(rows(4200)))


def test_parts_can_be_selected(program, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(program, "measured", lambda task, folder, **options: asked.append((task, options)) or {
        "seconds": 0.1 * sum(options.values()), "peak": 300.0, "rois": 4})
    assert program.main(["--parts", "sizes", "rois", "--sides", "30", "60", "--rois", "5", "50"]) == 0
    assert asked == [("iterate", {"side": 30, "rois": 300}), ("iterate", {"side": 60, "rois": 300}),
                     ("iterate", {"side": 300, "rois": 5}), ("iterate", {"side": 300, "rois": 50})]
    text = capsys.readouterr().out
    assert "| 4,800 (60 x 80) | 36.0000 | 300 |" in text and "## RoIs: the Tiny net" in text
    assert "## Images" not in text and "growth.py --parts sizes rois --sides 30 60 --rois 5 50" in text


def test_too_little_space_is_reported_before(program):
    with pytest.raises(SystemExit, match="GB free: set TMPDIR"):
        program.measure_images(Namespace(images=[10**9], proposals=10**6))


@pytest.mark.parametrize("load, busy", [(0.1, False), (64.0, True)])
def test_a_busy_machine_is_reported(program, monkeypatch, load, busy):
    monkeypatch.setattr(program.os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(program.os, "cpu_count", lambda: 4)
    text = program.conditions()
    assert text.startswith(f"4 CPU cores, load {load}") and ("upper bounds" in text) == busy
