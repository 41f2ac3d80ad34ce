"""The kernels on the CPU: equal to slow loops, and the same for any number of threads."""
import kernel_oracles as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe.kernels import nms, nms_sorted, roi_pool_backward, roi_pool_forward, smooth_l1


def pooling_case(dtype=np.float32, seed=0, images=3, channels=5, height=11, width=14, count=29, scale=0.25):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, channels, height, width)).astype(dtype)
    x[:, 0] = np.round(x[:, 0])   # equal values: the first must be chosen
    return x, oracle.random_rois(rng, count, images, width, height, scale), scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [(4, 3), (7, 6), (1, 2)])
def test_roi_pooling_equals_the_loops(dtype, bins):
    x, rois, scale = pooling_case(dtype)
    y, argmax = roi_pool_forward(torch.tensor(x), torch.tensor(rois), *bins, scale)
    want, want_argmax = oracle.roi_pool(x, rois, *bins, scale)
    np.testing.assert_array_equal(y.numpy(), want)
    np.testing.assert_array_equal(argmax.numpy(), want_argmax)

    dy = np.random.default_rng(1).standard_normal(want.shape).astype(dtype)
    dx = roi_pool_backward(torch.tensor(dy), argmax, torch.tensor(rois), x.shape, scale)
    np.testing.assert_allclose(dx.numpy(), oracle.roi_pool_gradient(dy, want_argmax, rois, x.shape, scale),
                               rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length", [57, 114, 121])
def test_a_bin_that_extends_past_its_roi(length):
    """ceil(7 * (length / 7)) is length + 1 in float32 for lengths whose division by 7 is inexact."""
    overrun = oracle.bin_span(6, oracle.bin_size(0, length - 1, 7), 0, 1000)[1]
    assert overrun == length + 1
    x = np.zeros((1, 2, 3, length + 5), np.float32)
    x[0, 0, 1, length] = 9     # the pixel just past the RoI
    x[0, 1, 1, length - 1] = 5
    rois = np.array([[0, 0, 0, length - 1, 2]], np.float32)
    y, argmax = roi_pool_forward(torch.tensor(x), torch.tensor(rois), 2, 7, 1.0)
    want, want_argmax = oracle.roi_pool(x, rois, 2, 7, 1.0)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(argmax, want_argmax)
    assert y[0, 0, 0, 6] == 9

    dx = roi_pool_backward(torch.ones_like(y), argmax, torch.tensor(rois), x.shape, 1.0).numpy()
    np.testing.assert_array_equal(dx, oracle.roi_pool_gradient(np.ones_like(want), want_argmax, rois, x.shape, 1.0))
    assert dx[0, 0, 1, length] == 0 and dx[0, 1, 1, length - 1] == 2


def test_corners_are_rounded_half_away_from_zero():
    x = torch.arange(6.0).reshape(1, 1, 1, 6)
    rois = torch.tensor([[0, 0.5, 0, 2.5, 0], [0, -2.5, 0, -0.5, 0], [0, 1.4999, 0, 4.5, 0]])
    y, _ = roi_pool_forward(x, rois, 1, 1, 1.0)
    assert y.flatten().tolist() == [3, 0, 5]   # pixels 1..3; -3..-1: outside the map; 1..5


def test_values_that_cannot_be_a_maximum():
    x = torch.full((1, 1, 2, 2), float("nan"))
    y, argmax = roi_pool_forward(x, torch.tensor([[0.0, 0, 0, 1, 1]]), 1, 1, 1.0)
    assert y.item() == np.finfo(np.float32).min and argmax.item() == -1


def test_the_layout_of_the_features_does_not_matter():
    x, rois, scale = pooling_case(channels=130)
    plain = roi_pool_forward(torch.tensor(x), torch.tensor(rois), 3, 2, scale)
    other = roi_pool_forward(torch.tensor(x).to(memory_format=torch.channels_last), torch.tensor(rois), 3, 2, scale)
    assert torch.equal(plain[0], other[0]) and torch.equal(plain[1], other[1])


def test_any_number_of_threads_gives_the_same_bits():
    x, rois, scale = pooling_case(channels=70, count=90, height=9, width=7)
    dy = torch.tensor(np.random.default_rng(2).standard_normal((90, 70, 4, 5)).astype(np.float32))
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y, argmax = roi_pool_forward(torch.tensor(x), torch.tensor(rois), 4, 5, scale)
            assert y.numel() > 1 << 15   # enough work to start threads
            results.append((y, argmax, roi_pool_backward(dy, argmax, torch.tensor(rois), x.shape, scale)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_pooling_of_nothing():
    x = torch.ones(2, 3, 4, 5)
    y, argmax = roi_pool_forward(x, torch.zeros(0, 5), 7, 6, 1.0)
    assert y.shape == (0, 3, 7, 6)
    assert not roi_pool_backward(y, argmax, torch.zeros(0, 5), x.shape, 1.0).any()
    empty, _ = roi_pool_forward(torch.ones(2, 3, 0, 5), torch.zeros(4, 5), 7, 6, 1.0)
    assert empty.shape == (4, 3, 7, 6) and not empty.any()


@pytest.mark.parametrize(("roi", "message"), [
    ([2, 0, 0, 1, 1], "roi 1 is .* the batch has 2 image"), ([-1, 0, 0, 1, 1], "roi 1"),
    ([0, 0, float("nan"), 1, 1], "must be finite"), ([float("nan"), 0, 0, 1, 1], "roi 1")])
def test_rois_that_cannot_be_pooled(roi, message):
    with pytest.raises(ValueError, match=message):
        roi_pool_forward(torch.ones(2, 3, 4, 5), torch.tensor([[0, 0, 0, 1, 1], roi], dtype=torch.float32), 2, 2, 1.0)


def test_huge_rois_do_not_overflow():
    x = torch.arange(20.0).reshape(1, 1, 4, 5)
    y, argmax = roi_pool_forward(x, torch.tensor([[0, -1e30, -1e30, 1e30, 1e30]]), 2, 2, 1.0)
    assert y.max() == 19
    assert roi_pool_backward(torch.ones_like(y), argmax, torch.tensor([[0, -1e30, -1e30, 1e30, 1e30]]),
                             x.shape, 1.0)[0, 0, 3, 4] == 1


def test_wrong_arguments_of_roi_pooling():
    with pytest.raises(ValueError, match=r"rois must have the shape \(R, 5\), got \(3, 4\)"):
        roi_pool_forward(torch.ones(2, 3, 4, 5), torch.ones(3, 4), 2, 2, 1.0)
    with pytest.raises(ValueError, match=r"x must have the shape"):
        roi_pool_forward(torch.ones(3, 4, 5), torch.ones(3, 5), 2, 2, 1.0)
    with pytest.raises(TypeError, match="float16"):
        roi_pool_forward(torch.ones(2, 3, 4, 5, dtype=torch.float16), torch.ones(3, 5), 2, 2, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [1.0, 3.0, 0.5])
def test_smooth_l1_equals_the_loop(dtype, sigma):
    rng = np.random.default_rng(3)
    prediction, target, inside, outside = rng.uniform(-2, 2, (4, 5, 3, 7)).astype(dtype)
    loss, slope = smooth_l1(*map(torch.tensor, (prediction, target, inside, outside)), sigma=sigma)
    want_loss, want_slope = oracle.smooth_l1(prediction, target, inside, outside, sigma)
    np.testing.assert_allclose(loss, want_loss, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(slope, want_slope, rtol=2e-5, atol=1e-6)
    ones = np.ones_like(inside)
    np.testing.assert_allclose(smooth_l1(torch.tensor(prediction), torch.tensor(target), sigma=sigma)[0],
                               oracle.smooth_l1(prediction, target, ones, ones, sigma)[0], rtol=2e-5, atol=1e-6)


def test_smooth_l1_of_nothing_and_of_other_shapes():
    loss, slope = smooth_l1(torch.zeros(0, 4), torch.zeros(0, 4))
    assert loss.shape == slope.shape == (0, 4)
    with pytest.raises(ValueError, match=r"\(2, 4\) does not fit the prediction \(3, 4\)"):
        smooth_l1(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(TypeError, match="int64"):
        smooth_l1(torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.int64))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 7, 64, 65, 150])
def test_nms_equals_the_loop(threshold, count):
    dets = oracle.random_dets(np.random.default_rng(count), count)
    want = oracle.nms(dets, lambda iou: iou > np.float32(threshold))
    got = nms(dets, threshold)
    assert got.dtype == np.int64 and got.tolist() == want
    assert nms(torch.tensor(dets), threshold).tolist() == want
    assert nms(dets, threshold, max_keep=3).tolist() == want[:3]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nms_keeps_boxes_that_do_not_overlap(data):
    side = st.integers(0, 40)
    rows = data.draw(st.lists(st.tuples(side, side, side, side, st.floats(-2, 2, width=32)), max_size=25))
    dets = np.array(rows, np.float32).reshape(-1, 5)
    dets[:, 2:4] += dets[:, :2]
    threshold = data.draw(st.floats(0, 1))
    kept = nms(dets, threshold).tolist()
    overlaps = [[oracle.iou(a, b) for b in dets] for a in dets]
    assert all(overlaps[a][b] <= np.float32(threshold) for a in kept for b in kept if a != b)
    for i in set(range(len(dets))) - set(kept):
        assert any(overlaps[k][i] > np.float32(threshold) and dets[k, 4] >= dets[i, 4] for k in kept)


def below(threshold):
    """The threshold of `nms` that drops boxes with an IoU of at least `threshold`, a double."""
    least = np.float32(threshold)
    if least < np.float64(threshold):
        least = np.nextafter(least, np.float32(np.inf))
    return float(np.nextafter(least, np.float32(-np.inf)))


EXACT = [0.0, -0.0, -1.0, -1e-50, 1e-50, 1e-45, 0.1, 0.25, 1 / 3, float(np.float32(1 / 3)), 0.3, 0.5, 0.5 + 1e-12,
         0.5 - 1e-12, 2 / 3, 0.7, 0.75, 1.0, 1.0 + 1e-9, 2.0]


@pytest.mark.parametrize("threshold", EXACT)
@pytest.mark.parametrize("max_keep", [0, 1, 4, 1000])
def test_nms_can_drop_boxes_at_the_threshold(threshold, max_keep):
    """py-faster-rcnn's cpu_nms does: IoU >= threshold, compared in double."""
    rng, met = np.random.default_rng(17), 0
    for count in (0, 1, 2, 20, 33, 70):
        corners = rng.integers(0, 3, (count, 2))
        dets = np.column_stack([corners, corners + rng.integers(-1, 4, (count, 2)),
                                rng.choice([0.1, 0.5, 0.5, 0.9, np.nan, np.inf, -np.inf, 0.0, -0.0], count)])
        dets = dets.astype(np.float32)
        met += sum(float(oracle.iou(a, b)) == threshold for a in dets for b in dets)
        want = oracle.nms(dets, lambda iou: float(iou) >= threshold)
        want = want[:max_keep] if max_keep else want
        assert nms(dets, below(threshold), max_keep).tolist() == want
        assert nms(torch.tensor(dets), below(threshold), max_keep).tolist() == want
    assert met or threshold not in (0.0, 0.25, 0.5, float(np.float32(1 / 3)), 1.0)


@pytest.mark.parametrize("arrange", [lambda dets: dets[::-1], lambda dets: dets.astype(np.float64), np.asfortranarray,
                                     lambda dets: np.hstack([dets, dets])[:, :5]])
def test_nms_of_any_layout_does_not_change_the_array(arrange):
    dets = arrange(oracle.random_dets(np.random.default_rng(3), 50))
    dets.flags.writeable = False
    copy = dets.copy()
    assert nms(dets, 0.4).tolist() == oracle.nms(np.ascontiguousarray(copy), lambda iou: iou > np.float32(0.4))
    np.testing.assert_array_equal(dets, copy)


def test_nms_of_odd_input():
    assert nms(np.zeros((0, 5), np.float32), 0.5).shape == (0,)
    assert nms(np.full((3, 5), np.nan, np.float32), 0.5).tolist() == []
    points = np.array([[5, 5, 4, 4, 0.9], [5, 5, 4, 4, 0.8]], np.float32)   # no area: a division would be 0 / 0
    assert nms(points, 0.5).tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"\(N, 5\), got \(2, 4\)"):
        nms(np.zeros((2, 4), np.float32), 0.5)
    with pytest.raises(ValueError, match="threshold is NaN"):
        nms(points, float("nan"))


@pytest.mark.parametrize("max_keep", [0, 5, 70, 400])
def test_nms_sorted_fills_the_remaining_places(max_keep):
    dets = oracle.random_dets(np.random.default_rng(9), 70)
    dets[:, 4] = np.linspace(1, 0, 70)
    dets = torch.tensor(dets)
    kept = nms(dets, 0.5, max_keep).tolist()
    places = max_keep if 0 < max_keep < 70 else 70
    assert nms_sorted(dets[:, :4], 0.5, max_keep).tolist() == kept + [70] * (places - len(kept))
    doubled = torch.cat([dets, dets.flip(0)])[:, :4]        # the later boxes suppress nothing
    assert nms_sorted(doubled, 0.5).tolist()[:len(nms(dets, 0.5))] == nms(dets, 0.5).tolist()


def test_nms_sorted_of_odd_input():
    assert nms_sorted(torch.zeros(0, 4), 0.5).shape == (0,)
    with pytest.raises(ValueError, match=r"nms_sorted: .*\(N, 4\), got \(2, 5\)"):
        nms_sorted(torch.zeros(2, 5), 0.5)


def test_requires_grad_of_the_caller_does_not_matter():
    x = torch.ones(1, 2, 3, 4, requires_grad=True)
    y, _ = roi_pool_forward(x, torch.tensor([[0.0, 0, 0, 3, 2]]), 1, 1, 1.0)
    assert not y.requires_grad
