"""Gradients of nets in which layers overwrite values that others read equal numerical derivatives, for all type pairs.

Each net runs in float64. Its gradient is compared with a central difference of the loss along a random direction in the
space of all parameters, once with untouched blobs and once after reading every blob as an array. Of the 88,000 chains
of three layers, `IN_PLACE_CHAINS=88000 pytest -k more_chains` runs the given number.
"""
import functools
import os
import random

import numpy as np
import pytest
import torch
from in_place_nets import (
    ALL_IN_PLACE,
    FIRST,
    IMAGE,
    SHARING,
    NetText,
    Part,
    fits,
    shape_shared,
    shared,
    top_shape,
    types_in_place,
    types_with_gradient,
)

import caffe
from caffe import layer_docs
from caffe.engine import device

STEP, SMALL_STEP = 1e-5, 1e-7       # the second is used where the first crosses a kink, such as that of a maximum
TOLERANCE = 1e-4
PAIRS_AT_LEAST, CHAINS = 2500, 150
MORE_CHAINS = int(os.environ.get("IN_PLACE_CHAINS", "300"))


def loss_of(net: caffe.Net) -> float:
    caffe.set_random_seed(3)
    return float(net.forward_with_loss())


def slope(net: caffe.Net, direction: list[torch.Tensor], size: float) -> float:
    """The loss's derivative along a direction in the space of the parameters."""
    first, losses = [blob.tensor for blob in net.learnable_params], []
    for step in (size, -size):
        for blob, value, part in zip(net.learnable_params, first, direction, strict=True):
            blob.tensor = value + step * part
        losses.append(loss_of(net))
    for blob, value in zip(net.learnable_params, first, strict=True):
        blob.tensor = value
    return (losses[0] - losses[1]) / (2 * size)


def gradient(net: caffe.Net) -> list[torch.Tensor]:
    net.clear_param_diffs()
    loss_of(net)
    net.run_backward()
    return [blob.grad.clone() for blob in net.learnable_params]


def error(found: float, wanted: float) -> float:
    assert np.isfinite(wanted)
    return abs(found - wanted) / (1 + abs(wanted))


def error_along(net: caffe.Net, direction: list[torch.Tensor], gradient: list[torch.Tensor]) -> float:
    """The error of the gradient along a direction; the small step is tried if the error is too large at the other."""
    along = sum(float((one * other).sum()) for one, other in zip(gradient, direction, strict=True))
    found = error(along, slope(net, direction, STEP))
    return found if found <= TOLERANCE else min(found, error(along, slope(net, direction, SMALL_STEP)))


def divides(net: caffe.Net) -> bool:
    return any(layer.param.HasField("eltwise_param") and not layer.param.eltwise_param.stable_prod_grad
               for layer in net.engine_layers)


def difference(net: caffe.Net) -> float:
    """The larger difference d of the gradient from the numerical derivative s along a direction, as d / (1 + |s|).

    A gradient that is not finite differs by infinity, unless a layer divides by its bottom, which may be 0.
    """
    source, worst = torch.Generator().manual_seed(1), 0.0
    learned = [rate != 0 for rate in net.params_lr]
    direction = [torch.randn(blob.shape, generator=source, dtype=torch.float64) * learns
                 for blob, learns in zip(net.learnable_params, learned, strict=True)]
    for is_seen in (False, True):
        if is_seen:
            assert all(blob.data is not None and blob.diff is not None for blob in net.blobs.values())
        found = gradient(net)
        if not all(one.isfinite().all() for one in found):
            return 0.0 if divides(net) else np.inf
        worst = max(worst, error_along(net, direction, found))
    return worst


@pytest.fixture(autouse=True)
def in_float64():
    with device.use_float_type(torch.float64):
        yield


@functools.cache
def shape_of(place: int) -> tuple[int, ...]:
    return top_shape(FIRST[place])


def fitting(shape: tuple[int, ...]) -> list[str]:
    return [text for text in ALL_IN_PLACE if fits(text, shape)]


def shape_after(text: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a blob after an in-place layer: MVN adds axes."""
    return (*shape, *(1,) * (4 - len(shape))) if text.startswith("MVN") else shape


def chain(part: Part, shape: tuple[int, ...], following: list[str], in_place: bool = False) -> caffe.Net:
    text = NetText()
    tops = text.first(part, in_place)
    for place, layer in enumerate(following):
        text.add_in_place(layer, tops[0], shape, f"b{place}")
        shape = shape_after(layer, shape)
    # blobs that share memory all hold what an in-place layer wrote, and reading another is an error
    text.losses(tops[:1] if part.type == "Split" else tops)
    return text.build()


def test_every_type_is_here():
    names = layer_docs.catalogue()
    assert {part.type for part in FIRST} == types_with_gradient(names)
    assert {text.split()[0] for text in ALL_IN_PLACE} == types_in_place(names)


@pytest.mark.parametrize("place", range(len(FIRST)), ids=map(str, FIRST))
@pytest.mark.slow
def test_a_layer_followed_by_any_in_place_layer(place):
    wrong = {text: error for text in fitting(shape_of(place))
             if (error := difference(chain(FIRST[place], shape_of(place), [text]))) > TOLERANCE}
    assert not wrong


def test_there_are_many_pairs():
    assert sum(len(fitting(shape_of(place))) for place in range(len(FIRST))) >= PAIRS_AT_LEAST


@pytest.mark.parametrize("part", [part for part in FIRST if part.text in ALL_IN_PLACE], ids=str)
@pytest.mark.slow
def test_an_in_place_layer_alone_and_followed_by_any_other(part):
    wrong = {text: error for text in (None, *fitting(part.learned[0]))
             if (error := difference(chain(part, part.learned[0], [text] if text else [], in_place=True))) > TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("order", ["scw", "sfrcw"])
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.slow
def test_readers_before_a_layer_that_works_in_place_on_shared_memory(sharing, order):
    def net(text):
        found = shared(sharing, text, order)
        found.losses(["f", "of_c"])
        return found.build()
    assert not {text: found for text in ALL_IN_PLACE if fits(text, shape_shared(sharing))
                and (found := difference(net(text))) > TOLERANCE}


@pytest.mark.parametrize("order, reads, blob", [("swc", "of_c", "c"), ("sfwcr", "of_g", "g"), ("swfcr", "of_g", "g")])
@pytest.mark.parametrize("sharing", SHARING)
def test_a_later_reader_whose_gradient_would_bypass_the_in_place_layer(sharing, order, reads, blob):
    text = shared(sharing, "TanH", order)
    text.build(caffe.TEST)          # without a gradient there is nothing to reject
    text.losses([reads])
    with pytest.raises(caffe.LayerError, match=f"layer '{reads}'.*reads '{blob}.*memory with 'f', after layer 'w'"):
        text.build()


def test_a_net_saves_nothing_that_no_backward_pass_needs():
    """In convolutions followed by normalisation, ReLU and Dropout in place, only Scale saves values."""
    text = NetText()
    below = text.learned(IMAGE)
    for name in ("c0", "c1"):
        convolution = Part("Convolution convolution_param { num_output: 4 kernel_size: 1 }", [], [])
        text.text += convolution.layer(name, [below], [name])
        for layer in ("BatchNorm", "Scale scale_param { bias_term: true }", "ReLU", "Dropout"):
            text.add_in_place(layer, name, IMAGE, f"{layer.split()[0]} of {name}")
        below = name
    text.losses([below])
    net = text.build()
    assert [net.engine_layers[place].name for place in net._saved] == ["Scale of c0", "Scale of c1"]


@pytest.mark.parametrize("layers", [
    "layer { name: 'relu' type: 'ReLU' bottom: 's' top: 's' loss_weight: 2 }",
    """layer { name: 'relu' type: 'ReLU' bottom: 's' top: 's' }
       layer { name: 'flat' type: 'Flatten' bottom: 's' top: 'f' loss_weight: 2 }""",
])
def test_the_weight_of_a_loss_whose_gradient_is_overwritten_counts_in_every_pass(layers, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(f"""
        layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ dim: 1 dim: 2 }} }} }}
        layer {{ name: 's' type: 'Scale' bottom: 'x' top: 's' }} {layers}""")
    net = caffe.Net(str(path), caffe.TRAIN, force_backward=True)
    for x in (np.array([[3, -1]] * 3), np.array([[-1, 3]]), np.array([[3, 4]])):
        net.blobs["x"].reshape(*x.shape)
        net.forward(x=x)
        np.testing.assert_array_equal(net.backward()["x"], 2 * (x > 0))


def test_a_loss_counts_as_it_was_before_an_in_place_layer_overwrote_it(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("""
        layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }
        layer { name: 's' type: 'Scale' bottom: 'x' top: 's' loss_weight: 2 }
        layer { name: 'flat' type: 'Flatten' bottom: 's' top: 'f' }
        layer { name: 'relu' type: 'ReLU' bottom: 'f' top: 'f' loss_weight: 3 }""")
    net = caffe.Net(str(path), caffe.TRAIN, force_backward=True)
    for x in (np.array([[4.0, -1]] * 3), np.array([[-2.0, 5]])):
        net.blobs["x"].reshape(*x.shape)
        net.blobs["x"].data[...] = x
        assert loss_of(net) == 2 * x.sum() + 3 * x[x > 0].sum()
        np.testing.assert_array_equal(net.backward()["x"], 2 + 3 * (x > 0))


def chains_of_three() -> list[tuple[int, str, str]]:
    return [(place, second, third) for place in range(len(FIRST)) for second in fitting(shape_of(place))
            for third in fitting(shape_after(second, shape_of(place)))]


def wrong_chains(chosen) -> dict:
    return {(str(FIRST[place]), *pair): error for place, *pair in chosen
            if (error := difference(chain(FIRST[place], shape_of(place), pair))) > TOLERANCE}


def test_some_chains_of_three():
    assert not wrong_chains(random.Random(1).sample(chains_of_three(), CHAINS))


@pytest.mark.slow
def test_more_chains_of_three():
    assert not wrong_chains(random.Random(2).sample(chains_of_three(), MORE_CHAINS))
