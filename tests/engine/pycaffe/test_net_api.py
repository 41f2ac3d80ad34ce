"""caffe.Net as used by pycaffe scripts: constructor, names, batches, callbacks, files."""
import numpy as np
import pytest

import caffe

NET = """
name: "small"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } include { stage: "with_input" } }
layer { name: "in0" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } exclude { stage: "with_input" } }
layer { name: "fc1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "act" type: "TanH" bottom: "h" top: "h" }
layer { name: "fc2" type: "InnerProduct" bottom: "h" top: "y" include { min_level: 1 }
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }
"""
LOSS = """
layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 3 dim: 4 } shape { dim: 3 dim: 5 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 5
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" loss_weight: 2 }
"""


@pytest.fixture
def prototxt(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return str(path)


@pytest.fixture
def loss_net(tmp_path):
    path = tmp_path / "loss.prototxt"
    path.write_text(LOSS)
    return caffe.Net(str(path), caffe.TRAIN)


def values(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------------------------------------- construction
def test_all_forms_of_the_constructor(prototxt, tmp_path):
    weights = str(tmp_path / "w.caffemodel")
    first = caffe.Net(network_file=prototxt, phase=caffe.TEST, level=1, stages=["with_input"])
    first.save(weights)
    again = [caffe.Net(network_file=prototxt, phase=caffe.TEST, level=1, stages=["with_input"], weights=weights),
             caffe.Net(prototxt, caffe.TEST, 1, ["with_input"], weights),
             caffe.Net(prototxt, caffe.TEST, level=1, stages=["with_input"], weights=weights)]
    x = values(3, 4)
    for net in again:
        np.testing.assert_array_equal(net.forward(x=x)["y"], first.forward(x=x)["y"])
    old = caffe.Net(prototxt, weights, caffe.TEST)
    assert old.blobs["x"].shape == (2, 4) and old.outputs == ["h"]      # level 0, no stage
    np.testing.assert_array_equal(old.params["fc1"][0].data, first.params["fc1"][0].data)


@pytest.mark.parametrize("arguments", [(), ("w.caffemodel",), ("w.caffemodel", None), ("TEST",)])
def test_a_phase_is_needed(prototxt, arguments):
    with pytest.raises(ValueError, match="caffe.TRAIN or caffe.TEST"):
        caffe.Net(prototxt, *arguments)


# ---------------------------------------------------------------------------------------------- names
@pytest.mark.parametrize("arguments, match", [
    ({"level": "w.caffemodel"}, "level must be a whole number, got 'w.caffemodel'; weights are given as"),
    ({"stages": "with_input"}, "stages must be a list of names, got 'with_input'"),
])
def test_arguments_that_were_mixed_up(prototxt, arguments, match):
    with pytest.raises(TypeError, match=match):
        caffe.Net(prototxt, caffe.TEST, **arguments)


def test_a_name_instead_of_a_list_of_names(prototxt):
    net = caffe.Net(prototxt, caffe.TEST)
    for run in (net.forward, lambda name: net.forward_all(blobs=name, x=values(2, 4))):
        with pytest.raises(TypeError, match="forward: blobs must be a list of names, got 'h'"):
            run("h")
    with pytest.raises(TypeError, match="backward: diffs must be a list of names, got 'h'"):
        net.backward("h")


@pytest.mark.parametrize("wrap", [lambda array: array, lambda array: {"x": array}, lambda array: [array]])
def test_arrays_instead_of_names(prototxt, wrap):
    """A dict was taken as the names of blobs to return, and its arrays were not used."""
    net = caffe.Net(prototxt, caffe.TEST)
    with pytest.raises(TypeError, match=r"forward: blobs must be .*; arrays are given .*, as in forward\(data=array\)"):
        net.forward(wrap(values(2, 4)))
    with pytest.raises(TypeError, match=r"backward: diffs must be a list of names, got a "):
        net.backward(wrap(values(2, 5)))
    assert set(net.forward(name for name in ("x", "h"))) == {"x", "h"}


def test_names_and_indices(prototxt):
    net = caffe.Net(prototxt, caffe.TEST, level=1)
    assert list(net._layer_names) == ["in0", "fc1", "act", "fc2"] == list(net.layer_dict)
    assert list(net._blob_names) == ["x", "h", "y"] == list(net.blobs)
    assert net._inputs == [0] and net._outputs == [2]
    assert net.inputs == ["x"] and net.outputs == ["y"]
    assert list(net._blobs) == list(net.blobs.values())
    assert net.top_names == {"in0": ["x"], "fc1": ["h"], "act": ["h"], "fc2": ["y"]}
    assert net.bottom_names == {"in0": [], "fc1": ["x"], "act": ["h"], "fc2": ["h"]}
    assert net._top_ids(1) == [1] and net._bottom_ids(1) == [0]
    assert [layer.type for layer in net.layers] == ["Input", "InnerProduct", "TanH", "InnerProduct"]
    assert net.layer_dict["fc1"] is net.layers[1] and len(net.layers[1].blobs) == 2
    assert list(net.params) == ["fc1", "fc2"]


def test_blobs_have_the_old_axes_too(prototxt):
    blob = caffe.Net(prototxt, caffe.TEST).blobs["x"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 4, 1, 1, 8)
    blob.reshape(1, 2, 3, 4)
    assert list(blob.shape) == [1, 2, 3, 4] and blob.data.shape == blob.diff.shape == (1, 2, 3, 4)
    assert blob.data.dtype == np.float32 and blob.data.flags.c_contiguous and blob.data.flags.writeable


def test_values_cannot_replace_a_blob(prototxt):
    """Without `.data[...]` the net would keep its own blob."""
    net = caffe.Net(prototxt, caffe.TEST)
    for blobs, key in ((net.blobs, "x"), (net.params, "fc1"), (net.params["fc1"], 0)):
        before = blobs[key]
        with pytest.raises(TypeError, match=r"cannot become a ndarray; .*data\[\.\.\.\] = values"):
            blobs[key] = values(2, 4)
        assert blobs[key] is before


def test_loss_weights(loss_net):
    assert loss_net.blob_loss_weights == {"x": 0, "t": 0, "y": 0, "loss": 2}
    assert loss_net._blob_loss_weights == [0, 0, 0, 2]


def test_loss_weights_of_unnamed_tops(tmp_path):
    path = tmp_path / "unnamed.prototxt"
    path.write_text("""
        layer { name: 'x' type: 'Input' top: 'x' top: 'y' input_param { shape { dim: 2 } } }
        layer { name: 'a' type: 'EuclideanLoss' bottom: 'x' bottom: 'y' }
        layer { name: 'b' type: 'EuclideanLoss' bottom: 'x' bottom: 'y' loss_weight: 3 }""")
    net = caffe.Net(str(path), caffe.TRAIN)
    assert len(net._blob_loss_weights) == len(net._blobs)
    assert net._blob_loss_weights[-2:] == [1, 3]


def test_passes_over_layer_indices(loss_net):
    loss_net.blobs["x"].data[...] = values(3, 4)
    assert loss_net._forward(0, 2) == pytest.approx(2 * float(loss_net.blobs["loss"].data))
    assert loss_net._forward(0, 1) == 0
    assert loss_net._forward(2, 2) > 0
    loss_net._backward(2, 1)
    assert loss_net.params["fc"][0].diff.any()
    loss_net.clear_param_diffs()
    assert not loss_net.params["fc"][0].diff.any()


# ---------------------------------------------------------------------------------------------- batches
@pytest.mark.parametrize("count", [1, 3, 7])
def test_forward_all_is_forward_of_every_item(prototxt, count):
    net = caffe.Net(prototxt, caffe.TEST, stages=["with_input"], level=1)
    x = values(count, 4)
    found = net.forward_all(blobs=["h"], x=x)
    assert set(found) == {"h", "y"}
    (w1, b1), (w2, b2) = ([blob.data for blob in net.params[name]] for name in ("fc1", "fc2"))
    hidden = np.tanh(x @ w1.T + b1)
    np.testing.assert_allclose(found["h"], hidden, rtol=1e-5, atol=1e-6)      # sums near 0 cancel
    np.testing.assert_allclose(found["y"], hidden @ w2.T + b2, rtol=1e-4, atol=1e-5)


def test_batches_are_padded_with_zeros(prototxt):
    net = caffe.Net(prototxt, caffe.TEST, stages=["with_input"])
    first, last = net._batch({"x": values(5, 4)})
    assert first["x"].shape == last["x"].shape == (3, 4)
    assert last["x"][1].any() and not last["x"][2].any()


def test_forward_backward_all(prototxt):
    net = caffe.Net(prototxt, caffe.TEST, stages=["with_input"])
    net.blobs["h"].diff[...] = 0
    path_net = caffe.Net(_forced(net.path), caffe.TEST, stages=["with_input"])
    x, dh = values(5, 4), values(5, 5)
    out, gradients = path_net.forward_backward_all(blobs=["h"], diffs=["h"], x=x, h=dh)
    weight, bias = (blob.data for blob in path_net.params["fc1"])
    hidden = np.tanh(x @ weight.T + bias)
    np.testing.assert_allclose(out["h"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients["h"], dh * (1 - hidden ** 2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradients["x"], dh * (1 - hidden ** 2) @ weight, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"\['z'\] are neither inputs"):
        path_net.forward_backward_all(z=x)


def _forced(path):
    with open(path, "a") as file:
        file.write("force_backward: true\n")
    return path


def test_unequal_numbers_of_items_are_refused(loss_net):
    with pytest.raises(ValueError, match="x: 5, t: 4"):
        loss_net.forward_all(x=values(5, 4), t=values(4, 5))


def test_unequal_numbers_of_items_and_gradients_are_refused(prototxt):
    net = caffe.Net(prototxt, caffe.TEST, force_backward=True)
    with pytest.raises(ValueError, match="x: 5, h: 3"):
        net.forward_backward_all(x=values(5, 4), h=values(3, 5))


def test_passes_over_all_items_need_items(loss_net):
    for run in (loss_net.forward_all, loss_net.forward_backward_all):
        with pytest.raises(ValueError, match=f"{run.__name__}: give arrays by name"):
            run()


def test_scalar_outputs_have_one_value_for_each_batch(loss_net):
    assert loss_net.forward_all(x=values(6, 4), t=values(6, 5))["loss"].shape == (2,)


# ---------------------------------------------------------------------------------------------- callbacks
def test_callbacks_receive_the_layer(loss_net):
    calls = []
    for event in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(loss_net, event)(lambda index, event=event: calls.append((event, index)))
    loss_net.forward()
    assert calls == [(event, index) for index in range(3) for event in ("before_forward", "after_forward")]
    calls.clear()
    loss_net.backward()
    assert calls == [(event, index) for index in (2, 1, 0) for event in ("before_backward", "after_backward")]


def test_a_callback_may_change_values(loss_net):
    def double(index):
        if loss_net._layer_names[index] == "fc":
            loss_net.blobs["y"].data[...] *= 2

    loss_net.blobs["x"].data[...] = values(3, 4)
    loss_net.forward()
    y = loss_net.blobs["y"].data.copy()
    loss_net.after_forward(double)
    loss_net.forward()
    np.testing.assert_allclose(loss_net.blobs["y"].data, 2 * y, rtol=1e-6)


# ---------------------------------------------------------------------------------------------- files
def test_hdf5_weights(prototxt, tmp_path):
    one, two = (caffe.Net(prototxt, caffe.TEST) for _ in range(2))
    one.save_hdf5(str(tmp_path / "w.h5"))
    two.load_hdf5(str(tmp_path / "w.h5"))
    np.testing.assert_array_equal(one.params["fc1"][0].data, two.params["fc1"][0].data)


def test_sharing(prototxt):
    one, two = (caffe.Net(prototxt, caffe.TEST) for _ in range(2))
    two.share_with(one)
    one.params["fc1"][0].data[...] = 3
    assert (two.params["fc1"][0].data == 3).all()


def test_memory_data(tmp_path):
    path = tmp_path / "memory.prototxt"
    path.write_text('layer { name: "m" type: "MemoryData" top: "x" top: "label" memory_data_param { batch_size: 2 '
                    'channels: 3 height: 4 width: 5 } }')
    data, labels = values(4, 3, 4, 5), np.arange(4, dtype=np.float32)
    for name in ("set_input_arrays", "_set_input_arrays"):
        net = caffe.Net(str(path), caffe.TEST)
        getattr(net, name)(data, labels)
        net.forward()
        assert net.forward()["label"].ravel().tolist() == [2, 3]
        np.testing.assert_array_equal(net.blobs["x"].data, data[2:])


def test_reshape_of_inputs_reaches_all_blobs(prototxt):
    net = caffe.Net(prototxt, caffe.TEST)
    net.blobs["x"].reshape(7, 4)
    net.reshape()
    assert net.blobs["h"].shape == (7, 5)
