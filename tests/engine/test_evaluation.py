"""The evaluations of a solver's test: average precisions as SSD computes them, their means, and a net that learns."""
import logging

import cv2
import numpy as np
import pytest
import torch

import caffe
from caffe.engine.solvers.average_precision import average_precision
from caffe.engine.solvers.evaluation import MeanAveragePrecisions
from caffe.proto import caffe_pb2


def oracle(scores, is_right, objects, version):
    """By definition: point by point along the curve."""
    pairs = sorted(zip(scores, is_right, strict=True), key=lambda pair: -pair[0])
    right, curve = 0, []
    for number, (_, hit) in enumerate(pairs, 1):
        right += hit
        curve.append((right / objects, right / number))
    best = lambda least: max((precision for recall, precision in curve if recall >= least), default=0)
    if version == "11point":
        return sum(best(place / 10) for place in range(11)) / 11
    total, before = 0, 0
    for recall, precision in curve:
        total += (recall - before) * (best(recall) if version == "MaxIntegral" else precision)
        before = recall
    return total


@pytest.mark.parametrize("version", ["11point", "MaxIntegral", "Integral"])
def test_average_precisions(version):
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        scores, is_right = random.permutation(count) / 8, random.random(count) < 0.6
        for objects in (is_right.sum() + 1, is_right.sum() + 13):
            found = average_precision(scores, is_right, int(objects), version)
            assert found == pytest.approx(oracle(scores, is_right, objects, version))
    assert average_precision(scores, is_right, 0, version) == 0
    assert average_precision(scores[:0], is_right[:0], 3, version) == 0
    perfect = average_precision(np.array([0.5, 0.9]), np.array([True, True]), 2, version)
    assert perfect == pytest.approx(1)


def test_means_over_classes_and_batches(caplog):
    """Half of class 1's objects are found, class 2 has an ignored detection, class 3 has nothing."""
    evaluation = MeanAveragePrecisions("Integral", True)
    counts = [[-1, 1, 1, -1, -1], [-1, 2, 1, -1, -1], [-1, 3, 0, -1, -1]]
    for rows in ([[0, 1, 0.9, 1, 0], [0, 2, 0.8, 0, 0]], [[0, 1, 0.3, 0, 1], [0, 2, 0.7, 1, 0]]):
        evaluation.add("eval", torch.tensor([[counts + rows]]))
    with caplog.at_level(logging.INFO, "caffe"):
        assert evaluation.results()["eval"].item() == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert caplog.messages == ["class1: 0.5", "class2: 0.5", "class3: 0"]


NET = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" transform_param { mean_value: 100 scale: 0.02 }
        data_param { source: "%s" backend: LMDB batch_size: 4 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
        convolution_param { num_output: 16 kernel_size: 2 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "prior" type: "PriorBox" bottom: "conv2" bottom: "data" top: "prior"
        prior_box_param { min_size: 12 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "loc" type: "Convolution" bottom: "conv2" top: "loc"
        convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loc_p" type: "Permute" bottom: "loc" top: "loc_p"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf" type: "Convolution" bottom: "conv2" top: "conf"
        convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "conf_p" type: "Permute" bottom: "conf" top: "conf_p"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc_p" bottom: "conf_p" bottom: "prior" bottom: "label" top: "loss"
        propagate_down: [true, true, false, false] include { phase: TRAIN }
        multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE } }
layer { name: "softmax" type: "Softmax" bottom: "conf_p" top: "softmax" include { phase: TEST }
        softmax_param { axis: 3 } }
layer { name: "detections" type: "DetectionOutput" bottom: "loc_p" bottom: "softmax" bottom: "prior" top: "detections"
        include { phase: TEST }
        detection_output_param { num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.01 } }
layer { name: "evaluate" type: "DetectionEvaluate" bottom: "detections" bottom: "label" top: "detection_eval"
        include { phase: TEST } detection_evaluate_param { num_classes: 3 } }
"""


@pytest.fixture
def database(tmp_path):
    """Images with a bright square of 12 pixels, class 1, or a dark one, class 2."""
    lmdb = pytest.importorskip("lmdb")
    random = np.random.default_rng(0)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for number in range(8):
            image, (x, y) = np.full((48, 48, 3), 100, np.uint8), random.integers(0, 5, 2) * 8
            image[y:y + 12, x:x + 12] = 220 if number % 2 else 10
            record = caffe_pb2.AnnotatedDatum(type=caffe_pb2.AnnotatedDatum.BBOX, datum=caffe_pb2.Datum(
                encoded=True, data=cv2.imencode(".png", image)[1].tobytes()))
            record.annotation_group.add(group_label=2 - number % 2).annotation.add(
                bbox=dict(xmin=x / 48, ymin=y / 48, xmax=(x + 12) / 48, ymax=(y + 12) / 48))
            transaction.put(b"%03d" % number, record.SerializeToString())
    return tmp_path / "db"


def solver_of(database, settings=""):
    folder = database.parent
    (folder / "net.prototxt").write_text(NET % database)
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "fixed" random_seed: 1 test_iter: 2 '
        f'test_interval: 1000 test_initialization: false eval_type: "detection" {settings}')
    return caffe.get_solver(str(folder / "solver.prototxt"))


def test_a_net_that_learns_from_annotated_data_finds_objects(database, caplog):
    solver = solver_of(database, 'ap_version: "11point" show_per_class_result: true')
    with caplog.at_level(logging.INFO, "caffe"):
        before = solver.test()["detection_eval"].item()
        solver.step(60)
        caplog.clear()
        after = solver.test()["detection_eval"].item()
    assert before < 0.3 and after > 0.9
    assert [line.split(":")[0] for line in caplog.messages[1:3]] == ["class1", "class2"]
    assert caplog.messages[3] == f"    Test net output #0: detection_eval = {after:.6g}"


def test_mistakes(database):
    for settings, told in (('ap_version: "12point"', "ap_version must be one of 11point, MaxIntegral, Integral"),
                           ('eval_type: "segmentation"', 'eval_type must be "classification" or "detection", found')):
        with pytest.raises(caffe.SolverError, match=told):
            param = caffe_pb2.SolverParameter()
            caffe.proto.prototxt.parse(settings, param)
            caffe.SGDSolver(param)
    solver = solver_of(database)
    solver.test_nets[0].outputs.append("conv2")
    with pytest.raises(caffe.SolverError, match="the output 'conv2' has the shape .*Silence"):
        solver.test()
