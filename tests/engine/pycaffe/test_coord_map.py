"""coord_map: maps between blobs against the positions that the layers actually read, and the resulting crops."""
import numpy as np
import pytest

import caffe
from caffe import layers as L
from caffe.coord_map import (
    AxisMismatchException,
    UndefinedMapException,
    compose,
    conv_params,
    coord_map,
    coord_map_from_to,
    crop,
    inverse,
)


def data():
    return L.Input(shape=[{"dim": [1, 1, 30, 30]}])


def conv(bottom, **settings):
    return L.Convolution(bottom, num_output=1, **settings)


def deconv(bottom, **settings):
    return L.Deconvolution(bottom, convolution_param=dict(num_output=1, bias_term=False, **settings))


def check(found, axis, a, b):
    assert found[0] == axis
    np.testing.assert_allclose(found[1], a)
    np.testing.assert_allclose(found[2], b)


def test_single_layers():
    x = data()
    check(coord_map(conv(x, kernel_size=3, stride=2, pad=1).fn), 1, 0.5, 0)
    check(coord_map(L.Pooling(x, kernel_size=2, stride=2).fn), 1, 0.5, -0.25)
    check(coord_map(L.Pooling(x, pooling_param=dict(kernel_size=2, stride=2)).fn), 1, 0.5, -0.25)
    check(coord_map(conv(x, kernel_size=3, dilation=4).fn), 1, 1, -4)
    check(coord_map(deconv(x, kernel_size=4, stride=2, pad=1).fn), 1, 2, 0.5)
    check(coord_map(L.Crop(x, x, axis=2, offset=5).fn), 1, 1, -5)
    assert coord_map(L.ReLU(x).fn) == (None, 1, 0)
    with pytest.raises(UndefinedMapException):
        coord_map(L.InnerProduct(x, num_output=1).fn)
    with pytest.raises(UndefinedMapException):
        coord_map(L.Pooling(x, global_pooling=True).fn)


def test_a_map_says_which_position_a_layer_reads():
    """A one at position p of the input appears around a p + b in the output."""
    x = data()
    y = L.Pooling(conv(x, kernel_size=5, stride=2, pad=1), pool=1, kernel_size=3, stride=2)
    _, a, b = coord_map_from_to(x, y)
    _, scale, offset = inverse(coord_map_from_to(y, x))
    np.testing.assert_allclose([a, b], [scale, offset])
    spec = caffe.NetSpec()
    spec.x, spec.y = x, y
    net = caffe.Net(spec.to_proto(), caffe.TEST)
    net.params[next(iter(net.params))][0].data[...] = 1
    for position in (13, 16):
        net.blobs["x"].data[...] = 0
        net.blobs["x"].data[0, 0, position, position] = 1
        rows = net.forward()["y"][0, 0].sum(0)
        mean = (rows * np.arange(len(rows))).sum() / rows.sum()
        assert abs(mean - (a * position + b)) < 0.5


def test_from_to_is_the_map_of_the_second_from_the_first():
    x = data()
    up = deconv(L.ReLU(conv(x, kernel_size=3, stride=2, pad=1)), kernel_size=4, stride=2, pad=1)
    check(coord_map_from_to(up, x), 1, 1, -0.5)
    check(coord_map_from_to(x, x), None, 1, 0)


def test_branches_meet_at_a_common_source():
    x = data()
    pool = L.Pooling(x, kernel_size=2, stride=2)
    check(coord_map_from_to(conv(pool, kernel_size=3), deconv(pool, kernel_size=2, stride=2)), 1, 2, 2.5)


def test_one_number_for_each_axis():
    x = data()
    check(coord_map_from_to(conv(x, kernel_size=[3, 5], pad=[1, 1]), x), 1, 1, [0, 1])


def test_unconnected_blobs():
    with pytest.raises(RuntimeError, match="no common source"):
        coord_map_from_to(data(), data())
    x = data()
    with pytest.raises(RuntimeError, match="no common source"):
        coord_map_from_to(L.InnerProduct(x, num_output=2), x)


def test_axes_that_do_not_agree():
    x = data()
    with pytest.raises(AxisMismatchException):
        coord_map_from_to(conv(conv(x, kernel_size=3, axis=1), kernel_size=3, axis=2), x)
    with pytest.raises(AxisMismatchException):
        compose((1, 1, 0), (2, 1, 0))


def test_old_fields_are_refused():
    with pytest.raises(AssertionError, match="kernel_h, kernel_w"):
        conv_params(conv(data(), kernel_h=3, kernel_w=3).fn)


# ---------------------------------------------------------------------------------------------- crops
def test_a_crop_aligns_an_upsampled_map_with_its_image():
    n = caffe.NetSpec()
    n.data = data()
    n.conv = conv(n.data, kernel_size=3, pad=20)
    n.score = crop(n.conv, n.data)
    assert n.score.fn.params["crop_param"] == {"axis": 2, "offset": [19]}
    net = caffe.Net(n.to_proto(), caffe.TEST)
    net.params["conv"][0].data[0, 0, 1, 1] = 1
    x = np.random.default_rng(0).standard_normal((1, 1, 30, 30)).astype(np.float32)
    np.testing.assert_allclose(net.forward(data=x)["score"], x, rtol=1e-6)


def test_a_crop_with_a_number_for_each_axis():
    x = data()
    assert crop(conv(x, kernel_size=[3, 5], pad=[4, 7]), x).fn.params["crop_param"]["offset"] == [3, 5]


def test_a_crop_of_a_crop():
    x = data()
    first = crop(conv(x, kernel_size=1, pad=10), x)
    check(coord_map_from_to(first, x), 1, 1, 0)


def test_impossible_crops():
    x = data()
    with pytest.raises(AssertionError, match="scale mismatch"):
        crop(L.Pooling(x, kernel_size=2, stride=2), x)
    with pytest.raises(AssertionError, match="negative offset"):
        crop(conv(x, kernel_size=5), x)
    with pytest.raises(AssertionError, match="no whole number"):
        crop(conv(x, kernel_size=2, pad=3), x)
