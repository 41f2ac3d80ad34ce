"""convert_annoset: objects of each kind of file, sizes of images, mistakes."""
import re

import cv2
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")
LABELS = "item { name: 'none_of_the_above' label: 0 } item { name: 'cat' label: 2 } item { name: '18' label: 5 }"


def xml(size, *objects):
    inner = "".join(f"<object><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
                    f"<name>{name}</name><difficult>{hard}</difficult></object>"
                    for name, x1, y1, x2, y2, hard in objects)
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{told}{inner}</annotation>"


@pytest.fixture
def folder(tmp_path):
    for name in ("a b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8))
    (tmp_path / "a.xml").write_text(xml((80, 40), ("cat", 8, 10, 40, 20, 0), ("18", 0, 0, 80, 40, 1),
                                        ("cat", 16, 4, 24, 36, 1)))
    (tmp_path / "a.json").write_text(
        '{"image": {"width": 80, "height": 40, "id": 3}, "annotation": [{"category_id": 18, "bbox": [8, 10, 32, 10]}, '
        '{"category_id": 18, "bbox": [0, 0, 80, 40], "iscrowd": 1}]}')
    (tmp_path / "a.txt").write_text("7 4 5 20 10\n\n3 0 0 40 20\n")
    (tmp_path / "labels").write_text(LABELS)
    return tmp_path


def convert(run, folder, kind, *flags, fails=False):
    (folder / "list").write_text(f"a b.png a.{kind}\nc.png none.{kind}\n")
    printed = run("convert_annoset", "-anno_type=detection", f"-label_type={kind}", f"-label_map_file={folder}/labels",
                  *flags, f"{folder}/", folder / "list", folder / "db", fails=fails)
    return printed if fails else (read(folder / "db"), printed.err)


def read(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): caffe_pb2.AnnotatedDatum.FromString(value) for key, value in transaction.cursor()}


def objects(record):
    return [(group.group_label, item.instance_id, *np.round([item.bbox.xmin, item.bbox.ymin, item.bbox.xmax,
             item.bbox.ymax], 6).tolist(), item.bbox.difficult) for group in record.annotation_group
            for item in group.annotation]


@pytest.mark.parametrize("kind, wanted", [
    ("xml", [(2, 0, 0.1, 0.25, 0.5, 0.5, False), (2, 1, 0.2, 0.1, 0.3, 0.9, True), (5, 0, 0, 0, 1, 1, True)]),
    ("json", [(5, 0, 0.1, 0.25, 0.5, 0.5, False), (5, 1, 0, 0, 1, 1, True)]),
    ("txt", [(7, 0, 0.1, 0.25, 0.5, 0.5, False), (3, 0, 0, 0, 1, 1, False)])])
def test_objects_of_each_kind_of_file(run, folder, kind, wanted):
    records, printed = convert(run, folder, kind)
    assert list(records) == ["00000000_a b.png", "00000001_c.png"]
    first, second = records.values()
    assert first.type == second.type == caffe_pb2.AnnotatedDatum.BBOX and second.HasField("type")
    assert objects(first) == wanted and not second.annotation_group
    assert "1 images have no annotation file and thus no objects; the first is" in printed
    image = cv2.imread(str(folder / "a b.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(caffe.io.datum_to_array(first.datum), image)


def test_without_a_size_boxes_are_shares_of_the_original_image(run, folder):
    (folder / "a.xml").write_text(xml(None, ("cat", 4, 5, 20, 10, 0)))
    record = convert(run, folder, "xml", "-resize_height=9", "-resize_width=7")[0]["00000000_a b.png"]
    assert (record.datum.height, record.datum.width) == (9, 7)
    assert objects(record) == [(2, 0, 0.1, 0.25, 0.5, 0.5, False)]


@pytest.mark.parametrize("flags, shape, is_file", [
    (["-min_dim=30"], (30, 60), False), (["-min_dim=30", "-max_dim=50"], (25, 50), False),
    (["-max_dim=10"], (5, 10), False), (["-min_dim=5", "-max_dim=40"], (20, 40), True)])
def test_sizes_of_images(run, folder, flags, shape, is_file):
    record = convert(run, folder, "txt", "-encoded", *flags)[0]["00000000_a b.png"]
    assert (record.datum.height, record.datum.width) == shape and record.datum.encoded
    assert (record.datum.data == (folder / "a b.png").read_bytes()) == is_file
    assert cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (*shape, 3)


def test_classification(run, folder):
    (folder / "list").write_text("a b.png 4\nc.png 3\n")
    run("convert_annoset", f"{folder}/", folder / "list", folder / "db")
    assert [(record.datum.label, record.HasField("type")) for record in read(folder / "db").values()] == [
        (4, False), (3, False)]


def test_a_layer_reads_what_was_written(run, folder):
    convert(run, folder, "xml", "-encoded")
    net = caffe.Net(caffe.proto.prototxt.parse(
        f"layer {{ name: 'data' type: 'AnnotatedData' top: 'data' top: 'label' data_param {{ source: '{folder}/db' "
        "backend: LMDB batch_size: 2 } }", caffe_pb2.NetParameter()), caffe.TEST)
    found = net.forward()
    assert (found["data"][0] == cv2.imread(str(folder / "a b.png")).transpose(2, 0, 1)).all()
    np.testing.assert_allclose(found["label"][0, 0, 1], [0, 2, 1, 0.2, 0.1, 0.3, 0.9, 1], rtol=1e-6)


def test_boxes_outside_of_their_image_are_reported(run, folder):
    (folder / "a.txt").write_text("7 4 5 41 10\n")
    records, printed = convert(run, folder, "txt")
    assert "a.txt: the box (4.0, 5.0, 41.0, 10.0) of '7' is not within its image of 40 x 20" in printed
    assert objects(records["00000000_a b.png"])[0][4] == 1.025


@pytest.mark.parametrize("kind, text, told", [
    ("xml", "<annotation><object>", "a.xml: not readable as xml: no element found"),
    ("xml", xml((4, 4), ("dog", 1, 1, 2, 2, 0)), "the class 'dog' is not in the label map, which has none_of"),
    ("xml", xml((4, 4), ("cat", "one", 1, 2, 2, 0)), "a.xml: expected <object> with .*could not convert .*'one'"),
    ("xml", "<annotation><object><name>cat</name></object></annotation>", "no 'bndbox'"),
    ("xml", xml((0, 4), ("cat", 1, 1, 2, 2, 0)), "the image has the size 0 x 4"),
    ("xml", xml((4, 4), ("cat", "nan", 1, 2, 2, 0)), r"the box \(nan, 1.0, 2.0, 2.0\) of an object 'cat' is no box"),
    ("json", '{"annotation": [{"bbox": [1, 2, 3]}]}', "a.json: expected {\"image\""),
    ("json", "[]", "a.json: expected"), ("json", "{", "a.json: not readable as json"),
    ("txt", "cat 1 2 3 4", "a.txt: expected lines `label xmin ymin xmax ymax`: invalid literal"),
    ("txt", "7 1 2 3", "a.txt: expected lines .*found '7 1 2 3'")])
def test_wrong_annotations(run, folder, kind, text, told):
    (folder / f"a.{kind}").write_text(text)
    printed = convert(run, folder, kind, fails=True).err
    assert re.search(told, printed) and not (folder / "db").exists()


@pytest.mark.parametrize("flags, told", [
    (["-label_map_file=nosuch"], "-label_map_file: there is no file nosuch"),
    (["-min_dim=4", "-resize_height=3", "-resize_width=3"], "either -min_dim and -max_dim"),
    (["-backend=leveldb"], "lmdb")])
def test_wrong_flags(run, folder, flags, told):
    assert told in convert(run, folder, "xml", *flags, fails=True).err


def test_wrong_lists_and_label_maps(run, folder):
    (folder / "a.xml").unlink()
    assert "none of the 2 annotation files" in convert(run, folder, "xml", fails=True).err
    (folder / "labels").write_text("item { name: 'cat' label: 2 } item { name: 'cat' label: 3 }")
    assert "has a name twice" in convert(run, folder, "xml", "-check_label", fails=True).err
    (folder / "labels").write_text("itm { }")
    assert "labels:1:1: LabelMap has no field 'itm'" in convert(run, folder, "xml", fails=True).err
    (folder / "list").write_text("a.png\n")
    said = run("convert_annoset", "-anno_type=detection", "-label_type=txt", "/", folder / "list", folder / "db",
               fails=True).err
    assert f"{folder}/list:1: expected two paths, found 'a.png'" in said
