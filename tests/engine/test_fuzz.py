"""Random valid nets from the catalogue: chains and branches, in-place layers, splits, shared parameters, losses.

For each: forward and backward run; a caffemodel, binary and HDF5, restores the same outputs; another batch size works,
and the first one then gives the same results as before; gradients in float64 agree with numerical ones for some values
of every parameter and input, and with those of a backward pass in two parts with every gradient read in between.
`FUZZ_EXAMPLES=1000 pytest tests/engine/test_fuzz.py` tests 1000 random nets instead of the fixed 40.
"""
import os
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import caffe
from caffe.engine import device
from caffe.proto import caffe_pb2, prototxt

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
BATCH, OTHER_BATCH = 3, 2
FILLER = "{ type: 'gaussian' std: 0.5 }"
FILLERS = f"weight_filler {FILLER} bias_filler {FILLER}"
SCALE = f"scale_param {{ bias_term: true filler {FILLER} bias_filler {FILLER} }}"


@dataclass
class Wire:
    """A blob that layers may read. `fresh`: its writer does not need it for backward, and no layer reads it yet."""

    name: str
    shape: tuple[int, ...]
    fresh: bool = False
    read: bool = False


@dataclass
class NetText:
    """A prototxt that grows layer by layer. Inputs: {name: (shape after the batch axis, number of classes or 0)}."""

    draw: st.DrawFn
    phase: int
    layers: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    inputs: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    force_backward: bool = False

    def input(self, shape: tuple[int, ...], classes: int = 0) -> Wire:
        wire = Wire(f"in{len(self.inputs)}", (BATCH, *shape), read=True)
        self.inputs[wire.name] = (shape, classes)
        dims = " ".join(f"dim: {dim}" for dim in wire.shape)
        self.layers.append(f"name: '{wire.name}' type: 'Input' top: '{wire.name}' "
                           f"input_param {{ shape {{ {dims} }} }}")
        return wire

    def add(self, kind: str, bottoms: list[Wire], shapes: list[tuple[int, ...]], text: str = "",
            fresh: bool = False) -> None:
        """Add a layer with tops of these shapes."""
        name = f"group/{kind}{len(self.layers)}" if len(self.layers) % 3 == 0 else f"{kind}{len(self.layers)}"
        tops = [Wire(f"{kind.lower()}{len(self.layers)}_{i}", shape, fresh) for i, shape in enumerate(shapes)]
        lines = [f"name: '{name}' type: '{kind}'", *(f"bottom: '{wire.name}'" for wire in bottoms),
                 *(f"top: '{wire.name}'" for wire in tops), text]
        self.layers.append(" ".join(lines))
        for wire in bottoms:
            wire.read, wire.fresh = True, False
        self.wires += tops

    def in_place(self, kind: str, wire: Wire, text: str = "", fresh: bool = False, other: Wire | None = None) -> None:
        """Add a layer that overwrites the wire; `other` is its second bottom."""
        second = ""
        if other:
            second, other.read, other.fresh = f"bottom: '{other.name}'", True, False
        self.layers.append(f"name: '{kind}{len(self.layers)}' type: '{kind}' bottom: '{wire.name}' {second} "
                           f"top: '{wire.name}' {text}")
        wire.fresh = fresh

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def params(self, key: str) -> str:
        """param blocks: sometimes shared with an earlier layer of equal parameters, sometimes with multipliers."""
        choice = self.draw(st.sampled_from(["own", "shared", "rates"]))
        if choice == "shared":
            index = self.shared.setdefault(key, len(self.shared))
            return f"param {{ name: 'w{index}' }} param {{ name: 'b{index}' }}"
        return "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }" if choice == "rates" else ""

    def text(self) -> str:
        head = "force_backward: true\n" if self.force_backward else ""
        return head + "\n".join(f"layer {{ {layer} }}" for layer in self.layers)


# ---- what a layer does with a wire; each returns False if it is not applicable
def is_image(wire: Wire) -> bool:
    return len(wire.shape) == 4 and min(wire.shape) > 0


def neuron(kind: str, text: str = "", stays_fresh: bool | None = None):
    """stays_fresh: whether its top may be overwritten in place again; None for types that cannot run in place."""
    def put(net: NetText, wire: Wire):
        if stays_fresh is not None and wire.fresh and not wire.read and net.draw(st.booleans()):
            net.in_place(kind, wire, text, stays_fresh)
        else:
            net.add(kind, [wire], [wire.shape], text, bool(stays_fresh))
    return put


# MVN needs a fresh wire: after a ReLU a channel may be all zero, with no deviation to divide by
def same_shape(kind: str, text: str = "", fits=is_image, phase: int | None = None):
    def put(net: NetText, wire: Wire):
        if not fits(wire) or phase not in (None, net.phase):
            return False
        return net.add(kind, [wire], [wire.shape], text)
    return put


def convolution(net: NetText, wire: Wire):
    if not is_image(wire):
        return False
    n, channels, height, width = wire.shape
    kernel, pad, stride, out = net.number(1, 3), net.number(0, 1), net.number(1, 2), net.number(1, 4)
    size = [(length + 2 * pad - kernel) // stride + 1 for length in (height, width)]
    if min(height, width) + 2 * pad < kernel:
        return False
    kind = net.draw(st.sampled_from(["Convolution", "ConvolutionDepthwise"]))
    out = channels if kind == "ConvolutionDepthwise" else out
    text = f"num_output: {out} kernel_size: {kernel} pad: {pad} stride: {stride} {FILLERS}"
    return net.add(kind, [wire], [(n, out, *size)], f"convolution_param {{ {text} }} "
                   + net.params(f"{kind} {out} {kernel} {channels}"), fresh=True)


def deconvolution(net: NetText, wire: Wire):
    if not is_image(wire) or max(wire.shape) > 6:
        return False
    size = [2 * (length - 1) + 2 for length in wire.shape[2:]]
    return net.add("Deconvolution", [wire], [(BATCH, 2, *size)], "convolution_param { num_output: 2 kernel_size: 2 "
                   f"stride: 2 {FILLERS} }}", fresh=True)


def inner_product(net: NetText, wire: Wire):
    out = net.number(2, 4)
    return net.add("InnerProduct", [wire], [(BATCH, out)], f"inner_product_param {{ num_output: {out} "
                   f"{FILLERS} }} " + net.params(f"ip {out} {int(np.prod(wire.shape[1:]))}"), fresh=True)


def siblings(net: NetText, wire: Wire):
    """Two joined layers that share their weights, and sometimes their bias, as in a siamese net."""
    name, out = f"shared{len(net.layers)}", net.number(2, 3)
    bias = f"param {{ name: '{name}_bias' }}" if net.draw(st.booleans()) else ""
    text = f"inner_product_param {{ num_output: {out} {FILLERS} }} param {{ name: '{name}' }} {bias}"
    for bottom in (wire, net.draw(st.sampled_from([other for other in net.wires if other.shape == wire.shape]))):
        net.add("InnerProduct", [bottom], [(BATCH, out)], text)
    net.add("Eltwise", net.wires[-2:], [(BATCH, out)], "eltwise_param { operation: PROD }")


def activated(net: NetText, wire: Wire):
    """A convolution or inner product followed by one or two layers in place."""
    if (convolution if is_image(wire) else inner_product)(net, wire) is False:
        return False
    if net.draw(st.booleans()):
        net.in_place("Scale", net.wires[-1], SCALE, True)
    kind = net.draw(st.sampled_from(["ReLU", "PReLU", "Sigmoid", "TanH"]))
    return net.in_place(kind, net.wires[-1], fresh=kind == "PReLU")


def pooling(net: NetText, wire: Wire):
    if not is_image(wire) or min(wire.shape[2:]) < 2:
        return False
    method, size = net.draw(st.sampled_from(["MAX", "AVE"])), [-(-(length - 2) // 2) + 1 for length in wire.shape[2:]]
    return net.add("Pooling", [wire], [(*wire.shape[:2], *size)],
                   f"pooling_param {{ pool: {method} kernel_size: 2 stride: 2 }}", fresh=True)


def resizing(net: NetText, wire: Wire):
    if not is_image(wire) or max(wire.shape) > 6:
        return False
    n, channels, height, width = wire.shape
    if net.draw(st.booleans()):
        return net.add("Upsample", [wire], [(n, channels, 2 * height, 2 * width)], "upsample_param { scale: 2 }", True)
    return net.add("Interp", [wire], [(n, channels, 5, 3)], "interp_param { height: 5 width: 3 }", True)


def unpooling(net: NetText, wire: Wire):
    """A pooling with a mask, and the layer that inverts it."""
    if not is_image(wire) or min(wire.shape[2:]) < 2 or any(length % 2 for length in wire.shape[2:]):
        return False
    half = (*wire.shape[:2], wire.shape[2] // 2, wire.shape[3] // 2)
    net.add("Pooling", [wire], [half, half], "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    return net.add("Upsample", net.wires[-2:], [wire.shape], "upsample_param { scale: 2 }", True)


def reshaping(net: NetText, wire: Wire):
    n, rest = wire.shape[0], wire.shape[1:]
    kind = net.draw(st.sampled_from(["Flatten", "Reshape", "Permute", "Tile", "Softmax"]))
    if kind == "Flatten":
        return net.add(kind, [wire], [(n, int(np.prod(rest)))])
    if kind == "Reshape":
        return net.add(kind, [wire], [(n, int(np.prod(rest)), 1, 1)],
                       "reshape_param { shape { dim: 0 dim: -1 dim: 1 dim: 1 } }")
    if kind == "Permute" and len(rest) == 3:
        return net.add(kind, [wire], [(n, rest[2], rest[0], rest[1])], "permute_param { order: 0 order: 3 }")
    if kind == "Tile" and rest[0] < 5:
        return net.add(kind, [wire], [(n, 2 * rest[0], *rest[1:])], "tile_param { tiles: 2 }")
    return kind == "Softmax" and net.add(kind, [wire], [wire.shape])


def slicing(net: NetText, wire: Wire):
    channels = wire.shape[1]
    if channels < 2:
        return False
    cut = net.number(1, channels - 1)
    return net.add("Slice", [wire], [(BATCH, part, *wire.shape[2:]) for part in (cut, channels - cut)],
                   f"slice_param {{ slice_point: {cut} }}")


def joining(net: NetText, wire: Wire):
    """Concat, Eltwise or Axpy of this wire and another, which may be the same: a split."""
    others = [other for other in net.wires if other.shape[2:] == wire.shape[2:] and len(other.shape) == len(wire.shape)]
    other = net.draw(st.sampled_from(others))
    channels = wire.shape[1] + other.shape[1]
    if other.shape != wire.shape or net.draw(st.booleans()):
        return channels <= 8 and net.add("Concat", [wire, other], [(BATCH, channels, *wire.shape[2:])], fresh=True)
    if is_image(wire) and net.draw(st.booleans()):
        net.add("Pooling", [wire], [(*wire.shape[:2], 1, 1)], "pooling_param { pool: AVE global_pooling: true }")
        return net.add("Axpy", [net.wires[-1], wire, other], [wire.shape], fresh=True)
    text = net.draw(st.sampled_from(["", "operation: SUM coeff: 0.5 coeff: -1", "operation: PROD", "operation: MAX"]))
    text = f"eltwise_param {{ {text} }}"
    if wire.fresh and not wire.read and other is not wire and net.draw(st.booleans()):
        return net.in_place("Eltwise", wire, text, fresh=True, other=other)
    return net.add("Eltwise", [wire, other], [wire.shape], text)


RECIPES = [
    activated, activated, convolution, deconvolution, inner_product, siblings, siblings, pooling,
    resizing, unpooling, reshaping, reshaping, slicing, joining, joining,
    neuron("ReLU", stays_fresh=False), neuron("ReLU", "relu_param { negative_slope: 0.25 }", False),
    neuron("Sigmoid", stays_fresh=False), neuron("TanH", stays_fresh=False), neuron("PReLU", stays_fresh=True),
    neuron("Scale", SCALE, True),
    neuron("Bias", f"bias_param {{ filler {FILLER} }}", True), neuron("ELU"), neuron("AbsVal"), neuron("BNLL"),
    neuron("Swish"), neuron("Clip", "clip_param { min: -1 max: 1.5 }"),
    neuron("Power", "power_param { power: 2 scale: 0.5 }"),
    same_shape("LRN", "lrn_param { local_size: 3 alpha: 0.5 }"),
    same_shape("MVN", fits=lambda wire: is_image(wire) and wire.fresh),
    same_shape("Normalize", "norm_param { across_spatial: false channel_shared: false eps: 0.01 }"),
    same_shape("BatchNorm", "batch_norm_param { eps: 0.01 }", phase=caffe.TRAIN),
    same_shape("BN", f"bn_param {{ eps: 0.01 slope_filler {FILLER} bias_filler {FILLER} }}", phase=caffe.TRAIN),
    same_shape("BN", f"bn_param {{ bn_mode: INFERENCE scale_filler {FILLER} shift_filler {FILLER} }}"),
    same_shape("Dropout", "", phase=caffe.TEST),
    same_shape("ShuffleChannel", "shuffle_channel_param { group: 2 }", lambda wire: wire.shape[1] % 2 == 0),
]


# ---- ends of the net
def euclidean(net: NetText, wire: Wire):
    net.add("EuclideanLoss", [wire, net.input(wire.shape[1:])], [()], "loss_weight: 0.5")


def smooth_l1(net: NetText, wire: Wire):
    net.add("SmoothL1Loss", [wire, net.input(wire.shape[1:])], [()], "loss_weight: 1")


def cross_entropy(net: NetText, wire: Wire):
    net.add("SigmoidCrossEntropyLoss", [wire, net.input(wire.shape[1:], classes=2)], [()])


def softmax_loss(net: NetText, wire: Wire):
    labels = net.input(wire.shape[2:], classes=wire.shape[1])
    net.add("SoftmaxWithLoss", [wire, labels], [()])
    if not net.force_backward:      # Caffe refuses to force a gradient through Accuracy and ArgMax
        net.add("Accuracy", [wire, labels], [()])


def reduction(net: NetText, wire: Wire):
    net.add("Reduction", [wire], [()], "reduction_param { operation: SUMSQ coeff: 0.1 } loss_weight: 2")


def silence(net: NetText, wire: Wire):
    if not net.force_backward:
        net.add("ArgMax", [wire], [()])
    net.add("Silence", [wire], [])


LOSSES = [euclidean, smooth_l1, cross_entropy, softmax_loss, reduction]


@st.composite
def nets(draw) -> NetText:
    """A net of four to ten parts after one or two inputs, with a loss at least at the last unread blob."""
    net = NetText(draw, phase=draw(st.sampled_from([caffe.TRAIN, caffe.TEST])), force_backward=draw(st.booleans()))
    for _ in range(net.number(1, 2)):
        net.wires.append(net.input(draw(st.sampled_from([(2, 5, 4), (4, 4, 6), (3,), (1, 7, 3)]))))
    for _ in range(net.number(4, 10)):
        wire = draw(st.sampled_from([*net.wires, net.wires[-1], net.wires[-1]]))
        draw(st.sampled_from(RECIPES))(net, wire)
    unread = [wire for wire in net.wires if not wire.read]
    last = unread.pop() if unread else net.wires[-1]
    draw(st.sampled_from(LOSSES))(net, last)
    for wire in unread:
        draw(st.sampled_from([*LOSSES, silence, lambda *_: None]))(net, wire)
    return net


# ---- the checks
def built(net: NetText) -> caffe.Net:
    caffe.set_random_seed(7)
    return caffe.Net(prototxt.parse(net.text(), caffe_pb2.NetParameter()), net.phase)


def feed(net: NetText, made: caffe.Net, batch: int = BATCH) -> None:
    """Reshape and fill the inputs with numbers that depend only on name and batch size."""
    for index, (name, (shape, classes)) in enumerate(net.inputs.items()):
        source = np.random.default_rng([index, batch])
        made.blobs[name].reshape(batch, *shape)
        size = (batch, *shape)
        made.blobs[name].data[...] = source.integers(0, classes, size) if classes else source.standard_normal(size)


def outputs(made: caffe.Net) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in made.forward().items()}


def assert_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.isfinite(array).all(), name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def check_files(net: NetText, made: caffe.Net, wanted: dict[str, np.ndarray], folder) -> None:
    for path, save in ((folder / "w.caffemodel", made.save), (folder / "w.caffemodel.h5", made.save_hdf5)):
        save(str(path))
        caffe.set_random_seed(8)
        other = caffe.Net(prototxt.parse(net.text(), caffe_pb2.NetParameter()), net.phase, weights=str(path))
        feed(net, other)
        assert_equal(outputs(other), wanted)


def check_batch_sizes(net: NetText, made: caffe.Net, wanted: dict[str, np.ndarray]) -> None:
    feed(net, made, OTHER_BATCH)
    made.reshape()
    assert all(np.isfinite(array).all() for array in outputs(made).values())
    made.run_backward()
    feed(net, made)
    assert_equal(outputs(made), wanted)


def numerical(made: caffe.Net, array: np.ndarray, place: int) -> tuple[float, float]:
    """The slopes of the loss to the left and right of one value; they differ at a kink."""
    kept, step, losses = array.flat[place], 1e-6, []
    for value in (kept - step, kept + step, kept):
        array.flat[place] = value
        losses.append(float(made.forward_with_loss()))
    below, above, here = losses
    return (here - below) / step, (above - here) / step


def check_backward_in_parts(made: caffe.Net, blobs: list) -> None:
    wanted, last = [blob.diff.copy() for blob in blobs], len(made.engine_layers) - 1
    for cut in {last // 3, last // 2, last - 1}:
        made.clear_param_diffs()
        made._backward(last, cut + 1)
        assert all(blob.diff.shape == blob.shape for blob in made.blobs.values())
        made._backward(cut, 0)
        for blob, diff in zip(blobs, wanted, strict=True):
            np.testing.assert_allclose(blob.diff, diff, rtol=1e-9, atol=1e-9, err_msg=f"{blob}, cut at {cut}")


def is_saturated(made: caffe.Net) -> bool:
    """Whether a probability may be at its floor, where the loss is constant but has a gradient, as in Caffe."""
    scores = [made.blobs[made.bottom_names[layer.name][0]].data for layer in made.engine_layers
              if layer.type == "SoftmaxWithLoss"]
    return any(np.ptp(array, 1).max() > 80 for array in scores)


def check_gradients(net: NetText) -> None:
    with device.use_float_type(torch.float64):
        made = built(net)
        feed(net, made)
        made.clear_param_diffs()
        made.forward_with_loss()
        made.run_backward()
        blobs = [blob for blob, rate in zip(made.learnable_params, made.params_lr, strict=True) if rate]
        if net.force_backward:
            blobs += [made.blobs[name] for name, (_, classes) in net.inputs.items() if not classes]
        check_backward_in_parts(made, blobs)
        for blob in blobs if not is_saturated(made) else ():
            for place in {0, blob.count // 2, blob.count - 1}:
                found = blob.diff.flat[place]
                left, right = numerical(made, blob.data, place)
                close = dict(rtol=1e-4, atol=1e-4 * max(1, abs(float(made.loss()))))
                if np.isclose(left, right, **close):
                    np.testing.assert_allclose(found, (left + right) / 2, err_msg=f"{blob}, value {place}", **close)


@settings(max_examples=int(EXAMPLES or 40), deadline=None, derandomize=EXAMPLES is None, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])
@given(net=nets())
def test_random_nets(net, tmp_path):
    note(net.text())
    made = built(net)
    feed(net, made)
    wanted = outputs(made)
    made.run_backward()
    check_files(net, made, wanted, tmp_path)
    check_batch_sizes(net, made, wanted)
    check_gradients(net)

