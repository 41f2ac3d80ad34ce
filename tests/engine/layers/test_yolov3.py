"""Yolov3 against loops over cells, boxes and objects, written from the rules of YOLO v3's layer."""
import math

import numpy as np
import pytest
import torch
from layer_checker import Runner, randn, refused

from caffe.engine import device

IMAGES, CLASSES, BOXES, HEIGHT, WIDTH = 3, 4, 2, 5, 6
BIASES, MASK, STEP = [10, 14, 60, 40, 90, 130, 30, 20], [3, 1], 32
SETTINGS = (f"num_class: {CLASSES} num: {BOXES} anchors_scale: {STEP} coord_scale: 1.5 class_scale: 0.75 thresh: 0.3 "
            "object_scale: 2.5 " + " ".join([*(f"biases: {value}" for value in BIASES),
                                             *(f"mask: {value}" for value in MASK)]))
LEARNS = [True, False]
LOGIC = " use_logic_gradient: true"


def objects():
    """Objects of three images, none in the second; two share a box, one is for another map, one at the border."""
    found = np.zeros((IMAGES, 1, 9, 5))
    found[0, 0, :5] = [[2, 0.3, 0.52, 30 / 192, 20 / 160], [1, 0.31, 0.55, 34 / 192, 18 / 160],
                       [3, 0.7, 0.1, 0.3, 0.3], [0, 0.8, 0.8, 9 / 192, 15 / 160], [0, 1, 1, 0.2, 0.1]]
    found[2, 0, :3] = [[3, 0.1, 0.9, 0.35, 0.2], [1, 0.4, 0.4, 0, 0.3], [1, 0.4, 0.4, 0.3, 0.3]]
    return found


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def iou(one, other):
    sides = [min(one[k] + one[k + 2] / 2, other[k] + other[k + 2] / 2) -
             max(one[k] - one[k + 2] / 2, other[k] - other[k + 2] / 2) for k in (0, 1)]
    shared = sides[0] * sides[1] if min(sides) >= 0 else 0
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def differences(maps, things, thresh=0.3, object_scale=1.0):
    """The expected differences, in the shape of the maps, and the values of the boxes."""
    maps = maps.reshape(IMAGES, BOXES, 5 + CLASSES, HEIGHT, WIDTH)
    values, found = maps.copy(), np.zeros_like(maps)
    size = [WIDTH, HEIGHT]
    for index in np.ndindex(maps.shape):
        if index[2] not in (2, 3):
            values[index] = sigmoid(maps[index])
    for n, b, j, i in np.ndindex(IMAGES, BOXES, HEIGHT, WIDTH):
        x, y, w, h, thing = values[n, b, :5, j, i]
        pair = BIASES[2 * MASK[b]:2 * MASK[b] + 2]
        box = [(i + x) / WIDTH, (j + y) / HEIGHT, math.exp(w) * pair[0] / WIDTH / STEP,
               math.exp(h) * pair[1] / HEIGHT / STEP]
        most = 0
        for row in things[n, 0]:
            if row[3] == 0:
                break
            most = max(most, iou(box, row[1:]))
        found[n, b, 4, j, i] = 0 if most > thresh else thing
    for n in range(IMAGES):
        seen = set()
        for label, *box in things[n, 0]:
            if box[2] == 0:
                break
            shapes = [iou([0, 0, BIASES[2 * k] / WIDTH / STEP, BIASES[2 * k + 1] / HEIGHT / STEP], [0, 0, *box[2:]])
                      for k in range(len(BIASES) // 2)]
            best = shapes.index(max(shapes))
            if best not in MASK:
                continue
            cell = [min(int(box[k] * size[k]), size[k] - 1) for k in (0, 1)]
            at = (n, MASK.index(best), slice(None), cell[1], cell[0])
            value, scale, label = values[at], 1.5 * (2 - box[2] * box[3]), int(label)
            for k in (0, 1):
                found[at][k] = scale * (value[k] - (box[k] * size[k] - cell[k]))
                found[at][2 + k] = scale * (value[2 + k] - math.log(box[2 + k] * size[k] * STEP / BIASES[2 * best + k]))
            found[at][4] = object_scale * (value[4] - 1)
            place = (at[1], *cell)
            if place in seen:
                found[at][5 + label] = 1 - value[5 + label]
            else:
                found[at][5:] = [0.75 * (value[5 + k] - (k == label)) for k in range(CLASSES)]
            seen.add(place)
    return found, values


def run(maps, things, settings=SETTINGS):
    return Runner(f"type: 'Yolov3' yolov3_param {{ {settings} }}", [maps, things])


@pytest.fixture
def maps():
    found = randn(IMAGES, BOXES * (5 + CLASSES), HEIGHT, WIDTH)
    close = found.reshape(IMAGES, BOXES, -1, HEIGHT, WIDTH)[0, 0, :4]
    close[:, 2, 1] = [1.5, 0.4, 0.05, 0.02]                                         # close to its object
    close[:, 0, 4] = [math.log(0.25), 0, math.log(57.6 / 30), math.log(48 / 20)]    # close to that of another box
    return found


@pytest.mark.parametrize("more, object_scale", [("", 1.0), (LOGIC, 2.5)])
def test_loss_and_gradient(maps, more, object_scale):
    things = objects()
    wanted, values = differences(maps, things, object_scale=object_scale)
    assert (wanted[:, :, 4] == 0).any() and (wanted[:, :, 5:] != 0).sum() == 4 * CLASSES
    layer = run(maps, things, SETTINGS + more)
    np.testing.assert_allclose(layer.forward()[0], (wanted ** 2).sum() / IMAGES, rtol=1e-5)
    slope = wanted / IMAGES
    if more:
        factor = values * (1 - values)
        factor[:, :, 2:4] = 1
        slope = slope * factor
    [found] = layer.backward([np.array(0.5)], LEARNS)[:1]
    np.testing.assert_allclose(found, 0.5 * slope.reshape(maps.shape), rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_cross_entropy(maps):
    """For one object and empty boxes: cross-entropy for x, y, objectness and classes, squares for w and h."""
    things = np.zeros((IMAGES, 1, 9, 5))
    things[1, 0, 0] = [2, 0.3, 0.52, 30 / 192, 20 / 160]
    values = torch.tensor(maps.reshape(IMAGES, BOXES, -1, HEIGHT, WIDTH), dtype=torch.float64, requires_grad=True)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    at = values[1, 0, :, 2, 1]
    scale = 1.5 * (2 - things[1, 0, 0, 3:].prod())
    empty = torch.ones(IMAGES, BOXES, HEIGHT, WIDTH)
    empty[1, 0, 2, 1] = 0
    target = torch.zeros(CLASSES, dtype=torch.float64)
    target[2] = 1
    total = (torch.nn.functional.softplus(values[:, :, 4]) * empty).sum() + entropy(at[4], torch.ones_like(at[4]))
    total = total + 0.75 * entropy(at[5:], target, reduction="sum")
    centre = torch.tensor([0.3 * 6 - 1, 0.52 * 5 - 2], dtype=torch.float64)
    total = total + scale * entropy(at[:2], centre, reduction="sum")
    total = total + scale * (at[2:4] ** 2).sum() / 2         # the object has the anchor's size
    (total / IMAGES).backward()
    layer = run(maps, things, SETTINGS.replace("thresh: 0.3", "thresh: 1"))
    layer.forward()
    found = layer.backward([np.array(1.0)], LEARNS)[0]
    np.testing.assert_allclose(found, values.grad.numpy().reshape(maps.shape), rtol=1e-4, atol=1e-6)


def test_without_objects_all_boxes_are_empty(maps):
    found = run(maps, np.zeros((IMAGES, 1, 9, 5))).forward()[0]
    thing = maps.reshape(IMAGES, BOXES, -1, HEIGHT, WIDTH)[:, :, 4]
    np.testing.assert_allclose(found, (1 / (1 + np.exp(-thing)) ** 2).sum() / IMAGES, rtol=1e-5)


def test_a_class_out_of_range(maps):
    things = objects()
    things[2, 0, 0, 0] = CLASSES
    with pytest.raises(ValueError, match=r"classes must be in 0..3, found 0 to 4"):
        run(maps, things).forward()


@pytest.mark.parametrize("settings, shapes, told", [
    (SETTINGS, [(3, 17, 5, 6), (3, 1, 9, 5)], r"need a map \(N, 18, H, W\), found shape \(3, 17, 5, 6\)"),
    (SETTINGS, [(3, 18, 5, 6), (1, 1, 9, 8)], "same first dimension"),
    (SETTINGS, [(3, 18, 5, 6), (3, 1, 9, 8)], "yolo_data_type: 1"),
    (SETTINGS.replace("mask: 1", ""), [(3, 18, 5, 6), (3, 1, 9, 5)], "mask needs 2 different numbers below 4"),
    (SETTINGS.replace("mask: 1", "mask: 4"), [(3, 18, 5, 6), (3, 1, 9, 5)], r"found \[3, 4\]"),
    (SETTINGS + " biases: 7", [(3, 18, 5, 6), (3, 1, 9, 5)], "in pairs"),
    (SETTINGS.replace("num: 2", "num: 0"), [(3, 18, 5, 6), (3, 1, 9, 5)], "must be at least 1")])
def test_bad_settings_and_bottoms(settings, shapes, told):
    refused(f"type: 'Yolov3' yolov3_param {{ {settings} }}", shapes, told)


def test_a_net_learns_where_an_object_is():
    """Gradient descent moves the best box to the object, and the loss decreases."""
    device.set_random_seed(1)
    maps, things = 0.1 * randn(IMAGES, BOXES * (5 + CLASSES), HEIGHT, WIDTH), objects()
    things[0, 0, 1:] = 0
    layer, losses = run(maps, things), []
    for _ in range(200):
        losses.append(float(layer.forward()[0]))
        layer.bottom[0].data[...] -= 0.3 * layer.backward([np.array(1.0)], LEARNS)[0]
    value = layer.bottom[0].data.reshape(IMAGES, BOXES, -1, HEIGHT, WIDTH)[0, 0, :, 2, 1]
    assert losses[-1] < losses[0] / 50 and value[5:].argmax() == 2 and value[4] > 2
    np.testing.assert_allclose([sigmoid(value[0]), sigmoid(value[1]), value[2], value[3]], [0.8, 0.6, 0, 0], atol=0.05)
