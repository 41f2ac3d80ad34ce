"""draw: DOT text, and images with and without Graphviz."""
import shutil

import cv2
import pytest

import caffe
import caffe.draw
from caffe.io import caffe_pb2
from caffe.proto.prototxt import parse

NET = """
name: "a \\"net\\""
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: AVE kernel_h: 2 kernel_w: 3 } }
layer { name: "all" type: "Pooling" bottom: "pool1" top: "all" pooling_param { global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "all" top: "fc" inner_product_param { num_output: 7 } }
layer { name: "cost" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "cost" type: "Softmax" bottom: "fc" top: "prob" exclude { phase: TRAIN } }
"""


@pytest.fixture
def net():
    return parse(NET, caffe_pb2.NetParameter())


def test_dot_text(net):
    text = caffe.draw.get_dot(net)
    assert text.startswith('digraph "a \\"net\\"" {\n  rankdir=LR;')
    assert '"layer conv1" [label="conv1\\n(Convolution)\\nkernel size: 3\\nstride: 2\\npad: 1"' in text
    assert '"blob data" -> "layer conv1";' in text
    assert '"layer conv1" -> "blob conv1" [label="4"];' in text
    assert 'label="pool1\\n(Pooling)\\nAVE\\nkernel size: 2x3\\nstride: 1\\npad: 0"' in text
    assert 'label="all\\n(Pooling)\\nMAX\\nglobal"' in text
    assert '"layer fc" -> "blob fc" [label="7"];' in text
    assert '#90EE90' in next(line for line in text.splitlines() if line.startswith('  "layer relu1" ['))


def test_the_names_of_pycaffes_module(net, tmp_path):
    graph = caffe.draw.get_pydot_graph(net, "TB", phase=caffe.TEST)
    assert graph.to_string() == caffe.draw.get_dot(net, "TB", phase=caffe.TEST)
    assert graph.create(format="png").startswith(b"\x89PNG") and graph.create(prog="dot", format="dot").decode() \
        == graph.to_string()
    assert graph.write(tmp_path / "net.dot") and (tmp_path / "net.dot").read_text() == graph.to_string()
    assert caffe.draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}
    by_name = {layer.name: layer for layer in net.layer}
    assert caffe.draw.get_layer_lr_mult(by_name["conv1"]) == (1, 2)
    assert caffe.draw.get_layer_lr_mult(by_name["fc"]) == (1,)
    with pytest.raises(ValueError, match="'pool1' is a Pooling"):
        caffe.draw.get_layer_lr_mult(by_name["pool1"])
    styles = caffe.draw.LAYER_STYLE_DEFAULT, caffe.draw.NEURON_LAYER_STYLE, caffe.draw.BLOB_STYLE
    assert [style["fillcolor"] for style in styles] == ["#6495ED", "#90EE90", "#E0E0E0"]


def test_options(net):
    assert "kernel size: 3 stride" in caffe.draw.get_dot(net, rankdir="TB")
    assert "lr mult: 1, 2" in caffe.draw.get_dot(net, display_lrm=True)
    assert '[label="7"]' not in caffe.draw.get_dot(net, label_edges=False)
    with pytest.raises(ValueError, match="rankdir"):
        caffe.draw.get_dot(net, rankdir="UP")


def test_phases(net):
    train, test, both = (caffe.draw.get_dot(net, phase=phase) for phase in (caffe.TRAIN, caffe.TEST, None))
    assert "SoftmaxWithLoss" in train and "(Softmax)" not in train
    assert "(Softmax)" in test and "SoftmaxWithLoss" not in test
    assert "SoftmaxWithLoss" in both and "(Softmax)" in both


def test_dot_file(net, tmp_path):
    for name in ("net.dot", "net.raw"):
        caffe.draw.draw_net_to_file(net, tmp_path / name)
        assert (tmp_path / name).read_text() == caffe.draw.get_dot(net)
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.draw.draw_net_to_file(str(tmp_path / "net.prototxt"), tmp_path / "same.dot")
    assert (tmp_path / "same.dot").read_text() == caffe.draw.get_dot(net)
    with pytest.raises(ValueError, match="the extension of the name"):
        caffe.draw.draw_net_to_file(net, tmp_path / "net")


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_picture_without_graphviz(net, tmp_path, monkeypatch, rankdir):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    caffe.draw.draw_net_to_file(net, tmp_path / "net.png", rankdir)
    height, width = cv2.imread(str(tmp_path / "net.png")).shape[:2]
    assert (height > width) == (rankdir in ("TB", "BT"))


@pytest.mark.parametrize(("ext", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_picture_formats(net, ext, start):
    assert caffe.draw.draw_net(net, ext=ext).startswith(start)


def test_layout_puts_every_node_after_its_sources(net):
    graph = caffe.draw.get_graph(net, phase=caffe.TEST)
    edges = [edge[:2] for edge in graph.edges]
    places = caffe.draw.layered(graph.nodes, edges)
    assert len(set(places.values())) == len(graph.nodes)
    back = ("layer relu1", "blob conv1")
    assert all(places[a][0] < places[b][0] for a, b in edges if (a, b) != back)


def test_graphviz_is_used_if_available(net, tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "picture $1"\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    assert caffe.draw.draw_net(net, ext="png") == b"picture -Tpng\n"
    program.write_text('#!/bin/sh\ncat > /dev/null; echo "no such format" >&2; exit 3\n')
    with pytest.raises(ValueError, match="dot -Txyz failed: no such format"):
        caffe.draw.draw_net(net, ext="xyz")
