"""Losses and Accuracy as ONNX and as torch modules, at the limits of their ranges."""
import numpy as np
import pytest
import torch
from layer_examples import EXAMPLES, net_of

import caffe

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
from onnx_runs import check, run  # noqa: E402  (it needs both packages)


def net_with(example, *arrays):
    net = net_of(example)
    for name, array in zip(net.inputs, arrays, strict=True):
        net.blobs[name].data[...] = array
    return net


@pytest.mark.parametrize("name", ["softmax_loss", "sigmoid_loss", "infogain_loss", "smooth_l1", "hinge_loss"])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_scores(name, size, tmp_path):
    net = net_of(EXAMPLES[name])
    net.blobs["x0"].data[...] *= size
    check(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("mode", ["VALID", "FULL", "BATCH_SIZE", "NONE", "PRE_FIXED pre_fixed_normalizer: 3"])
@pytest.mark.parametrize(("kind", "shape"), [("SoftmaxWithLoss", (3, 2)), ("SigmoidCrossEntropyLoss", (3, 4, 2))])
def test_normalisers_with_all_labels_ignored_and_with_some(mode, kind, shape, tmp_path):
    example = f"type: '{kind}' loss_param {{ ignore_label: 1 normalization: {mode} }}", [(3, 4, 2), shape], 1
    net = net_of(example)
    for label in (np.ones(shape), np.arange(np.prod(shape)).reshape(shape) % 2):
        net.blobs["x1"].data[...] = label
        check(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("text", ["type: 'HingeLoss'", "type: 'SoftmaxWithLoss' loss_param { ignore_label: 0 }",
                                  "type: 'Accuracy' accuracy_param { ignore_label: 4 }"])
def test_labels_are_truncated_to_integers(text, tmp_path):
    scores = np.random.default_rng(0).standard_normal((4, 6))
    check(net_with((text, [(4, 6), (4,)], 1), scores, [0.9, 1.5, 4.99, -0.5]), tmp_path / "net.onnx")


@pytest.mark.parametrize("label", [6, -1])
@pytest.mark.parametrize("example", [
    ("type: 'SoftmaxWithLoss'", [(2, 6), (2,)], 1), ("type: 'HingeLoss'", [(2, 6), (2,)], 1),
    ("type: 'MultinomialLogisticLoss'", [(2, 6), (2,)], 1), ("type: 'InfogainLoss'", [(2, 6), (2,), (6, 6)], 1),
], ids=lambda example: example[0].split("'")[1])
def test_a_label_outside_the_classes_makes_the_loss_nan(example, label, tmp_path):
    net = net_of(example)
    caffe.to_onnx(net, tmp_path / "net.onnx")
    arrays = {name: np.abs(blob.data) for name, blob in net.blobs.items() if name in net.inputs}
    arrays["x1"] = np.array([label, 5], np.float32)
    assert np.isnan(run(tmp_path / "net.onnx", arrays)["y0"])
    arrays["x1"] = np.array([0, 5], np.float32)
    assert np.isfinite(run(tmp_path / "net.onnx", arrays)["y0"])


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_ties_and_unknown_labels_of_accuracy(top_k, tmp_path):
    example = f"type: 'Accuracy' accuracy_param {{ top_k: {top_k} ignore_label: 7 }}", [(40, 3, 2), (40, 2)], 2
    random = np.random.default_rng(top_k)
    net = net_with(example, random.integers(0, 3, (40, 3, 2)), random.integers(-2, 9, (40, 2)))
    check(net, tmp_path / "net.onnx")
    assert 0 < net.blobs["y0"].data < 1
    net.blobs["x1"].data[...] = 7
    check(net, tmp_path / "net.onnx")


def test_infogain_matrix_from_a_file(tmp_path):
    matrix = np.random.default_rng(0).uniform(0, 1, (1, 1, 6, 6))
    (tmp_path / "h.binaryproto").write_bytes(caffe.io.array_to_blobproto(matrix).SerializeToString())
    text = f"type: 'InfogainLoss' infogain_loss_param {{ source: '{tmp_path}/h.binaryproto' }}"
    check(net_of((text, [(4, 6), (4,)], 1)), tmp_path / "net.onnx")


def test_equal_pairs_of_contrastive_loss_have_a_finite_gradient(tmp_path):
    net = net_with(EXAMPLES["contrastive_loss"], np.ones((7, 5)), np.ones((7, 5)), np.arange(7) % 2)
    check(net, tmp_path / "net.onnx")
    first = torch.ones(7, 5, requires_grad=True)
    caffe.to_torch(net)(first, torch.ones(7, 5), torch.arange(7.0) % 2).backward()
    assert not first.grad.any()


def test_a_clipped_loss_keeps_its_gradient():
    """The loss is clipped at log(FLT_MIN), where autograd gives 0; Caffe's gradient is still that of softmax."""
    module = caffe.to_torch(net_of(("type: 'SoftmaxWithLoss'", [(1, 3), (1,)], 1)))
    scores = torch.tensor([[0.0, 500, 0]], requires_grad=True)
    loss = module(scores, torch.zeros(1))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(87.3365)
    assert scores.grad.tolist() == [[-1, 1, 0]]
