"""The catalogue: every layer type of BVLC Caffe 1.0 and of the forks has one file and tests of every kind.

A test file must test values (`check`, or `forward` of a Runner or a net), gradients (`check` without `gradient=False`,
or `backward`) unless the layer declares that it has none, and bad input (`refused`, or `pytest.raises`).
"""
import ast
from pathlib import Path

import pytest

from caffe import layer_docs
from caffe.engine import layers
from caffe.engine.layer import layer_class
from caffe.proto import caffe_pb2

TYPES = """
AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data Deconvolution
Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData
InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling
Power Python RNN ROIPooling ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice SmoothL1Loss
Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
Axpy BN ConvolutionDepthwise Interp Normalize PSROIPooling Permute PriorBox ROIAlign ShuffleChannel Upsample
""".split()
OTHER_NAMES = {"DepthwiseConvolution": "ConvolutionDepthwise"}      # in the file of the type they stand for
FORK_NUMBERS = {"permute_param": 202, "prior_box_param": 203, "norm_param": 206, "psroi_pooling_param": 10001,
                "shuffle_channel_param": 164, "bn_param": 152, "interp_param": 163, "upsample_param": 149,
                "roi_align_param": 154, "roi_pooling_param": 8266711, "smooth_l1_loss_param": 8266712}
FOLDER, TESTS = Path(layers.__file__).parent, Path(__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def file_of(name):
    """The stem of the type's file."""
    found = [file for file in FILES if file.replace("_", "") == OTHER_NAMES.get(name, name).lower()]
    assert len(found) == 1, f"{name} needs one file named as it, found {found}"
    return found[0]


def kinds_tested(source):
    """The kinds of tests that a test file has, by the functions it calls."""
    kinds = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        without_gradient = any(keyword.arg == "gradient" and getattr(keyword.value, "value", None) is False
                               for keyword in node.keywords)
        if name in ("check", "forward"):
            kinds.add("values")
        if name == "backward" or name == "check" and not without_gradient:
            kinds.add("gradients")
        if name in ("refused", "raises"):
            kinds.add("bad input")
    return kinds


def has_gradient(cls):
    """A layer has none where it has no bottoms, or declares `no_backward_to` for all of them."""
    bottoms = next((count for count in (cls.exact_bottoms, cls.max_bottoms, cls.min_bottoms) if count is not None), 1)
    learns = bottoms - len(cls.no_backward_to)
    return learns > 0


def test_all_types_are_there():
    assert sorted([*TYPES, *OTHER_NAMES]) == layer_docs.catalogue()


def test_one_file_for_each_type():
    assert sorted(file_of(name) for name in TYPES) == FILES
    for name in OTHER_NAMES:
        file_of(name)


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_imported_and_has_a_test(file):
    assert hasattr(layers, file)
    assert (TESTS / f"test_{file}.py").exists()


@pytest.mark.parametrize("name", [*TYPES, *OTHER_NAMES])
def test_values_gradients_and_bad_input_are_tested(name):
    path = TESTS / f"test_{file_of(name)}.py"
    needed = {"values", "bad input"} | ({"gradients"} if has_gradient(layer_class(name)) else set())
    missing = needed - kinds_tested(path.read_text())
    assert not missing, f"{path.name} has no test of {' and '.join(sorted(missing))}"


@pytest.mark.parametrize("source, kinds", [
    ("def test(): check(text, [x], oracle)", {"values", "gradients"}),
    ("def test(): check(text, [x], oracle, gradient=False)", {"values"}),
    ("def test(): Runner(text, [x]).forward()", {"values"}),
    ("def test(): runner.backward([diff], [True])", {"gradients"}),
    ("def test(): refused(text, [x], 'no')", {"bad input"}),
    ("def test():\n with pytest.raises(LayerError): Runner(text, [x])", {"bad input"}),
    ("# check(text), refused(text)", set()),
])
def test_kinds_are_told_by_calls(source, kinds):
    assert kinds_tested(source) == kinds


def test_field_numbers_of_the_forks():
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    assert {name: fields[name].number for name in FORK_NUMBERS} == FORK_NUMBERS
