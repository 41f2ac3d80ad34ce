"""Caffemodels with unmatched layers: reported or refused."""
from pathlib import Path

import numpy as np
import pytest

import caffe
from commands.detector import DetectorFiles, load_rpn
from utils.errors import CheckError, NotFiniteError
from utils.weights import check_varied, load_all_weights, load_initial_weights

NET = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 2 }} }} }}\n{layers}'
LAYER = ('layer {{ name: "{0}" type: "InnerProduct" bottom: "data" top: "{0}"'
         ' inner_product_param {{ num_output: 3 }} }}\n')

pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def make(tmp_path):
    """Writes a net of layers with these names; returns its path."""
    def write(name, *layers):
        path = tmp_path / f"{name}.pt"
        path.write_text(NET.format(layers="".join(LAYER.format(layer) for layer in layers)))
        return str(path)
    return write


@pytest.fixture
def stored(make, tmp_path):
    """A caffemodel with the layers 'a', 'b' and 'old'."""
    path = tmp_path / "stored.caffemodel"
    caffe.Net(make("stored", "a", "b", "old"), caffe.TRAIN).save(str(path))
    return path


def test_initial_weights_are_reported(make, stored):
    net = caffe.Net(make("new", "a", "b", "new", "new_readonly"), caffe.TRAIN)
    loaded = load_initial_weights(net, stored, "new.pt")
    assert loaded.summary == f"2 of 3 layers are initialised from {stored}; random: new; not in this net: old"
    assert loaded.unfilled == ["new", "new_readonly"]
    same = caffe.Net(make("same", "a", "b", "old"), caffe.TRAIN)
    assert load_initial_weights(same, stored, "same.pt").summary == f"3 of 3 layers are initialised from {stored}"


@pytest.fixture(params=["binary", "hdf5"])
def detector(request, make, tmp_path):
    """A caffemodel with the layers 'a', 'cls_score' and 'b', of three outputs each."""
    path = tmp_path / "detector.caffemodel"
    net = caffe.Net(make("detector", "a", "cls_score", "b"), caffe.TRAIN)
    (net.save if request.param == "binary" else net.save_hdf5)(str(path))
    return path


def resized(path, *layers):
    """The net of this prototxt with four outputs in these layers."""
    text = Path(path).read_text()
    for layer in layers:
        text = text.replace(f'top: "{layer}" inner_product_param {{ num_output: 3',
                            f'top: "{layer}" inner_product_param {{ num_output: 4')
    Path(path).write_text(text)
    return caffe.Net(path, caffe.TRAIN)


def test_layers_for_other_classes_are_skipped_by_default(make, detector, caplog):
    net = resized(make("new", "a", "cls_score", "b"), "cls_score")
    caplog.clear()
    loaded = load_initial_weights(net, detector, "new.pt")
    assert not caplog.records       # the summary reports it
    assert loaded.summary == (
        f"2 of 3 layers are initialised from {detector}; random: cls_score; skipped, as shapes differ: cls_score has "
        "3 x 2 and 3 there, 4 x 2 and 4 here")
    assert loaded.unfilled == ["cls_score"]
    assert not any(path.name.startswith("tmp") for path in detector.parent.iterdir())


def test_other_layers_that_do_not_fit_are_skipped_on_request(make, detector):
    net = resized(make("new", "a", "cls_score", "b"), "cls_score", "b")
    before = net.params["a"][0].data.copy()
    with pytest.raises(CheckError, match="layer 'b', blob 0: expected shape .*; or give --skip_unfitting"):
        load_initial_weights(net, detector, "new.pt")
    np.testing.assert_array_equal(net.params["a"][0].data, before)
    loaded = load_initial_weights(net, detector, "new.pt", skip_unfitting=True)
    assert loaded.unfilled == ["cls_score", "b"] and "b has 3 x 2 and 3 there" in loaded.summary
    same = caffe.Net(make("same", "a", "cls_score", "b"), caffe.TRAIN)
    assert "left out" not in load_initial_weights(same, detector, "same.pt", skip_unfitting=True).summary


def test_weights_that_match_nothing_are_refused(make, stored):
    net = caffe.Net(make("new", *(f"c{number}" for number in range(20))), caffe.TRAIN)
    with pytest.raises(CheckError, match=r"not one of its layers \(a, b, old\) is in new.pt, .* c0, .* and 8 more"):
        load_initial_weights(net, stored, "new.pt")


def test_a_test_net_needs_weights_for_every_layer(make, stored):
    load_all_weights(caffe.Net(make("fewer", "b"), caffe.TEST), stored, "fewer.pt")
    with pytest.raises(CheckError, match="has no weights for new of more.pt; it has others: b, old"):
        load_all_weights(caffe.Net(make("more", "a", "new"), caffe.TEST), stored, "more.pt")


def test_detectors_and_rpns_are_loaded_this_way(make, stored):
    with pytest.raises(CheckError, match="has no weights for new"):
        DetectorFiles(make("detector", "a", "new"), str(stored)).load(21)
    with pytest.raises(CheckError, match="has no weights for new"):
        load_rpn(make("rpn", "a", "new"), stored)


@pytest.fixture(params=["caffemodel", "caffemodel.h5"])
def stored_for_another_caffe(request, make, tmp_path, monkeypatch):
    """As `stored`, binary or HDF5, for a Caffe whose `copy_from` reports nothing."""
    path, net = str(tmp_path / f"stored.{request.param}"), caffe.Net(make("stored", "a", "b", "old"), caffe.TRAIN)
    (net.save_hdf5 if path.endswith("h5") else net.save)(path)
    copy_from = caffe.Net.copy_from
    monkeypatch.setattr(caffe.Net, "copy_from", lambda net, path: copy_from(net, path) and None)
    return path


def test_another_caffe_reports_the_same(make, stored_for_another_caffe):
    stored = stored_for_another_caffe
    test_initial_weights_are_reported(make, stored)
    test_weights_that_match_nothing_are_refused(make, stored)
    test_a_test_net_needs_weights_for_every_layer(make, stored)


def test_another_caffe_knows_weights_that_layers_share(tmp_path, stored_for_another_caffe):
    shared = "param { name: 'w' } param { name: 'b' }"
    text = NET.format(layers="".join(LAYER.format(name).replace("inner", f"{shared} inner", 1) for name in ("a", "c")))
    (tmp_path / "shared.pt").write_text(text)
    load_all_weights(caffe.Net(str(tmp_path / "shared.pt"), caffe.TEST), stored_for_another_caffe, "shared.pt")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("load", [load_all_weights, load_initial_weights])
def test_weights_that_are_not_finite_are_refused_by_name(make, tmp_path, value, load):
    net = caffe.Net(make("net", "a", "b", "c"), caffe.TRAIN)
    net.params["b"][1].data[2] = net.params["c"][0].data[1, 1] = value
    net.save(str(tmp_path / "bad.caffemodel"))
    with pytest.raises(NotFiniteError, match="bad.caffemodel: the weights of b, c are NaN or infinite"):
        load(caffe.Net(make("net", "a", "b", "c"), caffe.TRAIN), tmp_path / "bad.caffemodel", "net.pt")


def test_weights_that_fit_a_layer_by_name_alone_are_refused(make, stored, tmp_path):
    wide = make("wide", "b")
    Path(wide).write_text(Path(wide).read_text().replace("num_output: 3", "num_output: 4"))
    for load in (load_all_weights, load_initial_weights):
        with pytest.raises(ValueError, match=r"stored.*: layer 'b', blob 0: expected shape \(4, 2\).*\(3, 2\)"):
            load(caffe.Net(wide, caffe.TEST), stored, wide)


CONVOLUTION = """layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}" {more}
  convolution_param {{ num_output: 3 kernel_size: 1 {filler} }}
}}
{relu}"""
RELU = 'layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }\n'
IMAGE = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 } } }\n'


@pytest.mark.parametrize("filler, relu, more, message", [
    ("", RELU, "", "net.pt:2: layer 'c': all its weights are 0, as it has no weight_filler and no weights were "
                   "loaded"),
    ("", "", "", "layer 'c': all its weights are 0"),
    ('weight_filler { type: "constant" value: 0.5 }', "", "", "layer 'c': all its weights are 0.5\nLayers with equal"),
    ('weight_filler { type: "constant" }', RELU, "", "layer 'c': all its weights are 0\nLayers with equal"),
    ("weight_filler { value: 0 }", "", "", "layer 'c': all its weights are 0\nLayers with equal"),
    ('weight_filler { type: "constant" }', "", "", None),                    # initially predicts nothing
    ('weight_filler { type: "gaussian" std: 0.01 }', RELU, "", None),
    ("", RELU, "param { lr_mult: 0 }", None),                               # never learns
])
def test_learned_layers_with_equal_weights(tmp_path, filler, relu, more, message):
    path = tmp_path / "net.pt"
    path.write_text(IMAGE + CONVOLUTION.format(name="c", filler=filler, relu=relu, more=more))
    net = caffe.Net(str(path), caffe.TRAIN)
    if message is None:
        check_varied(net, path)
    else:
        with pytest.raises(CheckError, match=message):
            check_varied(net, path)
    net.params["c"][0].data[0, 1, 0, 0] += 1        # as if loaded
    check_varied(net, path)


def test_every_layer_with_equal_weights_is_named(make, tmp_path):
    path = make("net", "a", "b", "c_readonly", "d")
    net = caffe.Net(path, caffe.TRAIN)
    net.params["b"][0].data[1, 1] = 1
    with pytest.raises(CheckError) as error:
        check_varied(net, path)
    assert [line.split(": ")[1] for line in str(error.value).splitlines()[:-1]] == ["layer 'a'", "layer 'd'"]
