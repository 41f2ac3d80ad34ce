"""TRAIN.CROP: windows that keep objects, and the entries and batches of the crops."""
from dataclasses import replace

import cv2
import numpy as np
import pytest
from minibatch_helpers import assert_equal_batches, data_layer, run, scene, small_settings

from datasets.roidb import merge_entries, mirror, objects_entry, proposals_entry, turn_over
from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import ConfigError, cfg, make_settings, plain
from fast_rcnn.train import SolverWrapper
from roi_data_layer.crops import KEPT, crop_entries, crop_entry, draw_window, grow_window, size_seen
from roi_data_layer.gallery import choice_record
from roi_data_layer.minibatch import MinibatchSettings, get_minibatch, read_images
from roi_data_layer.roidb import add_bbox_regression_targets

pytestmark = pytest.mark.usefixtures("default_settings")
STAGES = pytest.mark.parametrize("stage, tops", [({"HAS_RPN": True, "IMS_PER_BATCH": 1, "BBOX_REG": False}, 3),
                                                 ({}, 6), ({"USE_OHEM": True}, 6)])


def random_entry(rng, objects=4, proposals=30):
    """An entry of a photograph of 90 x 70 pixels."""
    corners = np.sort(rng.uniform(0, 1, (objects + proposals + 2, 2, 2)), axis=1).reshape(-1, 4)
    boxes = (corners * [89, 69, 89, 69]).astype(np.float32)
    known = objects_entry(boxes[:objects], rng.integers(1, 3, objects), boxes[-2:])
    return {**merge_entries(known, proposals_entry(boxes[objects:-2], known)), "image": "a.png", "width": 90,
            "height": 70}


def with_targets(roidb):
    """The entries of `scene`, labelled by their boxes, with their regression targets."""
    for entry in roidb:
        objects = objects_entry(entry["boxes"][:2], entry["gt_classes"][:2])
        entry.update(merge_entries(objects, proposals_entry(entry["boxes"][2:], objects)))
    add_bbox_regression_targets(roidb, 3, cfg.TRAIN)
    return roidb


def common_area(box, other):
    width, height = (max(0, min(box[i + 2], other[i + 2]) - max(box[i], other[i]) + 1) for i in (0, 1))
    return width * height


def area(box):
    return common_area(box, box)


def share(box, window):
    return common_area(box, window) / area(box)


def iou(box, other):
    common = common_area(box, other)
    return common / (area(box) + area(other) - common)


def moved(box, window):
    """The box in the window, one side at a time."""
    return [min(max(side, window[axis]), window[axis + 2]) - window[axis]
            for side, axis in zip(box.tolist(), (0, 1, 0, 1), strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_a_window_keeps_most_of_an_object_or_nothing(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        objects, crop = random_entry(rng)["boxes"][:rng.integers(1, 5)], rng.uniform(0.1, 0.9)
        x1, y1, x2, y2 = window = draw_window(objects, 90, 70, crop, rng)
        assert 0 <= x1 <= x2 < 90 and 0 <= y1 <= y2 < 70
        assert x2 - x1 + 1 >= np.rint(90 * (1 - crop)) and y2 - y1 + 1 >= np.rint(70 * (1 - crop))
        shares = [share(box, window) for box in objects.astype(float)]
        assert max(shares) >= KEPT - 1e-6 and all(part == 0 or part >= KEPT - 1e-6 for part in shares)


def test_windows_vary_in_size_and_place():
    rng, objects = np.random.default_rng(0), np.array([[40, 30, 49, 39]], np.float32)
    windows = np.array([draw_window(objects, 90, 70, 0.5, rng) for _ in range(300)])
    sides = (windows[:, 2:] - windows[:, :2] + 1) / [90, 70]
    assert (sides.min(axis=0) < 0.52).all() and (sides.max(axis=0) > 0.98).all()
    np.testing.assert_allclose(sides.mean(axis=0), 0.75, atol=0.03)
    np.testing.assert_allclose((windows[:, :2] + windows[:, 2:]).mean(axis=0), [89, 69], atol=3)


def test_a_window_grows_until_it_cuts_nothing():
    objects = np.array([[10, 10, 19, 19], [18, 10, 39, 19], [60, 60, 69, 69]], np.float32)
    np.testing.assert_array_equal(grow_window(np.array([0, 0, 11, 30]), objects), [0, 0, 39, 30])
    np.testing.assert_array_equal(grow_window(np.array([0, 0, 5, 5]), objects), [0, 0, 5, 5])
    np.testing.assert_array_equal(grow_window(np.array([0, 0, 34, 30]), objects), [0, 0, 34, 30])


def test_objects_beyond_the_image_are_clipped_first():
    window = draw_window(np.array([[-50, -50, 30, 200]], np.float32), 90, 70, 0.6, np.random.default_rng(0))
    assert share([0, 0, 30, 69], window) >= KEPT
    entry = {**objects_entry([[-50, -50, 30, 200]], [1]), "width": 90, "height": 70}
    np.testing.assert_array_equal(crop_entry(entry, (5, 0, 89, 59))["boxes"], [[0, 0, 25, 59]])


@pytest.mark.parametrize("seed", range(4))
def test_the_entry_of_a_crop_agrees_with_a_slow_oracle(seed):
    rng = np.random.default_rng(seed)
    entry = random_entry(rng)
    window = draw_window(entry["boxes"][:4], 90, 70, 0.6, rng)
    cropped = crop_entry(entry, window)
    kept = [row for row, box in enumerate(entry["boxes"].astype(float)) if share(box, window) >= KEPT]
    boxes = [moved(entry["boxes"][row], window) for row in kept]
    objects = [number for number, row in enumerate(kept) if entry["gt_classes"][row]]
    assert 0 < len(objects) and len(kept) < 34
    np.testing.assert_allclose(cropped["boxes"], boxes, atol=1e-5)
    np.testing.assert_array_equal(cropped["gt_classes"], entry["gt_classes"][kept])
    for number, box in enumerate(boxes):
        overlaps = [iou(box, boxes[place]) for place in objects]
        assert cropped["max_overlaps"][number] == pytest.approx(max(overlaps), abs=1e-5)
        label = entry["gt_classes"][kept[objects[int(np.argmax(overlaps))]]] if max(overlaps) > 0 else 0
        assert cropped["max_classes"][number] == label
    left = [moved(box, window) for box in entry["ignored"] if common_area(box, window) > 0]
    np.testing.assert_allclose(cropped["ignored"], np.reshape(left, (-1, 4)), atol=1e-5)
    assert cropped["window"] == window and cropped["width"] == 90
    assert size_seen(cropped) == (window[3] - window[1] + 1, window[2] - window[0] + 1) and size_seen(entry) == (70, 90)


def test_a_window_of_the_whole_image_changes_no_box():
    entry = random_entry(np.random.default_rng(3))
    cropped = crop_entry(entry, (0, 0, 89, 69))
    for key in ("boxes", "gt_classes", "max_overlaps", "max_classes", "ignored"):
        np.testing.assert_array_equal(cropped[key], entry[key])


@pytest.mark.parametrize("normalize", [False, True])
def test_regression_targets_are_those_of_the_clipped_boxes(tmp_path, normalize):
    small_settings(CROP=0.5, BBOX_NORMALIZE_TARGETS=normalize)
    (entry,) = with_targets(scene(tmp_path, 1))
    np.testing.assert_array_equal(crop_entry(entry, (0, 0, 39, 55))["bbox_targets"], entry["bbox_targets"])
    cropped = crop_entry(entry, (0, 0, 39, 25))
    np.testing.assert_array_equal(cropped["boxes"][:3], [[2, 3, 20, 25], [5, 5, 35, 25], [2, 3, 20, 25]])
    means, stds = entry["target_rule"].statistics or (np.zeros((3, 4)), np.ones((3, 4)))
    np.testing.assert_allclose(cropped["bbox_targets"][2], [1, *(-means[1] / np.where(stds[1], stds[1], 1))], rtol=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
def test_pixels_of_a_crop_are_those_of_its_boxes(tmp_path, flipped, upside_down):
    (entry,) = scene(tmp_path, 1)
    image = cv2.imread(entry["image"])[::-1 if upside_down else 1, ::-1 if flipped else 1]
    entry = mirror(entry, 40) if flipped else entry
    entry = turn_over(entry, 56) if upside_down else entry
    del entry["bbox_targets"]
    cropped = crop_entry(entry, (1, 2, 38, 54))
    settings = replace(MinibatchSettings.from_cfg(small_settings(SCALES=[38])).images, means=(0.0,))
    data, sizes, scales = read_images([cropped], settings, np.random.default_rng(0))
    assert sizes == [(53, 38)] and scales == [1]
    np.testing.assert_array_equal(data[0].transpose(1, 2, 0), image[2:55, 1:39])
    before, after = entry["boxes"][0].astype(int), cropped["boxes"][0].astype(int)
    np.testing.assert_array_equal(data[0, :, after[1]:after[3] + 1, after[0]:after[2] + 1].transpose(1, 2, 0),
                                  image[before[1]:before[3] + 1, before[0]:before[2] + 1])


def test_nothing_is_drawn_without_crops():
    assert cfg.TRAIN.CROP == 0 and "CROP" not in plain(make_settings())["TRAIN"]
    rng, roidb = np.random.default_rng(0), [random_entry(np.random.default_rng(1))]
    assert crop_entries(roidb, 0.0, rng) is roidb
    assert rng.random() == np.random.default_rng(0).random()


def test_photographs_without_objects_stay_whole():
    entry = random_entry(np.random.default_rng(1), objects=0)
    assert crop_entries([entry], 0.5, np.random.default_rng(0))[0] is entry


@STAGES
@pytest.mark.parametrize("changes", [{"CROP": 0.5}, {"SCALES": [40, 48, 56]}])
@pytest.mark.parametrize("prefetch", [False, True])
def test_batches_of_all_stages_depend_on_seed_and_pass_alone(tmp_path, stage, tops, changes, prefetch):
    small_settings(**stage, **changes, USE_PREFETCH=prefetch)
    cfg.NUM_WORKERS = 0
    layer, bottom, top = data_layer(tmp_path, tops)
    layer.set_roidb(with_targets(scene(tmp_path)))
    whole = run(layer, bottom, top, 5)
    layer.seek(2)
    assert_equal_batches(run(layer, bottom, top, 3), whole[2:])
    layer.close()
    assert len({batch[0].shape for batch in whole}) > 1


@STAGES
def test_batches_are_those_of_the_crops(tmp_path, stage, tops):
    small_settings(**stage, CROP=0.5)
    layer, bottom, top = data_layer(tmp_path, tops)
    layer.set_roidb(with_targets(scene(tmp_path)))
    for iteration in range(6):
        entries, scales = layer.batch_entries(iteration), layer.batch_scales(iteration)
        data, *rest = run(layer, bottom, top, 1)[0]
        assert all("window" in entry for entry in entries)
        assert data.shape[2] == max(round(size_seen(entry)[0] * scale)
                                    for entry, scale in zip(entries, scales, strict=True))
        boxes, labels = (rest[1][:, :4], rest[1][:, 4]) if "HAS_RPN" in stage else (rest[0][:, 1:], rest[1])
        images = np.zeros(len(boxes), int) if "HAS_RPN" in stage else rest[0][:, 0].astype(int)
        for box, label, index in zip(boxes, labels, images, strict=True):
            height, width = size_seen(entries[index])
            assert (box[:2] >= 0).all() and (box[2:] <= np.array([width - 1, height - 1]) * scales[index] + 1e-3).all()
            objects = entries[index]["boxes"][entries[index]["gt_classes"] > 0]
            best = max(iou(box / scales[index], each) for each in objects)
            assert (best > 0.5 - 1e-4) if label else (best < 0.5 + 1e-4)


def test_recorded_boxes_are_those_of_the_photograph(tmp_path):
    (entry,) = scene(tmp_path, 1)
    del entry["bbox_targets"]
    turned = turn_over(mirror(entry, 40), 56)
    window = draw_window(turned["boxes"][:2], 40, 56, 0.4, np.random.default_rng(1))
    cropped = crop_entry(turned, window)
    assert window[:2] != (0, 0) and len(cropped["boxes"])
    rois = np.insert(cropped["boxes"] * 2, 0, 0, axis=1)
    record = choice_record([cropped], [2.0], np.arange(len(rois), 0.0, -1), rois, cropped["max_classes"])
    left, top, right, bottom = 39 - window[2], 55 - window[3], 39 - window[0], 55 - window[1]
    kept = [box for box in entry["boxes"] if share(box, (left, top, right, bottom)) >= KEPT]
    for roi, box in zip(record["rois"], kept, strict=True):
        np.testing.assert_allclose(roi["box"], np.clip(box, [left, top] * 2, [right, bottom] * 2))


def test_ignored_boxes_of_a_crop_are_not_background():
    entry = {**random_entry(np.random.default_rng(2)), "ignored": np.array([[0, 0, 89, 30]], np.float32)}
    cropped = crop_entry(entry, (5, 10, 80, 69))
    np.testing.assert_array_equal(cropped["ignored"], [[0, 0, 75, 20]])


def test_settings_that_cannot_work_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"TRAIN.CROP is 1.0: it must be at least 0 and below 1"):
        check_cfg(make_settings({"TRAIN.CROP": 1.0}))
    settings = MinibatchSettings.from_cfg(small_settings(CROP=0.5))
    with pytest.raises(ConfigError, match="scene0.png: TRAIN.CROP needs the rule .* set TRAIN.CROP before add_bbox_"):
        get_minibatch(scene(tmp_path, 1), 3, settings)


def test_outputs_of_frozen_layers_are_not_kept(tmp_path):
    cfg.TRAIN.CROP = 0.5
    assert SolverWrapper.reuse_features(SolverWrapper.__new__(SolverWrapper), tmp_path, 1000) is None
