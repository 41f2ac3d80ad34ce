"""InfogainLoss."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.proto import caffe_pb2


def loss(scores, labels, matrix, ignore=None, mode="VALID"):
    rows = np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1])
    matrix = matrix.reshape(scores.shape[1], -1)
    total, valid, prob = 0.0, 0, np.zeros(rows.shape)
    for n, (row, label) in enumerate(zip(rows, labels.ravel().astype(int), strict=True)):
        prob[n] = np.exp(row) / np.exp(row).sum()
        if label != ignore:
            total -= sum(matrix[label, k] * math.log(prob[n, k]) for k in range(len(row)))
            valid += 1
    return total / max(1, {"VALID": valid, "FULL": len(rows)}[mode])


MATRIX = np.abs(randn(3, 3))
LABELS = np.random.default_rng(1).integers(0, 3, (2, 4, 5)).astype(float)


@pytest.mark.parametrize("settings, ignore, mode", [
    ("", None, "VALID"), ("ignore_label: 2", 2, "VALID"), ("ignore_label: 0 normalization: FULL", 0, "FULL")])
def test_infogain_loss(settings, ignore, mode):
    check(f"type: 'InfogainLoss' loss_param {{ {settings} }}", [randn(2, 3, 4, 5), LABELS, MATRIX.reshape(1, 9)],
          lambda x, y, h: loss(x, y, h, ignore, mode), learns=[0],
          other=[randn(1, 3, 2, 5), LABELS[:1, :2], MATRIX])


def test_matrix_from_a_file(tmp_path):
    path = tmp_path / "h.binaryproto"
    matrix = caffe_pb2.BlobProto(data=MATRIX.ravel(), shape=caffe_pb2.BlobShape(dim=[3, 3]))
    path.write_bytes(matrix.SerializeToString())
    runner = Runner(f"type: 'InfogainLoss' infogain_loss_param {{ source: '{path}' }}",
                    [randn(2, 3), np.array([0.0, 2])], num_tops=2)
    value, prob = runner.forward()
    np.testing.assert_allclose(value, loss(randn(2, 3), np.array([0, 2]), MATRIX), rtol=1e-5)
    np.testing.assert_allclose(prob.sum(1), 1, rtol=1e-6)


def test_bad_input():
    refused("type: 'InfogainLoss'", [(2, 3), (2,)], "expected the matrix H")
    refused("type: 'InfogainLoss' infogain_loss_param { source: 'nowhere' }", [(2, 3), (2,)], "cannot read")
    refused("type: 'InfogainLoss' loss_param { normalize: true }", [(2, 3), (2,), (3, 3)], "normalization")
    refused("type: 'InfogainLoss'", [(2, 3), (2,), (3, 4)], "3 classes need 9 values in H, found 12")
    refused("type: 'InfogainLoss'", [(2, 3, 4), (2,), (3, 3)], "need 8 labels, found 2")
