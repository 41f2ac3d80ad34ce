"""tools/convert_data.py: data sets are converted to VOC, COCO, YOLO and SSD's databases."""
import json
import os
import xml.etree.ElementTree as ElementTree

import convert_data
import cv2
import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

from caffe.proto import caffe_pb2
from datasets.factory import get_imdb
from datasets.writers import WRITERS, write
from datasets.writers.records import records_of

PETS = {"a": [("cat", 1, 1, 20, 30), ("dog", 5, 6, 60, 40)], "b 1": [("dog & co", 5, 6, 7, 8), ("cat", 2, 2, 9, 9, 1)],
        "c": [], "day/d": [("ox", 30, 2, 50, 38)]}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))


@pytest.fixture
def pets(tmp_path):
    """A data set in VOC layout with a class that only test has, subfolders, and a difficult object."""
    root = tmp_path / "pets"
    for name, rows in PETS.items():
        picture(root / "JPEGImages" / f"{name}.png")
        file = root / "Annotations" / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("<annotation>" + "".join(
            f"<object><name>{label.replace('&', '&amp;')}</name><difficult>{(*rest, 0)[0]}</difficult><bndbox>"
            f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for label, x1, y1, x2, y2, *rest in rows) + "</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", ["a", "b 1"]), ("test", ["c", "day/d"]), ("trainval", ["a", "b 1"])):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def convert(source, format_name, target, *options):
    assert convert_data.main(["--imdb", str(source), "--to", format_name, str(target), *options]) == 0
    return target


def objects(path, difficult=True):
    """{split: {image: [(class, box)]}} of a data set."""
    found = {}
    for split in ("train", "test"):
        data = get_imdb(f"{path}:{split}", classes=["cat", "dog", "dog & co", "ox"])
        assert [problem for problem in data.problems if "taken" not in problem.action] == []
        found[split] = {record.name: sorted(
            (name, tuple(np.round(box, 3).tolist())) for name, box, hard in
            zip(record.names, record.boxes, record.difficult, strict=True) if difficult or not hard)
            for record in records_of(data)}
    return found


def ssd_records(folder, split="train"):
    """{key: AnnotatedDatum} of a database."""
    with lmdb.open(str(folder / f"{split}_lmdb"), readonly=True, lock=False) as environment, \
            environment.begin() as transaction:
        return {key.decode(): caffe_pb2.AnnotatedDatum.FromString(value) for key, value in transaction.cursor()}


def test_round_trip(pets, tmp_path):
    coco = convert(pets, "coco", tmp_path / "coco")
    yolo = convert(coco, "yolo", tmp_path / "yolo")
    voc = convert(yolo, "voc", tmp_path / "voc")
    again = convert(voc, "voc", tmp_path / "again")
    assert objects(coco) == objects(pets)
    assert objects(yolo) == objects(voc) == objects(again) == objects(pets, difficult=False)
    difficult = get_imdb(f"{coco}:train").objects_of_class("cat")["b 1"].difficult
    assert difficult.tolist() == [True]
    for file in (voc / "ImageSets" / "Main").iterdir():
        assert file.read_bytes() == (again / "ImageSets" / "Main" / file.name).read_bytes()
    for name in PETS:
        annotations = [(folder / "Annotations" / f"{name}.xml").read_bytes() for folder in (voc, again)]
        assert annotations[0] == annotations[1]
        picture = (pets / "JPEGImages" / f"{name}.png").read_bytes()
        assert (voc / "JPEGImages" / f"{name}.png").read_bytes() == picture


def test_which_splits_are_written(pets, tmp_path, capsys):
    coco = convert(pets, "coco", tmp_path / "coco")
    content = json.loads((coco / "annotations" / "instances_train.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == ["cat", "dog", "dog & co", "ox"]
    assert content["images"][0] == {"id": 1, "file_name": "a.png", "width": 60, "height": 40}
    assert content["annotations"][1] == {"id": 2, "image_id": 1, "category_id": 2, "bbox": [4, 5, 56, 35], "area": 1960,
                                         "iscrowd": 0, "segmentation": []}
    yolo = convert(f"{pets}:test", "yolo", tmp_path / "yolo")
    assert (yolo / "data.yaml").read_text() == ("test: images/test\nval: images/test\nnames:\n  0: cat\n  1: dog\n"
                                                 "  2: dog & co\n  3: ox\n")
    assert (yolo / "labels" / "test" / "day" / "d.txt").read_text() == "3 0.658333333 0.4875 0.35 0.925\n"
    assert (yolo / "labels" / "test" / "c.txt").read_text() == ""
    voc = convert(coco, "voc", tmp_path / "voc")
    root = ElementTree.parse(voc / "Annotations" / "a.xml").getroot()
    assert [root.findtext(f"object/bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")] == ["1", "1", "20", "30"]
    text = capsys.readouterr().out
    assert "trainval has only images of other splits: not written" in text
    assert f"{tmp_path}/coco: train 2, test 2 images" in text.replace("test 2, train 2", "train 2, test 2")


def test_a_random_split(pets, tmp_path):
    flat = tmp_path / "flat"
    for number in range(5):
        picture(flat / f"{number}.png")
        (flat / f"{number}.xml").write_text((pets / "Annotations" / "a.xml").read_text())
    voc = convert(flat, "voc", tmp_path / "voc", "--split", "0.6")
    assert get_imdb(f"{voc}:train").num_images == 3 and get_imdb(f"{voc}:test").num_images == 2
    assert convert_data.main(["--imdb", str(pets), "--split", "0.6", "--to", "voc", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def test_what_a_format_cannot_hold_is_reported(pets, tmp_path, capsys):
    convert(pets, "yolo", tmp_path / "yolo")
    assert "1 objects that are marked as difficult are left out: yolo cannot mark them" in capsys.readouterr().out
    kitti = tmp_path / "kitti"
    picture(kitti / "training" / "image_2" / "0.png")
    (kitti / "training" / "label_2").mkdir()
    (kitti / "training" / "label_2" / "0.txt").write_text(
        "Car 0 0 0 1 2 20 30 1 1 1 1 1 1 1\nDontCare -1 -1 -10 30 0 59 39 -1 -1 -1 -1 -1 -1 -1\n")
    convert(kitti, "coco", tmp_path / "coco")
    assert "1 regions of any class are left out: coco has none" in capsys.readouterr().out


def test_equal_names_in_two_splits_and_names_with_an_extension(tmp_path):
    for split in ("train", "val"):
        for name in ("0.jpg", "x.jpg", "x.png"):
            picture(tmp_path / "d" / split / name)
        (tmp_path / "d" / split / "_annotations.csv").write_text(
            "0.jpg,1,2,20,30,cat\nx.jpg,1,2,20,30,cat\nx.png,,,,,\n")
    voc = convert(tmp_path / "d", "voc", tmp_path / "voc")
    assert get_imdb(f"{voc}:train").image_index == ["train/0", "train/x_jpg", "train/x_png"]
    assert get_imdb(f"{voc}:val").num_images == 3


@pytest.mark.parametrize("format_name", sorted(set(WRITERS) - {"ssd"}))
def test_images_in_folders_named_images(tmp_path, format_name):
    """YOLO's label files are found by exchanging the last folder `images` of a path."""
    for name in ("x/images/a.png", "y/images/b.png", "y/labels/c.png"):
        picture(tmp_path / "d" / name)
    (tmp_path / "d" / "all.csv").write_text("x/images/a.png,1,2,20,30,cat\ny/images/b.png,3,4,5,6,dog\n"
                                            "y/labels/c.png,3,4,5,6,dog\n")
    again = get_imdb(str(convert(tmp_path / "d", format_name, tmp_path / "out")))
    assert again.image_index == ["x/images/a", "y/images/b", "y/labels/c"]
    assert [record.names for record in records_of(again)] == [["cat"], ["dog"], ["dog"]]


def test_joined_data_sets(pets, tmp_path):
    voc = convert(f"{pets}:train+{pets}:test", "voc", tmp_path / "voc")
    assert get_imdb(str(voc)).num_images == 4


@pytest.mark.parametrize("target, options, message", [
    ("full", [], "full exists, and is not an empty folder: name another one, nothing is overwritten"),
    ("full/file", [], "file exists, and is not an empty folder"), ("x", ["--split", "2"], "2 is not between 0 and 1"),
    ("full/file/x", [], "full/file")])
def test_refusals(pets, tmp_path, capsys, target, options, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    args = ["--imdb", str(pets), "--to", "voc", str(tmp_path / target), *options]
    assert convert_data.main(args) == 2 and message in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["full", "pets"] and (tmp_path / "full" / "file").read_text() == "mine"


def test_unknown_formats_are_refused(pets, tmp_path, capsys):
    assert convert_data.main(["--imdb", str(pets), "--to", "kitti", str(tmp_path / "x")]) == 2
    assert "--to kitti: choose one of voc, coco, yolo, ssd" in capsys.readouterr().err


@pytest.mark.parametrize("format_name", WRITERS)
def test_a_failed_conversion_leaves_nothing(pets, tmp_path, monkeypatch, format_name):
    """A failed conversion leaves no files behind; an empty target folder is filled."""
    records = records_of(get_imdb(f"{pets}:train"))
    records[1].path = str(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match="gone.png"):
        write(format_name, tmp_path / "out", {"train": records}, ["cat", "dog", "dog & co"])
    assert os.listdir(tmp_path) == ["pets"]
    (tmp_path / "out").mkdir()
    write(format_name, tmp_path / "out", {"train": records[:1]}, ["cat", "dog"])
    count = len(ssd_records(tmp_path / "out")) if format_name == "ssd" else get_imdb(f"{tmp_path}/out").num_images
    assert count == 1 and sorted(os.listdir(tmp_path)) == ["out", "pets"]


def test_ssd_databases(pets, tmp_path, monkeypatch):
    """Images are copied or converted to 8-bit colour; boxes, also difficult ones, span edges; labels start at 1."""
    monkeypatch.setattr("datasets.writers.ssd._FIRST_SIZE", 1 << 15)
    cv2.imwrite(str(pets / "JPEGImages" / "b 1.png"), np.full((40, 60), 50_000, np.uint16))
    folder = convert(pets, "ssd", tmp_path / "ssd")
    assert sorted(os.listdir(folder)) == ["labelmap.prototxt", "test_lmdb", "test_name_size.txt", "train_lmdb",
                                          "train_name_size.txt"]
    items = text_format.Parse((folder / "labelmap.prototxt").read_text(), caffe_pb2.LabelMap()).item
    assert [(item.name, item.label, item.display_name) for item in items] == [
        ("none_of_the_above", 0, "background"), ("cat", 1, "cat"), ("dog", 2, "dog"), ("dog & co", 3, "dog & co"),
        ("ox", 4, "ox")]
    assert (folder / "train_name_size.txt").read_text() == "a 40 60\nb_1 40 60\n"
    first, second = ssd_records(folder).values()
    assert list(ssd_records(folder)) == ["00000000_a.png", "00000001_b 1.png"]
    assert len(ssd_records(folder, "test")) == 2 and os.listdir(folder / "train_lmdb") == ["data.mdb"]
    assert first.datum.data == (pets / "JPEGImages" / "a.png").read_bytes() and first.datum.encoded
    stored = cv2.imdecode(np.frombuffer(second.datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.shape == (40, 60, 3) and (stored == stored[0, 0, 0]).all()
    assert (first.datum.channels, first.datum.height, first.datum.width, first.type) == (3, 40, 60, 0)
    found = [(group.group_label, item.instance_id, item.bbox.difficult, *np.round(
        [item.bbox.xmin * 60, item.bbox.ymin * 40, item.bbox.xmax * 60, item.bbox.ymax * 40], 4).tolist())
        for record in (first, second) for group in record.annotation_group for item in group.annotation]
    assert found == [(1, 0, False, 0, 0, 20, 30), (2, 0, False, 4, 5, 60, 40), (3, 0, False, 4, 5, 7, 8),
                     (1, 0, True, 1, 1, 9, 9)]


def test_another_caffe_without_annotated_datum(pets, tmp_path, monkeypatch, capsys):
    monkeypatch.delattr(caffe_pb2, "AnnotatedDatum")
    assert convert_data.main(["--imdb", str(pets), "--to", "ssd", str(tmp_path / "x")]) == 2
    assert "needs a Caffe that has SSD's AnnotatedDatum" in capsys.readouterr().err and not (tmp_path / "x").exists()


@pytest.mark.parametrize("format_name", sorted(set(WRITERS) - {"ssd"}))       # --imdb cannot read SSD's databases
def test_a_data_set_without_splits(tmp_path, format_name):
    """YOLO's data.yaml always names train and val, because YOLO's training program requires both."""
    for name in "ab":
        picture(tmp_path / "d" / f"{name}.png")
        (tmp_path / "d" / f"{name}.xml").write_text("<annotation><object><name>cat</name><bndbox><xmin>1</xmin>"
                                                    "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")
    out = convert(tmp_path / "d", format_name, tmp_path / "out")
    assert get_imdb(str(out)).image_index == ["a", "b"]
    if format_name == "yolo":
        assert (out / "data.yaml").read_text() == "train: images/all\nval: images/all\nnames:\n  0: cat\n"


def test_real_data(shared_data, tmp_path):
    source = f"{shared_data}/formats/coco_roboflow"
    yolo = convert(source, "yolo", tmp_path / "yolo")
    data, again = get_imdb(source), get_imdb(str(yolo))
    assert data.classes == again.classes and data.image_index == again.image_index
    for one, other in zip(data.gt_roidb(), again.gt_roidb(), strict=True):
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=1e-3)
