"""Runs ONNX models and compares them with the nets that they were exported from."""
import numpy as np
import onnx
import onnxruntime

import caffe


def run(path, arrays):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    given = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(None, {name: arrays[name] for name in given}), strict=True))


def compare(net, path, tolerance=1e-5):
    """Compare the model's outputs for the net's inputs with the net's own."""
    found = run(path, {name: net.blobs[name].data.copy() for name in net.inputs})
    expected = net.forward()
    assert list(found) == list(expected)
    for name, want in expected.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=tolerance, atol=tolerance, err_msg=name)


def check(net, path, tolerance=1e-5):
    """Export the net and compare onnxruntime's outputs with those of the net."""
    caffe.to_onnx(net, path)
    onnx.checker.check_model(str(path), full_check=True)
    compare(net, path, tolerance)
