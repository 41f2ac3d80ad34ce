"""MultiBoxLoss against loops over images, boxes and objects, written from SSD's rules."""
import math

import numpy as np
import pytest
import torch
from layer_checker import Runner, check, randn, refused
from ssd_boxes import decode, overlap, priors

from caffe.engine import device
from caffe.engine.layer import LayerError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

IMAGES, PRIORS, CLASSES = 3, 19, 4
LEARNS = [True, True, False, False]
NOBODY = [-1, *[0] * 7]


def objects():
    """Objects of two of three images, unordered, (6, 8): one is difficult, one tiny, and one row is no object."""
    boxes = priors(PRIORS)[0, 0].reshape(-1, 4)
    close = [(0, 1, boxes[2] + 0.02), (2, 3, boxes[5] - 0.03), (0, 2, boxes[2] - 0.02), (2, 1, boxes[0] + 0.06),
             (0, 3, [0.5, 0.5, 0.503, 0.504])]
    rows = [[image, label, 0, *box, index == 2] for index, (image, label, box) in enumerate(close)]
    return np.array([*rows[:3], NOBODY, *rows[3:]], float)


def encode(box, prior, variance, code):
    x1, y1, x2, y2 = prior
    width, height = x2 - x1, y2 - y1
    if code == "CENTER_SIZE":
        found = [((box[0] + box[2]) / 2 - (x1 + x2) / 2) / width, ((box[1] + box[3]) / 2 - (y1 + y2) / 2) / height,
                 math.log((box[2] - box[0]) / width), math.log((box[3] - box[1]) / height)]
    else:
        found = np.array(box) - prior
        if code == "CORNER_SIZE":
            found = found / [width, height, width, height]
    return np.array(found) / variance


def match(boxes, things, threshold, only_inside):
    """The object of each box (-1: none, -2: ignored) and its largest overlap."""
    table = np.array([[overlap(box, thing) for thing in things] for box in boxes]).reshape(len(boxes), len(things))
    table[table <= 1e-6] = 0
    found = np.full(len(boxes), -1)
    if only_inside:
        outside = (boxes < 0).any(1) | (boxes > 1).any(1)
        table[outside], found[outside] = 0, -2
    left = table.copy()
    while left.size and left.max() > 0:
        box, thing = np.unravel_index(left.argmax(), left.shape)
        found[box], left[box], left[:, thing] = thing, 0, 0
    most = table.max(1, initial=0)
    if threshold is not None:
        for box in np.flatnonzero(found == -1):
            if most[box] > 0 and most[box] >= threshold:
                found[box] = table[box].argmax()
    return found, most


def score_loss(scores, label, kind):
    if kind == "LOGISTIC":
        probabilities, target = 1 / (1 + np.exp(-scores)), np.eye(len(scores))[label]
        return -(target * np.log(probabilities) + (1 - target) * np.log(1 - probabilities)).sum()
    return math.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[label]


def offset_loss(difference, kind):
    return sum(d * d / 2 if kind == "L2" or abs(d) < 1 else abs(d) - 0.5 for d in difference)


def loss(offsets, scores, boxes, rows, text="", mode="VALID"):
    """The loss by loops; `text` holds the layer's settings."""
    param = parse(text, caffe_pb2.MultiBoxLossParameter())
    name = {field: param.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(param, field)].name
            for field in ("loc_loss_type", "conf_loss_type", "match_type", "mining_type", "code_type")}
    boxes, variances = boxes[0, 0].reshape(-1, 4), boxes[0, 1].reshape(-1, 4)
    count, locations = len(boxes), 1 if param.share_location else param.num_classes
    offsets, scores = offsets.reshape(-1, count, locations, 4), scores.reshape(-1, count, param.num_classes)
    factors = np.ones_like(variances) if param.encode_variance_in_target else variances
    offset_total = score_total = positives = 0
    for image in range(len(offsets)):
        own = [row for row in rows.reshape(-1, 8) if row[0] == image and (param.use_difficult_gt or not row[7])]
        predicted = np.array(
            [decode(offsets[image, box, 0], boxes[box], factors[box], name["code_type"]) for box in range(count)])
        compared = boxes if param.use_prior_for_matching else predicted
        rivals = boxes if param.use_prior_for_nms else predicted
        threshold = param.overlap_threshold if name["match_type"] == "PER_PREDICTION" else None
        found, most = match(compared, [row[3:7] for row in own], threshold, param.ignore_cross_boundary_bbox)
        labels, offset_losses = np.full(count, param.background_label_id), np.zeros(count)
        for box in np.flatnonzero(found >= 0):
            thing = own[found[box]]
            labels[box] = param.background_label_id + 1 if param.map_object_to_agnostic else int(thing[1])
            wanted = encode(thing[3:7], boxes[box], factors[box], name["code_type"])
            difference = offsets[image, box, labels[box] if locations > 1 else 0] - wanted
            if param.encode_variance_in_target:
                difference = difference / variances[box]
            if param.bp_inside:
                difference = difference * ((compared[box] >= 0) & (compared[box] <= 1))
            offset_losses[box] = offset_loss(difference, name["loc_loss_type"])
        score_losses = np.array([score_loss(row, label, name["conf_loss_type"])
                                 for row, label in zip(scores[image], labels, strict=True)])
        learn, negative = found >= 0, found < 0
        if name["mining_type"] == "MAX_NEGATIVE":
            candidates = np.flatnonzero((found == -1) & (most < param.neg_overlap))
            best = hardest(score_losses, candidates, rivals, int(learn.sum() * param.neg_pos_ratio), param)
            negative = np.isin(np.arange(count), best)
        elif name["mining_type"] == "HARD_EXAMPLE":
            best = hardest(offset_losses + score_losses, range(count) if own else [], rivals, param.sample_size, param)
            chosen = np.isin(np.arange(count), best)
            learn, negative = learn & chosen, (found == -1) & chosen
        positives += learn.sum()
        offset_total += offset_losses[learn].sum()
        score_total += score_losses[learn | negative].sum()
    divisor = {"VALID": positives, "FULL": len(offsets) * count, "BATCH_SIZE": len(offsets), "NONE": 1}[mode]
    return (param.loc_weight * offset_total + score_total) / max(1, divisor)


def hardest(losses, candidates, boxes, number, param):
    """The candidates with the largest losses that do not overlap a harder kept one too much."""
    best = sorted(candidates, key=lambda box: -losses[box])
    if not param.HasField("nms_param") or param.nms_param.nms_threshold <= 0:
        return best[:number]
    kept = []
    for box in best[:param.nms_param.top_k] if param.nms_param.HasField("top_k") else best:
        x1, y1, x2, y2 = boxes[box]
        if (x2 - x1) * (y2 - y1) >= 1e-5 and all(
                overlap(boxes[box], boxes[other]) <= param.nms_param.nms_threshold for other in kept):
            kept.append(box)
    return kept[:number]


def bottoms(locations=1, classes=CLASSES):
    return [randn(IMAGES, PRIORS * locations * 4), 2 * randn(IMAGES, PRIORS * classes), priors(PRIORS), objects()]


SSD = "num_classes: 4 code_type: CENTER_SIZE "
CASES = {
    "ssd": (SSD, 1),
    "weighted": (SSD + "loc_weight: 2.5 neg_pos_ratio: 1.5 neg_overlap: 0.2 overlap_threshold: 0.35", 1),
    "bipartite": (SSD + "match_type: BIPARTITE", 1),
    "corner": ("num_classes: 4 code_type: CORNER", 1),
    "corner size, squares": ("num_classes: 4 code_type: CORNER_SIZE loc_loss_type: L2", 1),
    "variance in the target": (SSD + "encode_variance_in_target: true loc_weight: 0.1", 1),
    "logistic": (SSD + "conf_loss_type: LOGISTIC background_label_id: 0", 1),
    "no mining": (SSD + "mining_type: NONE", 1),
    "a box for each class": (SSD + "mining_type: NONE do_neg_mining: false share_location: false", CLASSES),
    "hard examples": (SSD + "mining_type: HARD_EXAMPLE sample_size: 5", 1),
    "hard examples apart": (SSD + "mining_type: HARD_EXAMPLE sample_size: 5 nms_param {}", 1),
    "hard default boxes apart": (SSD + "mining_type: HARD_EXAMPLE sample_size: 9 use_prior_for_nms: true "
                                 "nms_param { nms_threshold: 0.6 top_k: 12 }", 1),
    "negatives apart": (SSD + "use_prior_for_nms: true nms_param { nms_threshold: 0.5 }", 1),
    "suppression of nothing": (SSD + "mining_type: HARD_EXAMPLE sample_size: 5 nms_param { nms_threshold: 0 }", 1),
    "difficult objects left out": (SSD + "use_difficult_gt: false", 1),
    "boxes beyond the image left out": (SSD + "ignore_cross_boundary_bbox: true", 1),
    "predictions are matched": (SSD + "use_prior_for_matching: false overlap_threshold: 0.3", 1),
    "predictions within the image": (SSD + "use_prior_for_matching: false bp_inside: true", 1),
    "few negatives": (SSD + "neg_pos_ratio: 0", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    text, locations = CASES[case]
    given = bottoms(locations)
    other = [given[0][:2], given[1][:2], priors(PRIORS, seed=1), objects()[:2]]
    check(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", given, lambda *arrays: loss(*arrays, text),
          gradient=False, other=other)


@pytest.mark.parametrize("case", CASES)
def test_gradients_along_random_directions(case):
    """Central differences along directions: checking single values, as the checker does, would take too long."""
    text, locations = CASES[case]
    given = bottoms(locations)
    with device.use_float_type(torch.float64):
        run = Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", given)
        run.forward()
        slopes = run.backward([np.array(0.7)], LEARNS)
        for index in (0, 1):
            for seed in range(3):
                direction, values = randn(*given[index].shape, seed=seed), []
                for step in (1e-5, -1e-5):
                    run.set_bottoms([*given[:index], given[index] + step * direction, *given[index + 1:]])
                    values.append(run.forward()[0])
                wanted = 0.7 * (values[0] - values[1]) / 2e-5
                np.testing.assert_allclose((slopes[index] * direction).sum(), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("settings", ["", "conf_loss_type: LOGISTIC encode_variance_in_target: true"])
def test_every_value_and_flag(settings):
    text, count = SSD + settings, 5
    given = [randn(2, count * 4), randn(2, count * CLASSES), priors(count), np.array(
        [[1, 2, 0, *priors(count)[0, 0, :4] + 0.01, 0], [0, 1, 0, 0.2, 0.2, 0.8, 0.8, 0],
         [0, 3, 0, 0.1, 0.4, 0.6, 0.9, 0]])]
    check(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", given, lambda *arrays: loss(*arrays, text),
          learns=[0, 1], other=[given[0][:1], given[1][:1], priors(count, seed=1), given[3][1:]])


@pytest.mark.parametrize("mode", ["VALID", "FULL", "BATCH_SIZE", "NONE"])
def test_normalisers(mode):
    given = bottoms()
    run = Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {SSD} }} loss_param {{ normalization: {mode} }}", given)
    np.testing.assert_allclose(run.forward()[0], loss(*given, SSD, mode), rtol=1e-5)


def test_all_objects_as_one_class():
    text, given = "num_classes: 2 map_object_to_agnostic: true code_type: CENTER_SIZE", bottoms(classes=2)
    run = Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", given)
    np.testing.assert_allclose(run.forward()[0], loss(*given, text), rtol=1e-5)


def test_nothing_but_background():
    """Without objects there are no negatives; without mining, all boxes learn the background."""
    for rows in (np.array([NOBODY]), np.zeros((0, 8))):
        given = [*bottoms()[:3], rows[None, None]]
        run = Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {SSD} }}", given)
        assert run.forward()[0] == 0
        assert not any(gradient.any() for gradient in run.backward([np.ones(())], LEARNS)[:2])
        text = SSD + "mining_type: NONE"
        run = Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", given)
        np.testing.assert_allclose(run.forward()[0], loss(*given, text), rtol=1e-5)


def test_two_objects_do_not_share_a_box_and_ties_go_to_the_first():
    boxes = np.array([[[0.1, 0.1, 0.3, 0.3] * 2 + [0.6, 0.6, 0.8, 0.8], [1] * 12]])
    rows = np.array([[0, 1, 0, 0.1, 0.1, 0.3, 0.3, 0], [0, 2, 0, 0.1, 0.1, 0.3, 0.3, 0]])
    scores = np.zeros((1, 9))
    run = Runner("type: 'MultiBoxLoss' multibox_loss_param { num_classes: 3 match_type: BIPARTITE }",
                 [np.zeros((1, 12)), scores, boxes, rows])
    run.forward()
    gradient = run.backward([np.ones(())], LEARNS)[1].reshape(3, 3)
    assert gradient.argmin(1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("text, match", [
    ("", "background_label_id must be below num_classes 0"),
    ("num_classes: 3 background_label_id: 3", "background_label_id must be below num_classes 3, found 3"),
    ("num_classes: 3 do_neg_mining: false", "do_neg_mining: false contradicts mining_type MAX_NEGATIVE"),
    ("num_classes: 3 share_location: false", "needs mining_type: NONE"),
    ("num_classes: 3 share_location: false mining_type: NONE use_prior_for_matching: false", "use_prior_for_matching"),
    ("num_classes: 3 mining_type: HARD_EXAMPLE sample_size: 0", "sample_size must be at least 1, found 0"),
    ("num_classes: 3 neg_pos_ratio: -1", "neg_pos_ratio must be finite and at least 0, found -1"),
    ("num_classes: 3 map_object_to_agnostic: true", "needs num_classes 2 and background_label_id 0, found 3"),
    ("num_classes: 4", "3 default boxes need 12 scores for each image"),
])
def test_bad_parameters(text, match):
    shapes = [(2, 12), (2, 9), (1, 2, 12), (1, 1, 5, 8)]
    refused(f"type: 'MultiBoxLoss' multibox_loss_param {{ {text} }}", shapes, match)


def test_bad_bottoms():
    text = "type: 'MultiBoxLoss' multibox_loss_param { num_classes: 3 }"
    refused(text, [(2, 12), (2, 9), (1, 2, 12), (1, 1, 5, 7)], r"objects of 8 values \(1, 1, G, 8\), found shape")
    refused(text, [(2, 12), (2, 9), (1, 1, 12), (1, 1, 5, 8)], "as of PriorBox")
    refused(text, [(2, 12), (3, 9), (1, 2, 12), (1, 1, 5, 8)], "offsets of 2 images do not fit scores of 3")


@pytest.mark.parametrize("label, match", [(4, r"labels must be in 0..3, found 4"), (0, "of the background's class 0"),
                                          (-1, "found -1")])
def test_bad_classes(label, match):
    given = bottoms()
    given[3][1, 1] = label
    with pytest.raises(LayerError, match=match):
        Runner(f"type: 'MultiBoxLoss' multibox_loss_param {{ {SSD} }}", given).forward()
