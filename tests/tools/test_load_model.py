"""experiments/benchmarks/load_model.py on a narrow net; its results are in load_model.md."""

import numpy as np

import caffe

BENCHMARK = "load_model"


def test_what_is_measured(program, tmp_path):
    program.write_files(tmp_path, 0.02)
    net, loaded, message = (task(tmp_path) for task in program.TASKS.values())
    assert list(net.params) == list(loaded.params) and len(net.params) == 16
    stored = {layer.name: layer.blobs for layer in message.layer if layer.blobs}
    for name, blobs in loaded.params.items():
        np.testing.assert_array_equal(blobs[0].data.ravel(), stored[name][0].data)
    assert program.vgg16(1.0).layer[1].convolution_param.num_output == 64


def test_the_report(program):
    found = {name: {"seconds": seconds, "memory": 528.0, "peak": peak}
             for name, seconds, peak in zip(program.TASKS, (0.5, 0.75, 1.5), (528.0, 529.0, 1056.0), strict=True)}
    text = program.report(found, 528)
    assert "| net with weights | 0.75 | 528 | 529 |" in text and "0.50 of the time" in text
    assert "add 0.25 s and 0 MB" in text and "met" in text
    found["net with weights"]["seconds"] = 1.6
    assert "missed" in program.report(found, 528)


def test_loading_keeps_the_memory_of_the_net(program, tmp_path):
    program.write_files(tmp_path, 0.02)
    net = caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)
    before = [blob.tensor.data_ptr() for blob in net.learnable_params]
    net.copy_from(str(tmp_path / "net.caffemodel"))
    assert [blob.tensor.data_ptr() for blob in net.learnable_params] == before
