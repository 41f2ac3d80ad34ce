"""lib needs only BVLC's public names of Caffe; our extensions are used if available."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import caffe
from datasets.demo_scenes import make_demo_dataset
from net_definitions import model_files
from utils import prototxt

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_program(tmp_path):
    """Runs other_caffe.py on demonstration images; returns its lines of JSON as one dictionary, and its output."""
    data = make_demo_dataset(tmp_path / "demo", num_train=2, num_test=1)
    for name, text in model_files("Tiny", 5, folder=str(tmp_path)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    path = os.pathsep.join([str(ROOT / "lib"), str(ROOT / "caffe-fast-rcnn" / "python")])

    def run(kind):
        done = subprocess.run([sys.executable, str(Path(__file__).with_name("other_caffe.py")), kind,
                               f"{data}:trainval", str(tmp_path / kind), str(tmp_path / "Tiny")],
                              env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {key: value for entries in found for key, value in entries.items()}, done.stdout
    return run


@pytest.mark.slow
def test_training_and_detection_on_a_caffe_without_our_extensions(run_program, tmp_path):
    found, output = run_program("bvlc")
    assert "mean AP" in output
    assert not (tmp_path / "bvlc" / "checkpoints").exists()
    assert set(found) == {"rpn", "proposals", "mining", "mining_nms", "end2end", "end2end_ohem"}
    assert found["mining"] != found["mining_nms"]
    assert found == run_program("ours")[0]


@pytest.fixture
def protobuf_alone(monkeypatch):
    monkeypatch.setattr(prototxt, "_ours", None)


def test_prototxts_are_read_by_protobuf_alone(protobuf_alone, tmp_path):
    file = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "rpn_test.pt"
    net = prototxt.read_net(file)
    assert net == caffe.proto.prototxt.read_net(file)
    assert prototxt.line_of_layer(file, "proposal") == caffe.proto.prototxt.line_of_layer(file, "proposal") + 1
    assert prototxt.line_of_layer(file, "nothing") is None and prototxt.line_of_layer(tmp_path / "no", "a") is None
    (tmp_path / "copy.pt").write_text(prototxt.to_text(net))
    assert prototxt.read_net(tmp_path / "copy.pt") == net
    (tmp_path / "solver.pt").write_text("base_lr: 0.5\nbase_rl: 1\n")
    with pytest.raises(prototxt.PrototxtError, match="solver.pt:2:1 .*base_rl"):
        prototxt.read_solver(tmp_path / "solver.pt")
