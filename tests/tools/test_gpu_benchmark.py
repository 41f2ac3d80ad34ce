"""experiments/benchmarks/gpu.py on the CPU with small sizes."""
import importlib

import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2, prototxt

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "gpu"
SMALL = {"net": "Tiny", "height": 96, "width": 128, "rois": 60, "workers": 0, "iterations": 2, "warm_up": 1,
         "cpu": True}
RATES = {"machine": "a GPU", "copy": 1e12, "matrix": {"bfloat16": 4e12}}

FROZEN = """
layer { name: "data" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "frozen" type: "Convolution" bottom: "x" top: "a" param { lr_mult: 0 } param { lr_mult: 0 }
        convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "first" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 7 kernel_size: 1 } }
layer { name: "second" type: "Convolution" bottom: "b" top: "c" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "loss" type: "Reduction" bottom: "c" top: "loss" loss_weight: 1 }
"""


@pytest.fixture
def parts(program):
    return {name: importlib.import_module(f"vgg16_parts.{name}") for name in ("job", "floor", "ours", "peer", "report")}


# ---------------------------------------------------------------------------------------------- what is measured
@pytest.mark.parametrize("row", ["stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn", "proposals",
                                 "detection"])
def test_every_row_on_our_side(program, parts, row):
    found = program.measure(parts["job"].Job("ours", row, "float32", **SMALL))
    assert found["seconds"] > 0 and found["peak_mb"] > 0
    assert found["flops"] > 1e6 and found["bytes"] > 1e6


def test_cached_features_do_not_count_as_work(program, parts):
    def flops(warm_up):
        job = parts["job"].Job("ours", "stage2_rpn", "float32", **{**SMALL, "warm_up": warm_up})
        return program.measure(job)["flops"]

    assert flops(8) < 0.5 * flops(1)        # all 8 images have been seen, so the trunk does not run


@pytest.mark.parametrize("row", ["stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn", "proposals",
                                 "detection"])
def test_every_row_of_torchvision(parts, row):
    pytest.importorskip("torchvision")
    from torch import device, nn
    peer, job = parts["peer"], parts["job"].Job("torchvision", row, "bfloat16", **SMALL)
    trunk = nn.Sequential(*(nn.Conv2d(3 if not index else 8, 8, 3, stride=2 if index % 3 == 0 else 1, padding=1)
                            for index in range(12)))
    head = nn.Sequential(nn.Linear(8 * 49, 16), nn.ReLU(True))
    step = peer.make_step(job, trunk, head, device("cpu"), peer.set_precision("bfloat16"))
    before = [weight.clone() for weight in trunk.parameters()]
    step()
    step()
    trained = [weight.grad is not None for weight in trunk.parameters()]
    assert trained == ([False] * 20 + [True] * 4 if row.startswith("stage1") else [False] * 24)
    assert all(np.allclose(a.detach(), b.detach(), atol=1e-3) for a, b in zip(before, trunk.parameters(), strict=True))


def test_torchvision_is_compared_with_vgg16_only(program, parts):
    assert "VGG16" in program.measure(parts["job"].Job("torchvision", "proposals", "float32", **SMALL))["missing"]


def test_both_sides_get_the_same_boxes_inside_the_image(parts):
    job = parts["job"].Job("ours", "proposals", "float32", **SMALL)
    for scene, again in zip(parts["job"].scenes(job), parts["job"].scenes(job), strict=True):
        np.testing.assert_array_equal(scene.proposals, again.proposals)
        assert scene.image.shape == (96, 128, 3) and scene.proposals.shape == (60, 4)
        for boxes in (scene.boxes, scene.proposals):
            assert boxes.min() >= 0 and (boxes.max(axis=0) <= [127, 95, 127, 95]).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 15.99).all()


def test_rates_are_positive(program, parts):
    job = parts["job"].Job("rates", "proposals", "float32", **SMALL)
    found = program.measure(job, ["float32", "bfloat16"])
    assert found["copy"] > 0 and set(found["matrix"]) == {"float32", "bfloat16"} and min(found["matrix"].values()) > 0


def test_work_is_counted_as_the_engine_runs_it(parts):
    net = caffe.Net(prototxt.parse(FROZEN, caffe_pb2.NetParameter()), caffe.TRAIN)

    def step():
        net.forward()
        net.backward()

    work, places = parts["floor"].count_work(net, step, updates=True), 2 * 4 * 5
    frozen, first, second = 3 * 6, 6 * 7, 7 * 8         # 1 x 1 convolutions: multiplications per position
    assert work.flops == 2 * places * ((frozen + first + second) + (first + 2 * second))
    assert work.updated == (first + 7) + (second + 8)
    assert work.bytes("bfloat16") == 2 * work.values + 20 * work.updated
    forward = parts["floor"].count_work(net, net.forward, updates=False)
    assert (forward.flops, forward.updated) == (2 * places * (frozen + first + second), 0)
    assert forward.values == (9 + 13 + 15) * places + (frozen + 6) + (first + 7) + (second + 8) + 8 * places + 1


@pytest.mark.parametrize("precision, missing", [("float32", False), ("bfloat16", True)])
def test_a_caffe_that_cannot_choose_its_precision(program, parts, monkeypatch, precision, missing):
    monkeypatch.delattr(caffe, "set_precision", raising=False)
    found = program.measure(parts["job"].Job("ours", "proposals", precision, **SMALL))
    assert ("no set_precision" in found.get("missing", "")) == missing
    monkeypatch.undo()


# ---------------------------------------------------------------------------------------------- the report
def results(parts, **theirs):
    made = parts["report"].Results(dict(SMALL), dict(RATES))
    made.found["ours", "stage1_rpn", "bfloat16"] = {"seconds": 0.1, "peak_mb": 2000, "flops": 2e11, "bytes": 1e10}
    made.found["torchvision", "stage1_rpn", "bfloat16"] = theirs
    return made


def test_ratios_and_the_floor(parts):
    made = results(parts, seconds=0.25, peak_mb=3000)
    assert made.ratio("stage1_rpn", "bfloat16") == pytest.approx(2.5)
    assert made.floor("stage1_rpn", "bfloat16") == pytest.approx(20)        # 0.05 s of products, 0.01 s of copies
    text = parts["report"].report(made, "the command")
    assert "| stage1_rpn | iterations | 10.00 | 4.00 | 2.50 | 2000 | 3000 | 0.2 | 10 | 20.00 | 50% |" in text
    assert "Measured rates: 4 TFLOP/s, 1000 GB/s" in text and "the command" in text
    assert "2 times torchvision's speed in training: met, the minimum is 2.50 (stage1_rpn, bfloat16)" in text
    assert "0.5 of the floor in stage 1 with bfloat16: met" in text
    made.found["ours", "stage1_rpn", "bfloat16"]["bytes"] = 2e11
    assert made.floor("stage1_rpn", "bfloat16") == pytest.approx(5)


def test_missing_measurements_are_reported(parts):
    made = results(parts, missing="torchvision cannot be imported")
    made.found["ours", "detection", "tf32"] = {"missing": "no tf32"}
    made.found["torchvision", "detection", "tf32"] = {"missing": "no tf32"}
    made.rates = {"missing": "no GPU"}
    text = parts["report"].report(made, "")
    assert "* torchvision, bfloat16: torchvision cannot be imported (stage1_rpn)" in text
    assert "* ours, tf32: no tf32 (detection)" in text and "* the rates of the machine: no GPU" in text
    assert "| detection | images | - | - | - | - | - | - | - | - | - |" in text and "The goal" not in text


def test_stored_measurements_are_reused(parts, program, tmp_path, capsys):
    made = results(parts, missing="torchvision cannot be imported")
    made.save(tmp_path / "kept.json")
    kept = program.kept_results(tmp_path / "kept.json", dict(SMALL))
    assert list(kept.found) == [("ours", "stage1_rpn", "bfloat16")] and kept.rates == RATES
    assert program.kept_results(tmp_path / "kept.json", {"net": "VGG16"}).found == {}
    assert "is of a run with other settings" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- the command
@pytest.mark.slow
def test_the_whole_command(program, tmp_path, capsys):
    options = ["--cpu", *"--net Tiny --size 96 128 --rois 60 --workers 0 --iterations 2 --warm_up 1".split(),
               "--precisions", "float32", "--rows", "proposals", "--report", str(tmp_path / "report.md"),
               "--keep", str(tmp_path / "kept.json")]
    assert program.main(options) == 0
    text = (tmp_path / "report.md").read_text()
    assert "| proposals | images | " in text and "gpu.py --cpu --net Tiny" in text and text in capsys.readouterr().out
    assert "* torchvision, float32: measured for VGG16 only (proposals)" in text


@pytest.mark.slow
def test_a_row_that_fails_does_not_end_the_others(program, parts, capsys):
    job = parts["job"].Job("ours", "proposals", "float32", **{**SMALL, "net": "nothing"})
    found = parts["job"].measured(program.__file__, job)
    assert found["missing"].startswith("failed with exit status 1: ") and "nothing" in found["missing"]
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_gpu_is_reported(program, monkeypatch, capsys):
    monkeypatch.setattr(caffe, "has_gpu", lambda: False)
    assert program.main([]) == 2
    assert "--cpu runs on the CPU, to try the program out" in capsys.readouterr().err
