"""Statistics of objects and anchors, and the anchors and settings that are advised."""
import numpy as np
import pytest

from checks.data_advice import smallest_proposal, study
from datasets.objects import ObjectTable
from fast_rcnn.config import make_settings
from rpn.anchor_reach import AnchorLayout, best_overlaps

CLASSES = ("__background__", "cell", "dust", "nothing")
VGG16 = AnchorLayout(16, (8, 16, 32), (0.5, 1, 2))


def objects(*groups, size=(500, 400), images=13):
    """Squares anywhere in images of one size; a group is (label, count, shortest and longest side)."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.full(count, label) for label, count, _, _ in groups])
    sides = np.concatenate([rng.uniform(low, high, count) for _, count, low, high in groups])[:, None]
    corners = rng.uniform(0, 1, (len(labels), 2)) * (np.array(size) - sides)
    return ObjectTable(np.hstack([corners, corners + sides - 1]), labels, np.arange(len(labels)) % images,
                       np.tile(np.array(size, float), (images, 1)))


def settings(**train):
    return make_settings({"TRAIN.SCALES": (400,), "TRAIN.MAX_SIZE": 1000,
                          **{f"TRAIN.{key}": value for key, value in train.items()}})


def highest(table, layout, scale, max_size=1000):
    return best_overlaps(*table.scaled(scale, max_size), layout).max(axis=1)


def test_statistics_of_the_present_anchors():
    table = objects((1, 41, 60, 140), (2, 17, 20, 90))
    found, overlaps = study(table, CLASSES, VGG16, settings()), highest(table, VGG16, 400)
    assert (found.images, found.objects, found.thresholds) == (13, 58, (0.3, 0.5, 0.7))
    assert found.present.below == tuple(int((overlaps < limit).sum()) for limit in (0.3, 0.5, 0.7))
    cell, dust = found.classes
    assert (cell.name, cell.objects, cell.images) == ("cell", 41, 13) and (dust.name, dust.objects) == ("dust", 17)
    assert dust.below == tuple(int((overlaps[table.labels == 2] < limit).sum()) for limit in (0.3, 0.5, 0.7))
    assert dust.width == pytest.approx(np.median(table.boxes[41:, 2] - table.boxes[41:, 0] + 1), abs=0.5)
    shares = [(overlaps[table.labels == label] < 0.5).mean() for label in (1, 2)]
    fits = [np.minimum(overlaps[table.labels == label], 0.7).mean() for label in (1, 2)]
    assert (found.present.missed, found.present.fit) == pytest.approx((np.mean(shares), np.mean(fits)), rel=1e-6)
    sides = table.boxes[:, 2] - table.boxes[:, 0] + 1
    np.testing.assert_allclose(found.sizes["width"], np.quantile(sides, found.quantiles), rtol=1e-6)


def test_anchors_that_do_not_fit_are_replaced_at_the_same_size():
    table = objects((1, 90, 60, 100))
    found = study(table, CLASSES, VGG16, settings())
    assert found.advised.scales == (400,) and not found.keeps_anchors
    assert found.advised.below == tuple(int((highest(table, found.advised.layout, 400) < limit).sum())
                                        for limit in (0.3, 0.5, 0.7))
    assert found.present.missed > 0.3 and found.advised.missed < 0.05
    assert max(found.advised.layout.scales) < 8 and not any("SCALES" in key for key in found.settings)


def test_images_are_enlarged_for_objects_smaller_than_cells():
    table = objects((1, 90, 20, 24))
    found = study(table, CLASSES, VGG16, settings())
    before, after = next(option for option in found.options if option.scales == (400,)), found.advised
    assert before.missed > 0.05 >= after.missed and after.scales[0] > 400
    smaller = [option for option in found.options if 400 <= option.scales[0] < after.scales[0]]
    assert all(option.missed > 0.05 for option in smaller)
    assert found.settings == {
        "TRAIN.SCALES": after.scales, "TRAIN.MAX_SIZE": after.max_size, "TEST.SCALES": after.scales,
        "TEST.MAX_SIZE": after.max_size, "TRAIN.RPN_MIN_SIZE": 10, "TEST.RPN_MIN_SIZE": 10}
    assert after.max_size == -(-after.scales[0] * 1000 // 4000) * 10
    assert after.pixels == pytest.approx((after.scales[0] / 400) ** 2)


def test_max_size_does_not_limit_the_scale_of_images():
    table = objects((1, 90, 20, 24), size=(1000, 400))
    found = study(table, CLASSES, VGG16, settings(MAX_SIZE=400))        # scaled to 400 x 160
    assert found.present.pixels == 1 and found.present.below == tuple(
        int((highest(table, VGG16, 400, 400) < limit).sum()) for limit in (0.3, 0.5, 0.7))
    assert found.advised.max_size == 2.5 * found.advised.scales[0]
    assert found.advised.pixels == pytest.approx((found.advised.scales[0] / 160) ** 2)


def test_images_are_enlarged_at_most_twice_and_only_as_far_as_it_helps():
    found = study(objects((1, 90, 4, 6)), CLASSES, VGG16, settings())
    assert [option.scales for option in found.options] == [(400,), (500,), (600,), (800,)]
    assert found.advised.missed <= min(option.missed for option in found.options) + 0.01


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    found = study(objects((1, 300, 60, 100), (2, 9, 14, 18)), CLASSES, VGG16, settings())
    assert found.advised.scales > (400,)
    assert min(found.advised.layout.scales) < 3 < max(found.advised.layout.scales)


def test_after_following_the_advice_no_advice_is_left():
    table = objects((1, 90, 20, 24), (2, 31, 40, 90))
    first = study(table, CLASSES, VGG16, settings())
    advised = make_settings({"TRAIN.SCALES": (400,), "TRAIN.MAX_SIZE": 1000}, first.settings)
    again = study(table, CLASSES, first.advised.layout, advised)
    assert again.keeps_anchors and again.settings == {}
    assert again.advised.below == first.advised.below


def test_several_training_scales():
    table = objects((1, 57, 60, 100))
    found = study(table, CLASSES, VGG16, settings(SCALES=(300, 700)))
    both = np.maximum(highest(table, VGG16, 300), highest(table, VGG16, 700))
    assert found.present.below == tuple(int((both < limit).sum()) for limit in (0.3, 0.5, 0.7))
    assert found.present.scales == found.advised.scales == (300, 700) and found.present.pixels == 1


def test_thresholds_follow_the_labels():
    assert study(objects((1, 9, 60, 100)), CLASSES, VGG16, settings(RPN_NEGATIVE_OVERLAP=0.4)).thresholds == (
        0.4, 0.5, 0.7)
    assert study(objects((1, 9, 60, 100)), CLASSES, VGG16, settings(RPN_NEGATIVE_OVERLAP=0.5)).thresholds == (0.5, 0.7)


def test_the_smallest_proposal_ignores_stray_boxes():
    assert smallest_proposal(objects((1, 400, 20.5, 20.5), (1, 1, 3, 3))) == 10
    assert smallest_proposal(objects((1, 5, 1, 1.5))) == 1
