"""Python layers and a training loop in the style of py-faster-rcnn, and how they use nets and blobs."""
import sys
import types

import numpy as np
import pytest
import yaml

import caffe

NET = """
layer { name: "input" type: "Python" top: "data" top: "im_info" top: "gt_boxes"
        python_param { module: "rcnn_style" layer: "Minibatches" param_str: "'num_classes': 3" } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score" param { lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 4 kernel_size: 2 stride: 2 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "reshape" type: "Reshape" bottom: "score" top: "reshaped" reshape_param { shape { dim: 0 dim: 2 dim: -1
        dim: 0 } } }
layer { name: "targets" type: "Python" bottom: "score" bottom: "gt_boxes" bottom: "im_info" bottom: "data"
        top: "labels" python_param { module: "rcnn_style" layer: "Labels" param_str: "'feat_stride': 2" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "reshaped" bottom: "labels" propagate_down: 1 propagate_down: 0
        top: "loss" loss_param { ignore_label: -1 normalize: true } }
"""
SOLVER = 'train_net: "{}" base_lr: 0.1 lr_policy: "fixed" display: 0 snapshot: 0 snapshot_prefix: "rcnn_style"'
SIZES = [(6, 8), (10, 4), (4, 12)]


class Minibatches(caffe.Layer):
    """Finds its tops by name; their shapes change in every pass."""

    def setup(self, bottom, top):
        self._num_classes = yaml.safe_load(self.param_str_)["num_classes"]
        self._name_to_top = {"data": 0, "im_info": 1, "gt_boxes": 2}
        top[0].reshape(1, 3, 20, 20)
        top[1].reshape(1, 3)
        top[2].reshape(1, 4)
        assert len(top) == len(self._name_to_top)

    def set_roidb(self, roidb):
        self._roidb, self._cur = roidb, 0

    def forward(self, bottom, top):
        height, width = self._roidb[self._cur % len(self._roidb)]
        self._cur += 1
        blobs = {"data": np.full((1, 3, height, width), self._cur, float), "im_info": np.array([[height, width, 1.6]]),
                 "gt_boxes": np.arange(5 * self._cur).reshape(-1, 5)}
        for name, blob in blobs.items():
            index = self._name_to_top[name]
            top[index].reshape(*(blob.shape))
            top[index].data[...] = blob.astype(np.float32, copy=False)

    def backward(self, top, propagate_down, bottom):
        pass

    def reshape(self, bottom, top):
        pass


class Labels(caffe.Layer):
    """Labels of the feature map's shape, without a gradient. Records what it has read."""

    seen: list = []

    def setup(self, bottom, top):
        self._stride, self._key = yaml.safe_load(self.param_str_)["feat_stride"], str(self.phase)
        height, width = bottom[0].data.shape[-2:]
        top[0].reshape(1, 1, 2 * height, width)

    def forward(self, bottom, top):
        assert bottom[0].data.shape[0] == 1
        height, width = bottom[0].data.shape[-2:]
        gt_boxes, im_info = bottom[1].data, bottom[2].data[0, :]
        labels = np.full((2 * height * width,), -1, dtype=np.float32)
        labels[::2] = 1
        labels = labels.reshape((1, 1, 2 * height, width))
        self.seen.append((self._key, len(gt_boxes), tuple(im_info[:2] / self._stride), (height, width)))
        top[0].reshape(*labels.shape)
        top[0].data[...] = labels

    def backward(self, top, propagate_down, bottom):
        pass

    def reshape(self, bottom, top):
        pass


@pytest.fixture
def solver(tmp_path, monkeypatch):
    """A solver of the net above, with its data."""
    module = types.ModuleType("rcnn_style")
    module.Minibatches, module.Labels = Minibatches, Labels
    monkeypatch.setitem(sys.modules, "rcnn_style", module)
    monkeypatch.setattr(Labels, "seen", [])
    (tmp_path / "train.pt").write_text(NET)
    (tmp_path / "solver.pt").write_text(SOLVER.format(tmp_path / "train.pt"))
    caffe.set_random_seed(3)
    made = caffe.SGDSolver(str(tmp_path / "solver.pt"))
    made.net.layers[0].set_roidb(SIZES)
    return made


def test_tops_take_other_shapes_in_every_pass(solver):
    for step, (height, width) in enumerate(SIZES, 1):
        solver.step(1)
        assert solver.iter == step
        blobs = solver.net.blobs
        assert blobs["data"].data.shape == (1, 3, height, width) and np.all(blobs["data"].data == step)
        assert blobs["gt_boxes"].data.shape == (step, 5)
        assert blobs["labels"].data.shape == (1, 1, height, width // 2)
        assert np.array_equal(blobs["labels"].data.ravel()[:4], [1, -1, 1, -1])
        assert Labels.seen[-1] == ("TRAIN", step, (height / 2, width / 2), (height // 2, width // 2))
        assert np.isfinite(blobs["loss"].data) and blobs["score"].diff.any()


def test_weights_are_changed_for_a_snapshot_and_changed_back(solver, tmp_path):
    solver.step(1)
    net, stds = solver.net, np.array([1, 2, 3, 4.0])
    original = net.params["score"][0].data.copy(), net.params["score"][1].data.copy()
    net.params["score"][0].data[...] = net.params["score"][0].data * stds[:, np.newaxis, np.newaxis, np.newaxis]
    net.params["score"][1].data[...] = net.params["score"][1].data * stds + 0.5
    net.save(str(tmp_path / "snapshot.caffemodel"))
    net.params["score"][0].data[...], net.params["score"][1].data[...] = original
    saved = caffe.Net(str(tmp_path / "train.pt"), str(tmp_path / "snapshot.caffemodel"), caffe.TEST)
    np.testing.assert_allclose(saved.params["score"][1].data, original[1] * stds + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(net.params["score"][1].data, original[1])


def test_images_are_given_to_a_test_net_by_name(solver, tmp_path):
    score = "layer {" + NET.split("layer {")[2]
    (tmp_path / "test.pt").write_text('input: "data" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 4 ' + score)
    net = caffe.Net(str(tmp_path / "test.pt"), caffe.TEST)
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 6))
    net.blobs["data"].reshape(*(image.shape))
    scores = net.forward(data=image.astype(np.float32, copy=False))["score"]
    assert scores.shape == (1, 4, 4, 3) and np.array_equal(scores, net.blobs["score"].data)
