"""Whole SSD deploy nets: their detections equal those of cv2.dnn and of the ONNX model."""
import numpy as np
import pytest
import ssd_nets

import caffe

MEAN = np.array([104, 117, 123], np.float32)[:, None, None]     # of VGG16, BGR


def net_with_weights(text, images, folder):
    """The net with random weights, also saved in net.caffemodel, scaled so that offsets and scores are of unit size."""
    (folder / "net.prototxt").write_text(text)
    caffe.set_random_seed(3)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    net.blobs["data"].data[...] = images
    net.forward()
    for name, (weights, *_) in net.params.items():
        if name.endswith(("_loc", "_conf")):
            weights.data[...] *= (2 if name.endswith("_conf") else 1) / net.blobs[name].data.std()
    net.save(str(folder / "net.caffemodel"))
    return net


def small_net(folder, **settings):
    images = np.random.default_rng(0).standard_normal((2, 3, 48, 64))
    return net_with_weights(ssd_nets.small(**settings), images, folder)


def detections_of_opencv(net, folder):
    """The detections of cv2.dnn for the same image, which it sorts by score."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV from 5 on does not read Caffe's nets")
    other = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    other.setInput(net.blobs["data"].data)
    return other.forward("detection_out")[0, 0]


def in_one_order(rows):
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))]


def same_detections(net, folder):
    found, wanted = net.forward()["detection_out"][0, 0], detections_of_opencv(net, folder)
    wanted = wanted[wanted[:, 2] > 0]       # OpenCV pads with rows of 0
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found, in_one_order(wanted), rtol=1e-5, atol=1e-5)
    return found


def test_a_small_net_detects_what_opencv_does(tmp_path):
    found = same_detections(small_net(tmp_path), tmp_path)
    assert set(found[:, 0]) == {0, 1} and set(found[:, 1]) == {1, 2, 3} and len(found) > 60


@pytest.mark.slow
def test_vgg16_ssd300_detects_what_opencv_does(tmp_path, shared_data):
    image = caffe.io.load_image(str(next(iter(sorted(shared_data.rglob("*.jpg"))))))
    image = caffe.io.resize_image(image, (300, 300))[..., ::-1].transpose(2, 0, 1) * 255
    net = net_with_weights(ssd_nets.vgg16_300(), image - MEAN, tmp_path)
    assert net.blobs["mbox_priorbox"].shape == (1, 2, 4 * 8732)
    assert len(same_detections(net, tmp_path)) == 200


@pytest.mark.slow
def test_a_small_net_detects_what_it_has_learned(tmp_path):
    objects = np.array([[0, 1, 0, 0.1, 0.2, 0.4, 0.7, 0], [0, 3, 0, 0.6, 0.5, 0.8, 0.9, 0],
                        [1, 2, 0, 0.3, 0.1, 0.9, 0.6, 0]])
    (tmp_path / "train.prototxt").write_text(ssd_nets.small_train(len(objects)))
    (tmp_path / "solver.prototxt").write_text(
        f'train_net: "{tmp_path}/train.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "fixed" random_seed: 1')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    images = np.random.default_rng(0).standard_normal((2, 3, 48, 64))
    solver.net.blobs["data"].data[...], solver.net.blobs["label"].data[...] = images, objects
    solver.step(40)
    solver.net.save(str(tmp_path / "net.caffemodel"))
    (tmp_path / "net.prototxt").write_text(ssd_nets.small(0.5))
    net = caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"), caffe.TEST)
    found = net.forward(data=images)["detection_out"][0, 0]
    assert found[:, :2].tolist() == objects[:, :2].tolist()
    np.testing.assert_allclose(found[:, 3:], objects[:, 3:7], atol=0.1)


def test_a_small_train_net_as_a_torch_module(tmp_path):
    (tmp_path / "train.prototxt").write_text(ssd_nets.small_train(2))
    net = caffe.Net(str(tmp_path / "train.prototxt"), caffe.TRAIN)
    net.blobs["data"].data[...] = np.random.default_rng(0).standard_normal((2, 3, 48, 64))
    net.blobs["label"].data[...] = [[0, 1, 0, 0.1, 0.2, 0.4, 0.7, 0], [1, 3, 0, 0.6, 0.5, 0.8, 0.9, 0]]
    module = caffe.to_torch(net)
    found = module(*(net.blobs[name].tensor for name in net.inputs))
    found.backward()
    np.testing.assert_allclose(found.detach(), net.forward()["mbox_loss"], rtol=1e-5)
    net.backward()
    for name in ("conv1", "conv4_mbox_loc", "conv2_norm_mbox_conf"):
        found, wanted = module.get_submodule(name).weight.grad, net.params[name][0].diff
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_a_small_net_becomes_one_onnx_model(tmp_path):
    pytest.importorskip("onnxruntime")
    from onnx_runs import check
    check(small_net(tmp_path), tmp_path / "net.onnx")
    check(small_net(tmp_path, least_score=2), tmp_path / "net.onnx")


def test_a_small_net_becomes_a_torch_module(tmp_path):
    net = small_net(tmp_path)
    found = caffe.to_torch(net)(*(net.blobs[name].tensor for name in net.inputs))
    np.testing.assert_array_equal(found, net.forward()["detection_out"])
