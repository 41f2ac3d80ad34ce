"""tools/export_detector.py: onnxruntime's detections equal ours for images of several sizes; errors are reported."""
import builtins
import json
import re

import cv2
import numpy as np
import pytest
from test_mistakes import load_tool

import caffe
from fast_rcnn.config import cfg, reset_cfg
from fast_rcnn.test import DetectionSettings, detections_per_class, im_detect
from net_definitions import model_files
from onnx_export.detector import ExportSettings, export_detector
from utils.blob import image_pyramid
from utils.images import prepare_pyramid
from utils.other_caffe import free_intermediates

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
pytestmark = pytest.mark.usefixtures("default_settings")

CLASSES = ["__background__", "cat", "dog"]
SETTINGS = ["TEST.HAS_RPN", "True", "TEST.SCALES", "(120,)", "TEST.MAX_SIZE", "180", "TEST.RPN_MIN_SIZE", "8",
            "TEST.RPN_PRE_NMS_TOP_N", "150", "TEST.RPN_POST_NMS_TOP_N", "40", "PIXEL_STDS", "[[[57., 58., 59.]]]"]


@pytest.fixture
def run(capsys):
    """Runs the tool in this process with default settings; returns its exit status and output."""
    def call(*words):
        reset_cfg()
        status = load_tool("export_detector").main([str(word) for word in words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out + printed.err
    return call


@pytest.fixture
def detector(tmp_path):
    """Writes a Tiny detector with random weights; returns its command line options."""
    def write(change=lambda text: text):
        net, weights = tmp_path / "test.pt", tmp_path / "model.caffemodel"
        net.write_text(change(model_files("Tiny", 3)["Tiny/faster_rcnn_alt_opt/faster_rcnn_test.pt"]))
        made, rng = caffe.Net(str(net), caffe.TEST), np.random.default_rng(5)
        for name, (weight, bias) in made.params.items():
            size = {"rpn_bbox_pred": 0.05, "bbox_pred": 0.05, "shared_boxes": 0.05, "rpn_cls_score": 0.5,
                    "cls_score": 0.5}.get(name, 1)
            weight.data[...] = size * rng.standard_normal(weight.shape) * np.sqrt(2 / weight.data[0].size)
            bias.data[...] = 0.1 * rng.standard_normal(bias.shape)
        made.save(str(weights))
        return ["--def", net, "--net", weights, "--classes", *CLASSES[1:]]
    return write


def image(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check(path, words, images, thresh=0.05, most=100):
    """Compare the model's detections with ours; returns the number of detections in each image."""
    settings, session, counts = DetectionSettings.from_cfg(cfg), session_of(path), []
    net = caffe.Net(str(words[1]), caffe.TEST, weights=str(words[3]))
    for im in images:
        per_class = detections_per_class(*im_detect(net, im, settings=settings), len(CLASSES), thresh, settings.nms,
                                         most)
        wanted = np.concatenate([np.column_stack([dets, np.full(len(dets), label)])
                                 for label, dets in enumerate(per_class)])
        boxes, scores, labels = session.run(["boxes", "scores", "labels"], inputs(session, im, settings))
        assert boxes.dtype == scores.dtype == np.float32 and labels.dtype == np.int64
        assert np.all(np.diff(scores) <= 0)
        differs = np.abs(boxes - wanted[:, None, :4]).max(2, initial=0) + 1000 * (labels != wanted[:, None, 5])
        nearest = differs.argmin(1)
        assert sorted(nearest) == list(range(len(boxes)))       # a one-to-one match
        np.testing.assert_allclose(boxes[nearest], wanted[:, :4], atol=0.01)
        np.testing.assert_allclose(scores[nearest], wanted[:, 4], atol=1e-4)
        counts.append(len(wanted))
    return counts


def inputs(session, im, settings):
    if [value.name for value in session.get_inputs()] == ["image"]:
        return {"image": im}
    data, scales = prepare_pyramid(im, settings.images)
    return {"data": data, "im_info": np.array([[*data.shape[2:], scales[0]]], np.float32),
            "image_size": np.array(im.shape[:2], np.float32)}


IMAGES = [image(96, 130), image(240, 200, 1), image(60, 300, 2), image(120, 120, 3)]


@pytest.mark.parametrize("option", ["--preprocess", "--num_dets=7"])
def test_one_model_for_images_of_any_size(option, run, detector, tmp_path):
    words = detector()
    status, text = run(*words, option, "--output", tmp_path / "m.onnx", "--set", *SETTINGS)
    assert status == 0 and f"Wrote {tmp_path}/m.onnx: inputs " in text and "outputs boxes, scores, labels" in text
    assert min(check(tmp_path / "m.onnx", words, IMAGES, most=7 if "num_dets" in option else 100)) > 5


@pytest.mark.parametrize("settings", [
    ["TEST.RPN_MIN_SIZE", "500"],                                       # no proposal is large enough
    ["TEST.RPN_PRE_NMS_TOP_N", "0", "TEST.RPN_NMS_THRESH", "0.3", "TEST.NMS", "0"],
    ["TEST.BBOX_REG", "False"], ["TEST.SVM", "True"]], ids=["no proposals", "limits", "no regression", "svm"])
def test_other_settings(settings, run, detector, tmp_path):
    words = detector()
    thresh = "-100" if "TEST.SVM" in settings else "0.05"
    status, text = run(*words, f"--thresh={thresh}", "--num_dets=0", "--output", tmp_path / "m.onnx", "--set",
                       *SETTINGS, *settings)
    assert status == 0, text
    assert min(check(tmp_path / "m.onnx", words, IMAGES[:2], float(thresh), 0)) > 0


def shared_boxes(text):
    return text.replace('name: "bbox_pred"', 'name: "shared_boxes"').replace("num_output: 12 }", "num_output: 8 }")


def test_boxes_that_classes_share(run, detector, tmp_path):
    words = detector(shared_boxes)
    assert run(*words, "--preprocess", "--output", tmp_path / "m.onnx", "--set", *SETTINGS)[0] == 0
    assert min(check(tmp_path / "m.onnx", words, IMAGES[:2])) > 5


def native_proposals(text):
    """The net with PVANET's C++ proposal layer instead, configured like `SETTINGS`."""
    param = """proposal_param { scale: 2 scale: 4 scale: 8 ratio: 0.5 ratio: 1 ratio: 2 min_size: 8
        pre_nms_topn: 150 post_nms_topn: 40 }"""
    changed = re.sub(r'type: "Python"(.*?)python_param \{[^{}]*\}', rf'type: "Proposal"\1{param}', text, flags=re.S)
    assert changed != text
    return changed


def test_proposals_of_a_layer_of_caffe(run, detector, tmp_path):
    words = detector()
    status, _ = run(*words, "--preprocess", "--output", tmp_path / "python.onnx", "--set", *SETTINGS)
    assert status == 0 and min(check(tmp_path / "python.onnx", words, IMAGES[:2])) > 5
    words[1].write_text(native_proposals(words[1].read_text()))
    assert min(check(tmp_path / "python.onnx", words, IMAGES[:2])) > 5        # both layers propose the same boxes
    status, text = run(*words, "--preprocess", "--output", tmp_path / "native.onnx", "--set", *SETTINGS)
    assert status == 0, text
    assert min(check(tmp_path / "native.onnx", words, IMAGES[:2])) > 5


def test_a_net_in_use(run, detector, tmp_path):
    """Exporting does not change a net that has run and freed its blobs."""
    words = detector()
    run(*words, "--set", *SETTINGS)
    net = free_intermediates(caffe.Net(str(words[1]), caffe.TEST, weights=str(words[3])), keep=["rois"])
    settings = DetectionSettings.from_cfg(cfg)
    before = im_detect(net, IMAGES[0], settings=settings)
    export_detector(net, tmp_path / "m.onnx", CLASSES, settings, ExportSettings(preprocess=True))
    for array, same in zip(before, im_detect(net, IMAGES[0], settings=settings), strict=True):
        np.testing.assert_array_equal(array, same)
    assert min(check(tmp_path / "m.onnx", words, IMAGES[:2])) > 5


def test_the_pixels_of_a_prepared_image(run, detector, tmp_path):
    """The exported preprocessing equals ours, apart from cv2's rounding."""
    words = detector()
    run(*words, "--preprocess", "--output", tmp_path / "m.onnx", "--set", *SETTINGS)
    model = onnx.load(str(tmp_path / "m.onnx"))
    [data] = [node.input[0] for node in model.graph.node if node.op_type == "Conv"][:1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(data, onnx.TensorProto.FLOAT, None))
    onnx.save_model(model, str(tmp_path / "data.onnx"))
    session = session_of(tmp_path / "data.onnx")
    for im in (*IMAGES, image(33, 47, 4)):
        want = image_pyramid(im, cfg.PIXEL_MEANS, [120], 180, cfg.PIXEL_STDS)[0]
        found = session.run([data], {"image": im})[0]
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, atol=5e-4)      # 0.03 grey levels: cv2's rounding depends on its build


def test_the_record_becomes_metadata(run, detector, tmp_path):
    words = detector()
    assert run(*words, "--thresh", "0.3", "--set", *SETTINGS)[0] == 0
    model = onnx.load(str(tmp_path / "model.onnx"))       # next to the weights
    assert [value.name for value in model.graph.input] == ["image_size", "data", "im_info"]
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert "subtract pixel_means" in found.pop("preprocessing")
    assert json.loads(found.pop("settings"))["TEST"]["RPN_PRE_NMS_TOP_N"] == 150
    assert {key: json.loads(value) for key, value in found.items()} == {
        "classes": CLASSES, "nms": 0.3, "thresh": 0.3, "max_per_image": 100, "preprocess": False,
        "inputs": {"scale": 120, "max_size": 180, "pixel_means": cfg.PIXEL_MEANS.ravel().tolist(),
                   "pixel_stds": [57, 58, 59], "channels": "BGR"}}


# ---- what is refused
def test_mistakes_end_in_one_message(run, detector, tmp_path):
    words = detector()
    taken = tmp_path / "photo.png"
    taken.write_text("mine")
    for more, message in ((["--opset", "30"], "opset: expected 18 to 21, found 30"),
                          (["--output", taken], "is there already, and its name is not that of an ONNX model")):
        status, text = run(*words, *more, "--set", *SETTINGS)
        assert status == 2 and message in text
    assert taken.read_text() == "mine"
    status, text = run(*words[:4], "--set", *SETTINGS)
    assert status == 2 and "class names of the net are unknown: --classes" in text
    assert not list(tmp_path.glob("*.onnx"))


def test_a_python_layer_of_the_user_is_named(run, detector, tmp_path, monkeypatch):
    (tmp_path / "doubling.py").write_text("import caffe\nclass Doubling(caffe.Layer):\n"
                                          "    def setup(self, bottom, top): pass\n"
                                          "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
                                          "    def forward(self, bottom, top): top[0].data[...] = bottom[0].data\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = detector(lambda text: text.replace('layer { name: "cls_prob"', 'layer { name: "mine" type: "Python" '
                     'bottom: "fc7" top: "fc7b" python_param { module: "doubling" layer: "Doubling" } }\n'
                     'layer { name: "cls_prob"'))
    status, text = run(*words, "--set", *SETTINGS)
    assert status == 2 and "layer 'mine' (Python): its code is not ours; a method `to_onnx(self, step)`" in text


def test_a_net_that_reads_proposals(run, detector, tmp_path):
    words = detector()
    rois = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }'
    words[1].write_text(re.sub(r'layer \{[^{}]*name: "proposal".*?\n\}', rois, words[1].read_text(), flags=re.DOTALL))
    status, text = run(*words, "--set", *SETTINGS)
    assert status == 2 and "test.pt: has no RPN, so the model would need proposals for each image" in text


def test_a_missing_package(run, detector, monkeypatch):
    words = detector()
    original = builtins.__import__

    def without_onnx(name, *args, **options):
        if name == "onnx":
            raise ImportError("no onnx")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    status, text = run(*words, "--set", *SETTINGS)
    assert status == 2 and text.splitlines()[-1].endswith("needs the package onnx: pip install onnx")


def test_another_caffe(run, detector, monkeypatch):
    words = detector()
    monkeypatch.delattr(caffe, "to_onnx")
    status, text = run(*words, "--set", *SETTINGS)
    assert status == 2 and text.splitlines()[-1] == "error: this Caffe does not export to ONNX"


def test_proposals_of_several_images(detector, tmp_path):
    words = detector()
    net = caffe.Net(str(words[1]), caffe.TEST)
    with pytest.raises(ValueError, match=r"layer 'proposal' \(Python\): it is exported for a batch of one image"):
        caffe.to_onnx(net, tmp_path / "m.onnx", {"data": ("batch", 3, 120, 120), "im_info": ("batch", 3)})
