"""Errors and warnings name the line of the layer in the net, of several layers with its name in the file."""
import pytest

import caffe

# Line 1 is for TRAIN, 2 and 3 for TEST, 4 for TEST without and 5 with the stage `whole`.
LAYERS = """\
layer { name: "data" type: "DummyData" top: "x" include { phase: TRAIN } dummy_data_param { shape { dim: 2 dim: 1 } } }
layer { name: "data" type: "DummyData" top: "x" include { phase: TEST } dummy_data_param { shape { dim: 3 dim: 1 } } }
layer { name: "same" type: "ReLU" bottom: "x" top: "y" include { phase: TEST } }
layer { name: "same" type: "Flatten" bottom: "x" top: "z" exclude { phase: TRAIN } exclude { stage: "whole" } }
layer { name: "same" type: "Flatten" bottom: "x" top: "z" include { phase: TEST stage: "whole" } }
"""


@pytest.mark.parametrize("line, arguments", [
    (1, {"phase": caffe.TRAIN}), (2, {"phase": caffe.TEST}), (4, {"phase": caffe.TEST}),
    (5, {"phase": caffe.TEST, "stages": ["whole"]})])
def test_lines_of_errors(tmp_path, line, arguments):
    lines = LAYERS.splitlines()
    lines[line - 1] = lines[line - 1].replace("shape { dim: ", "shape { dim: -").replace("Flatten", "Pooling")
    path = tmp_path / "net.prototxt"
    path.write_text("\n".join(lines))
    with pytest.raises(caffe.LayerError) as caught:
        caffe.Net(str(path), **arguments)
    assert str(caught.value).startswith(f"{path}:{line}: layer '") and caught.value.line == line


def test_lines_of_errors_in_passes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 }\n'
                    '        shape { dim: 2 } } }\n'
                    'layer { name: "loss" type: "HingeLoss" bottom: "x" bottom: "t" include { phase: TRAIN } }\n'
                    'layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "x" top: "c" }\n'
                    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" top: "b" }\n')
    net = caffe.Net(str(path), caffe.TEST, force_backward=True)
    with pytest.raises(caffe.LayerError, match=r"net.prototxt:5: layer 'loss' \(SoftmaxWithLoss\): .*call net.forward"):
        net.backward()
    net.blobs["t"].data[...] = 7
    with pytest.raises(caffe.LayerError, match=r"net.prototxt:5: layer 'loss' \(SoftmaxWithLoss\): labels") as caught:
        net.forward()
    assert caught.value.line == 5
    net.blobs["t"].reshape(3)
    with pytest.raises(caffe.LayerError, match=r"net.prototxt:5: layer 'loss' \(SoftmaxWithLoss\): data and labels"):
        net.reshape()


def test_lines_in_v1_nets(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n'
                    'layers { name: "a" type: RELU bottom: "x" top: "y" include { phase: TRAIN } }\n'
                    'layers { name: "a" type: POOLING bottom: "x" top: "y" include { phase: TEST } }')
    with pytest.raises(caffe.LayerError, match=r"net.prototxt:3: layer 'a' \(Pooling\)"):
        caffe.Net(str(path), caffe.TEST)


def test_lines_of_warnings(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    path.write_text(LAYERS.replace('type: "ReLU"', 'type: "ReLU" loss_param { }')
                    .replace('stage: "whole" } }', 'stage: "whole" } dropout_param { dropout_ratio: 0.5 } }'))
    caffe.Net(str(path), caffe.TEST, stages=["whole"])
    found = [record.message for record in caplog.records if "no effect" in record.message]
    assert [message.split(" ")[0] for message in found] == [f"{path}:3:", f"{path}:5:"]
