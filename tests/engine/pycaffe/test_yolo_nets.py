"""YOLO nets: the same numbers as cv2.dnn's Darknet layers, and a whole net of the published layers as ONNX."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

CLASSES, BOXES, SIDE = 3, 3, 6
BIASES = [10, 14, 23, 27, 37, 58]
CHANNELS = BOXES * (5 + CLASSES)
DARKNET = {
    "": "[region]\nsoftmax=1\nbias_match=1\ncoords=4",
    "v3": "[yolo]\nmask=0,1,2\nnms_threshold=0",
}
SETTINGS = {"": "", "v3": "mask_group_num: 1 mask: 0 mask: 1 mask: 2 anchors_scale: 1"}


def net_of(text):
    return caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST)


def boxes_of_opencv(version, value):
    """Rows of x, y, w, h, objectness, and class scores, which are 0 if too low or suppressed."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("this OpenCV does not read Darknet's nets")
    cfg = (f"[net]\nwidth={SIDE}\nheight={SIDE}\nchannels={CHANNELS}\n{DARKNET[version]}\nclasses={CLASSES}\n"
           f"num={BOXES}\nthresh=0.1\nanchors={','.join(map(str, BIASES))}\n")
    net = cv2.dnn.readNetFromDarknet(np.frombuffer(cfg.encode(), np.uint8))
    net.setInput(value)
    return net.forward()


@pytest.mark.parametrize("version, share", [("", 0.6), ("v3", 1)])
def test_boxes_and_scores_of_opencv(version, share):
    """Compares boxes whose best class OpenCV keeps: for YOLO v2 it applies NMS within each class."""
    value = 1.5 * np.random.default_rng(0).standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)
    wanted = boxes_of_opencv(version, value)
    biases = " ".join(f"biases: {size}" for size in BIASES)
    net = net_of(f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: {CHANNELS} dim: {SIDE}
          dim: {SIDE} }} }} }}
        layer {{ name: "out" type: "Yolo{version}DetectionOutput" bottom: "x" top: "out"
          yolo{version}_detection_output_param {{ num_classes: {CLASSES} num_box: {BOXES} {biases} {SETTINGS[version]}
            confidence_threshold: 0.1 nms_threshold: 1 }} }}""")
    net.blobs["x"].data[...] = value
    found, matched = net.forward()["out"][0, 0], 0
    for x, y, width, height, _, *scores in wanted:
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        (place,) = np.nonzero(np.abs(found[:, 3:] - corners).max(1) < 1e-5)
        if place.size and scores[int(found[place[0], 1]) - 1]:
            np.testing.assert_allclose(found[place[0], 2], max(scores), rtol=1e-5)
            matched += 1
    assert matched >= share * len(found) > 50


NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 8 kernel_size: 3
  pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU6" bottom: "conv" top: "conv" }
layer { name: "deep" type: "DepthwiseConvolution" bottom: "conv" top: "deep" convolution_param { num_output: 8 group: 8
  kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "reorg" type: "Reorg" bottom: "conv" top: "reorg" reorg_param { stride: 2 } }
layer { name: "both" type: "Concat" bottom: "deep" bottom: "reorg" top: "both" }
layer { name: "coarse" type: "Convolution" bottom: "both" top: "coarse" convolution_param { num_output: 16
  kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "up" type: "Upsample" bottom: "coarse" top: "up" upsample_param { scale: 2 } }
layer { name: "fine" type: "Convolution" bottom: "up" top: "fine" convolution_param { num_output: 16 kernel_size: 3
  pad: 1 weight_filler { type: "msra" } } }
layer { name: "detection_out" type: "Yolov3DetectionOutput" bottom: "coarse" bottom: "fine" top: "detection_out"
  include { phase: TEST }
  yolov3_detection_output_param { num_classes: 3 num_box: 2 confidence_threshold: 0.2 nms_threshold: 0.45
    biases: 4 biases: 5 biases: 8 biases: 6 biases: 12 biases: 9 biases: 20 biases: 14
    anchors_scale: 8 anchors_scale: 4 mask_group_num: 2 mask: 2 mask: 3 mask: 0 mask: 1 } }
"""


def test_a_whole_net_and_its_onnx_model(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx_runs import check
    caffe.set_random_seed(1)
    net = net_of(NET)
    net.blobs["data"].data[...] = np.random.default_rng(2).standard_normal((1, 3, 32, 32))
    found = net.forward()["detection_out"]
    assert found.shape[:2] == (1, 1) and found.shape[2] > 5 and set(found[0, 0, :, 1]) <= {1, 2, 3}
    check(net, tmp_path / "net.onnx")


# ---- training
STEP = 8
TRUNK = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 8 kernel_size: 3
  pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2" convolution_param { num_output: 16 kernel_size: 3
  pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "conv3" type: "Convolution" bottom: "conv2" top: "conv3" convolution_param { num_output: 24 kernel_size: 5
  pad: 2 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu3" type: "ReLU" bottom: "conv3" top: "conv3" }
layer { name: "map" type: "Convolution" bottom: "conv3" top: "map" convolution_param { num_output: 14 kernel_size: 1
  weight_filler { type: "gaussian" std: 0.01 } } }
"""
BOXES_OF_MAP = "biases: 14 biases: 14 biases: 24 biases: 12 mask: 0 mask: 1"
TRAIN = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
  data_param { source: "%s" batch_size: 4 backend: LMDB }
  annotated_data_param { yolo_data_type: 1 yolo_data_jitter: 0.1 batch_sampler { max_sample: 1 max_trials: 1 } }
  transform_param { scale: 0.0078 mean_value: 127.5 mirror: true emit_constraint { emit_type: CENTER }
    resize_param { prob: 0.5 resize_mode: WARP height: 64 width: 64 interp_mode: LINEAR interp_mode: AREA }
    resize_param { prob: 0.5 resize_mode: WARP height: 72 width: 72 } } }
""" + TRUNK + """
layer { name: "loss" type: "Yolov3" bottom: "map" bottom: "label" top: "loss" loss_weight: 1 yolov3_param {
  side: 13 num_class: 2 num: 2 thresh: 0.6 anchors_scale: %d use_logic_gradient: false %s } }
"""


def scene(rng):
    """An image of 64 x 64 pixels with a square or a bar, its class (1 or 2), and its box in pixels."""
    image, label = np.full((3, 64, 64), 40, np.uint8), int(rng.integers(1, 3))
    width, height = (14, 14) if label == 1 else (24, 12)
    x, y = rng.integers(0, [64 - width, 64 - height])
    image[:, y:y + height, x:x + width] = rng.integers(150, 255)
    return image, label, np.array([x, y, x + width, y + height])


@pytest.mark.slow
def test_a_net_of_yolo_v3_learns_to_detect(tmp_path):
    lmdb, rng = pytest.importorskip("lmdb"), np.random.default_rng(0)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 24) as environment, \
            environment.begin(write=True) as transaction:
        for number in range(60):
            image, label, box = scene(rng)
            record = caffe_pb2.AnnotatedDatum(type=0, datum=caffe_pb2.Datum(channels=3, height=64, width=64,
                                                                            data=image.tobytes()))
            corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (box / 64).tolist(), strict=True))
            record.annotation_group.add(group_label=label).annotation.add(bbox=corners)
            transaction.put(b"%03d" % number, record.SerializeToString())
    (tmp_path / "train.prototxt").write_text(TRAIN % (tmp_path / "db", STEP, BOXES_OF_MAP))
    solver = caffe.get_solver(caffe_pb2.SolverParameter(
        train_net=str(tmp_path / "train.prototxt"), type="Adam", base_lr=0.004, lr_policy="step", gamma=0.1,
        stepsize=320, momentum=0.9, max_iter=400, random_seed=3, display=0, snapshot_prefix=str(tmp_path / "yolo")))
    losses = []
    for _ in range(400):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    assert np.mean(losses[-40:]) < np.mean(losses[:10]) / 5
    net = net_of(f"""
        layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: [1, 3, 64, 64] }} }} }} {TRUNK}
        layer {{ name: "out" type: "Yolov3DetectionOutput" bottom: "map" top: "out"
          yolov3_detection_output_param {{ num_classes: 2 num_box: 2 mask_group_num: 1 anchors_scale: {STEP}
            {BOXES_OF_MAP} confidence_threshold: 0.3 }} }}""")
    net.share_with(solver.net)
    right = 0
    for _ in range(20):
        image, label, box = scene(rng)
        net.blobs["data"].data[0] = (image - np.float32(127.5)) * np.float32(0.0078)
        best = max(net.forward()["out"][0, 0], key=lambda row: row[2])
        right += best[1] == label and np.abs(best[3:] * 64 - box).max() < 4
    assert right >= 15
