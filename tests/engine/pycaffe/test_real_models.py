"""Published models: load, run, save, reload, classify and export."""
import numpy as np
import pytest
import torch

import caffe

MODELS = {"det1": ("mtcnn/det1", None), "det2": ("mtcnn/det2", None), "det3": ("mtcnn/det3", None),
          "cifar10": ("cifar10_quick/cifar10_quick", "cifar10_quick/cifar10_quick_iter_5000")}


def paths(shared_data, name):
    net, weights = MODELS[name]
    return [str(shared_data / "caffe" / f"{part}") for part in (f"{net}.prototxt", f"{weights or net}.caffemodel")]


def load(shared_data, name):
    prototxt, weights = paths(shared_data, name)
    net = caffe.Net(prototxt, caffe.TEST, weights=weights)
    blob = net.blobs[net.inputs[0]]
    blob.data[...] = np.random.default_rng(0).uniform(-1, 1, blob.shape) * (1 if name != "cifar10" else 100)
    return net


def outputs_of(net):
    return {name: value.copy() for name, value in net.forward().items()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ending", ["caffemodel", "h5"])
def test_saved_weights_give_the_same_outputs(shared_data, tmp_path, name, ending):
    net = load(shared_data, name)
    expected = outputs_of(net)
    path = str(tmp_path / f"weights.{ending}")
    net.save(path) if ending == "caffemodel" else net.save_hdf5(path)
    again = caffe.Net(paths(shared_data, name)[0], caffe.TEST, weights=path)
    again.blobs[again.inputs[0]].data[...] = net.blobs[net.inputs[0]].data
    for key, value in outputs_of(again).items():
        np.testing.assert_array_equal(value, expected[key])
    assert all(np.isfinite(value).all() and value.std() > 0 for value in expected.values())


@pytest.mark.parametrize("name", MODELS)
def test_as_torch_module(shared_data, name):
    net = load(shared_data, name)
    expected = outputs_of(net)
    with torch.no_grad():
        found = caffe.to_torch(net)(torch.tensor(net.blobs[net.inputs[0]].data))
    for value, want in zip(found if isinstance(found, tuple) else (found,), expected.values(), strict=True):
        np.testing.assert_allclose(value.numpy(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_as_onnx_model_by_the_command(shared_data, tmp_path, name):
    pytest.importorskip("onnx", reason="needs the package onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    from caffe.commands import main
    target = str(tmp_path / "net.onnx")
    assert main(["export", "--to", "onnx", *paths(shared_data, name), target]) == 0
    net = load(shared_data, name)
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    found = session.run(net.outputs, {net.inputs[0]: net.blobs[net.inputs[0]].data})
    for value, want in zip(found, outputs_of(net).values(), strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-5)


def test_a_fully_convolutional_net_takes_other_sizes(shared_data):
    """PNet's output at each position of an image equals its output for the window there."""
    net = load(shared_data, "det1")
    image = np.random.default_rng(1).uniform(-1, 1, (1, 3, 31, 40)).astype(np.float32)
    net.blobs["data"].reshape(*image.shape)
    whole = {name: value.copy() for name, value in net.forward(data=image).items()}
    module = caffe.to_torch(net)
    net.blobs["data"].reshape(1, 3, 12, 12)
    for row, column in ((0, 0), (3, 5), (9, 13)):
        window = image[:, :, 2 * row:2 * row + 12, 2 * column:2 * column + 12]
        for name, value in net.forward(data=window).items():
            np.testing.assert_allclose(whole[name][0, :, row, column], value[0, :, 0, 0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for name, value in zip(net.outputs, module(torch.tensor(image)), strict=True):
            np.testing.assert_allclose(value, whole[name], rtol=1e-4, atol=1e-5)


def test_fine_tuning_as_a_torch_module_lowers_the_loss(shared_data):
    net = load(shared_data, "cifar10")
    module = caffe.to_torch(net).train()
    random = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 3, 32, 32, generator=random) * 50, torch.arange(8)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = torch.nn.functional.nll_loss(module(images).clamp(min=1e-6).log(), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_classifier_takes_photographs_of_any_size(shared_data):
    net = caffe.Classifier(*paths(shared_data, "cifar10"), image_dims=(40, 44), raw_scale=255,
                           channel_swap=(2, 1, 0), mean=np.array([120.0, 122, 125]))
    random = np.random.default_rng(2)
    pictures = [random.random((height, width, 3), np.float32) for height, width in ((50, 40), (33, 70), (40, 44))]
    for oversample in (True, False):
        predictions = net.predict(pictures, oversample)
        assert predictions.shape == (3, 10)
        np.testing.assert_allclose(predictions.sum(1), 1, rtol=1e-5)
