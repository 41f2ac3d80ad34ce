"""Missing, misspelt or wrongly defined methods of a user's Python layer are reported by name, never skipped."""
import sys
import types

import numpy as np
import pytest

import caffe

NET = """
layer { name: 'x' type: 'Input' top: 'x' top: 'y' input_param { shape { dim: 2 dim: 3 } } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'x' top: 'fc'
        inner_product_param { num_output: 3 weight_filler { type: 'constant' value: 1 } } }
layer { name: 'user' type: 'Python' bottom: 'fc' top: 'p' python_param { module: 'users_layers' layer: 'Users' } }
layer { name: 'loss' type: 'EuclideanLoss' bottom: 'p' bottom: 'y' top: 'loss' }
"""


def reshape(self, bottom, top):
    top[0].reshape(*bottom[0].shape)


def forward(self, bottom, top):
    top[0].data[...] = bottom[0].data + 5


def backward(self, top, propagate_down, bottom):
    bottom[0].diff[...] = top[0].diff


GOOD = {"reshape": reshape, "forward": forward, "backward": backward}


def net(tmp_path, monkeypatch, without=(), base=caffe.Layer, phase=caffe.TRAIN, **methods):
    """A net whose layer `user` has the good methods, except those in `without`, and the given further ones."""
    module = types.ModuleType("users_layers")
    module.Users = type("Users", (base,), {name: method for name, method in GOOD.items() if name not in without}
                        | methods)
    monkeypatch.setitem(sys.modules, "users_layers", module)
    (tmp_path / "net.pt").write_text(NET)
    return caffe.Net(str(tmp_path / "net.pt"), phase)


@pytest.mark.parametrize("step, name", [
    ("forward", "foward"), ("forward", "Forward"), ("forward", "forwards"), ("backward", "backwards"),
    ("backward", "bakward"), ("reshape", "re_shape"), ("reshape", "resahpe"), ("setup", "set_up"), ("setup", "setUp")])
def test_a_misspelt_method(tmp_path, monkeypatch, step, name):
    with pytest.raises(caffe.LayerError, match=rf"net.pt:5: layer 'user' \(Python\): .*class 'Users' has no method "
                                               rf"`{step}\(self, .*\)`; did you mean `{name}`\?"):
        net(tmp_path, monkeypatch, without=[step], **{name: GOOD.get(step, reshape)})


def test_without_forward(tmp_path, monkeypatch):
    with pytest.raises(caffe.LayerError, match=r"class 'Users' has no method `forward\(self, bottom, top\)`$"):
        net(tmp_path, monkeypatch, without=["forward"])


def test_without_backward_a_net_runs_until_a_gradient_is_needed(tmp_path, monkeypatch):
    made = net(tmp_path, monkeypatch, without=["backward"])
    made.forward(x=np.ones((2, 3)), y=np.zeros((2, 3)))
    assert made.blobs["p"].data.tolist() == [[8] * 3] * 2
    with pytest.raises(caffe.LayerError, match=r"'user'.*has no method `backward\(self, top, propagate_down, bottom\)"):
        made.backward()


def test_methods_with_other_arguments(tmp_path, monkeypatch):
    for step, method in (("setup", lambda self: None), ("reshape", lambda self, bottom: None),
                         ("forward", lambda self, bottom, top, more: None),
                         ("backward", lambda self, top, bottom: None)):
        with pytest.raises(caffe.LayerError, match=rf"layer 'user' .*: expected `{step}\(.*\)` besides self, found"):
            net(tmp_path, monkeypatch, **{step: method})


def test_other_names_and_inherited_methods_are_accepted(tmp_path, monkeypatch):
    class Base(caffe.Layer):
        def backward(self, top, propagate_down, bottom, scale=1):
            bottom[0].diff[...] = scale * top[0].diff

        def _setup(self):
            """A helper."""
    made = net(tmp_path, monkeypatch, without=["backward"], base=Base, setup_data=lambda self: None,
               forward_one=lambda self, x: x, reshape_top=lambda self, *any: None)
    made.forward(x=np.ones((2, 3)), y=np.zeros((2, 3)))
    made.backward()
    assert made.params["fc"][0].diff.any()


def test_the_message_names_file_and_line_of_the_class(tmp_path, monkeypatch):
    (tmp_path / "users_layers.py").write_text("import caffe\n\n\nclass Users(caffe.Layer):\n"
                                              "    def foward(self, bottom, top):\n        pass\n")
    (tmp_path / "net.pt").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_layers", raising=False)
    with pytest.raises(caffe.LayerError, match=r"users_layers.py:4: class 'Users' has no method `forward"):
        caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)
    sys.modules.pop("users_layers", None)


def test_modules_can_be_imported_from_a_package(tmp_path, monkeypatch):
    """Even if another module of the same name is loaded; only within the block, and only for its thread and names."""
    module = types.ModuleType("some_package.users_layers")
    module.Users = type("Users", (caffe.Layer,), {**GOOD, "forward": lambda self, bottom, top: top[0].data.fill(7)})
    monkeypatch.setitem(sys.modules, "some_package", types.ModuleType("some_package"))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def value():
        return float(net(tmp_path, monkeypatch, phase=caffe.TEST).forward()["loss"])
    plain = value()
    with caffe.layer_modules("some_package", ["users_layers"]):
        assert value() != plain
        with caffe.layer_modules("elsewhere", ["others_layers"]):
            assert value() != plain
    assert value() == plain
    with caffe.layer_modules("elsewhere", ["users_layers"]), pytest.raises(
            caffe.CaffeError, match="no module 'elsewhere.users_layers' on sys.path"):
        value()
