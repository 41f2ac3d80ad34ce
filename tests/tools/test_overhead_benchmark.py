"""experiments/benchmarks/overhead.py with few steps; its results are in overhead.md."""
import re

import pytest

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "overhead"


def test_both_sides_have_the_layers_and_the_channels(program, tmp_path):
    import caffe
    nets = program.narrow_nets("stage1_fast_rcnn", tmp_path)
    net = caffe.Net(str(nets.train_net("stage1_fast_rcnn")), caffe.TRAIN)
    ours = {name: blobs[0].shape for name, blobs in net.params.items() if not name.endswith("_readonly")}
    model = program.plain.Detector([program.CHANNELS] * 5, program.CHANNELS)
    theirs = [tuple(module.weight.shape) for part in (model.trunk, model.head, [model.score, model.boxes])
              for module in part if hasattr(module, "weight")]
    assert [shape for name, shape in ours.items() if not name.startswith("rpn")] == theirs
    assert ours["conv5_3"] == (4, 4, 3, 3) and ours["fc6"] == (4, 196)


def test_the_report_shows_what_was_measured(program, tmp_path, monkeypatch, capsys):
    measured, steps = {}, program.milliseconds
    monkeypatch.setattr(program, "STEPS", 2)
    monkeypatch.setattr(program, "milliseconds",
                        lambda row, options: measured.setdefault(row, steps(row, options)))
    assert program.main(["--iterations", "1", "--size", "48", "64", "--report", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert capsys.readouterr().out.endswith(text + "\n") and "48 x 64 pixels, 16 RoIs" in text
    rows = re.findall(r"^\| stage 1 .* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert len(rows) == len(measured) == len(program.ROWS)
    for row, (other, own) in zip(rows, measured.values(), strict=True):
        assert [float(cell) for cell in row] == pytest.approx([other, own, other / own], abs=0.0051)
