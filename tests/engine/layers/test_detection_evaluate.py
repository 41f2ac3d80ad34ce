"""DetectionEvaluate against a slow oracle, with difficult objects and sizes in pixels."""
import numpy as np
import pytest
from layer_checker import Runner, refused
from ssd_boxes import overlap


def scene(seed=0):
    """Objects of three images, none of class 2 in the last; detections near them and elsewhere."""
    random = np.random.default_rng(seed)
    corners, sizes = random.uniform(0, 0.6, (14, 2)), random.uniform(0.1, 0.4, (14, 2))
    boxes = np.hstack([corners, corners + sizes])
    labels, images = random.integers(1, 4, 14), random.integers(0, 3, 14)
    labels[(images == 2) & (labels == 2)] = 1
    objects = np.hstack([images[:, None], labels[:, None], np.zeros((14, 1)), boxes, random.integers(0, 2, (14, 1))])
    rows = np.concatenate([np.repeat(np.arange(14), 3), np.arange(6)])
    near = boxes[rows] + random.uniform(-0.06, 0.06, (48, 4))
    near[42:] = random.uniform(0, 0.3, (6, 4)) + [0, 0, 0.3, 0.3]
    detections = np.hstack([images[rows, None], labels[rows, None], random.permutation(48)[:, None] / 48, near])
    detections[47, :2] = 2, 2
    return detections, objects


def judged(detections, objects, counts_difficult=True, size=lambda image: None, threshold=0.5,
           shown=lambda box, size: box):
    """The expected rows of classes 1 to 3 and of the detections; the background is class 0."""
    def box_of(row):
        box, wanted = np.float32(row[3:7]).astype(float), size(int(row[0]))
        if wanted is None:
            return box
        height, width = wanted
        return np.clip(shown(box, wanted), 0, 1) * [width, height, width, height] + [0, 0, 1, 1]
    rows = [[-1, label, sum(row[1] == label and (counts_difficult or not row[7]) for row in objects), -1, -1]
            for label in (1, 2, 3)]
    taken = set()
    for row in sorted(detections.tolist(), key=lambda row: (row[0], row[1], -row[2])):
        shares = {index: overlap(box_of(row), box_of(item)) for index, item in enumerate(objects)
                  if tuple(item[:2]) == tuple(row[:2])}
        best = max(shares, key=shares.get, default=None)
        if best is None or shares[best] < threshold:
            verdict = [0, 1]
        elif not counts_difficult and objects[best][7]:
            verdict = [0, 0]
        else:
            verdict = [0, 1] if best in taken else [1, 0]
            taken.add(best)
        rows.append([*row[:3], *verdict])
    return np.array(rows)[None, None]


def run(detections, objects, settings=""):
    layer = Runner(f"type: 'DetectionEvaluate' detection_evaluate_param {{ num_classes: 4 {settings} }}",
                   [detections[None, None], objects[None, None]])
    assert layer.top[0].shape == (1, 1, 3, 5)
    return layer


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings, options", [
    ("", {}), ("evaluate_difficult_gt: false", {"counts_difficult": False}),
    ("overlap_threshold: 0.75", {"threshold": 0.75})])
def test_true_and_false_positives(settings, options, seed):
    detections, objects = scene(seed)
    found, wanted = run(detections, objects, settings).forward()[0], judged(detections, objects, **options)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert {(0, 1), (1, 0)} <= set(map(tuple, wanted[0, 0, 3:, 3:]))


@pytest.mark.parametrize("resize", ["", "resize_param { height: 300 width: 300 }",
                                    "resize_param { height: 300 width: 300 resize_mode: FIT_LARGE_SIZE_AND_PAD }"])
def test_sizes_in_pixels_follow_the_images_and_wrap_around(tmp_path, resize):
    sizes = [(9, 30), (40, 10), (20, 20), (7, 6), (30, 40)]
    (tmp_path / "sizes.txt").write_text("".join(f"an image {h} {w}\n" for h, w in sizes))
    detections, objects = scene()

    def unpadded(box, size):
        share = np.array([min(1, size[1] / size[0]), min(1, size[0] / size[1])] * 2)     # of a 300 x 300 square
        return (box - (1 - share) / 2) / share
    layer = run(detections, objects, f"name_size_file: '{tmp_path}/sizes.txt' {resize}")
    for first in (0, 3, 1, 4):
        wanted = judged(detections, objects, size=lambda image: sizes[(first + image) % 5],  # noqa: B023
                        shown=unpadded if "PAD" in resize else lambda box, size: box)
        np.testing.assert_allclose(layer.forward()[0], wanted, rtol=1e-6)


def test_without_detections_or_objects():
    nothing, objects = np.array([[0, *[-1] * 6], [1, *[-1] * 6]]), scene()[1]
    counts = judged(np.empty((0, 7)), objects)
    np.testing.assert_array_equal(run(nothing, objects).forward()[0], counts)
    found = run(np.array([[1, 3, 0.5, 0, 0, 1, 1]]), np.full((1, 8), -1.0)).forward()[0]
    assert found[0, 0].tolist() == [[-1, 1, 0, -1, -1], [-1, 2, 0, -1, -1], [-1, 3, 0, -1, -1], [1, 3, 0.5, 0, 1]]


def test_images_without_detections_count_for_the_sizes(tmp_path):
    (tmp_path / "sizes.txt").write_text("".join(f"{number} {number + 1} 3\n" for number in range(7)))
    layer = run(np.array([[0, *[-1] * 6], [1, *[-1] * 6]]), np.full((1, 8), -1.0),
                f"name_size_file: '{tmp_path}/sizes.txt'")
    for wanted in (2, 4, 6, 1):
        assert layer.forward()[0][0, 0, :, 2].tolist() == [0, 0, 0]
        assert layer.layer.next_image == wanted


@pytest.mark.parametrize("settings, shapes, told", [
    ("num_classes: 1", [(1, 1, 3, 7), (1, 1, 2, 8)], "besides the background, found 1"),
    ("num_classes: 3 overlap_threshold: 0", [(1, 1, 3, 7), (1, 1, 2, 8)], "overlap_threshold must be above 0"),
    ("num_classes: 3", [(1, 1, 3, 6), (1, 1, 2, 8)], "detections of 7 values"),
    ("num_classes: 3", [(1, 1, 3, 7), (1, 1, 2, 7)], "objects of 8 values"),
    ("num_classes: 3 name_size_file: 'nosuch'", [(1, 1, 3, 7), (1, 1, 2, 8)], "cannot read name_size_file 'nosuch'"),
    ("num_classes: 3 resize_param { }", [(1, 1, 3, 7), (1, 1, 2, 8)], "set height and width")])
def test_bad_input(settings, shapes, told):
    refused(f"type: 'DetectionEvaluate' detection_evaluate_param {{ {settings} }}", shapes, told)


def test_bad_files_and_classes(tmp_path):
    shapes, text = [(1, 1, 3, 7), (1, 1, 2, 8)], "type: 'DetectionEvaluate' detection_evaluate_param { num_classes: 3 "
    for content, told in (("a 3 4\nb 3\n", "sizes.txt:2: expected `name height width`, found 'b 3'"),
                          ("a 0 4\n", "sizes.txt:1: expected"), ("", "names no image")):
        (tmp_path / "sizes.txt").write_text(content)
        refused(f"{text} name_size_file: '{tmp_path}/sizes.txt' }}", shapes, told)
    for label in (0, 4, np.nan):
        with pytest.raises(ValueError, match=f"layer 'tested' .*below num_classes 4, without .* 0; found {label}"):
            run(np.array([[0, label, 0.5, 0, 0, 1, 1]]), scene()[1]).forward()
