"""inspect, time, draw and the upgrades."""
import itertools
import re

import pytest

import caffe
from caffe import spans
from caffe.costs import backward_multiply_adds, backward_values_moved, multiply_adds, values_kept, values_moved
from caffe.engine.blob import Blob
from caffe.proto import caffe_pb2, prototxt

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { %s } } }\n'


def net_of(text, *dims):
    param = prototxt.parse(INPUT % " ".join(f"dim: {dim}" for dim in dims) + text, caffe_pb2.NetParameter())
    return caffe.Net(param, caffe.TEST)


@pytest.mark.parametrize("layer, dims, expected", [
    ("type: 'Convolution' convolution_param { num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 group: 2 }",
     (2, 4, 7, 8), 2 * 6 * (3 * 4) * (3 * 2) * 4 // 2),
    ("type: 'Deconvolution' convolution_param { num_output: 6 kernel_size: 3 stride: 2 }",
     (2, 4, 5, 7), 2 * 4 * 35 * 6 * 9),
    ("type: 'InnerProduct' inner_product_param { num_output: 5 }", (3, 4, 2), 3 * 8 * 5),
    ("type: 'InnerProduct' inner_product_param { num_output: 5 transpose: true }", (3, 4, 2), 3 * 8 * 5),
    ("type: 'InnerProduct' inner_product_param { num_output: 5 axis: 2 }", (3, 4, 2), 3 * 4 * 2 * 5),
    ("type: 'Scale' scale_param { bias_term: true }", (3, 4, 2), 0)])
def test_multiply_adds(layer, dims, expected):
    net = net_of(f"layer {{ name: 'l' bottom: 'x' top: 'y' {layer} }}", *dims)
    assert multiply_adds(net.engine_layers[1], [net.blobs["x"]], [net.blobs["y"]]) == expected


def test_multiply_adds_of_a_recurrent_layer():
    net = net_of("layer { name: 'c' type: 'Input' top: 'c' input_param { shape { dim: 5 dim: 2 } } }"
                 "layer { name: 'l' type: 'LSTM' bottom: 'x' bottom: 'c' top: 'y' recurrent_param { num_output: 3 } }",
                 5, 2, 7)
    assert multiply_adds(net.engine_layers[2], [net.blobs["x"]], [net.blobs["y"]]) == 5 * 2 * (4 * 3 * 7 + 4 * 3 * 3)


@pytest.mark.parametrize("rate, down, products, moved", [
    (1, True, 2, 72 + (60 + 30) + (30 + 60)), (0, True, 1, 72 + (30 + 60)),
    (1, False, 1, 72 + (60 + 30)), (0, False, 0, 0)])
def test_costs_of_a_backward_pass(rate, down, products, moved):
    net = net_of(f"layer {{ name: 'l' bottom: 'x' top: 'y' type: 'Convolution' param {{ lr_mult: {rate} }}"
                 "convolution_param { num_output: 6 kernel_size: 1 bias_term: false } }", 1, 5, 3, 4)
    layer, blobs = net.engine_layers[1], ([net.blobs["x"]], [net.blobs["y"]])       # 60 -> 72 values, 30 weights
    assert values_moved(layer, *blobs) == 60 + 30 + 72
    assert backward_multiply_adds(layer, *blobs, [down]) == products * 72 * 5
    assert backward_values_moved(layer, *blobs, [down]) == moved


def test_layers_without_own_values_move_none():
    net = net_of("layer { name: 'r' bottom: 'x' top: 'x' type: 'ReLU' }"
                 "layer { name: 'f' bottom: 'x' top: 'y' type: 'Flatten' } layer { bottom: 'y' type: 'Silence' }", 2, 3)
    net.forward()
    moved = [values_moved(layer, [net._blobs[i] for i in net._bottom_ids(index)],
                          [net._blobs[i] for i in net._top_ids(index)])
             for index, layer in enumerate(net.engine_layers)]
    assert moved == [0] * 4
    x = [net.blobs["x"]]
    assert backward_values_moved(net.engine_layers[1], x, x, [True]) == 0


def test_shared_values_count_once():
    a, b, c = Blob(2, 3), Blob(6), Blob(5)
    b.share_data(a)
    assert values_kept([a, b, c]) == 11


def test_inspect_a_net(project, run):
    printed = run("inspect", project / "net.prototxt", "-phase=TRAIN").out
    assert re.search(r"^conv +Convolution +2x4x4x7 +4x3x3x3 4 +112 +6,048 +0.00 MB$", printed, re.M)
    assert "Parameters: 1,242" in printed and "accuracy" not in printed and "Outputs: loss" in printed
    assert "Multiply-adds of a forward pass: 8,288" in printed
    assert "Multiply-adds of a backward pass: 10,528" in printed        # no gradient reaches the data


def test_inspect_with_another_input_size(tmp_path, run):
    net = tmp_path / "net.prototxt"
    net.write_text(INPUT % "dim: 1 dim: 3 dim: 4 dim: 5" + "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' }")
    assert "2x3x40x50" in run("inspect", "-model", net, "-input", "x=2,3,40,50").out


def test_inspect_a_model_that_does_not_fit(project, run):
    net = caffe.Net(str(project / "net.prototxt"), caffe.TEST)
    net.save(str(project / "w"))
    text = (project / "net.prototxt").read_text()
    (project / "other.prototxt").write_text(text.replace("num_output: 10", "num_output: 11"))
    assert "layer 'fc', blob 0" in run("inspect", project / "other.prototxt", project / "w", fails=True).err
    printed = run("inspect", project / "w").out
    assert re.search(r"fc +10x112 10 +1,130", printed) and "Parameters: 1,242" in printed


class TickingClock:
    """A clock that advances by a millisecond at every reading."""

    ticks = itertools.count()

    def mark(self):
        return next(self.ticks)

    def seconds(self, marks):
        return [mark / 1000 for mark in marks]


def test_time_a_net(project, run, monkeypatch):
    monkeypatch.setattr(spans, "HostClock", TickingClock)
    printed = run("time", "-model", project / "net.prototxt", "-iterations", 2, "-phase", "TEST")
    rows = re.findall(r"^(\S+) +\S+ +([\d.]+) +([\d.]+) +([\d.]+) %$", printed.out, re.M)
    names = [name for name, *_ in rows if "split" not in name]
    assert names == ["data", "conv", "relu", "fc", "accuracy", "loss"]
    assert {there for _, there, _, _ in rows} == {"1.000"}
    passes = [2 * sum(float(row[column]) for row in rows) + 1 for column in (1, 2)]     # in ticks
    assert f"Average forward pass: {passes[0]:.3f} ms" in printed.out
    assert all(share == f"{100 * (float(there) + float(back)) / sum(passes):.1f}" for _, there, back, share in rows)
    assert all(f"Average {what}: " in printed.out for what in ("forward pass", "backward pass", "forward-backward"))


def test_time_says_that_nothing_runs_backward(tmp_path, run):
    net = tmp_path / "net.prototxt"
    net.write_text(INPUT % "dim: 3")
    assert "nothing needs a backward pass" in run("time", "-model", net, "-iterations", 1).err


@pytest.mark.parametrize("name, head", [("net.png", b"\x89PNG"), ("net.dot", b"digraph"), ("net.svg", b"<?xml")])
def test_draw(project, run, name, head):
    run("draw", project / "net.prototxt", project / name, "-phase", "TRAIN", "-rankdir=TB", "-display_lrm")
    data = (project / name).read_bytes()
    assert data.startswith(head)
    if name == "net.dot":
        assert b"accuracy" not in data and b"rankdir=TB" in data


def test_upgrades(tmp_path, run):
    (tmp_path / "old").write_text("layers { name: 'r' type: RELU bottom: 'x' top: 'y' }")
    run("upgrade_net", tmp_path / "old", tmp_path / "new")
    assert prototxt.read_net(tmp_path / "new").layer[0].type == "ReLU"
    (tmp_path / "solver").write_text("solver_type: ADAM")
    run("upgrade_solver", tmp_path / "solver", tmp_path / "solver")
    assert prototxt.read_solver(tmp_path / "solver").type == "Adam"
    (tmp_path / "both").write_text("solver_type: ADAM type: 'SGD'")
    assert "both" in run("upgrade_solver", tmp_path / "both", tmp_path / "new", fails=True).err


@pytest.mark.parametrize("name", ["upgrade_net", "upgrade_solver"])
def test_upgrades_as_separate_programs(name, tmp_path, monkeypatch):
    from caffe import commands
    (tmp_path / "old").write_text("")
    monkeypatch.setattr("sys.argv", [f"{name}_proto_text", str(tmp_path / "old"), str(tmp_path / "new")])
    assert commands.COMMANDS[name].main() == 0 and (tmp_path / "new").is_file()
