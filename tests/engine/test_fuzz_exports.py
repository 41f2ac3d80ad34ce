"""The random nets of test_fuzz.py as ONNX models and torch modules, whose outputs equal the net's."""
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from test_fuzz import built, feed, nets, outputs

import caffe

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")


def as_onnx(made, path):
    import onnxruntime
    caffe.to_onnx(made, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {value.name for value in session.get_inputs()}
    return session.run(None, {name: made.blobs[name].data for name in given})


def as_torch(made):
    found = caffe.to_torch(made)(*(torch.tensor(made.blobs[name].data.copy()) for name in made.inputs))
    return [value.detach() for value in (found if isinstance(found, tuple) else (found,))]


@settings(max_examples=int(EXAMPLES or 40), deadline=None, derandomize=EXAMPLES is None, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])
@given(net=nets())
def test_random_nets(net, tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    note(net.text())
    net.phase = caffe.TEST
    made = built(net)
    assume(made.outputs)
    feed(net, made)
    for found in (as_onnx(made, tmp_path / "net.onnx"), as_torch(made)):
        for value, want in zip(found, outputs(made).values(), strict=True):
            np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-4)
