"""Layers defined outside the package: the example of docs/adding_a_layer.md, and rejected registrations."""
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

import caffe
from caffe.engine import layer as engine
from caffe.proto import prototxt

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "docs" / "adding_a_layer.md").read_text().split("## In your own package")[1].split("\n## ")[0]
BLOCKS = dict(re.findall(r"```(\w*)\n(.*?)```", SECTION, re.DOTALL))


GENERATED = """
from google.protobuf.internal import builder as _builder
from google.protobuf import descriptor_pool as _descriptor_pool
from caffe.proto import caffe_pb2 as caffe_dot_proto_dot_caffe__pb2
DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile(SERIALIZED)
_builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
_builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, 'my_layers_pb2', globals())
"""


def compiled() -> types.ModuleType:
    """The module that protoc generates from the document's my_layers.proto; built by hand, without protoc."""
    proto = BLOCKS["proto"]
    assert all(part in proto for part in ("package my;", "float limit = 1 [default = 1]", "gain_filler = 2",
                                          "soft_clip_param = 10100"))
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="my_layers.proto", package="my", syntax="proto2",
                                              dependency=["caffe/proto/caffe.proto"])
    message = file.message_type.add(name="SoftClipParameter")
    message.field.add(name="limit", number=1, type=field.TYPE_FLOAT, label=field.LABEL_OPTIONAL, default_value="1")
    message.field.add(name="gain_filler", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
                      type_name=".caffe.FillerParameter")
    file.extension.add(name="soft_clip_param", number=10100, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
                       type_name=".my.SoftClipParameter", extendee=".caffe.LayerParameter")
    module = types.ModuleType("my_layers_pb2")
    module.SERIALIZED = file.SerializeToString()
    exec(GENERATED, vars(module))
    return module


@pytest.fixture(scope="module")
def my_layers(tmp_path_factory):
    """The document's module, imported from its own folder; the registry is restored afterwards."""
    folder, before = tmp_path_factory.mktemp("outside"), dict(engine._REGISTRY)
    (folder / "my_layers.py").write_text(BLOCKS["python"])
    sys.modules["my_layers_pb2"] = compiled()
    sys.path.insert(0, str(folder))
    import my_layers
    yield my_layers
    sys.path.remove(str(folder))
    del sys.modules["my_layers"], sys.modules["my_layers_pb2"]
    engine._REGISTRY.clear()
    engine._REGISTRY.update(before)


@pytest.fixture
def net_file(my_layers, tmp_path):
    path = tmp_path / "net.pt"
    path.write_text("layer { name: 'in' type: 'Input' top: 'a' input_param { shape { dim: 2 dim: 3 dim: 4 } } }\n"
                    + BLOCKS[""] + "force_backward: true")
    return path


def test_the_documented_layer_runs_and_learns(net_file):
    assert "SoftClip" in caffe.layer_type_list()
    net = caffe.Net(str(net_file), caffe.TRAIN)
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    top = net.forward(a=x)["b"]
    np.testing.assert_allclose(top, 3 * np.tanh(2 * x / 3), rtol=1e-5)
    diff = net.backward(b=np.ones_like(top))["a"]
    np.testing.assert_allclose(diff, 2 * (1 - (top / 3) ** 2), rtol=1e-4)
    np.testing.assert_allclose(net.params["clip"][0].diff, ((1 - (top / 3) ** 2) * x).sum((0, 2)), rtol=1e-4)
    assert net.params_lr == [2]


def test_settings_and_blobs_survive_files(net_file, tmp_path):
    net = caffe.Net(str(net_file), caffe.TEST)
    net.params["clip"][0].data[...] = [1, 2, 3]
    net.save(str(tmp_path / "w.caffemodel"))
    other = caffe.Net(str(net_file), caffe.TEST, weights=str(tmp_path / "w.caffemodel"))
    assert other.params["clip"][0].data.tolist() == [1, 2, 3]
    stored = caffe.proto.caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert stored.layer[1].Extensions[sys.modules["my_layers_pb2"].soft_clip_param].limit == 3
    again = prototxt.parse(prototxt.to_text(prototxt.read_net(net_file)), caffe.proto.caffe_pb2.NetParameter())
    assert again == prototxt.read_net(net_file)


def test_its_errors_name_file_line_and_layer(net_file):
    net_file.write_text(net_file.read_text().replace("limit: 3", "limit: -3"))
    with pytest.raises(caffe.LayerError, match=r"net.pt:2: layer 'clip' \(SoftClip\): limit must be above 0, found -3"):
        caffe.Net(str(net_file), caffe.TEST)
    net_file.write_text(net_file.read_text().replace("soft_clip_param", "soft_clop_param"))
    with pytest.raises(prototxt.PrototxtError, match=r"net.pt:3:\d+: .*my.soft_clop_param"):
        caffe.Net(str(net_file), caffe.TEST)


def test_a_layer_with_its_own_gradient(my_layers):
    @caffe.register_layer("Doubled")
    class Doubled(caffe.EngineLayer):
        exact_bottoms = exact_tops = 1

        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward(self, bottom, top):
            top[0].tensor = 2 * bottom[0].tensor

        def backward(self, top, propagate_down, bottom):
            if propagate_down[0]:
                bottom[0].grad = 2 * top[0].grad

    net = caffe.Net(prototxt.parse("""
        force_backward: true
        layer { name: 'in' type: 'Input' top: 'a' input_param { shape { dim: 3 } } }
        layer { name: 'double' type: 'Doubled' bottom: 'a' top: 'b' }""", caffe.proto.caffe_pb2.NetParameter()),
        caffe.TEST)
    assert net.forward(a=np.arange(3.0))["b"].tolist() == [0, 2, 4]
    assert net.backward(b=np.ones(3))["a"].tolist() == [2, 2, 2]


def test_registration_refuses_taken_names_and_other_classes():
    with pytest.raises(ValueError, match="'ReLU' is registered already"):
        caffe.register_layer("ReLU")(type("Mine", (caffe.EngineLayer,), {}))
    with pytest.raises(TypeError, match=r"register_layer\('Mine'\): 'Mine' must derive from caffe.EngineLayer"):
        caffe.register_layer("Mine")(type("Mine", (caffe.Layer,), {}))
    with pytest.raises(TypeError, match="must derive"):
        caffe.register_layer("Mine")(lambda: None)
    assert "Mine" not in caffe.layer_type_list()
