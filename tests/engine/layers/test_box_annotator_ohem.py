"""BoxAnnotatorOHEM against loops over images and RoIs."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import LayerError

PARAM = "type: 'BoxAnnotatorOHEM' box_annotator_ohem_param {{ roi_per_img: {} {} }}"


def chosen(count, ignore=-1.0):
    """An oracle of the tops: keeps RoIs by descending loss, up to `count` per image."""
    def of(rois, losses, labels, weights):
        place = [(n, *rest) for n in range(len(rois)) for rest in np.ndindex(rois.shape[2:])]
        images = [int(rois[(n, 0, *rest)]) for n, *rest in place]
        losses, labels = losses.reshape(-1), labels.reshape(-1)
        top = np.full((len(rois), 1, *rois.shape[2:]), ignore), np.zeros_like(weights)
        room = dict.fromkeys(images, count)
        for index in sorted(range(len(place)), key=lambda index: -losses[index]):
            if room[images[index]] > 0:
                room[images[index]] -= 1
                n, *rest = place[index]
                top[0][(n, 0, *rest)] = labels[index]
                top[1][(n, slice(None), *rest)] = weights[(n, slice(None), *rest)]
        return top
    return of


def rois(images, *more):
    corners = 20 * abs(randn(len(images), 5, *more))
    corners[:, 0] = np.reshape(images, (-1, *[1] * len(more)))
    return corners


def bottoms(images, losses=None):
    count = len(images)
    losses = randn(count, 1) if losses is None else np.array(losses, float).reshape(-1, 1)
    return [rois(images), losses, np.arange(count) % 4.0, randn(count, 8)]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("images", [[0] * 7, [0, 0, 0, 1, 1, 1, 1], [2, 0, 2, 0, 2, 2, 1]])
def test_values_and_gradients(count, images):
    check(PARAM.format(count, ""), bottoms(images), chosen(count), num_tops=2, learns=[2, 3])


def test_positions_of_maps_count_as_rois_and_ignore_label_is_used():
    shapes = [randn(4, 1, 2, 3), np.arange(24.0).reshape(4, 1, 2, 3), randn(4, 8, 2, 3)]
    check(PARAM.format(5, "ignore_label: 99"), [rois([0, 1, 1, 0], 2, 3), *shapes], chosen(5, 99), num_tops=2,
          learns=[2, 3])


@pytest.mark.parametrize("losses, kept", [
    ([3, 3, 3, 3, 3], [0, 1]), ([1, 2, 2, 2, 1], [1, 2]), ([0, 1, 0, 0, 0], [0, 1]),
    ([1, np.inf, np.nan, 2, 3], [1, 2])])
def test_ties_keep_the_earlier_roi_and_nan_ranks_first(losses, kept):
    values = bottoms([0] * 5, losses)
    labels, weights = Runner(PARAM.format(2, ""), values, num_tops=2).forward()
    assert [index for index, label in enumerate(labels.flatten()) if label != -1] == kept
    np.testing.assert_allclose(weights[kept], values[3][kept], rtol=1e-6)
    assert not np.delete(weights, kept, 0).any()


def test_rois_of_two_axes_and_losses_of_four_fit_together():
    values = bottoms([0, 1, 0])
    four = [values[0][..., None, None], values[1][..., None, None], values[2], values[3][..., None, None]]
    labels, weights = Runner(PARAM.format(1, ""), four, num_tops=2).forward()
    wanted = chosen(1)(*values)
    np.testing.assert_array_equal(labels[..., 0, 0], wanted[0])
    np.testing.assert_allclose(weights[..., 0, 0], wanted[1], rtol=1e-6)
    two = [values[0], four[1], *values[2:]]
    np.testing.assert_array_equal(Runner(PARAM.format(1, ""), two, num_tops=2).forward()[0], wanted[0])


def test_losses_get_no_gradient_and_an_empty_batch_is_accepted():
    runner = Runner(PARAM.format(1, ""), bottoms([0, 0]), num_tops=2)
    runner.forward()
    gradients = runner.backward([np.ones((2, 1)), np.ones((2, 8))], [True] * 4)
    assert not gradients[0].any() and not gradients[1].any() and gradients[2].sum() == 1 and gradients[3].sum() == 8
    empty = Runner(PARAM.format(1, ""), [np.zeros((0, 5)), np.zeros((0, 1)), np.zeros(0), np.zeros((0, 8))], num_tops=2)
    assert [top.shape for top in empty.forward()] == [(0, 1), (0, 8)]


def test_bad_input():
    good = [(4, 5), (4, 1), (4,), (4, 8)]
    refused("type: 'BoxAnnotatorOHEM'", good, "a roi_per_img of at least 1, found 0", num_tops=2)
    for index, shape, message in ((0, (4, 4), r"expected RoIs of shape \(R, 5\), found \(4, 4\)"),
                                  (1, (3, 1), r"expected 4 losses, one for each RoI, found 3"),
                                  (2, (5,), r"expected 4 labels, one for each RoI, found 5"),
                                  (3, (3, 8), r"expected weights of shape \(R, C\) for RoIs of shape \(4, 5\), found")):
        refused(PARAM.format(2, ""), [*good[:index], shape, *good[index + 1:]], message, num_tops=2)
    refused(PARAM.format(2, ""), good, "takes 2 top")
    for image in (-1.0, np.nan):
        with pytest.raises(LayerError, match=r"layer 'tested' \(BoxAnnotatorOHEM\): the image of a RoI must be 0 or"):
            Runner(PARAM.format(2, ""), bottoms([0, image]), num_tops=2).forward()
