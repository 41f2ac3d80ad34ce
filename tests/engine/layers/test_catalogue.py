"""The catalogue: every layer type of BVLC Caffe 1.0 and of the forks has one file and tests of every kind.

A test file must compare values (`check` with an oracle, or the result of `forward` of a Runner or a net with the
expected one), test gradients (`check` without `gradient=False`, or `backward`) unless the layer declares that it has
none, and bad input (`refused`, or `pytest.raises`).
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
AnnotatedData Axpy BN BoxAnnotatorOHEM ConvolutionDepthwise DetectionEvaluate DetectionOutput Interp MultiBoxLoss
Normalize PSROIPooling Permute PriorBox Proposal ReLU6 ROIAlign Reorg ShuffleChannel SmoothL1LossOHEM
SoftmaxWithLossOHEM Upsample YoloDetectionOutput Yolov3 Yolov3DetectionOutput
CTCGreedyDecoder CTCLoss Reverse Transpose WarpCTCLoss
ContinuationIndicator ImageLabelmapData ImageSegData LabelsequenceAccuracy SegAccuracy
""".split()
# Types in the file of another type: an alias, and names that differ from it only in case
OTHER_NAMES = {"CtcLoss": "CTCLoss", "DepthwiseConvolution": "ConvolutionDepthwise", "Lstm": "LSTM"}
FORK_NUMBERS = {"annotated_data_param": 200, "multibox_loss_param": 201, "permute_param": 202, "prior_box_param": 203,
                "detection_output_param": 204, "detection_evaluate_param": 205, "norm_param": 206,
                "psroi_pooling_param": 10001, "box_annotator_ohem_param": 10000, "relu6_param": 211,
                "shuffle_channel_param": 164, "bn_param": 152,
                "interp_param": 163, "upsample_param": 149, "roi_align_param": 154, "roi_pooling_param": 8266711,
                "smooth_l1_loss_param": 8266712, "proposal_param": 8266717, "reorg_param": 155,
                "yolo_detection_output_param": 601, "yolov3_detection_output_param": 602,
                "yolov3_param": 603,
                "ctc_decoder_param": 158, "ctc_loss_param": 159, "reverse_param": 160, "transpose_param": 8266710}
FOLDER, TESTS = Path(layers.__file__).parent, Path(__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def file_of(name):
    """The stem of the file that defines a type."""
    found = [file for file in FILES if file.replace("_", "") == OTHER_NAMES.get(name, name).lower()]
    assert len(found) == 1, f"{name} needs one file named as it, found {found}"
    return found[0]


def called(node):
    """The name of the function that a node calls, or "" for other nodes."""
    return (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""


def kinds_tested(source):
    """The kinds of tests in a test file, judged by the functions that it calls and the values that it compares."""
    tree, kinds = ast.parse(source), set()
    for node in ast.walk(tree):
        name, keywords = called(node), {word.arg: word.value for word in getattr(node, "keywords", ())}
        if name == "check" and (len(node.args) > 2 or "oracle" in keywords):
            kinds.add("values")
        if name == "backward" or name == "check" and getattr(keywords.get("gradient"), "value", None) is not False:
            kinds.add("gradients")
        if name in ("refused", "raises"):
            kinds.add("bad input")
    if any(compares_tops(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        kinds.add("values")
    return kinds


def compares_tops(function):
    """Whether a function runs a layer forward and compares values, not only shapes, with expected ones.

    Comparisons are NumPy's asserts, or an `assert` with `==` on a result of `forward`.
    """
    if not any(called(node) == "forward" for node in ast.walk(function)):
        return False
    tops = names_from_forward(function)
    compared = [node for statement in ast.walk(function) if isinstance(statement, ast.Assert)
                for node in ast.walk(statement.test) if isinstance(node, ast.Compare) and is_about_values(node)]
    return any(called(node) in ("assert_allclose", "assert_array_equal") for node in ast.walk(function)) \
        or any(comes_from(node, tops) for node in compared)


def is_about_values(comparison):
    about_sizes = any(getattr(node, "attr", "") in ("shape", "dtype", "ndim") or called(node) == "len"
                      for node in ast.walk(comparison))
    return all(isinstance(operator, ast.Eq) for operator in comparison.ops) and not about_sizes


def comes_from(node, names):
    return any(called(part) == "forward" or getattr(part, "id", "") in names for part in ast.walk(node))


def names_from_forward(function):
    """The variables of a function that hold results of `forward`, or values computed from them."""
    names, count = set(), -1
    while len(names) > count:
        count = len(names)
        for node in ast.walk(function):
            source = node.iter if isinstance(node, (ast.For, ast.comprehension)) else getattr(node, "value", None)
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            if source is not None and isinstance(source, ast.AST) and comes_from(source, names):
                names.update(part.id for target in targets if target is not None for part in ast.walk(target)
                             if isinstance(part, ast.Name))
    return names


def has_gradient(cls):
    """Whether a layer has a bottom that is not in `no_backward_to`."""
    bottoms = next((count for count in (cls.exact_bottoms, cls.max_bottoms, cls.min_bottoms) if count is not None), 1)
    learns = bottoms - len(cls.no_backward_to)
    return learns > 0


def test_all_types_exist():
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
    ("def test(): Runner(text, [x]).forward()", set()),
    ("def test(): check(text, [x], gradient=False)", set()),
    ("def test(): check(text, [x], oracle=oracle, gradient=False)", {"values"}),
    ("def test():\n assert Runner(text, [x]).forward()[0].tolist() == [1, 2]", {"values"}),
    ("def test():\n found = Runner(text, [x]).forward()\n assert found[0].shape == (2, 3)", set()),
    ("def test():\n found = Runner(text, [x]).forward()\n assert len(found) == 2 and x == 3", set()),
    ("def test():\n found = Runner(text, [x]).forward()\n for one in found:\n  assert (one == 3).all()", {"values"}),
    ("def test():\n found = run.forward()\n assert all((item == 3).all() for item in found)", {"values"}),
    ("def test():\n run.forward()\n np.testing.assert_allclose(file['data'], wanted)", {"values"}),
    ("def test():\n np.testing.assert_allclose(x, wanted)", set()),
    ("def test(): runner.backward([diff], [True])", {"gradients"}),
    ("def test(): refused(text, [x], 'no')", {"bad input"}),
    ("def test():\n with pytest.raises(LayerError): Runner(text, [x])", {"bad input"}),
    ("# check(text), refused(text)", set()),
])
def test_kinds_follow_from_calls(source, kinds):
    assert kinds_tested(source) == kinds


def test_field_numbers_of_the_forks():
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    assert {name: fields[name].number for name in FORK_NUMBERS} == FORK_NUMBERS
