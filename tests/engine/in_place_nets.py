"""Small nets for tests of layers that share memory: every layer type that has a gradient, and those that run in place.

A net is `Input -> Bias (a learned value for each input value) -> layers -> square, with a loss weight`, so all
gradients of interest are gradients of parameters.
"""
from __future__ import annotations

import functools
import sys
import types
from dataclasses import dataclass

import numpy as np

import caffe
from caffe.engine.layer import LayerError, layer_class
from caffe.proto import caffe_pb2, prototxt

IMAGE = (2, 4, 3, 5)
FILLER = "{ type: 'gaussian' std: 0.6 }"
FILLERS = f"weight_filler {FILLER} bias_filler {FILLER}"
OPERANDS = f"bias_term: true filler {FILLER} bias_filler {FILLER}"
RECURRENT = f"recurrent_param {{ num_output: 3 {FILLERS} }}"
SLOPES = f"slope_filler {FILLER} bias_filler {FILLER}"
SHIFTS = f"scale_filler {FILLER} shift_filler {FILLER}"
ROIS = np.array([[0, 0, 0, 3, 2], [1, 1, 1, 4, 2], [1, 0, 0, 1, 1]], float)
BEGINS = np.array([[0, 0], [1, 1], [1, 0]], float)


class Cube(caffe.Layer):
    """A user's layer: top = bottom^3."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data ** 3

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 3 * bottom[0].data ** 2 * top[0].diff


USERS = types.ModuleType("layers_of_in_place_nets")
USERS.Cube = Cube       # type: ignore[attr-defined]
sys.modules[USERS.__name__] = USERS
PYTHON = f"Python python_param {{ module: '{USERS.__name__}' layer: 'Cube' }}"

# Settings of every type that may run in place; some take a second bottom, of the first one's shape or (C)
IN_PLACE = [
    "BNLL", "Clip clip_param { min: -0.5 max: 0.7 }", "Dropout", "ELU", "ELU elu_param { alpha: -0.6 }",
    "Exp exp_param { base: 2 scale: 0.5 }", "Log log_param { scale: 0.02 shift: 3 }", "Power",
    "Power power_param { power: 2 }",
    "Power power_param { power: 1.5 scale: 0.02 shift: 3 }", "ReLU", "ReLU relu_param { negative_slope: 0.25 }",
    "ReLU relu_param { negative_slope: -0.5 }", "Sigmoid", "Swish swish_param { beta: 0.7 }", "TanH", PYTHON,
    "ReLU6 relu6_param { n: 0.7 }",
    "PReLU", f"Scale scale_param {{ {OPERANDS} }}", f"Bias bias_param {{ filler {FILLER} }}", "Softmax", "MVN",
    "MVN mvn_param { across_channels: true normalize_variance: false }",
    "BatchNorm batch_norm_param { eps: 0.01 }", "BatchNorm batch_norm_param { use_global_stats: true eps: 1 }",
    f"BN bn_param {{ eps: 0.01 {SLOPES} }}", f"BN bn_param {{ frozen: true {SLOPES} }}",
    f"BN bn_param {{ bn_mode: INFERENCE {SHIFTS} }}",
]
SAME = ["Eltwise", "Eltwise eltwise_param { coeff: 0.5 coeff: -2 }", "Eltwise eltwise_param { operation: PROD }",
        "Eltwise eltwise_param { operation: PROD stable_prod_grad: false }", "Eltwise eltwise_param { operation: MAX }"]
CHANNEL = ["Scale", "Bias"]

# The other types: settings, shapes of learned bottoms, values of bottoms without a gradient
OTHERS: list[tuple[str, list[tuple[int, ...]], list[np.ndarray]]] = [
    ("AbsVal", [IMAGE], []), ("LRN lrn_param { local_size: 3 alpha: 2 }", [IMAGE], []),
    ("LRN lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }", [IMAGE], []),
    ("Normalize norm_param { across_spatial: false }", [IMAGE], []),
    ("Axpy", [(2, 4), IMAGE, IMAGE], []), ("Concat", [IMAGE, IMAGE], []), ("Concat", [IMAGE], []),
    ("Split", [IMAGE], []), ("Slice", [IMAGE], []), ("Flatten", [IMAGE], []),
    ("Reshape reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", [IMAGE], []),
    ("Permute permute_param { order: 0 order: 2 }", [IMAGE], []), ("Permute permute_param { order: 0 }", [IMAGE], []),
    ("Tile tile_param { tiles: 2 }", [IMAGE], []),
    ("Crop crop_param { axis: 2 offset: 1 }", [IMAGE], [np.zeros((2, 4, 2, 3))]),
    ("ShuffleChannel shuffle_channel_param { group: 2 }", [IMAGE], []),
    ("Reorg reorg_param { stride: 2 reverse: true }", [IMAGE], []),
    (f"Convolution convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 {FILLERS} }}", [IMAGE], []),
    (f"ConvolutionDepthwise convolution_param {{ num_output: 4 kernel_size: 3 {FILLERS} }}", [IMAGE], []),
    (f"DepthwiseConvolution convolution_param {{ num_output: 4 group: 4 kernel_size: 2 {FILLERS} }}", [IMAGE], []),
    (f"Deconvolution convolution_param {{ num_output: 3 kernel_size: 2 stride: 2 {FILLERS} }}", [IMAGE], []),
    ("Im2col convolution_param { kernel_size: 2 }", [IMAGE], []),
    (f"InnerProduct inner_product_param {{ num_output: 6 {FILLERS} }}", [IMAGE], []),
    (f"Embed embed_param {{ num_output: 3 input_dim: 4 {FILLERS} }}", [], [np.array([0.0, 3, 1, 3])]),
    ("BatchReindex", [IMAGE], [np.array([1.0, 0, 1])]), ("Filter", [IMAGE], [np.array([1.0, 1])]),
    ("Pooling pooling_param { kernel_size: 2 }", [IMAGE], []),
    ("Pooling pooling_param { pool: AVE kernel_size: 2 }", [IMAGE], []),
    ("SPP spp_param { pyramid_height: 2 }", [IMAGE], []),
    ("Interp interp_param { height: 5 width: 7 }", [IMAGE], []), ("Upsample upsample_param { scale: 2 }", [IMAGE], []),
    ("ROIPooling roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [IMAGE], [ROIS]),
    ("ROIAlign roi_align_param { pooled_h: 2 pooled_w: 2 }", [IMAGE], [ROIS]),
    ("PSROIPooling psroi_pooling_param { output_dim: 1 group_size: 2 spatial_scale: 1 }", [IMAGE], [ROIS]),
    ("LSTM " + RECURRENT, [(3, 2, 4)], [BEGINS]), ("RNN " + RECURRENT, [(3, 2, 4)], [BEGINS]),
    ("LSTMUnit", [(1, 2, 3), (1, 2, 12)], [np.ones((1, 2))]),
    ("Reverse", [IMAGE], []), ("Transpose transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }", [IMAGE], []),
    (f"Lstm lstm_param {{ num_output: 3 {FILLERS} }}", [(3, 2, 4)], [BEGINS]),
    ("WarpCTCLoss", [(3, 2, 4)], [np.array([[1.0, 0], [2, 3]])]),
    ("CtcLoss", [(3, 2, 4)], [np.array([[1.0, 0], [2, 3]])]),
    ("CTCLoss", [(3, 2, 4)], [BEGINS, np.array([[1.0, 2], [-1, 3]])]),
    ("Reduction reduction_param { axis: 2 operation: SUMSQ }", [IMAGE], []),
    ("EuclideanLoss", [IMAGE, IMAGE], []), ("SmoothL1Loss", [IMAGE, IMAGE], []),
    ("SmoothL1LossOHEM", [IMAGE, IMAGE], []), ("SoftmaxWithLoss", [(3, 4)], [np.array([0.0, 3, 2])]),
    ("SoftmaxWithLossOHEM", [(3, 4)], [np.array([0.0, 3, 2])]),
    ("InfogainLoss", [(3, 2)], [np.array([0.0, 1, 1]), np.array([[1.0, 0.5], [0.2, 2]])]),
    ("HingeLoss hinge_loss_param { norm: L2 }", [(3, 4)], [np.array([0.0, 3, 2])]),
    ("SigmoidCrossEntropyLoss", [(3, 4)], [np.eye(3, 4)]), ("ContrastiveLoss", [(3, 4), (3, 4)], [np.ones(3)]),
    ("MultiBoxLoss multibox_loss_param { num_classes: 3 }", [(2, 8), (2, 6)],
     [np.array([[[0.1, 0.1, 0.5, 0.5, 0.4, 0.4, 0.9, 0.9], [0.5] * 8]]),
      np.array([[1.0, 2, 0, 0.2, 0.1, 0.5, 0.6, 0]])]),
    ("Yolov3 yolov3_param { num_class: 1 num: 1 biases: 20 biases: 30 mask: 0 }", [(2, 6, 3, 4)],
     [np.array([[[[0.0, 0.3, 0.6, 0.4, 0.2]]], [[[0.0, 0.7, 0.1, 0.2, 0.1]]]])]),
]
WITHOUT_GRADIENT = {"Accuracy", "ArgMax", "BoxAnnotatorOHEM", "CTCGreedyDecoder", "ContinuationIndicator",
                    "DetectionEvaluate", "DetectionOutput", "LabelsequenceAccuracy", "PriorBox", "SegAccuracy",
                    "Threshold", "Silence", "HDF5Output", "AnnotatedData", "Data", "DummyData", "HDF5Data", "ImageData",
                    "ImageLabelmapData", "ImageSegData", "Input", "MemoryData", "WindowData", "Proposal",
                    "YoloDetectionOutput", "Yolov3DetectionOutput"}
OF_PROBABILITIES = {"MultinomialLogisticLoss"}      # needs positive bottoms, and comes last in a net
STATEFUL = {"Parameter"}        # its top is the parameter itself, which would change in every pass in place
TOPS = {"Split": 2, "Slice": 2, "LSTMUnit": 2}
# Types whose top shares memory with the bottom
SHARING = ["Split", "Flatten", "Reshape reshape_param { shape { dim: 0 dim: -1 dim: 5 } }", "Slice", "Concat",
           "Permute permute_param { order: 0 }"]


@dataclass
class Part:
    """A layer: its type and settings, the shapes of its learned bottoms, the values of the others."""

    text: str
    learned: list[tuple[int, ...]]
    fixed: list[np.ndarray]

    @property
    def type(self) -> str:
        return self.text.split()[0]

    def __str__(self) -> str:
        return f"{self.text[:60]} of {len(self.learned) + len(self.fixed)}"

    def layer(self, name: str, bottoms: list[str], tops: list[str], more: str = "") -> str:
        kind, _, settings = self.text.partition(" ")
        ends = "".join(f" bottom: '{bottom}'" for bottom in bottoms) + "".join(f" top: '{top}'" for top in tops)
        return f"layer {{ name: '{name}' type: '{kind}'{ends} {settings} {more} }}\n"


FIRST = [*(Part(text, [IMAGE], []) for text in IN_PLACE), *(Part(text, [IMAGE, IMAGE], []) for text in SAME),
         *(Part(text, [IMAGE, (4,)], []) for text in CHANNEL), *(Part(*other) for other in OTHERS)]
ALL_IN_PLACE = [*IN_PLACE, *SAME, *CHANNEL]


class NetText:
    """Builds a prototxt: `learned` adds an input followed by learned values, `fixed` a plain input."""

    def __init__(self) -> None:
        self.text = ""
        self.values: dict[str, np.ndarray] = {}

    def _input(self, values: np.ndarray) -> str:
        name = f"in{len(self.values)}"
        self.values[name] = values
        dims = " ".join(f"dim: {dim}" for dim in values.shape)
        self.text += f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ {dims} }} }} }}\n"
        return name

    def fixed(self, values: np.ndarray) -> str:
        return self._input(values)

    def learned(self, shape: tuple[int, ...]) -> str:
        name = self._input(np.random.default_rng([len(self.values), *shape]).standard_normal(shape))
        self.text += f"layer {{ name: 'l{name}' type: 'Bias' bottom: '{name}' top: 'l{name}' " \
                     f"bias_param {{ axis: 0 num_axes: -1 filler {FILLER} }} }}\n"
        return f"l{name}"

    def first(self, part: Part, in_place: bool = False) -> list[str]:
        """Add the layer 'a' after its learned and fixed inputs; returns its tops."""
        bottoms = [*(self.learned(shape) for shape in part.learned), *(self.fixed(values) for values in part.fixed)]
        tops = bottoms[:1] if in_place else [f"a{index}" for index in range(TOPS.get(part.type, 1))]
        self.text += part.layer("a", bottoms, tops)
        return tops

    def add_in_place(self, text: str, blob: str, shape: tuple[int, ...], name: str) -> None:
        """Add an in-place layer on a blob of this shape."""
        others = [self.learned(shape)] if text in SAME else [self.learned(shape[1:2])] if text in CHANNEL else []
        self.text += Part(text, [], []).layer(name, [blob, *others], [blob])

    def losses(self, blobs: list[str]) -> None:
        for blob in blobs:
            self.text += f"layer {{ name: 'loss_{blob}' type: 'Power' bottom: '{blob}' top: 'loss_{blob}' " \
                         "power_param { power: 2 shift: 0.3 } loss_weight: 0.7 }\n"

    def build(self, phase: int = caffe.TRAIN, head: str = "") -> caffe.Net:
        caffe.set_random_seed(5)
        net = caffe.Net(prototxt.parse(head + self.text, caffe_pb2.NetParameter()), phase)
        for name, values in self.values.items():
            net.blobs[name].data[...] = values
        return net


def top_shape(part: Part) -> tuple[int, ...]:
    """The shape of the first top."""
    net = NetText()
    (top, *_) = net.first(part)
    return net.build().blobs[top].shape


@functools.cache
def fits(text: str, shape: tuple[int, ...]) -> bool:
    """Whether a layer can work in place on a blob of this shape."""
    net = NetText()
    try:
        if text in CHANNEL and len(shape) < 2:
            return False
        net.add_in_place(text, net.learned(shape), shape, "b")
        net.build()
    except LayerError:
        return False
    return True


def shared(sharing: str, text: str, order: str) -> NetText:
    """A blob c, f that shares its memory, an in-place layer on f, and readers of c and of another blob that shares it.

    order  order of the layers: s (f shares c's memory), w (works in place), c (reads c), f (g shares c's memory too),
           r (reads g)
    """
    net = NetText()
    source = net.learned(IMAGE)
    net.text += Part("Power power_param { shift: 0.1 }", [], []).layer("c", [source], ["c"])
    for letter in order:
        if letter == "s":
            net.text += Part(sharing, [], []).layer("s", ["c"], ["f", "e"] if sharing == "Split" else ["f"])
        elif letter == "w":
            net.add_in_place(text, "f", shape_shared(sharing), "w")
        elif letter == "f":
            net.text += Part("Flatten", [], []).layer("g", ["c"], ["g"])
        else:
            read = {"c": "c", "r": "g"}[letter]
            net.text += Part("Power power_param { scale: 2 }", [], []).layer(f"of_{read}", [read], [f"of_{read}"])
    return net


def shape_shared(sharing: str) -> tuple[int, ...]:
    """The shape of f in `shared`."""
    return shared(sharing, "", "s").build().blobs["f"].shape


def types_with_gradient(names) -> set[str]:
    return set(names) - WITHOUT_GRADIENT - OF_PROBABILITIES - STATEFUL


def types_in_place(names) -> set[str]:
    return {name for name in types_with_gradient(names) if layer_class(name).runs_in_place}
