"""Metrics of models during training."""
from pathlib import Path

import numpy as np
import pytest
from train_faster_rcnn_alt_opt import parser

import caffe
from commands.data_set import find_validation_set
from commands.options import check_validation_options
from commands.validation import DetectionMeasure, RecallMeasure, write_net_on_rois, write_proposals
from datasets.demo_scenes import make_demo_dataset
from datasets.factory import get_imdb
from fast_rcnn.config import cfg
from net_definitions import model_files
from utils.errors import UserError

CLASSES = ("__background__", "ball", "brick", "ring", "star")
pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Folder of Tiny's nets for five classes, and random weights of its detector."""
    folder = tmp_path_factory.mktemp("nets")
    for name, text in model_files("Tiny", 5, folder=str(folder)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    folder /= "Tiny/faster_rcnn_alt_opt"
    caffe.set_mode_cpu()
    caffe.set_random_seed(1)
    caffe.Net(str(folder / "faster_rcnn_test.pt"), caffe.TEST).save(str(folder / "w.caffemodel"))
    return folder


@pytest.fixture
def settings():
    cfg.TEST.update(SCALES=(96,), MAX_SIZE=160, HAS_RPN=False, RPN_POST_NMS_TOP_N=20, RPN_MIN_SIZE=2)
    cfg.NUM_WORKERS = 0


def forward(net, **blobs):
    for name, values in blobs.items():
        net.blobs[name].reshape(*values.shape)
    return net.forward(**blobs)


def legacy(text):
    """The prototxt with its inputs as fields of the net, as in older files."""
    for name, dims in (("data", "1, 3, 224, 224"), ("im_info", "1, 3, 1, 1")):
        start = text.index(f'layer {{\n  name: "{name}"')
        end = text.index("\n}", start) + 2
        fields = "".join(f" input_dim: {dim}" for dim in dims.split(", "))
        text = f'input: "{name}"{fields}\n{text[:start]}{text[end:]}'
    return text


def one_input_layer(text):
    """The prototxt with one Input layer for all inputs, into which BVLC's tools convert older files."""
    first, end = text.index("layer {"), text.index("\n}", text.index('name: "im_info"')) + 2
    shapes = "shape { dim: 1 dim: 3 dim: 224 dim: 224 } shape { dim: 1 dim: 3 }"
    layer = f'layer {{ name: "input" type: "Input" top: "data" top: "im_info" input_param {{ {shapes} }} }}'
    return f"{text[:first]}{layer}{text[end:]}"


@pytest.mark.parametrize("change", [lambda text: text, legacy, one_input_layer])
def test_a_net_on_rois_gives_the_scores_of_its_detector(nets, tmp_path, change):
    detector = tmp_path / "test.pt"
    detector.write_text(change((nets / "faster_rcnn_test.pt").read_text()))
    whole = caffe.Net(str(detector), caffe.TEST, weights=str(nets / "w.caffemodel"))
    data = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    scores = forward(whole, data=data, im_info=np.array([[64, 96, 1]], np.float32))["cls_prob"].copy()
    rois = whole.blobs["rois"].data.copy()
    part = caffe.Net(str(write_net_on_rois(detector, tmp_path / "rois.pt")), caffe.TEST,
                     weights=str(nets / "w.caffemodel"))
    assert set(part.inputs) == {"data", "rois"} and not any("rpn" in name for name in part.params)
    np.testing.assert_array_equal(forward(part, data=data, rois=rois)["cls_prob"], scores)


def test_metrics_of_detections_and_proposals(nets, tmp_path, demo_data, settings):
    imdb, weights = get_imdb(f"{demo_data}:test", CLASSES), nets / "w.caffemodel"
    recall = RecallMeasure(nets / "rpn_test.pt", imdb)(weights)
    assert list(recall) == ["AR", "recall"] and 0 <= recall["AR"] <= recall["recall"] <= 1
    proposals = write_proposals(nets / "rpn_test.pt", weights, imdb, tmp_path / "proposals.npz")
    net = write_net_on_rois(nets / "faster_rcnn_test.pt", tmp_path / "test.pt")
    measure = DetectionMeasure(net, imdb, CLASSES, tmp_path / "out", proposals)
    first = measure(weights)
    assert list(first) == ["AP50", "AP"] and first == measure(weights)
    assert [picture.shape for picture in measure.pictures()] == [(240, 320, 3)] * 2
    assert cfg.TEST.HAS_RPN is False


def test_a_validation_set_without_objects_of_the_classes_is_refused(tmp_path):
    data = make_demo_dataset(tmp_path / "demo", num_train=1, num_test=1)
    with pytest.raises(UserError, match="--val_imdb .*: none of its objects has a class of the detector"):
        find_validation_set(f"{data}:test", ("__background__", "cat"))
    for file in Path(data, "Annotations").iterdir():
        text = file.read_text()
        file.write_text(text[:text.index("<object>")] + "</annotation>" if "<object>" in text else text)
    with pytest.raises(UserError, match="--val_imdb .*: has no annotated object"):
        find_validation_set(f"{data}:test", CLASSES)


def test_options_of_validation_need_a_data_set():
    with pytest.raises(UserError, match="--val_every and --patience: there is no data set to validate on"):
        check_validation_options(parser().parse_args(["--val_every", "5", "--patience", "2"]))
    check_validation_options(parser().parse_args(["--val_imdb", "x", "--patience", "2"]))
