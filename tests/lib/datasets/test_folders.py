"""Names that are not unique or not safe, lists of any form, and errors that say what a folder contains instead."""
import os
import shutil

import cv2
import numpy as np
import pytest
from folders_made import CAT, DOG, flat_folder, voc_folder, write_image, xml

from commands.data_set import check_results, claim_results
from datasets.detection_files import detections_file_names
from datasets.evaluation import class_detections
from datasets.factory import get_imdb
from datasets.folders import read_image_set
from datasets.formats.voc.annotation import read_annotation
from datasets.joined import JoinedImdb
from datasets.source import AnnotationError, DatasetError
from datasets.voc_eval import voc_eval
from utils.errors import UserError


def perfect(data):
    """Detections that equal the objects."""
    found = [[np.zeros((0, 5), np.float32)] * data.num_images for _ in data.classes]
    for image, entry in enumerate(data.gt_roidb()):
        for label in range(1, data.num_classes):
            boxes = entry["boxes"][entry["gt_classes"] == label]
            found[label][image] = np.column_stack([boxes, np.ones(len(boxes))])
    return found


def test_joined_data_sets_of_equal_folder_names(tmp_path):
    for year, box in (("2019", CAT), ("2020", ("cat", 30, 2, 50, 38))):
        voc_folder(tmp_path / year / "cells", {"0": [box], "1": [box]}, {"test": ["0", "1"]})
    names = [f"{tmp_path}/{year}/cells:test" for year in ("2019", "2020")]
    both = get_imdb("+".join(names))
    assert both.image_index == ["1_cells_test/0", "1_cells_test/1", "2_cells_test/0", "2_cells_test/1"]
    assert both.evaluate_detections(perfect(both), tmp_path).mean_ap == 1
    twice = get_imdb(f"{names[0]}+{names[0]}")
    assert len(set(twice.image_index)) == 4


def test_images_of_one_name_are_refused_where_they_matter(pets):
    data = get_imdb(str(pets))
    data.image_index = ["a", "a"]
    with pytest.raises(DatasetError, match="pets_train has 2 images named 'a'"):
        JoinedImdb([data, get_imdb(str(pets))])
    with pytest.raises(DatasetError, match="2 images named 'a'"):
        class_detections(["a", "a"], [np.zeros((0, 5))] * 2)


def test_images_that_differ_only_in_their_extension(tmp_path, pets):
    shutil.copy(pets / "JPEGImages" / "a.jpg", pets / "JPEGImages" / "a.PNG")
    (problem,) = get_imdb(str(pets)).problems
    assert (problem.image, problem.action) == ("a", "image left out")
    assert "a.PNG and a.jpg have the same name" in problem.what
    flat = flat_folder(tmp_path / "flat", {"a": [CAT], "b": [CAT]})
    write_image(flat / "b.jpg")
    assert get_imdb(str(flat)).image_index == ["a"]


@pytest.mark.parametrize("classes", [["a/b", "a b", "a_b"], ["c#", "c♯"], ["कि", "की"], ["😀", "😁"],
                                     ["x" * 300, "y" * 300], ["猫" * 100, "猫" * 99], ["..", "//"]])
def test_files_of_classes_that_differ_in_punctuation_or_script(tmp_path, classes):
    names = detections_file_names("test", classes)
    assert len(set(names)) == len(classes)
    for name in names:
        (tmp_path / name).write_text("")
    assert len(os.listdir(tmp_path)) == len(classes)


def test_files_of_other_classes_keep_their_names(tmp_path, pets):
    assert detections_file_names("test", ["person", "traffic light", "c++"]) == [
        "comp4_det_test_person.txt", "comp4_det_test_traffic_light.txt", "comp4_det_test_c++.txt"]
    data = get_imdb(f"{pets}:test", classes=["cat", "o/x", "o x"])
    data.evaluate_detections(perfect(data), tmp_path / "out")
    assert len(os.listdir(tmp_path / "out")) == 3


def test_a_folder_of_results_belongs_to_one_data_set(tmp_path, pets):
    other = shutil.copytree(pets, tmp_path / "other" / "pets")
    claim_results(tmp_path, get_imdb(str(pets)))
    claim_results(tmp_path, get_imdb(f"{pets}:train"))
    for data in (get_imdb(str(other)), get_imdb(f"{pets}:test")):
        for use in (check_results, claim_results):
            with pytest.raises(UserError, match=f"holds results of {pets}:train, not of {data.location}: name another"):
                use(tmp_path, data)
    pets.rename(tmp_path / "moved")
    claim_results(tmp_path, get_imdb(f"{tmp_path}/moved"))


@pytest.mark.parametrize("name", ["", ":train", "pets+", "+pets:train", "pets++pets"])
def test_an_empty_name_is_not_the_current_folder(tmp_path, pets, monkeypatch, name):
    monkeypatch.chdir(pets.parent)
    with pytest.raises(DatasetError, match="'(:train)?': names no data set; expected a name or path"):
        get_imdb(name)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\u202eb", "x\x9b"])
def test_names_with_control_characters(tmp_path, pets, name):
    with pytest.raises(DatasetError, match="the class name '.*\\\\.*' has control characters"):
        get_imdb(str(pets), classes=["cat", name])
    flat = flat_folder(tmp_path / "flat", {"a": [CAT], name: [CAT]})
    data = get_imdb(str(flat))
    assert data.image_index == ["a"] and "has control characters" in data.summary()
    assert name not in data.summary()


def test_files_whose_names_are_not_utf8(tmp_path):
    flat = flat_folder(tmp_path / "flat", {"a": [CAT], "b": [CAT]})
    os.rename(flat / "b.png", os.fsencode(flat) + b"/caf\xe9.png")
    os.rename(flat / "b.xml", os.fsencode(flat) + b"/caf\xe9.xml")
    data = get_imdb(str(flat))
    assert data.image_index == ["a"] and "caf\\xe9: its name has control characters, or is not UTF-8" in data.summary()
    voc = voc_folder(tmp_path / "d\udce9", {"a": [CAT]}, {"train": ["a"]}) if False else None
    assert voc is None


def test_images_in_folders(tmp_path):
    root = voc_folder(tmp_path / "d", {}, {"train": ["day/a 1", "night/a 1.jpg", "b"], "test": ["night/c"]})
    for name in ("day/a 1", "night/a 1", "b", "night/c"):
        write_image(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(xml([CAT]))
    data = get_imdb(str(root))
    assert data.image_index == ["day/a 1", "night/a 1", "b"] and get_imdb(f"{root}:test").image_index == ["night/c"]
    assert data.image_path_at(1) == str(root / "JPEGImages" / "night" / "a 1.jpg")
    (root / "Annotations" / "night" / "c.xml").write_text(xml([("cat", 0, 1, 9, 9)]))
    assert get_imdb(str(root)).zero_based
    shutil.rmtree(root / "ImageSets")
    (root / "Annotations" / "b.xml").unlink()
    assert get_imdb(str(root)).image_index == ["day/a 1", "night/a 1", "night/c"]


@pytest.mark.parametrize("data, expected", [
    (b"\xef\xbb\xbfa\r\nb 1\r\n", ["a", "b 1"]), ("a\nb 1\n".encode("utf-16"), ["a", "b 1"]),
    (b"a\t1\n\tb 1   -1\n", ["a", "b 1"]), (b"./a.jpg\nJPEGImages/b 1.jpg\n", ["a", "b 1"]),
    (b"JPEGImages\\a.jpg\n", ["a"]), (b"a  1\r\rb 1\r", ["a", "b 1"])])
def test_lists_of_any_form(pets, data, expected):
    (pets / "ImageSets" / "Main" / "train.txt").write_bytes(data)
    assert get_imdb(str(pets)).image_index == expected


def test_lists_of_absolute_paths(pets):
    (pets / "ImageSets" / "Main" / "train.txt").write_text(f"{pets}/JPEGImages/a.jpg\n")
    assert get_imdb(str(pets)).image_index == ["a"]
    (pets / "ImageSets" / "Main" / "train.txt").write_text("a\n../../c\n")
    with pytest.raises(DatasetError, match="train.txt: '../../c' leads out of .*JPEGImages"):
        get_imdb(str(pets))


@pytest.mark.parametrize("data, message", [
    (b"a,1\nb 1,1\n", "none of its 2 names, such as 'a,1', is that of a file in .*JPEGImages or .*Annotations"),
    (b"001\n", "such as '001', .*; there are: a, b 1, c"), (b"aa\n", "there are: a"),
    (b"\n", "the list of images is empty"), (b"", "the list of images is empty"),
    (b"\xe9\n", "train.txt:1: not text in utf-8"), (b"\x1b\n", r"such as '\\\\x1b'")])
def test_a_list_that_matches_nothing(pets, data, message):
    (pets / "ImageSets" / "Main" / "train.txt").write_bytes(data)
    for name in (str(pets), f"{pets}:test"):        # the test split needs the training split's class names
        with pytest.raises(DatasetError, match=f"train.txt:.*{message}" if "train.txt" not in message else message):
            get_imdb(name)


def test_extensions_of_images(tmp_path):
    names = {"a": ".ppm", "b": ".jp2", "c": ".gif", "d": ".JFIF", "e": ".jpe"}
    root = voc_folder(tmp_path / "d", {name: [CAT] for name in [*names, "f"]}, {"train": [*names, "f.heic"]})
    image = np.full((40, 60, 3), 90, np.uint8)
    for name, suffix in names.items():
        (root / "JPEGImages" / f"{name}.jpg").unlink()
        real = ".jpg" if suffix in (".JFIF", ".jpe") else suffix
        (root / "JPEGImages" / f"{name}{suffix}").write_bytes(cv2.imencode(real, image)[1].tobytes())
    (root / "JPEGImages" / "f.jpg").rename(root / "JPEGImages" / "f.heic")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a.ppm\nb\nc.gif\nd\ne\nf\n")
    data = get_imdb(str(root))
    assert data.image_index == [*names] and data.image_sizes() == [(60, 40)] * 5
    assert "f: f.heic: unknown file extension; known are .jpg .jpeg" in data.summary()


def test_errors_list_what_a_folder_contains(tmp_path, pets):
    def copy(name):
        return shutil.copytree(pets, tmp_path / name)
    (copy("images") / "JPEGImages").rename(tmp_path / "images" / "pictures")
    with pytest.raises(DatasetError, match="no folder JPEGImages; its folders are: Annotations, ImageSets, pictures"):
        get_imdb(str(tmp_path / "images"))
    (copy("small") / "Annotations").rename(tmp_path / "small" / "annotations")
    assert get_imdb(str(tmp_path / "small")).image_index == ["a", "b 1"]
    (copy("none") / "Annotations" / "a.xml").rename(tmp_path / "none" / "Annotations" / "a.XML")
    assert get_imdb(str(tmp_path / "none")).image_index == ["a", "b 1"]
    copy("devkit/VOC2007")
    assert get_imdb(f"{tmp_path}/devkit:test").image_index == ["c"]
    copy("devkit/VOC2012")
    with pytest.raises(DatasetError, match="holds several data sets; name one of .*VOC2007, .*VOC2012"):
        get_imdb(f"{tmp_path}/devkit:test")
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(DatasetError, match="coco.json: is no annotation file of a known format; expected PASCAL VOC, "
                                           "COCO, .* in the layouts that docs/own_dataset.md lists, .* is a function$"):
        get_imdb(str(tmp_path / "coco.json"))
    copy("cats+dogs:2")
    assert get_imdb(f"{tmp_path}/cats+dogs:2").num_images == 2
    assert get_imdb(f"{tmp_path}/cats+dogs:2:test").num_images == 1
    assert get_imdb(f"{tmp_path}/cats+dogs:2:test+{pets}:train", classes=["cat"]).num_images == 3


def test_a_folder_above_data_sets_of_several_formats(tmp_path, pets):
    inner = tmp_path / "above" / "all"
    yolo, tables = inner / "yolo", inner / "tables"
    shutil.copytree(pets / "JPEGImages", yolo / "images")
    (yolo / "labels").mkdir()
    (yolo / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (yolo / "classes.txt").write_text("cat\n")
    with pytest.raises(DatasetError, match=f"above: is not a data set itself; name {inner}$"):
        get_imdb(str(inner.parent))
    (yolo / "classes.txt").unlink()
    shutil.copytree(pets / "JPEGImages", tables)
    (tables / "boxes.csv").write_text("a.jpg,1,2,20,30,cat\n")
    shutil.copytree(pets, inner / "voc")
    (inner / "notes").mkdir()
    for name in (inner, f"{inner}:train"):
        with pytest.raises(DatasetError, match=rf"all: holds several data sets; name one of {tables} \(CSV\), "
                                               rf"{inner}/voc \(PASCAL VOC\), {yolo}$"):
            get_imdb(str(name))
    shutil.copytree(tables, pets / "tables")        # beside the parts of a data set
    assert get_imdb(f"{pets}:train").name == "pets_train"


def test_names_of_splits_are_safe_in_file_names(tmp_path, pets):
    (tmp_path / "own.yml").write_text("root: pets\nimage_sets: {../up: ImageSets/Main/train.txt}\n")
    with pytest.raises(DatasetError, match="image_sets: expected names of splits without slashes; found '../up'"):
        get_imdb(str(tmp_path / "own.yml"))


GOOD = xml([CAT, (*DOG, 1)])


@pytest.mark.parametrize("text", [
    GOOD.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'),
    GOOD.replace("annotation>", "Annotation>"), GOOD.replace("<annotation>", "<annotation><!-- <object> -->"),
    GOOD.replace(">1</difficult>", "> True\n</difficult>"),
    GOOD.replace(">0</difficult>", ">no</difficult>"), GOOD.replace("dog", "\n dog\t")])
def test_equivalent_annotations(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    found = read_annotation(tmp_path / "a.xml")
    assert found.names == ["cat", "dog"] and found.difficult.tolist() == [False, True] and found.size == (60, 40)


@pytest.mark.parametrize("text, message", [
    (GOOD.replace("object>", "Object>"), "has a <bndbox>, but no <object>"),
    (GOOD.replace("object>", "item>"), "has a <bndbox>, but no <object>"),
    (f"<annotations>{GOOD}{GOOD}</annotations>", "expected an <annotation> of PASCAL VOC, found <annotations>"),
    ("<html><body>404</body></html>", "found <html>"), ("<a>" * 5000 + "</a>" * 5000, "found <a>"),
    (GOOD.replace("bndbox>", "robndbox>"), "object 'cat' has no bndbox; it has: name, difficult, robndbox"),
    (GOOD.replace("</object>", "<bndbox/></object>"), "object 'cat' has 2 times a bndbox"),
    (GOOD.replace(">1</difficult>", ">maybe</difficult>"), "difficult of object 'dog' is 'maybe', expected 0 or 1"),
    (GOOD.replace("<xmin>1<", "<xmin>1e39<"), "not finite numbers"),
    ('<?xml version="1.0" encoding="no-such"?>' + GOOD, "declares the unknown encoding 'no-such'"),
    ("", "not readable as XML"), ("\0\0", "not a text file")])
def test_xml_of_another_kind(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(AnnotationError, match=f"a.xml: .*{message}"):
        read_annotation(tmp_path / "a.xml")


def test_an_endless_size_is_unknown(tmp_path):
    (tmp_path / "a.xml").write_text(GOOD.replace("<width>60<", "<width>1e999<"))
    assert read_annotation(tmp_path / "a.xml").size is None


@pytest.mark.parametrize("encoding, name", [("gbk", "猫"), ("gb2312", "狗"), ("shift_jis", "ねこ"), ("utf-16", "é")])
def test_annotations_of_any_encoding(tmp_path, encoding, name):
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + xml([(name, 0, 1, 9, 9)])
    root = voc_folder(tmp_path / "d", {"a": [CAT], "b": [CAT]}, {"train": ["a", "b"]})
    (root / "Annotations" / "b.xml").write_bytes(text.encode(encoding))
    data = get_imdb(str(root))
    assert set(data.classes[1:]) == {"cat", name} and data.zero_based and data.problems == []


def test_all_annotations_broken_is_reported_as_the_reason(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": "<html/>", "b": "<html/>"}, {"train": ["a", "b"]})
    with pytest.raises(DatasetError, match="no class names: 2 of 2 XML files .*a.xml: expected an <annotation>"):
        get_imdb(str(root))


def test_voc_eval_reads_the_same_lists(tmp_path, pets):
    (tmp_path / "cat.txt").write_bytes("b 1 0.5 1 2 3 4\r\na 0.9 1 1 20 30\r\n".encode("utf-16"))
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa  1\r\n")
    assert read_image_set(tmp_path / "list.txt") == ["a"]
    files = [str(file) for file in (tmp_path / "{}.txt", pets / "Annotations" / "{}.xml", tmp_path / "list.txt")]
    assert voc_eval(*files, "cat")[2] == 1
