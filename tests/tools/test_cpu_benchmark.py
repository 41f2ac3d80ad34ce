"""experiments/benchmarks/cpu.py with small sizes; its results are in cpu.md."""
import argparse
import ast
import re
import subprocess
import sys

import pytest

import caffe

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "cpu"
SMALL = {"net": "VGG16", "height": 48, "width": 64, "rois": 40, "workers": 0, "iterations": 1, "warm_up": 1,
         "cpu": True}


def columns(line: str) -> list[str]:
    return [column.strip() for column in line.strip().strip("|").split("|")]


# ---------------------------------------------------------------------------------------------- the command
@pytest.mark.slow
def test_the_table_shows_what_was_measured(program, tmp_path):
    """The table's seconds, ratios and memory are computed from the results that the processes print."""
    options = ["--rows", "trunk_forward", "--size", "48", "64", "--rois", "40", "--iterations", "1", "--report"]
    done = subprocess.run([sys.executable, program.__file__, *options, str(tmp_path / "report.md")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.md").read_text() == done.stdout.removesuffix("\n")
    found = {key: ast.literal_eval(result) for key, result in
             re.findall(r"^trunk, forward (ours float32|ours bfloat16|plain float32) (\{.*\})$", done.stderr, re.M)}
    assert set(found) >= {"ours float32", "plain float32"}
    [line] = [columns(line) for line in done.stdout.splitlines() if line.startswith("| trunk, forward ")]
    [header] = [columns(line) for line in done.stdout.splitlines() if line.startswith("| step ")]
    assert len(line) == len(header) == 9 and "| step | plain | ours |" in done.stdout
    plain, ours = found["plain float32"]["seconds"], found["ours float32"]["seconds"]
    assert float(line[1]) == pytest.approx(plain, abs=5e-3) and float(line[2]) == pytest.approx(ours, abs=5e-3)
    assert float(line[3]) == pytest.approx(plain / ours, abs=0.051)
    caffes = 2.6 * plain / program.PLAIN_THERE["trunk, forward"]   # seconds, scaled by plain PyTorch's
    estimate, goal = re.fullmatch(r"([\d.]+) \(([\d.]+)\)", line[4]).groups()
    assert float(estimate) == pytest.approx(caffes / ours, abs=0.051) and goal == "1.6"
    memory = [float(mb) for mb in line[8].split(", ")]
    assert memory[:2] == pytest.approx([found[key]["peak_mb"] / 1024 for key in ("plain float32", "ours float32")],
                                       abs=0.051)
    low = found.get("ours bfloat16", {"missing": ""})
    if "missing" in low:
        assert line[5:8] == ["", "", ""] and "ours in bfloat16: " in done.stdout
    else:
        assert float(line[6]) == pytest.approx(plain / low["seconds"], abs=0.051)
        assert line[7].endswith("(3.4)") and len(memory) == 3
    assert "# VGG16 on a CPU, 48 x 64 pixels, 40 RoIs per image" in done.stdout
    assert "python experiments/benchmarks/cpu.py --rows trunk_forward --size 48 64" in done.stdout


@pytest.mark.parametrize("options, message", [
    (["--rows", "trunk_forwards"], r"argument --rows: invalid choice: 'trunk_forwards' \(choose from .*trunk_forward"),
    (["--size", "600"], "argument --size: expected 2 arguments"),
    (["--size", "600", "0"], "argument --size: expected a whole number of at least 1, got '0'"),
    (["--iterations", "few"], "argument --iterations: expected a whole number of at least 1, got 'few'"),
    (["--rois", "-3"], "argument --rois: expected a whole number of at least 1, got '-3'"),
])
def test_invalid_options_are_reported(program, monkeypatch, capsys, options, message):
    monkeypatch.setattr(program, "run", None)       # nothing is measured
    with pytest.raises(SystemExit) as stopped:
        program.main(options)
    assert stopped.value.code == 2 and re.search(message, capsys.readouterr().err)


# ---------------------------------------------------------------------------------------------- what is measured
@pytest.mark.parametrize("row", ["roi_pooling", "ohem", "proposal_layer"])
@pytest.mark.parametrize("side", ["ours", "plain"])
def test_pieces_on_both_sides(program, side, row):
    found = program.measure(program.Job(side, row, "float32", **SMALL))
    assert found["seconds"] > 0 and found["peak_mb"] > 0


def test_plain_pytorch_is_measured_in_float32_only(program, monkeypatch):
    monkeypatch.setattr(caffe, "has_bfloat16", lambda: True)
    found = program.measure(program.Job("plain", "trunk_forward", "bfloat16", **SMALL))
    assert found == {"missing": "plain PyTorch is measured with VGG16 in float32"}


def test_a_device_without_bfloat16(program, monkeypatch):
    monkeypatch.setattr(caffe, "has_bfloat16", lambda: False)
    try:
        for row in ("roi_pooling", "detection"):
            found = program.measure(program.Job("ours", row, "bfloat16", **SMALL))
            assert found == {"missing": "this device has no bfloat16 instructions; ours would compute in float32"}
    finally:
        caffe.set_precision("float32")


# ---------------------------------------------------------------------------------------------- the report
def found_for(title: str, plain: float, ours: float, low: float) -> dict:
    return {(title, "ours", "float32"): {"seconds": ours, "peak_mb": 2048},
            (title, "ours", "bfloat16"): {"seconds": low, "peak_mb": 1024},
            (title, "plain", "float32"): {"seconds": plain, "peak_mb": 3072}}


def test_ratios_to_plain_pytorch_and_to_caffe(program):
    args = argparse.Namespace(size=[48, 64], rois=40, command="the command")
    found = {**found_for("trunk, forward", 3.9, 1.95, 0.05), **found_for("stage 2 RPN", 2.0, 0.5, 0.25)}
    text = program.report(found, args)
    # This machine is half as fast as the one with real Caffe: Caffe's estimates are 5.2 s for trunk and stage 2 RPN
    assert "| trunk, forward | 3.90 | 1.95 | 2.0 | 2.7 (1.6) | 0.0500 | 78.0 | 104.0 (3.4) | 3.0, 2.0, 1.0 |" in text
    assert "| stage 2 RPN | 2.00 | 0.50 | 4.0 | 10.4 (10) | 0.25 | 8.0 | 20.8 (12) | 3.0, 2.0, 1.0 |" in text
    assert "as those times 2.00" in text and "the command" in text and "Not measured" not in text
    found.update(found_for("trunk, forward and backward, conv1-2 frozen", 19.9, 1.0, 1.0))
    assert "as those times 4.00" in program.report(found, args)     # 23.8 s here, 5.95 s there


def test_missing_measurements_are_reported(program):
    args = argparse.Namespace(size=[48, 64], rois=40, command="")
    found = found_for("trunk, forward", 3.9, 1.95, 1.0)
    found["trunk, forward", "ours", "bfloat16"] = {"missing": "no bfloat16 here"}
    found["stage 2 RPN", "ours", "float32"] = {"missing": "failed with exit status -9: no message"}
    text = program.report(found, args)
    assert "| trunk, forward | 3.90 | 1.95 | 2.0 | 2.7 (1.6) |  |  |  | 3.0, 2.0 |" in text
    assert "Not measured:\n\n* trunk, forward, ours in bfloat16: no bfloat16 here\n" in text
    assert "* stage 2 RPN, ours in float32: failed with exit status -9: no message" in text
    assert "| stage 2 RPN" not in text
    found["trunk, forward", "plain", "float32"] = {"missing": "no"}
    text = program.report(found, args)
    assert "| trunk, forward |  | 1.95 |  | (1.6) |" in text and "the ratio of the trunks" in text
