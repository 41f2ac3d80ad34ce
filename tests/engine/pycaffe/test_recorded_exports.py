"""Torch modules and ONNX models against values recorded from BVLC Caffe, for every recorded layer and net."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe


def pytest_generate_tests(metafunc):
    folder = Path(metafunc.config.getoption("--golden-engine"))
    index = folder / "index.json"
    entries = json.loads(index.read_text()) if index.is_file() else []
    entries = [entry for entry in entries if entry["family"] in ("layers", "nets") and entry.get("npz")
               and not entry.get("kind") and not entry.get("dir")]
    metafunc.parametrize("entry", entries, ids=[entry["name"] for entry in entries])


@pytest.fixture
def recorded(entry, pytestconfig, monkeypatch):
    """The net with the recorded parameters and inputs of the first pass, and the recorded arrays."""
    folder = Path(pytestconfig.getoption("--golden-engine"))
    monkeypatch.syspath_prepend(str(folder))
    arrays = dict(np.load(folder / entry["npz"]))
    try:
        net = caffe.Net(str(folder / entry["prototxt"]), getattr(caffe, entry["phase"]), level=entry.get("level", 0),
                        stages=entry.get("stages"))
    except ModuleNotFoundError:
        pytest.skip("a Python layer of the detector")
    for layer, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            if f"param.{layer}.{index}" in arrays:
                blob.data[...] = arrays[f"param.{layer}.{index}"]
    for name in net.inputs:
        if f"in.{name}" in arrays:
            net.blobs[name].reshape(*arrays[f"in.{name}"].shape)
            net.blobs[name].data[...] = arrays[f"in.{name}"]
    net.reshape()
    return net, arrays


def compare(net, found, entry, arrays, factor=1):
    tolerance = entry["tolerance"]
    for name, value in zip(net.outputs, found, strict=True):
        if f"out.{name}" in arrays:
            np.testing.assert_allclose(value, arrays[f"out.{name}"], rtol=factor * tolerance["rtol"],
                                       atol=factor * tolerance["atol"], err_msg=name)


def is_refused(net, export, is_suitable=True):
    """Whether the net must be rejected, as with a Python layer or if it is unsuitable; asserts that it then is."""
    if is_suitable and "Python" not in [layer.type for layer in net.engine_layers]:
        return False
    with pytest.raises(ValueError, match="its code is not ours|no outputs|TEST phase"):
        export(net)
    return True


def test_torch_module(entry, recorded):
    net, arrays = recorded
    if is_refused(net, caffe.to_torch):
        return
    module = caffe.to_torch(net)
    inputs = [torch.tensor(net.blobs[name].data.copy()) for name in net.inputs]
    found = module(*inputs)
    compare(net, [value.detach() for value in (found if isinstance(found, tuple) else (found,))], entry, arrays)


def test_onnx_model(entry, recorded, tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    net, arrays = recorded
    if is_refused(net, lambda net: caffe.to_onnx(net, tmp_path / "net.onnx"), net.outputs and net.phase == caffe.TEST):
        return
    caffe.to_onnx(net, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    found = session.run(None, {name: net.blobs[name].data for name in net.inputs if name in names})
    compare(net, found, entry, arrays, factor=2)
