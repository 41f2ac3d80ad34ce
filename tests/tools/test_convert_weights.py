"""tools/convert_weights.py: converted weights yield the same features, and other files end in clear errors."""
from pathlib import Path

import convert_weights
import numpy as np
import pytest
import torch
from convert_weights import (
    SQUEEZENET,
    VGG16,
    VGG16_CONVOLUTIONS,
    ConversionError,
    convert,
    load_state,
    source_of,
    write_caffemodel,
)
from torch.nn import functional as F

import caffe
from caffe.proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]
CONVOLUTIONS = list(VGG16_CONVOLUTIONS.layers)


def random_state(source) -> dict[str, torch.Tensor]:
    """Random weights with the keys and shapes of a source, scaled to keep activations near 1."""
    generator = torch.Generator().manual_seed(1)
    arrays = {}
    for key, shape in source.layers.values():
        arrays[f"{key}.weight"] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"{key}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    return arrays


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state(VGG16_CONVOLUTIONS)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Height 26, width 30, B G R in 0..255."""
    return np.random.default_rng(2).integers(0, 256, (26, 30, 3)).astype(np.float64)


def scaled(layers):
    """torchvision's VGG16, restricted to these layers."""
    return VGG16._replace(layers={layer: VGG16.layers[layer] for layer in layers})


def torch_features(state, image) -> np.ndarray:
    """relu1_2 as torchvision computes it from the RGB image."""
    rgb = (image[:, :, ::-1] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    top = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    for index in (0, 2):
        weight, bias = (state[f"features.{index}.{part}"] for part in ("weight", "bias"))
        top = F.relu(F.conv2d(top, weight, bias, padding=1))
    return top.numpy()


NET = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 26 dim: 30 } } }
    layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
            convolution_param { num_output: 64 pad: 1 kernel_size: 3 } }
    layer { name: "relu1_1" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }
    layer { name: "conv1_2" type: "Convolution" bottom: "conv1_1" top: "conv1_2"
            convolution_param { num_output: 64 pad: 1 kernel_size: 3 } }
    layer { name: "relu1_2" type: "ReLU" bottom: "conv1_2" top: "conv1_2" }
"""


def test_features_away_from_the_border_equal_those_of_torch(state, image, tmp_path):
    model = tmp_path / "vgg16.caffemodel"
    write_caffemodel(model, "VGG16", convert(state, scaled(CONVOLUTIONS[:2])))
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), str(model), caffe.TEST)
    net.blobs["data"].data[0] = (image - [102.9801, 115.9465, 122.7717]).transpose(2, 0, 1)
    net.forward()
    ours, expected = net.blobs["conv1_2"].data, torch_features(state, image)
    np.testing.assert_allclose(ours[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    assert np.abs(ours - expected).max() < 0.1      # one grey level of difference from the padding


def test_all_other_weights_are_unchanged(state):
    weights = convert(state, scaled(CONVOLUTIONS))
    assert list(weights) == CONVOLUTIONS
    np.testing.assert_array_equal(weights["conv5_3"][0], state["features.28.weight"].numpy())
    np.testing.assert_array_equal(weights["conv2_1"][1], state["features.5.bias"].numpy())
    assert all(array.dtype == np.float32 for arrays in weights.values() for array in arrays)


def test_file_is_a_caffemodel(tmp_path):
    weights = {"conv1_1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.ones(2, np.float32)],
               "fc6": [np.full((4, 5), 0.5, np.float32), np.zeros(4, np.float32)]}
    write_caffemodel(tmp_path / "new" / "x.caffemodel", "x", weights)
    net = caffe_pb2.NetParameter.FromString((tmp_path / "new" / "x.caffemodel").read_bytes())
    assert (net.name, [layer.name for layer in net.layer]) == ("x", ["conv1_1", "fc6"])
    assert [layer.type for layer in net.layer] == ["Convolution", "InnerProduct"]
    assert list(net.layer[0].blobs[0].shape.dim) == [2, 3, 2, 2]
    assert list(net.layer[0].blobs[0].data) == list(range(24))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.caffemodel"]


def test_every_missing_key_and_wrong_shape_is_named(state):
    broken = {key: value for key, value in state.items() if key != "features.7.bias"}
    broken["features.0.weight"] = torch.zeros(64, 3, 7, 7)
    with pytest.raises(ConversionError) as error:
        convert(broken, VGG16)
    message = str(error.value)
    assert "'features.7.bias' (conv2_2) is missing" in message
    assert "'features.0.weight' (conv1_1) has shape (64, 3, 7, 7), expected (64, 3, 3, 3)" in message
    assert "'classifier.0.weight' (fc6) is missing" in message


def test_files_are_read_and_wrong_ones_refused(state, tmp_path, capsys):
    good = tmp_path / "vgg16.pth"
    torch.save({"features.0.bias": state["features.0.bias"]}, good)
    assert torch.equal(load_state(good)["features.0.bias"], state["features.0.bias"])

    good.rename(tmp_path / "vgg16-00000000.pth")
    with pytest.raises(ConversionError, match="its SHA-256 begins with [0-9a-f]{8}, not with 00000000"):
        load_state(tmp_path / "vgg16-00000000.pth")

    (tmp_path / "page.pth").write_text("<html>404</html>")
    with pytest.raises(ConversionError, match="cannot be read as weights") as error:
        load_state(tmp_path / "page.pth")
    assert "weights_only" not in str(error.value) and "issue" not in str(error.value)
    with pytest.raises(ConversionError, match="there is no file"):
        load_state(tmp_path / "none.pth")

    torch.save([1, 2], tmp_path / "list.pth")
    assert convert_weights.main([str(tmp_path / "list.pth"), str(tmp_path / "out.caffemodel")]) == 2
    assert capsys.readouterr().err == (f"error: {tmp_path / 'list.pth'}: expected a dictionary of weights, found "
                                       "list\n")
    assert not (tmp_path / "out.caffemodel").exists()


def test_a_file_with_code_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return print, ("this must not run",)

    torch.save({"features.0.weight": Code()}, tmp_path / "evil.pth")
    with pytest.raises(ConversionError, match="cannot be read as weights"):
        load_state(tmp_path / "evil.pth")


def test_the_kind_of_weights_is_found(state):
    fc6 = torch.arange(12.).reshape(3, 4)
    assert source_of(state | {"classifier.0.weight": fc6}) is VGG16
    assert source_of(state) is VGG16            # an error then names the missing classifier
    for missing in (torch.full((3, 4), float("nan")), torch.zeros(3, 4)):
        assert source_of(state | {"classifier.0.weight": missing}) is VGG16_CONVOLUTIONS
    original = state["features.0.weight"].clone()
    original[0, 0, 0, 0] = 0.4800154            # the red channel
    assert source_of(state | {"features.0.weight": original}) is VGG16_CONVOLUTIONS
    assert source_of(random_state(SQUEEZENET)) is SQUEEZENET


@pytest.mark.slow
def test_only_the_channels_of_the_originals_convolutions_are_reversed(state, tmp_path, capsys):
    torch.save(state | {"classifier.0.weight": torch.full((3, 4), float("nan"))}, tmp_path / "vgg16.pth")
    target = tmp_path / "vgg16.caffemodel"
    assert convert_weights.main([str(tmp_path / "vgg16.pth"), str(target)]) == 0
    assert "vgg16.pth: the convolutions of the original VGG16; wrote" in capsys.readouterr().out
    layers = {layer.name: layer for layer in caffe_pb2.NetParameter.FromString(target.read_bytes()).layer}
    assert list(layers) == CONVOLUTIONS
    first = np.array(layers["conv1_1"].blobs[0].data, np.float32).reshape(64, 3, 3, 3)
    np.testing.assert_array_equal(first, state["features.0.weight"].numpy()[:, [2, 1, 0]])
    np.testing.assert_array_equal(layers["conv1_1"].blobs[1].data, state["features.0.bias"].numpy())
    np.testing.assert_array_equal(layers["conv3_2"].blobs[0].data, state["features.12.weight"].numpy().ravel())


def test_squeezenet_has_the_features_of_torch(image, tmp_path):
    """The first convolution has no padding, so features are equal at the border, too."""
    state = random_state(SQUEEZENET)
    model = tmp_path / "squeezenet.caffemodel"
    write_caffemodel(model, "SqueezeNet", convert(state, SQUEEZENET))
    net = caffe.Net(str(ROOT / "models/SqueezeNet/faster_rcnn_end2end/test.pt"), caffe.TEST)
    net.copy_from(str(model))
    large = np.kron(image, np.ones((4, 4, 1)))      # 104 x 120
    net.blobs["data"].reshape(1, 3, *large.shape[:2])
    net.blobs["data"].data[0] = (large - [102.9801, 115.9465, 122.7717]).transpose(2, 0, 1)
    net.blobs["im_info"].data[...] = [*large.shape[:2], 1]
    net.forward(end="fire9/concat")
    top = (large[:, :, ::-1] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    top = torch.from_numpy(top.transpose(2, 0, 1)[None].astype(np.float32))
    top = F.relu(F.conv2d(top, state["features.0.weight"], state["features.0.bias"], stride=2))
    for index in (3, 4, 6, 7, 9, 10, 11, 12):
        if index in (3, 6, 9):
            top = F.max_pool2d(top, 3, 2, ceil_mode=True)
        parts = {name: (state[f"features.{index}.{name}.weight"], state[f"features.{index}.{name}.bias"])
                 for name in ("squeeze", "expand1x1", "expand3x3")}
        squeezed = F.relu(F.conv2d(top, *parts["squeeze"]))
        top = torch.cat([F.relu(F.conv2d(squeezed, *parts["expand1x1"])),
                         F.relu(F.conv2d(squeezed, *parts["expand3x3"], padding=1))], 1)
    assert top.shape == (1, 512, 6, 7)
    np.testing.assert_allclose(net.blobs["fire9/concat"].data, top.numpy(), rtol=1e-3, atol=1e-3)
