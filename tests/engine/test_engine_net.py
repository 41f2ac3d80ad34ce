"""Net: construction, sharing, which layers run backward, error messages."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2

DATA = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } }\n'


def inner(name, bottom, top, extra="", num_output=5):
    return (f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" {extra}\n'
            f'  inner_product_param {{ num_output: {num_output} weight_filler {{ type: "gaussian" std: 1 }} }} }}\n')


LOSS = ('layer { name: "target" type: "Input" top: "t" input_param { shape { dim: 3 dim: 5 } } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }\n')


@pytest.fixture
def net_of(tmp_path):
    def build(text, phase=caffe.TRAIN, **options):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return caffe.Net(str(path), phase, **options)
    return build


def runs_backward(net):
    return [layer.name for layer in net.engine_layers if layer.needs_backward]


def test_forward_returns_outputs_and_takes_inputs(net_of):
    net = net_of(DATA + inner("fc", "x", "y"))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    out = net.forward(x=x)
    weights, bias = (blob.data for blob in net.params["fc"])
    np.testing.assert_allclose(out["y"], x @ weights.T + bias, rtol=1e-5, atol=1e-6)
    assert net.inputs == ["x"] and net.outputs == ["y"]


def test_forward_names_a_wrong_input(net_of):
    net = net_of(DATA + inner("fc", "x", "y"))
    with pytest.raises(ValueError, match=r"\['z'\] given.*\['x'\]"):
        net.forward(z=np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"'x' has shape \(2, 4\), its blob \(3, 4\)"):
        net.forward(x=np.zeros((2, 4)))


def test_inputs_and_gradients_are_broadcast_as_by_numpy(net_of):
    net = net_of("force_backward: true " + DATA + inner("fc", "x", "y"))
    column = np.arange(3.0)[:, None]
    spread = net.forward(x=column)["y"].copy()
    assert (net.blobs["x"].data == np.repeat(column, 4, 1)).all()
    np.testing.assert_array_equal(net.forward(x=np.repeat(column, 4, 1))["y"], spread)
    net.backward(y=column)
    assert (net.blobs["y"].diff == np.repeat(column, 5, 1)).all()
    with pytest.raises(ValueError, match=r"'x' has shape \(1, 4\)"):
        net.forward(x=np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"diff of 'y' has shape \(3, 4\), its blob \(3, 5\)"):
        net.backward(y=np.zeros((3, 4)))


@pytest.mark.parametrize("names", [["nosuch"], ["x"], ["y", "x"]])
def test_backward_accepts_gradients_of_the_outputs_only(net_of, names):
    net = net_of(DATA + inner("fc", "x", "y"))
    with pytest.raises(ValueError, match=r"this net has the outputs \['y'\]"):
        net.backward(**{name: np.zeros((3, 5)) for name in names})


@pytest.mark.parametrize("shape", ["shape { dim: 5 dim: 4 }", "num: 1 channels: 1 height: 5 width: 4"])
def test_blobs_in_a_prototxt_replace_fillers(net_of, tmp_path, shape):
    values = " ".join(f"data: {number}" for number in range(20))
    written = f"blobs {{ {shape} {values} }} blobs {{ shape {{ dim: 5 }} double_data: [1, 2, 3, 4, 5] }}"
    net = net_of(DATA + inner("fc", "x", "y", written))
    weight, bias = net.params["fc"]
    assert weight.shape == (5, 4) and (weight.data.ravel() == range(20)).all() and bias.data.tolist() == [1, 2, 3, 4, 5]
    net.save(str(tmp_path / "w"))
    assert caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes()).layer[1].blobs[1].data == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("written, message", [
    ("blobs { data: 1 }", "has 1 `blobs` in its message, but 2 parameters"),
    ("blobs { shape { dim: 4 dim: 5 } } blobs { shape { dim: 5 } }", r"blob 0: shape \(4, 5\) needs 20 values"),
    ("blobs { shape { dim: 1 } data: 2 } blobs { shape { dim: 5 } }", r"blob 0: expected shape \(5, 4\), found \(1,\)"),
])
def test_mismatched_blobs_in_a_prototxt(net_of, written, message):
    with pytest.raises(ValueError, match="layer 'fc' .*" + message):
        net_of(DATA + inner("fc", "x", "y", written))


def test_part_of_a_net(net_of):
    net = net_of(DATA + inner("fc1", "x", "h") + inner("fc2", "h", "y"))
    net.blobs["h"].data[...] = 1
    assert set(net.forward(start="fc2")) == {"y"}
    assert set(net.forward(end="fc1")) == {"h"}
    with pytest.raises(ValueError, match="no layer 'fc9'"):
        net.forward(start="fc9")


def test_frozen_layers_do_no_backward_work(net_of):
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = net_of(DATA + inner("fc1", "x", "h", frozen) + inner("fc2", "h", "y") + LOSS)
    net.forward()
    net.run_backward()
    assert runs_backward(net) == ["fc2", "loss"]
    assert not net.params["fc1"][0].has_grad and not net.blobs["h"].has_grad


def test_readonly_head_shares_weights_and_does_no_backward_work(net_of):
    shared = 'param { name: "w" } param { name: "b" }'
    trained = 'param { name: "w" lr_mult: 1 } param { name: "b" lr_mult: 2 }'
    readonly = inner("head_readonly", "h", "scores", "propagate_down: false " + shared)
    silence = 'layer { name: "silence" type: "Silence" bottom: "scores" }\n'
    net = net_of(DATA + inner("fc1", "x", "h") + readonly + silence + inner("head", "h", "y", trained) + LOSS)
    assert net.params["head"][0].shares_data_with(net.params["head_readonly"][0])
    assert len(net.learnable_params) == 4 and net.params_lr == [1, 1, 1, 2]
    net.forward()
    net.run_backward()
    assert runs_backward(net) == ["fc1", "h_fc1_0_split", "head", "loss"]


def test_shared_weights_with_different_multipliers_are_refused(net_of):
    text = DATA + "".join(inner(name, "x", top, f'param {{ name: "w" lr_mult: {lr_mult} }}')
                          for name, top, lr_mult in (("a", "p", 1), ("b", "q", 2)))
    with pytest.raises(caffe.LayerError, match="layer 'b'.*lr_mult 2.*has 1"):
        net_of(text)


@pytest.mark.parametrize("text, message", [
    (DATA + inner("fc", "z", "y"), r"net.prototxt:2: layer 'fc'.*'z'"),
    ('input: "x"\n' + inner("fc", "x", "y"), r":2: layer 'fc'.*'x'; the net's `input` has no shape, .* `input_shape"),
    (DATA + inner("fc", "x", "x"), r"net.prototxt:2: layer 'fc'.*in place"),
    (DATA + inner("fc", "x", "y", "propagate_down: true " * 2), r":2: .*1 bottoms but 2 propagate_down"),
    (DATA + inner("fc", "x", "y", "loss_weight: 1 loss_weight: 1"), r":2: .*1 tops but 2 loss_weight"),
    (DATA + inner("fc", "x", "y", "param {} param {} param {}"), r":2: .*2 parameter\(s\) but 3 `param`"),
    (DATA + 'layer { name: "r" type: "Relu" bottom: "x" top: "y" }', r":2: .*unknown type 'Relu'.*ReLU"),
    (DATA + inner("fc", "x", "y").replace("gaussian", "gauss"), r":2: layer 'fc'.*unknown filler type 'gauss'"),
    (DATA + inner("fc", "x", "y", "include { phase: TEST } exclude { phase: TRAIN }"), r":2: .*include and exclude"),
])
def test_errors_name_file_line_and_layer(net_of, text, message):
    with pytest.raises(caffe.LayerError, match=message) as found:
        net_of(text)
    assert (found.value.layer, found.value.line) == ("r" if "Relu" in text else "fc", 2)


def test_python_layer_reports_a_missing_module(net_of):
    with pytest.raises(caffe.LayerError, match=r":2: .*no module 'no_such_module'"):
        net_of(DATA + 'layer { name: "p" type: "Python" bottom: "x" top: "y" '
                      'python_param { module: "no_such_module" layer: "L" } }')


def test_share_with(net_of):
    one, two = (net_of(DATA + inner("fc", "x", "y")) for _ in range(2))
    two.share_with(one)
    one.params["fc"][0].data[...] = 3
    assert (two.params["fc"][0].data == 3).all()


def test_weights_are_loaded_in_both_forms_of_the_constructor(net_of, tmp_path):
    net = net_of(DATA + inner("fc", "x", "y"))
    net.save(str(tmp_path / "w.caffemodel"))
    by_keyword = net_of(DATA + inner("fc", "x", "y"), weights=str(tmp_path / "w.caffemodel"))
    by_position = caffe.Net(net.path, str(tmp_path / "w.caffemodel"), caffe.TEST)
    for other in (by_keyword, by_position):
        np.testing.assert_array_equal(other.params["fc"][0].data, net.params["fc"][0].data)


def normalised(specs=""):
    return (DATA + f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "n" {specs} }}\n'
            + inner("fc", "n", "y") + LOSS)


def test_batch_norm_without_param_blocks_propagates_the_gradient(net_of):
    """It also writes its bottom's gradient, although the bottom is an input."""
    net = net_of(normalised())
    assert runs_backward(net) == ["bn", "fc", "loss"] and net.params_lr == [0, 0, 0, 1, 1]
    net.forward(x=np.arange(12).reshape(3, 4) ** 2, t=np.ones((3, 5)))
    net.backward()
    assert net.blobs["n"].diff.any() and net.blobs["x"].diff.any()
    assert runs_backward(net_of(normalised("param { lr_mult: 0 } " * 3))) == ["fc", "loss"]


@pytest.mark.parametrize("kind", ["Threshold", "ArgMax"])
def test_force_backward_through_a_layer_without_gradient(net_of, kind):
    net = net_of("force_backward: true\n" + DATA + f'layer {{ name: "end" type: "{kind}" bottom: "x" top: "y" }}')
    net.forward()
    with pytest.raises(caffe.LayerError, match="layer 'end'.*no gradient for its bottom 0"):
        net.backward()


PYTHON_LAYER = """
import caffe

class Gain(caffe.Layer):
    def __init__(self, layer_param):
        super().__init__(layer_param)
        self.name = layer_param.name

    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0)
        bottom[0].diff[...] = top[0].diff * self.blobs[0].data
"""


def test_a_python_layer_with_parameters_and_its_own_constructor(net_of, tmp_path, monkeypatch):
    (tmp_path / "gain_layer.py").write_text(PYTHON_LAYER)
    monkeypatch.syspath_prepend(str(tmp_path))
    net = net_of("force_backward: true\n" + DATA + 'layer { name: "gain" type: "Python" bottom: "x" top: "y" param {} '
                 'python_param { module: "gain_layer" layer: "Gain" param_str: "3" } }')
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(net.forward(x=x)["y"], 3 * x)
    net.backward(y=np.ones((3, 4)))
    net.backward()
    assert net.layers[1].name == "gain" and (net.blobs["x"].diff == 3).all()
    np.testing.assert_array_equal(net.params["gain"][0].diff, 2 * x.sum(0))


def test_reading_the_gradient_of_a_reshaped_loss_does_not_set_it_to_zero(net_of):
    net = net_of("force_backward: true\n" + DATA
                 + 'layer { name: "p" type: "Power" bottom: "x" top: "p" loss_weight: 2 }')
    net.blobs["x"].reshape(2, 4)
    net.reshape()
    assert (net.blobs["p"].diff == 2).all()
    net.forward()
    assert (net.backward()["x"] == 2).all()
