"""Drawing of detections and montages."""
import cv2
import numpy as np
import pytest

from utils.draw import LabelledBox, class_colour, draw_boxes, draw_detections, montage, write_image

CLASSES = ("__background__", "cat", "a long class name")
NOTHING = np.zeros((0, 5), np.float32)


def dets(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


def test_boxes_are_drawn_in_the_colour_of_their_class_on_a_copy():
    im = np.zeros((200, 300, 3), np.uint8)
    picture = draw_detections(im, [NOTHING, dets([50, 60, 150, 160, 0.9]), NOTHING], CLASSES)
    assert not im.any() and picture.shape == im.shape
    assert tuple(picture[110, 50]) == tuple(picture[160, 100]) == class_colour(1)
    assert not picture[110, 100].any()                  # nothing inside the box


def test_only_scores_of_at_least_the_threshold_are_drawn():
    im = np.zeros((200, 300, 3), np.uint8)
    found = [NOTHING, dets([50, 60, 150, 160, 0.49]), NOTHING]
    assert not draw_detections(im, found, CLASSES, thresh=0.5).any()
    assert draw_detections(im, found, CLASSES, thresh=0.49).any()


@pytest.mark.parametrize("box", [[0, 0, 30, 30], [270, 2, 299, 20], [250, 180, 299, 199], [-20, -20, 400, 400]])
def test_labels_stay_inside_the_image(box):
    im = np.full((200, 300, 3), 7, np.uint8)
    picture = draw_detections(im, [NOTHING, NOTHING, dets([*box, 1.0])], CLASSES)
    (width, height), _ = cv2.getTextSize("a long class name 1.00", cv2.FONT_HERSHEY_SIMPLEX, 0.35, 1)
    filled = (picture == class_colour(2)).all(axis=2).sum()
    assert filled > 0.4 * width * height                # the label's background without its letters


def test_letters_grow_with_the_image():
    sizes = [(draw_detections(np.zeros((side, side, 3), np.uint8), [NOTHING, dets([9, 99, 60, 160, 1]), NOTHING],
                              CLASSES) == class_colour(1)).all(axis=2).sum() for side in (300, 1800)]
    assert sizes[1] > 5 * sizes[0]


def test_a_montage_keeps_aspect_and_order():
    images = [np.full((*size, 3), grey, np.uint8) for size, grey in (((50, 100), 10), ((80, 40), 20), ((30, 30), 30))]
    sheet = montage(images, columns=2, height=40, gap=4)
    assert sheet.shape == (40 + 4 + 40, 80 + 4 + 20, 3)
    assert (sheet[:40, :80] == 10).all() and (sheet[:40, 84:] == 20).all() and (sheet[44:, :40] == 30).all()
    assert (sheet[40:44] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        montage([])


def test_images_are_written_by_their_extension(tmp_path):
    im = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    write_image(tmp_path / "new" / "a.png", im)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png")), im)
    with pytest.raises(ValueError, match="a.nonsense: cannot be written"):
        write_image(tmp_path / "a.nonsense", im)


def test_labels_cover_no_neighbour_where_there_is_room():
    """Two objects, one above the other: the lower one's label would cover the upper one."""
    im = np.zeros((400, 600, 3), np.uint8)
    boxes = [LabelledBox((100, 60, 180, 200), "upper", (255, 0, 0)),
             LabelledBox((100, 202, 180, 300), "lower", (0, 255, 0)),
             LabelledBox((102, 202, 182, 300), "lower too", (0, 0, 255))]
    picture = draw_boxes(im, boxes)
    assert not picture[70:190, 110:170].any()                   # inside the upper box
    alone = [draw_boxes(im, [box]) for box in boxes]
    labels = [(drawn == box.colour).all(axis=2).sum() for drawn, box in zip(alone, boxes, strict=True)]
    filled = [(picture == box.colour).all(axis=2).sum() for box in boxes]
    assert all(found > 0.8 * wanted for found, wanted in zip(filled, labels, strict=True))   # no label hides another


def test_a_label_alone_is_above_its_box_or_in_it():
    im = np.zeros((200, 300, 3), np.uint8)
    assert (draw_boxes(im, [LabelledBox((50, 60, 150, 160), "cat", (9, 9, 9))])[50:58, 52:60] > 0).any()
    assert not draw_boxes(im, [LabelledBox((50, 0, 150, 160), "cat", (9, 9, 9))])[:, :48].any()
