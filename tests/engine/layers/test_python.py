"""The classes, in a module `users_layers`."""
import sys
import types

import pytest
from layer_checker import check, randn, refused

import caffe


class Gain(caffe.Layer):
    """top = param_str * bottom."""

    def setup(self, bottom, top):
        self.factor = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff


class Strict(Gain):
    """A layer that reports errors in its settings."""

    def setup(self, bottom, top):
        raise caffe.LayerError("give a factor")


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """The class, in a module `users_layers`."""
    made = types.ModuleType("users_layers")
    made.Gain, made.Strict, made.NoLayer = Gain, Strict, int
    made.make_gain, made.make_nothing = lambda param: Gain(param), lambda param: 3
    monkeypatch.setitem(sys.modules, "users_layers", made)


def test_values_and_gradients():
    check("type: 'Python' python_param { module: 'users_layers' layer: 'Gain' param_str: '2.5' }", [randn(2, 3, 4, 5)],
          lambda x: 2.5 * x, in_place=True)


def test_a_layer_error_of_a_users_layer_is_located(tmp_path):
    (tmp_path / "net.pt").write_text("layer {\n  name: 'strict' type: 'Python' top: 'x'\n"
                                     "  python_param { module: 'users_layers' layer: 'Strict' } }")
    with pytest.raises(caffe.LayerError, match=r"net.pt:1: layer 'strict' \(Python\): give a factor"):
        caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)


def test_a_function_that_makes_the_layer():
    check("type: 'Python' python_param { module: 'users_layers' layer: 'make_gain' param_str: '2' }", [randn(2, 3)],
          lambda x: 2 * x)


def test_bad_input():
    refused("type: 'Python' python_param { module: 'users_layers' layer: 'make_nothing' }", [(2, 3)],
            "returned a int, not a caffe.Layer")
    refused("type: 'Python'", [(2, 3)], "`module` and `layer`")
    refused("type: 'Python' python_param { module: 'nowhere_at_all' layer: 'Gain' }", [(2, 3)],
            "no module 'nowhere_at_all'")
    for name in ("Missing", "NoLayer"):
        refused(f"type: 'Python' python_param {{ module: 'users_layers' layer: '{name}' }}", [(2, 3)],
                f"has no class '{name}'")
