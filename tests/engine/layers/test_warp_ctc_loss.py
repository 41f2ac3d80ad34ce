"""WarpCTCLoss against the sum over all paths."""
import numpy as np
import pytest
import torch
from ctc_paths import difference_quotients, loss_of
from layer_checker import Runner, check, randn, refused

import caffe
from caffe.engine import device
from caffe.engine.layer import LayerError
from caffe.export import ExportError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

LABELS = np.array([[1, 2, 0], [0, 0, 0], [1, 0, 1], [2, 0, 0], [2, 2, 2]], float)     # none; apart; too long for 4


def mean_loss(scores, labels, blank=0):
    return sum(loss_of(scores[:, n], [label for label in row if label != blank], blank)
               for n, row in enumerate(labels)) / len(labels)


@pytest.mark.parametrize("labels", LABELS)
def test_one_item(labels):
    check("type: 'WarpCTCLoss'", [randn(4, 1, 3), labels[None]], lambda x, y: mean_loss(x, y), learns=[0],
          other=[randn(2, 1, 3), np.array([[0.0, 1, 2, 0]])])


@pytest.mark.parametrize("blank, labels", [(0, LABELS), (1, 3 - LABELS), (-1, np.array([2, 1, 0])[LABELS.astype(int)])])
def test_items_and_blanks_and_the_gradient_of_their_sum(blank, labels):
    scores = 2 * randn(4, 5, 3)
    labels = np.where(labels > 2, 1, labels)
    place = blank % 3
    with device.use_float_type(torch.float64):
        runner = Runner(f"type: 'WarpCTCLoss' ctc_loss_param {{ blank_index: {blank} }}", [scores[..., None], labels])
        assert runner.forward()[0] == pytest.approx(mean_loss(scores, labels, place), rel=1e-12)
        found = runner.backward([np.array(0.5)], [True, False])[0][..., 0]
        wanted = difference_quotients(lambda x: len(labels) * mean_loss(x, labels, place) / 2, scores)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_large_scores_and_an_empty_batch():
    runner = Runner("type: 'WarpCTCLoss'", [1e4 * randn(3, 2, 4), np.array([[1.0, 2], [3, 0]])])
    assert np.isfinite(runner.forward()[0])
    assert np.isfinite(runner.backward([np.array(1.0)], [True, False])[0]).all()
    assert Runner("type: 'WarpCTCLoss'", [np.zeros((3, 0, 4)), np.zeros((0, 2))]).forward()[0] == 0


def test_as_a_torch_module_and_not_as_onnx(tmp_path):
    net = caffe.Net(parse("""layer { name: 'in' type: 'Input' top: 'x' top: 'y'
        input_param { shape { dim: 4 dim: 5 dim: 3 } shape { dim: 5 dim: 3 } } }
        layer { name: 'loss' type: 'WarpCTCLoss' bottom: 'x' bottom: 'y' top: 'loss' }""",
                          caffe_pb2.NetParameter()), caffe.TEST)
    scores = torch.tensor(randn(4, 5, 3), dtype=torch.float32, requires_grad=True)
    net.blobs["x"].data[...], net.blobs["y"].data[...] = scores.detach(), LABELS
    loss = caffe.to_torch(net)(scores, torch.tensor(LABELS, dtype=torch.float32))
    np.testing.assert_allclose(loss.detach(), net.forward()["loss"], rtol=1e-6)
    loss.backward()
    wanted = difference_quotients(lambda x: 5 * mean_loss(x, LABELS), randn(4, 5, 3))
    np.testing.assert_allclose(scores.grad, wanted, atol=1e-5)
    with pytest.raises(ExportError, match=r"layer 'loss' \(WarpCTCLoss\)"):
        caffe.to_onnx(net, tmp_path / "net.onnx")


def test_bad_input():
    for shape in ((4, 5), (4, 5, 3, 2), (0, 5, 3)):
        refused("type: 'WarpCTCLoss'", [shape, (5, 3)], r"expected scores of shape \(T, N, C\), with time steps first")
    for shape in ((4, 3), (5,), (5, 3, 2)):
        refused("type: 'WarpCTCLoss'", [(4, 5, 3), shape], r"expected labels of shape \(5, L\), found")
    refused("type: 'WarpCTCLoss' ctc_loss_param { blank_index: 3 }", [(4, 5, 3), (5, 3)], "none of the classes 0..2")
    refused("type: 'WarpCTCLoss'", [(4, 5, 3)] * 3, "takes 2 bottom")
    for label in (3, -1):
        with pytest.raises(LayerError, match=rf"layer 'tested' .*: labels must be in 0..2, found {label}"):
            Runner("type: 'WarpCTCLoss'", [randn(4, 1, 3), np.array([[1.0, label]])]).forward()
