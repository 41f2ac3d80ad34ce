"""The catalogue: every layer type of BVLC Caffe 1.0 and of the R-CNN forks, one file and one test for each."""
from pathlib import Path

import pytest
from caffe.engine import layers
from caffe.engine.layer import layer_types

TYPES = """
AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data Deconvolution
Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData
InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling
Power Python RNN ROIPooling ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice SmoothL1Loss
Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
""".split()
FOLDER = Path(layers.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_all_types_are_there():
    assert sorted(TYPES) == layer_types()


@pytest.mark.parametrize("name", TYPES)
def test_one_file_named_as_the_type(name):
    assert [file for file in FILES if file.replace("_", "") == name.lower()] != []
    assert len(FILES) == len(TYPES)


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_imported_and_has_a_test(file):
    assert hasattr(layers, file)
    tests = Path(__file__).parent
    elsewhere = {"python": tests.parent / "test_net.py"}
    assert (tests / f"test_{file}.py").exists() or elsewhere[file].exists()
