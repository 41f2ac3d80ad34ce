"""Hard example mining: losses, NMS by loss, selection, and the layer's rows."""
import gc
import sys

import numpy as np
import pytest
import torch
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import make_layer

import caffe
from fast_rcnn.config import cfg, reset_cfg
from roi_data_layer import layer as layers
from roi_data_layer import ohem_tensors
from roi_data_layer.ohem import (
    add_random_rois,
    get_ohem_minibatch,
    roi_losses,
    select_hard_examples,
    select_hard_rois,
)

BOXES = ("bbox_pred", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")


@pytest.fixture(autouse=True)
def cpu_nms():
    """Recorded with the CPU's NMS, which suppresses at IoU == threshold."""
    cfg.USE_GPU_NMS = False
    yield
    reset_cfg()


def losses_of(case):
    boxes = [case.inputs[name] for name in BOXES] if case.config["TRAIN.BBOX_REG"] else []
    return roi_losses(case.inputs["cls_prob"], case.inputs["labels"], *boxes)


def thresh_of(case):
    return case.config["TRAIN.OHEM_NMS_THRESH"] if case.config["TRAIN.OHEM_USE_NMS"] else None


@golden("ohem", "quirk", name="ohem_exact_threshold")
def test_an_iou_of_exactly_the_threshold(case):
    """Follows the CPU's NMS: one RoI is dropped."""
    test_recorded_mining(case)


@golden("ohem", "contract")
def test_recorded_mining(case):
    losses = losses_of(case)
    case.check("loss", losses)
    rois, labels = case.inputs["rois"], case.inputs["labels"]
    size = case.config["TRAIN.BATCH_SIZE"]
    case.check("hard_index", select_hard_rois(losses, rois, labels, size, thresh_of(case)))
    boxes = [case.inputs[name] for name in BOXES[1:]] if case.config["TRAIN.BBOX_REG"] else []
    blobs = get_ohem_minibatch(losses, rois, labels, *boxes, batch_size=size, nms_thresh=thresh_of(case))
    np.testing.assert_array_equal(blobs.pop("losses_hard"), losses[case.outputs["hard_index"]])
    for name, rows in blobs.items():
        case.check(name, rows)


def slow_losses(prob, labels, pred, target, inside, outside):
    """The definition, one RoI and one column at a time."""
    losses = []
    for i, label in enumerate(labels.astype(int)):
        loss = -np.log(max(float(prob[i, label]), np.finfo(float).eps))
        for j in range(pred.shape[1] if label > 0 else 0):
            error = abs(float(inside[i, j]) * (float(pred[i, j]) - float(target[i, j])))
            loss += float(outside[i, j]) * (0.5 * error ** 2 if error < 1 else error - 0.5)
        losses.append(loss)
    return np.array(losses)


def random_rois(count, classes, rng):
    prob = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    labels = (rng.integers(0, classes, count) * (rng.random(count) < 0.4)).astype(np.float32)
    inside = np.zeros((count, classes, 4), np.float32)
    inside[np.arange(count), labels.astype(int)] = (1, 0.5, 2, 0)
    inside[labels == 0] = 0
    inside = inside.reshape(count, -1)
    pred, target = rng.normal(0, 1.5, (2, *inside.shape)).astype(np.float32)
    corners = rng.uniform(0, 500, (count, 2))
    rois = np.hstack([rng.integers(0, 2, (count, 1)), corners, corners + rng.uniform(20, 300, (count, 2))])
    return prob, labels, pred, target, inside, (inside > 0).astype(np.float32), rois.astype(np.float32)


def test_losses_agree_with_the_definition():
    *arrays, _ = random_rois(57, 6, np.random.default_rng(0))
    np.testing.assert_allclose(roi_losses(arrays[0], arrays[1], *arrays[2:]), slow_losses(*arrays), rtol=1e-5)


def test_losses_accept_the_shapes_a_net_gives():
    prob, labels, *boxes, _ = random_rois(9, 3, np.random.default_rng(1))
    expected = roi_losses(prob, labels, *boxes)
    np.testing.assert_array_equal(roi_losses(prob[..., None, None], labels[:, None],
                                             *(array[..., None, None] for array in boxes)), expected)


def test_equal_losses_keep_their_order():
    assert select_hard_examples(np.array([1.0, 3.0, 1.0, 3.0]), 3).tolist() == [1, 3, 0]


def test_nms_looks_at_one_image_and_label_at_a_time():
    rois = np.array([[0, 0, 0, 9, 9], [0, 0, 0, 9, 9], [1, 0, 0, 9, 9], [0, 0, 0, 9, 9]], np.float32)
    labels = np.array([1, 1, 1, 2], np.float32)
    kept = select_hard_rois(np.array([0.1, 0.4, 0.3, 0.2]), rois, labels, 10, 0.7)
    assert kept.tolist() == [1, 2, 3]


def test_the_device_of_nms_is_that_of_the_setup(monkeypatch):
    """Another detector's settings, read into cfg later, do not move it."""
    monkeypatch.setattr("fast_rcnn.nms_wrapper.has_gpu", lambda: True)
    monkeypatch.setattr("fast_rcnn.nms_wrapper.has_nms", lambda: True)
    used = []

    def keep_first(gpu, boxes, threshold):
        used.append(gpu)
        return [0]
    monkeypatch.setattr("roi_data_layer.ohem.nms_on", keep_first)
    cfg.USE_GPU_NMS, cfg.GPU_ID, cfg.TRAIN.OHEM_USE_NMS, cfg.TRAIN.HAS_RPN = True, 3, True, False
    rois, labels = np.array([[0, 0, 0, 9, 9]], np.float32), np.ones(1, np.float32)
    boxes = [np.zeros((1, 8), np.float32)] * 3 if cfg.TRAIN.BBOX_REG else []
    bottoms = [np.full((1, 2), 0.5), np.zeros((1, 8)), rois, labels, *boxes]
    layer, bottom, top = make_layer(layers.OHEMDataLayer, "'num_classes': 2", bottoms, len(bottoms) - 2)
    cfg.USE_GPU_NMS = False
    layer.forward(bottom, top)
    assert used == [3]


def test_no_rois():
    none, labels = np.zeros((0, 5), np.float32), np.zeros(0, np.float32)
    assert roi_losses(none, labels, *[np.zeros((0, 20))] * 4).shape == (0,)
    assert select_hard_rois(np.zeros(0), none, labels, 8, 0.7).shape == (0,)


def calls_of(function):
    """Total number of Python and C calls made by a function, without those of garbage collector callbacks."""
    calls = []
    gc.disable()
    sys.setprofile(lambda frame, event, argument: calls.append(event) if event in ("call", "c_call") else None)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return len(calls)


@pytest.mark.parametrize("thresh", [None, 0.7])
def test_no_loop_over_rois(thresh):
    """2,000 RoIs take as many calls as 200: there is no Python loop over RoIs."""
    few = random_rois(200, 21, np.random.default_rng(2))

    def mine(arrays):
        prob, labels, *boxes, rois = arrays
        get_ohem_minibatch(roi_losses(prob, labels, *boxes), rois, labels, *boxes[1:], batch_size=128,
                           nms_thresh=thresh)

    many = [np.concatenate([array] * 10) for array in few]      # same images, same labels
    mine(few)       # imports of the first call do not count
    assert calls_of(lambda: mine(many)) == calls_of(lambda: mine(few)) > 10


# ---- random RoIs beside the hard ones
def slow_random_rois(hard, labels, count, most_foreground, order):
    """The definition, one RoI at a time: foreground up to its limit, then background, then more foreground."""
    others = [index for index in order if index not in hard]
    foreground = [index for index in others if labels[index] > 0]
    background = [index for index in others if labels[index] == 0]
    return [*hard, *[*foreground[:most_foreground], *background, *foreground[most_foreground:]][:count]]


@pytest.mark.parametrize("num_hard, count, most_foreground", [
    (0, 16, 4), (12, 4, 1), (5, 9, 0), (0, 57, 3), (7, 80, 10), (57, 3, 1), (20, 0, 0)])
def test_random_rois_of_arrays_and_tensors(num_hard, count, most_foreground):
    rng = np.random.default_rng(num_hard)
    labels = (rng.integers(0, 6, 57) * (rng.random(57) < 0.3)).astype(np.float32)
    hard, order = rng.permutation(57)[:num_hard], rng.permutation(57)
    expected = slow_random_rois(hard, labels, count, most_foreground, order)
    assert add_random_rois(hard, labels[:, None], count, most_foreground, order).tolist() == expected
    assert ohem_tensors.add_random_rois(*tensors([hard, labels]), count, most_foreground,
                                        torch.from_numpy(order)).tolist() == expected


def test_random_rois_where_one_kind_is_lacking():
    order, none = np.array([2, 0, 3, 1]), np.zeros(0, np.int64)
    assert add_random_rois(none, np.zeros(4), 3, 1, order).tolist() == [2, 0, 3]
    assert add_random_rois(none, np.ones(4), 3, 1, order).tolist() == [2, 0, 3]
    assert add_random_rois(none, np.array([0, 1, 1, 0]), 3, 1, order).tolist() == [2, 0, 3]
    assert add_random_rois(none, np.array([0, 1, 1, 0]), 4, 1, order).tolist() == [2, 0, 3, 1]
    assert add_random_rois(none, np.zeros(0), 3, 1, none).tolist() == []


# ---- the same on tensors
def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def check_tensors(prob, labels, *boxes, rois, count):
    """Losses to rounding (of the logarithm); the chosen rows exactly, in their order."""
    losses = roi_losses(prob, labels, *boxes)
    got = ohem_tensors.roi_losses(*tensors([prob, labels, *boxes]))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), losses, rtol=1e-14)
    want = get_ohem_minibatch(losses, rois, labels, *boxes[1:], batch_size=count)
    hard = ohem_tensors.select_hard_examples(got, count)
    for array, theirs in zip([rois, labels, *boxes[1:]], list(want.values())[1:], strict=True):
        np.testing.assert_array_equal(torch.from_numpy(array).index_select(0, hard).numpy(), theirs)


@pytest.mark.parametrize("count", [1, 19, 57, 64])
@pytest.mark.parametrize("classes", [2, 6])
def test_tensors_give_the_rows_of_arrays(classes, count):
    *arrays, rois = random_rois(57, classes, np.random.default_rng(classes))
    check_tensors(*arrays, rois=rois, count=count)
    check_tensors(*arrays[:2], rois=rois, count=count)


def test_tensors_with_ties_and_a_probability_of_0():
    prob, labels, pred, target, inside, outside, rois = random_rois(23, 6, np.random.default_rng(3))
    prob[np.arange(23), labels.astype(int)] = np.repeat([0, 0.25, 0.5], 8)[:23]
    for array in (pred, target):        # the same errors in each class
        array[...] = np.tile(array[:, :4].round(1), 6)
        array[12:] = array[:11]
    labels[12:] = labels[:11]
    inside[12:], outside[12:] = inside[:11], outside[:11]
    check_tensors(prob, labels, pred, target, inside, outside, rois=rois, count=20)
    losses = ohem_tensors.roi_losses(*tensors([prob, labels, pred, target, inside, outside]))
    assert losses.isfinite().all() and len(set(losses.tolist())) < 23


def test_tensors_of_equal_errors_in_several_classes_tie():
    """The sum of four errors does not depend on their columns."""
    errors = np.array([0.1, 0.7, 1.3, 0.3], np.float32)
    labels = np.arange(1, 6, dtype=np.float32)
    inside = np.kron(np.eye(6, dtype=np.float32)[1:], np.ones(4, np.float32))
    arrays = [np.full((5, 6), 0.5, np.float32), labels, np.tile(errors, (5, 6)), np.zeros((5, 24), np.float32), inside,
              inside]
    assert len(set(ohem_tensors.roi_losses(*tensors(arrays)).tolist())) == 1
    np.testing.assert_array_equal(ohem_tensors.roi_losses(*tensors(arrays))[0], roi_losses(*arrays)[0])


def test_tensors_with_weights_of_all_classes_and_ignored_values():
    prob, labels, pred, target, inside, outside, rois = random_rois(31, 6, np.random.default_rng(4))
    pred[inside == 0] = np.inf
    check_tensors(prob, labels, pred, target, inside, outside, rois=rois, count=7)
    rng = np.random.default_rng(5)
    boxes = rng.uniform(0.1, 2, (4, 31, 24)).astype(np.float32)
    check_tensors(prob, labels, *boxes, rois=rois, count=7)


def test_a_loss_of_nan_comes_last():
    losses = np.array([1.0, np.nan, 3.0, np.nan, 1.0])
    order = ohem_tensors.select_hard_examples(torch.from_numpy(losses), 9)
    assert order.tolist() == select_hard_examples(losses, 9).tolist() == [2, 0, 4, 1, 3]


def test_tensors_of_no_rois():
    none = [np.zeros(shape, np.float32) for shape in ((0, 6), (0,), *[(0, 24)] * 4)]
    check_tensors(*none, rois=np.zeros((0, 5), np.float32), count=8)


@pytest.mark.parametrize("warmup, share", [(0, 0.0), (1, 0.0), (0, 0.25)])
@pytest.mark.parametrize("regression", [True, False])
def test_the_layer_on_a_gpu_gives_the_tops_of_the_host(regression, warmup, share, monkeypatch):
    """With CPU tensors in place of a GPU's, whose values must not be read."""
    cfg.TRAIN.HAS_RPN, cfg.TRAIN.BBOX_REG, cfg.TRAIN.OHEM_USE_NMS = False, regression, False
    cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.OHEM_WARMUP, cfg.TRAIN.OHEM_RANDOM_SHARE = 13, warmup, share
    prob, labels, pred, target, inside, outside, rois = random_rois(29, 6, np.random.default_rng(6))
    arrays = [prob, pred, rois, labels, *([target, inside, outside] if regression else [])]
    tops = {}
    for on_gpu in (False, True):
        bottom, top = [caffe.Blob() for _ in arrays], [caffe.Blob() for _ in range(5 if regression else 2)]
        for blob, values in zip(bottom, arrays, strict=True):
            blob.set_data(values)
        layer = layers.OHEMDataLayer()
        layer.param_str = "'num_classes': 6"
        layer.setup(bottom, top)
        with monkeypatch.context() as patch:
            if on_gpu:
                patch.setattr(layers, "is_on_gpu", lambda blob: True)
                patch.setattr(caffe.Blob, "data", property(lambda blob: pytest.fail("values were fetched")))
            layer.forward(bottom, top)
        tops[on_gpu] = [blob.data for blob in top]
        stats = layer.stats
        assert stats.keys() == {"all RoIs", "hard"} and (warmup or stats["hard"] > stats["all RoIs"])
    for mine, theirs in zip(tops[True], tops[False], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("short", range(6))
def test_arrays_of_other_lengths_are_refused(short):
    arrays = [np.full((5, 3), 1 / 3), np.ones(5, int), *[np.zeros((5, 12))] * 4]
    arrays[short] = arrays[short][:4]
    with pytest.raises(ValueError, match="roi_losses: expected one row for each RoI .* found .*4"):
        roi_losses(*arrays)
    with pytest.raises(ValueError, match="four arrays of boxes or none"):
        roi_losses(*arrays[:4])


# ---- the layer's settings for random RoIs
def mining_layer(**settings):
    """An OHEMDataLayer with these settings of cfg.TRAIN, and blobs with 61 RoIs of two images for it."""
    cfg.TRAIN.update(BATCH_SIZE=16, OHEM_USE_NMS=False, **settings)
    prob, labels, pred, target, inside, outside, rois = random_rois(61, 6, np.random.default_rng(7))
    bottom, top = [caffe.Blob() for _ in range(7)], [caffe.Blob() for _ in range(5)]
    for blob, values in zip(bottom, [prob, pred, rois, labels, target, inside, outside], strict=True):
        blob.set_data(values)
    layer = layers.OHEMDataLayer()
    layer.param_str = "'num_classes': 6"
    layer.setup(bottom, top)
    return layer, bottom, top, roi_losses(prob, labels, pred, target, inside, outside)


def chosen(layer, bottom, top):
    """Indices of the RoIs that the layer chooses in its next pass."""
    layer.forward(bottom, top)
    all_rois = bottom[2].data.tolist()
    return [all_rois.index(roi) for roi in top[0].data.tolist()]


@pytest.mark.parametrize("has_rpn", [False, True])
def test_the_layer_mines_after_the_warmup(has_rpn):
    """Of 16 random RoIs a quarter is foreground."""
    layer, bottom, top, losses = mining_layer(OHEM_WARMUP=2, HAS_RPN=has_rpn)
    layer.iter_size = 3
    hard, passes = select_hard_examples(losses, 16).tolist(), [chosen(layer, bottom, top) for _ in range(8)]
    assert [found == hard for found in passes] == [False] * 6 + [True] * 2
    for found in passes[:6]:
        assert len(set(found)) == 16 and (bottom[3].data[found] > 0).tolist() == [True] * 4 + [False] * 12
    assert len(set(map(tuple, passes[:6]))) == 6        # other numbers in each pass
    for start in (0, 4, 6):
        layer.seek(start)
        assert [chosen(layer, bottom, top) for _ in range(8 - start)] == passes[start:]


@pytest.mark.parametrize("use_nms", [False, True])
def test_a_share_of_random_rois(use_nms):
    layer, bottom, top, losses = mining_layer(OHEM_RANDOM_SHARE=0.25, OHEM_NMS_THRESH=0.5)
    layer._nms_thresh = 0.5 if use_nms else None
    hard = select_hard_rois(losses, bottom[2].data, bottom[3].data, 12, layer._nms_thresh).tolist()
    passes = [chosen(layer, bottom, top) for _ in range(3)]
    for found in passes:
        assert found[:12] == hard and len(set(found)) == 16
        assert (bottom[3].data[found[12:]] > 0).tolist() == [True, False, False, False]
    assert len({tuple(found[12:]) for found in passes}) == 3
    layer.seek(1)
    assert chosen(layer, bottom, top) == passes[1]


def test_the_random_rois_do_not_depend_on_the_number_of_processes(monkeypatch):
    """Two processes draw, pass by pass, what one draws with iter_size 2; both leave the warm-up together."""
    layer, bottom, top, _ = mining_layer(OHEM_WARMUP=2, OHEM_RANDOM_SHARE=0.5)
    layer.iter_size = 2
    alone, shared = [chosen(layer, bottom, top) for _ in range(8)], {}
    monkeypatch.setattr("utils.parallel.count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("utils.parallel.rank", lambda rank=rank: rank)
        layer.seek(0)
        layer.iter_size = 1
        shared.update({2 * number + rank: chosen(layer, bottom, top) for number in range(4)})
    assert [shared[number] for number in range(8)] == alone
