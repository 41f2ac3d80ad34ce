"""Nets like CRNN: convolutions, a bidirectional Lstm, a CTC loss, and the decoded labels."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

FILLERS = "weight_filler { type: 'gaussian' std: 0.3 } bias_filler { type: 'constant' }"
NET = f"""layer {{ name: 'in' type: 'Input' top: 'image' top: 'label'
      input_param {{ shape {{ dim: 5 dim: 1 dim: 4 dim: 6 }} shape {{ dim: 5 dim: 2 }} }} }}
    layer {{ name: 'conv' type: 'Convolution' bottom: 'image' top: 'conv' convolution_param {{ num_output: 6
      kernel_h: 4 kernel_w: 1 {FILLERS} }} }}
    layer {{ name: 'columns' type: 'Transpose' bottom: 'conv' top: 'columns'
      transpose_param {{ dim: 3 dim: 2 dim: 0 dim: 1 }} }}
    layer {{ name: 'steps' type: 'Reshape' bottom: 'columns' top: 'steps'
      reshape_param {{ shape {{ dim: -1 }} axis: 1 num_axes: 2 }} }}
    layer {{ name: 'lstm' type: 'Lstm' bottom: 'steps' top: 'lstm'
      lstm_param {{ num_output: 8 clipping_threshold: 5 {FILLERS} }} }}
    layer {{ name: 'back' type: 'Reverse' bottom: 'steps' top: 'back' reverse_param {{ axis: 0 }} }}
    layer {{ name: 'rlstm' type: 'Lstm' bottom: 'back' top: 'rlstm' lstm_param {{ num_output: 8 {FILLERS} }} }}
    layer {{ name: 'again' type: 'Reverse' bottom: 'rlstm' top: 'again' reverse_param {{ axis: 0 }} }}
    layer {{ name: 'both' type: 'Concat' bottom: 'lstm' bottom: 'again' top: 'both' concat_param {{ axis: 2 }} }}
    layer {{ name: 'fc' type: 'InnerProduct' bottom: 'both' top: 'fc'
      inner_product_param {{ axis: 2 num_output: 4 {FILLERS} }} }}
    layer {{ name: 'loss' type: 'WarpCTCLoss' bottom: 'fc' bottom: 'label' top: 'loss' loss_weight: 1 }}
    layer {{ name: 'acc' type: 'CTCGreedyDecoder' bottom: 'fc' bottom: 'label' top: 'acc' }}
    layer {{ name: 'result' type: 'CTCGreedyDecoder' bottom: 'fc' top: 'result' }}"""


def written(labels):
    """Images (N, 1, 4, 6) with a bar for each label, 1 to 3 pixels high, in columns 1 and 4."""
    images = np.zeros((len(labels), 1, 4, 6))
    for image, row in zip(images[:, 0], labels, strict=True):
        for place, label in enumerate(row):
            image[:int(label), 3 * place + 1] = 1
    return images


def test_a_net_learns_to_read(tmp_path):
    caffe.set_random_seed(1)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(f"net: '{tmp_path}/net.prototxt' type: 'Adam' base_lr: 0.05 "
                                              "lr_policy: 'fixed' momentum: 0.9 momentum2: 0.999 max_iter: 40")
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    labels = np.array([[1, 2], [3, 3], [2, 0], [0, 0], [3, 1]])
    solver.net.blobs["image"].data[...], solver.net.blobs["label"].data[...] = written(labels), labels
    first = float(solver.net.forward()["loss"])
    solver.step(40)
    found = solver.net.forward()
    assert float(found["loss"]) < 0.2 * first
    wanted = np.full((5, 6), -1)
    for row, want in zip(labels, wanted, strict=True):
        want[:np.count_nonzero(row)] = row[row > 0]
    np.testing.assert_array_equal(found["result"][..., 0, 0], wanted)
    np.testing.assert_allclose(found["acc"].ravel(), [1, 4 / 5])     # an item without labels does not count as right


def test_weights_that_were_saved_are_read(tmp_path):
    first, second = (caffe.Net(parse(NET, caffe_pb2.NetParameter()), caffe.TEST) for _ in range(2))
    first.save(str(tmp_path / "net.caffemodel"))
    second.copy_from(str(tmp_path / "net.caffemodel"))
    assert [blob.data.shape for blob in second.params["lstm"]] == [(32, 6), (32, 8), (32,)]
    for one, other in zip(first.params["rlstm"], second.params["rlstm"], strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def test_one_onnx_model_reads_images_of_any_width(tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    from onnx_runs import run
    param = parse(NET, caffe_pb2.NetParameter())
    del param.layer[-3:-1]      # the loss and the accuracy
    del param.layer[0].top[1], param.layer[0].input_param.shape[1]
    net = caffe.Net(param, caffe.TEST)
    caffe.to_onnx(net, tmp_path / "net.onnx", {"image": (5, 1, 4, "width")})
    for width in (1, 2, 6, 31):
        net.blobs["image"].reshape(5, 1, 4, width)
        net.blobs["image"].data[...] = 3 * np.random.default_rng(width).standard_normal((5, 1, 4, width))
        net.reshape()
        found = run(tmp_path / "net.onnx", {"image": net.blobs["image"].data.copy()})
        np.testing.assert_array_equal(found["result"], net.forward()["result"])
