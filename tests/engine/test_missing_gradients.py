"""Gradients that `net.backward()` returns although no layer computes them: one warning says what to do."""
import logging

import numpy as np
import pytest

import caffe

DATA = "layer { name: 'in' type: 'Input' top: 'x' top: 'y' input_param { shape { dim: 2 dim: 3 } } }\n"
FIRST = ("layer { name: 'fc1' type: 'InnerProduct' bottom: 'x' top: 'a' %s "
         "inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }\n")
SECOND = ("layer { name: 'fc2' type: 'InnerProduct' bottom: 'a' top: 'b' "
          "inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }\n")
LOSS = "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'b' bottom: 'y' top: 'loss' }\n"
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"
DEPLOYED = DATA.replace("top: 'y' ", "") + FIRST % "" + SECOND


@pytest.fixture
def warned(tmp_path, caplog):
    def run(text, times=1, settings=None, **asked):
        (tmp_path / "net.pt").write_text(text)
        net = caffe.Net(str(tmp_path / "net.pt"), caffe.TEST, **(settings or {}))
        net.blobs["x"].data[...] = 1
        net.forward()
        with caplog.at_level(logging.WARNING, "caffe"):
            for _ in range(times):
                found = net.backward(**asked)
        messages = [message for message in caplog.messages if "no layer computes the gradient" in message]
        caplog.clear()
        return found, messages
    return run


def test_the_gradient_of_the_image(warned):
    found, messages = warned(DEPLOYED, times=3, b=np.ones((2, 3)))
    assert not found["x"].any() and len(messages) == 1
    assert "net.pt: backward: no layer computes the gradient of 'x'" in messages[0]
    assert "force_backward: true" in messages[0] and "caffe.Net(..., force_backward=True)" in messages[0]


@pytest.mark.parametrize("text, asked, missing", [
    (DATA + FIRST % "" + SECOND + LOSS, {}, "'x', 'y'"),                         # learned, but not passed on
    (DATA + FIRST % FROZEN + SECOND + LOSS, {"diffs": ["a"]}, "'x', 'y', 'a'"),    # nothing below fc2 is learned
    (DATA + FIRST % FROZEN + SECOND + LOSS, {"end": "fc1"}, "'x'"),
    (DEPLOYED, {"start": "fc2", "end": "fc2", "b": np.ones((2, 3))}, "'a'"),      # without a loss nothing is computed
])
def test_every_requested_gradient_that_is_missing_is_named(warned, text, asked, missing):
    messages = warned(text, **asked)[1]
    assert len(messages) == 1 and f"gradient of {missing}, which" in messages[0]


@pytest.mark.parametrize("text, settings, asked", [
    ("force_backward: true " + DEPLOYED, {}, {"b": np.ones((2, 3))}),
    (DEPLOYED, {"force_backward": True}, {"b": np.ones((2, 3))}),
    (DATA + FIRST % "" + SECOND + LOSS, {"force_backward": True}, {}),
    (DATA + FIRST % "" + SECOND + LOSS, {}, {"end": "fc2", "diffs": ["b", "loss"]}),
])
def test_gradients_that_are_computed(warned, text, settings, asked):
    found, messages = warned(text, settings=settings, **asked)
    assert not messages and any(diff.any() for diff in found.values())


def test_labels_are_not_reported_as_missing_a_gradient(warned):
    text = (DATA.replace("shape { dim: 2 dim: 3 }", "shape { dim: 2 dim: 3 } shape { dim: 2 }") + FIRST % ""
            + "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'a' bottom: 'y' top: 'loss' }")
    assert "gradient of 'x', which" in warned(text)[1][0]
    assert not warned(text, settings={"force_backward": True})[1]
