"""The objects of a data set, scaled as they are for training."""
import numpy as np
import pytest

from datasets.objects import ObjectTable
from datasets.source import DatasetError
from roi_data_layer.minibatch import rpn_blobs
from utils.blob import prep_im_for_blob

SIZES = [(97, 61), (64, 64), (40, 120)]
ROIDB = [{"boxes": np.array([[3, 5, 60, 41], [0, 0, 96, 60], [7, 7, 9, 12]], np.uint16),
          "gt_classes": np.array([2, 0, 1])},
         {"boxes": np.zeros((0, 4), np.uint16), "gt_classes": np.zeros(0, np.int32)},
         {"boxes": np.array([[1.5, 2.5, 30, 110]], np.float32), "gt_classes": np.array([3])}]


def test_objects_are_the_rois_with_a_class():
    table = ObjectTable.from_roidb(ROIDB, SIZES)
    np.testing.assert_array_equal(table.boxes, [[3, 5, 60, 41], [7, 7, 9, 12], [1.5, 2.5, 30, 110]])
    np.testing.assert_array_equal(table.labels, [2, 1, 3])
    np.testing.assert_array_equal(table.images, [0, 0, 2])
    assert len(table) == 3 and len(table.every(2)) == 2
    np.testing.assert_array_equal(table.every(2).labels, [2, 3])


def test_they_are_scaled_like_the_blobs_of_the_region_proposal_network():
    table = ObjectTable.from_roidb(ROIDB, SIZES)
    images = [prep_im_for_blob(np.zeros((height, width, 3), np.uint8), 0, 83, 150) for width, height in SIZES]
    blobs = rpn_blobs(ROIDB, [image.shape[:2] for image, _ in images], [scale for _, scale in images])
    boxes, sizes = table.scaled(83, 150)
    np.testing.assert_allclose(boxes, blobs["gt_boxes"][:, :4], rtol=1e-6)
    np.testing.assert_array_equal(sizes, blobs["im_info"][blobs["gt_boxes"][:, 5].astype(int), 1::-1])


def test_no_objects():
    for roidb in ([], ROIDB[1:2]):
        table = ObjectTable.from_roidb(roidb, SIZES[:len(roidb)])
        boxes, sizes = table.scaled(83, 150)
        assert len(table) == 0 and boxes.shape == (0, 4) and sizes.shape == (0, 2)


def test_entries_of_other_images():
    """As a custom data set returns them from a file that is older than its list of images."""
    for sizes in (SIZES[:2], SIZES * 2):
        with pytest.raises(DatasetError, match=f"gt_roidb has 3 entries, the data set {len(sizes)} images; .*delete"):
            ObjectTable.from_roidb(ROIDB, sizes)
