"""Readers that pass no gradient back add nothing to the gradient of the blob they read, whatever memory holds."""
import numpy as np
import pytest
from in_place_nets import FIRST, TOPS, USERS, NetText, Part

import caffe

LOSSES = [part for part in FIRST if "Loss" in part.type or part.type == "Yolov3"]
NOT_ASKED = [part for part in FIRST if part.learned]
BESIDE = [Part("Accuracy", [(3, 4)], [np.array([0.0, 3, 2])]),
          *(Part(kind, [(3, 4)], []) for kind in ("ArgMax", "Threshold", "Silence"))]


class Still(caffe.Layer):
    """A user's layer that does not write its bottom's gradient; except 7 in the pass that `param_str` names."""

    def setup(self, bottom, top):
        self.number_of_forward = self.number_of_backward = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data
        self.number_of_forward += 1
        if self.param_str == f"forward {self.number_of_forward}":
            bottom[0].diff[...] = 7

    def backward(self, top, propagate_down, bottom):
        self.number_of_backward += 1
        if self.param_str == f"backward {self.number_of_backward}":
            bottom[0].diff[...] = 7


USERS.Still = Still


def net_with(part: Part, more: str, has_loss: bool, reader: bool = True, head: str = "") -> caffe.Net:
    """A net with a blob x, whose square is a loss, and another reader of x."""
    net = NetText()
    bottoms = [*(net.learned(shape) for shape in part.learned), *(net.fixed(values) for values in part.fixed)]
    net.losses(bottoms[:1])
    if reader:
        tops = [f"a{index}" for index in range(0 if part.type == "Silence" else TOPS.get(part.type, 1))]
        net.text += part.layer("a", bottoms, tops, more)
        net.losses(tops if has_loss else [])
    return net.build(head=head)


def gradient_of_x(net: caffe.Net) -> np.ndarray:
    net.clear_param_diffs()
    caffe.set_random_seed(3)
    net.forward_with_loss()
    net.run_backward()
    return net.params["lin0"][0].diff.copy()


def alone(part: Part) -> np.ndarray:
    return gradient_of_x(net_with(part, "", False, reader=False))


def assert_adds_nothing(part: Part, net: caffe.Net) -> None:
    for seen in (False, True, True):
        if seen:
            assert all(blob.diff is not None for blob in net.blobs.values())
        np.testing.assert_array_equal(gradient_of_x(net), alone(part))


def flags(part: Part) -> str:
    return "propagate_down: false " * (len(part.learned) + len(part.fixed))


@pytest.mark.parametrize("part", NOT_ASKED, ids=str)
def test_a_reader_with_propagate_down_false(part):
    assert_adds_nothing(part, net_with(part, flags(part), has_loss=part not in LOSSES))


@pytest.mark.parametrize("part", NOT_ASKED, ids=str)
def test_a_reader_that_leads_to_no_loss(part):
    assert_adds_nothing(part, net_with(part, "loss_weight: 0" if part in LOSSES else "", has_loss=False))


@pytest.mark.parametrize("part", BESIDE, ids=str)
def test_a_reader_without_gradient(part):
    assert_adds_nothing(part, net_with(part, "", has_loss=False))


@pytest.mark.parametrize("part", [part for part in NOT_ASKED if not part.fixed], ids=str)
def test_force_backward_overrides_propagate_down(part):
    forced = net_with(part, flags(part), True, head="force_backward: true ")
    np.testing.assert_array_equal(gradient_of_x(forced), gradient_of_x(net_with(part, "", True)))


def test_a_users_layer_that_writes_no_gradient():
    part = Part(f"Python python_param {{ module: '{USERS.__name__}' layer: 'Still' }}", [(3, 4)], [])
    assert_adds_nothing(part, net_with(part, "", has_loss=True))


@pytest.mark.parametrize("written", ["forward 1", "backward 1"])
@pytest.mark.parametrize("is_seen", [False, True])
def test_gradients_that_a_users_layer_wrote_in_an_earlier_pass_do_not_count(written, is_seen):
    text = f"Python python_param {{ module: '{USERS.__name__}' layer: 'Still' param_str: '{written}' }}"
    part = Part(text, [(3, 4)], [])
    net = net_with(part, "", has_loss=True)
    if is_seen:
        assert all(blob.diff is not None for blob in net.blobs.values())
    np.testing.assert_allclose(gradient_of_x(net), alone(part) + 7, rtol=1e-6)
    np.testing.assert_array_equal(gradient_of_x(net), alone(part))


SOURCE = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 3 dim: 4 } } }
layer { name: "x" type: "Bias" bottom: "in" top: "x"
        bias_param { axis: 0 num_axes: -1 filler { type: "gaussian" std: 1 } } }
"""
SQUARE = 'layer { name: "%s" type: "Power" bottom: "%s" top: "%s" power_param { power: 2 } %s } '


def built(text: str) -> caffe.Net:
    net = NetText()
    net.text = SOURCE + text
    return net.build()


@pytest.mark.parametrize("reader", ["Flatten", "Softmax", "Reshape reshape_param { shape { dim: 0 dim: -1 } }"])
def test_one_of_two_tops_is_cut_off(reader):
    part = Part(reader, [], [])
    net = built("layer { name: 's' type: 'Slice' bottom: 'x' top: 'l' top: 'r' }"
                + SQUARE % ("p", "l", "p", "loss_weight: 1") + part.layer("f", ["r"], ["f"], "propagate_down: false")
                + SQUARE % ("q", "f", "q", "loss_weight: 1"))
    net.forward()
    net.backward()
    wanted = 2 * net.blobs["x"].data
    wanted[:, 2:] = 0
    np.testing.assert_allclose(net.params["x"][0].diff, wanted, rtol=1e-6)


@pytest.mark.parametrize("reader, labels", [("Softmax", False), ("HingeLoss", True)])
def test_a_parameter_that_is_a_blob_is_cut_off(reader, labels):
    label = "layer { name: 'y' type: 'DummyData' top: 'y' dummy_data_param { shape { dim: 3 } } }"
    net = built("layer { name: 'w' type: 'Parameter' top: 'w' parameter_param { shape { dim: 3 dim: 4 } } }" + label
                + Part(reader, [], []).layer("r", ["w", "y"][:1 + labels], ["r"],
                                             "propagate_down: false " * (1 + labels) + "loss_weight: 0")
                + SQUARE % ("p", "x", "p", "loss_weight: 1")
                + ("" if labels else SQUARE % ("q", "r", "q", "loss_weight: 1")))
    net.forward()
    net.backward()
    assert (net.params["w"][0].diff == 0).all()


TWO = SQUARE % ("p", "x", "p", "loss_weight: 1") + SQUARE % ("q", "x", "q", "loss_weight: 10")


def test_a_pass_that_begins_below_a_reader_ignores_its_gradient():
    net = built(TWO)
    for _ in range(2):
        net.forward()
        net.backward()
        np.testing.assert_allclose(net.params["x"][0].diff, 22 * net.blobs["x"].data, rtol=1e-6)
        net.clear_param_diffs()
        net.backward(start="p")
        np.testing.assert_allclose(net.params["x"][0].diff, 2 * net.blobs["x"].data, rtol=1e-6)
        net.clear_param_diffs()


def test_a_pass_in_parts_counts_all_of_them():
    net = built(TWO)
    for _ in range(2):
        net.forward()
        for name in reversed(list(net.layer_dict)):
            net.backward(start=name, end=name)
        np.testing.assert_allclose(net.params["x"][0].diff, 22 * net.blobs["x"].data, rtol=1e-6)
        net.clear_param_diffs()


def test_gradients_that_the_user_writes_count():
    net = built("layer { name: 's' type: 'Split' bottom: 'x' top: 'l' top: 'r' }"
                + SQUARE % ("p", "r", "p", "loss_weight: 1"))
    net.forward()
    net.backward(l=np.full((3, 4), 5.0), p=np.ones((3, 4)))
    np.testing.assert_allclose(net.params["x"][0].diff, 5 + 2 * net.blobs["x"].data, rtol=1e-6)
    net.clear_param_diffs()
    net.blobs["l"].diff[...], net.blobs["r"].diff[...] = 3, 4
    net.backward(start="s")
    assert (net.params["x"][0].diff == 7).all()
