"""Minibatches: images, RoIs and targets, the order of images, and the layer that feeds them."""
import cv2
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import make_layer, set_config
from minibatch_helpers import assert_equal_batches, data_layer, run, scene, small_settings
from process_helpers import wait_until

import caffe
from fast_rcnn.bbox_transform import per_class_targets
from fast_rcnn.config import cfg
from roi_data_layer.layer import OHEMDataLayer, RoIDataLayer
from roi_data_layer.minibatch import MinibatchSettings, get_allrois_minibatch, get_minibatch, read_images
from roi_data_layer.order import BatchOrder, epoch_batches
from roi_data_layer.roidb import add_bbox_regression_targets
from roi_data_layer.sampling import RoISettings, sample_rois, split_rois
from utils.images import ImageError

BLOBS = ("data", "rois", "labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights", "gt_boxes",
         "im_info")

pytestmark = pytest.mark.usefixtures("default_settings")


def roidb_of(case, folder):
    """The recorded entries, with their images written to files."""
    names = ("boxes", "max_overlaps", "max_classes", "gt_classes", "bbox_targets")
    parts = {name: case.split(name, "counts") for name in names}
    roidb = []
    for index, flipped in enumerate(case.inputs["flipped"]):
        path = folder / f"{index}.png"
        image = case.inputs[f"im{index}"]
        cv2.imwrite(str(path), image)
        entry = {name: values[index] for name, values in parts.items()}
        roidb.append({**entry, "boxes": entry["boxes"].astype(np.float32), "image": str(path),
                      "flipped": bool(flipped), "width": image.shape[1], "height": image.shape[0]})
    return roidb


def check_blobs(case, blobs):
    recorded = [name for name in BLOBS if name in case.outputs]
    assert sorted(blobs) == sorted(recorded)
    for name in recorded:
        case.check(name, blobs[name])
    if "num_fg_bg" in case.outputs:
        labels = [blobs["labels"][blobs["rois"][:, 0] == image] for image in range(len(blobs["data"]))]
        case.check("num_fg_bg", [[np.sum(rows > 0), np.sum(rows == 0)] for rows in labels])


def check_choice(case, roidb, choose, settings):
    """The RoIs sampled from each image, and the images' scales."""
    picks = [np.concatenate(choose(entry["max_overlaps"])) for entry in roidb]
    case.check("roi_index", np.concatenate(picks))
    case.check("im_scales", read_images(roidb, settings.images, np.random.default_rng(0))[2])


@golden("minibatch", "contract")
def test_recorded_minibatch(case, tmp_path):
    settings, roidb = MinibatchSettings.from_cfg(set_config(case.config)), roidb_of(case, tmp_path)
    check_blobs(case, get_minibatch(roidb, case.params["num_classes"], settings, np.random.default_rng(0)))
    if not settings.has_rpn:
        quota = settings.rois.batch_size // len(roidb)
        check_choice(case, roidb, lambda overlaps: sample_rois(overlaps, quota, settings.rois,
                                                               np.random.default_rng(0)), settings)


@golden("allrois_minibatch", "contract", has="out_data")
def test_recorded_minibatch_of_all_rois(case, tmp_path):
    settings, roidb = MinibatchSettings.from_cfg(set_config(case.config)), roidb_of(case, tmp_path)
    check_blobs(case, get_allrois_minibatch(roidb, case.params["num_classes"], settings, np.random.default_rng(0)))
    check_choice(case, roidb, lambda overlaps: split_rois(overlaps, settings.rois), settings)


def rows_of_all_rois(case):
    """Labels, chosen rows and regression labels of one entry."""
    train = set_config(case.config).TRAIN
    foreground, background = split_rois(case.inputs["max_overlaps"], RoISettings.from_cfg(train))
    picked = np.concatenate([foreground, background])
    labels, data = case.inputs["max_classes"][picked], case.inputs["bbox_targets"][picked]
    labels[len(foreground):] = 0
    return picked, labels, per_class_targets(data[:, 0], data[:, 1:], case.params["num_classes"],
                                             train.BBOX_INSIDE_WEIGHTS)


@golden("allrois_minibatch", "contract", has="out_overlaps")
def test_recorded_rows_of_one_image(case):
    picked, labels, (targets, weights) = rows_of_all_rois(case)
    case.check("labels", labels)
    case.check("overlaps", case.inputs["max_overlaps"][picked])
    case.check("rois", case.inputs["boxes"][picked])
    case.check("bbox_targets", targets)
    case.check("bbox_inside_weights", weights)


@golden("allrois_minibatch", "quirk", name="all_rois_hi")
def test_no_roi_is_both_foreground_and_background(case):
    """The original samples RoIs between the limits twice, once as background with class targets."""
    picked, labels, (targets, weights) = rows_of_all_rois(case)
    assert len(np.unique(picked)) == len(picked) < len(case.outputs["labels"])
    first = (labels > 0).sum()
    np.testing.assert_array_equal(labels[:first], case.outputs["labels"][:first])
    np.testing.assert_array_equal(targets[:first], case.outputs["bbox_targets"][:first])
    assert not targets[labels == 0].any() and not weights[labels == 0].any()


def test_minibatches_with_the_call_of_py_faster_rcnn(tmp_path):
    from roi_data_layer import minibatch, ohem
    set_config({"RNG_SEED": 11, "TRAIN.HAS_RPN": False})
    for get in (get_minibatch, get_allrois_minibatch):
        settings = MinibatchSettings.from_cfg(cfg)
        asked, given = get(scene(tmp_path, 2), 3), get(scene(tmp_path, 2), 3, settings, np.random.default_rng(11))
        for name, values in given.items():
            np.testing.assert_array_equal(asked[name], values)
    assert minibatch.get_ohem_minibatch is ohem.get_ohem_minibatch
    assert minibatch.select_hard_examples is ohem.select_hard_examples


@golden("minibatch", "seeded")
def test_sampled_minibatch_keeps_the_quotas(case, tmp_path):
    settings, roidb = MinibatchSettings.from_cfg(set_config(case.config)), roidb_of(case, tmp_path)
    blobs = get_minibatch(roidb, case.params["num_classes"], settings, np.random.default_rng(3))
    per_image = settings.rois.batch_size // len(roidb)
    images, recorded = (rows["rois"][:, 0].astype(int) for rows in (blobs, case.outputs))
    np.testing.assert_array_equal(np.bincount(images), np.bincount(recorded))
    assert np.bincount(images).max() <= per_image
    foreground = np.bincount(images[blobs["labels"] > 0])
    np.testing.assert_array_equal(foreground, np.bincount(recorded[case.outputs["labels"] > 0]))
    assert foreground.max() <= round(settings.rois.fg_fraction * per_image)
    assert len(np.unique(blobs["rois"], axis=0)) == len(blobs["rois"])


@golden("regression_labels", "contract")
def test_recorded_regression_labels(case):
    data = case.inputs["bbox_target_data"]
    targets, weights = per_class_targets(data[:, 0], data[:, 1:], case.params["num_classes"],
                                         case.config["TRAIN.BBOX_INSIDE_WEIGHTS"])
    case.check("bbox_targets", targets)
    case.check("bbox_inside_weights", weights)


def test_regression_examples_are_chosen_by_their_own_threshold(tmp_path):
    """A RoI between BBOX_THRESH and FG_THRESH is background with regression targets, as in the original."""
    (entry,) = scene(tmp_path, 1)
    entry["max_overlaps"][2] = 0.6
    settings = set_config({"TRAIN.FG_THRESH": 0.7, "TRAIN.BG_THRESH_HI": 0.7, "TRAIN.BATCH_SIZE": 8})
    blobs = get_minibatch([entry], 3, MinibatchSettings.from_cfg(settings), np.random.default_rng(0))
    assert blobs["labels"].tolist() == [1, 2, 0, 0]
    np.testing.assert_allclose(blobs["bbox_targets"][2, 4:8], [0, 0.1, 0, 0.2])
    assert blobs["bbox_inside_weights"].any(axis=1).tolist() == [True, True, True, False]


def test_every_roi_has_the_same_chance():
    settings = RoISettings(fg_fraction=0.4, bg_thresh_lo=0.0)
    overlaps = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4])
    rng, counts = np.random.default_rng(0), np.zeros(7)
    for _ in range(2000):
        foreground, background = sample_rois(overlaps, 5, settings, rng)
        assert len(foreground) == 2 and len(background) == 3
        counts[np.concatenate([foreground, background])] += 1
    np.testing.assert_allclose(counts[:3], 2000 * 2 / 3, rtol=0.1)
    np.testing.assert_allclose(counts[3:], 2000 * 3 / 4, rtol=0.1)


def test_gt_boxes_of_several_images_name_their_image(tmp_path):
    settings = set_config({"TRAIN.HAS_RPN": True, "TRAIN.SCALES": [80], "TRAIN.MAX_SIZE": 100})
    blobs = get_minibatch(scene(tmp_path, 2), 3, MinibatchSettings.from_cfg(settings), np.random.default_rng(0))
    assert blobs["gt_boxes"].shape == (4, 6)
    assert blobs["gt_boxes"][:, 4:].tolist() == [[1, 0], [2, 0], [1, 1], [2, 1]]
    np.testing.assert_allclose(blobs["im_info"], [[100, 71, 100 / 56], [62, 100, 100 / 64]], rtol=1e-6)
    assert blobs["data"].shape == (2, 3, 100, 100)


def test_a_missing_image_is_named(tmp_path):
    entry = {**scene(tmp_path, 1)[0], "image": str(tmp_path / "nowhere.jpg")}
    with pytest.raises(ImageError, match="nowhere.jpg"):
        get_minibatch([entry], 3, MinibatchSettings.from_cfg(cfg), np.random.default_rng(0))


# --- order of images ---

def wide_of(case):
    grouped = case.config["TRAIN.ASPECT_GROUPING"]
    return case.inputs["width"] >= case.inputs["height"] if grouped else None


@golden("epoch_order", "seeded")
def test_every_epoch_visits_every_image(case):
    """The original never uses the last batch of an epoch; ours fills it up and uses it."""
    count, per_batch = len(case.inputs["width"]), case.config["TRAIN.IMS_PER_BATCH"]
    wide = wide_of(case)
    order = BatchOrder(count, per_batch, seed=3, wide=wide)
    for epoch in range(3):
        rows = [order[epoch * order.batches_per_epoch + row] for row in range(order.batches_per_epoch)]
        assert {row.shape for row in rows} == {(per_batch,)} == {case.outputs["batches"].shape[1:]}
        visits = np.bincount(np.concatenate(rows), minlength=count)
        assert visits.min() == 1 and visits.sum() == order.batches_per_epoch * per_batch < count + per_batch
        if wide is not None:
            mixed = sum(len(set(wide[row])) > 1 for row in rows)
            assert mixed <= len({int(side) for side in wide}) - (wide.sum() % per_batch == 0)


@pytest.mark.parametrize("count, per_batch", [(1, 1), (1, 3), (7, 2), (10, 4), (11, 3), (2, 5)])
def test_aspect_grouping_for_any_number_of_images(count, per_batch):
    rng = np.random.default_rng(count)
    wide = rng.random(count) < 0.5
    batches = epoch_batches(count, per_batch, rng, wide)
    assert batches.shape == (-(-count // per_batch), per_batch)
    assert set(batches.ravel()) == set(range(count))
    assert sum(len(set(wide[batch])) > 1 for batch in batches) <= 2


def test_order_is_a_function_of_seed_and_iteration():
    order, again, other = BatchOrder(9, 2, seed=1), BatchOrder(9, 2, seed=1), BatchOrder(9, 2, seed=2)
    forward = [order[i].tolist() for i in range(20)]
    assert [again[i].tolist() for i in reversed(range(20))] == forward[::-1]
    assert [other[i].tolist() for i in range(20)] != forward
    assert forward[:5] != forward[5:10]


# --- layers ---

@pytest.mark.parametrize("ohem, per_batch, workers", [
    (False, 1, 0), (False, 2, 0), (False, 1, 2), (True, 2, 0), (True, 1, 1), (True, 2, 2)])
def test_prefetching_and_resuming_give_the_same_batches(tmp_path, ohem, per_batch, workers):
    small_settings(USE_OHEM=ohem, IMS_PER_BATCH=per_batch)
    plain = run(*data_layer(tmp_path), 9)
    small_settings(USE_OHEM=ohem, IMS_PER_BATCH=per_batch, USE_PREFETCH=True)
    cfg.NUM_WORKERS = workers
    layer, bottom, top = data_layer(tmp_path)
    assert_equal_batches(run(layer, bottom, top, 9), plain)
    layer.seek(4)
    assert_equal_batches(run(layer, bottom, top, 3), plain[4:7])
    assert layer.iteration == 7
    layer.close()
    assert_equal_batches(run(layer, bottom, top, 2), plain[7:])


def test_the_layer_reports_the_wait_for_data(tmp_path):
    small_settings()
    layer, bottom, top = data_layer(tmp_path)
    run(layer, bottom, top, 3)
    in_line = layer.waits.take()
    assert in_line["wait"] > 0 and in_line["queue"] == 0 and layer.waits.take() == {"wait": 0, "queue": 0}
    small_settings(USE_PREFETCH=True)
    cfg.NUM_WORKERS = 2
    layer, bottom, top = data_layer(tmp_path)
    run(layer, bottom, top, 1)
    assert layer.waits.take()["queue"] == 0
    wait_until(lambda: layer._feed.ready == 6)
    run(layer, bottom, top, 1)
    assert layer.waits.take()["queue"] == 6
    layer.close()


NET = """
layer { name: "data" type: "Python" top: "data" top: "im_info" top: "gt_boxes"
  python_param { module: "roi_data_layer.layer" layer: "RoIDataLayer" param_str: "'num_classes': 3" } }
layer { name: "silence" type: "Silence" bottom: "data" bottom: "im_info" bottom: "gt_boxes" }
"""


def test_a_net_takes_minibatches_without_copying_them(tmp_path, monkeypatch):
    small_settings(HAS_RPN=True)
    (tmp_path / "net.pt").write_text(NET)
    net, made = caffe.Net(str(tmp_path / "net.pt"), caffe.TRAIN), []
    (layer, _), make = net.layers, net.layers[0].make_minibatch
    monkeypatch.setattr(layer, "make_minibatch", lambda *given: made.append(make(*given)) or made[-1])
    layer.set_roidb(scene(tmp_path, 5))
    for iteration in range(3):
        net.forward()
        for name in ("data", "im_info", "gt_boxes"):
            assert net.blobs[name].tensor.data_ptr() == made[iteration][name].ctypes.data
            np.testing.assert_array_equal(net.blobs[name].tensor.numpy(), made[iteration][name])


@pytest.mark.parametrize("prefetch, workers", [(False, 0), (True, 0), (True, 1)])
def test_a_broken_image_is_named_by_the_layer(tmp_path, prefetch, workers):
    small_settings(USE_PREFETCH=prefetch)
    cfg.NUM_WORKERS = workers
    layer, bottom, top = data_layer(tmp_path)
    (tmp_path / "scene3.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match="scene3.png"):
        run(layer, bottom, top, 6)
    layer.close()


def test_tops_follow_the_settings(tmp_path):
    small_settings(HAS_RPN=True, IMS_PER_BATCH=1, BBOX_REG=False)
    batch = run(*data_layer(tmp_path, tops=3), 1)[0]
    assert [array.shape[-1] for array in batch[1:]] == [3, 5]
    small_settings(BBOX_REG=False)
    assert len(run(*data_layer(tmp_path, tops=3), 1)[0]) == 3
    with pytest.raises(ValueError, match=r"6 tops, cfg asks for 3: data, rois, labels"):
        data_layer(tmp_path, tops=6)


def test_data_layer_reports_what_is_missing(tmp_path):
    small_settings()
    layer, bottom, top = make_layer(RoIDataLayer, "'num_classes': 3", [], 6)
    with pytest.raises(RuntimeError, match="set_roidb"):
        layer.forward(bottom, top)
    with pytest.raises(ValueError, match="empty"):
        layer.set_roidb([])
    with pytest.raises(ValueError, match="class 2, but num_classes is 2"):
        data_layer(tmp_path, classes=2)
    with pytest.raises(ValueError, match="num_classes"):
        make_layer(RoIDataLayer, "", [], 6)


@golden("ohem", "contract")
def test_recorded_ohem_layer(case):
    set_config({**case.config, "USE_GPU_NMS": False})
    names = ["cls_prob", "bbox_pred", "rois", "labels"]
    if case.config["TRAIN.BBOX_REG"]:
        names += ["bbox_targets", "bbox_inside_weights", "bbox_outside_weights"]
    tops = [name for name in case.outputs if name.endswith("_hard")]
    layer, bottom, top = make_layer(OHEMDataLayer, f"'num_classes': {case.params['num_classes']}",
                                    [case.inputs[name] for name in names], len(tops))
    layer.forward(bottom, top)
    for name, blob in zip([f"{name}_hard" for name in names[2:]], top, strict=True):
        case.check(name, blob.data)


def test_minibatches_of_a_net_with_rpn_do_not_depend_on_mining(tmp_path):
    """Its RoIs are made in the net."""
    batches = []
    for ohem in (False, True):
        small_settings(HAS_RPN=True, IMS_PER_BATCH=1, USE_OHEM=ohem)
        batches.append(run(*data_layer(tmp_path, tops=3), 2))
    for mine, theirs in zip(*batches, strict=True):
        for array, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("classes", [2, 3])
def test_boxes_that_classes_share(tmp_path, classes):
    """Labels stay; targets of all objects have the last four of eight columns."""
    small_settings(AGNOSTIC=True, BATCH_SIZE=-1)
    roidb = scene(tmp_path)
    add_bbox_regression_targets(roidb, 3, cfg.TRAIN)
    layer, bottom, top = make_layer(RoIDataLayer, f"'num_classes': {classes}", [], 6)
    layer.set_roidb(roidb)
    (_, rois, labels, targets, inside, outside), = run(layer, bottom, top, 1)
    assert len(rois) == 10 and set(labels) == {0, 1, 2}         # all RoIs of two images
    assert targets.shape == inside.shape == (10, 8) and not targets[:, :4].any()
    np.testing.assert_array_equal(outside, np.outer(labels > 0, [0] * 4 + [1] * 4))
    np.testing.assert_array_equal(inside, outside)
    entries = layer.batch_entries(0)
    wanted = [entry["bbox_targets"][row, 1:] for entry in entries for row in (0, 1, 2, 3, 4)]
    np.testing.assert_array_equal(targets[:, 4:], wanted)


def test_hard_rois_with_boxes_that_classes_share():
    small_settings(AGNOSTIC=True, BATCH_SIZE=2)
    rng, labels = np.random.default_rng(0), np.array([2.0, 0, 1, 0])
    boxes = [rng.standard_normal((4, 8)), rng.standard_normal((4, 8)), *[np.outer(labels > 0, [0] * 4 + [1] * 4)] * 2]
    rois = np.column_stack([np.zeros(4), rng.uniform(0, 9, (4, 2)), rng.uniform(20, 40, (4, 2))])
    layer, bottom, top = make_layer(OHEMDataLayer, "'num_classes': 3",
                                    [rng.dirichlet([1, 1, 1], 4), boxes[0], rois, labels, *boxes[1:]], 5)
    assert [blob.data.shape for blob in top[2:]] == [(1, 8)] * 3
    layer.forward(bottom, top)
    assert top[2].data.shape == (2, 8)
    for row, wanted in zip(top[0].data, top[2].data, strict=True):
        np.testing.assert_allclose(boxes[1][np.abs(rois - row).sum(1).argmin()], wanted, rtol=1e-6)
