"""Average precision, recall of proposals, and small box operations."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from datasets import ds_utils
from datasets.average_precision import Detections, Objects, average_precision
from datasets.detection_files import read_detections, write_detections
from datasets.lazy_roidb import merged_roidb
from datasets.recall import evaluate_recall, match_greedily
from datasets.roidb import objects_entry, proposals_entry
from datasets.voc_eval import voc_ap, voc_eval


def write_devkit(case, folder):
    """Write a case's text files out."""
    texts = case.inputs["file_texts"].tolist()
    for path, text in zip(case.inputs["file_paths"].tolist(), texts, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@golden("voc_eval", "contract", has="in_prec")
def test_recorded_average_precisions(case):
    curves = list(zip(case.split("rec", "counts"), case.split("prec", "counts"), strict=True))
    case.check("ap_11point", [voc_ap(recall, precision, True) for recall, precision in curves])
    case.check("ap_area", [voc_ap(recall, precision) for recall, precision in curves])


@golden("voc_eval", "contract", has="in_ovthresh")
def test_recorded_devkit(case, tmp_path):
    write_devkit(case, tmp_path)
    names, thresholds = case.inputs["class_names"].tolist(), case.inputs["ovthresh"].tolist()
    paths = case.inputs["file_paths"].tolist()
    [results] = {path.removesuffix(f"_{name}.txt") for path in paths for name in names
                 if path.endswith(f"_{name}.txt")}
    [image_set] = [path for path in paths if "/ImageSets/" in path]
    annotation = next(path for path in paths if path.endswith(".xml"))
    args = (f"{tmp_path / results}_{{}}.txt", str((tmp_path / annotation).with_name("{}.xml")),
            str(tmp_path / image_set))
    area = [[voc_eval(*args, name, None, thresh) for name in names] for thresh in thresholds]
    points = [[voc_eval(*args, name, None, thresh, True)[2] for name in names] for thresh in thresholds]
    case.check("rec", np.concatenate([recall for row in area for recall, _, _ in row]))
    case.check("prec", np.concatenate([precision for row in area for _, precision, _ in row]))
    case.check("pr_counts", [[len(recall) for recall, _, _ in row] for row in area])
    case.check("ap_area", [[ap for _, _, ap in row] for row in area])
    case.check("ap_11point", points)


@golden("voc_eval", "quirk", name="voc_eval_no_positives")
def test_a_class_with_nothing_to_find_has_no_ap(case, tmp_path):
    """As in the original except for its 11-point value, 0: both are NaN here and left out of the mean."""
    write_devkit(case, tmp_path)
    for name in sorted({output.rsplit("_prec", 1)[0] for output in case.outputs if output.endswith("_prec")}):
        for use_07_metric in (False, True):
            recall, precision, ap = voc_eval(str(tmp_path / "det_{}.txt"), str(tmp_path / "{}.xml"),
                                             str(tmp_path / "set.txt"), name, use_07_metric=use_07_metric)
            assert np.isnan(recall).all() and np.isnan(ap)
            case.check(f"{name}_prec", precision)


@golden("voc_eval", "quirk", name="voc_eval_ties")
def test_equal_scores_keep_the_order_of_the_file(case, tmp_path):
    write_devkit(case, tmp_path)
    files = {path.rsplit(".", 1)[0]: path for path in case.inputs["file_paths"].tolist()}
    name = next(stem for stem in files if stem.startswith("det_"))[4:]
    recall, precision, ap = voc_eval(str(tmp_path / "det_{}.txt"), str(tmp_path / "{}.xml"),
                                     str(tmp_path / "set.txt"), name)
    case.check("rec", recall)
    case.check("prec", precision)
    case.check("ap_area", ap)


def test_evaluation_of_files_ignores_case_and_cachedir(tmp_path):
    (tmp_path / "set.txt").write_text("a\n")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (tmp_path / "a.xml").write_text(f"<annotation><object><name>Dog</name>{box}</object></annotation>")
    (tmp_path / "dog.txt").write_text("a 0.5 1 1 9 9\n")
    paths = [str(tmp_path / name) for name in ("{}.txt", "{}.xml", "set.txt")]
    assert voc_eval(*paths, "dog", str(tmp_path / "cache"), 0.5)[2] == 1
    assert not (tmp_path / "cache").exists()


def no_detections():
    return Detections([], np.zeros(0), np.zeros((0, 4)))


@pytest.mark.parametrize("use_07_metric", [False, True])
def test_no_detections(use_07_metric):
    objects = {"a": Objects(np.array([[1.0, 1, 9, 9]]), np.array([False]))}
    assert average_precision(no_detections(), objects, use_07_metric=use_07_metric)[2] == 0
    assert np.isnan(average_precision(no_detections(), {}, use_07_metric=use_07_metric)[2])


def slow_precision_recall(detections, objects, ovthresh):
    """The definition, one detection at a time."""
    found, right, wrong, points = set(), 0, 0, []
    for row in sorted(range(len(detections.scores)), key=lambda i: -detections.scores[i]):
        name, (x1, y1, x2, y2) = detections.images[row], detections.boxes[row]
        best, best_iou = None, 0
        for index, (a1, b1, a2, b2) in enumerate(objects[name].boxes):
            inter = max(0, min(x2, a2) - max(x1, a1) + 1) * max(0, min(y2, b2) - max(y1, b1) + 1)
            iou = inter / ((x2 - x1 + 1) * (y2 - y1 + 1) + (a2 - a1 + 1) * (b2 - b1 + 1) - inter)
            if iou > best_iou:
                best, best_iou = index, iou
        if best_iou <= ovthresh:
            wrong += 1
        elif not objects[name].difficult[best]:
            wrong += (name, best) in found
            right += (name, best) not in found
            found.add((name, best))
        points.append((right, right / max(right + wrong, 1e-16)))
    return np.array(points)


def test_precision_and_recall_agree_with_the_definition():
    rng = np.random.default_rng(5)
    objects = {}
    for name in ("a", "b c", "d"):
        corners = rng.integers(0, 40, (4, 2)).astype(float)
        objects[name] = Objects(np.hstack([corners, corners + 15]), rng.random(4) < 0.4)
    images = rng.choice(list(objects), 60).tolist()
    boxes = np.array([objects[name].boxes[rng.integers(4)] for name in images]) + rng.integers(-3, 4, (60, 4))
    detections = Detections(images, rng.permutation(60) / 60, boxes)
    recall, precision, _ = average_precision(detections, objects)
    expected = slow_precision_recall(detections, objects, 0.5)
    positives = sum((~things.difficult).sum() for things in objects.values())
    np.testing.assert_allclose(recall, expected[:, 0] / positives)
    np.testing.assert_allclose(precision, expected[:, 1])


def test_files_of_detections_keep_every_digit(tmp_path):
    scores = np.array([0.1, 0.123456789, 1e-7], np.float32)
    boxes = np.random.default_rng(0).uniform(0, 1000, (3, 4)).astype(np.float32)
    write_detections(tmp_path / "d.txt", Detections(["a", "name with blanks", "c"], scores, boxes))
    back = read_detections(tmp_path / "d.txt")
    assert back.images == ["a", "name with blanks", "c"]
    np.testing.assert_array_equal(back.scores.astype(np.float32), scores)
    np.testing.assert_array_equal(back.boxes.astype(np.float32), boxes)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    boxes = np.zeros((1, 4))
    write_detections(tmp_path / "d.txt", Detections(["a"], np.ones(1), boxes))
    with pytest.raises(UnicodeEncodeError):
        write_detections(tmp_path / "d.txt", Detections(["\ud800"], np.ones(1), boxes))
    assert read_detections(tmp_path / "d.txt").images == ["a"] and [*tmp_path.iterdir()] == [tmp_path / "d.txt"]


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "d.txt").write_text("a 0.5 1 2 3 4\nb 0.5 1 2 3\n")
    with pytest.raises(ValueError, match=r"d\.txt:2: expected"):
        read_detections(tmp_path / "d.txt")


@golden("recall", "contract")
def test_recorded_recall(case):
    objects = [objects_entry(*pair) for pair in zip(case.split("gt_boxes", "gt_counts"),
                                                    case.split("gt_classes", "gt_counts"), strict=True)]
    proposals = case.split("proposals", "proposal_counts")
    roidb = merged_roidb(objects, [proposals_entry(*pair) for pair in zip(proposals, objects, strict=True)])
    for name, options in case.params["variants"].items():
        if isinstance(options, str):            # in words: every second proposal as candidate_boxes
            result = evaluate_recall(objects, [boxes[::2] for boxes in proposals])
        else:                                   # the area is named and explained: small (0..32^2)
            named = {key: value.split()[0] if key == "area" else value for key, value in options.items()}
            result = evaluate_recall(roidb, **named)
        case.check("thresholds", result["thresholds"])
        for key in ("ar", "recalls", "gt_overlaps"):
            case.check(f"{name}_{key}", result[key])


def test_fewer_proposals_than_objects():
    assert match_greedily(np.array([[0.2, 0.9, 0.5]])).tolist() == [0, 0.9, 0]
    assert match_greedily(np.zeros((0, 2))).tolist() == [0, 0]
    with pytest.raises(ValueError, match="small"):
        evaluate_recall([], area="smal")


@golden("pascal_voc", "contract", has="out_unique")
def test_recorded_box_operations(case):
    boxes = case.inputs["boxes"]
    case.check("unique", ds_utils.unique_boxes(boxes))
    case.check("unique_scaled", ds_utils.unique_boxes(boxes, 0.25))
    for name in case.outputs:
        if name.startswith("filter_small_"):
            case.check(name, ds_utils.filter_small_boxes(boxes, int(name.rsplit("_", 1)[1])))
    case.check("xywh", ds_utils.xyxy_to_xywh(boxes))
    case.check("back", ds_utils.xywh_to_xyxy(ds_utils.xyxy_to_xywh(boxes)))


def test_large_coordinates_are_not_confused():
    """The original's hash, x1 + 1e3 y1 + 1e6 x2 + ..., is the same for these two."""
    assert ds_utils.unique_boxes(np.array([[1000, 0, 5, 5], [0, 1, 5, 5]])).tolist() == [0, 1]
