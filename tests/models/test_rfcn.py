"""R-FCN with and without hard example mining, in nets like py-R-FCN's: training, resuming, detecting, checks."""

import cv2
import numpy as np
import pytest
from rfcn_nets import BINS, HEAD, write_rfcn
from stopping import StopIn

import caffe
from checks.nets import check_test_net, check_train_net
from datasets.demo_scenes import CLASSES, make_scene
from datasets.roidb import objects_entry
from fast_rcnn.bbox_transform import bbox_transform_inv
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, cfg_from_list, reset_cfg
from fast_rcnn.hooks import Hook, TrainingStopped
from fast_rcnn.test import DetectionSettings, detections_per_class, im_detect
from fast_rcnn.train import train_net
from onnx_export.detector import ExportSettings, export_detector

NUM_CLASSES = 1 + len(CLASSES)
SOLVER = ('train_net: "train.pt" base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 '
          'snapshot_prefix: "rfcn"')
# Settings of py-R-FCN's experiments/cfgs/rfcn_end2end_ohem.yml, with small images
SETTINGS = """TRAIN.HAS_RPN True TRAIN.IMS_PER_BATCH 1 TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED True
    TRAIN.PROPOSAL_METHOD gt TRAIN.BG_THRESH_LO 0.0 TRAIN.BATCH_SIZE -1 TRAIN.AGNOSTIC True
    TRAIN.RPN_PRE_NMS_TOP_N 6000 TRAIN.RPN_POST_NMS_TOP_N 24 TEST.HAS_RPN True TEST.AGNOSTIC True
    TRAIN.SCALES (96,) TEST.SCALES (96,) TRAIN.RPN_MIN_SIZE 6 TEST.RPN_MIN_SIZE 6 NUM_WORKERS 0""".split()


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    reset_cfg()
    cfg_from_list(SETTINGS)
    cfg.PIXEL_STDS = np.full((1, 1, 3), 60.0)
    caffe.set_mode_cpu()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver.pt").write_text(SOLVER)
    yield
    reset_cfg()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """The roidb of two demo images."""
    folder, rng, entries = tmp_path_factory.mktemp("scenes"), np.random.default_rng(4), []
    for number in range(2):
        image, objects = make_scene(rng)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        boxes = [item["box"] for item in objects]
        labels = [1 + CLASSES.index(item["name"]) for item in objects]
        entries.append({**objects_entry(boxes, labels), "image": str(folder / f"{number}.png"),
                        "width": image.shape[1], "height": image.shape[0]})
    return entries


@pytest.fixture
def roidb(scenes):
    return [dict(entry) for entry in scenes]


@pytest.fixture
def write(tiny, tmp_path):
    def write(**options):
        write_rfcn(tmp_path, tiny, NUM_CLASSES, **options)
    return write


def train(roidb, name="out", iterations=20, **options):
    caffe.set_random_seed(cfg.RNG_SEED)
    return train_net("solver.pt", roidb, name, max_iters=iterations, **options)[-1]


def weights_of(model):
    net = caffe.Net("train.pt", caffe.TRAIN, weights=model)
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


class Losses(Hook):
    """Records the sum of the head's losses in each iteration."""

    def __init__(self):
        self.found = []

    def after_iteration(self, training):
        blobs = training.solver.net.blobs
        self.found.append(float(blobs["loss_cls"].data + blobs["loss_bbox"].data))


def forward(roidb):
    """The training net after a forward pass with scattered scores."""
    caffe.set_random_seed(3)
    net = caffe.Net("train.pt", caffe.TRAIN)
    net.layers[0].set_roidb(roidb)
    rng = np.random.default_rng(1)
    for name in HEAD[1:]:
        net.params[name][0].data[...] *= rng.uniform(0.5, 20, net.params[name][0].data.shape)
    net.clear_param_diffs()
    net.forward()
    return net


def hardest(net, count):
    """Rows with the highest losses of each image: cross entropy plus smooth L1, RoI by RoI; ties keep the order."""
    scores, pred, labels, target, inside, rois = (net.blobs[name].data.astype(np.float64) for name in (
        "cls_score", "bbox_pred", "labels", "bbox_targets", "bbox_inside_weights", "rois"))
    losses = []
    for row, label in enumerate(labels.astype(int)):
        values = scores[row].reshape(-1)
        error = np.abs(inside[row] * (pred[row].reshape(-1) - target[row]))
        losses.append(np.log(np.exp(values - values.max()).sum()) + values.max() - values[label]
                      + np.where(error < 1, error ** 2 / 2, error - 0.5).sum())
    kept = []
    for image in np.unique(rois[:, 0]):
        kept += sorted(np.flatnonzero(rois[:, 0] == image), key=lambda row: -losses[row])[:count]
    return sorted(kept)


@pytest.mark.parametrize("images, count", [(1, 8), (2, 5), (1, 500)])
def test_the_annotator_keeps_the_hardest_of_all_rois(images, count, roidb, write):
    cfg_from_list(["TRAIN.IMS_PER_BATCH", str(images)])
    write(count=count)
    net = forward(roidb)
    labels, kept = net.blobs["labels"].data, hardest(net, count)
    assert len(labels) == len(net.blobs["rpn_rois"].data) + len(net.blobs["gt_boxes"].data) and labels.max() > 1
    wanted, weights = np.full(len(labels), -1.0), np.zeros((len(labels), 8))
    wanted[kept], weights[kept] = labels[kept], net.blobs["bbox_inside_weights"].data[kept]
    np.testing.assert_array_equal(net.blobs["labels_ohem"].data.reshape(-1), wanted)
    np.testing.assert_array_equal(net.blobs["bbox_loss_weights_ohem"].data.reshape(-1, 8), weights)
    net.backward()
    of_rois = np.abs(net.blobs["cls_score"].diff).sum((1, 2, 3))
    assert np.flatnonzero(of_rois).tolist() == kept
    assert all(np.any(net.params[name][0].diff) for name in (*HEAD, "conv1_1", "rpn_conv/3x3"))
    for name in ("rois", "labels", "per_roi_loss", "bbox_targets", "temp_prob_cls"):
        assert not np.any(net.blobs[name].diff), name


@pytest.mark.parametrize("ohem", [True, False])
def test_training_on_demo_pictures(ohem, roidb, write):
    if not ohem:
        cfg_from_list(["TRAIN.BATCH_SIZE", "32"])
    write(ohem=ohem, count=16 if ohem else 32)
    assert check_train_net("train.pt", cfg.TRAIN, NUM_CLASSES) == check_test_net("test.pt", NUM_CLASSES) == []
    losses = Losses()
    model = train(roidb, hooks=[losses])
    assert len(losses.found) == 20 and np.mean(losses.found[-5:]) < 0.8 * np.mean(losses.found[:5])
    net = caffe.Net("test.pt", caffe.TEST, weights=model)
    scores, boxes = im_detect(net, cv2.imread(roidb[0]["image"]))
    assert scores.shape == (len(boxes), NUM_CLASSES) and boxes.shape == (len(boxes), 4 * NUM_CLASSES)
    np.testing.assert_array_equal(boxes, np.tile(boxes[:, :4], (1, NUM_CLASSES)))


def test_snapshots_predict_unnormalised_targets_and_are_normalised_again(roidb, write):
    write()
    cfg_from_list(["TRAIN.BBOX_NORMALIZE_MEANS", "(0.5, 0.0, -0.5, 0.0)", "TRAIN.BBOX_NORMALIZE_STDS", "(2, 3, 4, 5)"])
    caffe.set_random_seed(cfg.RNG_SEED)
    first = caffe.Net("train.pt", caffe.TRAIN).params["rfcn_bbox"]
    plain = caffe.Net("train.pt", caffe.TRAIN, weights=train(roidb, iterations=0)).params["rfcn_bbox"]
    stds, means = np.tile(np.repeat([2, 3, 4, 5], BINS ** 2), 2), np.tile(np.repeat([0.5, 0, -0.5, 0], BINS ** 2), 2)
    np.testing.assert_allclose(plain[0].data, first[0].data * stds[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(plain[1].data, first[1].data * stds + means, rtol=1e-6)
    again = weights_of(train(roidb, "again", iterations=0, pretrained_model="out/rfcn_iter_0.caffemodel"))
    for mine, theirs in zip(again, weights_of("out/rfcn_iter_0.caffemodel"), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_fine_tuning_for_other_classes_initialises_the_scores(roidb, write, tiny, tmp_path, capsys):
    write()
    model = train(roidb, iterations=0)
    write_rfcn(tmp_path, tiny, NUM_CLASSES + 2)
    train(roidb, "others", iterations=0, pretrained_model=model)
    text = capsys.readouterr().out
    assert "random: rfcn_cls; skipped, as shapes differ: rfcn_cls has 45 x 32 x 1 x 1 and 45 there, 63 x 32" in text


def test_a_run_of_a_class_aware_net_resumes_exactly(roidb, write, tmp_path):
    write(agnostic=False)
    cfg_from_list(["TRAIN.AGNOSTIC", "False"])
    assert check_train_net("train.pt", cfg.TRAIN, NUM_CLASSES) == check_test_net("test.pt", NUM_CLASSES) == []
    (tmp_path / "solver.pt").write_text(f"{SOLVER} iter_size: 2")
    straight = weights_of(train(roidb, "straight", 4))
    checkpoints = Checkpoints("checkpoints", "run")
    with pytest.raises(TrainingStopped, match="after iteration 2"):
        train(roidb, "stopped", 4, checkpoints=checkpoints, hooks=[StopIn(2)])
    resumed = weights_of(train(roidb, "stopped", 4, checkpoints=checkpoints, resume=True))
    for mine, theirs in zip(resumed, straight, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def detector(write, tmp_path):
    """A test net with random weights."""
    write()
    caffe.set_random_seed(3)
    net = caffe.Net("train.pt", caffe.TRAIN)
    for name, size in (("rfcn_cls", 20), ("rfcn_bbox", 10), ("rpn_cls_score", 20), ("rpn_bbox_pred", 5)):
        net.params[name][0].data[...] *= size
    net.save("random.caffemodel")
    cfg_from_list(["TEST.RPN_POST_NMS_TOP_N", "30"])
    return caffe.Net("test.pt", caffe.TEST, weights="random.caffemodel")


IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (120, 96))


def test_class_agnostic_boxes_are_those_of_the_foreground_columns(detector):
    _, boxes = im_detect(detector, IMAGE)
    rois, deltas = detector.blobs["rois"].data[:, 1:], detector.blobs["bbox_pred"].data[:, 4:]
    assert len(rois) == 30 and detector.blobs["bbox_pred"].data.std() > 0.01
    np.testing.assert_allclose(boxes[:, 4:8], np.clip(bbox_transform_inv(rois, deltas), 0, [119, 95, 119, 95]),
                               rtol=1e-4, atol=1e-2)


def test_an_onnx_model_detects_the_same(detector):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    settings = DetectionSettings.from_cfg(cfg)
    export_detector(detector, "rfcn.onnx", ["background", *CLASSES], settings, ExportSettings(0.2, preprocess=True))
    session = onnxruntime.InferenceSession("rfcn.onnx", providers=["CPUExecutionProvider"])
    boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"image": IMAGE})
    wanted = detections_per_class(*im_detect(detector, IMAGE, settings=settings), NUM_CLASSES, 0.2, settings.nms, 100)
    assert [len(dets) for dets in wanted] == np.bincount(labels, minlength=NUM_CLASSES).tolist() and len(labels) > 5
    for label, dets in enumerate(wanted):
        np.testing.assert_allclose(scores[labels == label], dets[:, 4], atol=1e-4)
        np.testing.assert_allclose(boxes[labels == label], dets[:, :4], atol=0.01)


@pytest.mark.parametrize("options, changes, message", [
    ({}, "TRAIN.AGNOSTIC False", "layer 'psroipooled_loc_rois': output_dim is 8, expected 20: the data set has 5 "
     "classes with the background. For boxes that classes share set TRAIN.AGNOSTIC to True"),
    ({}, "TRAIN.AGNOSTIC False", "layer 'roi-data': 'num_classes' in param_str is 2, but the data set has 5"),
    ({"agnostic": False}, "", "layer 'psroipooled_loc_rois': output_dim is 20, expected 8"),
])
def test_checks_before_training(options, changes, message, write):
    write(**options)
    cfg_from_list(changes.split())
    found = check_train_net("train.pt", cfg.TRAIN, NUM_CLASSES)
    assert any(message in problem for problem in found), found


def test_checks_of_another_number_of_classes(write):
    write()
    (problem,) = check_train_net("train.pt", cfg.TRAIN, 4)
    assert "layer 'psroipooled_cls_rois': output_dim is 5, expected 4: the data set has 4 classes" in problem
    (problem,) = check_test_net("test.pt", 4)
    assert "layer 'psroipooled_cls_rois': output_dim is 5, expected 4" in problem
