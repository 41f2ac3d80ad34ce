"""PASCAL VOC development kits: objects, detection files, evaluation, selective search boxes."""
from pathlib import Path

import numpy as np
import pytest
from dense_overlaps import gt_overlaps
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from datasets.detection_files import read_detections
from datasets.factory import get_imdb
from datasets.pascal_voc import CLASSES, clean_selective_search_boxes, pascal_voc, read_selective_search
from datasets.roidb import objects_entry, proposals_entry
from datasets.source import DatasetError
from fast_rcnn.config import cfg, reset_cfg


@pytest.fixture
def devkit(tmp_path):
    """A folder for a case's development kit."""
    cfg.DATA_DIR = str(tmp_path)
    yield tmp_path / "VOCdevkit"
    reset_cfg()


def make_devkit(case, folder):
    """Write the text files, and black images of the right sizes (pixels are not read here)."""
    import cv2
    year = case.params["year"]
    for path, text in zip(case.inputs["file_paths"].tolist(), case.inputs["file_texts"].tolist(), strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    images = folder / f"VOC{year}" / "JPEGImages"
    images.mkdir()
    for name, (width, height) in zip(case.inputs["image_names"].tolist(), case.inputs["image_wh"], strict=True):
        cv2.imwrite(str(images / f"{name}.jpg"), np.zeros((height, width, 3), np.uint8))


def all_boxes_of(case, imdb):
    boxes = [[np.zeros((0, 5), np.float32)] * imdb.num_images for _ in imdb.classes]
    classes, images = case.inputs["det_class"], case.inputs["det_image"]
    for label in range(imdb.num_classes):
        for image in range(imdb.num_images):
            boxes[label][image] = case.inputs["dets"][(classes == label) & (images == image)]
    return boxes


@golden("pascal_voc", "contract", has="out_result_texts")
def test_recorded_dataset(case, devkit, tmp_path):
    make_devkit(case, devkit)
    [image_set] = {Path(path).stem for path in case.inputs["file_paths"].tolist() if path.endswith(".txt")}
    imdb = get_imdb(f"voc_{case.params['year']}_{image_set}")
    assert list(imdb.classes) == case.params["classes"] and imdb.validate() == []
    assert imdb.image_index == case.inputs["image_names"].tolist()
    assert imdb.image_sizes() == [tuple(size) for size in case.inputs["image_wh"].tolist()]
    roidb = imdb.gt_roidb()
    case.check("gt_counts", [len(entry["boxes"]) for entry in roidb])
    for name, key in [("gt_boxes", "boxes"), ("gt_classes", "gt_classes"), ("seg_areas", "seg_areas")]:
        case.check(name, np.concatenate([entry[key] for entry in roidb]))

    result = imdb.evaluate_detections(all_boxes_of(case, imdb), tmp_path / "results")
    curves = list(result.classes.values())
    case.check("ap", [curve.ap for curve in curves])
    case.check("mean_ap", result.mean_ap)
    case.check("pr_counts", [len(curve.recall) for curve in curves])
    case.check("rec", np.concatenate([curve.recall for curve in curves]))
    case.check("prec", np.concatenate([curve.precision for curve in curves]))
    check_files(case, tmp_path / "results")


def check_files(case, folder):
    """Same files and lines; the original rounds scores to three decimals, corners to one."""
    names = case.outputs["result_paths"].tolist()
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name, text in zip(names, case.outputs["result_texts"].tolist(), strict=True):
        ours = read_detections(folder / name)
        recorded = np.array([line.split()[1:] for line in text.splitlines()], np.float64).reshape(-1, 5)
        assert ours.images == [line.split()[0] for line in text.splitlines()]
        np.testing.assert_allclose(ours.scores, recorded[:, 0], atol=0.0006)
        np.testing.assert_allclose(ours.boxes, recorded[:, 1:], atol=0.051)


@golden("pascal_voc", "contract", has="in_raw_boxes")
def test_recorded_selective_search(case):
    raw = case.split("raw_boxes", "raw_counts")
    objects = [objects_entry(*pair) for pair in zip(case.split("gt_boxes", "gt_counts"),
                                                    case.split("gt_classes", "gt_counts"), strict=True)]
    boxes = [clean_selective_search_boxes(rows, case.params["min_size"]) for rows in raw]
    case.check("counts", [len(rows) for rows in boxes])
    case.check("boxes", np.concatenate(boxes))
    entries = [proposals_entry(*pair) for pair in zip(boxes, objects, strict=True)]
    case.check("gt_overlaps", np.concatenate([gt_overlaps(entry, case.params["num_classes"]) for entry in entries]))


def test_a_missing_devkit_is_named(devkit):
    with pytest.raises(DatasetError, match=r"VOCdevkit.VOC2007"):
        get_imdb("voc_2007_trainval")
    with pytest.raises(DatasetError, match=r"nowhere.VOC2012"):
        pascal_voc("test", 2012, devkit_path=devkit / "nowhere")


def test_there_are_twenty_classes():
    assert len(CLASSES) == 21 and list(CLASSES[1:]) == sorted(CLASSES[1:])


def test_selective_search_boxes_follow_the_objects(devkit):
    import cv2
    from scipy.io import savemat
    folder = devkit / "VOC2012"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), np.zeros((40, 60, 3), np.uint8))
        (folder / "Annotations" / f"{name}.xml").write_text(
            "<annotation><object><name>dog</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>25</ymax>"
            "</bndbox></object></annotation>")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("a\nb\n")
    (devkit.parent / "selective_search_data").mkdir()
    boxes, names = np.empty((1, 2), object), np.empty((2, 1), object)
    names[:, 0] = "b", "a"
    boxes[0] = [np.array([[6, 11, 25, 30], [1, 2, 30, 40]]), np.array([[1, 1, 9, 9]])]      # y1, x1, y2, x2 from 1
    savemat(devkit.parent / "selective_search_data" / "voc_2012_val.mat", {"images": names, "boxes": boxes})
    data = pascal_voc("val", 2012)
    data.set_proposal_method("selective_search")
    first, second = data.roidb
    assert first["boxes"].tolist() == [[10, 5, 29, 24], [0, 0, 8, 8]] and first["gt_classes"].tolist() == [12, 0]
    assert second["boxes"].tolist() == [[10, 5, 29, 24], [10, 5, 29, 24], [1, 0, 39, 29]]
    assert second["max_overlaps"].tolist()[:2] == [1, 1]


def test_selective_search_files(tmp_path):
    """Those of py-faster-rcnn's users may name no images, and hold [] for an image without boxes."""
    from scipy.io import savemat
    file, boxes = tmp_path / "s.mat", np.empty(2, object)
    boxes[:] = [np.array([[2, 1, 30, 20]]), np.zeros((0, 0))]
    savemat(file, {"boxes": boxes})
    found = [clean_selective_search_boxes(rows).tolist() for rows in read_selective_search(file, ["b", "a"])]
    assert found == [[[0, 1, 19, 29]], []]
    for index, message in ((["a"], "holds boxes of 2 images for 1 names"), (["a", "b", "c"], "2 images for 3 names")):
        with pytest.raises(DatasetError, match=message):
            read_selective_search(file, index)
    savemat(file, {"boxes": boxes, "images": np.array(["a", "b"], object)})
    assert len(read_selective_search(file, ["b", "a"])[1])
    with pytest.raises(DatasetError, match="lacks 1, such as c"):
        read_selective_search(file, ["a", "c"])
    savemat(file, {"proposals": boxes})
    with pytest.raises(DatasetError, match="has no 'boxes', only proposals"):
        read_selective_search(file, ["a", "b"])
    file.write_text("x")
    with pytest.raises(DatasetError, match="s.mat: cannot be read as a .mat file"):
        read_selective_search(file, ["a"])
