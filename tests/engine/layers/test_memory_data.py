"""MemoryData."""
import numpy as np
import pytest
from layer_checker import Runner, randn, refused

from caffe.engine.net import Net

TEXT = "type: 'MemoryData' memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }"


def test_batches_wrap_around():
    runner, data = Runner(TEXT, [], num_tops=2), randn(6, 3, 4, 5).astype(np.float32)
    assert runner.top[1].shape == (2,)
    runner.layer.set_arrays(data, np.arange(6))
    for first in (0, 2, 4, 0):
        found, labels = runner.forward()
        assert (found == data[first:first + 2]).all() and labels.ravel().tolist() == [first, first + 1]
    assert labels.shape == (2, 1, 1, 1)


def test_set_input_arrays(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(f"layer {{ name: 'in' {TEXT} top: 'x' top: 'y' }}")
    net = Net(path, 1)
    net.set_input_arrays(np.ones((2, 3, 4, 5)), np.zeros((2, 1, 1, 1)))
    assert (net.forward()["x"] == 1).all()
    path.write_text("layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 1 } } }")
    with pytest.raises(ValueError, match="first layer is MemoryData"):
        Net(path, 1).set_input_arrays(np.ones((2, 3, 4, 5)), np.zeros(2))


def test_bad_input():
    refused("type: 'MemoryData' memory_data_param { batch_size: 2 }", [], "channels, height and width", num_tops=2)
    runner = Runner(TEXT, [], num_tops=2)
    with pytest.raises(ValueError, match="set_input_arrays"):
        runner.forward()
    for data, labels, match in ((randn(2, 4, 3, 5), 2, "shape"), (randn(3, 3, 4, 5), 3, "multiple"),
                                (randn(2, 3, 4, 5), 3, "3 labels")):
        with pytest.raises(ValueError, match=match):
            runner.layer.set_arrays(data, np.zeros(labels))
